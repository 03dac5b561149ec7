"""When a model in office has to stand back or learn anew, and when another one takes its place. Pure.

Verdict on one cell (resource × stratum × head) from the forecasts of the last days whose future is over:

    fine ──(loses to the baseline, or covers less than the baseline and less than agreed)──▶ fall_back   until another model
    fine ◀──(back inside the inner limits)──▶ retrain                                                    is in office
         ──(beyond the outer limits: drifted from what it won by, or lost coverage)──▶

Between inner and outer limits the standing verdict stays (hysteresis); a cell with too few forecasts keeps it too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from foreshape_controller.model.history import RESOURCES


class Action(StrEnum):
    """In order of gravity."""

    FINE = "fine"
    RETRAIN = "retrain"
    FALL_BACK = "fall back"


GRAVITY = tuple(Action)


@dataclass(frozen=True)
class Live:
    """What the last days say of one cell; the same forecasts for champion and baseline."""

    windows: int
    champion_wql: float
    baseline_wql: float
    champion_inside98: float
    """Share of amounts inside the 98 % interval, 0..1."""
    baseline_inside98: float
    champion_below99: float
    """Share of amounts not above the 99 % quantile."""
    baseline_below99: float
    promised_ratio: float | None = None
    """wQL of champion over baseline on the held-back days that it won."""

    @property
    def ratio(self) -> float:
        """Above 1: the baseline forecasts better. 1 where neither errs."""
        if self.baseline_wql <= 0:
            return 1.0 if self.champion_wql <= 0 else math.inf
        return self.champion_wql / self.baseline_wql


@dataclass(frozen=True)
class Limits:
    """Inner limit to become fine again, outer limit to be called out."""

    least_windows: int = 200
    lost: tuple[float, float] = (1.0, 1.05)
    """Ratio to the baseline."""
    drifted: tuple[float, float] = (0.05, 0.10)
    """Ratio above the one promised."""
    inside98: tuple[float, float] = (0.970, 0.960)
    below99: tuple[float, float] = (0.980, 0.975)


@dataclass(frozen=True)
class Verdict:
    """What to do about one cell, and why."""

    action: Action
    reasons: tuple[str, ...] = ()


def judge_live(live: Live, standing: Action, limits: Limits) -> Verdict:
    """The verdict now. ``standing`` is the one before, of the same champion."""
    if standing is Action.FALL_BACK:
        return Verdict(Action.FALL_BACK, ("the baseline speaks here until another model is promoted",))
    if live.windows < limits.least_windows:
        return Verdict(standing, (f"{live.windows} forecasts scored, {limits.least_windows} needed to judge",))
    out = _complaints(live, limits, outer=True)
    if out:
        return Verdict(max((a for a, _ in out), key=GRAVITY.index), tuple(r for _, r in out))
    still = _complaints(live, limits, outer=False)
    if standing is Action.RETRAIN and still:
        return Verdict(Action.RETRAIN, tuple(r for _, r in still))
    return Verdict(Action.FINE)


def _complaints(live: Live, limits: Limits, *, outer: bool) -> list[tuple[Action, str]]:
    side = 1 if outer else 0
    return [
        *_lost(live, limits.lost[side]),
        *_drifted(live, limits.drifted[side]),
        *_uncovered("98 % interval", live.champion_inside98, live.baseline_inside98, limits.inside98[side]),
        *_uncovered("99 % quantile", live.champion_below99, live.baseline_below99, limits.below99[side]),
    ]


def _lost(live: Live, limit: float) -> list[tuple[Action, str]]:
    if live.ratio <= limit:
        return []
    return [(Action.FALL_BACK, f"its error is {live.ratio:.2f} of the baseline's over {live.windows} forecasts")]


def _drifted(live: Live, limit: float) -> list[tuple[Action, str]]:
    if live.promised_ratio is None or live.ratio <= live.promised_ratio + limit:
        return []
    return [(Action.RETRAIN, f"it won with {live.promised_ratio:.2f} of the baseline's error and stands at {live.ratio:.2f}")]


def _uncovered(what: str, champion: float, baseline: float, limit: float) -> list[tuple[Action, str]]:
    """Too little covered: stand back where the baseline does better, else only learn anew."""
    if champion >= limit:
        return []
    action = Action.FALL_BACK if baseline > champion else Action.RETRAIN
    return [(action, f"its {what} covers {champion:.1%}, {limit:.1%} needed; the baseline's {baseline:.1%}")]


# --- a challenger ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terms:
    """What a challenger has to do to win."""

    gain: float = 0.002
    """Less error than the one in office, over all heads and resources together."""
    worst: float = 1.05
    """No head that servers are sized by may be worse than this times the one in office."""
    worst_loose: float = 1.25
    """Of disk and network, by which nothing is sized, and of day peaks, which held-back days show only a few of."""

    def allowed(self, resource: str, head: str) -> float:
        return self.worst if resource in RESOURCES and head != "peak24h" else self.worst_loose


@dataclass(frozen=True)
class Contest:
    """Who won, and the sentence for the log."""

    won: bool
    reason: str
    ratio: float
    """Geometric mean of challenger over champion; below 1 is better."""


def contest(ratios: Mapping[tuple[str, str], float], terms: Terms) -> Contest:
    """Weigh a challenger: error over the error of the one in office, on the same held-back days, by (resource, head)."""
    known = {cell: r for cell, r in ratios.items() if math.isfinite(r) and r > 0}
    if not known:
        return Contest(won=False, reason="nothing was scored on the held-back days: there is nothing to win by", ratio=1.0)
    mean = math.exp(sum(map(math.log, known.values())) / len(known))
    (resource, head), worst = max(known.items(), key=lambda item: item[1] / terms.allowed(*item[0]))
    if worst > terms.allowed(resource, head):
        return Contest(won=False, reason=f"{resource} {head} has {worst:.3f} of the error of the one in office", ratio=mean)
    if mean > 1 - terms.gain:
        return Contest(won=False, reason=f"{mean:.3f} of the error of the one in office: no clear gain", ratio=mean)
    return Contest(won=True, reason=f"{mean:.3f} of the error of the one in office, worst {resource} {head} {worst:.3f}", ratio=mean)
