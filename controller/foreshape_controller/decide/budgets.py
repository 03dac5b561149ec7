"""Which changes become orders now: budgets per minute, per host and per hour, fair over hosts, the most pressing first. Pure.

Rules, in this order:

1. Pressing growth (use runs into the cap, the server is below its floor, or is given back) is never refused. It is counted.
2. Other growth, and what lower tiers give for it on a host that is short, has its own amounts a minute, and the orders a minute of
   the cloud and of its host.
3. Other shrinks come last: their own amounts a minute, the share of the fleet an hour, and the orders that growth left over.

Within each, hosts take turns: everybody's most pressing change comes before anybody's second.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from foreshape_controller.model.brakes import Budget, Spent

PRESSING, GROWTH, SHRINK = range(3)
ALWAYS_SHRUNK = 10
"""Servers that may be shrunk in an hour, however small the fleet is."""


@dataclass(frozen=True)
class Change:
    """One resource of one server that is to change."""

    resource: str
    amount: float
    """Target less allocation, cores or MiB; never 0."""
    pressing: bool = False
    for_another: bool = False
    """A shrink that somebody's growth on the same host waits for."""

    @property
    def kind(self) -> int:
        return (GROWTH if self.for_another else SHRINK) if self.amount < 0 else PRESSING if self.pressing else GROWTH


@dataclass(frozen=True)
class Wish:
    """What one server wants to have ordered."""

    server: str
    host: str
    urgency: float
    """Among changes of the same kind, the larger first: unmet demand × weight."""
    changes: tuple[Change, ...]

    @property
    def kind(self) -> int:
        return min(c.kind for c in self.changes)


@dataclass
class _Purse:
    """What is left; taken from as changes are chosen."""

    budget: Budget
    fleet: int
    orders: int
    by_host: Counter[str]
    amounts: dict[tuple[str, int], float]
    shrunk: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, budget: Budget, spent: Spent, fleet: int) -> "_Purse":
        amounts = {
            ("cpu", SHRINK): budget.shrink_cores - spent.shrink_cores,
            ("memory", SHRINK): budget.shrink_mib - spent.shrink_mib,
            ("cpu", GROWTH): budget.grow_cores - spent.grow_cores,
            ("memory", GROWTH): budget.grow_mib - spent.grow_mib,
        }
        most = max(ALWAYS_SHRUNK, ceil(budget.fleet_share * fleet))
        return cls(budget, most, budget.orders - spent.orders, Counter(spent.by_host), amounts, set(spent.shrunk))

    def refuses(self, wish: Wish) -> str:
        """Why nothing of a wish may be ordered; empty where it may."""
        if wish.kind == PRESSING:
            return ""
        if self.orders <= 0:
            return f"it waits: {self.budget.orders} orders a minute are made"
        if self.by_host[wish.host] >= self.budget.orders_per_host:
            return f"it waits: {self.budget.orders_per_host} orders a minute are made on host {wish.host}"
        return ""

    def refuses_change(self, wish: Wish, change: Change) -> str:
        """Why one change may not be ordered. An amount larger than a whole minute's may be, when nothing else was."""
        if change.kind == PRESSING:
            return ""
        if change.kind == SHRINK and wish.server not in self.shrunk and len(self.shrunk) >= self.fleet:
            return f"it waits: {self.fleet} servers were shrunk within the hour, {self.budget.fleet_share:.0%} of the fleet"
        left, whole = self.amounts[change.resource, change.kind], _whole(self.budget, change)
        if abs(change.amount) > left and left < whole:
            unit = "cores" if change.resource == "cpu" else "MiB"
            return f"it waits: {whole:g} {unit} a minute are {'taken' if change.kind == SHRINK else 'given'} at most"
        return ""

    def pay(self, wish: Wish, chosen: Sequence[Change]) -> None:
        self.orders -= 1
        self.by_host[wish.host] += 1
        for change in chosen:
            self.amounts[change.resource, max(change.kind, GROWTH)] -= abs(change.amount)
            if change.kind == SHRINK:
                self.shrunk.add(wish.server)


def _whole(budget: Budget, change: Change) -> float:
    cpu, shrinks = change.resource == "cpu", change.kind == SHRINK
    if shrinks:
        return budget.shrink_cores if cpu else budget.shrink_mib
    return budget.grow_cores if cpu else budget.grow_mib


def refused(wishes: Sequence[Wish], budget: Budget, spent: Spent, fleet: int) -> Mapping[tuple[str, str], str]:
    """By server and resource: why a change is not ordered now. What is not in it, is. ``fleet``: servers there are."""
    purse = _Purse.of(budget, spent, fleet)
    found: dict[tuple[str, str], str] = {}
    for wish in in_turn(wishes):
        why = purse.refuses(wish)
        told = {c.resource: why or purse.refuses_change(wish, c) for c in wish.changes}
        found |= {(wish.server, resource): reason for resource, reason in told.items() if reason}
        chosen = [c for c in wish.changes if not told[c.resource]]
        if chosen:
            purse.pay(wish, chosen)
    return found


def in_turn(wishes: Sequence[Wish]) -> list[Wish]:
    """Pressing, growth, shrinks; within each every host's first, then every host's second …; ties by the server's id."""
    met: Counter[tuple[int, str]] = Counter()
    turns = []
    for wish in sorted(wishes, key=lambda w: (w.kind, -w.urgency, w.server)):
        turns.append(((wish.kind, met[wish.kind, wish.host]), wish))
        met[wish.kind, wish.host] += 1
    return [wish for _, wish in sorted(turns, key=lambda t: t[0])]
