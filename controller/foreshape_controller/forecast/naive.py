"""The simplest honest forecast, to see whether anything better was learned: the last value with the errors that "as now" made.

For the day: quantiles of the last two days and of past days' peaks. Not used in production.
"""

import numpy as np

from foreshape_controller.forecast.baseline import HALF_HOUR, WINDOW
from foreshape_controller.forecast.fans import Fans, Past
from foreshape_controller.forecast.prior import chain
from foreshape_controller.forecast.quantiles import last_value, quantiles, window_max
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History


class Naive:
    """Predictor (see module)."""

    name = "naive"

    def predict(self, history: History, origin: int) -> Forecast:
        past = Past.before(history, origin)
        with np.errstate(invalid="ignore", over="ignore"):
            fans, source, reason = chain(_own(past), past)
        age = np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin)))
        return Forecast(history.resource, history.series, origin, *fans.parts, source, reason, age, history.step_s)


def _own(past: Past) -> Fans:
    lately = quantiles(past.mean[:, -WINDOW:], LEVELS)
    now, top = last_value(past.mean, BINS_PER_DAY), window_max(past.peak, HALF_HOUR)
    fans = [_or(now[:, None] + _errors(past.mean[:, h:], past.mean[:, : -h or None]), lately) for h in range(1, HALF_HOUR + 1)]
    short = last_value(past.peak, BINS_PER_DAY)[:, None] + _errors(top[:, 1:], past.peak[:, :-HALF_HOUR])
    day = quantiles(window_max(past.peak, BINS_PER_DAY), LEVELS)
    highest = np.fmax.reduce(past.peak, axis=1, initial=np.nan)[:, None]
    return Fans(
        np.stack(fans, axis=1),
        np.repeat(lately[:, None, :], HALF_HOURS, axis=1),
        _or(short, quantiles(top[:, -WINDOW:], LEVELS)),
        _or(day, np.broadcast_to(highest, day.shape)),
    )


def _errors(later: Floats, before: Floats) -> Floats:
    return quantiles((later - before)[:, -WINDOW:], LEVELS)


def _or(fan: Floats, other: Floats) -> Floats:
    return np.where(np.isfinite(fan), fan, other).astype(np.float32)
