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

from foreshape_controller.model.server import ClusterView, Server
from foreshape_wire.reading import DomainState

PATIENCE_S = 90.0
"""So long an explanation may take."""
MEMORY_MIB, MEMORY_SHARE = 64.0, 0.03
CPU_CORES, CPU_SHARE = 0.05, 0.03
RETURNS, RETURNS_S = 3, 3600.0


class Look(NamedTuple):
    """One resource of one server when it was last looked at."""

    host: str
    sold: float
    amount: float
    running: bool
    at: float


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
        unit = "cores" if self.resource == "cpu" else "MiB"
        when = datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S UTC")
        digits = 2 if self.resource == "cpu" else 0
        return f"somebody else changed its {self.resource}: from {self.before:.{digits}f} to {self.after:.{digits}f} {unit} at {when}"


Key = tuple[str, str]
"""Server and resource."""


@dataclass
class Watch:
    """What is remembered between two looks."""

    looks: dict[Key, Look] = field(default_factory=dict)
    """What each had when it was last explained."""
    suspects: dict[Key, Foreign] = field(default_factory=dict)
    returned: dict[Key, tuple[float, ...]] = field(default_factory=dict)
    """When each came back to what was sold without us, lately."""


def looked(view: ClusterView) -> Mapping[Key, Look]:
    """What everybody has now."""
    found: dict[Key, Look] = {}
    for s in view.servers:
        running = s.state is DomainState.RUNNING and s.last is not None
        found[s.id, "cpu"] = Look(s.host, s.entitlement.cpu.cores, s.allocation.cpu.cores, running and _tells(s, "cpu"), s.last_seen)
        found[s.id, "memory"] = Look(
            s.host, s.entitlement.memory.mib, s.allocation.memory.mib, running and _tells(s, "memory"), s.last_seen
        )
    return found


def _tells(server: Server, resource: str) -> bool:
    assert server.last is not None
    return (server.last.cpu if resource == "cpu" else server.last.memory) is not None


def odd(watch: Watch, now: Mapping[Key, Look]) -> list[Key]:
    """Whose size changed since it was last explained, by more than measurements do. The others are remembered as they are."""
    found = []
    for key, look in now.items():
        before = watch.looks.get(key)
        if before is None or not _comparable(before, look):
            watch.looks[key] = look
            watch.suspects.pop(key, None)
        elif abs(look.amount - before.amount) > tolerance(key[1], before.amount):
            found.append(key)
        else:
            watch.looks[key] = before._replace(at=look.at)
            watch.suspects.pop(key, None)
    for gone in watch.looks.keys() - now.keys():
        del watch.looks[gone]
        watch.suspects.pop(gone, None)
    return found


def _comparable(before: Look, look: Look) -> bool:
    return before.running and look.running and before.host == look.host and before.sold == look.sold


def tolerance(resource: str, amount: float) -> float:
    """Differences up to this are measurement."""
    return max(CPU_CORES, CPU_SHARE * amount) if resource == "cpu" else max(MEMORY_MIB, MEMORY_SHARE * amount)


def judged(watch: Watch, keys: Sequence[Key], now: Mapping[Key, Look], claims: Mapping[Key, Sequence[Claim]]) -> Iterator[Foreign]:
    """Of those whose size changed, the changes that nobody explained in time."""
    for key in keys:
        before, look = watch.looks[key], now[key]
        if _explained(key[1], look.amount, claims.get(key, ())) or _returned(watch, key, look):
            watch.looks[key] = look
            watch.suspects.pop(key, None)
            continue
        suspect = watch.suspects.setdefault(key, Foreign(key[0], look.host, key[1], before.amount, look.amount, look.at))
        if look.at - suspect.at >= PATIENCE_S:
            watch.looks[key] = look
            del watch.suspects[key]
            yield suspect


def _explained(resource: str, amount: float, claims: Sequence[Claim]) -> bool:
    return any(c.low - tolerance(resource, amount) <= amount <= c.high + tolerance(resource, amount) for c in claims)


def _returned(watch: Watch, key: Key, look: Look) -> bool:
    """Back at what was sold, and not for the third time within the hour."""
    if abs(look.amount - look.sold) > tolerance(key[1], look.sold):
        return False
    lately = tuple(at for at in watch.returned.get(key, ()) if at > look.at - RETURNS_S)
    if len(lately) + 1 >= RETURNS:
        return False
    watch.returned[key] = (*lately, look.at)
    return True
