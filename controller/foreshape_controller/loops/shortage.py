"""What a plan says of hosts that are short, written down: shares that bind agents, who gave and who got, and who has to leave.

Comes after the plan is in the journal, and holds no truth: all of it is said again by the next plan.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import structlog

from foreshape_controller.model.columns import SHRINK, Column, PlanTable
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.need import Known, Need, Transfer
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Order

Key: TypeAlias = tuple[str, str]
"""Host and resource."""

_log = structlog.get_logger("foreshape.shortage")

SAME = 1e-6
"""Less than this was not taken."""


class _Shares(Protocol):
    def put(self, found: Sequence[tuple[str, str, float, float]], over: Collection[str]) -> None: ...

    def bound(self) -> set[str]: ...


class _Transfers(Protocol):
    def add(self, plan: str, at: float, found: Sequence[Transfer]) -> None: ...


class _Needs(Protocol):
    def open(self) -> tuple[Known, ...]: ...

    def write(self, seen: Sequence[Need], closed: Mapping[Key, str], now: float) -> None: ...


class ShortageStore(Protocol):
    """The part of the store that this needs."""

    @property
    def shares(self) -> _Shares: ...

    @property
    def transfers(self) -> _Transfers: ...

    @property
    def needs(self) -> _Needs: ...


class Shortage:
    """Listens to the plan loop."""

    def __init__(self, store: ShortageStore, holds_s: float, elsewhere: Callable[[float], Sequence[Need]] = lambda _: ()) -> None:
        """``holds_s``: how long a share binds an agent that hears nothing more, and a need stays open that no plan names.

        ``elsewhere``: needs that others than the plan know of; what the plan says of the same host and resource wins.
        """
        self._store = store
        self._elsewhere = elsewhere
        self._holds_s = holds_s
        self._told: Mapping[Key, float] = {}
        """What the last plan took, so that an order that is still under way counts once."""
        self._named: dict[Key, float] = {}
        """When a plan last named an open need: no door that swings."""

    def __call__(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:
        self._bind(plan)
        self._note(plan, orders)
        self._call(plan, view)

    # -- shares -------------------------------------------------------------------------------------------------

    def _bind(self, plan: Plan) -> None:
        """Shares that the plan says; of servers that it knows nothing of, what was said before holds on."""
        found = shares_of(plan.table, plan.at + self._holds_s)
        over = self._store.shares.bound() - {row[0] for row in found} - _unknown(plan.table)
        if found or over:
            self._store.shares.put(found, over)

    # -- transfers ----------------------------------------------------------------------------------------------

    def _note(self, plan: Plan, orders: tuple[Order, ...]) -> None:
        """What was ordered to be taken; not again what an earlier plan already ordered, and is not proven yet."""
        taken = _taken(plan.table, {o.server for o in orders})
        known, self._told = self._told, taken
        total: dict[Key, float] = {}
        for t in plan.transfers:
            total[t.host, t.resource] = total.get((t.host, t.resource), 0.0) + t.amount
        part = {key: (amount - known.get(key, 0.0)) / total[key] for key, amount in taken.items() if total.get(key, 0.0) > 0}
        found = [
            msgspec.structs.replace(t, amount=t.amount * min(1.0, part[t.host, t.resource]))
            for t in plan.transfers
            if part.get((t.host, t.resource), 0.0) > SAME
        ]
        self._store.transfers.add(plan.plan, plan.at, found)

    # -- needs --------------------------------------------------------------------------------------------------

    def _call(self, plan: Plan, view: ClusterView) -> None:
        known = {(k.need.host, k.need.resource) for k in self._store.needs.open()}
        seen = {(n.host, n.resource): n for n in (*self._elsewhere(plan.at), *plan.needs)}
        self._named = {key: plan.at if key in seen else self._named.get(key, plan.at) for key in known | seen.keys()}
        hosts: set[str] = {h.name for h in view.hosts}
        gone = {k: _why(hosts, k) for k in known - seen.keys() if k[0] not in hosts or plan.at - self._named[k] >= self._holds_s}
        if seen or gone:
            self._store.needs.write(list(seen.values()), gone, plan.at)
        for n in (seen[key] for key in seen.keys() - known):
            _log.warning("migration needed", host=n.host, resource=n.resource, amount=n.amount, deadline=n.deadline, reason=n.reason)
        for (host, resource), why in gone.items():
            _log.info("migration no longer needed", host=host, resource=resource, reason=why)


def _why(hosts: set[str], key: Key) -> str:
    return f"what is expected on {key[0]} fits again" if key[0] in hosts else f"{key[0]} is no longer there"


def shares_of(table: PlanTable, until: float) -> list[tuple[str, str, float, float]]:
    """Server, host, cores and end of every share that binds: where the mode says act, and the plan set a limit."""
    limit = _limits(table)
    rows = np.flatnonzero(np.isfinite(limit)).tolist()
    return [(table.servers[i], table.hosts[i], float(limit[i]), until) for i in rows if table.modes[i] == "act"]


def _unknown(table: PlanTable) -> set[str]:
    return {table.servers[i] for i in np.flatnonzero(np.isinf(_limits(table))).tolist() if table.modes[i] == "act"}


def _limits(table: PlanTable) -> Column:
    return table.cpu.inputs.get("limit", np.full(len(table), np.nan))


def _taken(table: PlanTable, ordered: set[str]) -> Mapping[Key, float]:
    """By host and resource: how much this plan's orders throttle."""
    found: dict[Key, float] = {}
    for resource in RESOURCES:
        sizes = table.sizes(resource)
        code = sizes.codes.index("throttled") if "throttled" in sizes.codes else -1
        for i in np.flatnonzero((sizes.code == code) & (sizes.choice == SHRINK)).tolist():
            if table.servers[i] in ordered:
                key = (table.hosts[i], resource)
                found[key] = found.get(key, 0.0) + float(sizes.allocation[i] - sizes.target[i])
    return found
