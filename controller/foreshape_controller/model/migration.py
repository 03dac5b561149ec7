"""One live migration from its wish to its end (domain.md §8): what is known of it, what can happen to it, what is to be done.

The machine itself is ``decide/migrate.py``; these are its values. A migration orders once in its life: a second try is another
migration with another id.
"""

import enum

import msgspec


class State(enum.StrEnum):
    """How far it is. The picture is in ``decide/migrate.py``."""

    QUEUED = "queued"
    RESERVED = "reserved"
    ORDERED = "ordered"
    """The order is written down; whether Nova took it is not known yet."""
    RUNNING = "running"
    ARRIVED = "arrived"
    SETTLED = "settled"
    FAILED = "failed"
    ABORTED = "aborted"
    COMPENSATED = "compensated"

    @property
    def over(self) -> bool:
        """Nothing touches the server on this migration's behalf any more."""
        return self in (State.SETTLED, State.COMPENSATED)


class Room(enum.StrEnum):
    """The place held for it on the target. Only ``none`` and ``freed`` mean that Placement surely holds nothing of ours."""

    NONE = "none"
    ASKED = "asked"
    """The reservation was asked for; it may exist."""
    HELD = "held"
    FREED = "freed"

    @property
    def owed(self) -> bool:
        """It must still be released: whatever may exist counts as existing."""
        return self in (Room.ASKED, Room.HELD)


class Wish(enum.StrEnum):
    """What is done to a migration that should end sooner."""

    NONE = "none"
    FORCE = "force"
    ABORT = "abort"


class Migration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One server's way to one target. Times are Unix seconds."""

    id: str
    server: str
    source: str
    target: str
    reason: str
    created: float
    limit_s: float
    """How long it may run after its order (``decide/moves.py``: from RAM, dirty rate and link) before it counts as stuck."""
    may_abort: bool = False
    """This Nova survives an abort: 32 to 34 leave the server in ERROR."""
    may_force: bool = False
    """It may be completed by force: the tier consents to the longer downtime."""
    state: State = State.QUEUED
    room: Room = Room.NONE
    wish: Wish = Wish.NONE
    ordered_at: float | None = None
    nova_id: str = ""
    moved: bool = False
    """Nova says that it is over and the server is on the target."""
    reported: bool = False
    """The target's agent reports the server as its own, since the order."""
    restored: bool = False
    """The server's shape is as it should be: applied again on the target, or seen to be sound on its source."""
    gone: bool = False
    """The server exists no more."""
    said: str = ""
    """Why it is in this state: one sentence."""


class Happened(enum.StrEnum):
    """The kinds of events."""

    START = "start"
    """The limits let it begin."""
    RESERVED = "reserved"
    GO = "go"
    """Every rule was checked again, and the server's lease is free (``decide/migrate.py: may_order``)."""
    REFUSED = "refused"
    """No room, a rule that does not hold any more, or Nova's refusal of the order."""
    LOST = "lost"
    """The reservation is not there any more."""
    NOVA = "nova"
    """Nova answered; the event carries what."""
    AGENT = "agent"
    """An agent reports the server as its host's own, not as one that is just coming in; ``host`` says which."""
    CANCEL = "cancel"
    GONE = "gone"
    RELEASED = "released"
    RESTORED = "restored"
    """The shape was applied again, or the compensation was done."""
    TICK = "tick"
    """Time passed, also the first time after a restart: what is outstanding is asked for again."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. The fields beside ``kind`` serve the kinds that name them."""

    kind: Happened
    text: str = ""
    """``refused``, ``lost``, ``cancel``: why; ``agent``: why somebody else's word is taken for it."""
    at: float = 0.0
    """``agent``: when it was seen; one from before the order proves nothing."""
    host: str = ""
    """``nova``, ``agent``: where the server is; empty: not known."""
    status: str = ""
    """``nova``: the migration record's status, as Nova writes it; empty: Nova answers that it has no such migration."""
    sound: bool = False
    """``nova``: the server is ACTIVE, or what its owner made of it since (SHUTOFF, PAUSED ...); not MIGRATING, not ERROR."""
    nova_id: str = ""
    alarm: bool = False
    """``restored``, ``gone``: the text is for a person to read, for all is not known to be well."""


class Do(enum.StrEnum):
    """What is to be done. Each may be done twice without harm, but ``order``, which comes once."""

    RESERVE = "reserve"
    ORDER = "order"
    """Hand the reservation over and tell Nova (facts: a race-free hand-over locks the target meanwhile)."""
    WATCH = "watch"
    """Ask Nova and the target's agent."""
    FORCE = "force"
    ABORT = "abort"
    REAPPLY = "reapply"
    """Apply the server's shape on the target."""
    COMPENSATE = "compensate"
    """See that the server runs on its source, repair what the attempt left there, apply its shape again."""
    RELEASE = "release"
    """Delete the reservation if it is there, and lift the target's lock if it is on."""


TOUCHES = frozenset({Do.ORDER, Do.FORCE, Do.ABORT, Do.REAPPLY, Do.COMPENSATE})
"""Instructions that do something to the server."""


class Instruction(msgspec.Struct, frozen=True):
    """One thing to do for one migration, and why."""

    do: Do
    migration: str
    server: str
    why: str
