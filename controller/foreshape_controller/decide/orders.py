"""Orders from a plan: only where the mode says act, the most pressing first, never more than the budget."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foreshape_controller.model.plan import Choice, Decision, Plan, Sizing
from foreshape_wire.ids import OrderId
from foreshape_wire.order import Order
from foreshape_wire.quantity import Cores, Memory


@dataclass(frozen=True)
class Budget:
    """How much may happen at once."""

    ttl_s: float = 300.0
    orders: int = 200
    orders_per_host: int = 20


def orders_of(plan: Plan, budget: Budget, ids: Callable[[str], str]) -> tuple[Order, ...]:
    """Orders for the decisions that act. What the budget leaves out comes up again in the next plan."""
    chosen = _chosen(sorted((d for d in plan.decisions if d.acts), key=_urgency), budget)
    return tuple(_order(plan, d, budget.ttl_s, ids) for d in chosen)


def _chosen(decisions: Sequence[Decision], budget: Budget) -> list[Decision]:
    used: Counter[str] = Counter()
    chosen: list[Decision] = []
    for d in decisions:
        if len(chosen) < budget.orders and used[d.host] < budget.orders_per_host:
            used[d.host] += 1
            chosen.append(d)
    return chosen


def _urgency(decision: Decision) -> tuple[bool, float, str]:
    """Growth before shrinking; then the largest change relative to what it has."""
    grows = Choice.GROW in (decision.cpu.choice, decision.memory.choice)
    change = max(abs(s.target - s.allocation) / max(s.allocation, 1e-9) for s in (decision.cpu, decision.memory))
    return not grows, -change, decision.server


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
