"""The size rule over columns says of each server what a slow rule, written out for one server at a time, says of it."""

from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.size import PERMISSIONS
from foreshape_controller.model.columns import CHOICES
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.tier import Tier
from foreshape_controller.model.told import sizing
from long_support import LONG
from size_support import One, drawn, sizes

pytestmark = pytest.mark.unit

SERVERS = 40
"""So many at once: LONG / 20 draws of 40 are twice LONG servers."""

seeds = st.integers(0, 2**62)
resources = st.sampled_from(["cpu", "memory"])


# -- the rule for one server, slowly ----------------------------------------------------------------------------------


def up(one: One, amount: float) -> float:
    """Smallest amount that a lever reaches and that is enough, else the most."""
    offers = [into(c, *grid(c, one.granule), amount, ceil, -1e-9) for c in one.levers]
    enough = [o for o in offers if o >= amount - 1e-9]
    return min(enough) if enough else max(offers, default=amount)


def down(one: One, amount: float) -> float:
    offers = [into(c, *grid(c, one.granule), amount, floor, 1e-9) for c in one.levers]
    fitting = [o for o in offers if o <= amount + 1e-9]
    return max(fitting) if fitting else min(offers, default=amount)


def grid(c, granule):
    if c.granule >= granule:
        return c.lowest, c.granule
    return 0.0, ceil(granule / c.granule - 1e-9) * c.granule


def into(c, origin, step, amount, whole, room):
    return round(min(c.highest, max(c.lowest, origin + whole((amount - origin) / step + room) * step)), 6)


def bounds(one: One, tier: Tier) -> tuple[float, float]:
    rules = tier.cpu if one.resource == "cpu" else tier.memory
    promised = max(rules.floor_share * one.entitlement, min(rules.floor_least, one.entitlement)) if one.agreed is None else one.agreed
    promised = max(promised, one.raised_floor)
    if not one.levers:
        return min(promised, one.ceiling), max(one.ceiling, min(promised, one.ceiling))
    most = min(one.ceiling, max(c.highest for c in one.levers))
    least = min(max(promised, min(c.lowest for c in one.levers)), most)
    if rules.ceiling_share > 0:
        most = min(most, rules.ceiling_share * one.entitlement)
    if one.cap is not None:
        most = min(most, down(one, one.cap))
    return least, max(least, most)


def in_use_kept(one: One, rules) -> float:
    """What is in use, as a lever can do it; all it has, where none reaches so high."""
    used = in_use(one, rules)
    return up(one, used) if up(one, used) >= used - 1e-9 else one.allocation


@dataclass(frozen=True)
class Said:
    target: float
    code: str


def in_use(one: One, rules) -> float:
    latest = one.seen.latest
    if latest is None:
        return 0.0
    if one.resource == "memory":
        return latest + max(64.0, rules.margin_share * latest)
    return latest + rules.margin_share * latest if latest >= 0.95 * one.allocation else 0.0


def slow(one: One, tier: Tier) -> Said:  # noqa: C901, PLR0911, PLR0912  one rule after the other, as domain.md tells them
    rules = tier.cpu if one.resource == "cpu" else tier.memory
    least, most = bounds(one, tier)
    have = one.allocation

    def fit(amount: float) -> float:
        return min(most, max(least, up(one, amount)))

    if one.frozen:
        return Said(have, one.frozen[0])
    if not one.levers:
        return Said(have, "no_lever")
    one_step = max(least, up(one, have * (1 - rules.shrink_step_share)))
    if one_step >= have:
        one_step = down(one, have - one.granule)
    if one.cap is not None:
        limit = max(least, down(one, one.cap))
        if limit < have and one.resource == "cpu":
            return Said(limit, "capped")
        if limit < have:
            if one.seen.latest is None or one.seen.confidence < 0.5:
                return Said(have, "capped")
            return Said(min(have, max(limit, one_step, in_use_kept(one, rules))), "capped")
    if one.peak is None:
        return Said(have, "no_forecast")
    wanted = max(one.peak.wanted + one.seen.overhead, in_use(one, rules))
    goal = fit(wanted)
    if goal == have:
        if wanted <= most:
            return Said(have, "at_target")
        return Said(have, "at_ceiling" if one.cap is None else "capped")
    if goal > have:
        if goal - have < tier.dead_band * have and not one.seen.censored and have >= least:
            return Said(have, "dead_band")
        return Said(goal, "below_floor" if have < least and goal <= least else "peak_above")
    for name, passed in permissions(one, tier, rules):
        if not passed:
            return Said(have, name)
    seen, held = fit((one.seen.hold_peak or 0.0) + one.seen.overhead), fit(one.held or 0.0)
    stays = in_use_kept(one, rules) if in_use(one, rules) > 0 else 0.0
    kept = max(goal, seen, held, stays)
    band = (rules.shrink_band or tier.dead_band) * have
    if have - kept < band:
        if have - goal < band:
            return Said(have, "dead_band")
        if have - stays < band:
            return Said(have, "working_set")
        return Said(have, "hold_time" if held >= seen else "observed_high")
    target = max(kept, one_step)
    return Said(target, "peak_below") if target < have else Said(have, "at_target")


def permissions(one: One, tier: Tier, rules) -> list[tuple[str, bool]]:
    said = {
        "tier_keeps": tier.may_shrink,
        "young": one.seen.age_s >= rules.young_s,
        "unobserved": one.seen.hold_peak is not None,
        "censored": not one.seen.censored,
        "low_confidence": one.resource == "cpu" or one.seen.confidence >= 0.5,
        "anomalous": not one.anomalous,
        "forecast_old": one.made_s <= 3600 or one.peak.source == NO_FORECAST,
        "step_time": one.since_shrink_s is None or one.since_shrink_s >= rules.step_s,
    }
    return [(name, said[name]) for name in PERMISSIONS]


def reactive(one: One, tier: Tier) -> float | None:
    """The same rule with measured maxima for forecasts."""
    if one.peak is None:
        return None
    if one.peak.source == NO_FORECAST:
        return slow(one, tier).target
    if one.seen.window_peak is None:
        return None
    held = None if one.seen.hold_max is None else one.seen.hold_max + one.seen.overhead
    last = one.seen.window_peak
    peak = type(one.peak)(median=last, wanted=last, quantile=1.0, source=NO_FORECAST, reason="", age_s=0.0)
    return slow(replace(one, peak=peak, held=held), tier).target


# -- side by side -----------------------------------------------------------------------------------------------------


@settings(max_examples=max(20, LONG // 20), deadline=None)
@given(seeds, resources)
def test_columns_say_what_the_slow_rule_says(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    for i, (one, tier) in enumerate(zip(ones, tiers, strict=True)):
        said, without = slow(one, tier), reactive(one, tier)
        assert (found.codes[found.code[i]], found.target[i]) == (said.code, said.target), (one, tier)
        assert (found.floor[i], found.ceiling[i]) == bounds(one, tier), one
        assert CHOICES[found.choice[i]] == (
            "grow" if said.target > one.allocation else "shrink" if said.target < one.allocation else "hold"
        )
        assert found.reactive[i] == without if without is not None else np.isnan(found.reactive[i])


@settings(max_examples=max(10, LONG // 200), deadline=None)
@given(seeds, resources)
def test_every_row_can_be_told_and_its_words_agree_with_its_columns(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    for i, tier in enumerate(tiers):
        told = sizing(found, i, tier.name, "hv1")
        assert told.reason
        assert (told.target, told.choice.value) == (found.target[i], CHOICES[found.choice[i]])
        assert told.gates
        assert all(g.detail for g in told.gates), told
        assert "nan" not in f"{told.reason} {told.gates}", "a number that nobody has is not told"
        refused = {g.name for g in told.gates if not g.passed}
        assert told.choice.value != "hold" or told.code in refused or told.code == "at_target", told
