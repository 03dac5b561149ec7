"""Predictors of known skill on data of known make: every bin of every series is an independent normal draw."""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from decide_support import NOW, history
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S

LEVEL, SIGMA = 5.0, 1.0
DAY = BINS_PER_DAY * STEP_S


def draws(series=20, days=4.0, *, seed=1, level=LEVEL, **more):
    """A history of normal draws that ends at NOW."""
    rng = np.random.default_rng(seed)
    return history(np.maximum(rng.normal(level, SIGMA, (series, int(days * BINS_PER_DAY))), 0.01), **{"entitlement": 25.0, **more})


def z_of(highest_of=1):
    """Quantiles of the largest of so many standard normal draws: P(max ≤ z) = Φ(z)^m."""
    return np.array([NormalDist().inv_cdf(q ** (1 / highest_of)) for q in LEVELS], np.float32)


@dataclass
class Knowing:
    """Says the true distribution, shifted and stretched; silent (NaN) about some series. Counts what it was asked."""

    name: str = "net"
    shift: float = 0.0
    stretch: float = 1.0
    silent: tuple[str, ...] = ()
    source: str = "net"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def predict(self, past, origin):
        self.asked.append(past.series)
        n = len(past.series)
        rows = np.array([np.nan if s in self.silent else 1.0 for s in past.series], np.float32)

        def fan(highest_of, *shape):
            said = np.maximum(LEVEL + self.shift + SIGMA * self.stretch * z_of(highest_of), 0)
            return (np.broadcast_to(said, (n, *shape, len(LEVELS))) * rows.reshape((-1,) + (1,) * (len(shape) + 1))).astype(np.float32)

        return Forecast(
            past.resource,
            past.series,
            origin,
            fan(1, 6),
            fan(1, HALF_HOURS),
            fan(6),
            fan(BINS_PER_DAY),
            tuple("" if s in self.silent else self.source for s in past.series),
            ("as it is",) * n,
            np.full(n, 1e6),
            past.step_s,
        )


def a_day_ago():
    """The newest origin with a day of truth behind it."""
    return int(NOW - DAY)
