"""How likely a host's servers together want more than it has, by the host's own forecast (domain.md §5). Pure.

The probability is read off the forecast's quantiles: between two levels it is interpolated linearly. Above the highest level it
falls off exponentially, as steeply as between the two highest levels (the usual tail of a maximum); below the lowest it rises to
1 towards nothing at all.

    P(demand > c) = 1 − q                                       where c lies between the quantiles, at level q
                  = (1 − q_max)·exp(−(c − v_max)/b)             above; b = (v_max − v_before)/ln((1 − q_before)/(1 − q_max))
"""

from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.peak import at_quantile
from foreshape_controller.model.columns import Column, Rows
from foreshape_controller.model.forecast import LEVELS, Forecast

AHEAD = 12
"""Half-hours that are looked at: what is further away is for the next plans, whose forecasts are narrower."""

_LEVELS = np.asarray(LEVELS, np.float64)
_STEEP = float(np.log((1 - LEVELS[-2]) / (1 - LEVELS[-1])))


@dataclass(frozen=True, eq=False)
class Risks:
    """Of h hosts and one resource. NaN: no forecast."""

    soon: Column
    """[h] probability that the next half-hour's peak exceeds the capacity."""
    excess: Column
    """[h] how far the next half-hour's peak at 1 − ε is above the capacity; 0: it is not."""
    starts: Column
    """[h] when the first half-hour begins in which the probability exceeds ε, epoch seconds."""
    worst: Column
    """[h] the largest probability of any half-hour looked at."""
    amount: Column
    """[h] how far demand at 1 − ε is above the capacity in the worst half-hour; 0: it is not."""


def exceeds(fans: Column, capacity: Column) -> Column:
    """[m]: P(demand > capacity) of quantile fans [m, 13]. A fan without spread is a certainty."""
    fans = np.maximum.accumulate(fans, axis=1)
    at = np.clip((fans <= capacity[:, None]).sum(axis=1), 1, len(_LEVELS) - 1)
    rows = np.arange(len(fans))
    low, high = fans[rows, at - 1], fans[rows, at]
    part = np.clip((capacity - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    inside = 1 - (_LEVELS[at - 1] + part * (_LEVELS[at] - _LEVELS[at - 1]))
    scale = np.maximum(fans[:, -1] - fans[:, -2], 1e-12) / _STEEP
    above = (1 - _LEVELS[-1]) * np.exp(-np.maximum(0.0, capacity - fans[:, -1]) / scale)
    share = np.clip(capacity / np.maximum(fans[:, 0], 1e-12), 0.0, 1.0)
    below = 1 - _LEVELS[0] * share
    return np.select([capacity >= fans[:, -1], capacity < fans[:, 0]], [above, below], inside)


def risks(forecast: Forecast | None, rows: Rows, capacity: Column, eps: float) -> Risks:
    """``rows`` [h]: the forecast's row of each host, -1: none. ``capacity`` [h]: what each has for the demand of its servers."""
    unknown = np.full(len(rows), np.nan)
    if forecast is None or not len(forecast.series):
        return Risks(unknown, np.zeros(len(rows)), unknown, unknown, np.zeros(len(rows)))
    there, at = rows >= 0, np.maximum(rows, 0)
    fans = np.concatenate([forecast.peak30m[at][:, None], forecast.half_hours[at, 1:AHEAD]], axis=1).astype(np.float64)
    h, k, levels = fans.shape
    flat, every = fans.reshape(h * k, levels), np.repeat(capacity, k)
    chance = exceeds(flat, every).reshape(h, k)
    over = np.maximum(0.0, at_quantile(flat, np.full(h * k, 1 - eps)) - every).reshape(h, k)
    risky = chance > eps
    first = forecast.origin + np.argmax(risky, axis=1) * 6.0 * forecast.step_s
    return Risks(
        soon=np.where(there, chance[:, 0], np.nan),
        excess=np.where(there, over[:, 0], 0.0),
        starts=np.where(there & risky.any(axis=1), first, np.nan),
        worst=np.where(there, chance.max(axis=1), np.nan),
        amount=np.where(there, over.max(axis=1), 0.0),
    )
