"""Growth that was made ahead and was not needed is taken back sooner than the hold time, and not at once. Pure.

A wish of an earlier plan keeps a size for the whole hold time, because most wishes come true. One that did not counts less and
less once its time is over:

    made at t ── window (what it was made for) ── late (peaks may come late) ──┬─ step ─┬─ step ─┬─ step ─┐
    counts whole                                                               └ 75 %   └ 50 %   └ 25 %   └ what really came

    counts(t) = came + keep · (wanted − came)        keep = 1 − step_share · (steps since the end of its time), at least 0

Doubted are only wishes that were made ahead: the forecast's median was half as much again as anything measured in the hold time before
(``Sizes.ahead``; kept beside the wishes). One of them did not come true when less than ``came_share`` of it came until its time was
over. Where anything of that was not measured, or ran into its cap, nobody knows: it counts whole. What was really used keeps its hold
time by itself (``decide.size``). That most wishes are too high is no reason for doubt: they are high quantiles. Measured on traces, to
doubt them all costs more resizes and violations than it saves.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.columns import Column
from foreshape_controller.model.history import Floats

Wished = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Miss(NamedTuple):
    """One server's growth that was made ahead and was not needed. Cores or MiB."""

    counts: float
    """What all its wishes within the hold time still count."""
    wanted: float
    """The largest that did not come true."""
    came: float


@dataclass(frozen=True)
class MissRule:
    """When a wish did not come true, and how fast it is taken back. Bins of the history."""

    window: int = 6
    """What a wish was made for: the next half-hour."""
    late: int = 6
    """Peaks may come so much later."""
    step: int = 3
    """Bins between two steps."""
    step_share: float = 0.25
    """What one step takes of what did not come."""
    came_share: float = 0.6

    @property
    def least(self) -> int:
        """Bins until a wish can be judged: a hold time that is shorter is never cut."""
        return self.window + self.late


@dataclass(frozen=True, eq=False)
class Past:
    """The last H bins of n servers and one resource, the newest still filling. Cores or MiB."""

    wanted: Wished
    """[n, H]: the largest that plans wanted in each bin; NaN: nothing."""
    ahead: Flags
    """[n, H]: that wish was made ahead."""
    measured: Floats
    """[n, H]: largest demand of each bin; NaN: not known, or capped."""
    overhead: Column
    """[n]: what must be there beside the demand."""


@dataclass(frozen=True, eq=False)
class Held:
    """What earlier wishes still count. All [n]; NaN: nothing was wanted."""

    amount: Column
    whole: Column
    """What it would be if every wish had come true."""
    missed: Column
    """The largest wish that did not come true and is being taken back; NaN: none."""
    came: Column
    """The largest that came instead, until the time of these wishes was over."""


def held(past: Past, bins: npt.NDArray[np.intp], rule: MissRule) -> Held:
    """The largest of what each wish of a server's own hold time (``bins`` [n]) still counts."""
    n, h = past.wanted.shape
    in_hold = np.arange(h) >= h - np.maximum(1, bins)[:, None]
    wanted = np.where(in_hold, past.wanted, np.nan)
    whole = _largest(wanted)
    if h <= rule.least:
        return Held(whole, whole, np.full(n, np.nan), np.full(n, np.nan))
    came, missed = _missed(past, wanted, rule)
    keep = _keep(h, rule)
    with np.errstate(invalid="ignore"):
        counts = np.where(missed, came + keep * (wanted - came), wanted)
    fading = missed & (keep < 1)
    return Held(_largest(counts), whole, _largest(np.where(fading, wanted, np.nan)), _largest(np.where(fading, came, np.nan)))


def _missed(past: Past, wanted: Wished, rule: MissRule) -> tuple[Wished, Flags]:
    """[n, H]: what came of each wish until its time was over, and whether that was too little. Later bins are not judged yet."""
    came = np.full(wanted.shape, np.nan)
    judged = wanted.shape[1] - rule.least
    came[:, :judged] = _windows(past.measured, rule.least + 1) + past.overhead[:, None]
    with np.errstate(invalid="ignore"):  # what is not known is not missed
        return came, past.ahead & (came < rule.came_share * wanted)


def _keep(h: int, rule: MissRule) -> Column:
    """[H]: how much of what did not come still counts."""
    since = (h - 1) - (np.arange(h) + rule.least)  # bins since the end of its time; the newest bin is still filling
    steps = np.maximum(0, since // rule.step)
    return np.maximum(0.0, 1.0 - rule.step_share * steps)


def _windows(values: Floats, width: int) -> Wished:
    """[n, T − width + 1]: the largest of each ``width`` bins; NaN where one of them is not known."""
    largest: Wished = np.lib.stride_tricks.sliding_window_view(values, width, axis=1).max(axis=2).astype(np.float64)
    return largest


def _largest(values: Wished) -> Column:
    found: Column = np.fmax.reduce(values, axis=1, initial=np.nan)
    return found
