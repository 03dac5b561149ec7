"""Demand of many series over time, on the 5-minute grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

STEP_S = 300
"""Width of a bin. A test bed may run on a compressed grid (configuration ``[history] step``): then every
horizon below counts bins, so "30 minutes" is 6 bins and "a day" 288 bins, whatever they last."""

BINS_PER_DAY = 288

RESOURCES = ("cpu", "memory")
"""Resources that are forecast and sized; cores and MiB."""

WATCHED = (*RESOURCES, "disk", "net")
"""Resources that are forecast: also disk and network throughput, KiB/s, read and written or received and sent together.
Nothing of these two was sold, so that their entitlement is NaN."""


@dataclass(frozen=True, eq=False)
class History:
    """n series of one resource over T bins up to ``until``; the last may still be filling. A bin without data is NaN.

    mean, max: float32 [n, T] demand, cores or MiB. coverage: [n, T], share of the bin that samples spoke for, 0..1.
    censored: [n, T], share of the bin's samples that ran into their cap. entitlement: [n]. first_seen: [n], epoch s.
    """

    resource: str
    series: tuple[str, ...]
    start: int
    """Epoch seconds of the first bin's start; a multiple of the step."""
    mean: Floats
    max: Floats
    coverage: Floats
    censored: Floats
    entitlement: Floats
    first_seen: npt.NDArray[np.float64]
    step_s: int = STEP_S
    doubtful: Floats | None = None
    """Memory: [n, T], share of the bin's samples whose confidence was below one half (read from outside the guest)."""
    used: Floats | None = None
    """[n, T] what the host gave: cores used, MiB allocated; NaN in gaps. Demand is what was wanted."""
    allocated: Floats | None = None
    """[n, T] what it had; NaN in gaps. Read only where it is asked for."""

    @property
    def bins(self) -> int:
        return int(self.mean.shape[1])

    @property
    def until(self) -> int:
        """End of the last bin, epoch seconds."""
        return self.start + self.bins * self.step_s

    def pick(self, rows: Sequence[int]) -> "History":
        """Some of the series, in the order asked for."""
        at = np.asarray(rows, np.intp)
        return replace(
            self,
            series=tuple(self.series[i] for i in at),
            mean=self.mean[at],
            max=self.max[at],
            coverage=self.coverage[at],
            censored=self.censored[at],
            entitlement=self.entitlement[at],
            first_seen=self.first_seen[at],
            doubtful=None if self.doubtful is None else self.doubtful[at],
            used=None if self.used is None else self.used[at],
            allocated=None if self.allocated is None else self.allocated[at],
        )

    @property
    def empty_days(self) -> int:
        """Whole days at the beginning in which nothing was measured of any series; never the last one."""
        some = (np.isfinite(self.mean) | np.isfinite(self.max)).any(axis=0)
        before = int(some.argmax()) if some.any() else self.bins
        return max(0, min(before, self.bins - 1) // BINS_PER_DAY)

    def without_days(self, days: int) -> "History":
        """The same without its first days."""
        skip = days * BINS_PER_DAY
        columns = {name: getattr(self, name) for name in ("mean", "max", "coverage", "censored", "doubtful", "used", "allocated")}
        later: dict[str, Any] = {name: None if values is None else values[:, skip:] for name, values in columns.items()}
        return replace(self, start=self.start + skip * self.step_s, **later)

    @classmethod
    def joined(cls, parts: Sequence["History"]) -> "History":
        """Histories of one resource over the same bins as one; at least one is wanted. ``doubtful`` and ``used`` are left behind."""
        first = parts[0]
        assert all((p.start, p.bins, p.step_s) == (first.start, first.bins, first.step_s) for p in parts)
        return cls(
            resource=first.resource,
            series=tuple(s for p in parts for s in p.series),
            start=first.start,
            mean=np.concatenate([p.mean for p in parts]),
            max=np.concatenate([p.max for p in parts]),
            coverage=np.concatenate([p.coverage for p in parts]),
            censored=np.concatenate([p.censored for p in parts]),
            entitlement=np.concatenate([p.entitlement for p in parts]),
            first_seen=np.concatenate([p.first_seen for p in parts]),
            step_s=first.step_s,
        )
