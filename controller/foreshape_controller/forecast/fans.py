"""What a link of the forecast chain knows, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.forecast.quantiles import sane
from foreshape_controller.model.history import Floats, History

CENSORED_LIFT = 0.3
"""A bin whose samples all ran into their cap says "at least": it counts for this much more."""

ROOM = 1.5
"""No quantile lies above this many entitlements, unless more was seen."""


@dataclass(frozen=True, eq=False)
class Past:
    """What a forecast may know: the bins before its origin, censored ones lifted. mean, peak: [n, T]; the others [n]."""

    mean: Floats
    peak: Floats
    entitlement: Floats
    count: npt.NDArray[np.intp]
    """Bins with a value."""

    @classmethod
    def before(cls, history: History, origin: int) -> "Past":
        """Cut a history at the origin; the bin that contains the origin is known as far as it has filled."""
        known = min(history.bins, max(0, -(-(origin - history.start) // history.step_s)))
        mean = sane(history.mean[:, :known])
        lift = 1 + CENSORED_LIFT * np.nan_to_num(history.censored[:, :known])
        peak = np.fmax(sane(history.max[:, :known]), mean)
        entitlement = np.maximum(np.nan_to_num(history.entitlement), 0).astype(np.float32)
        return cls(mean * lift, peak * lift, entitlement, np.isfinite(mean).sum(axis=1))

    @property
    def bound(self) -> Floats:
        """Largest sane quantile of each series: [n]."""
        seen = np.fmax.reduce(self.peak, axis=1, initial=0.0)
        bound: Floats = (ROOM * np.maximum(self.entitlement, seen)).astype(np.float32)
        return bound


@dataclass(frozen=True, eq=False)
class Fans:
    """Quantiles of n series, levels on the last axis (shapes as in Forecast). NaN where a link knows nothing."""

    steps: Floats
    half_hours: Floats
    peak30m: Floats
    peak24h: Floats

    def each(self, change: Callable[[Floats], Floats]) -> "Fans":
        """The fans after the same change of every part."""
        return Fans(*(change(part) for part in self.parts))

    def merge(self, other: "Fans", rule: Callable[[Floats, Floats], Floats]) -> "Fans":
        """Part by part with another link's fans."""
        return Fans(*(rule(a, b) for a, b in zip(self.parts, other.parts, strict=True)))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.steps, self.half_hours, self.peak30m, self.peak24h


def per_series(values: Floats, like: Floats) -> Floats:
    """[n] made to broadcast along the other axes of a part."""
    return values.reshape((-1,) + (1,) * (like.ndim - 1))
