"""The rules of sizing, one by one and all at once."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import BALLOON, HOTPLUG, HOUR, QUOTA, peak
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.plan import Choice
from size_support import One, OneSeen, bounds, size

pytestmark = pytest.mark.unit

STANDARD = DEFAULTS["standard"]
QUIET = OneSeen(window_peak=0.4, hold_peak=0.4, latest=0.4, age_s=100 * HOUR)
CPU = One("cpu", 2.0, 4.0, 4.0, 0.05, (QUOTA,), peak(1.0), QUIET)
QUIET_MIB = OneSeen(window_peak=1000, hold_peak=1000, latest=1000, confidence=0.9, age_s=100 * HOUR)
MEMORY = One("memory", 2048.0, 4096.0, 4096.0, 16.0, (BALLOON,), peak(1000), QUIET_MIB)


def test_growth_goes_to_the_peak_at_once():
    found = size(replace(CPU, peak=peak(3.62)), STANDARD)
    assert (found.choice, found.target, found.code) == (Choice.GROW, 3.65, "peak_above")


def test_growth_stops_at_the_ceiling_and_says_so():
    found = size(replace(CPU, peak=peak(9.0)), STANDARD)
    assert found.target == 4.0
    assert [g.passed for g in found.gates if g.name == "ceiling"] == [False]


def test_beyond_the_quotas_range_whole_vcpus_are_plugged():
    facts = replace(CPU, ceiling=8.0, levers=(QUOTA, HOTPLUG), peak=peak(4.3))
    assert size(facts, STANDARD).target == 5.0


def test_the_ceiling_is_what_usable_levers_reach():
    assert size(replace(CPU, ceiling=8.0, peak=peak(7.0)), STANDARD).ceiling == 4.0


def test_without_a_lever_it_holds_and_says_why():
    found = size(replace(CPU, levers=(), no_lever="cpu.quota: no cgroup"), STANDARD)
    assert (found.choice, found.code) == (Choice.HOLD, "no_lever")
    assert "no cgroup" in found.reason


def test_a_shrink_takes_at_most_one_step():
    found = size(replace(CPU, allocation=4.0, peak=peak(0.5)), STANDARD)
    assert (found.choice, found.target, found.code) == (Choice.SHRINK, 2.0, "peak_below")


def test_memory_shrinks_by_five_percent():
    found = size(MEMORY, STANDARD)
    assert (found.choice, found.target) == (Choice.SHRINK, 1952.0), "2048 less 5 % is 1945.6, up to the next 16"


def test_memory_keeps_the_working_set_and_its_margin():
    tight = replace(MEMORY, allocation=1400.0, peak=peak(300))
    found = size(tight, STANDARD)
    assert found.wanted == 1200.0, "1000 in use and 20 % above it"
    assert found.target >= 1200.0


def test_memory_in_use_stays_where_no_lever_reaches_so_high():
    """6144 by a balloon that reaches 4096 and by virtio-mem that cannot be used now; 5000 are in use, 6000 with their margin."""
    stuck = replace(MEMORY, allocation=6144.0, entitlement=8192.0, ceiling=8192.0, peak=peak(3000), seen=replace(QUIET_MIB, latest=5000.0))
    found = size(stuck, STANDARD)
    assert (found.choice, found.code) == (Choice.HOLD, "working_set")
    assert size(replace(stuck, cap=2048.0), STANDARD).choice is Choice.HOLD, "nor for a hard cap"


def test_a_small_working_set_keeps_the_room_the_agent_insists_on():
    small = replace(MEMORY, peak=peak(50), seen=replace(QUIET_MIB, latest=100.0, hold_peak=100.0))
    assert size(small, STANDARD).wanted == 164.0, "20 % of 100 are less than 64 MiB"


def test_a_predicted_rise_of_memory_has_room_for_the_guests_kernel():
    found = size(replace(MEMORY, peak=peak(3000), seen=replace(QUIET_MIB, overhead=100.0)), STANDARD)
    assert (found.choice, found.target) == (Choice.GROW, 3104.0), "3000 of demand and 100 beside it, in granules of 16"


def test_whole_vcpus_shrink_one_at_a_time_where_a_step_is_less():
    one_by_one = msgspec.structs.replace(STANDARD, cpu=msgspec.structs.replace(STANDARD.cpu, shrink_step_share=0.1))
    found = size(replace(CPU, allocation=4.0, levers=(HOTPLUG,), peak=peak(0.5)), one_by_one)
    assert (found.choice, found.target) == (Choice.SHRINK, 3.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seen": replace(QUIET, age_s=5 * HOUR)}, "young"),
        ({"seen": replace(QUIET, censored=True)}, "censored"),
        ({"seen": replace(QUIET, hold_peak=None)}, "unobserved"),
        ({"seen": replace(QUIET, hold_peak=1.97)}, "observed_high"),
        ({"held": 1.99}, "hold_time"),
        ({"frozen": ("stale", "silent for 90 s")}, "stale"),
        ({"peak": None}, "no_forecast"),
        ({"peak": peak(1.85)}, "dead_band"),
        ({"peak": peak(2.1)}, "dead_band"),
        ({"peak": peak(2.0)}, "at_target"),
    ],
)
def test_each_rule_that_holds_gives_its_own_reason(changes, code):
    found = size(replace(CPU, **changes), STANDARD)
    assert (found.choice, found.target, found.code) == (Choice.HOLD, 2.0, code)
    assert found.reason
    assert any(g.name == code and not g.passed for g in found.gates)


def test_memory_that_is_only_guessed_never_shrinks():
    guessed = replace(MEMORY, seen=replace(QUIET_MIB, confidence=0.4))
    assert size(guessed, STANDARD).code == "low_confidence"
    assert size(replace(guessed, peak=peak(3000)), STANDARD).choice is Choice.GROW, "growth trusts the forecast"


def test_a_tier_may_forbid_shrinking():
    assert size(CPU, msgspec.structs.replace(STANDARD, may_shrink=False)).code == "tier_keeps"


def test_at_the_cap_the_dead_band_does_not_hold_growth_back():
    found = size(replace(CPU, peak=peak(2.1), seen=replace(QUIET, censored=True)), STANDARD)
    assert (found.choice, found.target) == (Choice.GROW, 2.1)


def test_below_its_floor_a_server_grows_whatever_is_predicted():
    found = size(replace(CPU, allocation=0.2, peak=peak(0.1), seen=replace(QUIET, latest=0.1)), STANDARD)
    assert (found.choice, found.target, found.code) == (Choice.GROW, 0.4, "below_floor"), "10 % of 4 cores"


def test_even_a_little_below_its_floor_is_too_little():
    found = size(replace(CPU, allocation=0.38, peak=peak(0.1), seen=replace(QUIET, latest=0.1)), STANDARD)
    assert (found.choice, found.target) == (Choice.GROW, 0.4), "5 % are less than the dead band, and a promise all the same"


def test_use_near_its_cap_grows_by_a_margin_whatever_was_predicted():
    """1.9 of 2.0 cores are 95 %: 1.9 + 20 % = 2.28 are wanted, up to 2.3. At 1.89 the forecast of 1.0 is believed."""
    found = size(replace(CPU, peak=peak(1.0), seen=replace(QUIET, latest=1.9)), STANDARD)
    assert (found.choice, found.target, found.code) == (Choice.GROW, 2.3, "peak_above")
    assert found.reason == "2.28 cores in use, its margin included, is above its 2.00 cores"
    assert size(replace(CPU, peak=peak(1.0), seen=replace(QUIET, latest=1.89)), STANDARD).choice is Choice.SHRINK


def test_a_shrink_has_a_band_of_its_own():
    """Of 2.0 cores 1.4 are 30 % away: worth it. 1.45 are not, though the tier's dead band is 10 %."""
    assert size(replace(CPU, peak=peak(1.4)), STANDARD).target == 1.4
    held = size(replace(CPU, peak=peak(1.45)), STANDARD)
    assert (held.choice, held.code, held.reason) == (Choice.HOLD, "dead_band", "1.45 cores wanted: less than 30% away")
    plain = msgspec.structs.replace(STANDARD, cpu=msgspec.structs.replace(STANDARD.cpu, shrink_band=0.0))
    assert size(replace(CPU, peak=peak(1.45)), plain).target == 1.45, "0 is the tier's dead band"


def test_a_ceiling_below_what_levers_reach_is_kept():
    assert size(replace(CPU, ceiling=3.0, peak=peak(9.0)), STANDARD).target == 3.0


def test_at_its_ceiling_a_server_stays_and_the_reason_says_so():
    found = size(replace(CPU, allocation=4.0, peak=peak(5.0)), STANDARD)
    assert (found.choice, found.code) == (Choice.HOLD, "at_ceiling")
    assert "5.00 cores" in found.reason


def test_a_raised_floor_holds_memory_up():
    assert size(replace(MEMORY, allocation=1500.0, raised_floor=2000.0), STANDARD).target == 2000.0


def test_the_forecast_is_worth_the_difference_to_the_last_half_hour():
    found = size(replace(CPU, peak=peak(3.0), seen=replace(QUIET, window_peak=1.95)), STANDARD)
    assert (found.target, found.reactive_target) == (3.0, 2.0)
    assert found.changed_by_forecast
    held = size(replace(CPU, held=1.99), STANDARD)
    assert (held.target, held.reactive_target) == (2.0, 1.0), "what earlier forecasts wanted is the forecast's doing as well"
    peaked = replace(CPU.seen, hold_max=2.0)
    both = size(replace(CPU, held=2.0, seen=peaked), STANDARD)
    assert not both.changed_by_forecast, "a rule without forecasts would have seen that peak, and would hold it as long"
    same = size(replace(CPU, peak=peak(3.0), seen=replace(QUIET, window_peak=3.0)), STANDARD)
    assert not same.changed_by_forecast


def test_where_nobody_looked_ahead_nothing_is_the_forecasts_doing():
    measured = msgspec.structs.replace(peak(3.0), source=NO_FORECAST)
    found = size(replace(CPU, peak=measured, held=3.5, seen=replace(QUIET, window_peak=1.95)), STANDARD)
    assert found.target == found.reactive_target == 3.0
    assert not found.changed_by_forecast
    assert "predicted" not in found.reason


# -- properties -------------------------------------------------------------------------------------------------------

cores = st.floats(0.05, 16)
tiers = st.sampled_from(list(DEFAULTS.values()))


@st.composite
def cases(draw):
    """CPU facts of every kind, with the allocation somewhere the levers can have put it."""
    sold = draw(st.integers(1, 8))
    quota = msgspec.structs.replace(QUOTA, highest=float(sold))
    hotplug = msgspec.structs.replace(HOTPLUG, highest=float(sold + draw(st.integers(0, 4))))
    levers = draw(st.sampled_from([(quota,), (hotplug,), (quota, hotplug)]))
    seen = OneSeen(
        window_peak=draw(st.none() | cores),
        hold_peak=draw(st.none() | cores),
        latest=draw(cores),
        censored=draw(st.booleans()),
        age_s=draw(st.floats(0, 48 * HOUR)),
    )
    return One(
        resource="cpu",
        allocation=draw(st.floats(0.1, float(sold))),
        entitlement=float(sold),
        ceiling=hotplug.highest,
        granule=0.05,
        levers=levers,
        peak=peak(draw(cores)),
        seen=seen,
        held=draw(st.none() | cores),
    )


def on_grid(amount, granule):
    return abs(amount / granule - round(amount / granule)) < 1e-6


@given(cases(), tiers)
def test_a_target_lies_between_floor_and_ceiling(facts, tier):
    found = size(facts, tier)
    floor, ceiling = bounds(facts, tier)
    assert floor <= ceiling
    if found.choice is not Choice.HOLD:
        assert floor - 1e-9 <= found.target <= ceiling + 1e-9


@given(cases(), tiers)
def test_a_target_is_something_a_lever_can_do_unless_it_is_a_bound(facts, tier):
    found = size(facts, tier)
    grain = min(c.granule for c in facts.levers)
    grain = 1.0 if grain == 1.0 else 0.05
    moved = found.choice is not Choice.HOLD
    assert not moved or on_grid(found.target, grain) or found.target in bounds(facts, tier)


@given(cases(), tiers)
def test_nothing_moves_inside_the_dead_band(facts, tier):
    found = size(facts, tier)
    small = abs(found.target - facts.allocation) < tier.dead_band * facts.allocation - 1e-9
    forced = facts.seen.censored or facts.allocation < found.floor or found.choice is Choice.SHRINK
    assert found.choice is Choice.HOLD or not small or forced


@given(cases(), tiers)
def test_a_shrink_takes_no_more_than_a_step_or_one_granule(facts, tier):
    found = size(facts, tier)
    granule = max(c.granule for c in facts.levers)
    assert facts.allocation - found.target <= max(tier.cpu.shrink_step_share * facts.allocation, granule) + 1e-9


@given(cases(), tiers, st.sampled_from(["stale", "censored", "young"]))
def test_stale_censored_and_young_servers_never_shrink(facts, tier, trouble):
    changes = {
        "stale": {"frozen": ("stale", "silent")},
        "censored": {"seen": replace(facts.seen, censored=True)},
        "young": {"seen": replace(facts.seen, age_s=tier.cpu.young_s - 1)},
    }
    found = size(replace(facts, **changes[trouble]), tier)
    assert found.target >= facts.allocation
    assert found.choice is not Choice.SHRINK


@given(cases(), tiers, cores)
def test_who_wants_more_gets_no_less(facts, tier, more):
    wanted = facts.peak.wanted
    larger = replace(facts, peak=peak(wanted + more))
    assert size(larger, tier).target >= size(facts, tier).target - 1e-9


@given(cases(), tiers)
def test_a_target_reached_by_growth_is_kept(facts, tier):
    found = size(facts, tier)
    if found.choice is Choice.GROW:
        again = size(replace(facts, allocation=found.target), tier)
        assert again.choice is not Choice.GROW
        assert again.target == found.target or again.choice is Choice.SHRINK
        assert size(replace(facts, allocation=found.target, seen=replace(facts.seen, censored=True)), tier).target == found.target


@given(cases(), tiers)
def test_every_answer_has_a_code_a_sentence_and_its_gates(facts, tier):
    found = size(facts, tier)
    assert found.code
    assert found.reason
    assert found.gates
    assert (found.choice is Choice.HOLD) == (found.target == facts.allocation)
