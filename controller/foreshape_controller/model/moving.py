"""What is kept of migrations beside their state machine (``model/migration.py``): why, for whom, what was predicted, what came of it.

Instants are epoch seconds, amounts of memory MiB. Infinite numbers are None: JSON has none.
"""

import enum
import math
from collections.abc import Mapping

import msgspec

from foreshape_controller.model.migration import Migration, Room, State

AUTOMATIC = "automatic"
"""Who approved what nobody was asked for: mode act allows it."""


class Goal(enum.StrEnum):
    """What a move is for."""

    NEED = "need"
    """Its host will run short."""
    DRAIN = "drain"
    """Its host is emptied."""
    CONSOLIDATE = "consolidate"
    """Room for one more of the largest flavor."""
    OPERATOR = "operator"
    """Somebody asked for this very move."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A move that was planned and waits for somebody's word."""

    id: str
    server: str
    name: str
    source: str
    target: str
    goal: Goal
    reason: str
    made: float
    worth: float = 0.0
    """Weighted seconds of violation avoided, its price deducted."""
    deadline: float | None = None
    """When it has to begin."""
    predicted_s: float = 0.0
    downtime_s: float = 0.0
    factors: tuple[float, float] = (1.0, 1.0)
    """What both were corrected by, as learnt until then."""
    state: str = "open"
    """``open``, ``approved``, ``withdrawn`` or ``taken`` (it became a migration)."""
    by: str = ""
    """Who approved it."""
    why: str = ""
    """Of its state: why it was withdrawn, or what it waits for."""
    migration: str = ""
    """What it became."""

    @property
    def ends(self) -> float:
        return math.inf if self.deadline is None else self.deadline


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server was last proven to have by our doing; None: nothing was done to that resource."""

    cpu: float | None = None
    """Cores."""
    memory: float | None = None
    """MiB."""


class Moving(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One migration with all that is kept of it."""

    migration: Migration
    goal: Goal
    by: str
    cause: str
    name: str = ""
    project: str = ""
    size: Mapping[str, int] = {}
    """What it holds in Placement, by class."""
    link: str = ""
    worth: float = 0.0
    deadline: float | None = None
    predicted_s: float = 0.0
    downtime_s: float = 0.0
    """Predicted."""
    factors: tuple[float, float] = (1.0, 1.0)
    """What both predictions were corrected by."""
    copied_mib: float = 0.0
    """Memory in use when it was planned."""
    reservation: str = ""
    known: tuple[str, ...] = ()
    """Nova's migrations of this server from before the order: none of them is ours."""
    number: int = 0
    """Nova's number of ours: what an abort wants."""
    shape: Shape = Shape()
    """As it was when it was ordered: what is applied again."""
    there_since: float | None = None
    """Since when Nova says that it is on the target."""
    failed_at: float | None = None
    """Since when it is known that it did not move."""
    applying: str = ""
    """Order that applies its shape again."""
    tried: float | None = None
    """When a repair was last tried."""
    waits: str = ""
    """What it waits for."""
    took_s: float | None = None
    """By Nova's record, once it arrived."""
    stopped_s: float | None = None
    """How long its guest was stopped, as the target's hypervisor measured and its agent told; None: nobody did."""
    ended: float | None = None

    @property
    def id(self) -> str:
        return self.migration.id

    @property
    def automatic(self) -> bool:
        return self.by == AUTOMATIC

    @property
    def over(self) -> bool:
        """Nothing more is to be done for it."""
        return self.migration.state.over and not self.migration.room.owed

    @property
    def begun(self) -> bool:
        """Something of it may exist outside our store."""
        return self.migration.state is not State.QUEUED or self.migration.room is not Room.NONE


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a migration's history."""

    migration: str
    at: float
    what: str
    """The event, or what is about to be done."""
    state: str
    text: str = ""


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host that is being emptied, and stays closed until somebody ends it."""

    id: str
    host: str
    reason: str
    by: str
    since: float
    until: float | None = None
    """When it has to be empty: maintenance begins."""
    approved: bool = False
    """Its moves need no further word of anybody."""
    disable: bool = False
    """Its nova-compute is disabled meanwhile."""
    service: str = ""
    """Id of the service that we disabled, or are about to; empty: we did not."""
    total: int | None = None
    """Servers that were on it at first."""
    kept: Mapping[str, str] = {}
    """What cannot be moved now, by server, and why."""
    empty_at: float | None = None
    ended: float | None = None
    ended_why: str = ""
