"""Those who watch are told of plans and forecasts; all other news comes from the store's own transactions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foreshape_controller.bus import EVERYBODY, Bus
from foreshape_controller.loops.scene import Scene
from foreshape_controller.model.columns import CHOICES, HOLD, PlanTable, Sizes
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Order

AT_ONCE = 50
"""Servers in one event."""


class Telling:
    """A listener of plans and an observer of forecasts (``loops.scene``)."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._told: dict[str, float] = {}

    def __call__(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:
        """After a plan is in the journal."""
        for project, servers in _changed(plan.table, orders, view).items():
            for some in _chunks(servers):
                plain = [{k: v for k, v in s.items() if k not in ("host", "cause")} for s in some]
                self._bus.publish("allocation", project, {"plan": plan.plan, "at": plan.at, "servers": plain}, {"servers": some})
        counts = {"decisions": len(plan.table), "changes": len(plan.table.moving), "orders": len(orders)}
        self._bus.publish("plan", "", {"plan": plan.plan, "at": plan.at, **counts, "notes": list(plan.notes)})

    def observe(self, forecast: Forecast, scene: Scene) -> None:
        """Once for all batches of one round."""
        if self._told.get(forecast.resource) != float(forecast.origin):
            self._told[forecast.resource] = float(forecast.origin)
            self._bus.publish("forecast", EVERYBODY, {"origin": float(forecast.origin), "resource": forecast.resource, "at": scene.now})


def _changed(table: PlanTable, orders: Sequence[Order], view: ClusterView) -> Mapping[str, list[dict[str, Any]]]:
    """By project: the servers of which something is to change."""
    ordered = {o.server: o.order for o in orders}
    known = {s.id: (s.project, s.name) for s in view.servers} if len(table.moving) else {}
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.moving.tolist():
        server = table.servers[row]
        project, name = known.get(server, ("", ""))
        said = {"server": server, "name": name, "mode": table.modes[row], "order": ordered.get(server)}
        sizes = {r: _size(table.sizes(r), row) for r in ("cpu", "memory")}
        found[project].append({**said, **sizes, "host": table.hosts[row], "cause": table.causes[row]})
    return found


def _size(sizes: Sizes, row: int) -> dict[str, Any] | None:
    """None where it stays."""
    if sizes.choice[row] == HOLD:
        return None
    amounts = np.round([sizes.allocation[row], sizes.target[row], sizes.floor[row], sizes.ceiling[row]], 4).tolist()
    told = dict(zip(("allocation", "target", "floor", "ceiling"), amounts, strict=True))
    return {"choice": CHOICES[sizes.choice[row]], "code": sizes.codes[sizes.code[row]], **told}


def _chunks(servers: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, len(servers), AT_ONCE):
        yield list(servers[first : first + AT_ONCE])
