"""The decision cycle: read the world, look ahead, decide, write it down, and only then hand out orders."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeAlias

import structlog

from foreshape_controller.decide.observe import WINDOW
from foreshape_controller.decide.orders import Budget, orders_of
from foreshape_controller.decide.plan import Known, Limits, make_plan
from foreshape_controller.decide.tiers import Tiers
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


def no_headroom(resource: str) -> Mapping[str, float]:  # noqa: ARG001
    """Nobody has learnt any: every server's is 1."""
    return {}


class PlanLoop:
    """One decision cycle after the other. Holds no truth: everything it needs again is in the store."""

    def __init__(
        self,
        store: PlanStore,
        foresight: Foresees,
        tiers: Tiers,
        settings: PlanSettings | None = None,
        headroom: Callable[[str], Mapping[str, float]] = no_headroom,
    ) -> None:
        """``headroom``: of a resource, by server; a server that is not in it has 1."""
        self._store = store
        self._foresight = foresight
        self._tiers = tiers
        self._settings = settings or PlanSettings()
        self._headroom = headroom

    def run_once(self, now: float, ids: Callable[[str], str] = new_id) -> Plan:
        """View → forecasts → recent history → plan → orders → journal. Nothing is ordered that is not journalled first."""
        view = self._store.inventory.view(now)
        forecasts = self._foresight.run_once(now, view)
        histories = self._read(view, now)
        plan = make_plan(view, self._known(view, histories, forecasts, now), now, ids)
        orders = orders_of(plan, self._settings.budget, ids)
        self._store.journal.record(plan, orders)
        _log.info("plan", **summary(plan, orders))
        return plan

    def _read(self, view: ClusterView, now: float) -> Histories:
        """What was measured lately: as far back as the longest hold time among the servers' tiers."""
        if not view.servers:
            return {}
        tiers = {t.name: t for t in map(self._tiers.of, view.servers)}.values()
        names = tuple(s.id for s in view.servers)
        holds = {"cpu": max(t.cpu.hold_s for t in tiers), "memory": max(t.memory.hold_s for t in tiers)}
        return {r: self._store.history.read(r, names, now, self._bins(hold)) for r, hold in holds.items()}

    def _bins(self, hold_s: float) -> int:
        return max(WINDOW, ceil(hold_s / self._store.history.step_s) + 1)

    def _known(self, view: ClusterView, histories: Histories, forecasts: Forecasts, now: float) -> Known:
        return Known(
            forecasts=forecasts,
            histories=histories,
            tiers=self._tiers,
            held={r: self._held(r, view, now) for r in RESOURCES},
            headroom={r: self._headroom(r) for r in RESOURCES},
            limits=self._settings.limits,
        )

    def _held(self, resource: str, view: ClusterView, now: float) -> Mapping[str, float]:
        """The largest size wanted of each server within its own tier's hold time."""
        tiers = {s.id: self._tiers.of(s) for s in view.servers}
        holds = {server: (t.cpu if resource == "cpu" else t.memory).hold_s for server, t in tiers.items()}
        recent = {hold: self._store.journal.recent_wanted(resource, now - hold) for hold in set(holds.values())}
        return {server: recent[hold][server] for server, hold in holds.items() if server in recent[hold]}


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
