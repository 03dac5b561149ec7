"""Predicted against actual, and what is learned from it. Pure.

Two loops widen or narrow the room above a forecast, and they do not fight, because neither sees what the other does:

- each *server's* factor (decide/headroom.py) follows its own half-hours within hours. It is judged by what its forecast would have
  wanted with that factor alone, so that all servers err alike often;
- the *tier's* factors, here, follow 5-minute bins in which a server was short of what the rules could have given it, once a day,
  and set how often that is: with r the share of short bins and τ the tier's violation_target

      x = clip(ln(r/τ), ±2);   |x| ≤ ln(1 + max(0.1, 1/√(n·τ))): stay;   x > 0: factor · exp(0.15·x);   x < 0: factor · exp(0.05·x)

  with n bins seen: a tenth off the target, or what chance makes of so few, moves nothing. One day moves a factor by +35 % or −10 %
  at most. Above the target, the part of the short bins that the allocation of the last hold time would have covered moves the hold
  time, the rest the headroom; below it both give a half.

Of a normal tail, the share of short bins falls with the factor by d ln r / d ln f = −3.4 at a quantile of .95 and −7.5 at .995:
one day takes back 0.5 to 1.1 of the error above the target and a third of that below it, so that it converges; where decisions
also hold and step, the share falls more slowly (about −1 in the simulated cloud), and it takes two weeks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt

import msgspec
import numpy as np
import numpy.typing as npt

from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.columns import GROW, HOLD, SHRINK
from foreshape_controller.model.history import RESOURCES, Floats, History
from foreshape_controller.model.mark import Factors, Mark
from foreshape_controller.model.tier import ResourceRules, Tier

Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

GRAIN = 1e-3
"""Day chunks keep one part in two thousand: less than that is no difference."""

CAPPED = 0.5
"""Share of a bin at its cap from which the bin's demand is not known."""

REFUSED = 0.12
"""A target this share below what was wanted was cut by somebody else than the rules of size: more than any dead band."""

HALF_HOUR = 6
"""Bins."""


@dataclass(frozen=True, eq=False)
class InForce:
    """What was decided on one resource of n servers. All [n]; cores or MiB."""

    tier: Codes
    """Index into the tiers' names."""
    choice: Codes
    """As in ``model.columns``."""
    acting: Flags
    frozen: Flags
    """Nothing could be decided: stale, halted, no forecast."""
    allocation: Floats
    predicted: Floats
    """Peak of the half-hour at the tier's quantile, headroom included."""
    wanted: Floats
    """The same, and what must be there beside it."""
    target: Floats
    ceiling: Floats
    hold_bins: Codes
    """The tier's hold time."""

    def pick(self, rows: Codes) -> "InForce":
        return InForce(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True, eq=False)
class Bins:
    """What was so in each bin: [n, T]."""

    known: Flags
    violated: Flags
    capped: Flags
    sold_out: Flags
    unmet: Flags
    short: Flags
    after_shrink: Flags


def judge_bins(came: History, first: int, decided: InForce) -> Bins:
    """The half-hour that begins at bin ``first`` of what came. Rows of ``came`` and ``decided`` are the same servers."""
    span = slice(first, first + HALF_HOUR)
    need, had, capped = came.mean[:, span], _had(came)[:, span], came.censored[:, span]
    known = np.isfinite(need) & np.isfinite(had) & (had > 0)
    violated = known & (need > had * (1 + GRAIN))
    at_cap = known & ~violated & (capped >= CAPPED)
    hurt = violated | at_cap
    most = np.where(np.isfinite(decided.ceiling), decided.ceiling, came.entitlement)[:, None]
    sold_out = hurt & (had >= most * (1 - GRAIN))
    unmet = hurt & ~sold_out & _given_too_little(need, decided)
    short = hurt & ~sold_out & ~unmet
    return Bins(known, violated, at_cap, sold_out, unmet, short, short & (_had_before(came, first, decided.hold_bins) >= need))


def _had(came: History) -> Floats:
    assert came.allocated is not None, "feedback reads histories with what each had"
    return came.allocated


def _given_too_little(need: Floats, decided: InForce) -> Flags:
    """[n, T] the size rule is not to blame: it wanted enough and was cut, or what was decided had not come yet."""
    wanted, target = decided.wanted[:, None], decided.target[:, None]
    cut = target < np.minimum(wanted, decided.ceiling[:, None]) * (1 - REFUSED)
    result: Flags = ((wanted >= need) & cut) | (target > need * (1 + GRAIN))
    return result


def _had_before(came: History, first: int, hold_bins: Codes) -> Floats:
    """[n, T] the largest allocation of the hold time before each bin; NaN where nothing is known."""
    had = _had(came)
    found = np.full((len(had), HALF_HOUR), np.nan, np.float32)
    for hold in np.unique(hold_bins):
        rows = np.flatnonzero(hold_bins == hold)
        for j in range(HALF_HOUR):
            before = had[rows, max(0, first + j - int(hold)) : first + j]
            found[rows, j] = np.fmax.reduce(before, axis=1, initial=np.nan)
    return found


def tally(came: History, first: int, decided: InForce, tiers: int) -> list[Mark]:
    """A mark per tier (index 0 … tiers-1) of the half-hour from bin ``first`` on; ``decided``: in force when it began."""
    bins = judge_bins(came, first, decided)
    span = slice(first, first + HALF_HOUR)
    known, had, need = bins.known, _had(came)[:, span], came.mean[:, span]
    sold = came.entitlement[:, None]
    use = came.used[:, span] if came.resource == "cpu" and came.used is not None else np.minimum(need, had)
    peak = _peak(came, first)
    judged = np.isfinite(peak) & ~decided.frozen & np.isfinite(decided.predicted)
    held = (decided.choice == HOLD) & ~decided.frozen & known.any(axis=1)
    hurt = (bins.violated | bins.capped) & ~bins.sold_out
    sums = {
        "bins": known,
        "missing": ~known,
        "violated": bins.violated,
        "capped": bins.capped,
        "sold_out": bins.sold_out,
        "unmet": bins.unmet,
        "acting": known & decided.acting[:, None],
        "short": bins.short & decided.acting[:, None],
        "after_shrink": bins.after_shrink & decided.acting[:, None],
        "demand": np.where(known, need, 0),
        "used": np.where(known, use, 0),
        "allocation": np.where(known, had, 0),
        "entitlement": np.where(known, sold, 0),
        "burst": np.where(known, np.maximum(had - sold, 0), 0),
        "freed": np.where(known, np.maximum(sold - had, 0), 0),
        "windows": judged,
        "exceeded": judged & (peak > decided.predicted * (1 + GRAIN)),
        "predicted": np.where(judged, decided.predicted, 0),
        "came": np.where(judged, peak, 0),
        "frozen": decided.frozen,
        "held": held,
        "held_short": held & hurt.any(axis=1),
    }
    return _by_tier(sums, decided.tier, tiers)


def tally_moves(came: History, starts: Codes, decided: InForce, tiers: int) -> list[Mark]:
    """Were growths and shrinks right? One row per decision; its half-hour begins at bin ``starts[i]`` of row i."""
    at = starts[:, None] + np.arange(HALF_HOUR)[None, :]
    rows = np.arange(len(starts))[:, None]
    peak = np.fmax.reduce(came.max[rows, at], axis=1, initial=np.nan)
    mean = np.fmax.reduce(came.mean[rows, at], axis=1, initial=np.nan)
    grew = (decided.choice == GROW) & np.isfinite(peak)
    shrank = (decided.choice == SHRINK) & np.isfinite(mean)
    sums = {
        "grew": grew,
        "grew_came": grew & (peak > decided.allocation),
        "shrank": shrank,
        "shrank_short": shrank & (mean > decided.target * (1 + GRAIN)),
    }
    return _by_tier(sums, decided.tier, tiers)


def _peak(came: History, first: int) -> Floats:
    peak: Floats = np.fmax.reduce(came.max[:, first : first + HALF_HOUR], axis=1, initial=np.nan)
    return peak


def _by_tier(sums: Mapping[str, npt.NDArray[np.generic]], tier: Codes, tiers: int) -> list[Mark]:
    """Rows [n] or [n, T] added up per tier; what is no number counts nothing."""
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for name, values in sums.items():
        rows: npt.NDArray[np.float64] = np.nan_to_num(np.asarray(values, np.float64))
        columns[name] = np.bincount(tier, rows if rows.ndim == 1 else rows.sum(axis=1), minlength=tiers).astype(np.float64)
    return [Mark(**{name: float(column[i]) for name, column in columns.items()}) for i in range(tiers)]


# --- what a tier learns of it ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeedbackRule:
    """Bounds and patience."""

    headroom: tuple[float, float] = (0.5, 2.0)
    hold: tuple[float, float] = (0.5, 2.0)
    up: float = 0.15
    down: float = 0.05
    most: float = 2.0
    tolerance: float = 0.1
    """So far off the target nothing moves; nor where one standard deviation of chance is more."""
    least_expected: float = 5.0
    """Short bins that the target lets expect; with fewer, what was seen is chance."""
    most_missing: float = 0.2
    """Share of bins without data, or of half-hours in which nothing could be decided, above which nothing is learned."""

    def of(self, resource: str) -> tuple[float, float]:
        """Bounds of the headroom. Memory never narrows below the tier's own quantile: measured, that does not help."""
        low, high = self.headroom
        return (max(1.0, low), max(1.0, high)) if resource == "memory" else (low, high)


def adapt(now: Factors, mark: Mark, target: float, resource: str, rule: FeedbackRule) -> Factors:
    """The factors after a day with this mark. ``at`` is left to the caller; the reason says why, also where nothing moved."""
    stop = _why_not(mark, target, rule)
    if stop:
        return _bounded(now, resource, rule, stop)
    rate = (mark.short + 1.0) / (mark.acting + 1.0 / target)  # as if one short bin had been seen where one was to be expected
    x = min(rule.most, max(-rule.most, log(rate / target)))
    seen = f"{mark.short / mark.acting:.2%} of {mark.acting:.0f} bins were short, {target:.2%} is the target"
    if abs(x) <= log(1 + max(rule.tolerance, 1 / sqrt(mark.acting * target))):
        return _bounded(now, resource, rule, f"{seen}: it stays")
    by_hold = (mark.after_shrink / mark.short if mark.short else 0.0) if x > 0 else 0.5
    step = (rule.up if x > 0 else rule.down) * x
    moved = msgspec.structs.replace(now, headroom=now.headroom * exp(step * (1 - by_hold)), hold=now.hold * exp(step * by_hold))
    kept = _bounded(moved, resource, rule, "")
    return msgspec.structs.replace(
        kept, reason=f"{seen}: {_change('headroom', now.headroom, kept.headroom)}, {_change('hold time', now.hold, kept.hold)}"
    )


def _why_not(mark: Mark, target: float, rule: FeedbackRule) -> str:
    """Why nothing can be learned from this day; empty when it can."""
    if mark.acting <= 0:
        return "no server of it is in mode act: nothing that is decided happens"
    if mark.acting * target < rule.least_expected:
        return f"{mark.acting:.0f} bins seen, {rule.least_expected / target:.0f} needed to tell chance from habit: it stays"
    lost = mark.missing / (mark.missing + mark.bins)
    if lost > rule.most_missing:
        return f"{lost:.0%} of the bins are missing: it stays until the data are back"
    frozen = mark.frozen / max(mark.frozen + mark.windows, 1.0)
    if frozen > rule.most_missing:
        return f"nothing could be decided about {frozen:.0%} of the servers (stale, halted, without a forecast): it stays"
    return ""


def _bounded(factors: Factors, resource: str, rule: FeedbackRule, reason: str) -> Factors:
    (low, high), (least, most) = rule.of(resource), rule.hold
    headroom, hold = min(high, max(low, factors.headroom)), min(most, max(least, factors.hold))
    return msgspec.structs.replace(factors, headroom=headroom, hold=hold, reason=reason)


def _change(what: str, before: float, after: float) -> str:
    if abs(after - before) < 5e-4:
        return f"{what} stays at {after:.2f}"
    return f"{what} {before:.2f} → {after:.2f}"


def adapted(policy: Tiers, factors: Mapping[tuple[str, str], Factors]) -> Tiers:
    """The policy with what feedback made of it: quantiles, floors and everything that was promised stay."""
    if not factors:
        return policy
    tiers = {name: _adapted(tier, factors) for name, tier in policy.tiers.items()}
    return msgspec.structs.replace(policy, tiers=tiers)


def _adapted(tier: Tier, factors: Mapping[tuple[str, str], Factors]) -> Tier:
    changed = {r: _rules(getattr(tier, r), f) for r in RESOURCES if (f := factors.get((tier.name, r))) is not None}
    return msgspec.structs.replace(tier, **changed) if changed else tier


def _rules(rules: ResourceRules, f: Factors) -> ResourceRules:
    return msgspec.structs.replace(rules, headroom=rules.headroom * f.headroom, hold_s=rules.hold_s * f.hold)
