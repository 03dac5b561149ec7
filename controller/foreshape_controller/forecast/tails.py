"""How large a value must be to be rare: thresholds for a stated rate of false alarms, from the extremes of days.

Every series is measured by its own last week: M is the largest of its days' maxima, S what M lies above their median. A new
day's maximum D is odd by U = (D - M) / (S + floor). Location and scale are the series' own; the tail of U cannot be told from
seven days and is pooled over the fleet, whose days give U's 96 % quantile u and, above it, a Pareto tail in 1 + U:

    P(U > c) = 0.04 · ((1 + c) / (1 + u)) ^ -α,   c such that P = r, the false alarms per series and day

(peaks over threshold; α from the median of the excesses, so that a few true anomalies do not move it). Few series are drawn
towards numbers measured on public traces. With fewer than seven days of record c grows by √(7 / (m + 1)); a series without
a record is held against the days of the fleet. What comes once a week is in the record, so it is a habit and does not alarm.
"""

from dataclasses import dataclass

import numpy as np

from foreshape_controller.model.anomaly import Mask
from foreshape_controller.model.history import BINS_PER_DAY, Floats

WEEK = 7
LEAST_DAYS = 3
"""Days of record before a day's U counts for the fleet's tail."""
FLOOR = 0.1
"""asinh units, about a tenth of a series' level: a series whose days are all alike is held to differ by that much."""
BODY = 0.04
"""Share of the fleet's days above the quantile u."""
USUAL_U, USUAL_ALPHA, USUAL_WEIGHT = 0.7, 2.0, 50
"""Before the fleet's own are known (measured on Bitbrains and Azure), and for how many series-days they count."""
LEAST_ALPHA, MOST_ALPHA = 0.75, 6.0
LEAST_C, MOST_C = 0.3, 100.0
KNOWN_DAY = BINS_PER_DAY // 2
"""Bins with data that make a day."""
FIRST = 1.5
"""Threshold of a series without a record where there is no fleet either; asinh units above nothing."""


@dataclass(frozen=True, eq=False)
class Limits:
    """at: [n, T] threshold. unit: [n, T], the series' S + floor. c and alpha: of the fleet, for the rate that was asked."""

    at: Floats
    unit: Floats
    c: float
    alpha: float

    def strength(self, value: float, row: int, at: int) -> float:
        """Odds of a value, in thresholds: (1 + U) / (1 + c)."""
        over = (value - float(self.at[row, at])) / float(self.unit[row, at])
        return 1 + max(0.0, over) / (1 + self.c)


def limits(values: Floats, judged: Mask, rate: float, first: float = FIRST) -> Limits:
    """Thresholds of ``values`` [n, T] where ``judged``, for ``rate`` alarms per series-day.

    Days are counted back from the end; each is measured by the days before it only.
    """
    days = _days(values, judged)
    known = np.isfinite(days).cumsum(axis=1)
    most, middle, count = _records(days, known)
    unit = most - middle + np.float32(FLOOR)
    pool = count >= LEAST_DAYS
    pool[:, -1:] = False
    c, alpha = _tail(((days - most) / unit)[pool], rate)
    grown = c * np.sqrt(WEEK / (np.minimum(count, WEEK - 1) + 1))
    begin = max(first, _first(days, rate))
    at = np.where(count >= 1, most + grown * unit, np.float32(begin))
    bins = values.shape[1]
    return Limits(_spread(at, bins), _spread(np.where(count >= 1, unit, np.float32(1)), bins), c, alpha)


def _days(values: Floats, judged: Mask) -> Floats:
    """[n, days]: each day's largest value; NaN for a day with too little data."""
    shape = (len(values), -(-values.shape[1] // BINS_PER_DAY), BINS_PER_DAY)
    pad = ((0, 0), (-values.shape[1] % BINS_PER_DAY, 0))
    count = np.pad(judged, pad).reshape(shape).sum(axis=2)
    top = np.pad(np.where(judged, values, -np.inf), pad, constant_values=-np.inf).reshape(shape).max(axis=2, initial=-np.inf)
    return np.where(count >= KNOWN_DAY, top, np.nan).astype(np.float32)


def _records(days: Floats, known: Floats) -> tuple[Floats, Floats, Floats]:
    """Largest and median of the up to seven days before each day, and how many of them there are: [n, days] each."""
    most, middle = np.full_like(days, np.nan), np.full_like(days, np.nan)
    for d in range(1, days.shape[1]):
        before = np.sort(days[:, max(0, d - WEEK) : d], axis=1)  # NaN last
        n = np.isfinite(before).sum(axis=1)
        last = np.maximum(n - 1, 0)
        rows = np.arange(len(days))
        most[:, d] = before[rows, last]
        middle[:, d] = (before[rows, last // 2] + before[rows, (last + 1) // 2]) / 2
    earlier = np.pad(known, ((0, 0), (1, 0)))[:, :-1]
    older = np.pad(known, ((0, 0), (WEEK + 1, 0)))[:, : known.shape[1]]
    return most, middle, (earlier - older).astype(np.float32)


def _tail(u: Floats, rate: float) -> tuple[float, float]:
    """The c and α of the fleet's U, drawn towards the usual ones as far as there are few of them."""
    some = u[np.isfinite(u)]
    weight = len(some) / (len(some) + USUAL_WEIGHT)
    level, inverse = USUAL_U, 1 / USUAL_ALPHA
    if len(some):
        own = max(0.0, float(np.quantile(some, 1 - BODY)))
        excess = np.log1p(some[some > own]) - np.log1p(own)
        level += weight * (own - USUAL_U)
        inverse += weight * ((float(np.median(excess)) / np.log(2) if len(excess) else 0.0) - inverse)
    alpha = float(np.clip(1 / max(inverse, 1e-6), LEAST_ALPHA, MOST_ALPHA))
    c = (1 + level) * (BODY / min(rate, BODY)) ** (1 / alpha) - 1
    return float(np.clip(c, LEAST_C, MOST_C)), alpha


def _first(days: Floats, rate: float) -> float:
    """What a day of the fleet exceeds at the rate."""
    known = days[np.isfinite(days)]
    return float(np.quantile(known, 1 - rate)) if len(known) else 0.0


def _spread(per_day: Floats, bins: int) -> Floats:
    """[n, T] from [n, days]."""
    out: Floats = np.repeat(per_day, BINS_PER_DAY, axis=1)[:, per_day.shape[1] * BINS_PER_DAY - bins :].astype(np.float32)
    return out
