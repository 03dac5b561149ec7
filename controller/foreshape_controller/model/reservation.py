"""Room that is held in Placement for somebody who will come (domain.md §7): what is wanted, what is known, what can happen.

The machine itself is ``decide/reserve.py``; these are its values. A reservation has slots, one for each VM that is to come: one consumer in
Placement holds one slot, because ``max_unit`` bounds what one consumer may hold on a host, however much is free there.
"""

import enum
from collections.abc import Mapping

import msgspec

from foreshape_controller.model.cloud import Resources


class State(enum.StrEnum):
    """How far it is. The picture is in ``decide/reserve.py``."""

    PLANNED = "planned"
    """Written down. Nothing is held, or it is just being asked for."""
    HELD = "held"
    HANDED_OVER = "handed_over"
    """Given up for its taker, who was told to come; nothing is held any more, or it is just being deleted."""
    RELEASED = "released"
    EXPIRED = "expired"
    LOST = "lost"
    """It could not be held (again)."""

    @property
    def over(self) -> bool:
        """Nothing is held on its behalf any more, nor will be."""
        return self in (State.RELEASED, State.EXPIRED, State.LOST)


class Place(enum.StrEnum):
    """What is known of one slot in Placement. Only ``none`` means that it surely holds nothing."""

    NONE = "none"
    ASKED = "asked"
    """The write that makes it was decided: it may exist."""
    HELD = "held"
    FREEING = "freeing"
    """Its deletion was decided: it may exist still."""


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Room for one VM."""

    consumer: str
    """UUID in Placement; a slot keeps it for life, so that whatever is found there can be told whose it is."""
    place: Place = Place.NONE


class ReservationWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants held."""

    host: str
    resources: Resources
    """Of one slot: ``VCPU``, ``MEMORY_MB`` (MiB), ``DISK_GB`` (GiB)."""
    owner: str
    """``migration:ID``, ``operator:NAME``, ``pool:ID``, ``request:ID``, ``need:HOST/RESOURCE``, ``elsewhere:SERVER``."""
    reason: str
    until: float
    """When it ends by itself, epoch seconds; every one does."""
    starts: float = 0.0
    """When it is needed; it is held from ``[reservations] lead_s`` before. 0: now."""
    count: int = 1
    """Slots."""
    cause: str = ""
    """Id of the decision that it follows from."""
    project: str = ""
    """Whose servers are to come; Placement counts the room to our own project all the same."""
    server: str = ""
    """Id of the server that is to come, where it is known."""
    groups: tuple[str, ...] = ()
    """Ids of server groups that those who come are members of: planned places count for them."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reservation. Times are epoch seconds."""

    id: str
    wish: ReservationWish
    provider: str = ""
    """UUID of the host's resource provider, when it was first asked for there."""
    slots: tuple[Slot, ...]
    state: State = State.PLANNED
    ending: State | None = None
    """What it becomes as soon as nothing of it is left in Placement."""
    created: float
    changed: float
    """When its state changed last."""
    said: str = ""
    """Why it is as it is: one sentence."""
    approved: str = ""
    """Who wants it held in mode advise, too; empty: the mode alone decides."""

    @property
    def owed(self) -> bool:
        """Something of it may exist in Placement."""
        return any(slot.place is not Place.NONE for slot in self.slots)

    @property
    def held(self) -> int:
        """Slots that Placement is known to hold."""
        return sum(slot.place is Place.HELD for slot in self.slots)

    @property
    def wanted(self) -> bool:
        """It should be held, now or later."""
        return self.ending is None and self.state in (State.PLANNED, State.HELD)


class Happened(enum.StrEnum):
    """The kinds of events. Those of a slot carry its ``consumer``."""

    DUE = "due"
    """Its window opens, and we may act."""
    PUT = "put"
    """A slot is held: Placement said so, or it was seen there as it should be."""
    REFUSED = "refused"
    """No room for a slot; Placement surely holds nothing of it."""
    MISSING = "missing"
    """A slot was looked for and is not there, or not as it should be: other amounts, another host."""
    FREED = "freed"
    """A slot is not there any more."""
    RELEASE = "release"
    EXPIRE = "expire"
    """Its time is over."""
    LOSE = "lose"
    """It cannot be held any more: its host is gone."""
    HAND = "hand"
    """Its taker comes next; the target is locked for everybody else."""
    BACK = "back"
    """The taker was surely not taken: hold it again."""
    TICK = "tick"
    """Time passed, also the first time after a restart: what is outstanding is asked for again."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened."""

    kind: Happened
    consumer: str = ""
    """Which slot; empty, of ``put`` and ``refused``: all that were asked for, in one step of Placement's."""
    text: str = ""
    """Why."""


class Do(enum.StrEnum):
    """What is to be done to a slot. Each may be done twice without harm."""

    PUT = "put"
    """See that Placement holds it, as it should be."""
    DELETE = "delete"


class Instruction(msgspec.Struct, frozen=True):
    """One write to Placement, and why."""

    do: Do
    consumer: str
    why: str


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal: a write to Placement, written down before it was asked for."""

    id: int = 0
    at: float
    reservation: str
    host: str
    provider: str
    what: str
    """``put``, ``delete``, ``lock``, ``unlock``."""
    subject: str
    """The consumer; the trait of a lock."""
    reason: str
    cause: str = ""
    undo: str = ""
    """What takes it back."""
    outcome: str = "asked"
    """``asked``: not known (yet); it may have taken effect. ``done``, ``refused``, ``failed``: surely not done."""
    known_at: float | None = None
    said: str = ""


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A trait of ours that keeps the scheduler from a host; written down before it is set."""

    provider: str
    host: str
    reservation: str
    """The first hand-over that it was set for."""
    at: float


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What one comparison of the journal with Placement found and did."""

    at: float
    reservations: int = 0
    """Those that should be held."""
    slots: int = 0
    in_order: int = 0
    held_again: int = 0
    """Slots that were missing or wrong, and are held now."""
    lost: int = 0
    """Slots that there was no room for any more."""
    orphans: int = 0
    """Consumers of ours without an owner that were found."""
    deleted: int = 0
    """Those of them that were deleted; the others wait for their grace to end."""
    others: int = 0
    """Reservations in our project that another controller, or a Foreshape of long ago, made: they are left alone."""
    lifted: int = 0
    """Locks that somebody who died left behind."""
    problems: tuple[str, ...] = ()
    """What could not be looked at, or could not be done: sentences."""

    @property
    def clean(self) -> bool:
        """Everything was looked at, and all was as it should be."""
        return not self.problems and self.in_order == self.slots and not (self.orphans or self.lifted)


class ReservationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/reservations``. Give ``host`` or ``az``; ``flavor`` or ``vcpus`` and ``ram``; ``for_s`` or ``until``."""

    host: str = ""
    az: str = ""
    """Anywhere in this availability zone."""
    flavor: str = ""
    """Its name in Nova."""
    vcpus: int | None = None
    ram: int | None = None
    """MiB."""
    disk: int | None = None
    """GiB."""
    count: int = 1
    starts: float | None = None
    """Epoch seconds; without it: now."""
    for_s: float | None = None
    until: float | None = None
    reason: str
    approve: bool = False
    """Hold it in mode advise, too."""
    by: str = ""


class ReservationApproval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /v1/reservations/ID/approve``."""

    by: str = ""


class ReservationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One reservation, as the API tells it."""

    id: str
    host: str
    state: str
    resources: Mapping[str, int]
    count: int
    held: int
    owner: str
    reason: str
    cause: str
    project: str
    server: str
    starts: float
    until: float
    left_s: float
    created: float
    changed: float
    said: str
    approved: str = ""
    """Who wants it held in mode advise, too."""
    consumers: tuple[str, ...] = ()
    writes: tuple[Write, ...] = ()
    """The newest lines of its journal; only where one reservation is shown."""
