"""Forecasts: ranges, not numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import STEP_S, Floats, History

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Quantile levels of every forecast."""

HALF_HOURS = 48

HEADS = ("steps", "half_hours", "peak30m", "peak24h")
"""Parts of a forecast, by the names of their fields; each is calibrated, scored and gated for itself."""

NO_FORECAST = "off"
"""Source of a "forecast" that only repeats what was measured: nothing that follows from it is the forecast's doing."""

ENTITLED = "entitlement"
"""Source of what is said of a series of which nothing was measured: anything up to what it was sold, or has."""

PRIORS = frozenset({ENTITLED, "fleet"})
"""Sources of what is said of a series that cannot speak for itself yet: by what it was sold, or by its likes."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """What n series of one resource will want after ``origin``. Quantiles never cross; nothing is negative.

    steps: [n, 6, 13] 5-minute means of the next 30 minutes. half_hours: [n, 48, 13] marginals of the next day.
    peak30m, peak24h: [n, 13] the largest 5-minute maximum inside the window, directly. Cores or MiB.
    source: which link of the chain spoke for each series (``baseline``, ``fleet``, ``entitlement`` …); reason: why that one.
    age_s: [n] seconds of history behind each.
    """

    resource: str
    series: tuple[str, ...]
    origin: int
    steps: Floats
    half_hours: Floats
    peak30m: Floats
    peak24h: Floats
    source: tuple[str, ...]
    reason: tuple[str, ...]
    age_s: npt.NDArray[np.float64]
    step_s: int = STEP_S

    def row(self, series: str) -> int:
        """Index of a series; KeyError if it is not here."""
        try:
            return self.series.index(series)
        except ValueError:
            raise KeyError(series) from None

    def pick(self, rows: Sequence[int]) -> "Forecast":
        """Some of the series, in the order asked for."""
        at = np.asarray(rows, np.intp)
        heads: dict[str, Any] = {head: getattr(self, head)[at] for head in HEADS}
        return replace(
            self,
            series=tuple(self.series[i] for i in at),
            source=tuple(self.source[i] for i in at),
            reason=tuple(self.reason[i] for i in at),
            age_s=self.age_s[at],
            **heads,
        )

    @classmethod
    def joined(cls, parts: Sequence["Forecast"]) -> "Forecast":
        """Forecasts of one resource as one, with the oldest origin; at least one is wanted."""
        heads: dict[str, Any] = {head: np.concatenate([getattr(p, head) for p in parts]) for head in HEADS}
        return replace(
            parts[0],
            series=tuple(s for p in parts for s in p.series),
            source=tuple(s for p in parts for s in p.source),
            reason=tuple(r for p in parts for r in p.reason),
            age_s=np.concatenate([p.age_s for p in parts]),
            origin=min(p.origin for p in parts),
            **heads,
        )


class Predictor(Protocol):
    """Anything that can look ahead, for all series at once."""

    name: str

    def predict(self, history: History, origin: int) -> Forecast:
        """Forecast from data before ``origin`` (epoch seconds). Never raises for short or empty history."""
