"""Runs of a condition (the same value, zero, no data) that are longer than a series' own habits explain.

A run alarms when it is longer than (a) half an hour, (b) twice the longest before it, and (c) what luck
explains: if the condition used to hold in a share p of the bins, a run of k has probability p^k. A condition that holds
in a third of the bins is a habit and never alarms: a series that is constant by nature does not, one that always moves does
after half an hour.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.anomaly import Mask

Ints = npt.NDArray[np.int32]

LEAST = 6
"""Bins; nothing shorter is a run."""
LONGER = 2.0
"""Times the longest run before."""
HABIT = 1 / 3
"""Share of bins from which on a condition is how the series is."""
KNOWN = 144
"""Bins of history before a run can be called unusual."""


@dataclass(frozen=True, eq=False)
class Runs:
    """[n, T] each. length: bins of the run so far (0 where the condition does not hold). seen: those of them with evidence.

    limit: bins with evidence that begin to alarm. A series that never held for LEAST bins has no limit and nothing seen.
    """

    length: Ints
    seen: Ints
    limit: npt.NDArray[np.float32]

    @property
    def alarms(self) -> Mask:
        found: Mask = self.seen >= self.limit
        return found


def find(holds: Mask, asked: Mask, rate: float) -> Runs:
    """Runs of ``holds``. ``asked``: bins that are evidence (a gap only bridges). ``rate``: chance of a false alarm per bin."""
    length = lengths(holds)
    seen, limit = np.zeros_like(length), np.full(length.shape, np.inf, np.float32)
    some = np.flatnonzero(length.max(axis=1, initial=0) >= LEAST)  # of most series none was ever long: no need to ask further
    if len(some):
        seen[some], limit[some] = _judged(length[some], holds[some], asked[some], rate)
    return Runs(length, seen, limit)


def _judged(length: Ints, holds: Mask, asked: Mask, rate: float) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Seen, and limit."""
    begun = np.arange(1, holds.shape[1] + 1, dtype=np.int32) - length
    bins = _before(np.cumsum(asked, axis=1, dtype=np.int32), begun)
    sums = np.cumsum(holds & asked, axis=1, dtype=np.int32)
    held = _before(sums, begun)
    seen = np.where(length > 0, sums - held, 0)
    longest = _before(np.maximum.accumulate(seen, axis=1), begun)
    share = ((held + 1) / (bins + 2)).astype(np.float32)
    luck = np.float32(np.log(rate)) / np.log(share)
    limit = np.maximum(np.maximum(LEAST, LONGER * longest + 1), luck)
    odd = (length > 0) & (bins >= KNOWN) & (share < HABIT)
    return seen, np.where(odd, limit, np.inf).astype(np.float32)


def lengths(holds: Mask) -> Ints:
    """[n, T]: for how many bins the condition has held without a break."""
    place = np.arange(1, holds.shape[1] + 1, dtype=np.int32)
    broken = np.maximum.accumulate(np.where(holds, np.int32(0), place), axis=1)
    found: Ints = place - broken
    return found


def _before(sums: Ints, at: Ints) -> Ints:
    """The sums just before the bin where each run began."""
    known: Ints = np.take_along_axis(sums, np.maximum(at - 1, 0), axis=1)
    return np.where(at > 0, known, 0)
