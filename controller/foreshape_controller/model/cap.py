"""A hard cap: a decision of people to throttle somebody, for a time and a reason (domain.md §5)."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

UNITS: Mapping[str, str] = MappingProxyType(
    {"cpu": "cores", "memory": "MiB", "disk_iops": "requests/s", "disk_kib_s": "KiB/s", "net_kib_s": "KiB/s"}
)
"""What can be capped, and in what."""

KINDS = ("server", "project", "segment", "host")
"""Kinds of scope. A segment is an application's tag: segments.yaml says who is in it."""


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most so much of one resource, for every server of a scope."""

    id: str
    """Its cause id: outcomes that follow from it carry it."""
    scope: str
    """``server:ID``, ``project:ID``, ``segment:NAME`` (an application tag), ``host:NAME``."""
    resource: str
    """``cpu`` (cores), ``memory`` (MiB), ``disk_iops``, ``disk_kib_s``, ``net_kib_s``."""
    amount: float
    """Per server."""
    since: float
    until: float
    """When it ends by itself; every cap does."""
    reason: str
    by: str = ""
    """Who asked for it."""
    lifted_at: float | None = None
    """When somebody ended it before its time."""
    lifted_why: str = ""

    @property
    def ends(self) -> float:
        """When it ended, or will."""
        return self.until if self.lifted_at is None else min(self.until, self.lifted_at)

    def state(self, now: float) -> str:
        """``in force``, ``lifted`` or ``over``."""
        if now < self.ends:
            return "in force"
        return "over" if self.lifted_at is None or self.lifted_at >= self.until else "lifted"


class CapRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/caps``. One cap is made for each amount. Give ``for_s`` or ``until``."""

    scope: str
    amounts: dict[str, float]
    """By resource: ``cpu`` (cores), ``memory`` (MiB), ``disk_iops``, ``disk_kib_s``, ``net_kib_s``."""
    reason: str
    for_s: float | None = None
    until: float | None = None
    by: str = ""


class CapEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a cap means for one server now."""

    server: str
    name: str
    host: str
    amount: float
    """In force: not below the server's floor, nor above what a stricter cap allows."""
    notes: tuple[str, ...] = ()
    """Sentences: what each device gets, and what keeps the cap from being what was asked for."""
    seen: str = ""
    """What the agent said of it last."""


class CapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/caps`` and ``/v1/caps/{id}``, ``POST /v1/caps``, ``DELETE /v1/caps/{id}``."""

    id: str
    scope: str
    resource: str
    amount: float
    unit: str
    state: str
    """``in force``, ``over``, ``lifted``."""
    since: float
    until: float
    left_s: float
    reason: str
    by: str
    servers: int
    """In its scope now."""
    lifted_at: float | None = None
    lifted_why: str = ""
    effects: tuple[CapEffect, ...] = ()
    """Of its servers, the first hundred; empty in lists."""
