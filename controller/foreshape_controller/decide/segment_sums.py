"""What the servers of each segment want, have, are promised and were sold together, and their part of the hosts they live on. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.need import Transfer
from foreshape_controller.model.server import ClusterView, Server

Floors = Mapping[str, Mapping[str, float]]
"""By resource and server: the floor in force."""
Rooms = Mapping[str, Mapping[str, float]]
"""By resource and host: what it may hand out."""


@dataclass
class Sums:
    """One resource of one segment; cores or MiB."""

    demand: float = 0.0
    """In the newest samples; a server without one counts nothing."""
    used: float = 0.0
    """The same, of each server no more than it has."""
    measured: float = 0.0
    """What servers with a sample have: slack is said of these alone."""
    allocated: float = 0.0
    floor: float = 0.0
    entitled: float = 0.0
    capacity: float = 0.0
    """Its part of its hosts' room, by what was sold there: what it could have if all hosts were full."""
    room: float = 0.0
    """All that its hosts may hand out, to whomever."""

    @property
    def slack(self) -> float | None:
        """(allocation − use) / allocation now, of the servers that were measured; None: none was."""
        return 1 - self.used / self.measured if self.measured > 0 else None


@dataclass(frozen=True)
class Standing:
    """One segment now."""

    servers: int
    hosts: int
    sums: Mapping[str, Sums]


def standing(view: ClusterView, groups: Groups, series: str, floors: Floors, rooms: Rooms) -> Standing:
    """A segment's sums over its members that are in the view."""
    inside = frozenset(groups.members.get(series, ()))
    members = [s for s in view.servers if s.id in inside]
    hosts = {s.host for s in members}
    sums = {r: _sums(r, members, view, floors.get(r, {}), {h: rooms.get(r, {}).get(h, 0.0) for h in hosts}) for r in RESOURCES}
    return Standing(len(members), len(hosts), sums)


def _sums(resource: str, members: Sequence[Server], view: ClusterView, floors: Mapping[str, float], rooms: Mapping[str, float]) -> Sums:
    sold = _sold(resource, (s for s in view.servers if s.host in rooms))
    mine = _sold(resource, members)
    wants = [(_demand(s, resource), _amount(s, "allocation", resource)) for s in members]
    heard = [(d, has) for d, has in wants if d is not None]
    return Sums(
        demand=sum(d for d, _ in heard),
        used=sum(min(d, has) for d, has in heard),
        measured=sum(has for _, has in heard),
        allocated=sum(_amount(s, "allocation", resource) for s in members),
        floor=sum(floors.get(s.id, 0.0) for s in members),
        entitled=sum(mine.values()),
        capacity=sum(room * mine[h] / sold[h] for h, room in rooms.items() if sold[h] > 0),
        room=sum(rooms.values()),
    )


def _sold(resource: str, servers: Iterable[Server]) -> Mapping[str, float]:
    """By host."""
    found: dict[str, float] = defaultdict(float)
    for s in servers:
        found[s.host] += _amount(s, "entitlement", resource)
    return found


def _amount(server: Server, what: str, resource: str) -> float:
    size = getattr(server, what)
    return float(size.cpu.cores if resource == "cpu" else size.memory.mib)


def _demand(server: Server, resource: str) -> float | None:
    """None: nobody measured it."""
    last = server.last
    if last is None:
        return None
    if resource == "cpu":
        return last.cpu.demand.cores if last.cpu else None
    return last.memory.demand.mib if last.memory else None


# -- who gave, who got --------------------------------------------------------------------------------------------------


@dataclass
class Passed:
    """What one party gave another, of one resource, over some time."""

    amount: float = 0.0
    times: int = 0
    last_at: float = 0.0
    hosts: frozenset[str] = frozenset()


@dataclass
class Balance:
    """What one party gave and got, of one resource."""

    gave: float = 0.0
    got: float = 0.0


def passed(transfers: Iterable[tuple[float, Transfer]]) -> Mapping[tuple[str, str, str], Passed]:
    """By giver, taker and resource: what single plans took, each with its time, added up."""
    found: dict[tuple[str, str, str], Passed] = defaultdict(Passed)
    for at, t in transfers:
        p = found[t.giver, t.taker, t.resource]
        p.amount, p.times, p.last_at, p.hosts = p.amount + t.amount, p.times + 1, max(p.last_at, at), p.hosts | {t.host}
    return found


def balances(moved: Mapping[tuple[str, str, str], Passed]) -> Mapping[tuple[str, str], Balance]:
    """By party and resource. All that was given was got."""
    found: dict[tuple[str, str], Balance] = defaultdict(Balance)
    for (giver, taker, resource), p in moved.items():
        found[giver, resource].gave += p.amount
        found[taker, resource].got += p.amount
    return found
