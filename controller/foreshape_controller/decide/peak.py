"""The window peak that a server is sized by, out of a forecast."""

import numpy as np

from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.plan import PeakRange


def peak_range(forecast: Forecast, row: int, quantile: float, headroom: float = 1.0) -> PeakRange:
    """q50 + s·(q_tier − q50) of the next half-hour's peak, for one series; ``headroom`` is s."""
    fan = forecast.peak30m[row].astype(float)
    median, high = (float(np.interp(q, LEVELS, fan)) for q in (0.5, quantile))
    return PeakRange(
        median=median,
        wanted=median + headroom * (high - median),
        quantile=quantile,
        source=forecast.source[row],
        reason=forecast.reason[row],
        age_s=float(forecast.age_s[row]),
        headroom=headroom,
    )
