"""Orders from a plan: only where the mode says act, nothing halted, the most pressing first, never more than the budgets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from foreshape_controller.decide.budgets import Change, Wish, refused
from foreshape_controller.model.brakes import Brakes
from foreshape_controller.model.columns import GROW, HOLD, SHRINK, Flags, PlanTable, Sizes
from foreshape_controller.model.decision import Choice, Decision, Sizing
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import Server
from foreshape_wire.ids import OrderId
from foreshape_wire.order import Order
from foreshape_wire.quantity import Cores, Memory

NEAR_CAP = 0.97
"""Use at this share of the allocation presses against it (domain.md §2)."""

Held = Mapping[tuple[str, str], tuple[str, str]]
"""By server and resource: code and sentence of why a change is not ordered."""


@dataclass(frozen=True)
class Ordering:
    """What orders are made by, beside the plan."""

    servers: Mapping[str, Server]
    """Everybody in the view, by id."""
    weights: Mapping[str, float]
    """By tier: weight × criticality."""
    brakes: Brakes


def release(plan: Plan, by: Ordering, ids: Callable[[str], str]) -> tuple[Plan, tuple[Order, ...]]:
    """The orders that may go out, and the plan with everything that may not held for its reason: it comes up again."""
    plan, halted = _without(plan, dict(_halted(plan.table, by)))
    told = refused(_wishes(plan.table, by), by.brakes.budget, by.brakes.spent, len(by.servers))
    plan, waiting = _without(plan, {place: ("budget", why) for place, why in told.items()})
    plan, tried = _without(plan, dict(_beyond_trials(plan.table, by)))
    notes = (*by.brakes.notes, *_said(halted + tried, "halted"), *_said(waiting, "left for a later plan by the budget"))
    plan = replace(plan, notes=(*plan.notes, *notes))
    return plan, tuple(_order(plan, d, by.brakes.budget.ttl_s, ids) for d in plan.told(plan.acting))


# -- what is held back ------------------------------------------------------------------------------------------------


def _halted(table: PlanTable, by: Ordering) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Changes that a halt forbids: shrinks, and growth beyond what was sold. Going back to that is the safe direction."""
    stopped = by.brakes.stopped
    for row in table.acting.tolist() if stopped else ():
        server = table.servers[row]
        if server in stopped:
            yield from (((server, r), ("halted", stopped[server])) for r in _risky(table, row, by.servers.get(server)))


def _beyond_trials(table: PlanTable, by: Ordering) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Of each scope on trial, what a halt would forbid, but for the first server's."""
    trying: dict[str, str] = {}
    for row in table.acting.tolist() if by.brakes.trials else ():
        server = table.servers[row]
        scope, risky = by.brakes.trials.get(server), _risky(table, row, by.servers.get(server))
        if scope is not None and risky and trying.setdefault(scope, server) != server:
            why = f"{scope} was halted: one order is tried there first, for server {trying[scope]}"
            yield from (((server, r), ("halted", why)) for r in risky)


def _risky(table: PlanTable, row: int, server: Server | None) -> list[str]:
    """Resources that this row shrinks, or grows beyond what was sold."""
    found = {r: table.sizes(r) for r in RESOURCES}
    return [
        r for r, s in found.items() if s.choice[row] == SHRINK or (s.choice[row] == GROW and float(s.target[row]) > _sold(server, r) + 1e-9)
    ]


def _sold(server: Server | None, resource: str) -> float:
    if server is None:
        return 0.0
    return server.entitlement.cpu.cores if resource == "cpu" else server.entitlement.memory.mib


def _without(plan: Plan, held: Held) -> tuple[Plan, int]:
    """The plan with these changes held instead, and how many they are."""
    if not held:
        return plan, 0
    cpu, memory = (_with_held(plan.table.sizes(r), plan.table, {s: why for (s, of), why in held.items() if of == r}) for r in RESOURCES)
    return replace(plan, written=(), table=replace(plan.table, cpu=cpu, memory=memory)), len(held)


def _with_held(sizes: Sizes, table: PlanTable, held: Mapping[str, tuple[str, str]]) -> Sizes:
    """Sizes in which these servers stay as they are: what kept them is told as what forbids any change (``stop``)."""
    if not held:
        return sizes
    rows = np.asarray([table.rows[s] for s in held], np.intp)
    codes, stops = list(sizes.codes), list(sizes.words.get("stop", ()))
    codes += sorted({code for code, _ in held.values()} - set(codes))
    reasons = sorted({why for _, why in held.values()})
    stop = np.array(sizes.inputs.get("stop", np.full(len(table), -1.0)), np.float64)
    stop[rows] = [len(stops) + reasons.index(why) for _, why in held.values()]
    code, choice, target, reactive = sizes.code.copy(), sizes.choice.copy(), sizes.target.copy(), sizes.reactive.copy()
    code[rows] = [codes.index(c) for c, _ in held.values()]
    choice[rows], target[rows] = HOLD, sizes.allocation[rows]
    reactive[rows] = np.where(np.isfinite(reactive[rows]), sizes.allocation[rows], np.nan)  # without a forecast it would wait as well
    return replace(
        sizes,
        code=code,
        choice=choice,
        target=target,
        reactive=reactive,
        inputs={**sizes.inputs, "stop": stop},
        words={**sizes.words, "code": tuple(codes), "stop": (*stops, *reasons)},
    )


def _said(count: int, what: str) -> tuple[str, ...]:
    return (f"{count} changes {what}",) if count else ()


# -- what presses -----------------------------------------------------------------------------------------------------


def _wishes(table: PlanTable, by: Ordering) -> list[Wish]:
    """What the rows that act want: thousands after a change of policy, so that each costs microseconds."""
    rows = table.acting
    moves = {
        r: _Moves(*(column[rows].tolist() for column in (s.choice, s.allocation, s.target, s.floor, _throttled(s))))
        for r, s in _both(table)
    }
    found = []
    for i, row in enumerate(rows.tolist()):
        server = by.servers.get(table.servers[row])
        changes = tuple(
            Change(r, m.target[i] - m.allocation[i], _presses(r, m.allocation[i], m.floor[i], server), m.throttled[i])
            for r, m in moves.items()
            if m.choice[i] != HOLD
        )
        lacks = max(abs(c.amount) / max(moves[c.resource].allocation[i], 1e-9) for c in changes)
        found.append(Wish(table.servers[row], table.hosts[row], by.weights.get(table.tiers[row], 1.0) * lacks, changes))
    return found


class _Moves(NamedTuple):
    """Columns of the rows that act, as lists."""

    choice: list[int]
    allocation: list[float]
    target: list[float]
    floor: list[float]
    throttled: list[bool]


def _both(table: PlanTable) -> tuple[tuple[str, Sizes], ...]:
    return tuple((r, table.sizes(r)) for r in RESOURCES)


def _throttled(sizes: Sizes) -> Flags:
    """[n]: taken for somebody whose growth on the same host waits for it."""
    return sizes.code == sizes.codes.index("throttled") if "throttled" in sizes.codes else np.zeros(len(sizes.code), bool)


def _presses(resource: str, allocation: float, floor: float, server: Server | None) -> bool:
    """Whether growth cannot wait: below the floor (a give-back raises it), or use runs into the allocation."""
    if allocation < floor:
        return True
    last = server.last if server else None
    if resource == "cpu":
        cpu = last.cpu if last else None
        return cpu is not None and (cpu.censored or cpu.demand.cores >= NEAR_CAP * allocation)
    memory = last.memory if last else None
    return memory is not None and (memory.censored or memory.in_use.mib >= NEAR_CAP * allocation)


# -- the order --------------------------------------------------------------------------------------------------------


def _order(plan: Plan, decision: Decision, ttl_s: float, ids: Callable[[str], str]) -> Order:
    cpu, memory = _wanted(decision.cpu), _wanted(decision.memory)
    return Order(
        order=OrderId(ids("ord")),
        cause=decision.cause,
        plan=plan.plan,
        server=decision.server,
        cpu=None if cpu is None else Cores(cpu),
        memory=None if memory is None else Memory(memory),
        floor=decision.floor,
        ceiling=decision.ceiling,
        issued_at=plan.at,
        expires_at=plan.at + ttl_s,
        reason="; ".join(f"{s.resource}: {s.reason}" for s in (decision.cpu, decision.memory) if s.choice is not Choice.HOLD),
    )


def _wanted(sizing: Sizing) -> float | None:
    return None if sizing.choice is Choice.HOLD else sizing.target
