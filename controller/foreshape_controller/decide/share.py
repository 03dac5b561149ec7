"""How a host's capacity is shared when not all targets fit (domain.md §5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What one server must have, would like to have, and how much it counts. Cores or MiB."""

    name: str
    floor: float
    target: float
    weight: float = 1.0

    @property
    def need(self) -> float:
        return max(0.0, self.target - self.floor)


def share(capacity: float, claims: Sequence[Claim]) -> Mapping[str, float]:
    """Everybody gets the floor; what is left goes to the needs above it by weighted max-min fairness.

    Nobody gets more than the target; nothing is left while somebody is short. Floors that exceed the capacity are given all
    the same: they were promised, and the caller says so.
    """
    level = _level(capacity - sum(c.floor for c in claims), claims)
    return {c.name: c.floor + min(c.need, level * c.weight) for c in claims}


def _level(left: float, claims: Sequence[Claim]) -> float:
    """Water level: what each unit of weight gets. Fills the claims that are easiest to satisfy first."""
    level, weight = 0.0, sum(c.weight for c in claims if c.need > 0)
    for claim in sorted((c for c in claims if c.need > 0), key=lambda c: (c.need / c.weight, c.name)):
        full = claim.need / claim.weight
        if (full - level) * weight >= left:
            return level + max(0.0, left) / weight
        left -= (full - level) * weight
        level, weight = full, weight - claim.weight
    return level
