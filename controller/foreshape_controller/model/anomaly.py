"""What stands out in a series' past, and the class of work a server does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Kind(StrEnum):
    """How a series left its habits."""

    SPIKE = "spike"
    """Beyond all that was to be expected, for less than an hour; up or down."""
    SHIFT = "level_shift"
    """A new level that lasts. Only the transition is odd: after three hours the new level is the new normal."""
    FLAT = "flat_line"
    """One value, again and again, of a series that used to move."""
    DEAD = "dead_sensor"
    """Zeros or no data where there was load, while other series go on. The server may also just be off."""


@dataclass(frozen=True)
class Finding:
    """One anomaly of one series. Times are epoch seconds, starts of bins."""

    series: str
    resource: str
    kind: Kind
    since: int
    until: int | None
    """End of the last odd bin; None while it lasts."""
    noticed: int
    """End of the bin with which the evidence was complete: ``noticed - since`` is the delay of detection."""
    strength: float
    """Size of the evidence, in thresholds: 1 would just not have alarmed."""
    confidence: float
    """1 / (1 + false alarms of at least this strength per series and month): 0.5 at the default threshold."""
    before: float
    """Largest value of the day before it, cores, MiB or KiB/s."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in one history, newest last in each series."""

    resource: str
    series: tuple[str, ...]
    mask: Mask
    """[n, T]: bins that are odd themselves (a level shift: its transition only)."""
    found: tuple[Finding, ...]
    alarms_per_month: float
    """The false-alarm rate that the thresholds were set for, per series and 30 days."""

    def active(self, at: float, hold_s: float = 0.0) -> tuple[Finding, ...]:
        """Findings that last at ``at``, or ended less than ``hold_s`` before."""
        return tuple(f for f in self.found if f.until is None or f.until > at - hold_s)


def left_habits(found: Iterable[Finding], since: float) -> Mapping[str, frozenset[str]]:
    """By resource: the series of findings that began after ``since``. What lasts for longer is a habit by now."""
    series: dict[str, set[str]] = {}
    for f in found:
        if f.since > since:
            series.setdefault(f.resource, set()).add(f.series)
    return {resource: frozenset(names) for resource, names in series.items()}


class AnomalyAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/anomalies``."""

    series: str
    """A server's id, or ``host:NAME`` and the like for groups."""
    name: str
    """The server's name, where it is known."""
    resource: str
    kind: str
    since: float
    until: float | None
    noticed: float
    strength: float
    confidence: float
    before: float
    open: bool
