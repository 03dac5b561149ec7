"""The forecast that is always there: numpy only, no training, all series at once.

For the next half-hour three simple experts speak for each series: its last value, the mean of its last two hours and
itself a day ago, each with the errors it made over the last two days; the one that erred least weighs most. They are mixed
with what followed similar moments of the past. For the day: quantiles of the last two days and of the week. Peaks of windows come from past
windows' peaks, never from the steps' quantiles: the largest per-step 95 % quantile covers a true day peak 35–45 % of the time.
Chain per series (domain.md §3): own history → shape of the fleet → entitlement, the reason stored with each.
"""

import numpy as np

from foreshape_controller.forecast import analogs
from foreshape_controller.forecast.analogs import Analogs
from foreshape_controller.forecast.fans import Fans, Past
from foreshape_controller.forecast.prior import chain
from foreshape_controller.forecast.quantiles import last_value, quantiles, rolling_mean, window_max
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

HALF_HOUR = 6
"""Bins of the short horizon."""

WINDOW = 2 * BINS_PER_DAY
"""Bins that errors look back on."""

SPANS = ((WINDOW, 1 / 3), (7 * BINS_PER_DAY, 2 / 3))
"""Bins whose quantiles are the day ahead's, and their weights. Alone, in wQL over a day: on 107 Bitbrains VMs in August a week beat two
days by 11 % (CPU) and 8 % (memory), on sums of 20 by 13 % and 10 %; elsewhere the two are within 2 % of each other."""

SHORT = 24
"""Bins of the short mean."""

FRESH = 6
"""A last value older than this many bins says nothing about the next half-hour."""

TRUST = 8
"""An expert's weight is its mean error to the power of minus this: close to "the best one", without jumps."""

ALIKE = 2 / 3
"""Weight of what followed similar moments."""

FADE = 4.0
"""Half-hours in which the day ahead forgets the present (e-fold)."""

LEAST_ERRORS = 12
"""Errors of an expert before it is heard."""

BLOCK = 128
"""Series whose next half-hour is worked out at once: so few stay in the processor's cache, which halves the time."""

DAY_RATIO = (0.3, 0.55, 0.7, 0.85, 0.95, 0.98, 1.0, 1.02, 1.07, 1.2, 1.45, 2.0, 3.4)
"""Quantiles of (next day's peak / last day's peak) where the fleet has too few days to tell; from Azure's and Bitbrains' VMs."""

DAYS_KNOWN = 500
"""Day-to-day ratios before the fleet's own quantiles replace DAY_RATIO."""


class Baseline:
    """Predictor from empirical quantiles and residuals (see module)."""

    name = "baseline"

    def predict(self, history: History, origin: int) -> Forecast:
        past = Past.before(history, origin)
        with np.errstate(invalid="ignore", over="ignore"):
            fans, source, reason = chain(_own(past), past)
        return Forecast(
            resource=history.resource,
            series=history.series,
            origin=origin,
            steps=fans.steps,
            half_hours=fans.half_hours,
            peak30m=fans.peak30m,
            peak24h=fans.peak24h,
            source=source,
            reason=reason,
            age_s=np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin))),
            step_s=history.step_s,
        )


def _own(past: Past) -> Fans:
    """What each series says of itself; NaN where it has no data."""
    lately = _lately(past.mean)
    blocks = [_soon(past.mean[i : i + BLOCK], past.peak[i : i + BLOCK]) for i in range(0, len(past.mean), BLOCK)]
    steps, peak30m = (np.concatenate(parts) for parts in zip(*blocks, strict=True)) if blocks else _nothing()
    steps = np.where(np.isfinite(steps), steps, lately[:, None, :])
    return Fans(steps, _half_hours(steps, lately), peak30m, _peak24h(past.peak))


def _lately(mean: Floats) -> Floats:
    """[n, levels]: quantiles of the past; of the whole week where the last days are a gap."""
    fans = [(quantiles(mean[:, -bins:], LEVELS), weight) for bins, weight in SPANS]
    whole = fans[-1][0]
    mixed = sum(weight * np.where(np.isfinite(fan), fan, whole) for fan, weight in fans)
    return np.asarray(mixed, np.float32)


def _nothing() -> tuple[Floats, Floats]:
    return np.empty((0, HALF_HOUR, len(LEVELS)), np.float32), np.empty((0, len(LEVELS)), np.float32)


def _soon(mean: Floats, peak: Floats) -> tuple[Floats, Floats]:
    """Steps [n, 6, levels] and peak [n, levels] of the next half-hour."""
    alike = analogs.find(peak, HALF_HOUR, SHORT)
    return _steps(mean, alike), _peak30m(peak, alike)


def _steps(mean: Floats, alike: Analogs | None) -> Floats:
    """[n, 6, levels]: 5-minute means of the next half-hour."""
    now = last_value(mean, FRESH)
    short = rolling_mean(mean, SHORT)
    fans = [_joined(_step(mean, short, now, h), alike, mean, h) for h in range(1, HALF_HOUR + 1)]
    return np.stack(fans, axis=1)


def _step(mean: Floats, short: Floats, now: Floats, h: int) -> Floats:
    """[n, levels]: ``h`` bins ahead."""
    yesterday = _shifted(mean, BINS_PER_DAY - h + 1)
    return _blend(
        [
            (now, mean[:, h:] - mean[:, :-h]),
            (_newest(short), mean[:, SHORT + h - 1 :] - short[:, :-h]),
            (yesterday, mean[:, BINS_PER_DAY:] - mean[:, :-BINS_PER_DAY]),
        ]
    )


def _peak30m(peak: Floats, alike: Analogs | None) -> Floats:
    """[n, levels]: largest maximum of the next half-hour, from what followed past values."""
    top = window_max(peak, HALF_HOUR)
    short = rolling_mean(peak, SHORT)
    fan = _blend(
        [
            (last_value(peak, FRESH), top[:, 1:] - peak[:, :-HALF_HOUR]),
            (_newest(short), top[:, SHORT:] - short[:, :-HALF_HOUR]),
            (_shifted(top, BINS_PER_DAY - HALF_HOUR + 1), top[:, BINS_PER_DAY:] - top[:, :-BINS_PER_DAY]),
        ]
    )
    return _joined(np.where(np.isfinite(fan), fan, quantiles(top[:, -WINDOW:], LEVELS)), alike, top, 1)


def _joined(fan: Floats, alike: Analogs | None, values: Floats, ahead: int) -> Floats:
    """The experts' fan, mixed with what followed similar moments where there are enough of those."""
    if alike is None:
        return fan
    similar = alike.fan(values, ahead)
    return np.where(np.isfinite(similar), (1 - ALIKE) * fan + ALIKE * similar, fan).astype(np.float32)


def _peak24h(peak: Floats) -> Floats:
    """[n, levels]: largest maximum of the next day: past days' peaks, half as they were, half scaled by how a day follows a day."""
    days = window_max(peak, BINS_PER_DAY)
    if days.shape[1] == 0:
        so_far = np.fmax.reduce(peak, axis=1, initial=np.nan)
        return _fan(so_far, _ratios())
    own = quantiles(days, LEVELS)
    level = np.sqrt(np.maximum(days[:, -1], 0) * np.maximum(own[:, LEVELS.index(0.5)], 0))
    level = np.where(np.isfinite(level), level, own[:, LEVELS.index(0.5)])
    return ((own + _fan(level, _day_ratio(days))) / 2).astype(np.float32)


def _day_ratio(days: Floats) -> Floats:
    """[levels]: how the next day's peak compares with the last one's, over the whole fleet."""
    before, after = days[:, :-BINS_PER_DAY:HALF_HOUR], days[:, BINS_PER_DAY::HALF_HOUR]
    ratio = np.where(before > 0, after / np.where(before > 0, before, 1), np.nan).astype(np.float32)
    if np.isfinite(ratio).sum() < DAYS_KNOWN:
        return _ratios()
    fleet: Floats = quantiles(ratio.reshape(1, -1), LEVELS)[0]
    return fleet


def _ratios() -> Floats:
    return np.asarray(DAY_RATIO, np.float32)


def _fan(level: Floats, shape: Floats) -> Floats:
    """[n, levels]: each series' level times one shape."""
    fan: Floats = np.outer(level, shape).astype(np.float32)
    return fan


def _half_hours(steps: Floats, lately: Floats) -> Floats:
    """[n, 48, levels]: the present fades into the last two days' marginals."""
    fade = np.exp(-np.arange(HALF_HOURS, dtype=np.float32) / FADE)[None, :, None]
    fan: Floats = fade * steps[:, -1:, :] + (1 - fade) * lately[:, None, :]
    return fan


def _blend(experts: list[tuple[Floats, Floats]]) -> Floats:
    """[n, levels] from (anchor [n], its past errors [n, m]) of each expert; NaN where none can speak."""
    spread, trust = zip(*(_heard(anchor, errors[:, -WINDOW:]) for anchor, errors in experts), strict=True)
    best = np.fmax.reduce(trust)
    weight = np.stack([np.nan_to_num((t / best) ** TRUST) for t in trust])
    total = weight.sum(axis=0)
    fan = sum(w[:, None] * np.nan_to_num(s) for w, s in zip(weight, spread, strict=True))
    return np.where(total[:, None] > 0, fan / np.maximum(total, 1e-9)[:, None], np.nan).astype(np.float32)


def _heard(anchor: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """One expert's fan [n, levels] and trust [n] (1 / mean error; NaN when it cannot speak)."""
    fan = anchor[:, None] + quantiles(errors, LEVELS)
    known = np.isfinite(errors)
    count = known.sum(axis=1)
    size = np.where(known, np.abs(errors), 0).sum(axis=1) / np.maximum(count, 1)
    speaks = np.isfinite(anchor) & (count >= LEAST_ERRORS)
    return fan, np.where(speaks, 1 / np.maximum(size, 1e-9), np.nan).astype(np.float32)


def _shifted(values: Floats, back: int) -> Floats:
    """The value ``back`` bins before the end: [n]; NaN when the past does not reach so far."""
    if values.shape[1] < back:
        return np.full(len(values), np.nan, np.float32)
    return values[:, -back]


def _newest(values: Floats) -> Floats:
    return _shifted(values, 1)
