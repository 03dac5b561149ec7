"""What an anomaly does to a forecast: its margin grows while the anomaly lasts, and nothing shrinks on a dead sensor's word."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from foreshape_controller.forecast.fans import Fans, per_series
from foreshape_controller.model.anomaly import Finding, Findings, Kind
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import Floats

HOLD_BINS = 12
"""An anomaly counts for this long after its end."""
FIRST, MOST = 1.25, 2.0
"""Factor on the distance between the median and the quantiles above it: at the threshold, and at most."""
PER_DOUBLING = 0.25
"""What each doubling of the strength adds."""
SILENT = (Kind.FLAT, Kind.DEAD)
"""Kinds whose values cannot be believed: the quantiles above the median do not fall below the day before."""

MEDIAN = LEVELS.index(0.5)


def factor(strength: float) -> float:
    """How far an anomaly stretches the upper half of a fan: never below 1."""
    return float(min(MOST, FIRST + PER_DOUBLING * np.log2(max(strength, 1.0))))


def widen(forecast: Forecast, findings: Findings) -> Forecast:
    """The forecast with wider margins for series with an active anomaly. No quantile falls; the others are untouched."""
    active = _by_row(forecast, findings.active(forecast.origin, HOLD_BINS * forecast.step_s))
    if not active:
        return forecast
    n = len(forecast.series)
    stretch, floor = np.ones(n, np.float32), np.zeros(n, np.float32)
    reason = list(forecast.reason)
    for row, found in active.items():
        stretch[row] = max(factor(f.strength) for f in found)
        floor[row] = max((f.before for f in found if f.kind in SILENT), default=0.0)
        reason[row] = f"{reason[row]}; {_words(found, float(stretch[row]))}"
    wide = Fans(forecast.steps, forecast.half_hours, forecast.peak30m, forecast.peak24h).each(lambda fan: _wider(fan, stretch, floor))
    return replace(forecast, steps=wide.steps, half_hours=wide.half_hours, peak30m=wide.peak30m, peak24h=wide.peak24h, reason=tuple(reason))


def _by_row(forecast: Forecast, active: Sequence[Finding]) -> Mapping[int, list[Finding]]:
    place = {name: i for i, name in enumerate(forecast.series)}
    rows: dict[int, list[Finding]] = {}
    for f in active:
        if f.series in place:
            rows.setdefault(place[f.series], []).append(f)
    return rows


def _wider(fan: Floats, stretch: Floats, floor: Floats) -> Floats:
    middle = fan[..., MEDIAN : MEDIAN + 1]
    upper = fan[..., MEDIAN + 1 :]
    with np.errstate(over="ignore"):
        wide = np.maximum(middle + per_series(stretch, fan) * (upper - middle), per_series(floor, fan))
    out = fan.copy()
    out[..., MEDIAN + 1 :] = np.clip(wide, upper, np.finfo(np.float32).max)
    return out


def _words(found: Sequence[Finding], stretch: float) -> str:
    newest = max(found, key=lambda f: f.since)
    since = datetime.fromtimestamp(newest.since, UTC).strftime("%d %b %H:%M UTC")
    held = ", not below the day before" if any(f.kind in SILENT for f in found) else ""
    return f"margin × {stretch:.2f}{held}: {newest.kind.value.replace('_', ' ')} since {since}"
