"""What the size rule promises, whatever the facts: floors, ceilings, caps, gates, dead band, and that servers are strangers."""

from dataclasses import replace
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.columns import CODE, GROW, HOLD, SHRINK
from long_support import LONG
from size_support import HOUR, drawn, size, sizes, spoilt

pytestmark = pytest.mark.unit

SERVERS = 40
MANY = settings(max_examples=max(20, LONG // 20), deadline=None)
"""LONG / 20 draws of 40 servers each: twice LONG servers."""

seeds = st.integers(0, 2**62)
resources = st.sampled_from(["cpu", "memory"])


def rules(tiers, resource, name):
    return np.array([getattr(t.cpu if resource == "cpu" else t.memory, name) for t in tiers])


def amounts(ones, name):
    return np.array([np.nan if getattr(o, name) is None else getattr(o, name) for o in ones], float)


@MANY
@given(seeds, resources)
def test_nobody_is_taken_below_its_floor_or_given_more_than_its_ceiling(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    moved = found.choice != HOLD
    assert (found.floor <= found.ceiling).all()
    assert (found.target >= found.floor - 1e-9)[moved].all()
    assert (found.target <= np.maximum(found.ceiling, found.allocation) + 1e-9).all()
    assert (found.target <= found.ceiling + 1e-9)[found.choice == GROW].all()


@MANY
@given(seeds, resources)
def test_a_cap_holds_unless_the_floor_or_the_levers_are_above_it(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    for i, one in enumerate(ones):
        if one.cap is None or found.choice[i] == HOLD or (found.choice[i] == SHRINK and resource == "memory"):
            continue
        least = min((c.lowest for c in one.levers), default=0.0)
        coarse = max(c.granule for c in one.levers)
        assert found.target[i] <= max(one.cap, found.floor[i], least) + (coarse if least > one.cap else 1e-6), one


@MANY
@given(seeds, resources)
def test_what_is_uncertain_never_shrinks(seed, resource):
    """But for a hard cap, which people asked for."""
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    young, steps = rules(tiers, resource, "young_s"), rules(tiers, resource, "step_s")
    unsure = np.array([o.seen.censored or o.anomalous or o.seen.hold_peak is None or o.peak is None for o in ones])
    unsure |= np.array([o.seen.age_s for o in ones]) < young
    unsure |= amounts(ones, "since_shrink_s") < steps
    unsure |= np.array([not t.may_shrink for t in tiers])
    unsure |= np.array([o.made_s > HOUR and o.peak is not None and o.peak.source != "off" for o in ones])
    if resource == "memory":
        unsure |= np.array([o.seen.confidence < 0.5 for o in ones])
    assert not (unsure & (found.choice == SHRINK) & (found.code != CODE["capped"])).any()


@MANY
@given(seeds, resources)
def test_what_is_halted_or_silent_never_changes(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    stopped = [replace(o, frozen=("stale", "silent for 90 s")) for o in ones]
    found = sizes(stopped, tiers)
    assert (found.choice == HOLD).all()
    assert (found.target == found.allocation).all()


@MANY
@given(seeds, resources)
def test_nothing_moves_inside_the_dead_band(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    band = np.array([t.dead_band for t in tiers]) * found.allocation
    forced = np.array([o.seen.censored for o in ones]) | (found.allocation < found.floor)
    small = found.target - found.allocation < band - 1e-9
    assert not (small & (found.choice == GROW) & ~forced).any()


@MANY
@given(seeds, resources)
def test_a_shrink_takes_one_step_and_leaves_the_working_set(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    step = rules(tiers, resource, "shrink_step_share") * found.allocation
    granule = np.array([max([ones[0].granule, *(c.granule for c in o.levers)]) for o in ones])
    shrunk = found.choice == SHRINK
    within = found.allocation - step <= np.array([max([0.0, *(c.highest for c in o.levers)]) for o in ones])  # else no lever stops there
    gentle = shrunk & within & ((found.code != CODE["capped"]) | (resource == "memory"))
    assert (found.allocation - found.target <= np.maximum(step, granule) + 1e-6)[gentle].all()
    latest = np.nan_to_num(amounts([o.seen for o in ones], "latest"))
    if resource == "memory":
        margin = np.maximum(64.0, rules(tiers, resource, "margin_share") * latest)
        kept = np.where(latest > 0, latest + margin, 0.0)
        assert (found.target >= kept - 1e-6)[shrunk].all()


@MANY
@given(seeds, resources)
def test_a_growth_is_not_asked_for_twice(seed, resource):
    """Decided again on what came of it, when nothing else changed, nothing grows; only CPU use near its new cap may."""
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    again = sizes([replace(o, allocation=float(t)) for o, t in zip(ones, found.target, strict=True)], tiers)
    grew = found.choice == GROW
    assert not (grew & (again.choice == GROW)).any()
    assert (again.target <= found.target + 1e-9)[grew].all()


@settings(max_examples=max(10, LONG // 200), deadline=None)
@given(seeds, resources)
def test_plans_settle(seed, resource):
    """Plan after plan on what the last one left, and nothing else changes: sizes come to rest, and turn around once at most."""
    ones, tiers = drawn(seed, resource, SERVERS)
    turns, last = np.zeros(SERVERS), np.full(SERVERS, HOLD)
    for _ in range(150):  # 5 % steps from 8 GiB to 256 MiB are 68
        found = sizes(ones, tiers)
        turns += (last != HOLD) & (found.choice != HOLD) & (found.choice != last)
        last = np.where(found.choice != HOLD, found.choice, last)
        if (found.choice == HOLD).all():
            break
        held = np.fmax(amounts(ones, "held"), found.wanted)
        ones = [replace(o, allocation=float(t), held=float(h)) for o, t, h in zip(ones, found.target, held, strict=True)]
    assert (found.choice == HOLD).all(), [o for o, c in zip(ones, found.choice, strict=True) if c != HOLD][:1]
    assert turns.max() <= 1


@MANY
@given(seeds, resources, st.randoms(use_true_random=False))
def test_servers_are_strangers_and_their_order_means_nothing(seed, resource, random):
    ones, tiers = drawn(seed, resource, SERVERS)
    found = sizes(ones, tiers)
    order = random.sample(range(SERVERS), random.randint(1, SERVERS))
    some = sizes([ones[i] for i in order], [tiers[i] for i in order])
    for name in ("target", "choice", "wanted", "floor", "ceiling", "asked", "passed"):
        assert np.array_equal(getattr(some, name), getattr(found, name)[order]), name
    assert np.array_equal(some.reactive, found.reactive[order], equal_nan=True)
    assert [some.codes[c] for c in some.code] == [found.codes[found.code[i]] for i in order]


@MANY
@given(seeds, resources)
def test_odd_servers_are_held_and_change_nothing_for_the_others(seed, resource):
    ones, tiers = drawn(seed, resource, SERVERS)
    random = Random(seed)
    bad = [random.random() < 0.3 for _ in ones]
    mixed = [spoilt(o, random) if b else o for o, b in zip(ones, bad, strict=True)]
    with np.errstate(all="raise"):
        found, alone = sizes(mixed, tiers), sizes(ones, tiers)
    odd, fine = np.array(bad), ~np.array(bad)
    assert (found.code == CODE["odd_data"])[odd].all()
    assert (found.target == found.allocation)[odd].all()
    assert np.isfinite(found.target).all()
    assert np.array_equal(found.target[fine], alone.target[fine])
    assert np.array_equal(found.asked[fine], alone.asked[fine])


@MANY
@given(seeds, resources, st.floats(0, 4))
def test_who_is_expected_to_want_more_gets_no_less(seed, resource, more):
    ones, tiers = drawn(seed, resource, SERVERS)
    extra = more if resource == "cpu" else 1024 * more
    higher = [
        o
        if o.peak is None
        else replace(o, peak=msgspec.structs.replace(o.peak, wanted=o.peak.wanted + extra, median=o.peak.median + extra))
        for o in ones
    ]
    assert (sizes(higher, tiers).target >= sizes(ones, tiers).target - 1e-9).all()


# -- caps, agreed floors, ceilings and times, one by one --------------------------------------------------------------

STANDARD = DEFAULTS["standard"]


def calm(resource="cpu", **changes):
    """Two of four cores in use by a server that has none of the troubles."""
    one = next(o for s in range(99) for o in drawn(s, "cpu", 1)[0] if [c.lever.value for c in o.levers] == ["cpu.quota"])
    quota = msgspec.structs.replace(one.levers[0], highest=4.0)
    seen = replace(one.seen, window_peak=1.0, hold_peak=1.0, hold_max=1.0, latest=1.0, censored=False, age_s=100 * HOUR)
    quiet = {"frozen": None, "agreed": None, "cap": None, "since_shrink_s": None, "anomalous": False, "made_s": 0.0, "held": None}
    peak = drawn_peak(1.0)
    fixed = replace(one, allocation=2.0, entitlement=4.0, ceiling=4.0, levers=(quota,), seen=seen, peak=peak, **quiet)
    return replace(fixed, **changes)


def drawn_peak(wanted):
    peak = next(o.peak for s in range(99) for o in drawn(s, "cpu", 1)[0] if o.peak and o.peak.source == "baseline")
    return msgspec.structs.replace(peak, wanted=wanted, median=wanted * 0.6)


def test_a_capped_server_goes_down_at_once_and_is_told_who_asked_for_it():
    censored = replace(calm().seen, censored=True)
    found = size(
        calm(cap=1.5, cap_until=1_700_000_000.0, cap_reason="disturbs its neighbours", seen=censored, peak=drawn_peak(3.0)), STANDARD
    )
    assert (found.target, found.code) == (1.5, "capped")
    assert found.reason == "capped at 1.50 cores until 2023-11-14 22:13 UTC: disturbs its neighbours"
    at_cap = size(calm(allocation=1.5, cap=1.5, cap_until=1_700_000_000.0, cap_reason="disturbs", peak=drawn_peak(3.0)), STANDARD)
    assert (at_cap.choice.value, at_cap.code) == ("hold", "capped")
    assert at_cap.reason.startswith("wants 3.00 cores, but is capped at 1.50 cores until")


def test_a_cap_below_the_floor_stops_at_the_floor():
    assert size(calm(cap=0.1, peak=drawn_peak(3.0)), STANDARD).target == 0.4, "10 % of 4 cores were promised"


def test_a_cap_that_nobody_reaches_changes_nothing():
    assert size(calm(cap=3.5), STANDARD).target == size(calm(), STANDARD).target


def test_an_agreed_floor_stands_for_the_tiers():
    assert size(calm(agreed=0.1), STANDARD).floor == 0.1
    assert size(calm(agreed=1.5), STANDARD).floor == 1.5


def test_a_ceiling_is_a_multiple_of_what_was_sold():
    shared = msgspec.structs.replace(STANDARD, cpu=msgspec.structs.replace(STANDARD.cpu, ceiling_share=0.5))
    assert size(calm(allocation=1.0, peak=drawn_peak(3.0)), shared).target == 2.0, "half of 4 cores"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"anomalous": True}, "anomalous", "left its habits"),
        ({"made_s": 2 * HOUR}, "forecast_old", "120 minutes old, 60 minutes at most"),
        ({"since_shrink_s": 600.0}, "step_time", "shrunk 10 minutes ago, 60 minutes between two steps"),
    ],
)
def test_new_reasons_to_wait_have_their_own_words(changes, code, words):
    patient = msgspec.structs.replace(STANDARD, cpu=msgspec.structs.replace(STANDARD.cpu, step_s=HOUR))
    assert size(calm(), patient).choice.value == "shrink"
    found = size(calm(**changes), patient)
    assert (found.choice.value, found.code) == ("hold", code)
    assert words in found.reason


def test_whoever_halts_a_server_says_why():
    found = size(calm(frozen=("breaker", "5 of the last 6 orders failed")), STANDARD)
    assert (found.code, found.reason) == ("breaker", "5 of the last 6 orders failed")
    assert [(g.name, g.passed) for g in found.gates] == [("breaker", False)]
