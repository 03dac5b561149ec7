"""What holds orders back: budgets and what was spent of them, halts and their trials."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True)
class Budget:
    """How much may be ordered; sliding over the journal, so that a restart gives nothing back."""

    ttl_s: float = 300.0
    """How long an order holds."""
    orders: int = 500
    """In a minute, all hosts together."""
    orders_per_host: int = 20
    """In a minute."""
    fleet_share: float = 0.3
    """Of the servers, that may be shrunk in an hour; ten always may."""
    shrink_cores: float = 500.0
    """In a minute."""
    shrink_mib: float = 524288.0
    grow_cores: float = 2000.0
    grow_mib: float = 2097152.0


@dataclass(frozen=True)
class Spent:
    """What the journal says was ordered lately."""

    orders: int = 0
    """In the last minute."""
    by_host: Mapping[str, int] = field(default_factory=dict)
    grow_cores: float = 0.0
    grow_mib: float = 0.0
    shrink_cores: float = 0.0
    shrink_mib: float = 0.0
    shrunk: frozenset[str] = frozenset()
    """Servers for which a shrink was ordered in the last hour."""


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A scope in which less is ordered, why, and until when. One per scope and kind."""

    scope: str
    """``cloud``, ``host:NAME``, ``server:ID``."""
    kind: str
    """``failures``: orders fail or nobody tells what came of them. ``foreign``: somebody else changes sizes.
    ``outage``: measurements are missing over the whole cloud. ``balancer``: somebody else migrates servers; holds back migrations only."""
    state: str
    """``open``: halted. ``half_open``: one order at a time is tried. ``closed``: over; kept for its count of trips."""
    since: float
    until: float
    """open: when the next trial may be; half_open: as before; closed: until when the trips are remembered."""
    reason: str
    trips: int = 1
    """How often it opened without a good trial in between: each doubles the time."""

    @property
    def active(self) -> bool:
        return self.state != "closed"


@dataclass(frozen=True)
class Brakes:
    """What one plan may order."""

    budget: Budget = field(default_factory=Budget)
    spent: Spent = field(default_factory=Spent)
    stopped: Mapping[str, str] = field(default_factory=dict)
    """By server: why it is not shrunk, and grows only back to what was sold."""
    trials: Mapping[str, str] = field(default_factory=dict)
    """By server: the scope that tries one order; nothing else is ordered there."""
    notes: tuple[str, ...] = ()
    """Sentences for the plan."""
