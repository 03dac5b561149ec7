"""A plan: the decisions of one cycle, as columns, and in words where somebody asks."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from foreshape_controller.model import told
from foreshape_controller.model.columns import EMPTY, PlanTable, Rows
from foreshape_controller.model.decision import Choice, Decision, Gate, PeakRange, Sizing
from foreshape_controller.model.need import Need, Transfer
from foreshape_wire.ids import PlanId

__all__ = ["Choice", "Decision", "Gate", "PeakRange", "Plan", "Sizing"]


@dataclass(frozen=True, eq=False)
class Plan:
    """One decision cycle over the whole view. Two are equal when they say the same."""

    plan: PlanId
    at: float
    written: tuple[Decision, ...] = ()
    """Decisions that are in words already, where there are no columns."""
    notes: tuple[str, ...] = ()
    """Sentences about the cycle as a whole (hosts frozen, forecasts missing)."""
    table: PlanTable = EMPTY
    needs: tuple[Need, ...] = ()
    """What no sharing could meet: one at most for every host and resource."""
    transfers: tuple[Transfer, ...] = ()
    """Who gives to whom on hosts that are short."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.plan, self.at, self.notes, self.decisions) == (other.plan, other.at, other.notes, other.decisions)

    def __hash__(self) -> int:
        return hash((self.plan, self.at))

    def decision(self, server: str) -> Decision | None:
        """One server's decision in words; None where nothing was decided about it."""
        row = self.table.row(server)
        return None if row is None else told.decision(self.table, row)

    def told(self, rows: Iterable[int]) -> tuple[Decision, ...]:
        """Some rows in words."""
        return tuple(told.decision(self.table, int(row)) for row in rows)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """All in words, 0.1 ms each: for people and tests."""
        return self.written or self.told(range(len(self.table)))

    @property
    def changes(self) -> tuple[Decision, ...]:
        """In words, those that change something, whether the mode allows it or not."""
        some = [d for d in self.written if d.cpu.choice is not Choice.HOLD or d.memory.choice is not Choice.HOLD]
        return tuple(some) or self.told(self.table.moving.tolist())

    @property
    def acting(self) -> Rows:
        """Rows of the table of which an order follows."""
        return self.table.acting
