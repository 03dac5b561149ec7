"""After a reboot or an evacuation a server has what it was sold again: what we had proven to be enough for it is ordered once more.

Seen in agents' reports: it was below what it was sold by our doing, and is back at it without us. After a resize in Nova nothing is done:
what was proven was proven for another size. Nobody's lack is made worse: what the server uses now has to fit; and who undoes it again
within ``REST_S`` is left alone (the guard tells second controllers).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import structlog

from foreshape_controller.loops.mend import CLOSE_CORES, CLOSE_MIB, Journal, Why, lost, shape_order
from foreshape_controller.model.moving import Shape
from foreshape_controller.model.server import ClusterView, Server
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode
from foreshape_wire.reading import DomainState

_log = structlog.get_logger("foreshape.migrate")

EVERY_S = 60.0
SETTLE_S = 120.0
"""A server that starts needs more than it will: so long it is left alone."""
REST_S = 1800.0
MOST = 20
"""Orders of one run."""
SPARE = 1.2
"""What it uses, times this, has to fit into what is applied again."""


class Proofs(Protocol):
    """What our newest proven actions left."""

    def proven(self, server: str) -> Shape: ...


class Reshape:
    """``run_once`` every minute. What it remembers may be lost: a server that came back meanwhile is left to the plan then."""

    def __init__(
        self,
        store: Any,
        held: Callable[[ClusterView, float], Mapping[str, object]],
        ttl_s: float = 300.0,
        stale_s: float = 60.0,
        ids: Callable[[str], str] = new_id,
    ) -> None:
        """``held``: servers that nothing is done to now (leases, halts), by id."""
        self._store, self._held, self._ttl_s, self._stale_s, self._ids = store, held, ttl_s, stale_s, ids
        self._had: dict[str, tuple[float, float, float, float]] = {}
        """By server, when it was last below what it was sold: cores and MiB it had, and was sold."""
        self._back: dict[str, float] = {}
        """Since when it has what it was sold again."""
        self._done: dict[str, float] = {}

    def run_once(self, now: float) -> int:
        """Look, and order what was lost. How many orders."""
        view: ClusterView = self._store.inventory.view(now)
        held = self._held(view, now)
        self._done = {server: at for server, at in self._done.items() if abs(now - at) < REST_S}
        ordered = 0
        for server in self._returned(view, now):
            if ordered < MOST and server.id not in held and server.mode is Mode.ACT:
                ordered += self._apply(server, now)
        return ordered

    def _returned(self, view: ClusterView, now: float) -> Iterator[Server]:
        """Those that have been back at what they were sold for long enough, and were below it before."""
        there = {str(s.id) for s in view.servers}
        for gone in [s for s in self._had if s not in there]:
            self._had.pop(gone), self._back.pop(gone, None)
        for s in view.servers:
            if s.state is not DomainState.RUNNING or now - s.last_seen > self._stale_s:
                continue
            cpu, memory, sold_cpu, sold_memory = has = _sizes(s)
            if cpu < sold_cpu - CLOSE_CORES or memory < sold_memory - CLOSE_MIB:
                had = self._had.get(s.id)
                if had is None or not _more(has, had):
                    self._had[s.id] = has
                    self._back.pop(s.id, None)
                    continue
            if s.id in self._had:
                yield from self._settled(s, now)

    def _settled(self, s: Server, now: float) -> Iterator[Server]:
        if self._had[s.id][2:] != _sizes(s)[2:]:
            del self._had[s.id]  # resized
        elif now - self._back.setdefault(s.id, now) >= SETTLE_S and now - self._done.get(s.id, -REST_S) >= REST_S:
            yield s

    def _apply(self, s: Server, now: float) -> int:
        """Order what was proven, where it is lost, and what it uses now fits."""
        had, cpu, memory = self._had.pop(s.id), s.allocation.cpu.cores, s.allocation.memory.mib
        self._back.pop(s.id, None)
        wanted = _fitting(lost(self._store.migrating.sightings.proven(s.id), cpu, memory), s)
        if wanted == Shape():
            return 0
        self._done[s.id] = now
        reason = f"it came back with what it was sold ({had[2]:g} cores, {had[3]:g} MiB): what was proven to be enough before"
        why = Why(self._ids("ord"), self._ids("cause"), s.id, now, now + self._ttl_s, reason)
        journal: Journal = self._store.journal
        journal.again(shape_order(s.id, wanted, (cpu, memory), why), s.host, (cpu, memory), now)
        _log.info("shape applied again", server=s.id, host=s.host, cpu=wanted.cpu, memory=wanted.memory, order=why.order)
        return 1


def _sizes(s: Server) -> tuple[float, float, float, float]:
    return s.allocation.cpu.cores, s.allocation.memory.mib, s.entitlement.cpu.cores, s.entitlement.memory.mib


def _more(has: tuple[float, ...], had: tuple[float, ...]) -> bool:
    """Whether one of both came back to what was sold, while the other is still below."""
    return (has[0] >= has[2] - CLOSE_CORES > had[0]) or (has[1] >= has[3] - CLOSE_MIB > had[1])


def _fitting(wanted: Shape, s: Server) -> Shape:
    """The part that is below what it was sold, and above what it uses."""
    cpu, memory = (s.last.cpu, s.last.memory) if s.last else (None, None)
    cores = wanted.cpu if wanted.cpu is not None and cpu is not None and SPARE * cpu.demand.cores <= wanted.cpu else None
    mib = wanted.memory if wanted.memory is not None and memory is not None and SPARE * memory.in_use.mib <= wanted.memory else None
    return Shape(
        cpu=cores if cores is not None and cores < s.entitlement.cpu.cores else None,
        memory=mib if mib is not None and mib < s.entitlement.memory.mib else None,
    )
