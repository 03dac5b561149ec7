"""Who opts out gets back what he was sold: ordered at once, and again until it is so.

It only ever grows, towards what was sold, and no further than a hard cap: what stands above that is left to the plan and the agent.
Memory is given as far as the host's latest report says that there is some; the rest comes with later runs, and the agent judges it
again. An operator's stop comes first, and so does a halt because somebody else changes its size; while his mode for the server is
observe nothing is ordered, and ``foreshape why`` says so. Nothing is remembered that may not be lost: the choice is in the
store, what is missing is seen in agents' reports, each order is in the journal before an agent can see it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import structlog

from foreshape_controller.model.cap import Cap
from foreshape_controller.model.choice import PLAN
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.store.modes import Levels
from foreshape_wire.ids import CauseId, OrderId, PlanId, new_id
from foreshape_wire.order import HOST_KEEPS_MIB, Mode, Order
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DomainState

_log = structlog.get_logger("foreshape.optout")

EVERY_S = 10.0
AGAIN_S = 60.0
"""An order that did not help is repeated after so long."""
MOST = 200
"""Orders of one run."""
CLOSE_CORES, CLOSE_MIB = 0.02, 16.0
"""That near to what was sold is there: the cap's granule, QEMU's pages."""

NO_ROOM = "its host has no more memory to spare now"
FOREIGN = "somebody else changes its size"

InForce = Mapping[str, Mapping[str, Cap]]
Caps = Callable[[ClusterView, float], InForce]
Held = Callable[[ClusterView, float], Mapping[str, tuple[str, str]]]


class Asked(NamedTuple):
    """What a server was last ordered."""

    at: float
    host: str
    mib: float
    """Memory beyond what it had."""


class Journal(Protocol):
    def again(self, order: Order, host: str, has: tuple[float, float], now: float) -> None: ...


class OptOut:
    """``run_once`` every few seconds, and at once for a project whose owner has just opted out. Safe from any thread."""

    def __init__(self, store: Any, caps: Caps, held: Held, ttl_s: float = 300.0, ids: Callable[[str], str] = new_id) -> None:
        """``caps``: hard caps in force, by resource and server: they hold for those who opted out, too.

        ``held``: by server, code and sentence of what forbids any change (``Guard.halts``).
        """
        self._store, self._caps, self._held, self._ttl_s, self._ids = store, caps, held, ttl_s, ids
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}
        self.waits: Mapping[str, str] = {}
        """By server: why the last run left something for later."""

    def run_once(self, now: float, project: str | None = None) -> int:
        """Order what is missing; how many orders. ``project``: only there, now, whatever was asked before."""
        levels: Levels = self._store.modes.now()
        if levels.terms.default is not Mode.OBSERVE and Mode.OBSERVE not in levels.chosen.values():
            self.waits = {}
            return 0
        with self._lock:
            view: ClusterView = self._store.inventory.view(now)
            out = [s for s in view.servers if project in (None, s.project) and any(lack(s, {})) and _may(s, levels)]
            caps = self._caps(view, now) if out else {}
            return self._run(view, [s for s in out if any(lack(s, caps))], caps, now, urgent=project is not None)

    def short(self, servers: Iterable[Server], now: float) -> frozenset[str]:
        """Those of them that have less than what they were sold, or than a hard cap below that."""
        found = tuple(s for s in servers if any(lack(s, {})))
        caps = self._caps(ClusterView(at=now, hosts=(), servers=found), now) if found else {}
        return frozenset(s.id for s in found if any(lack(s, caps)))

    def _run(self, view: ClusterView, out: list[Server], caps: InForce, now: float, *, urgent: bool) -> int:
        again = {s.id for s in out} if urgent else set()
        self._asked = {s: a for s, a in self._asked.items() if 0 <= now - a.at < AGAIN_S and s not in again}
        held = self._held(view, now) if out else {}
        waits = {s: why for s, why in self.waits.items() if (urgent or s in self._asked) and s not in again}
        waits |= {s.id: FOREIGN for s in out if s.id in held}
        room, given = self._room(view), 0
        for s in out:
            if given < MOST and s.id not in held and s.id not in self._asked:
                cores, mib = lack(s, caps)
                fits = min(mib, room.get(s.host, 0.0))
                fits = fits if fits > CLOSE_MIB else 0.0
                room[s.host] = room.get(s.host, 0.0) - fits
                waits |= {s.id: NO_ROOM} if fits < mib else {}
                given += self._give(s, cores, (fits, mib - fits), now)
        self.waits = waits
        return given

    def _room(self, view: ClusterView) -> dict[str, float]:
        """MiB by host that may be given: what is available there, less what is kept and what was ordered lately."""
        found = {str(h.name): h.memory_available.mib - HOST_KEEPS_MIB for h in view.hosts}
        for asked in self._asked.values():
            found[asked.host] = found.get(asked.host, 0.0) - asked.mib
        return found

    def _give(self, s: Server, cores: float, mib: tuple[float, float], now: float) -> int:
        """Order so much more. ``mib``: now, and later."""
        if not cores and not mib[0]:
            return 0
        has = (s.allocation.cpu.cores, s.allocation.memory.mib)
        self._asked[s.id] = Asked(now, s.host, mib[0])
        later = f"; {mib[1]:.0f} MiB of it later, for {NO_ROOM}" if mib[1] else ""
        order = Order(
            order=OrderId(self._ids("ord")),
            cause=CauseId(self._ids("cause")),
            plan=PlanId(PLAN),
            server=s.id,
            cpu=Cores(has[0] + cores) if cores else None,
            memory=Memory(has[1] + mib[0]) if mib[0] else None,
            floor=s.allocation,
            ceiling=Size(Cores(has[0] + cores), Memory(has[1] + mib[0])),
            issued_at=now,
            expires_at=now + self._ttl_s,
            reason=f"its owner opted out: it is given back what it was sold{later}",
        )
        journal: Journal = self._store.journal
        journal.again(order, s.host, has, now)
        _log.info("given back", server=s.id, host=s.host, cpu=cores, memory=mib[0], later=mib[1], order=order.order, cause=order.cause)
        return 1


def lack(s: Server, caps: InForce) -> tuple[float, float]:
    """Cores and MiB that it has less than it was sold, or than a hard cap below that; 0 where it is near, or above."""
    sold, has = s.entitlement, s.allocation
    return (
        _less(sold.cpu.cores, caps.get("cpu", {}).get(s.id), has.cpu.cores, CLOSE_CORES),
        _less(sold.memory.mib, caps.get("memory", {}).get(s.id), has.memory.mib, CLOSE_MIB),
    )


def _less(sold: float, cap: Cap | None, has: float, close: float) -> float:
    short = (sold if cap is None else min(sold, cap.amount)) - has
    return short if short > close else 0.0


def _may(s: Server, levels: Levels) -> bool:
    if levels.owner(s.project, s.id) is not Mode.OBSERVE or levels.operators(s.host, s.project, s.id) is Mode.OBSERVE:
        return False
    return s.state is DomainState.RUNNING and s.held is None
