"""How far a value lies outside of what simple experts allow: zero nearly always, whatever the series does every day.

A value surprises if it lies outside of everything seen in the last two hours and of everything seen around the same time a
day (and a week) ago. The distance to that band is the surprise; a recurring rise, a cron spike and a level that has become
normal have none. Values are taken as asinh(value / level): relative for large ones, absolute near zero, so that the
multiplicative noise of CPU is as calm at night as at noon.

Hours are judged the same way by the median of their three 20-minute means, which one short spike cannot move.
"""

from dataclasses import dataclass

import numpy as np

from foreshape_controller.forecast.quantiles import quantiles, rolling_mean, window_max
from foreshape_controller.model.anomaly import Mask
from foreshape_controller.model.history import BINS_PER_DAY, Floats

HOUR = 12
LATELY = 24
"""Bins of the recent past whose range is normal."""
ABOUT = 3
"""Bins before and after the same time of another day."""
WEEK = 7 * BINS_PER_DAY


@dataclass(frozen=True, eq=False)
class Surprise:
    """[n, T] each. size: distance of a value (or of an hour's level) to its band, 0 inside and where nothing is known."""

    size: Floats
    low: Floats
    high: Floats
    up: Mask
    values: Floats
    """What was judged, on the asinh scale; NaN = gap."""


def level(values: Floats) -> Floats:
    """[n]: what counts as large for a series: its median, or a twentieth of its 95 % quantile where it rests most of the time."""
    some = quantiles(values[:, :: _stride(values)], (0.5, 0.95))
    top = np.fmax.reduce(values, axis=1, initial=np.float32(0))
    found = np.fmax(np.fmax(some[:, 0], some[:, 1] / 20), top / 100)
    return np.where(found > 0, found, np.float32(1)).astype(np.float32)


def squeeze(values: Floats, scale: Floats) -> Floats:
    """Asinh of the values in units of their series' level."""
    squeezed: Floats = np.arcsinh(values / scale[:, None])
    return squeezed


def of_bins(x: Floats) -> Surprise:
    """Surprise of each 5-minute value: what spikes, dips and sudden shifts have."""
    past, ago = (trailing_max(x, LATELY), 1), (trailing_max(x, 2 * ABOUT + 1), ABOUT)
    low = (-trailing_max(-x, LATELY), 1), (-trailing_max(-x, 2 * ABOUT + 1), ABOUT)
    return _judged(x, (past, ago), low)


def of_hours(x: Floats) -> Surprise:
    """Surprise of each last hour's level: what shifts have that are no larger than the noise."""
    h = np.where(np.isnan(x), np.float32(np.nan), hour_level(x))
    past, ago = (trailing_max(h, LATELY), HOUR), (trailing_max(h, LATELY + 1), HOUR)
    low = (-trailing_max(-h, LATELY), HOUR), (-trailing_max(-h, LATELY + 1), HOUR)
    return _judged(h, (past, ago), low)


def hour_level(x: Floats) -> Floats:
    """[n, T]: median of the three 20-minute means of the last hour; NaN where one has no value."""
    third = HOUR // 3
    mean = rolling_mean(np.pad(x, ((0, 0), (third - 1, 0)), constant_values=np.nan), third)
    a, b, c = mean, lag(mean, third), lag(mean, 2 * third)
    middle: Floats = np.fmax(np.fmin(a, b), np.fmin(np.fmax(a, b), c)) + 0 * (a + b + c)
    return middle


def trailing_max(x: Floats, width: int) -> Floats:
    """[n, T]: largest value of the last ``width`` bins, this one included."""
    return window_max(np.pad(x, ((0, 0), (width - 1, 0)), constant_values=np.nan), width)


def lag(x: Floats, bins: int) -> Floats:
    """[n, T]: the value ``bins`` earlier; NaN before the beginning."""
    out = np.full_like(x, np.nan)
    if bins < x.shape[1]:
        out[:, bins:] = x[:, : x.shape[1] - bins]
    return out


_Range = tuple[tuple[Floats, int], tuple[Floats, int]]


def _judged(x: Floats, tops: _Range, bottoms: _Range) -> Surprise:
    """Outside of the last two hours' range and of the same time's on other days; nothing is said without recent values."""
    (top, near), (top_then, after) = tops
    (bottom, _), (bottom_then, _) = bottoms
    lately = lag(top, near)
    high, low = lately, lag(bottom, near)
    for back in (BINS_PER_DAY, WEEK):
        if x.shape[1] > back:
            high, low = np.fmax(high, lag(top_then, back - after)), np.fmin(low, lag(bottom_then, back - after))
    above, below = x - high, low - x
    size = np.where(np.isfinite(lately) & np.isfinite(x), np.maximum(np.maximum(above, below), 0), np.float32(0))
    return Surprise(np.nan_to_num(size), low, high, above >= below, x)


def _stride(values: Floats) -> int:
    """Every fourth bin is enough to know a level of days."""
    return 4 if values.shape[1] >= BINS_PER_DAY else 1
