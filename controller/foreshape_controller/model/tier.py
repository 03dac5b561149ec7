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
    """Memory: room kept above the working set, as a share of it."""


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An SLA tier."""

    name: str
    weight: float
    may_shrink: bool
    cpu: ResourceRules
    memory: ResourceRules
    dead_band: float = 0.10
    """Changes smaller than this share of the allocation are not worth an action."""


class Granules(msgspec.Struct, frozen=True, kw_only=True):
    """Smallest useful steps, for levers that know none of their own."""

    cpu: Cores = Cores(0.05)
    memory: Memory = Memory(16.0)
