"""After a migration: the server's shape as it was, and what a failed attempt left behind put right.

Nova 32 to 34 leave a server in ERROR whose aborted migration did it no harm: its guest runs on. An operator would look whether it runs,
and reset its state; so do we, where the agent of its host reports it running now.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from foreshape_controller.errors import ControllerError
from foreshape_controller.loops.durations import same_but_for_time
from foreshape_controller.loops.witness import HERE, SILENT_S
from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.cloud import CloudServer
from foreshape_controller.model.cloud_word import Misplaced
from foreshape_controller.model.migration import Event, Happened
from foreshape_controller.model.moving import Moving, Shape
from foreshape_wire.ids import CauseId, OrderId, PlanId, ServerId, new_id
from foreshape_wire.order import Mode, Order
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DomainState

FRESH_S = 60.0
"""A report so old still says how things are."""

SILENCE_S = 30.0
"""Agents report every ten seconds: one that said nothing for so long is said to be silent."""

NOVA_LATE_S = 15.0
"""Nova 34 writes that a migration failed some time before it calls its server an error (seen: a second and more, on a busy host)."""

AGAIN_S = 60.0
"""Between two tries of a repair."""

WATCHED_S = 86400.0
"""So long after its order a failed migration waits for somebody to put right what Nova does not know; ``loops/elsewhere.py`` goes on."""

OFF = frozenset({DomainState.SHUTOFF, DomainState.CRASHED})

OPEN_STATES = frozenset({"open"})

CLOSE_SHARE, CLOSE_CORES, CLOSE_MIB = 0.03, 0.05, 64.0
"""A shape within this of what was proven is that shape (as for second controllers, ``decide/foreign.py``)."""

Result = tuple[Moving, list[Event]]


class Sighting(Protocol):
    """A server in its host's newest report."""

    @property
    def host(self) -> str: ...

    @property
    def at(self) -> float: ...

    @property
    def state(self) -> DomainState: ...

    @property
    def cpu(self) -> float | None: ...

    @property
    def memory(self) -> float | None: ...


class Sightings(Protocol):
    """What agents see."""

    def of(self, wanted: Collection[str]) -> Mapping[str, Sighting]: ...

    def left(self, server: str) -> tuple[str, float] | None: ...

    def hosts(self) -> Mapping[str, float]: ...


class Journal(Protocol):
    """Orders to agents."""

    def again(self, order: Order, host: str, has: tuple[float, float], now: float) -> None: ...

    def orders(self, server: str, limit: int = 5) -> tuple[OrderAnswer, ...]: ...


class Modes(Protocol):
    """How far we may go."""

    def effective(self, host: str, project: str = "", server: str = "") -> Mode: ...


class Rows(Protocol):
    """The part of the store that migrations are in."""

    def save(self, row: Moving, now: float, what: str, text: str = "") -> None: ...


class Repairs(Protocol):
    """The part of Nova that a repair needs."""

    def server(self, server: str) -> CloudServer: ...

    def reset_state(self, server: str) -> None: ...


@dataclass(frozen=True)
class Kit:
    """What mending is done with."""

    nova: Repairs
    rows: Rows
    sightings: Sightings
    journal: Journal
    modes: Modes
    claims: Callable[[str], Collection[str] | None] = lambda _server: None
    """Hosts on which Placement has a server's claim; None: nobody can be asked. Raises Temporary."""
    ttl_s: float = 300.0
    """How long an order to an agent holds."""
    halted: Callable[[str, str], str] = lambda _host, _server: ""
    """Why nothing is done now to a server on a host, whatever the mode; empty: it may be."""


class Mend:
    """``reapply`` after an arrival, ``there`` before one that Nova does not call one, ``compensate`` after anything else."""

    def __init__(self, kit: Kit, ids: Callable[[str], str] = new_id) -> None:
        self._k, self._ids = kit, ids

    def reapply(self, row: Moving, now: float) -> Result:
        """See that it has on its target what it was proven to have."""
        return self._shape(row, row.migration.target, now)

    def compensate(self, row: Moving, now: float) -> Result:
        """See that it runs where it is, and has its shape. Raises Gone, Temporary."""
        server = self._k.nova.server(row.migration.server)
        if why := self._astray(row, server, now):
            return self._waits(row, why, now), []
        if server.status == "ERROR":
            return self._repair(row, server, now), []
        if server.task_state or server.status in ("MIGRATING", ""):
            return self._waits(row, f"Nova still does something to it: {server.task_state or server.status}", now), []
        if row.failed_at is not None and now - row.failed_at < NOVA_LATE_S:
            return self._waits(row, f"looked at for {NOVA_LATE_S:.0f} s: Nova may still call it an error", now), []
        if why := self._just_seen_elsewhere(server, now):
            return self._waits(row, why, now), []
        row, found = self._shape(row, server.host, now)
        if not found:
            return row, []
        said = "; ".join(text for text in (self._out_of_sight(server, now), self._claimed_elsewhere(row, server)) if text)
        return row, [Event(Happened.RESTORED, text=said, alarm=True)] if said else found

    def there(self, row: Moving, now: float) -> Moving:
        """A server that Nova has on its target in ERROR, its migration over: seen with Nova 34 whose target lost its libvirt on arrival.

        Raises Gone, Temporary.
        """
        server = self._k.nova.server(row.migration.server)
        if server.host != row.migration.target or server.status != "ERROR":
            return row
        return self._repair(row, server, now)

    def left_behind(self, row: Moving) -> str:
        """What Nova still holds for its migration of a server that was deleted; empty: nothing, or nobody can be asked.

        Seen with Nova 34: the source died before anything was sent, the server was deleted in ERROR, the migration's share stayed.
        """
        left = row.migration.nova_id
        try:
            where = ", ".join(sorted(self._k.claims(left) or ())) if left else ""
        except ControllerError:
            return ""
        return (
            f"Nova still holds room on {where} for its migration {left}: if that stays, {_given_back(left)} gives it back" if where else ""
        )

    def _claimed_elsewhere(self, row: Moving, server: CloudServer) -> str:
        """What an operator has to know of a claim that Nova forgot on the target (seen with Nova 34 whose source lost its libvirt)."""
        claims = self._k.claims(server.id)
        if claims is None or server.host in claims:
            return ""
        where, left = ", ".join(sorted(claims)) or "no host", row.migration.nova_id
        beside = f", then {_given_back(left)} for the migration's own," if left else ""
        heal = f"'nova-manage placement heal_allocations --instance {server.id} --force'"
        return f"Nova left its claim in Placement on {where}: {heal}{beside} puts that right"

    def _out_of_sight(self, server: CloudServer, now: float) -> str:
        """What an operator has to know of a guest that Nova calls ACTIVE and nobody sees run; empty: it is seen, or there is no agent."""
        heard = self._k.sightings.hosts().get(server.host)
        if server.status != "ACTIVE" or heard is None:
            return ""
        if now - heard > SILENCE_S:
            return (
                f"the agent of {server.host} has said nothing for {now - heard:.0f} s: whether its guest still runs is not known; "
                f"if that host is dead, 'openstack server evacuate {server.id}' starts it elsewhere"
            )
        seen = self._k.sightings.of([server.id]).get(server.id)
        if seen is not None and seen.host == server.host and seen.state not in OFF:
            return ""
        return (
            f"Nova calls it ACTIVE on {server.host}, and the agent there does not see its guest run: "
            f"'openstack server reboot --hard {server.id}' starts it anew"
        )

    def _astray(self, row: Moving, server: CloudServer, now: float) -> str:
        """What an operator has to know of a guest that arrived although Nova says that it did not; empty: it did not, or nobody looked."""
        ordered = row.migration.ordered_at
        seen = self._k.sightings.of([server.id]).get(server.id)
        if ordered is None or now - ordered > WATCHED_S or seen is None or seen.state not in HERE:
            return ""
        if seen.host == server.host or seen.host != row.migration.target or seen.at < max(ordered, now - FRESH_S):
            return ""
        one = Misplaced(server=server.id, name=server.name, nova=server.host, runs=seen.host, since=now)
        return f"{one.told}; {one.remedy}"

    def _just_seen_elsewhere(self, server: CloudServer, now: float) -> str:
        """A guest that an operator brings back is for some seconds in no agent's report: told not to be seen, it would be started anew."""
        seen = self._k.sightings.of([server.id]).get(server.id)
        if seen is not None and seen.host != server.host and seen.state is DomainState.MIGRATING:
            return f"{seen.host} reports it on its way, and Nova names {server.host}"
        where, since = self._k.sightings.left(server.id) or (server.host, now)
        if where == server.host or now - since >= FRESH_S:
            return ""
        return f"its guest left {where} {now - since:.0f} s ago, and Nova names {server.host}, whose agent may still report it"

    # -- a server in ERROR

    def _repair(self, row: Moving, server: CloudServer, now: float) -> Moving:
        """Reset its state, where its guest is seen to run."""
        why = self._cannot(row, server, now)
        if why:
            return self._waits(row, f"Nova has it in ERROR on {server.host}: {why}", now)
        if row.tried is not None and now - row.tried < AGAIN_S:
            return row
        row = replace(row, tried=now, waits="")
        text = f"its guest runs on {server.host}, as its agent reports: reset-state to active; undo: reset-state to error"
        self._k.rows.save(row, now, "repair", text)
        self._k.nova.reset_state(server.id)
        return row

    def _cannot(self, row: Moving, server: CloudServer, now: float) -> str:
        """Why an operator has to look."""
        if server.task_state:
            return f"Nova still does something to it: {server.task_state}; if that never ends, an operator has to look"
        seen = self._k.sightings.of([server.id]).get(server.id)
        ordered = row.migration.ordered_at or row.migration.created
        if seen is None or seen.host != server.host or seen.at < max(ordered, now - FRESH_S):
            return f"no agent says that its guest runs: an operator has to look{_origin(row, server)}"
        if seen.state is not DomainState.RUNNING:
            return f"its agent calls it {seen.state}: an operator has to look"
        if self._k.modes.effective(server.host, row.project, server.id) is not Mode.ACT:
            remedy = f"'openstack server set --state active {server.id}'"
            return f"its guest runs there, as its agent reports; the mode forbids to repair it: {remedy} does"
        return self._k.halted(server.host, server.id)

    # -- its shape

    def _shape(self, row: Moving, host: str, now: float) -> Result:
        """Compare what an agent sees with what was proven; order what differs, once; believe the outcome."""
        if row.shape == Shape():
            return row, _restored("nothing of it was ever changed")
        seen = self._k.sightings.of([row.migration.server]).get(row.migration.server)
        if seen is None or seen.host != host or seen.at < (row.migration.ordered_at or 0.0):
            return self._unseen(row, host, now)
        wanted = lost(row.shape, seen.cpu, seen.memory)
        if wanted == Shape():
            return row, _restored("it has what it had")
        order = next((o for o in self._k.journal.orders(row.migration.server) if o.order.order == row.applying), None)
        if order is not None:
            if order.status in OPEN_STATES and now < order.order.expires_at:
                return row, []
            return row, _restored(f"order {row.applying} is {order.status}: the next plan takes it from here")
        if self._k.modes.effective(host, row.project, row.migration.server) is not Mode.ACT:
            return row, _restored("its shape is not as it was, and its mode is not act: left as it is")
        if halted := self._k.halted(host, row.migration.server):
            return self._waits(row, f"its shape is not as it was; {halted}", now), []
        return self._apply(row, host, wanted, (seen.cpu or 0.0, seen.memory or 0.0), now), []

    def _unseen(self, row: Moving, host: str, now: float) -> Result:
        """Nobody can say what it has: no agent there, or one that is silent."""
        heard = self._k.sightings.hosts().get(host)
        since = row.there_since or row.migration.ordered_at or now
        if heard is None:
            return row, _restored(f"{host} has no agent: its shape is what Nova gave it")
        if now - since >= SILENT_S:
            return row, _restored(f"the agent of {host} does not report it: the next plan looks after it")
        return row, []

    def _apply(self, row: Moving, host: str, wanted: Shape, has: tuple[float, float], now: float) -> Moving:
        """One order, whose id is kept before it is written."""
        row = replace(row, applying=row.applying or self._ids("ord"))
        what = ", ".join(w for w in (_said(wanted.cpu, "cores"), _said(wanted.memory, "MiB")) if w)
        self._k.rows.save(row, now, "reapply", f"order {row.applying}: {what} on {host}, as before")
        why = Why(row.applying, row.cause, row.id, now, now + self._k.ttl_s, f"after migration {row.id}: what it had before")
        self._k.journal.again(shape_order(row.migration.server, wanted, has, why), host, has, now)
        return row

    def _waits(self, row: Moving, why: str, now: float) -> Moving:
        if not same_but_for_time(why, row.waits):
            row = replace(row, waits=why)
            self._k.rows.save(row, now, "waits", why)
        return row


def _given_back(migration: str) -> str:
    """What deletes the claim that Nova holds in its migration's own name."""
    return f"'openstack resource provider allocation delete {migration}'"


def _origin(row: Moving, server: CloudServer) -> str:
    """Nova 34 calls a guest moved whose source died before anything was sent: its local disk is not where Nova has it."""
    source = row.migration.source
    return "" if server.host == source else f"; it ran on {source} before, and a local disk may still be there: look before a hard reboot"


def lost(shape: Shape, cpu: float | None, memory: float | None) -> Shape:
    """The part of a shape that a server does not have."""
    return Shape(cpu=_differs(shape.cpu, cpu, CLOSE_CORES), memory=_differs(shape.memory, memory, CLOSE_MIB))


def shape_order(server: str, wanted: Shape, has: tuple[float, float], why: "Why") -> Order:
    """The order that gives a server back what it was proven to have. Its bounds are no more than what it goes between."""
    cpu, memory = wanted.cpu, wanted.memory
    low = Size(Cores(min(has[0], cpu or has[0])), Memory(min(has[1], memory or has[1])))
    high = Size(Cores(max(has[0], cpu or has[0])), Memory(max(has[1], memory or has[1])))
    return Order(
        order=OrderId(why.order),
        cause=CauseId(why.cause),
        plan=PlanId(f"shape-{why.of}"),
        server=ServerId(server),
        cpu=None if cpu is None else Cores(cpu),
        memory=None if memory is None else Memory(memory),
        floor=low,
        ceiling=high,
        issued_at=why.since,
        expires_at=why.until,
        reason=why.reason,
    )


class Why(NamedTuple):
    """What an order that repeats a shape is told with."""

    order: str
    cause: str
    of: str
    """Migration, or server."""
    since: float
    until: float
    reason: str


def _differs(proven: float | None, has: float | None, least: float) -> float | None:
    if proven is None or has is None or abs(proven - has) <= max(least, CLOSE_SHARE * proven):
        return None
    return proven


def _said(amount: float | None, unit: str) -> str:
    return "" if amount is None else f"{amount:g} {unit}"


def _restored(text: str) -> list[Event]:
    return [Event(Happened.RESTORED, text=text)]
