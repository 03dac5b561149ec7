"""Policies side by side, at equal violations: a policy that allocates less by starving servers has won nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from foreshape_controller.model.history import Floats
from foreshape_controller.replay.measure import Flags, Measures, active, measure
from foreshape_controller.replay.policies import TERMS, Terms, past_peaks, resized, static

WINDOWS: Mapping[str, int] = {"moving max 1 h": 12, "moving max 6 h": 72, "moving max 24 h": 288}
"""Bins of each moving maximum."""

TRIES = 22
"""Halvings of the multiplier's range: its error is below 10^-6."""


@dataclass(frozen=True)
class Row:
    """One policy in the comparison."""

    policy: str
    measures: Measures
    multiplier: float | None = None
    """What the policy had to be multiplied by to violate as often as the one compared."""
    reached: bool = True
    """Whether any multiplier came down to as few violations."""


def compare(demand: Floats, allocation: Floats, entitlement: Floats, *, resource: str = "cpu", name: str = "foreshape") -> tuple[Row, ...]:
    """The allocation in force against static flavors and against moving maxima that violate as often.

    demand: [n, past + bins] with any past before the comparison; allocation: [n, bins], the last bins. Each moving maximum
    gets the smallest multiplier with no more violations (of active series) than the allocation.
    """
    start = demand.shape[1] - allocation.shape[1]
    busy = active(demand[:, :start], entitlement)
    busy = busy if busy.any() else np.ones(len(demand), bool)
    met = demand[:, start:]
    mine = measure(met, allocation, entitlement, busy)
    flavor = measure(met, static(entitlement, met.shape[1]), entitlement, busy)
    scene = _Scene(demand, entitlement, start, TERMS[resource], busy, mine.violations_active)
    return (Row(name, mine), Row("static flavor", flavor), *(scene.rival(label, window) for label, window in WINDOWS.items()))


@dataclass(frozen=True, eq=False)
class _Scene:
    """What every rival meets."""

    demand: Floats
    entitlement: Floats
    start: int
    terms: Terms
    busy: Flags
    violations: float
    """Of active series: not more than these."""

    def rival(self, label: str, window: int) -> Row:
        """A moving maximum with the smallest multiplier that violates no more often."""
        peaks = past_peaks(self.demand, self.start, window)
        multiplier = smallest(lambda m: self.measured(m * peaks).violations_active <= self.violations)
        found = self.measured(multiplier * peaks)
        return Row(label, found, multiplier, found.violations_active <= self.violations)

    def measured(self, wanted: Floats) -> Measures:
        met = self.demand[:, self.start :]
        return measure(met, resized(wanted, self.entitlement, self.terms)[:, : met.shape[1]], self.entitlement, self.busy)


def smallest(good: Callable[[float], bool], low: float = 0.05, high: float = 20.0) -> float:
    """Smallest number that is good, where larger is better; ``high`` if none is."""
    for _ in range(TRIES):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if good(middle) else (middle, high)
    return high
