"""What would have been allocated by the simple policies that Foreshape is compared with, over past demand.

Every one decides each half-hour from what came before, and resizes by the same rules: up at once, down only if more than the
dead band smaller, memory after a hold. A gap holds the last value that was seen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import window_max
from foreshape_controller.model.history import BINS_PER_DAY, Floats

EVERY = 6
"""Bins between two decisions."""


@dataclass(frozen=True)
class Terms:
    """How every policy of one resource resizes. Cores or MiB."""

    granule: float
    floor: float
    hold: int
    """Decisions: shrinks only to the largest size wanted in the last so many."""
    dead_band: float = 0.10


TERMS = {"cpu": Terms(granule=0.05, floor=0.1, hold=1), "memory": Terms(granule=64.0, floor=256.0, hold=12)}

VPA_LEVEL, VPA_HALF_LIFE = 0.95, BINS_PER_DAY
"""Kubernetes' vertical autoscaler sizes by a quantile of a histogram that forgets: half of the weight a day."""

VPA_PAST = 14 * BINS_PER_DAY
"""Bins that its histogram is filled from."""

EDGES = np.concatenate([[0.0], np.geomspace(0.002, 1.6, 120)])
"""Upper ends of its buckets, as shares of the entitlement: about 5.8 % apart."""


def static(entitlement: Floats, bins: int) -> Floats:
    """The flavor, always."""
    return np.repeat(entitlement[:, None], bins, axis=1)


def filled(demand: Floats) -> Floats:
    """Gaps hold the last value; NaN only where nothing was seen before."""
    at = np.maximum.accumulate(np.where(np.isfinite(demand), np.arange(demand.shape[1]), 0), axis=1)
    held: Floats = np.take_along_axis(demand, at, axis=1)
    return held


def moving_max(demand: Floats, entitlement: Floats, start: int, window: int, multiplier: float, terms: Terms) -> Floats:
    """Multiplier × the largest demand of the last ``window`` bins: [n, bins − start]."""
    return resized(multiplier * past_peaks(demand, start, window), entitlement, terms)[:, : demand.shape[1] - start]


def past_peaks(demand: Floats, start: int, window: int) -> Floats:
    """[n, decisions]: the largest demand of the window before each decision; NaN where nothing was seen yet."""
    padded = np.pad(filled(demand), ((0, 0), (window, 0)), constant_values=np.nan)
    peaks = window_max(padded.astype(np.float32), window)  # column b covers bins b − window … b − 1
    return peaks[:, start : demand.shape[1] : EVERY]


def future_peaks(demand: Floats, start: int) -> Floats:
    """[n, decisions]: the largest demand until the next decision, which nobody can know; gaps want nothing."""
    bins = -(-(demand.shape[1] - start) // EVERY) * EVERY
    known = np.full((len(demand), bins), np.nan, np.float32)
    known[:, : demand.shape[1] - start] = demand[:, start:]
    peaks: Floats = np.nan_to_num(known).reshape(len(demand), -1, EVERY).max(axis=2)
    return peaks


def decayed_quantiles(demand: Floats, entitlement: Floats, start: int, level: float = VPA_LEVEL) -> Floats:
    """[n, decisions]: a quantile of past demand whose weight halves each day, to the upper end of its bucket (VPA-like)."""
    seen = filled(demand)
    sold = np.where(entitlement > 0, entitlement, 1.0)
    bucket = np.minimum(np.searchsorted(EDGES, np.nan_to_num(seen / sold[:, None])), len(EDGES) - 1)
    weight = np.zeros((len(demand), len(EDGES)))
    rows, first = np.arange(len(demand)), max(0, start - VPA_PAST)
    found = []
    for b in range(first, demand.shape[1]):
        if b >= start and (b - start) % EVERY == 0:
            found.append(_at_level(weight, level) * entitlement)
        # Newer bins weigh more, instead of all older ones less: one addition a series, not one a bucket.
        weight[rows, bucket[:, b]] += np.where(np.isfinite(seen[:, b]), 2.0 ** ((b - first) / VPA_HALF_LIFE), 0.0)
    return np.stack(found, axis=1).astype(np.float32)


def _at_level(weight: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.float64]:
    """[n]: edge of the bucket that the quantile lies in; NaN where nothing was seen."""
    total = weight.sum(axis=1)
    at = (np.cumsum(weight, axis=1) >= level * total[:, None]).argmax(axis=1)
    return np.where(total > 0, EDGES[at], np.nan)


def resized(wanted: Floats, entitlement: Floats, terms: Terms) -> Floats:
    """Decisions [n, d] to the allocation of each bin [n, d·EVERY]; nothing known means the entitlement."""
    most = np.maximum(entitlement, terms.floor)[:, None]
    target = np.where(np.isfinite(wanted), np.ceil(wanted / terms.granule - 1e-9) * terms.granule, most)
    target = _held(np.clip(target, terms.floor, most), terms.hold)
    now = entitlement.astype(np.float32)
    rows = []
    for column in target.T:
        now = np.where((column > now) | (column < (1 - terms.dead_band) * now), column, now)
        rows.append(now)
    return np.repeat(np.stack(rows, axis=1), EVERY, axis=1).astype(np.float32)


def _held(target: Floats, hold: int) -> Floats:
    """The largest of the last ``hold`` targets at each decision."""
    padded = np.pad(target, ((0, 0), (hold - 1, 0)), mode="edge")
    return window_max(padded.astype(np.float32), hold)
