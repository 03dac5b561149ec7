"""What the controller wants of a host, and what came of it."""

from enum import StrEnum
from typing import Annotated

import msgspec

from foreshape_wire.ids import CauseKey, HostName, Name, OrderKey, PlanKey, ServerKey, Text
from foreshape_wire.quantity import Amount, Cores, Count, Instant, Memory, Seconds, Size
from foreshape_wire.reading import LeverName, Resource

MAX_SERVERS = 20_000
"""Servers of one host in one message: ten times what a hypervisor can run."""


class Mode(StrEnum):
    """How far Foreshape may go; the lowest of cloud, host, project and server wins (domain.md §1)."""

    OBSERVE = "observe"
    ADVISE = "advise"
    ACT = "act"

    @property
    def rank(self) -> int:
        return ("observe", "advise", "act").index(self.value)


class Order(msgspec.Struct, frozen=True, kw_only=True):
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


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What a cut-off agent must still honour for one VM."""

    server: ServerKey
    floor: Size
    entitlement: Size


class Desired(msgspec.Struct, frozen=True, kw_only=True):
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


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one action on one resource of one VM. Amounts in cores or MiB, by resource."""

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
