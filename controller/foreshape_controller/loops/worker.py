"""What the training process does: read the deployment's own history, teach a challenger, let it contend with the one in office.

Started by ``loops.apprentice`` as a process of its own: its job is one line of JSON on standard input, its answers are lines of JSON
on standard output (``progress`` many times, ``done`` or ``failed`` once). It ends when its input ends, so it never outlives the
controller, whatever kills that. It runs at the lowest priority and only reads the database.
"""

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from foreshape_controller.decide.learning import Terms, contest
from foreshape_controller.decide.segments import BUILT_IN, grouped
from foreshape_controller.errors import ControllerError, ModelError
from foreshape_controller.forecast.anomaly import detect
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.scores import marks, tally
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.model.forecast import HEADS, Predictor
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, History
from foreshape_controller.model.learned import Score
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store import Store
from foreshape_controller.store.models import BASELINE

NICE = 19
BATCH = 100
"""Series read at once."""

CONTEST_EVERY = 72
"""Bins between two origins of the contest."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the process has to know."""

    database: str
    step_s: int
    models_dir: str
    model: str = ""
    """Id of the model to make, a folder in ``models_dir``; what an earlier process left of it is gone on with."""
    now: float = 0.0
    champion: str = BASELINE
    history_days: float = 60.0
    series: int = 500
    cpu_minutes: float = 5.0
    threads: int = 1
    seed: int = 0
    encoder: str = "mlp"


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of the process."""

    kind: str
    """``progress``, ``done`` or ``failed``."""
    share: float = 0.0
    """Done of all steps, 0..1."""
    phase: str = ""
    elapsed_s: float = 0.0
    loss: float | None = None
    validation: float | None = None
    model: str = ""
    reason: str = ""
    code: str = ""
    won: bool = False
    figures: dict[str, float] = {}
    """By ``resource head``: error over the error of the one in office, on the held-back days."""


Tell = Callable[[Told], None]
Teach = Callable[[Job, Mapping[str, History], Tell], float]
"""Makes the model's folder from histories; returns the end of the data that its weights were fitted on (epoch s)."""


def main() -> int:
    """Exit status: 0 done, 1 a reason was told."""
    job = msgspec.json.decode(_line(), type=Job)
    threading.Thread(target=_end_with_input, daemon=True).start()
    with suppress(OSError):  # a service that may not change priorities still trains
        os.nice(NICE)
    return run(job, tell, _teach)


def run(job: Job, tell: Tell, teach: Teach) -> int:
    """The whole lesson; every failure is one sentence."""
    try:
        histories = read_histories(job, tell)
        taught_until = teach(job, histories, tell)
        tell(contend(job, histories, taught_until))
    except ControllerError as e:
        tell(Told(kind="failed", code=e.code, reason=str(e)))
    except MemoryError:
        tell(Told(kind="failed", code="memory", reason="not enough memory: lower [learn] train_series or history_days"))
    except OSError as e:
        tell(Told(kind="failed", code="disk", reason=f"{e.strerror or e} ({e.filename or job.models_dir}): the champion goes on"))
    else:
        return 0
    return 1


def tell(told: Told) -> None:
    """One line to the controller; without one there is nobody left to work for."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()
    except OSError:
        os._exit(1)


def _end_with_input() -> None:
    """The controller holds the other end and never writes again: its end is our end."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def _line() -> bytes:
    """The job. Read from the bare descriptor: a thread that waits in ``sys.stdin`` would hold its lock when this process ends."""
    data = b""
    while not data.endswith(b"\n") and (more := os.read(0, 65536)):
        data += more
    return data


# --- history ---------------------------------------------------------------------------------------------------------


def read_histories(job: Job, tell: Tell) -> dict[str, History]:
    """Histories of a sample of servers, closed bins only. ModelError when there is too little to learn from."""
    tell(Told(kind="progress", phase="reading history"))
    store = Store.read_only(job.database, step_s=job.step_s)
    try:
        view = store.inventory.view(job.now)
        chosen = _sample(tuple(s.id for s in view.servers), job)
        count = int(job.history_days * BINS_PER_DAY)
        until = job.now // job.step_s * job.step_s
        found = {r: _trimmed(_read(store, r, chosen, until, count)) for r in WATCHED} if chosen else {}
        found = _without_events(store, view, found)
    finally:
        store.close()
    known = {r: h for r, h in found.items() if h.bins}
    if not known:
        raise ModelError(f"there is no history of {len(chosen)} servers to learn from: agents have to report for some days first")
    return known


def _without_events(store: Store, view: ClusterView, found: dict[str, History]) -> dict[str, History]:
    """Known effects of past events taken off, as they are before each forecast: a model learns what is usual."""
    calendar = Calendar(store.events)
    known = calendar.known()
    if not known.events or not found:
        return found
    groups = grouped([Member.of(s) for s in view.servers], BUILT_IN, {})
    since = min(h.start for h in found.values())
    told = calendar.influences(known, since, max(h.until for h in found.values()))
    return {r: calendar.neutral(h, groups, told) for r, h in found.items()}


def odd_bins(history: History) -> npt.NDArray[np.bool_]:
    """[n, T]: bins that stand out, not to be learned from; a batch of series at a time."""
    rows = range(0, len(history.series), BATCH)
    parts = [detect(history.pick(range(i, min(i + BATCH, len(history.series))))).mask for i in rows]
    return np.concatenate(parts)


def _sample(servers: tuple[str, ...], job: Job) -> tuple[str, ...]:
    if len(servers) <= job.series:
        return servers
    rows = np.sort(np.random.default_rng(job.seed).choice(len(servers), job.series, replace=False))
    return tuple(servers[i] for i in rows)


def _read(store: Store, resource: str, names: tuple[str, ...], until: float, count: int) -> History:
    parts = [store.history.read(resource, names[i : i + BATCH], until, count) for i in range(0, len(names), BATCH)]
    return History.joined([replace(p, used=None, doubtful=None) for p in parts])


def _trimmed(history: History) -> History:
    """Without the bins before anybody's first: nothing was there."""
    known = np.isfinite(history.mean).any(axis=0)
    first = int(known.argmax()) if known.any() else history.bins
    cut = {name: getattr(history, name)[:, first:] for name in ("mean", "max", "coverage", "censored")}
    return replace(history, start=history.start + first * history.step_s, **cut)


# --- the contest -----------------------------------------------------------------------------------------------------


def contend(job: Job, histories: Mapping[str, History], taught_until: float) -> Told:
    """The challenger against the one in office, on the challenger's held-back days, both with the weights that were examined."""
    gc.collect()
    folder = Path(job.models_dir)
    challenger = load(folder / job.model)
    try:
        champion = Baseline() if job.champion == BASELINE else load(folder / job.champion)
    except ModelError:
        champion = Baseline()  # what cannot serve cannot defend its place
    ratios = {k: r for resource, h in histories.items() for k, r in _ratios(challenger, champion, h, taught_until).items()}
    result = contest(ratios, Terms())
    figures = {f"{resource} {head}": round(r, 4) for (resource, head), r in ratios.items()}
    return Told(kind="done", model=job.model, won=result.won, reason=result.reason, figures=figures, share=1.0)


def load(folder: Path) -> Predictor:
    """A model as it was examined, with the baseline behind it. Raises ModelError."""
    from foreshape_controller.forecast.chain import Chain, load_champion  # noqa: PLC0415 - torch is asked for only where a model is used

    return Chain(Baseline(), load_champion(folder, examined=True))


def _ratios(challenger: Predictor, champion: Predictor, history: History, since: float) -> dict[tuple[str, str], float]:
    """By (resource, head): error of one over the other."""
    ours, theirs = dict.fromkeys(HEADS, 0.0), dict.fromkeys(HEADS, 0.0)
    for origin in _origins(history, since):
        for predictor, sums in ((challenger, ours), (champion, theirs)):
            for s in _scores(predictor, history, origin):
                sums[s.head] += sum(s.pinball)
    return {(history.resource, h): ours[h] / theirs[h] for h in HEADS if theirs[h] > 0}


def _origins(history: History, since: float) -> Iterator[int]:
    """Every six hours, as long as a day of truth follows."""
    step = history.step_s
    first = -int(-max(since, history.start + BINS_PER_DAY * step) // step) * step
    yield from range(first, history.until - BINS_PER_DAY * step + 1, CONTEST_EVERY * step)


def _scores(predictor: Predictor, history: History, origin: int) -> tuple[Score, ...]:
    forecast = predictor.predict(history, origin)
    n = len(history.series)
    return tally(marks(forecast, history, np.full(n, np.nan, np.float32)), np.full(n, "all"), history.resource, "")


# --- the lesson ------------------------------------------------------------------------------------------------------


def _teach(job: Job, histories: Mapping[str, History], tell: Tell) -> float:
    """The real school."""
    from foreshape_controller.forecast.school import Lesson, teach  # noqa: PLC0415 - torch is loaded only in this process

    def progress(p: Any) -> None:
        share = p.step / p.steps if p.steps else 0.0
        tell(Told(kind="progress", share=share, phase=p.phase, elapsed_s=p.elapsed_s, loss=p.loss, validation=p.validation))

    tell(Told(kind="progress", phase="looking for anomalies"))
    masks = {r: odd_bins(h) for r, h in histories.items()}
    lesson = Lesson(cpu_minutes=job.cpu_minutes, seed=job.seed, encoder=job.encoder)
    return float(teach(histories, Path(job.models_dir) / job.model, lesson, progress, masks).taught_until)


if __name__ == "__main__":
    sys.exit(main())
