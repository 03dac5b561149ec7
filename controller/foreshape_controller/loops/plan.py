"""The decision cycle: read the world, look ahead, decide, write it down, and only then hand out orders."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeAlias

import structlog

from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.orders import Budget, orders_of
from foreshape_controller.decide.peak import WINDOW
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.plan import Choice, Plan
from foreshape_controller.model.server import ClusterView
from foreshape_wire.ids import new_id
from foreshape_wire.order import Order

_log = structlog.get_logger("foreshape.plan")

Histories: TypeAlias = Mapping[str, History]
Forecasts: TypeAlias = Mapping[str, Forecast]


@dataclass(frozen=True)
class PlanSettings:
    """What the cycle can be told; names as in the configuration."""

    order_ttl_s: float = 300.0
    stale_after_s: float = 60.0
    max_orders: int = 200
    max_orders_per_host: int = 20
    cpu_ratio: float = 4.0
    memory_reserved_mib: float = 512.0

    @property
    def limits(self) -> Limits:
        return Limits(self.stale_after_s, self.cpu_ratio, self.memory_reserved_mib)

    @property
    def budget(self) -> Budget:
        return Budget(self.order_ttl_s, self.max_orders, self.max_orders_per_host)


class _Inventory(Protocol):
    def view(self, now: float) -> ClusterView: ...


class _Histories(Protocol):
    step_s: int

    def read(self, resource: str, servers: tuple[str, ...], until: float, bins: int) -> History: ...


class _Journal(Protocol):
    def record(self, plan: Plan, orders: tuple[Order, ...]) -> None: ...

    def recent_wanted(self, resource: str, since: float) -> dict[str, float]: ...


class PlanStore(Protocol):
    """The part of the store that the cycle needs."""

    @property
    def inventory(self) -> _Inventory: ...

    @property
    def history(self) -> _Histories: ...

    @property
    def journal(self) -> _Journal: ...


class Foresees(Protocol):
    """Whoever has forecasts of the view's servers, by resource (``loops.foresight``)."""

    def run_once(self, now: float, view: ClusterView) -> Forecasts: ...


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
    leads: Callable[[ClusterView, float], Mapping[str, Mapping[str, float]]] = lambda _view, _now: {}
    """By resource and server, seconds."""


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
        self._foresight = foresight
        self._sources = sources
        self._settings = settings or PlanSettings()
        self._listeners = listeners

    def run_once(self, now: float, ids: Callable[[str], str] = new_id) -> Plan:
        """View → forecasts → recent history → plan → orders → journal. Nothing is ordered that is not journalled first."""
        view = self._store.inventory.view(now)
        tiers = self._sources.tiers()
        forecasts = self._foresight.run_once(now, view)
        histories = self._read(view, tiers, now)
        plan = make_plan(view, self._known(view, tiers, histories, forecasts, now), now, ids)
        orders = orders_of(plan, self._settings.budget, ids)
        self._store.journal.record(plan, orders)
        _log.info("plan", **summary(plan, orders))
        for listener in self._listeners:
            _told(listener, plan, orders, view)
        return plan

    def _read(self, view: ClusterView, tiers: Tiers, now: float) -> Histories:
        """What was measured lately: as far back as the longest hold time among the servers' tiers."""
        if not view.servers:
            return {}
        used = {t.name: t for t in map(tiers.of, view.servers)}.values()
        names = tuple(s.id for s in view.servers)
        holds = {"cpu": max(t.cpu.hold_s for t in used), "memory": max(t.memory.hold_s for t in used)}
        return {r: self._store.history.read(r, names, now, self._bins(hold)) for r, hold in holds.items()}

    def _bins(self, hold_s: float) -> int:
        return max(WINDOW, ceil(hold_s / self._store.history.step_s) + 1)

    def _known(self, view: ClusterView, tiers: Tiers, histories: Histories, forecasts: Forecasts, now: float) -> Known:
        asked = self._sources
        return Known(
            forecasts=forecasts,
            histories=histories,
            tiers=tiers,
            held={r: self._held(r, view, tiers, now) for r in RESOURCES},
            headroom={r: asked.headroom(r) for r in RESOURCES},
            limits=self._settings.limits,
            caps=asked.caps(view, now),
            agreed=asked.agreed(now),
            halts=asked.halts(view, now),
            leads=asked.leads(view, now),
        )

    def _held(self, resource: str, view: ClusterView, policy: Tiers, now: float) -> Mapping[str, float]:
        """The largest size wanted of each server within its own tier's hold time."""
        tiers = {s.id: policy.of(s) for s in view.servers}
        holds = {server: (t.cpu if resource == "cpu" else t.memory).hold_s for server, t in tiers.items()}
        recent = {hold: self._store.journal.recent_wanted(resource, now - hold) for hold in set(holds.values())}
        return {server: recent[hold][server] for server, hold in holds.items() if server in recent[hold]}


def _told(listener: Listener, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:
    try:
        listener(plan, orders, view)
    except Exception as e:  # noqa: BLE001  whatever it is, the plan stands
        _log.error("a listener failed; the plan stands", listener=type(listener).__name__, exc_info=e)


def summary(plan: Plan, orders: tuple[Order, ...]) -> dict[str, object]:
    """One cycle in one line."""
    sizings = [s for d in plan.decisions for s in (d.cpu, d.memory)]
    held = Counter(s.code for s in sizings if s.choice is Choice.HOLD)
    return {
        "plan": plan.plan,
        "decisions": len(plan.decisions),
        "grows": sum(s.choice is Choice.GROW for s in sizings),
        "shrinks": sum(s.choice is Choice.SHRINK for s in sizings),
        "held": dict(sorted(held.items())),
        "changed_by_forecast": sum(s.changed_by_forecast for s in sizings),
        "orders": len(orders),
        "notes": list(plan.notes),
    }
