"""The decision cycle: read the world, look ahead, decide, write it down, and only then hand out orders."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from foreshape_controller.decide.orders import Budget, orders_of
from foreshape_controller.decide.plan import Known, Limits, make_plan
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.forecast import Forecast, Predictor
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
    history_bins: int = 2016
    forecast_every_s: float = 300.0
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
    def read(self, resource: str, servers: tuple[str, ...], until: float, bins: int) -> History: ...


class _Forecasts(Protocol):
    def save(self, forecast: Forecast) -> None: ...


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
    def forecasts(self) -> _Forecasts: ...

    @property
    def journal(self) -> _Journal: ...


class PlanLoop:
    """One decision cycle after the other. Holds no truth: everything it needs again is in the store."""

    def __init__(self, store: PlanStore, predictor: Predictor, tiers: Tiers, settings: PlanSettings | None = None) -> None:
        self._store = store
        self._predictor = predictor
        self._tiers = tiers
        self._settings = settings or PlanSettings()
        self._forecasts: Forecasts = {}

    def run_once(self, now: float, ids: Callable[[str], str] = new_id) -> Plan:
        """View → history → forecasts → plan → orders → journal. Nothing is ordered that is not journalled first."""
        view = self._store.inventory.view(now)
        histories = self._read(view, now)
        forecasts = self._predict(histories, now)
        plan = make_plan(view, self._known(view, histories, forecasts, now), now, ids)
        orders = orders_of(plan, self._settings.budget, ids)
        self._store.journal.record(plan, orders)
        _log.info("plan", **summary(plan, orders))
        return plan

    def _read(self, view: ClusterView, now: float) -> Histories:
        names = tuple(s.id for s in view.servers)
        return {r: self._store.history.read(r, names, now, self._settings.history_bins) for r in RESOURCES} if names else {}

    def _predict(self, histories: Histories, now: float) -> Forecasts:
        """Forecasts of both resources, made anew when they are old or the servers are others than before."""
        fresh = {r: self._current(h, now) or self._anew(h, now) for r, h in histories.items()}
        self._forecasts = fresh
        return fresh

    def _current(self, history: History, now: float) -> Forecast | None:
        last = self._forecasts.get(history.resource)
        if last is None or last.series != history.series:
            return None
        return last if 0 <= now - last.origin < self._settings.forecast_every_s else None

    def _anew(self, history: History, now: float) -> Forecast:
        forecast = self._predictor.predict(history, int(now))
        self._store.forecasts.save(forecast)
        return forecast

    def _known(self, view: ClusterView, histories: Histories, forecasts: Forecasts, now: float) -> Known:
        return Known(
            forecasts=forecasts,
            histories=histories,
            tiers=self._tiers,
            held={r: self._held(r, view, now) for r in RESOURCES},
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
