"""A model from traces: what ``foreshape train`` and the benchmarks do; the nightly training does the same with the store's history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.forecast.school import Lesson, teach
from foreshape_controller.model.history import WATCHED, Floats, History
from foreshape_controller.model.learned import Manifest
from foreshape_controller.replay.backtest import before

if TYPE_CHECKING:
    from foreshape_controller.forecast.net import Progress

WEEK = 7 * 86400

ENCODERS = ("mlp", "tcn", "lstm")


@dataclass(frozen=True)
class Course:
    """How to train. until: epoch s, nothing from there on is looked at. encoder: None for the usual one."""

    until: int | None = None
    cpu_minutes: float = 5.0
    seed: int = 0
    encoder: str | None = None
    device: str = "auto"


def learn(histories: Mapping[str, History], out: Path, course: Course, progress: Callable[[str], None]) -> Manifest:
    """Teach, examine and write a model folder. ModelError: too little data, no torch, ``out`` is taken, a full disk."""
    lesson = Lesson(cpu_minutes=course.cpu_minutes, seed=course.seed, device=course.device, until=course.until)
    if course.encoder:
        lesson = replace(lesson, encoder=course.encoder)
    return teach(histories, out, lesson, lambda p: progress(told(p)))


def told(p: "Progress") -> str:
    """Where training is, as a line."""
    seen = "" if np.isnan(p.validation) else f", validation {p.validation:.4f}"
    loss = "" if np.isnan(p.loss) else f", loss {p.loss:.4f}"
    return f"{p.phase}: step {p.step} of {p.steps}{loss}{seen}, {p.elapsed_s:.0f} s"


def joined(traces: Sequence[Mapping[str, History]], until: Sequence[int | None]) -> Mapping[str, History]:
    """Histories of several clouds as of one, each cut at its own end. TraceError where an end leaves nothing.

    Clouds of different years are laid over each other by whole weeks, so that hours and weekdays stay what they were.
    A name that two traces have gets the number of its trace.
    """
    cut = [_cut(trace, end) for trace, end in zip(traces, until, strict=True)]
    if len(cut) == 1:
        return cut[0]
    last = max(h.until for trace in cut for h in trace.values())
    moved = [{r: _named(_moved(h, last), i + 1, cut) for r, h in trace.items()} for i, trace in enumerate(cut)]
    return {r: _together([t[r] for t in moved if r in t]) for r in WATCHED if any(r in t for t in moved)}


def _cut(trace: Mapping[str, History], end: int | None) -> Mapping[str, History]:
    if end is None:
        return trace
    some = next(iter(trace.values()))
    if end <= some.start:
        raise TraceError(f"the trace begins at {some.start}: nothing of it lies before --until {end}")
    return {r: before(h, end, h.bins) for r, h in trace.items()}


def _moved(h: History, last: int) -> History:
    weeks = (last - h.until) // WEEK * WEEK
    return replace(h, start=h.start + weeks, first_seen=h.first_seen + weeks)


def _named(h: History, number: int, traces: Sequence[Mapping[str, History]]) -> History:
    others = {s for i, t in enumerate(traces) if i + 1 != number for o in t.values() for s in o.series}
    return replace(h, series=tuple(f"{s}-{number}" if s in others else s for s in h.series))


def _together(parts: Sequence[History]) -> History:
    """All series on the grid that holds them all; gaps where a part does not reach."""
    start, end = min(h.start for h in parts), max(h.until for h in parts)

    def laid(name: str, empty: float) -> Floats:
        rows = []
        for h in parts:
            sides = ((0, 0), ((h.start - start) // h.step_s, (end - h.until) // h.step_s))
            rows.append(np.pad(getattr(h, name), sides, constant_values=empty))
        return np.concatenate(rows).astype(np.float32)

    mean, nan = laid("mean", np.nan), np.nan
    return replace(
        parts[0],
        series=tuple(s for h in parts for s in h.series),
        start=start,
        mean=mean,
        max=mean if all(h.max is h.mean for h in parts) else laid("max", nan),
        coverage=laid("coverage", 0),
        censored=laid("censored", 0),
        entitlement=np.concatenate([h.entitlement for h in parts]),
        first_seen=np.concatenate([h.first_seen for h in parts]),
        doubtful=None,
    )
