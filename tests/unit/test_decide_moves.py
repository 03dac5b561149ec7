"""What a migration costs, when it may begin, and how long a server then rests."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.moves import (
    FIXED_S,
    LEAST_LIMIT_S,
    MOST_FACTOR,
    MOST_STOP_FACTOR,
    STOP_S,
    Limits,
    Link,
    Past,
    Queued,
    admit,
    cooldown_s,
    cost,
    in_order,
    learn,
    learn_downtime,
    rests,
    time_limit_s,
    worth,
)
from long_support import LONG

pytestmark = pytest.mark.unit

LINK = Link(mib_s=1000.0)


def one(used: float, dirty: float, link: Link = LINK) -> tuple[float, float]:
    found = cost(np.array([used]), np.array([dirty]), link)
    return float(found.duration_s[0]), float(found.downtime_s[0])


def test_a_quiet_server_is_copied_once():
    duration, downtime = one(8000, 0)
    assert duration == pytest.approx(8.0 + FIXED_S), "8,000 MiB at 1,000 MiB/s"
    assert downtime == STOP_S, "nothing was written meanwhile"


def test_a_busy_server_is_copied_in_shrinking_rounds():
    duration, downtime = one(8000, 250)
    assert duration - FIXED_S == pytest.approx(8 + 2 + 0.5), "r = 0.25: 8,000, 2,000, then 500 MiB, which fit into 0.5 s"
    assert downtime == pytest.approx(0.5 + STOP_S)


def test_what_fits_into_the_downtime_needs_no_round():
    assert one(400, 900) == pytest.approx((0.4 + FIXED_S, 0.4 + STOP_S))


@pytest.mark.parametrize("dirty", [1000.0, 5000.0, math.nan, math.inf, -1.0])
def test_a_server_that_writes_as_fast_as_the_link_never_ends(dirty):
    assert one(8000, dirty) == (math.inf, math.inf)


def test_one_that_would_need_too_many_rounds_counts_as_never_ending():
    assert one(8000, 950)[0] == math.inf, "ln(500/8000)/ln(0.95) = 54 rounds, more than 30"


def test_without_a_link_nothing_ends():
    assert one(8000, 0, Link(mib_s=0.0)) == (math.inf, math.inf)


def test_the_disk_is_copied_along_in_a_block_migration():
    found = cost(np.array([8000.0]), np.array([0.0]), LINK, np.array([20_000.0]))
    assert found.duration_s[0] == pytest.approx(28 + FIXED_S)


def _by_rounds(used: float, dirty: float, link: Link) -> tuple[float, float]:
    """The same, round by round."""
    left, taken = used, 0.0
    for _ in range(200):
        taken += left / link.mib_s
        if left <= link.mib_s * link.downtime_s * (1 + 1e-12):
            return taken + FIXED_S, left / link.mib_s + STOP_S
        left *= dirty / link.mib_s
    return math.inf, math.inf


@settings(max_examples=min(LONG, 1000))
@given(st.floats(1, 1e6), st.floats(0, 800), st.floats(0.05, 2))
def test_the_closed_form_is_the_sum_of_the_rounds(used, dirty, downtime):
    link = Link(mib_s=1000.0, downtime_s=downtime)
    found = one(used, dirty, link)
    if math.isfinite(found[0]):
        assert found == pytest.approx(_by_rounds(used, dirty, link), rel=1e-6, abs=1e-6)


@settings(max_examples=min(LONG, 1000))
@given(st.floats(1, 1e6), st.floats(0, 2000), st.floats(1, 2), st.floats(0, 100))
def test_more_memory_and_more_writing_never_take_less(used, dirty, times, more):
    assert one(used * times, dirty)[0] >= one(used, dirty)[0] - 1e-6
    assert one(used, dirty + more)[0] >= one(used, dirty)[0] - 1e-6
    assert one(used, dirty)[1] <= LINK.downtime_s + STOP_S + 1e-9 or one(used, dirty)[1] == math.inf


def test_the_time_limit_follows_the_server():
    assert time_limit_s(10) == LEAST_LIMIT_S
    assert time_limit_s(1000) == 3000
    assert time_limit_s(math.inf) == LEAST_LIMIT_S


def test_the_links_factor_learns_from_what_was_measured():
    factor = 1.0
    for _ in range(100):
        factor = learn(factor, FIXED_S + 10 * factor, FIXED_S + 20, factor)
    assert factor == pytest.approx(2.0, rel=0.01), "it takes twice the formula's time"
    assert learn(1.3, math.inf, 20, 1.3) == 1.3
    assert learn(1.3, 20, math.nan, 1.3) == 1.3
    assert learn(4.0, 10, 1e9, 4.0) == 4.0


def test_the_links_downtimes_are_learnt_the_same_way():
    factor = 1.0
    for _ in range(100):
        predicted = one(8000, 250, Link(mib_s=1000.0, stop_factor=factor))[1]
        factor = learn_downtime(factor, predicted, 0.11, factor)
    assert factor == pytest.approx(0.2, rel=0.01), "0.11 s of the formula's 0.55"
    assert learn_downtime(1.0, 0.55, 0.0, 1.0) == learn_downtime(1.0, 0.55, 0.001, 1.0), "libvirt counts milliseconds"
    assert learn_downtime(1.3, 0.55, -0.1, 1.3) == 1.3


factors, times = st.floats(1 / MOST_FACTOR, MOST_FACTOR), st.floats(0.001, 1e6)


@given(factors, factors, times, times, times)
def test_what_is_learnt_lies_between_what_was_known_and_what_would_have_been_right(factor, used, predicted, one_time, other):
    for better, fixed, most in ((learn, FIXED_S, MOST_FACTOR), (learn_downtime, 0.0, MOST_STOP_FACTOR)):
        right = min(most, max(1 / most, used * one_time / predicted))
        after = better(factor, fixed + predicted, fixed + one_time, used)
        assert min(factor, right) * (1 - 1e-6) <= after <= max(factor, right) * (1 + 1e-6)
        longer = better(factor, fixed + predicted, fixed + max(one_time, other), used)
        assert longer >= after * (1 - 1e-9), "what took longer never makes the next prediction shorter"


@given(factors, st.floats(0.3, 3.0), st.integers(1, 60))
def test_many_that_were_predicted_at_once_never_teach_more_than_each_of_them(used, ratio, many):
    """Each took ``ratio`` times what was predicted with the same factor: that many times the factor, however many there were."""
    factor, right = used, min(MOST_STOP_FACTOR, max(1 / MOST_STOP_FACTOR, used * ratio))
    for _ in range(many):
        factor = learn_downtime(factor, 0.5, 0.5 * ratio, used)
    assert min(used, right) * (1 - 1e-6) <= factor <= max(used, right) * (1 + 1e-6)


@given(st.sampled_from([learn, learn_downtime]), st.floats(), st.floats(), st.floats())
def test_whatever_is_measured_a_factor_stays_a_factor(better, predicted, measured, used):
    assert 1 / MOST_STOP_FACTOR <= better(1.0, predicted, measured, used) <= MOST_STOP_FACTOR


def test_worth_is_what_is_avoided_less_what_it_costs():
    costs = cost(np.array([8000.0, 8000.0]), np.array([250.0, 1000.0]), LINK)
    found = worth(100.0, 2.0, costs)
    assert found[0] == pytest.approx(200 - 2 * 0.55 - 0.01 * 13.5), "weight 2, 0.55 s down, 13.5 s of copying"
    assert found[1] == -math.inf


def queued(name: str, source: str = "a", target: str = "b", **changed: float) -> Queued:
    facts = {"worth": 10.0, "duration_s": 60.0, "deadline": math.inf} | changed
    return Queued(id=name, server=f"vm-{name}", source=source, target=target, link="l", **facts)


def test_a_deadline_that_comes_goes_before_any_worth():
    rich, urgent, late = queued("rich", worth=1e6), queued("urgent", deadline=100.0), queued("late", deadline=10.0)
    assert [q.id for q in in_order([late, rich, urgent], 0.0)] == ["urgent", "rich", "late"], "late cannot keep its deadline any more"


def test_of_two_without_haste_the_one_worth_more_per_second_goes_first():
    assert [q.id for q in in_order([queued("x", worth=10, duration_s=100), queued("y", worth=9, duration_s=10)], 0.0)] == ["y", "x"]


def test_limits_say_which_one_holds():
    found = admit([queued("1"), queued("2", "a", "c"), queued("3", "d", "b"), queued("4", "e", "f")], [], Limits(cluster=2), 0.0)
    assert [q.id for q in found.begin] == ["1", "4"]
    assert found.waits["2"] == "1 under way out of a: the limit"
    assert found.waits["3"] == "1 under way into b: the limit"


def test_a_server_is_never_migrated_twice_at_once():
    again = Queued("other", "vm-1", "a", "z", "m", 1.0, 60.0, math.inf)
    assert admit([again], [queued("1")], Limits(9, 9, 9, 9), 0.0).waits == {"other": "a migration of the same server is under way"}


NAMES = st.sampled_from("abcd")
QUEUES = st.lists(
    st.builds(
        Queued,
        st.uuids().map(str),
        st.sampled_from("uvwxyz"),
        NAMES,
        NAMES,
        st.sampled_from("lm"),
        st.floats(-9, 9),
        st.floats(1, 99),
        st.floats(0, 999),
    ),
    max_size=12,
    unique_by=lambda q: q.id,
)
LIMITS = st.builds(Limits, st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))


@settings(max_examples=min(LONG, 1000))
@given(QUEUES, LIMITS, st.randoms())
def test_limits_hold_whatever_waits_and_in_whatever_order_it_is_told(queue, limits, random):
    found = admit(queue, [], limits, 0.0)
    assert len(found.begin) <= limits.cluster
    for name in "abcd":
        assert sum(q.source == name for q in found.begin) <= limits.out
        assert sum(q.target == name for q in found.begin) <= limits.into
    for name in "lm":
        assert sum(q.link == name for q in found.begin) <= limits.link
    assert len({q.server for q in found.begin}) == len(found.begin)
    assert {q.id for q in found.begin} | set(found.waits) == {q.id for q in queue}, "each begins or is told why it waits"
    shuffled = random.sample(queue, len(queue))
    assert admit(shuffled, [], limits, 0.0) == found


def test_the_cooldown_doubles_up_to_six_hours():
    minutes = [cooldown_s(60, n) / 60 for n in range(7)]
    assert minutes == [0, 15, 30, 60, 120, 240, 360]
    assert cooldown_s(3600, 2) == 7200, "a migration of an hour rests an hour, then two"
    assert cooldown_s(60, 10_000) == 6 * 3600


def test_a_server_rests_after_its_migration():
    past = Past(ended=0.0, duration_s=60.0, moves=2)
    assert "20 more minutes" in rests(past, 600.0), "30 minutes after the second, 10 are over"
    assert rests(past, 1800.0) == ""
    assert rests(None, 0.0) == ""


def test_a_server_stays_on_its_host_for_the_hold_time_whoever_moved_it():
    assert "at least 60" in rests(None, 600.0, hold_s=3600.0, seen_since=0.0)
    assert rests(None, 3600.0, hold_s=3600.0, seen_since=0.0) == ""
