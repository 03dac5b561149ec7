"""Which amounts a server's usable levers can reach. Amounts in cores or MiB."""

from collections.abc import Iterable
from math import ceil, floor

from foreshape_wire.reading import Capability

EPSILON = 1e-9
"""Room for floating point when an amount lies on the grid."""


def highest(levers: Iterable[Capability]) -> float:
    """Most that any lever reaches."""
    return max((c.highest for c in levers), default=0.0)


def lowest(levers: Iterable[Capability]) -> float:
    """Least that any lever reaches."""
    return min((c.lowest for c in levers), default=0.0)


def at_least(levers: Iterable[Capability], amount: float, granule: float) -> float:
    """Smallest reachable amount that is enough, else the most that can be reached.

    A quota gives fractions of a core inside its range; beyond it whole vCPUs have to be plugged, so 2.3 becomes 3.
    ``granule``: smallest useful step, for levers whose own is finer.
    """
    offers = [_up(c, amount, granule) for c in levers]
    enough = [offer for offer in offers if offer >= amount - EPSILON]
    return min(enough) if enough else max(offers, default=amount)


def at_most(levers: Iterable[Capability], amount: float, granule: float) -> float:
    """Largest reachable amount that is not above the given one, else the least that can be reached."""
    offers = [_down(c, amount, granule) for c in levers]
    fitting = [offer for offer in offers if offer <= amount + EPSILON]
    return max(fitting) if fitting else min(offers, default=amount)


def _up(lever: Capability, amount: float, granule: float) -> float:
    origin, step = _grid(lever, granule)
    return _into(lever, origin + ceil((amount - origin) / step - EPSILON) * step)


def _down(lever: Capability, amount: float, granule: float) -> float:
    origin, step = _grid(lever, granule)
    return _into(lever, origin + floor((amount - origin) / step + EPSILON) * step)


def _into(lever: Capability, amount: float) -> float:
    return round(min(lever.highest, max(lever.lowest, amount)), 6)


def _grid(lever: Capability, granule: float) -> tuple[float, float]:
    """Origin and step: a coarse lever counts from its own lowest (virtio-mem blocks above the base), a fine one from zero."""
    if lever.granule >= granule or lever.granule <= 0:
        return (lever.lowest, lever.granule) if lever.granule > 0 else (0.0, granule)
    return 0.0, ceil(granule / lever.granule - EPSILON) * lever.granule
