"""Sizes fitted into their hosts: who grows now, who is throttled, and that it settles and comes back. Each with its arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.facts import Levers
from foreshape_controller.decide.fit import BAND, Terms, fit
from foreshape_controller.decide.size import choices
from foreshape_controller.model.columns import CHOICES, CODE, CODES, Sizes
from long_support import HOSTS, HOSTS_LONG

pytestmark = pytest.mark.unit

GRANULE = 0.05


def sizes(have, target, floor, resource="cpu"):
    have, target, floor = (np.asarray(c, float) for c in (have, target, floor))
    n, none = len(have), np.zeros(len(have), np.uint32)
    return Sizes(
        resource=resource,
        choice=choices(target, have),
        code=np.zeros(n, np.int32),
        allocation=have,
        target=target,
        wanted=target,
        floor=floor,
        ceiling=np.full(n, 1e5),
        reactive=target,
        asked=none,
        passed=none,
    )


def terms(n, capacity, **columns):
    """One host; quota levers that reach everything; CPU."""
    k = (1, n)
    levers = Levers(np.ones(k, bool), np.full(k, 0.1), np.full(k, 1e5), np.full(k, 0.01))
    usual = {
        "host": np.zeros(n, np.intp),
        "weight": np.ones(n),
        "order": np.full(n, 2, np.int32),
        "used": np.full(n, np.nan),
        "least": np.zeros(n),
        "step_share": np.full(n, 0.05),
        "fixed": np.zeros(n, bool),
        "shadow": np.zeros(n, bool),
        "spare": np.zeros(n),
        "excess": np.zeros(np.size(capacity)),
        "under_way": np.full(n, np.nan),
        "granule": GRANULE,
    }
    columns = usual | {name: np.asarray(v) if name != "granule" else v for name, v in columns.items()}
    return Terms(capacity=np.atleast_1d(np.asarray(capacity, float)), levers=levers, **columns)


def said(found):
    """Choice, target and code of each server."""
    s = found.sizes
    return [(CHOICES[c], round(float(t), 6), CODES[k]) for c, t, k in zip(s.choice, s.target, s.code, strict=True)]


# -- examples ---------------------------------------------------------------------------------------------------------


def test_where_everything_fits_nothing_is_changed():
    given = sizes([1, 2], [3, 1], [0.5, 0.5])
    assert said(fit(given, terms(2, 10))) == [("grow", 3, "at_target"), ("shrink", 1, "at_target")]


def test_a_growth_that_does_not_fit_gets_what_is_free_while_the_lower_tier_is_taken_to_its_share():
    found = fit(sizes([1, 2], [2.5, 2], [0.5, 0.2]), terms(2, 3.2, order=[3, 1], used=[2.5, 2]))
    assert said(found) == [("grow", 1.2, "host_short"), ("shrink", 0.7, "throttled")], "0.2 are free; its share is 3.2 − 2.5"
    assert found.given.tolist() == pytest.approx([0, 1.3])
    assert found.awaited.tolist() == pytest.approx([1.3, 0])


def test_the_growth_follows_when_the_shrink_is_proven():
    assert said(fit(sizes([1.2, 0.7], [2.5, 2], [0.5, 0.2]), terms(2, 3.2, order=[3, 1], used=[2.5, 2]))) == [
        ("grow", 2.5, "at_target"),
        ("hold", 0.7, "host_full"),
    ]


def test_what_a_hard_cap_keeps_from_a_server_is_no_shortage_of_its_host():
    """It uses 0.78 and may have 0.6: 9.4 of 10 cores are free, and a migration would not give it one of them."""
    found = fit(sizes([1.5], [0.6], [0.4]), terms(1, 10, used=[0.78]))
    assert (found.unmet.tolist(), said(found)) == ([0], [("shrink", 0.6, "at_target")])


def test_room_that_was_ordered_is_not_promised_again_before_it_is_proven():
    """Of 5 cores 2 are free. The first was ordered to grow by 1.5 and wants no more; its agent may be about to do it: 0.5 are left."""
    asked = sizes([1, 2], [1, 4], [0.5, 0.5])
    assert said(fit(asked, terms(2, 5, used=[1, 2])))[1] == ("grow", 4, "at_target")
    assert said(fit(asked, terms(2, 5, used=[1, 2], under_way=[2.5, np.nan])))[1] == ("grow", 2.5, "host_short")


def test_who_is_ordered_to_grow_may_be_ordered_the_same_again():
    found = fit(sizes([1, 2], [2.5, 4], [0.5, 0.5]), terms(2, 5, used=[1, 2], under_way=[2.5, np.nan]))
    assert said(found)[0] == ("grow", 2.5, "at_target")
    assert sum(t for _, t, _ in said(found)) == 5


def test_the_lower_tier_goes_to_its_floor_and_no_further():
    found = fit(sizes([1, 2], [4, 2], [0.5, 0.3]), terms(2, 3, order=[3, 1], used=[4, 2]))
    assert said(found)[1] == ("shrink", 0.3, "throttled")
    assert found.unmet.tolist() == pytest.approx([1.3, 1.7]), "4 + 2 used, 2.7 + 0.3 there"


def test_shadow_servers_give_first_whatever_their_tier():
    found = fit(sizes([1, 2, 2], [2, 2, 2], [0.2, 0.2, 0.2]), terms(3, 5, order=[1, 2, 3], used=[2, 2, 2], shadow=[False, False, True]))
    assert [s[2] for s in said(found)] == ["host_full", "at_target", "throttled"]
    assert said(found)[2][1] == 1


def test_an_equal_is_not_taken_what_it_uses_for_anothers_headroom():
    found = fit(sizes([1, 2], [2, 2], [0.2, 0.2]), terms(2, 3, used=[1, 2]))
    assert said(found) == [("hold", 1, "host_full"), ("hold", 2, "at_target")]


def test_what_a_host_promised_too_much_on_paper_is_left_alone_while_nobody_wants_more():
    found = fit(sizes([4, 4], [4, 4], [1, 1]), terms(2, 5, used=[0.5, 0.5]))
    assert said(found) == [("hold", 4, "at_target"), ("hold", 4, "at_target")]


def test_but_not_when_more_is_used_than_there_is():
    found = fit(sizes([2, 2], [2, 2], [0.5, 0.5]), terms(2, 3, order=[3, 1], used=[2, 2]))
    assert said(found) == [("hold", 2, "at_target"), ("shrink", 1, "throttled")]


def test_whoever_cannot_be_changed_keeps_what_it_has_and_it_counts():
    found = fit(sizes([1, 2], [2.5, 2], [0.5, 0.2]), terms(2, 3, order=[3, 1], used=[2.5, 2], fixed=[False, True]))
    assert said(found) == [("hold", 1, "host_full"), ("hold", 2, "at_target")]


def test_an_unknown_host_is_left_alone():
    assert said(fit(sizes([1], [2], [0.5]), terms(1, [], host=[-1]))) == [("grow", 2, "at_target")]


def test_a_change_that_is_not_worth_it_is_not_made():
    found = fit(sizes([1, 2], [1.1, 2], [0.2, 0.2]), terms(2, 3.05, order=[3, 1], used=[1.1, 2]))
    assert said(found)[1] == ("hold", 2, "at_target"), "0.05 of 2 cores is 2.5 %"


def test_memory_goes_by_steps_and_never_into_what_is_in_use():
    asked = sizes([1000, 4000], [3000, 4000], [500, 400], "memory")
    mine = terms(2, 5000, order=[3, 1], used=[3000, 2000], least=[1500, 2500], step_share=[0.05, 0.05], granule=16.0)
    assert said(fit(asked, mine))[1] == ("shrink", 3808, "throttled"), "5 % of 4000 is one step: 3800, up to the next 16"
    nearly = replace(mine, least=np.array([1500.0, 3700.0]), step_share=np.array([0.1, 0.1]))
    assert said(fit(asked, nearly))[1] == ("shrink", 3712, "throttled"), "3600 would be a step, but 3700 are in use with their margin"
    unknown = replace(mine, least=np.array([1500.0, np.nan]))
    assert said(fit(asked, unknown))[1] == ("hold", 4000, "at_target"), "nobody knows what is in use"


def test_memory_in_use_stays_where_no_lever_reaches_so_high():
    """2000 of its 6000 came by a lever that cannot be used now; the balloon reaches 4000, and 5000 are in use with their margin."""
    asked = sizes([1000, 6000], [3000, 6000], [500, 400], "memory")
    levers = Levers(np.ones((1, 2), bool), np.full((1, 2), 256.0), np.full((1, 2), 4000.0), np.ones((1, 2)))
    mine = replace(terms(2, 7000, order=[3, 1], used=[3000, 4500], least=[1500, 5000], granule=16.0), levers=levers)
    assert said(fit(asked, mine))[1] == ("hold", 6000, "at_target")


def test_a_share_binds_the_agent_as_long_as_more_is_wanted_than_there_is():
    short = fit(sizes([1, 2], [2.5, 2], [0.5, 0.2]), terms(2, 3.2, order=[3, 1], used=[2.5, 2])).sizes.inputs["limit"]
    assert np.isnan(short[0]), "the higher tier may answer pressure"
    assert short[1] == pytest.approx(0.7)
    assert np.isnan(fit(sizes([1, 2], [2.5, 2], [0.5, 0.2]), terms(2, 9)).sizes.inputs["limit"]).all()


def test_a_plan_that_knows_nothing_of_a_server_leaves_its_share_as_it_was():
    blind = replace(sizes([1], [1], [0.5]), code=np.array([CODE["no_forecast"]], np.int32))
    assert np.isinf(fit(blind, terms(1, 5)).sizes.inputs["limit"]).all()


def test_on_a_host_at_risk_growth_of_lower_tiers_waits_as_far_as_needed():
    asked = sizes([1, 1, 1], [2, 2, 2], [0.5, 0.5, 0.5])
    found = fit(asked, terms(3, 10, order=[1, 2, 3], excess=[1.5]))
    assert said(found) == [("hold", 1, "host_risk"), ("grow", 1.5, "host_risk"), ("grow", 2, "at_target")]
    found = fit(asked, terms(3, 10, order=[2, 2, 2], excess=[1.5]))
    assert [s[0] for s in said(found)] == ["grow"] * 3, "there is no lower tier"
    below = sizes([0.1, 1], [2, 2], [0.5, 0.5])
    assert said(fit(below, terms(2, 10, order=[1, 3], excess=[9.0])))[0][1] == 0.5, "up to its floor it may"


# -- properties -------------------------------------------------------------------------------------------------------


def drawn(seed, n):
    rng = np.random.default_rng(seed)
    have, floor = rng.uniform(0.1, 4, n).round(2), rng.uniform(0.1, 1, n).round(2)
    target = np.maximum(floor, np.where(rng.random(n) < 0.4, have, rng.uniform(0.1, 5, n).round(2)))
    asked = sizes(have, target, floor)
    mine = terms(
        n,
        rng.uniform(0.5, 12, HOSTS),
        host=rng.integers(-1, HOSTS, n),
        weight=rng.integers(1, 9, n).astype(float),
        order=rng.integers(1, 4, n).astype(np.int32),
        used=np.where(rng.random(n) < 0.2, np.nan, rng.uniform(0, 5, n).round(2)),
        fixed=rng.random(n) < 0.15,
        shadow=rng.random(n) < 0.15,
        excess=rng.uniform(0, 3, HOSTS) * (rng.random(HOSTS) < 0.3),
    )
    return asked, mine


worlds = st.builds(drawn, st.integers(0, 2**32), st.integers(1, 5 * HOSTS))


@given(worlds)
@settings(max_examples=HOSTS_LONG, deadline=None)
def test_nobody_falls_below_its_floor_or_grows_above_its_target_or_is_touched_when_fixed(world):
    asked, mine = world
    found = fit(asked, mine).sizes
    assert (found.target >= np.minimum(asked.floor, asked.allocation) - GRANULE).all()
    assert (found.target >= np.minimum(np.minimum(asked.floor, asked.allocation), asked.target) - 1e-6).all()
    assert (found.target <= np.maximum(asked.target, asked.allocation) + 1e-6).all()
    assert (found.target[mine.fixed] >= np.minimum(asked.target, asked.allocation)[mine.fixed] - 1e-6).all()


@given(worlds)
@settings(max_examples=HOSTS_LONG, deadline=None)
def test_what_may_grow_at_once_fits_beside_what_is_still_there(world):
    asked, mine = world
    found = fit(asked, mine).sizes
    held = np.maximum(found.target, found.allocation)  # a shrink is not proven yet
    promised = np.maximum(asked.allocation, np.minimum(asked.floor, asked.target))
    for h, capacity in enumerate(mine.capacity):
        here = mine.host == h
        assert held[here].sum() <= max(capacity, promised[here].sum()) + 1e-6


@given(worlds)
@settings(max_examples=HOSTS_LONG, deadline=None)
def test_carried_out_again_and_again_it_settles_and_nobody_swings(world):
    """Needs stay; every plan is carried out. Most are done after two plans; where nobody knows what a server uses, all it has counts,
    which falls with it, and so it may come down in some more steps."""
    asked, mine = world
    have, moves = asked.allocation, [1.0]
    while moves[-1] > 1e-6 and len(moves) < 60:
        goal = np.where(mine.fixed, have, asked.target)
        found = fit(sizes(have, goal, asked.floor), mine).sizes
        moves.append(float(np.abs(found.target - have).sum()))
        have = found.target
    assert moves[-1] <= 1e-6, moves


@given(worlds)
@settings(max_examples=HOSTS_LONG, deadline=None)
def test_when_there_is_room_again_everybody_recovers(world):
    asked, mine = world
    squeezed = fit(asked, mine).sizes.target
    roomy = replace(mine, capacity=np.full(HOSTS, 1e4), excess=np.zeros(HOSTS))
    found = fit(sizes(squeezed, asked.target, asked.floor), roomy).sizes
    assert found.target == pytest.approx(asked.target)


def test_a_little_more_or_less_use_each_plan_moves_nobody():
    """Demand that trembles by 2 % on a full host: less than BAND."""
    rng, have = np.random.default_rng(1), np.array([2.0, 1.0])
    moved = 0
    for _ in range(50):
        used = np.array([2.0, 2.0]) * rng.uniform(0.98, 1.0, 2)
        found = fit(sizes(have, [2.0, 2.0], [0.5, 0.5]), terms(2, 3, order=[3, 1], used=used)).sizes
        moved += int((found.target != have).sum())
        have = found.target
    assert moved <= 1
    assert BAND > 0.02
