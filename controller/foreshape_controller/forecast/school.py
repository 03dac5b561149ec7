"""From histories to a model that may be used: taught on the days before, examined on the days held back, written down whole.

Time is split, not only series: the net is taught with data up to the held-back days, and what it says of those decides where it
is heard (gate) and how its fans are moved (calibration). Then it goes on learning with those days too, for the newest are worth
most: on Bitbrains (80 unseen VMs, the fortnight after) that took 5 % off the error of CPU a day ahead, 2 % off memory's. Each
half of it is kept only where it is no worse on the series that never teach; gate and calibration stay as examined, and so do
the examined weights (folder ``examined``): a contest on the held-back days is theirs.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast import exam, folder
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.gate import LEAST_SERIES
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, Floats, History
from foreshape_controller.model.learned import Manifest

if TYPE_CHECKING:
    from foreshape_controller.forecast.net import Progress, TrainReport, TrainSettings

CHECKPOINT = "checkpoint"

EXAMINED = 0.6
"""Share of the budget that goes into the net that is examined; the rest is for going on with the held-back days."""

LEAST_HELD_BACK = 3.0
"""Days: two origins with a day of truth behind each."""

LEAST_TAUGHT = 2.0
"""Days before the held-back ones."""

LEAST_ORIGINS = 12
"""Of an examination, however few its days."""

SHARE_HELD_BACK = 0.25
"""Of a short history."""

Masks = Mapping[str, npt.NDArray[np.bool_]]
Told = Callable[["Progress"], None]


@dataclass(frozen=True)
class Lesson:
    """How to teach. Days are of the histories' own grid (288 bins)."""

    cpu_minutes: float = 4.0
    """For the nets' weights; the examination takes about one more for 500 servers and two resources."""
    seed: int = 0
    encoder: str = "mlp"
    device: str = "auto"
    until: int | None = None
    """Epoch seconds; nothing from there on is looked at. None: all."""
    held_back_days: float = 14.0
    """A fortnight calibrates better than a week; of less than eight weeks a quarter is held back."""
    origins_per_day: float = 1.0
    examined_series: int = 400
    """Of each resource, at random."""
    work: Path | None = None
    """Where the training's checkpoint lies; a training that was interrupted goes on from there. None: beside ``out``."""
    settings: "TrainSettings | None" = None
    """Everything else that the nets' training can be told; its seed, encoder, device and budget then count."""


def teach(histories: Mapping[str, History], out: Path, lesson: Lesson, progress: Told, masks: Masks | None = None) -> Manifest:
    """Teach, examine, write the folder ``out``; its manifest. ``masks``: by resource [n, T], bins not to be learned from (anomalies).

    ModelError: too little data, no torch, ``out`` is taken, a full disk. What was in office before is not touched.
    """
    folder.refuse_taken(out)
    started = time.process_time()
    known = {r: h for r, h in histories.items() if r in WATCHED and len(h.series)}
    times = split(known, lesson)
    work = lesson.work or out.with_name(f".{out.name}.work")
    taught = {r: masked(h, (masks or {}).get(r)) for r, h in known.items()}
    settings, report = _train(taught, work, lesson, times, progress)
    plan = exam.Plan(times.taught_until, times.until, times.often(lesson), lesson.examined_series, settings.seed)
    _say(progress, "examination", report)
    found = exam.examine(_load(work), Baseline(), known, plan)
    _go_on(taught, work, settings, times, progress)
    shutil.rmtree(work / CHECKPOINT, ignore_errors=True)
    (work / CHECKPOINT).unlink(missing_ok=True)
    manifest = _manifest(known, times, settings, found, out.name, time.process_time() - started)
    written = folder.save(work, out, manifest, found.gate, found.calibration)
    _say(progress, "written", report)
    return written


@dataclass(frozen=True)
class Times:
    """Epoch seconds: begin of the data, end of what is taught, end of what is held back."""

    first: int
    taught_until: int
    until: int
    step_s: int

    def often(self, lesson: Lesson) -> float:
        """Origins a day: more where few days are held back."""
        days = (self.until - self.taught_until) / (BINS_PER_DAY * self.step_s)
        return max(lesson.origins_per_day, LEAST_ORIGINS / days)


def split(histories: Mapping[str, History], lesson: Lesson) -> Times:
    """Which days are taught and which held back. ModelError with too little data."""
    if not histories:
        raise ModelError(f"nothing to learn from: histories of {', '.join(WATCHED)} are needed, with at least one series")
    steps = {h.step_s for h in histories.values()}
    if len(steps) > 1:
        raise ModelError("histories on different steps: give all resources on the same grid")
    day = BINS_PER_DAY * steps.pop()
    first = min(_begin(h) for h in histories.values())
    until = min(max(h.until for h in histories.values()), lesson.until or 1 << 62)
    days = (until - first) / day
    held = min(lesson.held_back_days, max(LEAST_HELD_BACK, SHARE_HELD_BACK * days))
    series = max(_with_days(h, until) for h in histories.values())
    if days < held + LEAST_TAUGHT or series < LEAST_SERIES:
        raise ModelError(
            f"at least {LEAST_HELD_BACK + LEAST_TAUGHT:g} days of {LEAST_SERIES} series are needed to teach a model: has "
            f"{max(days, 0):.1f} days, {series} series with a day or more; let it run on, or give a longer trace"
        )
    step = day // BINS_PER_DAY
    return Times(first, int(until - held * day) // step * step, until, step)


def _begin(history: History) -> int:
    """Start of the first bin in which anything was seen; the history's end where nothing was."""
    seen = np.isfinite(history.mean).any(axis=0)
    return history.start + (int(seen.argmax()) if seen.any() else history.bins) * history.step_s


def _with_days(history: History, until: int) -> int:
    """Series with at least a day of known bins before a time."""
    bins = max(0, (until - history.start) // history.step_s)
    return int((np.isfinite(history.mean[:, :bins]).sum(axis=1) >= BINS_PER_DAY).sum())


def masked(history: History, mask: npt.NDArray[np.bool_] | None) -> History:
    """The history with gaps where a mask is true."""
    if mask is None or not mask.any():
        return history

    def gaps(values: Floats) -> Floats:
        return np.where(mask, np.float32(np.nan), values)

    return replace(history, mean=gaps(history.mean), max=gaps(history.max))


def _train(
    histories: Mapping[str, History], work: Path, lesson: Lesson, times: Times, progress: Told
) -> tuple["TrainSettings", "TrainReport"]:
    from foreshape_controller.forecast.net import TrainSettings, train  # noqa: PLC0415 - ModelError where torch is not installed

    wanted = lesson.settings or TrainSettings(
        cpu_minutes=lesson.cpu_minutes, seed=lesson.seed, encoder=lesson.encoder, device=lesson.device
    )
    minutes = EXAMINED * wanted.cpu_minutes
    settings = replace(wanted, until=times.taught_until, cpu_minutes=minutes)
    return settings, train(histories, work, settings, progress)


def _go_on(histories: Mapping[str, History], work: Path, settings: "TrainSettings", times: Times, progress: Told) -> None:
    """The same net, taught with the held-back days as well; the examined weights are put aside."""
    from foreshape_controller.forecast.net import train  # noqa: PLC0415 - torch is behind it

    examined = work / folder.EXAMINED
    examined.mkdir(exist_ok=True)
    for file in work.glob("*.npz"):
        file.replace(examined / file.name)
    minutes = settings.cpu_minutes * (1 - EXAMINED) / EXAMINED
    train(histories, work, replace(settings, until=times.until, cpu_minutes=minutes, start=str(examined)), progress)


def _load(work: Path) -> Predictor:
    from foreshape_controller.forecast.net import Net  # noqa: PLC0415 - torch is behind it

    net: Predictor = Net.load(work)
    return net


def _say(progress: Told, phase: str, report: "TrainReport") -> None:
    from foreshape_controller.forecast.net import Progress  # noqa: PLC0415 - torch is behind it

    progress(Progress(report.steps, report.steps, float("nan"), float("nan"), phase, report.cpu_s))


def _manifest(
    histories: Mapping[str, History], times: Times, settings: "TrainSettings", found: exam.Findings, name: str, cpu_s: float
) -> Manifest:
    return Manifest(
        format=folder.FORMAT,
        id=name,
        made_at=time.time(),
        code_version=code_version(),
        step_s=times.step_s,
        first=times.first,
        until=times.until,
        taught_until=times.taught_until,
        series={r: len(h.series) for r, h in histories.items()},
        seed=settings.seed,
        encoder=settings.encoder,
        cpu_seconds=round(cpu_s, 1),
        scores=found.scores,
        note=f"examined at {found.sittings} origins",
    )


def code_version() -> str:
    try:
        return version("foreshape")
    except PackageNotFoundError:
        return "unknown"
