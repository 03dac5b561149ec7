"""The sum of a host's servers and the host's own forecast, made to agree. Pure.

Expected values: weighted least squares on the means with a diagonal W (MinT: Wickramasuriya, Athanasopoulos & Hyndman, "Optimal
forecast reconciliation for hierarchical and grouped time series through trace minimization", JASA 114:526, 2019; nonnegative:
Wickramasuriya, Turlach & Hyndman, 2020). For a host that expects a, of parts (its servers and its own overhead) that expect b_i,
with variances w and w_i of their fans, the values nearest to the given ones whose sum is right are

    b_i' = max(0, b_i − λ·w_i)        a' = a + λ·w        λ such that Σ b_i' = a'

The surer a forecast, the less it moves. Each fan follows its mean: upwards it is shifted, downwards it is scaled by b'/b, so that
no quantile falls below 0, none cross, and the mean is exactly the new one. This is done for every 5-minute step and half-hour.

Peaks do not add up (servers do not peak together): a host's direct peak stays direct, held between bounds that cannot be argued
with. It is at least the fan of every mean inside its window, of the shorter window's peak, and of its largest server's peak; and
at most the sum of its servers' largest quantiles, for all of them peaking at once. Servers' peaks stay as they are, but not below
their own reconciled steps.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import Floats

Rows = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]

SURE = 1e-3
"""No forecast is surer than this share of what it expects."""

PASSES = 60
"""Newton's steps on a convex, piecewise linear function: it ends exactly after at most as many as a host has parts, mostly three."""


@dataclass(frozen=True, eq=False)
class Agreed:
    """Forecasts after reconciliation, in the order they came."""

    hosts: Forecast
    parts: Forecast
    moved: float
    """Mean distance between a host's expectation and its parts' sum before, as a share of the larger: how much they contradicted."""


def reconcile(hosts: Forecast, parts: Forecast, host_of: Rows) -> Agreed:
    """``host_of``: for each row of ``parts``, its host's row. A host without parts stays as it is."""
    steps, part_steps, apart = _agree(hosts.steps, parts.steps, host_of)
    day, part_day, apart_day = _agree(hosts.half_hours, parts.half_hours, host_of)
    whole = _bounded(replace(hosts, steps=steps, half_hours=day), parts, host_of)
    return Agreed(whole, _above_own_means(replace(parts, steps=part_steps, half_hours=part_day)), (apart + apart_day) / 2)


def expected(fan: Floats) -> Doubles:
    """Mean of the distribution that a fan of quantiles (last axis) describes: each level stands for its share of probability."""
    mean: Doubles = fan.astype(np.float64) @ _SHARES
    return mean


def variance(fan: Floats) -> Doubles:
    """Variance of the same distribution."""
    values = fan.astype(np.float64)
    spread: Doubles = ((values - expected(fan)[..., None]) ** 2) @ _SHARES
    return spread


def _shares() -> Doubles:
    """Probability that each level stands for: half-way to its neighbours; they sum to 1."""
    edges = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
    return np.diff(edges)


_SHARES = _shares()


def _agree(whole: Floats, pieces: Floats, host_of: Rows) -> tuple[Floats, Floats, float]:
    """Fans of hosts [H, k, levels] and parts [n, k, levels] after reconciliation, and how far they were apart."""
    a, b = expected(whole), expected(pieces)
    v, w = _doubt(whole, a), _doubt(pieces, b)
    total = _sums(b, host_of, len(a))
    has_parts = np.bincount(host_of, minlength=len(a))[:, None] > 0
    goal = np.where(has_parts, a, total)
    apart = np.abs(goal - total) / np.maximum(np.maximum(goal, total), 1e-9)
    lam = _multiplier(goal, np.where(has_parts, v, 0), b, w, host_of)
    return (
        _moved(whole, a, np.where(has_parts, a + lam * v, a)),
        _moved(pieces, b, np.maximum(0, b - lam[host_of] * w)),
        float(apart.mean()),
    )


def _doubt(fan: Floats, mean: Doubles) -> Doubles:
    """Weights of the least squares: the fan's variance, never quite nothing."""
    return variance(fan) + (SURE * mean) ** 2


def _multiplier(a: Doubles, v: Doubles, b: Doubles, w: Doubles, host_of: Rows) -> Doubles:
    """λ [H, k] with Σ max(0, b − λ·w) = a + λ·v: Newton from 0; after the first step the active parts only get fewer."""
    lam = np.zeros_like(a)
    for _ in range(PASSES):
        left = b - lam[host_of] * w
        active = left > 0
        excess = _sums(np.where(active, left, 0), host_of, len(a)) - (a + lam * v)
        slope = _sums(np.where(active | (lam[host_of] <= 0), w, 0), host_of, len(a)) + v
        step = np.divide(excess, slope, out=np.zeros_like(a), where=slope > 0)
        lam += step
        if np.all(np.abs(step) <= 1e-12 * np.abs(lam)):
            break
    return lam


def _sums(values: Doubles, host_of: Rows, hosts: int) -> Doubles:
    total = np.zeros((hosts, *values.shape[1:]))
    np.add.at(total, host_of, values)
    return total


def _moved(fan: Floats, mean: Doubles, to: Doubles) -> Floats:
    """Fans with another mean: shifted up, or scaled down."""
    up = np.maximum(to - mean, 0)[..., None]
    down = np.divide(to, mean, out=np.ones_like(mean), where=(mean > 0) & (to < mean))[..., None]
    moved: Floats = (fan * down + up).astype(np.float32)
    return moved


def _bounded(hosts: Forecast, parts: Forecast, host_of: Rows) -> Forecast:
    """Hosts with their peaks inside the bounds."""
    short = _held(hosts.peak30m, hosts.steps.max(axis=1), parts.peak30m, host_of)
    day = _held(hosts.peak24h, np.maximum(hosts.half_hours.max(axis=1), short), parts.peak24h, host_of)
    return replace(hosts, peak30m=short, peak24h=day)


def _held(peak: Floats, least: Floats, parts: Floats, host_of: Rows) -> Floats:
    """One window's peaks of hosts [H, levels] between their bounds."""
    largest = np.zeros_like(peak)
    np.maximum.at(largest, host_of, parts)
    together = np.full(len(peak), np.inf)
    sums = _sums(parts[:, -1].astype(np.float64), host_of, len(peak))
    has_parts = np.bincount(host_of, minlength=len(peak)) > 0
    together[has_parts] = sums[has_parts]
    held: Floats = np.maximum(np.minimum(peak, together[:, None]), np.maximum(least, largest)).astype(np.float32)
    return held


def _above_own_means(parts: Forecast) -> Forecast:
    short = np.maximum(parts.peak30m, parts.steps.max(axis=1))
    return replace(parts, peak30m=short, peak24h=np.maximum(parts.peak24h, short))
