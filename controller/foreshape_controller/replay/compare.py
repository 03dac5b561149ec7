"""Policies side by side, at equal violations: a policy that allocates less by starving servers has won nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from foreshape_controller.model.history import Floats
from foreshape_controller.replay.measure import Flags, Measures, active, measure
from foreshape_controller.replay.policies import TERMS, Terms, decayed_quantiles, future_peaks, past_peaks, resized, static

WINDOWS: Mapping[str, int] = {"moving max 1 h": 12, "moving max 6 h": 72, "moving max 24 h": 288}
"""Bins of each moving maximum."""

VPA, ORACLE, STATIC = "VPA-like p95", "oracle, next 30 min", "static flavor"

TRIES = 22
"""Halvings of the multiplier's range: its error is below 10^-5."""


@dataclass(frozen=True)
class Row:
    """One policy in the comparison."""

    policy: str
    measures: Measures
    multiplier: float | None = None
    """What the policy had to be multiplied by to violate as often as the one compared."""
    reached: bool = True
    """Whether any multiplier came down to as few violations."""
    allocation: Floats | None = field(default=None, compare=False, repr=False)
    """[n, bins] what it would have given."""


def compare(
    demand: Floats,
    allocation: Floats,
    entitlement: Floats,
    *,
    resource: str = "cpu",
    name: str = "foreshape",
    busy: Flags | None = None,
) -> tuple[Row, ...]:
    """The allocation in force against static flavors, moving maxima, a VPA and one who knows the future.

    demand: [n, past + bins] with any past before the comparison; allocation: [n, bins], the last bins. Moving maxima and the
    VPA get the smallest multiplier with no more violations (of active series) than the allocation. busy: [n], which series are
    active, where that is known better than from this demand's past.
    """
    start = demand.shape[1] - allocation.shape[1]
    chosen = active(demand[:, :start], entitlement) if busy is None else busy
    scene = Scene(demand, entitlement, start, TERMS[resource], chosen if chosen.any() else np.ones(len(demand), np.bool_))
    mine = scene.row(name, allocation)
    rivals = [scene.rival(label, wanted, mine.measures.violations_active) for label, wanted in scene.wishes().items()]
    oracle = scene.row(ORACLE, scene.given(future_peaks(demand, start)))
    return (mine, scene.row(STATIC, static(entitlement, allocation.shape[1])), *rivals, oracle)


@dataclass(frozen=True, eq=False)
class Scene:
    """What every rival meets."""

    demand: Floats
    entitlement: Floats
    start: int
    terms: Terms
    busy: Flags

    def wishes(self) -> Mapping[str, Floats]:
        """[n, decisions] by rival: what each wants before its multiplier."""
        found = {label: past_peaks(self.demand, self.start, window) for label, window in WINDOWS.items()}
        return found | {VPA: decayed_quantiles(self.demand, self.entitlement, self.start)}

    def rival(self, label: str, wanted: Floats, violations: float) -> Row:
        """A rival with the smallest multiplier that violates no more often."""
        multiplier = smallest(lambda m: self.measured(m * wanted).violations_active <= violations)
        given = self.given(multiplier * wanted)
        found = self._measure(given)
        return Row(label, found, multiplier, found.violations_active <= violations, given)

    def row(self, label: str, allocation: Floats) -> Row:
        return Row(label, self._measure(allocation), allocation=allocation)

    def measured(self, wanted: Floats) -> Measures:
        return self._measure(self.given(wanted))

    def given(self, wanted: Floats) -> Floats:
        return resized(wanted, self.entitlement, self.terms)[:, : self.demand.shape[1] - self.start]

    def _measure(self, allocation: Floats) -> Measures:
        return measure(self.demand[:, self.start :], allocation, self.entitlement, self.busy)


def smallest(good: Callable[[float], bool], low: float = 0.05, high: float = 20.0) -> float:
    """Smallest number that is good, where larger is better; ``high`` if none is."""
    for _ in range(TRIES):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if good(middle) else (middle, high)
    return high
