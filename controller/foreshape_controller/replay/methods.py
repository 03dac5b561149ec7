"""Simple methods that a learned forecast has to beat, each a Predictor in numpy over all series at once.

Residual methods look back on seven days and spread the errors that they would have made there: what really came so many bins
later, less what they would have said. Window peaks come from past windows' peaks, never from the steps' quantiles.
"""

from collections.abc import Callable, Mapping

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.fans import Fans, Past
from foreshape_controller.forecast.quantiles import ordered, quantiles, window_max
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast, Predictor
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

NEAR, DAY = 6, BINS_PER_DAY
CONTEXT = 7 * DAY
"""Bins that residual methods look back on."""

THIN = 3
"""Of residuals that overlap by half an hour, every third is enough."""

FULL_AT = np.minimum(1, np.asarray(LEVELS, np.float32) / 0.9)
"""Without any data: every size up to the entitlement is as likely."""


class Simple:
    """What the methods share: data before the origin in, quantiles that do not cross out, also for series without data."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fans(self, past: Past) -> Fans:
        """NaN where the method cannot say anything; methods implement it."""
        raise NotImplementedError

    def predict(self, history: History, origin: int) -> Forecast:
        past = _something(Past.before(history, origin))
        with np.errstate(invalid="ignore"):
            fans = _filled(self.fans(past), past)
        n = len(history.series)
        return Forecast(
            resource=history.resource,
            series=history.series,
            origin=origin,
            steps=fans.steps,
            half_hours=fans.half_hours,
            peak30m=fans.peak30m,
            peak24h=fans.peak24h,
            source=(self.name,) * n,
            reason=("asked for",) * n,
            age_s=np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin))),
            step_s=history.step_s,
        )


def _something(past: Past) -> Past:
    """A past of one gap instead of none."""
    if past.mean.shape[1]:
        return past
    gap = np.full((len(past.entitlement), 1), np.nan, np.float32)
    return Past(gap, gap, past.entitlement, past.count)


def _filled(fans: Fans, past: Past) -> Fans:
    """No NaN is left: first the quantiles of all that was seen, then anything up to the entitlement."""
    seen = quantiles(past.mean, LEVELS)
    sold = past.entitlement[:, None] * FULL_AT
    last = np.where(np.isfinite(seen), seen, sold)

    def whole(part: Floats) -> Floats:
        rest = last if part.ndim == 2 else last[:, None, :]
        return ordered(np.clip(np.where(np.isfinite(part), part, rest), 0, None)).astype(np.float32)

    return fans.each(whole)


class WindowQuantiles(Simple):
    """Empirical quantiles of the last so many bins, the same for every bin ahead."""

    def __init__(self, name: str, bins: int) -> None:
        super().__init__(name)
        self._bins = bins

    def fans(self, past: Past) -> Fans:
        fan = quantiles(past.mean[:, -self._bins :], LEVELS)
        halves = window_max(past.peak[:, -max(self._bins, 24) :], NEAR)
        days = window_max(past.peak[:, -(max(self._bins, 2 * DAY) + DAY) :], DAY)
        return Fans(_steps(fan), _halves(fan), quantiles(halves, LEVELS), quantiles(days, LEVELS))


class Smoothed(Simple):
    """Exponentially smoothed level (alpha 1: the last value) and the errors it made at each distance."""

    def __init__(self, name: str, alpha: float) -> None:
        super().__init__(name)
        self._alpha = np.float32(alpha)

    def fans(self, past: Past) -> Fans:
        x, top = past.mean[:, -CONTEXT:], past.peak[:, -CONTEXT - DAY :]
        level = smooth(x, self._alpha)
        return residual_fans(x, top, lambda _: level, level)


class HoltWinters(Simple):
    """Level and a daily season, added; fixed smoothing, all series at once."""

    LEVEL, SEASON = np.float32(0.2), np.float32(0.2)

    def __init__(self) -> None:
        super().__init__("holt-winters")

    def fans(self, past: Past) -> Fans:
        x, top = past.mean[:, -CONTEXT:], past.peak[:, -CONTEXT - DAY :]
        if x.shape[1] < 2 * DAY:
            level = smooth(x, self.LEVEL)
            return residual_fans(x, top, lambda _: level, level)
        level, season = self._states(x)
        return residual_fans(x[:, DAY:], top, lambda h: level + _ahead(season, h), level)

    def _states(self, x: Floats) -> tuple[Floats, Floats]:
        """Level [n, T−288] after each bin from the second day on, and season [n, T]: the season each bin left behind."""
        rows = np.ascontiguousarray(x.T)
        season = np.empty_like(rows)
        start = np.nan_to_num(_mean(rows[:DAY]))
        season[:DAY] = np.nan_to_num(rows[:DAY] - start)
        levels, level = np.empty_like(rows[DAY:]), start
        for t in range(DAY, len(rows)):
            value, old = rows[t], season[t - DAY]
            known = np.isfinite(value)
            level = np.where(known, level + self.LEVEL * (value - old - level), level)
            season[t] = np.where(known, old + self.SEASON * (value - level - old), old)
            levels[t - DAY] = level
        return np.ascontiguousarray(levels.T), np.ascontiguousarray(season.T)


def _mean(rows: Floats) -> Floats:
    known = np.isfinite(rows)
    mean: Floats = np.where(known, rows, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return mean


def _ahead(season: Floats, h: int) -> Floats:
    """The season that is known at each bin for h bins later: [n, T − 288]."""
    return season[:, h : h + season.shape[1] - DAY]


class SeasonalNaive(Simple):
    """Yesterday again, and how days differed at the same time in the last week."""

    def __init__(self) -> None:
        super().__init__("seasonal-naive")

    def fans(self, past: Past) -> Fans:
        x, top = past.mean[:, -CONTEXT - DAY :], past.peak[:, -CONTEXT - 2 * DAY :]
        differ = quantiles(x[:, DAY::THIN] - x[:, :-DAY:THIN], LEVELS)
        yesterday = _padded(held(x), DAY)[:, -DAY:]
        halves = yesterday.reshape(len(x), HALF_HOURS, NEAR).mean(axis=2)
        return Fans(
            yesterday[:, :NEAR, None] + differ[:, None, :],
            halves[:, :, None] + differ[:, None, :],
            *(_again(window_max(top, width), back) for width, back in ((NEAR, DAY - NEAR + 1), (DAY, 1))),
        )


def _again(tops: Floats, back: int) -> Floats:
    """[n, levels]: the window's peak of a day ago and how it differed from day to day. tops: peaks by the window's first bin."""
    if tops.shape[1] <= DAY:
        return np.full((len(tops), len(LEVELS)), np.nan, np.float32)
    fan: Floats = tops[:, -back, None] + quantiles(tops[:, DAY::THIN] - tops[:, :-DAY:THIN], LEVELS)
    return fan


class TimeOfDay(Simple):
    """What the last seven days brought at this time, half an hour to both sides."""

    SIDE = NEAR

    def __init__(self) -> None:
        super().__init__("time-of-day")

    def fans(self, past: Past) -> Fans:
        mean, top = past.mean, window_max(past.peak, NEAR)
        top = np.pad(top, ((0, 0), (0, past.peak.shape[1] - top.shape[1])), constant_values=np.nan)
        steps = [self._at(mean, lead, lead + 1) for lead in range(NEAR)]
        halves = [self._at(mean, NEAR * k, NEAR * (k + 1)) for k in range(HALF_HOURS)]
        days = quantiles(window_max(past.peak[:, -CONTEXT - DAY :], DAY), LEVELS)
        return Fans(np.stack(steps, axis=1), np.stack(halves, axis=1), self._at(top, 0, 1), days)

    def _at(self, values: Floats, first: int, last: int) -> Floats:
        """[n, levels] of bins first … last−1 of a day that begins at the origin, and their neighbours, on past days."""
        padded = _padded(values, CONTEXT + self.SIDE)[:, -CONTEXT - self.SIDE :]
        padded = np.pad(padded, ((0, 0), (0, self.SIDE)), constant_values=np.nan)
        width = last - first + 2 * self.SIDE
        days = [padded[:, d * DAY + first : d * DAY + first + width] for d in range(CONTEXT // DAY)]
        return quantiles(np.concatenate(days, axis=1), LEVELS)


def residual_fans(x: Floats, top: Floats, said: Callable[[int], Floats], level: Floats) -> Fans:
    """Fans from a point forecast and its own past errors.

    x: [n, T] what came; said(h): [n, T] what was said at each bin of h bins later; level: [n, T] what window peaks are
    measured against; top: [n, ≥T] maxima, ending with x.
    """
    near = np.stack([_spread(said(h), x, h, 1) for h in range(1, NEAR + 1)], axis=1)
    far = np.stack([_spread(said(NEAR * k + 4), x, NEAR * k + 4, THIN) for k in range(HALF_HOURS)], axis=1)
    return Fans(near, far, _peak(level, top, NEAR), _peak(level, top, DAY))


def _spread(said: Floats, x: Floats, h: int, thin: int) -> Floats:
    """[n, levels]: the newest word and the errors of the earlier ones."""
    fan: Floats = said[:, -1:] + quantiles((x[:, h:] - said[:, :-h])[:, ::thin], LEVELS)
    return fan


def _peak(level: Floats, top: Floats, width: int) -> Floats:
    tops = window_max(top[:, -level.shape[1] :], width)[:, 1::THIN]
    return level[:, -1:] + quantiles(tops - level[:, :-width:THIN][:, : tops.shape[1]], LEVELS)


def smooth(x: Floats, alpha: np.float32) -> Floats:
    """[n, T]: the level after each bin; a gap leaves it as it was. NaN before the first value."""
    if alpha == 1:
        return held(x)
    rows = np.ascontiguousarray(x.T)
    level, out = np.full(rows.shape[1], np.nan, np.float32), np.empty_like(rows)
    for t, value in enumerate(rows):
        moved = np.where(np.isfinite(level), level + alpha * (value - level), value)
        level = np.where(np.isfinite(value), moved, level)
        out[t] = level
    return np.ascontiguousarray(out.T)


def held(x: Floats) -> Floats:
    """Gaps repeat the last value."""
    last = np.maximum.accumulate(np.where(np.isfinite(x), np.arange(x.shape[1]), 0), axis=1)
    return np.take_along_axis(x, last, 1)


def _padded(x: Floats, bins: int) -> Floats:
    """At least so many bins, NaN in front."""
    short = max(0, bins - x.shape[1])
    return np.pad(x, ((0, 0), (short, 0)), constant_values=np.nan)


def _steps(fan: Floats) -> Floats:
    return np.repeat(fan[:, None, :], NEAR, axis=1)


def _halves(fan: Floats) -> Floats:
    return np.repeat(fan[:, None, :], HALF_HOURS, axis=1)


SIMPLE: Mapping[str, Callable[[], Predictor]] = {
    "naive-residual": lambda: Smoothed("naive-residual", 1.0),
    "ewma-0.1": lambda: Smoothed("ewma-0.1", 0.1),
    "ewma-0.3": lambda: Smoothed("ewma-0.3", 0.3),
    "window-2h": lambda: WindowQuantiles("window-2h", 24),
    "window-24h": lambda: WindowQuantiles("window-24h", DAY),
    "window-48h": lambda: WindowQuantiles("window-48h", 2 * DAY),
    "window-7d": lambda: WindowQuantiles("window-7d", 7 * DAY),
    "seasonal-naive": SeasonalNaive,
    "time-of-day": TimeOfDay,
    "holt-winters": HoltWinters,
}
"""What a forecast is compared with: cheap, no training."""

CLASSICAL = ("arima", "ets", "theta")
"""Per-series statistical models, hundreds of times slower: on sampled origins only."""

TRAINED = ("lightgbm",)

NAMES = ("baseline", *SIMPLE, *CLASSICAL, *TRAINED)

TOGETHER = {
    "simple": tuple(SIMPLE),
    "ewma": ("ewma-0.1", "ewma-0.3"),
    "window": tuple(n for n in SIMPLE if n.startswith("window-")),
    "classical": CLASSICAL,
}
"""One word for several."""


def expand(names: list[str]) -> list[str]:
    """Names of methods, groups spelt out, each once. Raises TraceError for a word that is none."""
    out = [n for word in names for n in TOGETHER.get(word, (word,))]
    for name in out:
        if name not in NAMES and name != "model":
            raise TraceError(f"{name!r} is no method: one of {', '.join((*NAMES, 'model', *TOGETHER))}")
    return list(dict.fromkeys(out))


def simple_or_baseline(name: str) -> Predictor:
    """The method of a name that needs neither training nor an extra."""
    return Baseline() if name == "baseline" else SIMPLE[name]()
