"""How large a surprise must be to be rare: thresholds from extreme values, for a stated rate of false alarms.

Take the largest surprise of each of a series' last m days. If their tail is a power law with index α, a new day beats the
largest of them by a factor k with probability k^-α / (m + 1): it is the largest of m + 1 with probability 1 / (m + 1), and the
ratio of the two largest of a Pareto sample is Pareto with the same α (Rényi's representation). So for r false alarms a day

    k = ((m + 1) · r) ^ (-1/α)         threshold = k · largest surprise of the last m days, at most a week.

Each series brings its own record; α cannot be told from seven days and is pooled over the fleet: the ratio of each series' two
largest days exceeds its upper quartile with probability ¼, so α = ln 4 / ln(that quartile). On Bitbrains and Azure the law
found at the quartile holds at the ratios that matter (one in eight to one in twenty weeks) within about 15 %.
A series without a whole day is held against the days of the fleet.
"""

import numpy as np

from foreshape_controller.forecast.surprise import WEEK, lag, trailing_max
from foreshape_controller.model.history import BINS_PER_DAY, Floats

RECENT = 36
"""Bins that do not count for the record yet: an anomaly must not excuse itself."""
LEAST_RECORD = 0.1
"""asinh units: a series that never surprised is held to have surprised by a tenth of its level."""
ALPHA, ALPHA_WEIGHT = 2.0, 30
"""Tail index before a fleet's own is known (Bitbrains 1.4–3.0, Azure 1.8–2.8), and for how many series it counts."""
LEAST_ALPHA, MOST_ALPHA = 1.25, 4.0
LEAST_K, MOST_K = 1.25, 30.0
KNOWN_DAY = BINS_PER_DAY // 2
"""Bins with data that make a day."""
FIRST = 1.5
"""Threshold of a series without a record where there is no fleet either; asinh units."""


def thresholds(size: Floats, known: Floats, rate: float) -> tuple[Floats, float]:
    """[n, T] in the unit of ``size``, and the tail index. ``known``: 1 where a value was judged. ``rate``: alarms per series-day.

    The first day of a series has no yesterday to be compared with and makes no record.
    """
    judged = _after_first_day(known)
    record = lag(trailing_max(np.where(judged > 0, size, np.float32(np.nan)), WEEK), RECENT)
    days = lag(_days(judged), RECENT)
    peaks = daily_peaks(size, judged)
    alpha = tail_index(peaks)
    k = np.clip(((np.nan_to_num(days) + 1) * rate) ** (-1 / alpha), LEAST_K, MOST_K)
    own = k * np.fmax(record, LEAST_RECORD)
    enough = np.nan_to_num(days) >= 1
    return np.where(enough, own, np.fmax(own, _first(peaks, rate))).astype(np.float32), alpha


def daily_peaks(size: Floats, judged: Floats) -> Floats:
    """[n, days]: largest surprise of each whole day, counted back from the end; NaN for a day with too little data."""
    days = size.shape[1] // BINS_PER_DAY
    if days == 0:
        return np.empty((len(size), 0), np.float32)
    shape = (len(size), days, BINS_PER_DAY)
    top = size[:, -days * BINS_PER_DAY :].reshape(shape).max(axis=2)
    full = judged[:, -days * BINS_PER_DAY :].reshape(shape).sum(axis=2) >= KNOWN_DAY
    return np.where(full, top, np.float32(np.nan))[:, -7:]


def tail_index(peaks: Floats) -> float:
    """α of the fleet; of few series, drawn towards ALPHA."""
    some = peaks[np.isfinite(peaks).sum(axis=1) >= 3]
    if len(some) == 0:
        return ALPHA
    two = np.sort(np.where(np.isnan(some), -1, np.fmax(some, LEAST_RECORD / 2)), axis=1)[:, -2:]
    quartile = float(np.quantile(np.log(two[:, 1] / two[:, 0]), 0.75))
    inverse = (len(some) * quartile / np.log(4) + ALPHA_WEIGHT / ALPHA) / (len(some) + ALPHA_WEIGHT)
    return float(np.clip(1 / inverse, LEAST_ALPHA, MOST_ALPHA))


def _first(peaks: Floats, rate: float) -> float:
    """Threshold where a series has no day of its own: what a day of the fleet exceeds at the rate."""
    known = peaks[np.isfinite(peaks)]
    return max(FIRST, float(np.quantile(known, 1 - rate))) if len(known) else FIRST


def _after_first_day(known: Floats) -> Floats:
    begun = np.maximum.accumulate(known, axis=1)
    judged = known.copy()
    judged[:, :BINS_PER_DAY] = 0
    judged[:, BINS_PER_DAY:] *= begun[:, : max(0, known.shape[1] - BINS_PER_DAY)]
    return judged


def _days(judged: Floats) -> Floats:
    """[n, T]: days of record in the last week."""
    total = np.cumsum(judged, axis=1, dtype=np.float32)
    week = total.copy()
    week[:, WEEK:] -= total[:, :-WEEK]
    return week / np.float32(BINS_PER_DAY)
