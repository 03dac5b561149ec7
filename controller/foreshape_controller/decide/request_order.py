"""Who comes first: by a tag that is given once, when a request comes, and never changes (domain.md §10). Pure.

    tag  =  max(created, the project's clock)  +  patience(criticality)
    the project's clock  =  max(created, the project's clock)  +  pace * (share of the fleet that was asked for)

Lower tags come first. So

- nobody starves: whoever comes after a tag's instant has a higher one, whatever it is; only finitely many come before;
- it ages: a normal request that has waited ``patience`` comes before a critical one that arrives then;
- it is fair: a project that asks for much runs its own clock ahead, and waits behind itself, not others behind it.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from foreshape_controller.model.request import Criticality, Request

PATIENCE_S: Mapping[Criticality, float] = MappingProxyType(
    {Criticality.CRITICAL: 0.0, Criticality.NORMAL: 2 * 3600.0, Criticality.FLEXIBLE: 12 * 3600.0}
)


def tag(criticality: Criticality, created: float, clock: float) -> float:
    """Of a request of a project whose clock is there."""
    return max(created, clock) + PATIENCE_S[criticality]


def advanced(clock: float, created: float, share: float, pace_s: float) -> float:
    """The project's clock after a request for this share (0..) of the fleet."""
    return max(created, clock) + pace_s * max(0.0, share)


def share(each: Sequence[float], count: int, capacity: Sequence[float]) -> float:
    """The part of the fleet that a request asks for, of the resource it asks most of."""
    parts = [a * count / c for a, c in zip(each, capacity, strict=True) if a > 0 and 0 < c < float("inf")]
    return max(parts, default=0.0)


def ordered(requests: Iterable[Request]) -> tuple[Request, ...]:
    """The first comes first."""
    return tuple(sorted(requests, key=lambda r: (r.tag, r.created, r.id)))


def overdue(request: Request, now: float) -> bool:
    """It has waited longer than it should: from now on nobody who came later gets before it."""
    return request.tag <= now
