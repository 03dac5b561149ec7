"""Tiers: what was promised for how much (domain.md §1, §4)."""

import msgspec

from foreshape_wire.quantity import Cores, Memory


class ResourceRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one resource of one tier may be sized."""

    quantile: float
    """Quantile of the predicted window peak that is allocated, 0.5 < q < 1."""
    floor_share: float
    """Guaranteed part of the entitlement, 0..1."""
    floor_least: float
    """Guaranteed at least this much (cores or MiB), though never above the entitlement."""
    hold_s: float
    """Shrink only to the largest target of this long."""
    shrink_step_share: float
    """Largest part of the allocation that one shrink may take, 0..1."""
    young_s: float
    """No shrink before a server has this much history."""
    margin_share: float = 0.0
    """Memory: room kept above the working set, as a share of it. CPU: the same above use that has come near its cap."""
    ceiling_share: float = 0.0
    """At most this multiple of the entitlement; 0: whatever the levers reach."""
    step_s: float = 0.0
    """Least time between two shrinks of one server."""
    shrink_band: float = 0.0
    """Less than this share of the allocation is not worth taking; 0: the tier's dead band."""
    headroom: float = 1.0
    """Factor on the distance from the predicted median to the quantile, beside each server's own; feedback adapts it."""


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tier costs, in the operator's unit of money per hour: by the rate card in force."""

    cpu_core: float = 0.0
    """A core of the entitlement."""
    memory_gib: float = 0.0
    """A GiB of the entitlement."""
    burst_cpu_core: float = 0.0
    """A core above the entitlement, as long as the guest really has it."""
    burst_memory_gib: float = 0.0


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An SLA tier."""

    name: str
    weight: float
    may_shrink: bool
    cpu: ResourceRules
    memory: ResourceRules
    dead_band: float = 0.10
    """Changes smaller than this share of the allocation are not worth an action."""
    criticality: float = 1.0
    """Multiplies the weight; an assignment may say another one for its servers."""
    throttle_order: int = 2
    """When a host is short, tiers with a lower number give first."""
    migrate_order: int = 2
    """Tiers with a lower number are moved away first."""
    violation_target: float = 0.01
    """Share of 5-minute bins in which demand may exceed the allocation: what headroom and hold adapt toward."""
    may_reclaim: bool = False
    """Whether idle and over-sized servers may be taken below their floor, after a notice to the owner."""
    reflex_growth: float = 1.5
    """Under pressure an agent multiplies the allocation by this at once …"""
    reflex_headroom: float = 1.3
    """… or the demand by this, whichever is more."""
    price: Price = Price()
    """Deprecated in tiers.yaml: the rate card's replaces it (``decide.price.by_rates``)."""


class Granules(msgspec.Struct, frozen=True, kw_only=True):
    """Smallest useful steps, for levers that know none of their own."""

    cpu: Cores = Cores(0.05)
    memory: Memory = Memory(16.0)
