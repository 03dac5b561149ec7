"""Freed capacity of a host that Nova may sell again: its allocation ratio in Placement, moved and moved back (domain.md §6)."""

import math

import msgspec

from foreshape_controller.model.cloud import MEMORY, VCPU

CLASS_OF = {"cpu": VCPU, "memory": MEMORY}
"""Placement's class of each resource whose ratio is moved."""

GRAIN = 0.001
"""Ratios are multiples of it: Placement keeps them in single precision at some databases."""

WATCHED, WRITING, MOVED, OVERWRITTEN = "watched", "writing", "moved", "overwritten"
"""States of a sale: nothing of ours is there; a write is under way or its outcome unknown; ours is there; somebody else wrote over it."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What Placement says of one resource of one host."""

    total: int
    reserved: int = 0
    used: int = 0
    """What all consumers together hold."""
    ratio: float = 1.0

    @property
    def physical(self) -> int:
        """What guests can really use: VCPU inventories count cores, MEMORY_MB ones MiB."""
        return self.total - self.reserved

    def capacity(self, ratio: float) -> int:
        """Placement's formula."""
        return int(self.physical * ratio)


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one host, as it is kept between two looks."""

    host: str
    resource: str
    """``cpu`` or ``memory``."""
    provider: str
    state: str = WATCHED
    original: float
    """The ratio that was there before we ever moved it: what is put back."""
    ratio: float
    """The last one that is known to be there."""
    target: float = math.nan
    """Where a write under way leads."""
    late: float = math.nan
    """Where a write led that was not answered and had not arrived when we looked: it may still. NaN: there is none."""
    used: int = 0
    physical: int = 0
    free_since: float | None = None
    """Since when more could be sold at every look; None: at the last look it could not."""
    could_be: float = math.inf
    """The least ratio that any look since then allowed."""
    wanted: float = math.nan
    """What the last look would have; NaN: nothing else than is there."""
    reason: str = ""
    """Of the last look, or why it is where it is."""
    changed_at: float = 0.0
    """When ``ratio`` was last written by us."""
    looked_at: float = 0.0
    short: float = 0.0
    """By how much demand is expected to exceed what the host has, where we sold more than it had before: cores or MiB."""
    short_from: float = 0.0
    """When that begins."""

    @property
    def ours(self) -> bool:
        """Whether something of ours is in Placement, or may be."""
        return self.state in (WRITING, MOVED)


class SaleMove(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a ratio: noted before it is sent."""

    id: str
    """Its cause: what the log says beside it."""
    at: float
    host: str
    resource: str
    was: float
    """Undo: write this back."""
    target: float
    reason: str
    result: str = "planned"
    """``planned``, ``done``, ``not done``, ``unknown`` …, with a sentence."""
    settled_at: float | None = None


class SaleStop(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word that nothing is sold: what was moved is put back."""

    scope: str
    """``cloud`` or ``host:NAME``."""
    since: float
    reason: str


def same(a: float, b: float) -> bool:
    """Whether two ratios are one, whatever a database made of them."""
    return abs(a - b) < GRAIN / 2 + 1e-6 * max(abs(a), abs(b))


# -- what the API answers


class SaleAnswer(msgspec.Struct, kw_only=True):
    """One resource of one host: what is sold of it, and what would be."""

    host: str
    resource: str
    state: str
    """``watched``, ``writing``, ``moved`` or ``overwritten``."""
    physical: int
    """What guests can really use: cores or MiB."""
    sold: int
    """What is allocated: vCPUs or MiB."""
    original: float
    """Allocation ratio before we ever moved it: what is put back."""
    ratio: float
    wanted: float | None
    """Another ratio that the last look asks for."""
    waits: str
    """Why that is not done: the mode, a halt; empty: nothing is wanted, or it comes with the next round."""
    reason: str
    free_since: float | None
    changed_at: float | None
    looked_at: float
    short: float
    """By how much demand is expected to exceed the host where we sold more than before; somebody has to leave."""
    short_from: float | None


class SaleMoveAnswer(msgspec.Struct, kw_only=True):
    """One write of a ratio. Undo: ``was``."""

    id: str
    at: float
    resource: str
    was: float
    target: float
    reason: str
    result: str
    settled_at: float | None


class HostSaleAnswer(msgspec.Struct, kw_only=True):
    """One host: its resources, and what was written, the newest first."""

    host: str
    sales: tuple[SaleAnswer, ...]
    moves: tuple[SaleMoveAnswer, ...]
    stopped: str
    """The operator's word that nothing is sold there; empty: none."""
    frozen: str
    """Why the last round looked at nothing; empty: it did."""


class SaleRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/sales/stop`` and ``/start``."""

    reason: str
    host: str = ""
    """Empty: everywhere."""


class HeadroomAnswer(msgspec.Struct, kw_only=True):
    """What the day ahead is expected to leave free, for Nova's scheduler."""

    at: float
    """When it was looked; 0: never."""
    hosts: dict[str, float]
    """Share of each host's fuller resource, 0..1. A host that is not here: nobody can tell."""
