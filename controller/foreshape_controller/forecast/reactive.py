"""No looking ahead: what the last half-hour measured stands for the next.

The same size rules then decide as a rule without forecasts would. For comparison, and for an operator who wants the
levers without the forecasts (``[plan] forecast = off``).
"""

import numpy as np

from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, NO_FORECAST, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, Floats, History

HALF_HOUR = 6
"""Bins of the short horizon, and of the look back."""


class Reactive:
    """Predictor that repeats: every quantile of a window's peak is the peak of the window that has just passed."""

    name = NO_FORECAST

    def predict(self, history: History, origin: int) -> Forecast:
        """A series without a value in the last half-hour is given its entitlement."""
        known = min(history.bins, max(0, -(-(origin - history.start) // history.step_s)))
        peak, mean = history.max[:, :known], history.mean[:, :known]
        last = _largest(peak, HALF_HOUR)
        measured = np.isfinite(last)
        short = np.where(measured, last, np.nan_to_num(history.entitlement)).astype(np.float32)
        day = np.fmax(short, _largest(peak, BINS_PER_DAY))
        level = np.fmin(short, np.where(measured, _largest(mean, HALF_HOUR), short))
        return Forecast(
            resource=history.resource,
            series=history.series,
            origin=origin,
            steps=_flat(level, HALF_HOUR, len(LEVELS)),
            half_hours=_flat(level, HALF_HOURS, len(LEVELS)),
            peak30m=_flat(short, len(LEVELS)),
            peak24h=_flat(day, len(LEVELS)),
            source=(NO_FORECAST,) * len(history.series),
            reason=tuple("largest of the last half-hour" if m else "nothing measured in the last half-hour: entitlement" for m in measured),
            age_s=np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin))),
            step_s=history.step_s,
        )


def _largest(values: Floats, bins: int) -> Floats:
    """[n]: largest of the last bins; what is negative or infinite was not measured. NaN where nothing was."""
    recent = values[:, -bins:]
    sane = np.where(np.isfinite(recent) & (recent >= 0), recent, np.float32(np.nan))
    largest: Floats = np.fmax.reduce(sane, axis=1, initial=np.nan)
    return largest


def _flat(level: Floats, *shape: int) -> Floats:
    """[n, …]: each series' level everywhere."""
    return np.broadcast_to(level.reshape((-1,) + (1,) * len(shape)), (len(level), *shape)).copy()
