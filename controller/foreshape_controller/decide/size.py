"""What size one resource of each server should have (domain.md §4). Every rule that was asked stands in the result as a gate.

    target = clamp(granule_up(q50 + s·(q_tier − q50) of the window peak), floor, ceiling)

Growth happens at once. A shrink needs all of: a tier that allows it, history, uncensored and trusted data without anomalies, a
recent forecast, low use seen and predicted for the hold time; it takes one step at most and leaves memory its working set and
a margin. Only a hard cap takes more, because people said so: it stops at the floor and at what memory is in use.

All servers at once: rules are masks over columns, and nothing but columns comes out; ``model.told`` puts a row into words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide import reach
from foreshape_controller.decide.facts import LEVERS, Facts, Rules
from foreshape_controller.decide.sound import ODD, is_amount, sane, unsound
from foreshape_controller.model.columns import CODE, CODES, GATE, GROW, HOLD, SHRINK, Bits, Codes, Column, Flags, Sizes
from foreshape_controller.model.told import CONFIDENT

NEAR_CAP = 0.95
"""CPU use from this share of the allocation on is about to be held back, or is: what it has is not enough, whatever was predicted."""

PERMISSIONS = ("tier_keeps", "young", "unobserved", "censored", "low_confidence", "anomalous", "forecast_old", "step_time")
"""Gates that a shrink must pass, in the order in which they are asked: the first that refuses is the reason."""


def decide_sizes(facts: Facts, rules: Rules) -> Sizes:
    """Size one resource of n servers. The result also says what the same rules choose without a forecast.

    A server whose numbers make no sense is held (``odd_data``); it changes nothing for the others.
    """
    odd = unsound(facts)
    case = _Case.of(sane(facts, odd), rules)
    chosen = _choose(case)
    have = np.where(is_amount(facts.allocation, facts.resource), facts.allocation, 0.0)
    kept: dict[str, Column] = {"wanted": case.wanted, "floor": case.floor, "ceiling": case.ceiling}
    names = tuple(name.value for name in LEVERS[facts.resource])
    target = np.where(odd, have, chosen.target)
    return Sizes(
        resource=facts.resource,
        choice=choices(target, have),
        code=np.where(odd, CODE["odd_data"], chosen.code).astype(np.int32),
        allocation=have,
        target=target,
        reactive=np.where(odd, np.nan, _reactive(case, chosen)),
        asked=np.where(odd, 0, chosen.asked).astype(np.uint32),
        passed=np.where(odd, 0, chosen.passed).astype(np.uint32),
        inputs=_inputs(case, chosen, odd),
        words={"code": CODES, "levers": names, **facts.words, **facts.peak.words, "odd": ODD},
        **{name: np.where(odd, have, column) for name, column in kept.items()},
    )


def choices(target: Column, have: Column) -> Codes:
    """[n]: grow, shrink or hold."""
    return np.select([target > have, target < have], [GROW, SHRINK], HOLD).astype(np.int32)


def _reactive(case: "_Case", chosen: "_Found") -> Column:
    """Target with measured maxima in place of forecasts: the last window's now, the hold time's for what was wanted before."""
    f = case.facts
    last, held = f.seen.window_peak, f.seen.hold_max + f.seen.overhead
    there = np.isfinite(last)
    seen = replace(f.peak, median=last, wanted=last, there=there, made_s=np.zeros(len(last)))
    found = _choose(replace(case, facts=replace(f, peak=seen, held=held)))
    known = there & f.peak.there
    return np.where(f.peak.there & ~f.peak.looked_ahead, chosen.target, np.where(known, found.target, np.nan))


# -- bounds -----------------------------------------------------------------------------------------------------------


def bounds(facts: Facts, rules: Rules) -> tuple[Column, Column]:
    """Floor and ceiling that hold for each server: promised, and reachable with the levers it has.

    A hard cap lowers the ceiling to what a lever can do, and never below the floor.
    """
    some = facts.levers.some
    tiers = np.maximum(rules.floor_share * facts.entitlement, np.minimum(rules.floor_least, facts.entitlement))
    promised = np.maximum(np.where(np.isfinite(facts.agreed), facts.agreed, tiers), facts.raised_floor)
    most = np.where(some, np.minimum(facts.ceiling, reach.highest(facts.levers)), facts.ceiling)
    floor = np.minimum(np.where(some, np.maximum(promised, reach.lowest(facts.levers)), promised), most)
    shared = np.where(rules.ceiling_share > 0, rules.ceiling_share * facts.entitlement, np.inf)
    capped = np.where(np.isfinite(facts.cap), reach.at_most(facts.levers, facts.cap, facts.granule), np.inf)
    return floor, np.maximum(floor, np.minimum(most, np.where(some, np.minimum(shared, capped), np.inf)))


# -- one question to the rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Case:
    """All servers' question to the rules, with the bounds worked out."""

    facts: Facts
    rules: Rules
    floor: Column
    ceiling: Column

    @classmethod
    def of(cls, facts: Facts, rules: Rules) -> "_Case":
        return cls(facts, rules, *bounds(facts, rules))

    @property
    def wanted(self) -> Column:
        """The predicted peak and what must be there beside it, but never less than the working set and its margin."""
        peak = np.where(self.facts.peak.there, self.facts.peak.wanted + self.facts.seen.overhead, self.facts.allocation)
        return np.maximum(peak, self.in_use)

    @property
    def in_use(self) -> Column:
        """What is in use now and room above it: memory always; CPU, which can be given back in a moment, near its cap only."""
        latest = self.facts.seen.latest
        room = latest + np.maximum(self.facts.margin, self.rules.margin_share * latest)
        counts = np.isfinite(latest) if self.facts.resource == "memory" else latest >= NEAR_CAP * self.facts.allocation
        return np.where(counts, room, 0.0)

    @property
    def used(self) -> Column:
        """The largest that was used in the hold time, and what must be there beside it."""
        return np.nan_to_num(self.facts.seen.hold_peak) + self.facts.seen.overhead

    def fit(self, amount: Column) -> Column:
        """Rounded up to what a lever can do, then clamped."""
        return np.minimum(self.ceiling, np.maximum(self.floor, self.reached(amount)))

    @property
    def in_use_kept(self) -> Column:
        """What is in use, as a lever can do it; all it has, where none reaches so high."""
        return reach.enough(self.facts.levers, self.in_use, self.facts.granule, self.facts.allocation)

    def reached(self, amount: Column) -> Column:
        return reach.at_least(self.facts.levers, amount, self.facts.granule)

    @property
    def one_step(self) -> Column:
        """What one shrink leaves, above its ceiling or not; where one step is less than a granule, one granule less."""
        have = self.facts.allocation
        one = np.maximum(self.floor, self.reached(have * (1 - self.rules.shrink_step_share)))
        down = reach.at_most(self.facts.levers, have - self.facts.granule, self.facts.granule)
        return np.where(one >= have, down, one)


class _Asked:
    """Bits of the gates, as they are asked one after the other."""

    def __init__(self, n: int) -> None:
        self.asked: Bits = np.zeros(n, np.uint32)
        self.passed: Bits = np.zeros(n, np.uint32)

    def ask(self, name: str, where: Flags, passed: Flags) -> None:
        self.asked[where] |= GATE[name]
        self.passed[where & passed] |= GATE[name]


@dataclass(frozen=True, eq=False)
class _Found:
    """What the rules say. Columns are [n]."""

    code: Codes
    target: Column
    asked: Bits
    passed: Bits
    goal: Column
    told: Mapping[str, Column]
    """What was worked out on the way, for the sentences."""


def _choose(case: _Case) -> _Found:
    """The table of contents: may anything change, what is wanted, which way, under which rules."""
    f, have, goal, gates = case.facts, case.facts.allocation, case.fit(case.wanted), _Asked(len(case.floor))
    told: dict[str, Column] = {}
    code, target = _stopped(f), have.copy()
    limit = _limit(case)
    over = ((code < 0) | (code == CODE["no_forecast"])) & (limit < have)  # what people forbid needs no forecast
    free = (code < 0) | over
    gates.ask("lever", free, free)
    cap = free & np.isfinite(f.cap)
    gates.ask("capped", cap, (case.wanted <= case.ceiling) & ~over)
    free &= ~over
    answers = (
        (over, (CODE["capped"], _throttled(case, limit))),
        (free & (goal == have), (_still(case, cap), have)),
        (free & (goal > have), _grown(case, goal, free & (goal > have), gates)),
        (free & (goal < have), _shrunk(case, goal, free & (goal < have), gates, told)),
    )
    for where, (because, to) in answers:
        code, target = np.where(where, because, code), np.where(where, to, target)
    return _Found(code, target, gates.asked, gates.passed, goal, told)


def _stopped(f: Facts) -> Codes:
    """[n]: code of what forbids any change; -1: nothing."""
    refused = [f.stop >= 0, ~f.levers.some, ~f.peak.there]
    return np.select(refused, [f.stop, CODE["no_lever"], CODE["no_forecast"]], -1).astype(np.int32)


def _still(case: _Case, cap: Flags) -> Codes:
    """Why what it has is what it should have."""
    more = case.wanted > case.ceiling
    return np.select([more & cap, more], [CODE["capped"], CODE["at_ceiling"]], CODE["at_target"])


def _limit(case: _Case) -> Column:
    """What a hard cap leaves; without one there is no limit."""
    f = case.facts
    capped = np.maximum(case.floor, reach.at_most(f.levers, np.nan_to_num(f.cap), f.granule))
    return np.where(np.isfinite(f.cap), capped, np.inf)


def _throttled(case: _Case, limit: Column) -> Column:
    """Down to the cap: CPU at once, memory by a step and not into what is in use, or may be."""
    f = case.facts
    if f.resource != "memory":
        return limit
    known = np.isfinite(f.seen.latest) & (f.seen.confidence >= CONFIDENT)
    to = np.maximum(np.maximum(limit, case.one_step), case.in_use_kept)
    return np.where(known, np.minimum(f.allocation, to), f.allocation)


def _grown(case: _Case, goal: Column, where: Flags, gates: _Asked) -> tuple[Codes, Column]:
    f, have, wanted = case.facts, case.facts.allocation, case.wanted
    short = have < case.floor
    needed = (goal - have >= case.rules.dead_band * have) | f.seen.censored | short
    gates.ask("dead_band", where, needed)
    gates.ask("ceiling", where & needed, wanted <= case.ceiling)
    code = np.select([~needed, short & (goal <= case.floor)], [CODE["dead_band"], CODE["below_floor"]], CODE["peak_above"])
    return code, np.where(needed, goal, have)


# -- shrinking --------------------------------------------------------------------------------------------------------


def _shrunk(case: _Case, goal: Column, where: Flags, gates: _Asked, told: dict[str, Column]) -> tuple[Codes, Column]:
    """Ask every condition; then keep the largest of the forecast, what is in use, what was seen and what was wanted."""
    refused = np.full(len(goal), -1, np.int32)
    for name, passed, asked in _permissions(case):
        gates.ask(name, where & asked, passed)
        refused = np.where((refused < 0) & asked & ~passed, CODE[name], refused)
    allowed = where & (refused < 0)
    kept, why = _kept(case, goal, allowed, gates, told)
    have = case.facts.allocation
    moves = allowed & (have - kept >= case.rules.shrink_band * have)
    one = case.one_step
    target = np.maximum(kept, one)
    gates.ask("step", moves, target <= kept)
    taken = np.isfinite(case.facts.missed) & (target < case.fit(case.facts.missed))  # the whole hold time would have kept it
    moved = np.where(taken, CODE["forecast_missed"], CODE["peak_below"])
    code = np.select([refused >= 0, ~moves, target >= have], [refused, why, CODE["at_target"]], moved)
    return code, np.where(moves & (target < have), target, have)


def _permissions(case: _Case) -> tuple[tuple[str, Flags, Flags], ...]:
    """Name, whether it allows a shrink, and whether it has anything to say, of each gate in ``PERMISSIONS``."""
    f, rules, always = case.facts, case.rules, np.ones(len(case.floor), bool)
    recent = ~(f.since_shrink_s < rules.step_s)
    fresh = (f.peak.made_s <= f.forecast_old_s) | ~f.peak.looked_ahead
    return (
        ("tier_keeps", rules.may_shrink, always),
        ("young", f.seen.age_s >= rules.young_s, always),
        ("unobserved", np.isfinite(f.seen.hold_peak), always),
        ("censored", ~f.seen.censored, always),
        ("low_confidence", (f.seen.confidence >= CONFIDENT) | (f.resource != "memory"), always),
        ("anomalous", ~f.anomalous, always),
        ("forecast_old", fresh, always),
        ("step_time", recent, rules.step_s > 0),
    )


def _kept(case: _Case, goal: Column, where: Flags, gates: _Asked, told: dict[str, Column]) -> tuple[Column, Codes]:
    """What must stay, and the reason where that leaves nothing to take."""
    held = np.nan_to_num(case.facts.held)
    seen_kept, held_kept, in_use = case.fit(case.used), case.fit(held), case.in_use_kept
    gates.ask("working_set", where & (in_use > goal), np.zeros(len(goal), bool))
    gates.ask("observed_high", where, seen_kept <= goal)
    gates.ask("hold_time", where, held_kept <= goal)
    told |= {"seen_kept": seen_kept, "held_kept": held_kept, "used": case.used, "held": np.maximum(held, case.wanted)}
    kept = np.maximum(np.maximum(goal, in_use * (case.in_use > 0)), np.maximum(seen_kept, held_kept))
    have, band = case.facts.allocation, case.rules.shrink_band * case.facts.allocation
    why = np.select(
        [have - goal < band, have - in_use < band, held_kept >= seen_kept],
        [CODE["dead_band"], CODE["working_set"], CODE["hold_time"]],
        CODE["observed_high"],
    )
    return kept, why


# -- for the sentences ------------------------------------------------------------------------------------------------


def _inputs(case: _Case, chosen: _Found, odd: Codes) -> dict[str, Column]:
    """The numbers that ``model.told`` names."""
    f, rules = case.facts, case.rules
    return {
        **f.said,
        **chosen.told,
        "goal": chosen.goal,
        "dead_band": rules.dead_band,
        "shrink_band": rules.shrink_band,
        "hold_s": rules.hold_s,
        "young_s": rules.young_s,
        "step_s": rules.step_s,
        "step_share": rules.shrink_step_share,
        "levers": f.levers.bits,
        "in_use": case.in_use,
        "hold_max": f.seen.hold_max,
        "missed": f.missed,
        "came": f.came,
        "age_s": f.seen.age_s,
        "confidence": f.seen.confidence,
        "cap": f.cap,
        "cap_until": f.cap_until,
        "since_shrink_s": f.since_shrink_s,
        "forecast_age_s": f.peak.made_s,
        "forecast_old_s": np.full(len(odd), f.forecast_old_s),
        "peak_median": f.peak.median,
        "peak_wanted": f.peak.wanted,
        "peak_quantile": f.peak.quantile,
        "headroom": f.peak.headroom,
        "peak_age_s": f.peak.age_s,
        "peak_source": f.peak.source.astype(np.float64),
        "peak_reason": f.peak.reason.astype(np.float64),
        "half_hours": f.peak.half_hours,
        "odd": odd.astype(np.float64),
    }
