"""The learning loop: score what is due, judge the model in office, recalibrate, teach a challenger at night, put the winner in office.

The controller serves meanwhile: teaching is another process, and a champion is swapped between two forecasts. Whatever fails here is
a log line and a sentence in ``foreshape model list``; forecasts go on with the one in office.
"""

import importlib.util
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from foreshape_controller.config import LearnSettings, Settings
from foreshape_controller.decide.headroom import Flags, HeadroomRule
from foreshape_controller.decide.learning import Action, Limits, Live, Verdict, judge_live
from foreshape_controller.errors import ConfigError, ControllerError, ModelError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.calibrate import Misses
from foreshape_controller.forecast.chain import Champion, load_champion
from foreshape_controller.forecast.folder import verify
from foreshape_controller.log import get_logger
from foreshape_controller.loops.apprentice import Apprentice
from foreshape_controller.loops.marking import Assigns, Marking, MarkSettings, Pair, paired
from foreshape_controller.loops.office import Cell, InOffice
from foreshape_controller.loops.worker import Job, Told
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.learned import Manifest, Score
from foreshape_controller.store import Store
from foreshape_controller.store.archive import Archive
from foreshape_controller.store.headroom import Headroom
from foreshape_controller.store.models import BASELINE, Event, Lesson, Models

_log = get_logger("learn")

DAY_S = 86400.0
JUDGE_EVERY_S = 3600.0
CALIBRATE_EVERY_S = DAY_S
ATTEMPTS = 3
"""Times that a training which died is taken up again."""

RETRAIN_AGAIN_S = 12 * 3600.0
"""Least time between two trainings that nobody asked for."""

MISSES_KEPT = 400
"""Batches of misses that wait for the next calibration (about 13 MB a hundred)."""

ANOMALIES = 10000
"""Newest anomalies that are looked through when headroom is learned."""

NO_TORCH = "learning is off: torch is not installed; install foreshape[learn]"


def rule_of(settings: LearnSettings) -> HeadroomRule | None:
    """The headroom's rule; None where it is switched off."""
    if not settings.headroom:
        return None
    return HeadroomRule(
        settings.headroom_rate,
        settings.headroom_target,
        settings.headroom_low,
        settings.headroom_high,
        memory_narrows=settings.headroom_memory_narrows,
    )


def marks_of(settings: LearnSettings) -> MarkSettings:
    """What is archived and marked."""
    return MarkSettings(settings.archive_series, settings.archive_whole_bins, rule_of(settings))


@dataclass(frozen=True)
class Standing:
    """Everything an operator asks about learning, at one instant."""

    off: str
    """Why nothing is taught; empty when learning is on."""
    model: str
    trouble: str
    training: bool
    progress: Told
    lesson: Lesson
    next_training: float | None
    waiting: int
    """Forecasts (rows of them) whose future is not over."""
    verdicts: tuple[tuple[Cell, Verdict], ...]


class Learn:
    """Holds no truth that a restart would miss, but the misses since the last calibration."""

    def __init__(self, archive: Archive, headroom: Headroom, office: InOffice, job: Job, settings: LearnSettings) -> None:
        """``job``: what every training is told, without its model, time and champion."""
        self._archive, self._headroom = archive, headroom
        self.office = office
        self._job, self._settings = job, settings
        self.marking: Marking | None = None
        self.apprentice = Apprentice()
        self.off = off_reason(settings, job.database)
        self._asked = ""
        self._verdicts: dict[Cell, Verdict] = {}
        self._misses: list[Misses] = []
        self._lock = threading.RLock()
        self._judged = self._calibrated = self._born = float("nan")

    @classmethod
    def of(cls, settings: Settings, store: Store, tiers: Assigns, load: Callable[[Path], Champion] = load_champion) -> "Learn | None":
        """As the configuration says; None where it says no. ``load``: reads a model's folder. Raises ConfigError."""
        s = settings.learn
        if not s.enabled or settings.plan.forecast != "auto":
            return None
        clock_time(s.train_at or "00:00")
        office = InOffice(Models(Path(s.models_dir), verify), load)
        told = {name: getattr(s, name) for name in ("models_dir", "history_days", "cpu_minutes", "threads", "seed", "encoder")}
        job = Job(database=settings.store.url, step_s=settings.history.step_s, series=s.train_series, **told)
        learn = cls(store.archive, store.headroom, office, job, s)
        learn.marking = Marking(store, Baseline(), lambda: office.model, tiers, marks_of(s))
        learn.marking.listener = learn.heard
        learn.marking.odd = partial(_odd, store)
        return learn

    @property
    def look(self) -> Callable[[], Predictor]:
        """Who looks ahead: for Foresight."""
        return self.office.look

    def run_once(self, now: float) -> None:
        """The table of contents; a step that fails does not keep the others from being tried."""
        if self._born != self._born:  # not yet set
            self._begin(now)
        for step in (self._refresh, self._mark, self._hear, self._judge, self._calibrate, self._school, self._tidy):
            try:
                step(now)
            except ControllerError as e:
                _log.error("learning step failed", step=step.__name__.strip("_"), code=e.code, reason=str(e))

    def stop(self) -> None:
        """The controller ends: so does its training; its checkpoint stays for the next start."""
        self.apprentice.stop()

    def heard(self, misses: Misses) -> None:
        """How a whole forecast of the champion missed: kept for the next calibration, the oldest dropped."""
        self._misses = [*self._misses[1 - MISSES_KEPT :], misses]

    # --- steps ---

    def _begin(self, now: float) -> None:
        self._born = self._judged = self._calibrated = now
        if self.off:
            _log.warning(self.off)

    def _refresh(self, now: float) -> None:  # noqa: ARG002 - a step
        if self.office.refresh():
            self._verdicts = {}

    def _mark(self, now: float) -> None:
        if self.marking is not None:
            self.marking.mark_due(now)

    def _hear(self, now: float) -> None:
        """The end of a training."""
        told = self.apprentice.result() if self.apprentice.busy else None
        if told is None:
            return
        lesson = self.office.models.lesson()
        if told.kind == "died" and lesson.attempts < ATTEMPTS:
            self.office.models.keep_lesson(replace(lesson, state="running", reason=told.reason))
            _log.warning("training died; it is taken up again", model=lesson.model, reason=told.reason, attempt=lesson.attempts)
            return
        state = "done" if told.kind == "done" else "failed"
        self.office.models.keep_lesson(replace(lesson, state=state, reason=told.reason))
        if state == "done":
            self._weigh(told, now)
        else:
            self.office.models.note(Event(now, "training failed", lesson.model, told.reason))
            _log.error("training failed; the champion goes on", model=lesson.model, champion=self.office.model, reason=told.reason)

    def _weigh(self, told: Told, now: float) -> None:
        """A finished challenger: in office, waiting, or beaten."""
        models = self.office.models
        if not told.won:
            models.note(Event(now, "lost", told.model, told.reason, told.figures))
            _log.info("challenger lost", model=told.model, champion=self.office.model, reason=told.reason)
        elif self._settings.promote == "auto":
            self.office.promote(told.model, f"won on held-back days: {told.reason}", now)
            self._verdicts = {}
        else:
            models.note(Event(now, "waits", told.model, f"{told.reason}; put it in office with: foreshape model promote {told.model}"))
            _log.info("challenger waits", model=told.model, reason=told.reason)
        models.prune(self._settings.keep_models)

    def _judge(self, now: float) -> None:
        """Once an hour: has the model in office lost what it won by?"""
        if now - self._judged < JUDGE_EVERY_S or self.office.model == BASELINE:
            return
        self._judged = now
        pairs = self._live(now)
        found = verdicts(pairs, self.office, self._verdicts)
        self._verdicts = found
        lost = {cell: v.reasons[0] for cell, v in found.items() if v.action is Action.FALL_BACK}
        gone = self.office.stand_back(lost, [p.mine for p in pairs], now)
        drifted = [c for c, v in found.items() if v.action is Action.RETRAIN]
        if gone or drifted:
            cells = ", ".join(" ".join(c) for c in [*gone, *drifted][:3])
            self._want(f"the model in office has drifted: {cells}", now)

    def _live(self, now: float) -> list[Pair]:
        """The one in office over the last days, and the baseline beside it."""
        since = max(now - self._settings.judge_days * DAY_S, self.office.models.office().at)
        return [p for p in paired(self._archive.scored(since, now)) if p.mine.predictor == self.office.model]

    def _want(self, why: str, now: float) -> None:
        if now - self.office.models.lesson().started >= RETRAIN_AGAIN_S and not self._asked:
            self._asked = why
            _log.warning("training wanted", reason=why)

    def _calibrate(self, now: float) -> None:
        """Once a day, from the whole forecasts that were scored since."""
        if now - self._calibrated < CALIBRATE_EVERY_S or not self._misses:
            return
        found, self._misses = self._misses, []
        self._calibrated = now
        self.office.recalibrate(found)

    def _school(self, now: float) -> None:
        """Begin what is due: a training that was cut off, asked for, or tonight's."""
        if self.off or self.apprentice.busy:
            return
        lesson = self.office.models.lesson()
        if lesson.state == "running" and lesson.attempts < ATTEMPTS:
            self._start(replace(lesson, attempts=lesson.attempts + 1), now)
        elif self._asked:
            self._start(Lesson(_name(now), now, 1, "running", self._asked), now)
        elif (due := self.due_at(lesson)) is not None and now >= due:
            self._start(Lesson(_name(now), now, 1, "running", "the night's training"), now)

    def _start(self, lesson: Lesson, now: float) -> None:
        with self._lock:
            self._asked = ""
            self.office.models.keep_lesson(lesson)
            self.apprentice.start(msgspec.structs.replace(self._job, model=lesson.model, now=now, champion=self.office.model))
        _log.info("training began", model=lesson.model, why=lesson.why, attempt=lesson.attempts)

    def _tidy(self, now: float) -> None:
        before = now - self._settings.scores_days * DAY_S
        self._archive.tidy(before)
        self._headroom.tidy(before)

    # --- what operators ask ---

    def due_at(self, lesson: Lesson) -> float | None:
        """When the next nightly training begins: the first ``train_at`` after the last training, or after the start."""
        if not self._settings.train_at or self._born != self._born:
            return None
        since = max(lesson.started, 0.0) or self._born
        hour, minute = clock_time(self._settings.train_at)
        day = datetime.fromtimestamp(since, UTC).replace(hour=hour, minute=minute, second=0, microsecond=0)
        at = day if day.timestamp() > since else day + timedelta(days=1)
        return at.timestamp()

    def train_now(self, reason: str) -> None:
        """Ask for a training; it begins with the next run. ModelError when there can be none."""
        if self.off:
            raise ModelError(self.off)
        if self.apprentice.busy:
            raise ModelError("a training is under way already: 'foreshape model list' shows how far it is")
        self._asked = reason or "an operator asked for it"

    def standing(self) -> Standing:
        lesson = self.office.models.lesson()
        return Standing(
            off=self.off,
            model=self.office.model,
            trouble=self.office.trouble,
            training=self.apprentice.busy,
            progress=self.apprentice.progress,
            lesson=lesson,
            next_training=None if self.off else self.due_at(lesson),
            waiting=self._archive.backlog(),
            verdicts=tuple(self._verdicts.items()),
        )

    def accuracy(self, since: float, until: float) -> list[Pair]:
        """How forecasts made in [since, until) did, by predictor, resource, stratum and head."""
        return paired(self._archive.scored(since, until))


def _odd(store: Store, resource: str, servers: tuple[str, ...], begin: int, end: int) -> Flags:
    """[n]: an anomaly of the resource lay in the window."""
    found = store.anomalies.list(since=float(begin), limit=ANOMALIES)
    there = {f.series for f in found if f.resource == resource and f.since < end}
    return np.array([s in there for s in servers], np.bool_)


def off_reason(settings: LearnSettings, database: str) -> str:
    """Why nothing can be taught; empty when it can."""
    if not settings.enabled:
        return "learning is off: [learn] enabled = false"
    if importlib.util.find_spec("torch") is None:
        return NO_TORCH
    if database in ("sqlite://", "sqlite:///:memory:"):
        return "learning is off: the database is in memory, where a training process cannot read it"
    return ""


def clock_time(text: str) -> tuple[int, int]:
    """Hour and minute of ``HH:MM``. ConfigError for anything else."""
    try:
        at = datetime.strptime(text, "%H:%M")  # noqa: DTZ007 - a time of day, UTC by its option
    except ValueError:
        raise ConfigError(f"[learn] train_at is {text!r}: write HH:MM (UTC), or leave it empty") from None
    return at.hour, at.minute


def verdicts(pairs: Sequence[Pair], office: InOffice, standing: dict[Cell, Verdict]) -> dict[Cell, Verdict]:
    """A verdict for each cell in which the model in office is heard."""
    by = {(p.mine.resource, p.mine.stratum, p.mine.head): p for p in pairs}
    promised = _promised(office.manifest)
    found: dict[Cell, Verdict] = {}
    for v in office.gate.verdicts:
        cell = (v.resource, v.stratum, v.head)
        pair = by.get(cell)
        if v.weight > 0 and pair is not None and pair.base is not None:
            before = standing[cell].action if cell in standing else Action.FINE
            found[cell] = judge_live(_live(pair.mine, pair.base, promised.get(cell)), before, Limits())
    return found


def _live(mine: Score, base: Score, promised: float | None) -> Live:
    return Live(mine.windows, mine.wql, base.wql, mine.inside(0.98), base.inside(0.98), mine.under(0.99), base.under(0.99), promised)


def _promised(manifest: Manifest | None) -> dict[Cell, float]:
    """WQL by the baseline's on the held-back days, by cell."""
    if manifest is None:
        return {}
    by = {(s.predictor, s.resource, s.stratum, s.head): s.wql for s in manifest.scores}
    return {(r, s, h): wql / by[BASELINE, r, s, h] for (who, r, s, h), wql in by.items() if who == "model" and by.get((BASELINE, r, s, h))}


def _name(now: float) -> str:
    """Id of a model that is begun now: names sort by time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
