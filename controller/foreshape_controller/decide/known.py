"""What a plan is made from, beside the view of the world."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from foreshape_controller.decide.downgrade import Miss
from foreshape_controller.decide.facts import FORECAST_OLD_S
from foreshape_controller.decide.tiers import BUILT_IN, Tiers
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import History


@dataclass(frozen=True)
class Limits:
    """What holds for every host."""

    stale_after_s: float = 60.0
    cpu_ratio: float = 4.0
    """Cores that may be allocated per CPU of a host."""
    memory_reserved_mib: float = 512.0
    """Memory of a host that no VM gets."""
    forecast_old_s: float = FORECAST_OLD_S
    ahead_s: float = 0.0
    """From one plan to the next, and a margin: what is decided now is there for at least that long after the levers' lead time."""
    host_risk: float = 0.01
    """Chance with which a host's demand may exceed what it has."""
    migration_mib_s: float = 100.0
    """How fast a server's memory is copied to another host."""


@dataclass(frozen=True)
class Known:
    """What a plan is made from, beside the view."""

    forecasts: Mapping[str, Forecast]
    """By resource."""
    histories: Mapping[str, History]
    """By resource; series are server ids."""
    tiers: Tiers = BUILT_IN
    held: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: the largest wanted within the hold time."""
    headroom: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: factor on the distance from the median to the tier's quantile; 1 where none is named."""
    limits: Limits = field(default_factory=Limits)
    caps: Mapping[str, Mapping[str, Cap]] = field(default_factory=dict)
    """By resource and server: the hard cap in force. It lowers the ceiling, never below the floor."""
    agreed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: the floor in force instead of the tier's, of servers that are being reclaimed. Cores or MiB."""
    halts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By server: code and sentence of what forbids any change now (a circuit breaker, a second controller)."""
    leads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: seconds from a decision until the guest has it, as its levers were measured."""
    last_shrunk: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: when it was last shrunk, epoch seconds."""
    under_way: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By resource and server: what it was ordered to have, of which nobody told yet what came of it. Cores or MiB."""
    missed: Mapping[str, Mapping[str, Miss]] = field(default_factory=dict)
    """By resource and server: growth that was made ahead and was not needed; ``held`` counts less of it already."""
    anomalous: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By resource: servers whose use left its habits now."""
    shadows: frozenset[str] = frozenset()
    """Servers that nobody has claimed yet: they are squeezed first."""
    groups: Groups = field(default_factory=Groups)
    """Who belongs to which segment, project, host, zone."""
    group_forecasts: Mapping[str, Forecast] = field(default_factory=dict)
    """By resource: the newest forecasts of groups (``host:NAME``, ``segment:NAME`` …)."""
