"""What plans came to, counted since the start of this process: for whoever watches from outside."""

import threading
from collections import Counter
from collections.abc import Mapping

import numpy as np

from foreshape_controller.model.columns import CHOICES
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Order


class Counting:
    """A listener of the plan loop. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._choices: Counter[tuple[str, str]] = Counter()
        self._codes: Counter[tuple[str, str]] = Counter()
        self.plans = self.budget_hits = 0
        self.last_at: float | None = None

    def __call__(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:  # noqa: ARG002  a listener's shape
        with self._lock:
            self.plans, self.last_at = self.plans + 1, plan.at
            for sizes in (plan.table.cpu, plan.table.memory):
                for index, n in zip(*np.unique(sizes.choice, return_counts=True), strict=True):
                    self._choices[sizes.resource, CHOICES[int(index)]] += int(n)
                for index, n in zip(*np.unique(sizes.code, return_counts=True), strict=True):
                    self._codes[sizes.resource, sizes.codes[int(index)]] += int(n)
            waiting = [bool(np.any(s.code == s.codes.index("budget"))) for s in (plan.table.cpu, plan.table.memory) if "budget" in s.codes]
            self.budget_hits += any(waiting)

    @property
    def choices(self) -> Mapping[tuple[str, str], int]:
        """Decisions by resource and what was chosen."""
        with self._lock:
            return dict(self._choices)

    @property
    def codes(self) -> Mapping[tuple[str, str], int]:
        """Decisions by resource and reason code."""
        with self._lock:
            return dict(self._codes)
