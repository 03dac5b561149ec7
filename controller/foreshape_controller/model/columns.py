"""A plan as columns: one row per server, everything that a sentence about a decision is made from.

30,000 decisions a cycle are computed and kept as arrays; a single one is put into words when somebody asks for it (``told``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Column: TypeAlias = npt.NDArray[np.float64]
Codes: TypeAlias = npt.NDArray[np.int32]
Bits: TypeAlias = npt.NDArray[np.uint32]
Flags: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[np.intp]

AHEAD = 1.5

HOLD, GROW, SHRINK = range(3)
CHOICES = ("hold", "grow", "shrink")
"""Values of ``Choice`` by their index."""

CODES = (
    "at_target",
    "at_ceiling",
    "dead_band",
    "peak_above",
    "below_floor",
    "peak_below",
    "capped",
    "no_lever",
    "no_forecast",
    "odd_data",
    "stale",
    "safe_mode",
    "migrating",
    "busy",
    "not_running",
    "tier_keeps",
    "young",
    "unobserved",
    "censored",
    "low_confidence",
    "anomalous",
    "forecast_old",
    "step_time",
    "working_set",
    "observed_high",
    "hold_time",
    "host_full",
    "host_short",
    "throttled",
    "host_risk",
    "forecast_missed",
)
"""Reason codes by their index. What else forbids a change (``Known.halts``) follows them in ``Sizes.words["code"]``."""

GATES = (
    "lever",
    "capped",
    "dead_band",
    "ceiling",
    "tier_keeps",
    "young",
    "unobserved",
    "censored",
    "low_confidence",
    "anomalous",
    "forecast_old",
    "step_time",
    "working_set",
    "observed_high",
    "hold_time",
    "step",
    "host_capacity",
    "share",
    "host_risk",
)
"""Gates by their bit, in the order in which they are asked. Stored plans count on it: new ones go to the end, and are told last."""

MASKS = frozenset({"levers"})
"""Inputs that are bits over their words; all others with words point to one of them, or to none (-1)."""

CODE = {name: i for i, name in enumerate(CODES)}
GATE = {name: np.uint32(1 << i) for i, name in enumerate(GATES)}


@dataclass(frozen=True, eq=False)
class Sizes:
    """One resource of n servers in one plan. Columns are [n]; cores or MiB; NaN: not known."""

    resource: str
    choice: Codes
    """Index into ``CHOICES``."""
    code: Codes
    """Index into ``codes``."""
    allocation: Column
    target: Column
    wanted: Column
    floor: Column
    ceiling: Column
    reactive: Column
    """What the same rules choose without a forecast; NaN: unknown."""
    asked: Bits
    """Bit k: gate k was asked."""
    passed: Bits
    """Bit k: gate k said yes."""
    inputs: Mapping[str, Column] = field(default_factory=dict)
    """Whatever else the sentences need: forecast's median and quantile, peaks seen, ages, what fitted the host …"""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Dictionaries of inputs that are codes of texts (the forecast's source and reason …), by the input's name."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The table of reason codes that ``code`` points into."""
        return self.words.get("code", CODES)

    @property
    def moves(self) -> Flags:
        """[n] whether something is to change."""
        return np.asarray(self.choice != HOLD, bool)

    @property
    def changed_by_forecast(self) -> Flags:
        """[n] whether the same rules would have chosen otherwise without a forecast."""
        changed: Flags = np.isfinite(self.reactive) & (np.abs(self.reactive - self.target) > 1e-9)
        return changed

    @property
    def ahead(self) -> Flags:
        """[n]: wishes that only a forecast explains: it expects ``AHEAD`` times the most that was measured in the hold time."""
        unknown = np.full(len(self.wanted), np.nan)
        expected, most = (self.inputs.get(name, unknown) for name in ("peak_median", "hold_max"))
        with np.errstate(invalid="ignore"):
            found: Flags = expected >= AHEAD * most
        return found


@dataclass(frozen=True, eq=False)
class PlanTable:
    """All decisions of one plan; row i of everything is the same server."""

    plan: str
    at: float
    servers: tuple[str, ...]
    hosts: tuple[str, ...]
    tiers: tuple[str, ...]
    modes: tuple[str, ...]
    causes: tuple[str, ...]
    cpu: Sizes
    memory: Sizes

    def __len__(self) -> int:
        return len(self.servers)

    def row(self, server: str) -> int | None:
        """Where a server stands; None where nothing was decided about it."""
        return self.rows.get(server)

    def sizes(self, resource: str) -> Sizes:
        return self.cpu if resource == "cpu" else self.memory

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Row by server."""
        return {name: i for i, name in enumerate(self.servers)}

    @cached_property
    def moving(self) -> Rows:
        """Rows in which something is to change, whether the mode allows it or not."""
        return np.flatnonzero(self.cpu.moves | self.memory.moves)

    @cached_property
    def acting(self) -> Rows:
        """Rows of which an order follows: something is to change, and the mode allows it."""
        return np.asarray([i for i in self.moving.tolist() if self.modes[i] == "act"], np.intp)


def _nothing(resource: str) -> Sizes:
    none, codes, bits = np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.uint32)
    return Sizes(resource, codes, codes, none, none, none, none, none, none, bits, bits)


EMPTY = PlanTable("", 0.0, (), (), (), (), (), _nothing("cpu"), _nothing("memory"))
"""The table of a plan about nobody."""
