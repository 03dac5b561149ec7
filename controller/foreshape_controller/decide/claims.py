"""How many claims will come within a window: a count, not a series of amounts, so that none of the forecasts of demand fits it. Pure.

Mean and variance of past windows of the same length, each with a weight: those of the last day count the less the older they are (half
after two hours), those around the same time of the last 14 days half as much for each week. If the variance is above the mean, counts come
in bursts and a negative binomial with both moments is taken, else a Poisson (the moments of its Gamma-mixed rate). What the operator
expects counts as one window more. Misses are claims like hits: a size learned from hits alone would never grow.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, lgamma, log

DAY_S = 86400.0
HALF_RECENT_S = 2 * 3600.0
HALF_DAYS = 7.0
DAYS = 14
WINDOWS_MOST = 288
"""Windows of the last day: five minutes each, or longer ones."""
MOST = 10_000
"""No pool is sized for more claims in one window."""
LEAST_MEAN = 1e-9


@dataclass(frozen=True)
class Demand:
    """A count within a window, by its first two moments."""

    mean: float
    variance: float

    @property
    def bursty(self) -> bool:
        """Whether a Poisson would say too little."""
        return self.variance > self.mean * 1.000001 > 0

    @property
    def law(self) -> str:
        return "negative binomial" if self.bursty else "Poisson"

    def chances(self) -> Iterator[float]:
        """P(0), P(1), … as long as somebody asks."""
        if self.mean <= LEAST_MEAN:
            yield 1.0
            return
        yield from (exp(p) for p in (self._bursty() if self.bursty else self._poisson()))

    def _poisson(self) -> Iterator[float]:
        for k in range(MOST):
            yield k * log(self.mean) - self.mean - lgamma(k + 1)

    def _bursty(self) -> Iterator[float]:
        size = self.mean**2 / (self.variance - self.mean)
        share = size / (size + self.mean)
        for k in range(MOST):
            yield lgamma(k + size) - lgamma(k + 1) - lgamma(size) + size * log(share) + k * log(1 - share)

    def quantile(self, q: float) -> int:
        """The smallest count that is enough with chance ``q``."""
        sum_ = 0.0
        for k, chance in enumerate(self.chances()):
            sum_ += chance
            if sum_ >= q - 1e-12:
                return k
        return MOST


@dataclass(frozen=True)
class Known:
    """What was counted."""

    times: Sequence[float]
    """Instants of hits and misses, ascending."""
    since: float
    """From when on claims were counted at all: windows before say nothing."""
    until: float
    """Now."""


def forecast(known: Known, window_s: float, at: float, expected_h: float = 0.0) -> Demand:
    """Claims that will come in the window that begins ``at``, which is now or later. The later, the less the last hours count."""
    times = [t for t in known.times if isfinite(t) and t < known.until]
    seen = Known(times, known.since, known.until)
    recent = _moments(_recent(seen, window_s), 0.5 ** (max(0.0, at - known.until) / HALF_RECENT_S))
    daily = _moments(_same_time(seen, window_s, at))
    stated = [(expected_h * window_s / 3600.0, 0.0, 1.0)] if expected_h > 0 else []
    return _mixed([m for m in (recent, daily) if m] + stated)


def _recent(known: Known, window_s: float) -> Iterator[tuple[int, float]]:
    for k in range(min(WINDOWS_MOST, int(DAY_S // window_s) or 1)):
        start = known.until - (k + 1) * window_s
        if start < known.since:
            return
        yield _count(known.times, start, window_s), 0.5 ** (k * window_s / HALF_RECENT_S)


def _same_time(known: Known, window_s: float, at: float) -> Iterator[tuple[int, float]]:
    """The same window a day ago and earlier, and its two neighbours."""
    for day in range(1, DAYS + 1):
        for shift in (-window_s, 0.0, window_s):
            start = at - day * DAY_S + shift
            if start >= known.since and start + window_s <= known.until:
                yield _count(known.times, start, window_s), 0.5 ** (day / HALF_DAYS)


def _count(times: Sequence[float], start: float, window_s: float) -> int:
    return bisect_left(times, start + window_s) - bisect_left(times, start)


def _moments(windows: Iterable[tuple[int, float]], trust: float = 1.0) -> tuple[float, float, float] | None:
    """Mean, variance and weight: how many windows there are, up to ten, times the trust; None without one."""
    kept = list(windows)
    if not kept:
        return None
    total = sum(w for _, w in kept)
    mean = sum(c * w for c, w in kept) / total
    return mean, sum(w * (c - mean) ** 2 for c, w in kept) / total, trust * min(10, len(kept))


def _mixed(parts: Sequence[tuple[float, float, float]]) -> Demand:
    """One count from several opinions of it: means by weight; the variance also has how much they differ, and is at least a Poisson's."""
    if not parts:
        return Demand(0.0, 0.0)
    total = sum(w for *_, w in parts)
    mean = sum(m * w for m, _, w in parts) / total
    variance = sum(w * (v + (m - mean) ** 2) for m, v, w in parts) / total
    return Demand(mean, max(variance, mean))


def cost(demand: Demand, stock: int, miss: float, idle: float) -> float:
    """Expected cost of a window that begins with ``stock``: misses beyond it, and idle ones of it. The newsvendor's own measure."""
    total, seen, mean_seen = 0.0, 0.0, 0.0
    for k, chance in enumerate(demand.chances()):
        total += chance * (miss * max(0, k - stock) + idle * max(0, stock - k))
        seen, mean_seen = seen + chance, mean_seen + chance * k
        if seen > 1 - 1e-13 or k >= MOST - 1:
            break
    return total if isfinite(total) else inf
