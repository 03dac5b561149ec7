"""Decisions: every one has a reason, and "no" is a value too."""

from enum import StrEnum

import msgspec

from foreshape_wire.ids import CauseId, HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Size


class Choice(StrEnum):
    GROW = "grow"
    SHRINK = "shrink"
    HOLD = "hold"


class PeakRange(msgspec.Struct, frozen=True, kw_only=True):
    """One server's predicted window peak as the decision sees it (cores or MiB)."""

    median: float
    wanted: float
    """The tier's quantile, after headroom."""
    quantile: float
    source: str
    reason: str
    """Why this link of the forecast chain spoke."""
    age_s: float
    headroom: float = 1.0
    """Factor on the distance from the median to the quantile that ``wanted`` holds: the server's times the tier's."""
    half_hours: int = 0
    """Half-hours after the next one that were taken in as well: the levers need that long, or the forecast is that old."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was asked, and what it said."""

    name: str
    passed: bool
    detail: str


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one server in one plan. Amounts in cores or MiB."""

    resource: str
    choice: Choice
    allocation: float
    target: float
    """What it should be; equals the allocation when held."""
    wanted: float
    """Before floor, ceiling, dead band, hold and step limits."""
    floor: float
    ceiling: float
    code: str
    """A stable word: ``peak_above``, ``dead_band``, ``young``, ``stale``, ``censored``, ``hold_time`` …"""
    reason: str
    """A sentence for people."""
    gates: tuple[Gate, ...] = ()
    peak: PeakRange | None = None
    reactive_target: float | None = None
    """What the same rules would have chosen without a forecast (last window's maximum): the forecast's worth."""

    @property
    def changed_by_forecast(self) -> bool:
        return self.reactive_target is not None and abs(self.reactive_target - self.target) > 1e-9


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One server in one plan."""

    server: ServerId
    host: HostName
    cause: CauseId
    at: float
    tier: str
    mode: Mode
    cpu: Sizing
    memory: Sizing
    floor: Size
    ceiling: Size

    @property
    def acts(self) -> bool:
        """Whether an order follows: something changes, and the mode allows it."""
        return self.mode is Mode.ACT and (self.cpu.choice is not Choice.HOLD or self.memory.choice is not Choice.HOLD)
