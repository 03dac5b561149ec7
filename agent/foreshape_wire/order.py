"""What the controller wants of a host, and what came of it."""

from enum import StrEnum
from typing import Annotated

import msgspec

from foreshape_wire.ids import CauseKey, HostName, Label, Name, OrderKey, PlanKey, ServerKey, Text
from foreshape_wire.quantity import Amount, Cores, Count, Factor, Instant, Memory, Seconds, Size
from foreshape_wire.reading import LeverName, Resource

MAX_SERVERS = 20_000
"""Servers of one host in one message: ten times what a hypervisor can run."""


OPTED_OUT = "optout"
"""Plan of the orders that give servers back what they were sold when their owner opted out: no plan decided them."""
HOST_KEEPS_MIB = 512.0
"""Memory that such an order leaves available on its host: as much as Nova keeps for one by default (reserved_host_memory_mb)."""


class Mode(StrEnum):
    """How far Foreshape may go; the lowest of cloud, host, project and server wins (domain.md §1)."""

    OBSERVE = "observe"
    ADVISE = "advise"
    ACT = "act"

    @property
    def rank(self) -> int:
        return ("observe", "advise", "act").index(self.value)


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Resize one VM. A resource that is None stays as it is."""

    order: Annotated[OrderKey, msgspec.Meta(min_length=1)]
    cause: CauseKey
    plan: PlanKey
    server: ServerKey
    cpu: Cores | None
    memory: Memory | None
    floor: Size
    ceiling: Size
    issued_at: Instant
    expires_at: Instant
    reason: Text


class HardCap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """At most so much, until then: a decision of people (``foreshape cap``). It ends by itself, also where nobody can be asked."""

    cause: CauseKey
    """The cap's id."""
    resource: Resource
    amount: Amount
    """Of the whole server: cores, MiB, 1/s or KiB/s. Its disks, or its interfaces, share it in equal parts."""
    until: Instant
    """By the controller's clock. In the past: it has ended, and what is left of it goes."""
    reason: Text = ""
    begins: bool = True
    """False where Foreshape may not act now: it does not begin; where it holds already it stays as it is, to its end."""


class Share(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A server's part of a host that is short of CPU, until then. The host's shortage says so, not people: nothing begins or ends by it.

    Reflexes stop there, and an order may take down to it what is in use.
    """

    amount: Cores
    until: Instant
    """By the controller's clock: a controller that is gone holds nobody down."""


class Guard(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a cut-off agent must still honour for one VM, and the terms of its tier. None: the agent's own setting holds."""

    server: ServerKey
    floor: Size
    entitlement: Size
    tier: Label = ""
    reflex_growth: Factor | None = None
    """Under pressure the allocation is multiplied by this …"""
    reflex_headroom: Factor | None = None
    """… or the demand by this, whichever is more."""
    memory_margin_share: Factor | None = None
    """Share of the working set that no shrink takes; the agent's own margin is the least."""
    caps: Annotated[tuple[HardCap, ...], msgspec.Meta(max_length=16)] = ()
    """The one in force of each resource."""
    share: Share | None = None
    """None: its host has enough CPU for it."""
    hands_off: bool = False
    """Its owner is at work on it, or it is nobody's that we know: nothing is changed but what was taken from it, which is given back."""

    def cap(self, resource: str, now: float) -> HardCap | None:
        """The hard cap in force."""
        return next((c for c in self.caps if c.resource == resource and c.until > now), None)


class Desired(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The controller's reply to a report: everything a host should do and hold, whole each time."""

    version: Count
    host: Name
    issued_at: Instant
    mode: Mode
    accepted: Annotated[tuple[Count, ...], msgspec.Meta(max_length=100_000)] = ()
    """Sequence numbers that are durably stored: the spool may forget them."""
    orders: Annotated[tuple[Order, ...], msgspec.Meta(max_length=MAX_SERVERS)] = ()
    """Open orders. Repeated until settled; carrying one out twice changes nothing."""
    guards: Annotated[tuple[Guard, ...], msgspec.Meta(max_length=MAX_SERVERS)] = ()
    cards_wanted: bool = False
    """The controller lacks this host's cards: send them with the next report."""
    token: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    """A new token that replaces the one used, from the next report on; empty: keep it."""

    @property
    def host_name(self) -> HostName:
        return HostName(self.host)


class Verdict(StrEnum):
    """What came of one resource of one order."""

    APPLIED = "applied"
    """Done, and seen done in the guest or by measurement: ``proof`` says how."""
    PENDING = "pending"
    """Asked for, not yet seen: another outcome follows."""
    REFUSED = "refused"
    """Not tried; ``code`` says why."""
    FAILED = "failed"
    """Tried, and not so; ``retry`` says whether another try makes sense."""


class Origin(StrEnum):
    """Who wanted an action."""

    ORDER = "order"
    REFLEX = "reflex"
    STATIC = "static"
    """Fail to static, or restore at shutdown."""
    CAP = "cap"
    """A hard cap that begins, ends, or is held. Only a controller that sent one is told."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of one action on one resource of one VM. Amounts by resource: cores, MiB, 1/s, KiB/s (of these 0 is no limit)."""

    order: OrderKey
    cause: CauseKey
    server: ServerKey
    resource: Resource
    verdict: Verdict
    origin: Origin
    at: Instant
    before: Amount
    target: Amount
    after: Amount
    """What was measured at the end, whatever the verdict."""
    code: Name
    """A stable word for machines: ``guest_vcpus``, ``balloon_measured``, ``stale_order``, ``balloon_short`` …"""
    reason: Text
    lever: LeverName | None = None
    proof: Text = ""
    took_s: Seconds = 0.0
    retry: bool = False
