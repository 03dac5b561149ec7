"""What customers ask for ahead of time: servers or growth, when, for how long, how urgently (domain.md §10).

The states, and what moves a request from one to the next (``decide/request_life.py`` has the table):

    queued ──placed──▶ proposed ──approve──▶ scheduled ──due──▶ admitted ──held──▶ started ──take──▶ fulfilled
      ▲  └────placed (mode act)──────────────────▲                 │                 │
      └───────────────── lost: no room (any more), or the promise was not used in time ───────────────┘

    cancelled (its owner's word), declined (he did not want what was offered), expired (its time is over): from any state but fulfilled
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from foreshape_controller.model.cloud import Resources


class RequestState(enum.StrEnum):
    """How far it is."""

    QUEUED = "queued"
    """No time was found yet; it is looked at again, and gets more urgent as it waits."""
    PROPOSED = "proposed"
    """Hosts and a start are kept free for it in our books; an operator's approval is wanted, as the mode is advise."""
    SCHEDULED = "scheduled"
    """It has a start that is promised."""
    ADMITTED = "admitted"
    """It may start now; its room is being held."""
    STARTED = "started"
    """Its room is held; its owner may come."""
    FULFILLED = "fulfilled"
    """Its owner came, and the room was given up for him."""
    CANCELLED = "cancelled"
    DECLINED = "declined"
    EXPIRED = "expired"

    @property
    def over(self) -> bool:
        """Nothing happens to it any more."""
        return self in (RequestState.FULFILLED, RequestState.CANCELLED, RequestState.DECLINED, RequestState.EXPIRED)

    @property
    def promised(self) -> bool:
        """It has hosts and a start that nobody else gets."""
        return self in (RequestState.PROPOSED, RequestState.SCHEDULED, RequestState.ADMITTED, RequestState.STARTED)


UNDO: Mapping[RequestState, str] = MappingProxyType(
    {
        RequestState.QUEUED: "its owner cancels it",
        RequestState.PROPOSED: "its owner cancels it, or nobody approves: its start passes, and it is queued again",
        RequestState.SCHEDULED: "its owner cancels it: what is held for it is given back",
        RequestState.ADMITTED: "its owner cancels it: what is held for it is given back",
        RequestState.STARTED: "its owner cancels it, or does not come: what is held for it is given back",
    }
)
"""How a state is taken back, for people."""


class Criticality(enum.StrEnum):
    """How much it may be moved in time."""

    CRITICAL = "critical"
    """At once, if it fits at all."""
    NORMAL = "normal"
    """As soon as the fleet's peak allows."""
    FLEXIBLE = "flexible"
    """Whenever in its window the fleet is emptiest."""


class Together(enum.StrEnum):
    """How its servers want to stand."""

    ANY = "any"
    SPREAD = "spread"
    """Each on a host of its own."""
    SAME_HOST = "same_host"


class RequestAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/requests``. Give ``flavor``, or ``vcpus`` and ``ram``; for growth ``server`` and its new ``vcpus`` and ``ram``."""

    flavor: str = ""
    """Its name."""
    vcpus: int | None = None
    ram: int | None = None
    """MiB."""
    disk: int | None = None
    """GiB."""
    server: str = ""
    """Id or name of a server that is to grow."""
    count: int = 1
    az: str = ""
    together: Together = Together.ANY
    criticality: Criticality = Criticality.NORMAL
    tier: str = ""
    """Empty: the default one."""
    earliest: float | None = None
    """Epoch seconds; null: now."""
    latest: float | None = None
    """Latest start; null: whenever there is room."""
    for_s: float = 4 * 3600.0
    """How long it is wanted."""
    name: str = ""
    """The owner's own; no two open requests of a project have the same: so a request that is sent twice is made once."""
    note: str = ""
    project: str = ""
    """For whom; operators only: a tenant's is his own."""


class Placed(msgspec.Struct, frozen=True):
    """So many of its servers on one host."""

    host: str
    count: int


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """What could be had instead: ``PUT /v1/requests/ID/accept`` takes it."""

    kind: str
    """``flavor``, ``az``, ``time``, ``count``."""
    said: str
    start: float
    flavor: str = ""
    """Empty: as asked."""
    az: str = ""
    count: int
    price: str = ""
    """An amount with its currency; empty: nobody quotes one."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are epoch seconds."""

    id: str
    project: str
    ask: RequestAsk
    each: Resources
    """Of one server: ``VCPU``, ``MEMORY_MB`` (MiB), ``DISK_GB`` (GiB); of growth, what is added."""
    only_host: str = ""
    """The one host that it can have: of the server that is to grow."""
    earliest: float
    latest: float
    """Latest start; where none was asked for, as far as anybody looks ahead."""
    tag: float
    """Its place in the queue: lower comes first (``decide/request_order.py``)."""
    state: RequestState = RequestState.QUEUED
    start: float = 0.0
    """0: none yet."""
    take_by: float = 0.0
    """Its room is kept until then."""
    placed: tuple[Placed, ...] = ()
    created: float
    changed: float
    """When its state changed last."""
    said: str = ""
    """Why it is as it is: one sentence."""
    code: str = ""
    """The same for machines."""
    assumed: tuple[str, ...] = ()
    """What the answer takes for granted."""
    alternatives: tuple[Alternative, ...] = ()
    next_look: float = 0.0
    """When it is looked at next; 0: never again."""
    approved: str = ""
    """Who approved it in mode advise."""
    cause: str = ""
    by: str = ""
    """Who asked."""
    amended: int = 0
    """How often an alternative was accepted."""
    lost: int = 0
    """How often a promise could not be kept, and it was queued again."""
    kept: bool = False
    """All its reservations were made: one that is missing from then on was lost."""

    @property
    def end(self) -> float:
        """When it gives its room back."""
        return self.start + self.ask.for_s

    @property
    def owner(self) -> str:
        """Of its reservations."""
        return f"request:{self.id}"


class RequestStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a request's journal, written before it is done."""

    at: float
    request: str
    state: str
    said: str
    cause: str = ""
    undo: str = ""


class RequestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the API tells it."""

    id: str
    """Empty: a dry run, nothing was kept."""
    project: str
    name: str
    state: str
    ask: RequestAsk
    each: Mapping[str, int]
    count: int
    start: float | None
    end: float | None
    take_by: float | None
    hosts: tuple[Placed, ...]
    """Operators only."""
    said: str
    reason_code: str
    assumed: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    position: int
    """In the queue, from 1; 0: it is not queued."""
    expected: float | None
    """When it is expected to start; null: not known."""
    next_look: float | None
    created: float
    changed: float
    bookkeeping: bool
    """No OpenStack is configured: the room is kept in our books only, and Nova knows nothing of it."""
    approved: str
    by: str
    price: str = ""
    history: tuple[RequestStep, ...] = ()
    """Only where one request is shown."""


class RequestAcceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``PUT /v1/requests/ID/accept``."""

    alternative: int
    """Its place in ``alternatives``, from 0."""


class RequestApproval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /v1/requests/ID/approve``."""

    by: str = ""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project wants to be told."""

    id: str
    project: str
    url: str
    created: float
    secret: str
    """Signs what is sent; shown once."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is to be told to one webhook; kept until it was taken, or given up."""

    id: str
    hook: str
    project: str
    request: str
    event: str
    payload: str
    """JSON."""
    created: float
    tries: int = 0
    next_try: float = 0.0
    state: str = "waiting"
    """``waiting``, ``taken``, ``given_up``."""
    status: int = 0
    """The last answer's; 0: there was none."""
    said: str = ""


class WebhookAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /v1/webhooks``."""

    url: str
    project: str = ""


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as the API tells it."""

    id: str
    project: str
    url: str
    created: float
    secret: str = ""
    """Only in the answer that makes it: keep it, nobody can show it again."""


class DeliveryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as the API tells it."""

    id: str
    request: str
    event: str
    created: float
    tries: int
    next_try: float | None
    state: str
    status: int
    said: str
