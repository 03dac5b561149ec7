"""How an allocation did against the demand it met. Arrays are [series, bins] of 5 minutes; a bin without data is NaN."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import quantiles
from foreshape_controller.model.history import BINS_PER_DAY, Floats

TOLERANCE = 1e-6
"""Relative room for rounding: an allocation that equals the demand is no violation."""

ACTIVE_SHARE = 0.05
"""A series whose 95 % quantile is below this share of its entitlement is idle: it hardly tells policies apart."""

MOST_VIOLATED = 0.02
"""Share of violated bins that no active series should exceed."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measures:
    """Shares are 0..1."""

    violations: float
    """Bins whose demand, cut at the entitlement, was above the allocation."""
    violations_active: float
    """The same, over active series only."""
    worst_active: float
    """Share of violated bins of the worst active series."""
    above_most: int
    """Active series violated in more than ``MOST_VIOLATED`` of their bins."""
    volume: float
    """Demand above the allocation, of all demand."""
    allocation_share: float
    """Allocated of entitled."""
    slack: float
    """Allocated and not used, of allocated."""
    resizes_per_day: float
    """Per series."""


def active(past: Floats, entitlement: Floats) -> Flags:
    """[n]: which series are worth looking at, from demand before the comparison."""
    if past.shape[1] == 0:
        return np.ones(len(past), np.bool_)
    high = np.nan_to_num(quantiles(past, [0.95])[:, 0])
    busy: Flags = high >= ACTIVE_SHARE * entitlement
    return busy


def violated(demand: Floats, allocation: Floats, entitlement: Floats) -> Flags:
    """[n, bins]: where demand, cut at the entitlement, was above the allocation."""
    wanted = np.minimum(demand, entitlement[:, None])
    with np.errstate(invalid="ignore"):  # a gap is above nothing
        over: Flags = wanted > allocation * (1 + TOLERANCE)
    return over


def measure(demand: Floats, allocation: Floats, entitlement: Floats, only: Flags | None = None) -> Measures:
    """Compare what was allocated with what was wanted; ``only`` [n] marks active series (default: all)."""
    wanted = np.minimum(demand, entitlement[:, None])
    known: Flags = np.isfinite(wanted) & np.isfinite(allocation)
    over = violated(demand, allocation, entitlement)
    given, used = np.where(known, allocation, 0), np.where(known, np.minimum(wanted, allocation), 0)
    rows = np.arange(len(demand)) if only is None else np.flatnonzero(only)
    each = over.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return Measures(
        violations=_ratio(over.sum(), known.sum()),
        violations_active=_ratio(over[rows].sum(), known[rows].sum()),
        worst_active=float(each[rows].max(initial=0.0)),
        above_most=int((each[rows] > MOST_VIOLATED).sum()),
        volume=_ratio(_sum(np.where(over, wanted - allocation, 0)), _sum(np.where(known, wanted, 0))),
        allocation_share=_ratio(_sum(given), _sum(np.where(known, entitlement[:, None], 0))),
        slack=_ratio(_sum(given) - _sum(used), _sum(given)),
        resizes_per_day=_ratio(resizes(allocation, entitlement).sum(), demand.size / BINS_PER_DAY),
    )


def resizes(allocation: Floats, entitlement: Floats) -> npt.NDArray[np.int64]:
    """[n]: how often the allocation changed."""
    with np.errstate(invalid="ignore"):
        changed = np.abs(np.diff(allocation, axis=1)) > TOLERANCE * entitlement[:, None]
    return np.asarray(changed.sum(axis=1), np.int64)


def _sum(values: Floats) -> float:
    """In double precision: 400 servers over a fortnight are millions of terms."""
    return float(values.sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0
