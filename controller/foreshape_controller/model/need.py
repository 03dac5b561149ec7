"""What a host that is short leads to: somebody gives and somebody gets, and where that is not enough somebody has to leave."""

import msgspec


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Capacity that a plan takes from one group of servers for another on the same host. Cores or MiB."""

    host: str
    resource: str
    giver: str
    """A segment's series, or ``tier:NAME`` for servers that are in no segment."""
    taker: str
    amount: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A server that could be moved away."""

    server: str
    tier: str
    relief: float
    """What the host would have back, cores or MiB."""
    seconds: float
    """How long its migration is expected to take."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What no sharing on the host can meet: so much has to leave it until then."""

    host: str
    resource: str
    amount: float
    """Cores or MiB."""
    starts: float
    """When the shortage begins, epoch seconds; in the past where it is there already."""
    deadline: float
    """When a migration has to begin, so that it is over when the shortage begins. Never before the need was seen."""
    probability: float
    """That the host's demand exceeds what it has, by its own forecast; 0 where there is none."""
    candidates: tuple[Candidate, ...]
    """In the order in which tiers are moved, the best relief first."""
    reason: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A need as it is kept."""

    need: Need
    """As it was seen last."""
    since: float
    """When it was first seen."""
    closed_at: float | None = None
    closed_why: str = ""
