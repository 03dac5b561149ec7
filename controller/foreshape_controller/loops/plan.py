"""The decision cycle: read the world, look ahead, decide, write it down, and only then hand out orders."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import structlog

from foreshape_controller.decide.downgrade import Miss
from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.orders import Ordering, release
from foreshape_controller.decide.peak import WINDOW
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.loops.ahead import Ahead, Forecasts
from foreshape_controller.model.brakes import Brakes
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.columns import GROW, SHRINK
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_wire.ids import new_id
from foreshape_wire.order import Order

_log = structlog.get_logger("foreshape.plan")

AHEAD_PLANS = 1.5
"""What is decided now has to do until the next plan's change is there: one interval, and half of one to be safe."""

_T = TypeVar("_T")
Histories: TypeAlias = Mapping[str, History]
Holds: TypeAlias = Mapping[str, Mapping[str, float]]
"""By resource and server: seconds."""
TiersOf: TypeAlias = Mapping[str, Tier]
"""By server."""


@dataclass(frozen=True)
class PlanSettings:
    """What the cycle can be told; names as in the configuration."""

    stale_after_s: float = 60.0
    interval_s: float = 60.0
    """From one plan to the next."""
    cpu_ratio: float = 4.0
    memory_reserved_mib: float = 512.0
    host_risk: float = 0.01
    migration_mib_s: float = 100.0

    @property
    def limits(self) -> Limits:
        return Limits(
            stale_after_s=self.stale_after_s,
            cpu_ratio=self.cpu_ratio,
            memory_reserved_mib=self.memory_reserved_mib,
            ahead_s=AHEAD_PLANS * self.interval_s,
            host_risk=self.host_risk,
            migration_mib_s=self.migration_mib_s,
        )


class _Inventory(Protocol):
    def view(self, now: float) -> ClusterView: ...


class _Histories(Protocol):
    @property
    def step_s(self) -> int: ...

    def read(self, resource: str, servers: tuple[str, ...], until: float, bins: int) -> History: ...


class _Journal(Protocol):
    def record(self, plan: Plan, orders: tuple[Order, ...]) -> None: ...

    def recent_wanted(self, resource: str, since: float) -> dict[str, float]: ...

    def wanted_since(self) -> float: ...


class PlanStore(Protocol):
    """The part of the store that the cycle needs."""

    @property
    def inventory(self) -> _Inventory: ...

    @property
    def recent(self) -> _Histories: ...

    @property
    def journal(self) -> _Journal: ...


class Foresees(Protocol):
    """Whoever looks ahead (``loops.foresight``)."""

    def run_once(self, now: float, view: ClusterView) -> Forecasts:
        """Make what is due."""

    def newest(self, view: ClusterView) -> Ahead:
        """What is there, of whatever age."""


@dataclass(frozen=True)
class Sources:
    """Who else is asked before each plan; what nobody answers stays as if nobody had been asked."""

    tiers: Callable[[], Tiers]
    """The policy in force: loaded from the file, adapted by feedback."""
    headroom: Callable[[str], Mapping[str, float]] = lambda _resource: {}
    """Of a resource, by server; a server that is not in it has 1."""
    caps: Callable[[ClusterView, float], Mapping[str, Mapping[str, Cap]]] = lambda _view, _now: {}
    """By resource and server."""
    agreed: Callable[[float], Mapping[str, Mapping[str, float]]] = lambda _now: {}
    """By resource and server: floors of servers that are being reclaimed."""
    halts: Callable[[ClusterView, float], Mapping[str, tuple[str, str]]] = lambda _view, _now: {}
    """By server: code and sentence."""
    notes: Callable[[], tuple[str, ...]] = tuple
    """Sentences for every plan, as long as they hold."""
    brakes: Callable[[ClusterView, float], Brakes] = lambda _view, _now: Brakes()
    """Budgets, what was spent of them, and halts."""
    leads: Callable[[ClusterView, float], Mapping[str, Mapping[str, float]]] = lambda _view, _now: {}
    """By resource and server, seconds."""
    missed: Callable[[ClusterView, Holds, Histories, float], Mapping[str, Mapping[str, Miss]]] = lambda _view, _holds, _histories, _now: {}
    """By resource and server: growth that was made ahead and was not needed."""
    anomalous: Callable[[float], Mapping[str, frozenset[str]]] = lambda _now: {}
    """By resource: servers whose use left its habits."""
    last_shrunk: Callable[[float], Mapping[str, Mapping[str, float]]] = lambda _since: {}
    """By resource and server: when it was last shrunk, of those shrunk since then."""
    shadows: Callable[[float], frozenset[str]] = lambda _now: frozenset()
    """Servers that wait in a pool: they are squeezed first."""
    under_way: Callable[[float], Mapping[str, Mapping[str, float]]] = lambda _now: {}
    """By resource and server: what it was ordered to have, of which nobody told yet what came of it."""


class Listener(Protocol):
    """Somebody who wants to know what was decided, after it is in the journal; one that raises is logged and passed over."""

    def __call__(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None: ...


class PlanLoop:
    """One decision cycle after the other. Holds no truth: everything it needs again is in the store."""

    def __init__(
        self,
        store: PlanStore,
        foresight: Foresees,
        sources: Sources,
        settings: PlanSettings | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._store = store
        self.foresight = foresight
        self._sources = sources
        self._settings = settings or PlanSettings()
        self._listeners = listeners
        self.took: Mapping[str, float] = {}
        """Seconds per step of the last cycle."""
        self.first_stays = False
        """In a process that serves for long: what its first plan made (histories, cards) is kept from the collector of cycles, which would
        go through all of it at once: 0.45 s of 30,000 servers, with every report waiting.
        """

    def run_once(self, now: float, ids: Callable[[str], str] = new_id, *, look_ahead: bool = True) -> Plan:
        """View → forecasts → recent history → plan → orders → journal. Nothing is ordered that is not journalled first.

        ``look_ahead``: due forecasts are made first; False where somebody else makes them, and the newest that are there are taken.
        """
        with _uncollected(stays=self.first_stays and not self.took):
            return self._cycle(now, ids, look_ahead)

    def _cycle(self, now: float, ids: Callable[[str], str], look_ahead: bool) -> Plan:
        watch = Stopwatch()
        view = watch.lap("view", self._store.inventory.view(now))
        if look_ahead:
            watch.lap("forecasts", self.foresight.run_once(now, view))
        known = self._known(view, now, watch)
        plan = watch.lap("decide", make_plan(view, known, now, ids))
        plan = replace(plan, notes=(*plan.notes, *self._sources.notes()))
        plan, orders = watch.lap("orders", release(plan, self._ordering(view, known, now), ids))
        self._store.journal.record(plan, orders)
        watch.lap("journal", None)
        for listener in self._listeners:
            _told(listener, plan, orders, view)
        watch.lap("listeners", None)
        self.took = watch.took
        _log.info("plan", **summary(plan, orders), forecast_age_s=_ages(known.forecasts, now), took=watch.rounded())
        return plan

    def _ordering(self, view: ClusterView, known: Known, now: float) -> Ordering:
        weights = {t.name: t.weight * t.criticality for t in known.tiers.tiers.values()}
        return Ordering({s.id: s for s in view.servers}, weights, self._sources.brakes(view, now))

    def _known(self, view: ClusterView, now: float, watch: "Stopwatch") -> Known:
        asked, policy = self._sources, self._sources.tiers()
        ahead = watch.lap("ahead", self.foresight.newest(view))
        of: dict[str, Tier] = {s.id: policy.of(s, ahead.groups.of.get(s.id, ())) for s in view.servers}
        tiers = watch.lap("tiers", of)
        histories = watch.lap("histories", self._read(tiers, now))
        holds = {r: {s: _rules(t, r).hold_s for s, t in tiers.items()} for r in RESOURCES}
        missed = watch.lap("missed", asked.missed(view, holds, histories, now))
        return Known(
            forecasts=ahead.servers,
            histories=histories,
            tiers=policy,
            held=watch.lap("held", {r: self._held(r, tiers, view, now, missed.get(r, {})) for r in RESOURCES}),
            missed=missed,
            headroom={r: asked.headroom(r) for r in RESOURCES},
            limits=self._settings.limits,
            caps=asked.caps(view, now),
            agreed=asked.agreed(now),
            halts=asked.halts(view, now),
            leads=watch.lap("sources", asked.leads(view, now)),
            anomalous=asked.anomalous(now),
            last_shrunk=self._shrunk(tiers, now),
            under_way=asked.under_way(now),
            shadows=asked.shadows(now),
            groups=ahead.groups,
            group_forecasts=ahead.whole,
        )

    def _read(self, tiers: TiersOf, now: float) -> Histories:
        """What was measured lately: as far back as the longest hold time among the servers' tiers."""
        if not tiers:
            return {}
        used, names = {t.name: t for t in tiers.values()}.values(), tuple(tiers)
        holds = {r: max(_rules(t, r).hold_s for t in used) for r in RESOURCES}
        return {r: self._store.recent.read(r, names, now, self._bins(hold)) for r, hold in holds.items()}

    def _shrunk(self, tiers: TiersOf, now: float) -> Mapping[str, Mapping[str, float]]:
        """Looked up as far back as some tier waits between two shrinks; nobody is asked where none does."""
        longest = max((_rules(t, r).step_s for t in tiers.values() for r in RESOURCES), default=0.0)
        return self._sources.last_shrunk(now - longest) if longest > 0 else {}

    def _bins(self, hold_s: float) -> int:
        return max(WINDOW, ceil(hold_s / self._store.recent.step_s) + 1)

    def _held(self, resource: str, tiers: TiersOf, view: ClusterView, now: float, missed: Mapping[str, Miss]) -> Mapping[str, float]:
        """The largest size wanted of each server within its own tier's hold time, less what did not come true.

        What it has counts while nobody knows that far back.
        """
        holds = {server: _rules(t, resource).hold_s for server, t in tiers.items()}
        recent = {hold: self._store.journal.recent_wanted(resource, now - hold) for hold in set(holds.values())}
        held = dict(_less({server: recent[hold][server] for server, hold in holds.items() if server in recent[hold]}, missed))
        unknown = {hold for hold in recent if now - hold < self._store.journal.wanted_since()}
        for s in view.servers if unknown else ():
            if holds[s.id] in unknown:
                held[s.id] = max(held.get(s.id, 0.0), s.allocation.cpu.cores if resource == "cpu" else s.allocation.memory.mib)
        return held


def _less(held: Mapping[str, float], missed: Mapping[str, Miss]) -> Mapping[str, float]:
    """What is held, less what did not come true."""
    return {s: min(h, missed[s].counts) if s in missed else h for s, h in held.items()} if missed else held


class Stopwatch:
    """Seconds per step of a cycle."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str, made: _T) -> _T:
        """What a step made; the time since the last lap was its own."""
        now = time.perf_counter()
        self.took[step] = self.took.get(step, 0.0) + now - self._last
        self._last = now
        return made

    def rounded(self) -> dict[str, float]:
        return {step: round(seconds, 3) for step, seconds in self.took.items()}


@contextmanager
def _uncollected(*, stays: bool) -> Iterator[None]:
    """Without Python's collector of reference cycles: 30,000 servers are a million objects without any, which it would go through
    several times a plan, for a quarter of the whole time. ``stays``: what is there then is never gone through.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if stays:
                gc.freeze()
            gc.enable()


def _rules(tier: Tier, resource: str) -> ResourceRules:
    return tier.cpu if resource == "cpu" else tier.memory


def _ages(forecasts: Forecasts, now: float) -> dict[str, float]:
    """Seconds since the oldest of a resource's forecasts was made."""
    return {resource: round(now - f.origin, 1) for resource, f in forecasts.items()}


def _told(listener: Listener, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:
    try:
        listener(plan, orders, view)
    except Exception as e:  # noqa: BLE001  whatever it is, the plan stands
        _log.error("a listener failed; the plan stands", listener=type(listener).__name__, exc_info=e)


def summary(plan: Plan, orders: tuple[Order, ...]) -> dict[str, object]:
    """One cycle in one line."""
    sizes = (plan.table.cpu, plan.table.memory)
    held: Counter[str] = Counter()
    for one in sizes:
        codes, counts = np.unique(one.code[~one.moves], return_counts=True)
        held.update({one.codes[code]: count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)})
    return {
        "plan": plan.plan,
        "decisions": len(plan.table),
        "grows": sum(int(np.count_nonzero(one.choice == GROW)) for one in sizes),
        "shrinks": sum(int(np.count_nonzero(one.choice == SHRINK)) for one in sizes),
        "held": dict(sorted(held.items())),
        "changed_by_forecast": sum(int(np.count_nonzero(one.changed_by_forecast)) for one in sizes),
        "orders": len(orders),
        "notes": list(plan.notes),
    }
