"""Wishes of earlier plans held against what came of them, before each plan; what was held for nothing is added up after it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from foreshape_controller.decide.downgrade import Flags, Miss, MissRule, Past, Wished, held
from foreshape_controller.decide.observe import CENSORED_SHARE
from foreshape_controller.model.columns import Column
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Order

PLANNED, AHEAD = "plan", "ahead"
"""Kinds of wishes: all of plans, and those of them that were made ahead. What agents gave under pressure was needed."""

LONGEST_S = 3600.0
"""Between two plans, as far as what is held for nothing is added up."""

Misses: TypeAlias = Mapping[str, Mapping[str, Miss]]


class _Slot(Protocol):
    """What was wanted of some servers in a few minutes."""

    @property
    def servers(self) -> tuple[str, ...]: ...

    def of(self, resource: str) -> Column: ...


class WishStore(Protocol):
    """The part of the journal that is needed."""

    def wished(self, since: float) -> Sequence[tuple[float, str, Any]]: ...

    def count(self, amounts: Mapping[str, int]) -> None: ...


class Downgrade:
    """A source of the plan loop (``__call__``) and one of its listeners (``add_up``). Holds no truth."""

    def __init__(self, journal: WishStore, rule: MissRule | None = None) -> None:
        self._journal = journal
        self._rule = rule or MissRule()
        self._found: Misses = {}
        self._at: float | None = None

    def __call__(self, view: ClusterView, holds: Mapping[str, Mapping[str, float]], histories: Mapping[str, History], now: float) -> Misses:
        """By resource and server: what did not come true and is being taken back. ``holds``: hold time by resource and server."""
        longest = max((h for of in holds.values() for h in of.values()), default=0.0)
        slots = self._journal.wished(now - longest) if longest else ()
        kernel: dict[str, float] = {
            s.id: (s.last.memory.in_use - s.last.memory.demand).mib for s in view.servers if s.last and s.last.memory
        }
        over: dict[str, Mapping[str, float]] = {"cpu": {}, "memory": kernel}
        self._found = {r: self._of(histories[r], holds[r], slots, over[r]) for r in RESOURCES if r in histories and holds.get(r)}
        return self._found

    def _of(
        self, history: History, holds: Mapping[str, float], slots: Sequence[tuple[float, str, Any]], over: Mapping[str, float]
    ) -> Mapping[str, Miss]:
        """One resource."""
        doubted = {name for _, kind, slot in slots if kind == AHEAD for name in slot.servers}
        rows = np.array([i for i, name in enumerate(history.series) if name in doubted], np.intp)
        if not rows.size:
            return {}
        mine = history.pick(rows.tolist())
        wanted, ahead, given = _matrix(mine, slots)
        overhead = np.array([over.get(name, 0.0) for name in mine.series], np.float64)
        bins = np.array([-(-holds.get(name, 0.0) // mine.step_s) for name in mine.series], np.intp) + 1
        known = np.where(np.nan_to_num(mine.censored) >= CENSORED_SHARE, np.nan, mine.max)
        found = held(Past(wanted, ahead, known, overhead), bins, self._rule)
        counts = np.fmax(found.amount, given)
        return {
            name: Miss(float(counts[i]), float(found.missed[i]), float(found.came[i]))
            for i, name in enumerate(mine.series)
            if np.isfinite(found.missed[i])
        }

    def add_up(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:  # noqa: ARG002  a listener
        """What is still allocated for wishes that did not come true, times the time since the last plan."""
        since = 0.0 if self._at is None else min(LONGEST_S, max(0.0, plan.at - self._at))
        self._at = plan.at
        unused = dict.fromkeys(RESOURCES, 0.0)
        for s in view.servers:
            for resource, has in (("cpu", s.allocation.cpu.cores), ("memory", s.allocation.memory.mib)):
                miss = self._found.get(resource, {}).get(s.id)
                unused[resource] += max(0.0, min(has, miss.wanted) - miss.came) if miss else 0.0
        amounts = {"ahead_unused_mcore_s": round(1000 * unused["cpu"] * since), "ahead_unused_mib_s": round(unused["memory"] * since)}
        if any(amounts.values()):
            self._journal.count(amounts)


def _matrix(history: History, slots: Sequence[tuple[float, str, Any]]) -> tuple[Wished, Flags, Column]:
    """[n, T] what plans wanted in each bin, and whether ahead; [n] the largest that agents gave. NaN: nothing."""
    n, row = len(history.series), {s: i for i, s in enumerate(history.series)}
    wanted, ahead, given = np.full((n, history.bins), np.nan), np.zeros((n, history.bins), bool), np.full(n, np.nan)
    places: dict[tuple[str, ...], Any] = {}
    for start, kind, slot in slots:
        if slot.servers not in places:
            places[slot.servers] = np.array([row.get(s, -1) for s in slot.servers], np.intp)
        at = places[slot.servers]
        mine, amounts = at[at >= 0], slot.of(history.resource)[at >= 0]
        k = int((start - history.start) // history.step_s)
        if kind not in (PLANNED, AHEAD):
            given[mine] = np.fmax(given[mine], amounts)
        elif 0 <= k < history.bins:
            wanted[mine, k] = np.fmax(wanted[mine, k], amounts)
            ahead[mine, k] |= (kind == AHEAD) & np.isfinite(amounts)
    return wanted, ahead, given
