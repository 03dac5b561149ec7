"""A hard cap: a decision of people to throttle somebody, for a time and a reason (domain.md §5)."""

import msgspec


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most so much of one resource, for every server of a scope."""

    id: str
    """Its cause id: orders and outcomes that follow from it carry it."""
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
