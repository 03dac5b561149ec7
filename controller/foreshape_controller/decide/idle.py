"""Who is idle or over-sized, from what history holds: for all servers of one resource at once.

A server is idle when 99 % of its measured 5-minute maxima, all its 5-minute means and the day that is forecast stay below
``idle_share`` of what was sold; over-sized when they stay below ``oversized_share``. Everybody else has a code that says why not:
too young, too many gaps, capped (then its demand is not known), odd lately, or expected by people to be needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import Floats, History
from foreshape_controller.model.reclaim import Finding

Column = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

QUANTILE = 0.99
SPOKEN = 0.5
"""A bin counts when samples spoke for half of it."""
CAPPED_SHARE, DOUBTFUL_SHARE = 0.1, 0.5
"""Of a bin's samples: from here on its demand is not known."""
CAPPED_MOST = 0.01
"""Share of capped bins up to which the rest is believed."""
LEAST_MARGIN_MIB = 64.0
"""Room above the working set that agents insist on."""

CODES = (
    "idle",
    "oversized",
    "odd_data",
    "young",
    "uncovered",
    "doubtful",
    "censored",
    "in_use",
    "no_forecast",
    "forecast_high",
    "anomaly",
    "event",
    "declared",
)
IDLE, OVERSIZED = 0, 1

WHY_NOT = {
    "odd_data": "its numbers make no sense",
    "young": "its history is too short to judge",
    "uncovered": "too much of its history is missing",
    "doubtful": "its memory was read from outside the guest for much of the time",
    "censored": "it ran into its cap: its demand may be higher than what was measured",
    "in_use": "it uses what it was sold",
    "no_forecast": "there is no forecast of it",
    "forecast_high": "its forecast says that it will need more",
    "anomaly": "an anomaly of it lasts, or ended lately",
    "event": "an event that will raise its demand is in the calendar",
    "declared": "its owner declared a workload that needs it",
}


@dataclass(frozen=True)
class FindRule:
    """What counts as idle and over-sized."""

    days: float = 7.0
    day_s: float = 86400.0
    """A day's length; a compressed grid has a shorter one."""
    covered: float = 0.8
    """Least share of these days' bins with measurements."""
    idle_share: float = 0.05
    oversized_share: float = 0.3
    margin: float = 0.3
    """Room above the largest of what was used and is forecast."""
    least: Mapping[str, float] = field(default_factory=lambda: {"cpu": 0.05, "memory": 128.0})
    """Nobody's floor goes below this, cores and MiB."""


@dataclass(frozen=True, eq=False)
class Use:
    """One resource of n servers over the days looked at; all [n]."""

    p99: Column
    """Of the 5-minute maxima; NaN where nothing was measured."""
    top: Column
    """The largest 5-minute mean: a short spike is the reflex's affair, a demand that lasts is not."""
    covered: Column
    """Share of bins that are known."""
    capped: Column
    """Share of the measured bins whose demand is not known because of a cap."""
    doubtful: Column
    age_s: Column


@dataclass(frozen=True, eq=False)
class Standing:
    """What else is known of the same n servers; all [n]."""

    entitlement: Column
    day_peak: Column
    """Forecast, NaN: none."""
    overhead: Column
    """What must be there beside the demand (memory that the guest's kernel keeps)."""
    in_use: Column
    """Memory: the working set now; 0 for CPU."""
    margin_share: Column
    """Memory: the tier's room above the working set."""
    odd: Flags
    """An anomaly."""
    event: Flags
    declared: Flags


@dataclass(frozen=True, eq=False)
class Found:
    """The answer for n servers; all [n]."""

    code: npt.NDArray[np.int32]
    """Index into CODES: below 2 it is found."""
    needed: Column
    goal: Column


def use_of(history: History, now: float) -> Use:
    """What a history says of each of its series."""
    capped = np.nan_to_num(history.censored) >= CAPPED_SHARE
    doubtful = np.zeros_like(capped) if history.doubtful is None else np.nan_to_num(history.doubtful) >= DOUBTFUL_SHARE
    told = np.isfinite(history.max) & (np.nan_to_num(history.coverage) >= SPOKEN)
    known = told & ~capped & ~doubtful
    measured = np.maximum(told.sum(axis=1), 1)
    return Use(
        p99=quantile(history.max, known, QUANTILE),
        top=quantile(history.mean, known, 1.0),
        covered=known.sum(axis=1) / max(1, history.bins),
        capped=(told & capped).sum(axis=1) / measured,
        doubtful=(told & doubtful).sum(axis=1) / measured,
        age_s=np.maximum(0.0, now - history.first_seen),
    )


def quantile(values: Floats, known: Flags, share: float) -> Column:
    """[n] the smallest value that ``share`` of each row's known values do not exceed; NaN where none is known."""
    ordered = np.sort(np.where(known, values, np.inf), axis=1)
    count = known.sum(axis=1)
    at = np.clip(np.ceil(share * count).astype(np.intp) - 1, 0, max(0, values.shape[1] - 1))
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    return np.where(count > 0, ordered[np.arange(len(values)), at], np.nan).astype(np.float64)


def find(resource: str, use: Use, standing: Standing, rule: FindRule) -> Found:
    """Who is idle or over-sized, and the floor that would do. Amounts in cores or MiB."""
    with np.errstate(invalid="ignore", over="ignore"):  # odd numbers get a code, not a warning
        needed = (np.fmax(_used(use), standing.day_peak) + standing.overhead) * (1 + rule.margin)
        if resource == "memory":
            needed = np.fmax(needed, with_margin(standing.in_use, standing.margin_share))
    goal = np.maximum(needed, rule.least[resource])
    return Found(_codes(use, standing, rule), needed, goal)


def _used(use: Use) -> Column:
    return np.fmax(use.p99, use.top)


def with_margin(in_use: Column, share: Column) -> Column:
    """A working set and the room that must stay above it, MiB."""
    return in_use + np.maximum(LEAST_MARGIN_MIB, share * in_use)


def _codes(use: Use, standing: Standing, rule: FindRule) -> npt.NDArray[np.int32]:
    """The first reason that holds for each; idle before over-sized where none does."""
    sold = standing.entitlement
    figures = (sold, standing.overhead, standing.in_use, standing.margin_share)
    odd = ~np.logical_and.reduce([np.isfinite(f) & (f >= 0) for f in figures]) | (sold <= 0)
    reasons = {
        "odd_data": odd,
        "young": ~(use.age_s >= rule.days * rule.day_s),
        "doubtful": use.doubtful > CAPPED_MOST,
        "censored": use.capped > CAPPED_MOST,
        "uncovered": ~(use.covered >= rule.covered),
        "in_use": ~(_used(use) <= rule.oversized_share * sold),
        "no_forecast": ~np.isfinite(standing.day_peak),
        "forecast_high": standing.day_peak > rule.oversized_share * sold,
        "anomaly": standing.odd,
        "event": standing.event,
        "declared": standing.declared,
        "idle": np.fmax(_used(use), standing.day_peak) <= rule.idle_share * sold,
    }
    return np.select(list(reasons.values()), [CODES.index(c) for c in reasons], OVERSIZED).astype(np.int32)


def finding(row: int, found: Found, use: Use, standing: Standing, days: float) -> Finding:
    """One server's finding as a value."""
    return Finding(
        kind=CODES[found.code[row]],
        entitlement=float(standing.entitlement[row]),
        p99=float(use.p99[row]),
        top=float(use.top[row]),
        day_peak=float(standing.day_peak[row]),
        needed=float(found.needed[row]),
        goal=float(found.goal[row]),
        days=days,
        covered=float(use.covered[row]),
    )


def sentence(resource: str, f: Finding) -> str:
    """What was found, for people."""
    peaks = f"99 % of its peaks stayed below {say(resource, f.p99)} and all its 5-minute means below {say(resource, f.top)}"
    ahead = f"the next day's peak is forecast below {say(resource, f.day_peak)} (95 %)"
    word = "idle" if f.kind == "idle" else "over-sized"
    return f"{word}: in {f.days:g} days ({f.covered:.0%} measured) {peaks}, {ahead}, and it was sold {say(resource, f.entitlement)}"


def say(resource: str, amount: float) -> str:
    return f"{amount:.2f} cores" if resource == "cpu" else f"{amount:.0f} MiB"
