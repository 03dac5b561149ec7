"""A plan as columns: one row per server, everything that a sentence about a decision is made from.

30,000 decisions a cycle are computed and kept as arrays; a single one is put into words when somebody asks for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Column: TypeAlias = npt.NDArray[np.float64]
Codes: TypeAlias = npt.NDArray[np.int32]
Bits: TypeAlias = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Sizes:
    """One resource of n servers in one plan. Columns are [n]; cores or MiB; NaN: not known."""

    resource: str
    choice: Codes
    """Index into ``CHOICES``."""
    code: Codes
    """Index into the table of reason codes."""
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

    def row(self, server: str) -> int | None:
        """Where a server stands; None where nothing was decided about it."""
        return self.rows.get(server)

    @property
    def rows(self) -> Mapping[str, int]:
        """Row by server."""
        found = self.__dict__.get("_rows")
        if found is None:
            found = {name: i for i, name in enumerate(self.servers)}
            object.__setattr__(self, "_rows", found)
        return found
