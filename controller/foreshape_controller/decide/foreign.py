"""Second controllers: changes of a server's size that no order, reflex or restore of ours explains. Pure.

What counts as explained: a size between what it had and what one of our orders asked for; a size that an outcome of ours names;
another entitlement (Nova resized it), another host (it moved), a server that did not run before; a return to what was sold (a
restart, or an agent's restore), unless it returns again and again: who undoes our work three times within an hour is a
controller, too. What is not explained at once has until the agents' next reports to be (an outcome may come after the sample).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.server import ClusterView, Server
from foreshape_wire.reading import DomainState

PATIENCE_S = 90.0
"""So long an explanation may take."""
MEMORY_MIB, MEMORY_SHARE = 64.0, 0.03
CPU_CORES, CPU_SHARE = 0.05, 0.03
RETURNS, RETURNS_S = 3, 3600.0


class Look(NamedTuple):
    """A server as it was when its sizes were last explained. Amounts in cores and MiB."""

    host: str
    sold_cpu: float
    sold_memory: float
    cpu: float
    memory: float
    told: bool
    """It runs, and both sizes were measured."""
    at: float

    @classmethod
    def of(cls, s: Server) -> "Look":
        sold, has = s.entitlement, s.allocation
        return cls(s.host, sold.cpu.cores, sold.memory.mib, has.cpu.cores, has.memory.mib, _told(s), s.last_seen)

    def amount(self, resource: str) -> float:
        return self.cpu if resource == "cpu" else self.memory

    def sold(self, resource: str) -> float:
        return self.sold_cpu if resource == "cpu" else self.sold_memory

    def having(self, resource: str, amount: float) -> "Look":
        """The same with another amount."""
        return self._replace(cpu=amount) if resource == "cpu" else self._replace(memory=amount)

    def comparable(self, other: "Look") -> bool:
        """Whether a difference means that somebody changed something."""
        mine, others = (self.host, self.sold_cpu, self.sold_memory), (other.host, other.sold_cpu, other.sold_memory)
        return self.told and other.told and mine == others


@dataclass(frozen=True)
class Claim:
    """A range of sizes that something of ours explains."""

    low: float
    high: float


@dataclass(frozen=True)
class Foreign:
    """A change that nobody of ours made."""

    server: str
    host: str
    resource: str
    before: float
    after: float
    at: float

    @property
    def sentence(self) -> str:
        return f"somebody else changed its {self._what}"

    @property
    def not_yet(self) -> str:
        """While it may still be explained."""
        return f"it is not known yet who changed its {self._what}"

    @property
    def _what(self) -> str:
        unit, digits = ("cores", 2) if self.resource == "cpu" else ("MiB", 0)
        when = datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S UTC")
        return f"{self.resource}: from {self.before:.{digits}f} to {self.after:.{digits}f} {unit} at {when}"


Key = tuple[str, str]
"""Server and resource."""


class Suspect(NamedTuple):
    """A change that is not explained yet."""

    change: Foreign
    since: float
    """When the size before it was last seen: what explains it came later."""


@dataclass
class Watch:
    """What is remembered between two looks."""

    looks: dict[str, Look] = field(default_factory=dict)
    """By server: what it had when that was last explained."""
    since: dict[Key, float] = field(default_factory=dict)
    """When that was, where it was not at the last look: what the journal knew at start."""
    last: float = 0.0
    """Time of the last look."""
    suspects: dict[Key, Suspect] = field(default_factory=dict)
    returned: dict[Key, tuple[float, ...]] = field(default_factory=dict)
    """When each came back to what was sold without us, lately."""

    @classmethod
    def remembered(cls, view: ClusterView, proven: Mapping[Key, tuple[float, float]]) -> "Watch":
        """After a start: what our last proven changes left (``proven``: size and time) is what servers should have."""
        looks: dict[str, Look] = {s.id: Look.of(s) for s in view.servers}
        for (server, resource), (amount, _) in proven.items():
            if server in looks:
                looks[server] = looks[server].having(resource, amount)
        return cls(looks, {key: at for key, (_, at) in proven.items()})


def odd(watch: Watch, view: ClusterView) -> Mapping[Key, Look]:
    """Whose size is another than when it was last explained, by more than measurements do. The others are remembered as they are."""
    found: dict[Key, Look] = {}
    for s in view.servers:
        before = watch.looks.get(s.id)
        if before is not None and _same(before, s):
            if watch.suspects:
                _settled(watch, s.id, RESOURCES)
            continue
        look = Look.of(s)
        if before is None or not before.comparable(look):
            watch.looks[s.id] = look
            _settled(watch, s.id, RESOURCES)
            continue
        changed = [r for r in RESOURCES if abs(look.amount(r) - before.amount(r)) > tolerance(r, before.amount(r))]
        _settled(watch, s.id, tuple(r for r in RESOURCES if r not in changed))
        found |= {(s.id, r): look for r in changed}
    if len(watch.looks) > len(view.servers):
        _forget(watch, {s.id for s in view.servers})
    _suspect(watch, found)
    watch.last = view.at
    return found


def _same(before: Look, s: Server) -> bool:
    """Nothing has changed at all: so it is for nearly everybody, each minute, on 30,000 servers."""
    has = s.allocation
    return (
        before.cpu == has.cpu.cores
        and before.memory == has.memory.mib
        and before.host == s.host
        and before.told == _told(s)
        and before.sold_cpu == s.entitlement.cpu.cores
        and before.sold_memory == s.entitlement.memory.mib
    )


def _told(s: Server) -> bool:
    last = s.last
    return s.state is DomainState.RUNNING and last is not None and last.cpu is not None and last.memory is not None


def _settled(watch: Watch, server: str, resources: Sequence[str]) -> None:
    for r in resources:
        watch.suspects.pop((server, r), None)
        watch.since.pop((server, r), None)


def _forget(watch: Watch, there: set[str]) -> None:
    for server in watch.looks.keys() - there:
        del watch.looks[server]
        _settled(watch, server, RESOURCES)


def _suspect(watch: Watch, found: Mapping[Key, Look]) -> None:
    for (server, resource), look in found.items():
        key, before = (server, resource), watch.looks[server].amount(resource)
        change = Foreign(server, look.host, resource, before, look.amount(resource), look.at)
        watch.suspects.setdefault(key, Suspect(change, watch.since.get(key, watch.last)))


def asked(watch: Watch) -> Mapping[Key, tuple[float, float]]:
    """Of every suspect: the size it had, and when that was last seen. Whatever of ours explains it came after."""
    return {key: (s.change.before, s.since) for key, s in watch.suspects.items()}


def tolerance(resource: str, amount: float) -> float:
    """Differences up to this are measurement."""
    return max(CPU_CORES, CPU_SHARE * amount) if resource == "cpu" else max(MEMORY_MIB, MEMORY_SHARE * amount)


def judged(watch: Watch, found: Mapping[Key, Look], claims: Mapping[Key, Sequence[Claim]]) -> Iterator[Foreign]:
    """Of those whose size changed, the changes that nobody explained in time."""
    for key, look in found.items():
        amount, suspect = look.amount(key[1]), watch.suspects[key]
        ours = _explained(key[1], amount, claims.get(key, ())) or _returned(watch, key, look)
        if ours or look.at - suspect.change.at >= PATIENCE_S:
            watch.looks[key[0]] = watch.looks[key[0]].having(key[1], amount)
            _settled(watch, key[0], (key[1],))
        if not ours and look.at - suspect.change.at >= PATIENCE_S:
            yield suspect.change


def _explained(resource: str, amount: float, claims: Sequence[Claim]) -> bool:
    return any(c.low - tolerance(resource, amount) <= amount <= c.high + tolerance(resource, amount) for c in claims)


def _returned(watch: Watch, key: Key, look: Look) -> bool:
    """Back at what was sold, and not for the third time within the hour."""
    if abs(look.amount(key[1]) - look.sold(key[1])) > tolerance(key[1], look.sold(key[1])):
        return False
    lately = tuple(at for at in watch.returned.get(key, ()) if at > look.at - RETURNS_S)
    if len(lately) + 1 >= RETURNS:
        return False
    watch.returned[key] = (*lately, look.at)
    return True
