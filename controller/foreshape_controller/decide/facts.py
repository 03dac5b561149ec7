"""What the size rule is asked about, as columns: n servers, one resource, one instant. Amounts in cores or MiB; NaN: not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foreshape_controller.model.columns import Codes, Column, Flags, Rows
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.tier import Tier
from foreshape_wire.reading import LeverName

LEVERS = {r: tuple(name for name in LeverName if name.resource == r) for r in ("cpu", "memory")}
"""Levers of a resource, by their row in ``Levers``."""

LEAST_MARGIN_MIB = 64.0
"""Room above the working set that the agent insists on (its ``memory_margin_mib``): to order less is to be refused each time."""

FORECAST_OLD_S = 3600.0
"""Nobody shrinks by a forecast older than this."""


@dataclass(frozen=True, eq=False)
class Levers:
    """k levers of n servers. Columns are [k, n]; what cannot be used now has no range that counts."""

    usable: Flags
    lowest: Column
    highest: Column
    granule: Column

    @property
    def some(self) -> Flags:
        """[n]: any that can be used."""
        return np.asarray(self.usable.any(axis=0), bool)

    @property
    def bits(self) -> Column:
        """[n]: bit k for a usable lever k."""
        k = np.arange(len(self.usable))
        return np.asarray((self.usable * (1 << k)[:, None]).sum(axis=0), np.float64)


@dataclass(frozen=True, eq=False)
class Peaks:
    """The predicted peak of the window that each server is sized for. Columns are [n]."""

    median: Column
    wanted: Column
    """The tier's quantile, after headroom."""
    quantile: Column
    headroom: Column
    age_s: Column
    """History behind the forecast."""
    there: Flags
    """Whether there is a forecast."""
    made_s: Column
    """Seconds since the forecast was made."""
    half_hours: Column
    """Half-hours after the next one that were taken in."""
    source: Codes
    """Index into ``words["peak_source"]``; the reason likewise."""
    reason: Codes
    words: Mapping[str, tuple[str, ...]]

    @property
    def looked_ahead(self) -> Flags:
        """[n]: whether it is a forecast, and not only what was measured."""
        sources = self.words["peak_source"]
        return self.source != sources.index(NO_FORECAST) if NO_FORECAST in sources else np.ones(len(self.source), bool)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was measured lately. Columns are [n]."""

    window_peak: Column
    """Largest maximum of the last half-hour: what a rule without forecasts would size by."""
    hold_peak: Column
    """Largest 5-minute mean of the hold time."""
    hold_max: Column
    """Largest maximum of the hold time: what a rule without forecasts would have wanted meanwhile."""
    latest: Column
    """The newest sample's demand; for memory the working set."""
    censored: Flags
    """Some of the last half-hour ran into its cap."""
    confidence: Column
    age_s: Column
    """Seconds of history."""
    overhead: Column
    """What must be there beside the demand: memory that the guest's kernel keeps for itself."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What each server's tier says of the resource. Columns are [n]; names as in ``model.tier``."""

    quantile: Column
    floor_share: Column
    floor_least: Column
    hold_s: Column
    shrink_step_share: Column
    young_s: Column
    margin_share: Column
    ceiling_share: Column
    step_s: Column
    shrink_band: Column
    headroom: Column
    dead_band: Column
    may_shrink: Flags

    @classmethod
    def of(cls, tiers: Sequence[Tier], index: Sequence[int] | Rows, resource: str) -> "Rules":
        """``index``: each server's tier."""
        at = np.asarray(index, np.intp)
        rules = [t.cpu if resource == "cpu" else t.memory for t in tiers]
        names = [name for name in cls.__dataclass_fields__ if name not in ("dead_band", "may_shrink")]
        columns = {name: np.asarray([getattr(r, name) for r in rules], np.float64)[at] for name in names}
        band = np.asarray([t.dead_band for t in tiers], np.float64)[at]
        columns["shrink_band"] = np.where(columns["shrink_band"] > 0, columns["shrink_band"], band)
        return cls(**columns, dead_band=band, may_shrink=np.asarray([t.may_shrink for t in tiers], bool)[at])


@dataclass(frozen=True, eq=False)
class Facts:
    """All about one resource of n servers. Columns are [n]."""

    resource: str
    granule: float
    """Smallest useful step, for levers whose own is finer."""
    allocation: Column
    entitlement: Column
    ceiling: Column
    levers: Levers
    peak: Peaks
    seen: Seen
    held: Column
    """Largest ``wanted`` of earlier plans within the hold time; what did not come true counts less."""
    missed: Column
    """Largest of what did not come true and is being taken back; NaN: nothing is."""
    came: Column
    """What came instead."""
    raised_floor: Column
    """After an OOM or a swap storm; 0: none."""
    margin: Column
    """Memory: least room above the working set."""
    agreed: Column
    """Floor in force instead of the tier's."""
    cap: Column
    cap_until: Column
    since_shrink_s: Column
    """Since the last shrink."""
    under_way: Column
    """What it was ordered to have, of which nobody told yet what came of it."""
    anomalous: Flags
    stop: Codes
    """Index into ``words["code"]`` of what forbids any change: stale data, safe mode, a migration, a halt; -1: nothing."""
    forecast_old_s: float = FORECAST_OLD_S
    said: Mapping[str, Column] = field(default_factory=dict)
    """Columns that only the sentences need."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts that they point at."""

    @classmethod
    def plain(cls, resource: str, granule: float, allocation: Column, **columns: Any) -> "Facts":
        """With everything that is not named as if nobody had said anything of it (no cap, nothing held, never shrunk …)."""
        n = len(allocation)
        unknown, no = np.full(n, np.nan), np.zeros(n, bool)
        quiet: dict[str, Any] = {
            "held": unknown,
            "missed": unknown,
            "came": unknown,
            "raised_floor": np.zeros(n),
            "margin": np.full(n, LEAST_MARGIN_MIB if resource == "memory" else 0.0),
            "agreed": unknown,
            "cap": unknown,
            "cap_until": unknown,
            "since_shrink_s": unknown,
            "under_way": unknown,
            "anomalous": no,
            "stop": np.full(n, -1, np.int32),
        }
        return cls(resource=resource, granule=granule, allocation=allocation, **(quiet | columns))
