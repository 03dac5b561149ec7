"""Which amounts servers' usable levers can reach. Amounts in cores or MiB; columns are [n]."""

import numpy as np

from foreshape_controller.decide.facts import Levers
from foreshape_controller.model.columns import Column

EPSILON = 1e-9
"""Room for floating point when an amount lies on the grid."""


def highest(levers: Levers) -> Column:
    """Most that any lever reaches; 0 without one."""
    most: Column = np.max(np.where(levers.usable, levers.highest, 0.0), axis=0, initial=0.0)
    return most


def lowest(levers: Levers) -> Column:
    """Least that any lever reaches; 0 without one."""
    least: Column = np.min(np.where(levers.usable, levers.lowest, np.inf), axis=0, initial=np.inf)
    return np.where(np.isfinite(least), least, 0.0)


def at_least(levers: Levers, amount: Column, granule: float) -> Column:
    """Smallest reachable amount that is enough, else the most that can be reached; without a lever the amount itself.

    A quota gives fractions of a core inside its range; beyond it whole vCPUs have to be plugged, so 2.3 becomes 3.
    ``granule``: smallest useful step, for levers whose own is finer.
    """
    origin, step = _grid(levers, granule)
    offers = _into(levers, origin + np.ceil((amount - origin) / step - EPSILON) * step)
    enough = np.min(np.where(levers.usable & (offers >= amount - EPSILON), offers, np.inf), axis=0, initial=np.inf)
    most = np.max(np.where(levers.usable, offers, -np.inf), axis=0, initial=-np.inf)
    return _first(enough, most, amount)


def enough(levers: Levers, amount: Column, granule: float, otherwise: Column) -> Column:
    """As ``at_least``; ``otherwise`` where no lever reaches so high."""
    found = at_least(levers, amount, granule)
    return np.where(found < amount - EPSILON, otherwise, found)


def at_most(levers: Levers, amount: Column, granule: float) -> Column:
    """Largest reachable amount that is not above the given one, else the least that can be reached."""
    origin, step = _grid(levers, granule)
    offers = _into(levers, origin + np.floor((amount - origin) / step + EPSILON) * step)
    fitting = np.max(np.where(levers.usable & (offers <= amount + EPSILON), offers, -np.inf), axis=0, initial=-np.inf)
    least = np.min(np.where(levers.usable, offers, np.inf), axis=0, initial=np.inf)
    return _first(fitting, least, amount)


def _first(best: Column, second: Column, otherwise: Column) -> Column:
    return np.where(np.isfinite(best), best, np.where(np.isfinite(second), second, otherwise))


def _into(levers: Levers, amount: Column) -> Column:
    return np.asarray(np.round(np.minimum(levers.highest, np.maximum(levers.lowest, amount)), 6), np.float64)


def _grid(levers: Levers, granule: float) -> tuple[Column, Column]:
    """Origin and step: a coarse lever counts from its own lowest (virtio-mem blocks above the base), a fine one from zero."""
    own = np.where(levers.usable & (levers.granule > 0), levers.granule, 0.0)
    coarse = own >= granule
    several = np.ceil(granule / np.where(own > 0, own, granule) - EPSILON) * np.where(own > 0, own, granule)
    return np.where(coarse, levers.lowest, 0.0), np.where(coarse, own, several)
