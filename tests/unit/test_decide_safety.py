"""Circuit breakers: what halts which scope, for how long, how it ends; and measurements that are missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from foreshape_controller.decide.safety import (
    BreakerRule,
    Ended,
    Total,
    Trial,
    checked,
    cleared,
    closed,
    failing,
    fall,
    inside,
    opened,
    silence,
    step,
    tried,
)
from foreshape_controller.model.brakes import Halt

pytestmark = pytest.mark.unit

RULE = BreakerRule(server_failures=3, host_failures=6, host_share=0.5, cloud_failures=20, cloud_share=0.3, base_s=300, most_s=3600)


def open_one(now=0.0, scope="server:a", kind="failures", before=None) -> Halt:
    return opened(before, scope, kind, "3 orders failed", now, RULE)


def ended(*good, server="a", host="h1", at=0.0):
    return [Ended(server, host, at + i, g) for i, g in enumerate(good)]


def scopes(told, since=None):
    return [scope for scope, _ in failing(told, since or {}, RULE)]


# -- the life of a halt -----------------------------------------------------------------------------------------------


def test_a_halt_ends_by_a_good_trial():
    halt = open_one()
    assert step(halt, Trial.NONE, 299, RULE) == halt
    half = step(halt, Trial.NONE, 300, RULE)
    assert (half.state, half.since) == ("half_open", 300)
    assert step(half, Trial.NONE, 9999, RULE) == half, "it waits for a trial"
    assert step(half, Trial.NONE, 300 + 86400, RULE).state == "closed", "nothing was to be tried there for a day"
    assert step(half, Trial.GOOD, 400, RULE).state == "closed"


def test_each_bad_trial_halts_twice_as_long_up_to_the_most():
    halt, now, lasted = open_one(), 0.0, []
    for _ in range(6):
        lasted.append(halt.until - halt.since)
        now = halt.until
        half = step(halt, Trial.NONE, now, RULE)
        halt = step(half, Trial.BAD, now, RULE)
    assert lasted == [300, 600, 1200, 2400, 3600, 3600]


def test_what_opens_again_within_a_day_opens_for_longer_and_a_day_later_does_not():
    over = closed(open_one(), 300)
    assert opened(over, "server:a", "failures", "again", 400, RULE).until == 400 + 600
    assert step(over, Trial.NONE, 300 + 86400, RULE) is None


def test_a_persons_word_forgets_the_trips():
    over = cleared(open_one(before=closed(open_one(), 10)), "the switch was replaced", 20)
    assert (over.state, over.trips, over.reason) == ("closed", 0, "the switch was replaced")
    assert opened(over, "server:a", "failures", "again", 30, RULE).until == 30 + 300


@pytest.mark.parametrize("kind", ["foreign", "outage"])
def test_what_no_order_can_try_is_over_when_its_time_is(kind):
    assert step(open_one(kind=kind), Trial.NONE, 300, RULE).state == "closed"


class Breaker(RuleBasedStateMachine):
    """Anything may happen in any order; the invariants hold after every step."""

    def __init__(self):
        super().__init__()
        self.now, self.halt = 0.0, None

    @rule(seconds=st.floats(0, 7200))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def trouble(self):
        if self.halt is None or not self.halt.active:
            self.halt = opened(self.halt, "host:h1", "failures", "trouble", self.now, RULE)

    @rule(trial=st.sampled_from(Trial))
    def look(self, trial):
        if self.halt is not None:
            before = self.halt
            self.halt = step(before, trial, self.now, RULE)
            if before.state == "open" and self.now < before.until:
                assert self.halt == before, "no halt ends before its time, whatever is told"
            if before.state == "open" and self.halt is not None:
                assert self.halt.state in ("open", "half_open"), "it is tried before it is over"

    @rule()
    def person(self):
        if self.halt is not None and self.halt.active:
            self.halt = cleared(self.halt, "in order", self.now)

    @invariant()
    def sound(self):
        if self.halt is None:
            return
        assert self.halt.state in ("open", "half_open", "closed")
        if self.halt.state == "open":
            checked(self.halt, RULE)


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=50, deadline=None)


# -- what is bad enough -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "halted"),
    [
        ([False] * 2, []),
        ([False] * 3, ["server:a"]),
        ([False, False, True], []),  # the last one was good
        ([True, True, False, False, False], ["server:a"]),
        ([False, False, True, False, False], []),
    ],
)
def test_so_many_in_a_row_halt_a_server(told, halted):
    assert scopes(ended(*told)) == halted


def test_half_of_a_hosts_orders_halt_the_host():
    bad = [Ended(f"s{i}", "h1", i, False) for i in range(6)]
    good = [Ended(f"g{i}", "h1", i, True) for i in range(7)]
    assert scopes(bad + good[:6]) == ["host:h1"], "6 of 12"
    assert scopes(bad + good) == [], "6 of 13 are less than half"
    assert scopes(bad[:5]) == [], "5 are too few"


def test_the_cloud_is_halted_by_trouble_on_three_hosts_only():
    bad = [Ended(f"s{i}", f"h{i % 3}", i, False) for i in range(21)]
    assert "cloud" in scopes(bad)
    assert "cloud" not in scopes([Ended(e.server, f"h{i % 2}", e.issued_at, False) for i, e in enumerate(bad)])
    many_good = [Ended(f"g{i}", f"h{i % 3}", i, True) for i in range(60)]
    assert "cloud" not in scopes(bad + many_good), "21 of 81 are less than 30 %"


def test_what_was_before_a_good_trial_does_not_count():
    assert scopes(ended(False, False, False), {"server:a": 1.0}) == []


@pytest.mark.parametrize(
    ("told", "trial"),
    [
        ([], Trial.NONE),
        ([(9.0, True)], Trial.NONE),  # ordered before the trial began
        ([(10.0, True)], Trial.GOOD),
        ([(10.0, True), (11.0, False)], Trial.BAD),
    ],
)
def test_a_trial_is_what_was_ordered_since(told, trial):
    half = Halt(scope="host:h1", kind="failures", state="half_open", since=10.0, until=10.0, reason="")
    elsewhere = [Ended("x", "h2", 12.0, False)]
    assert tried(half, [*elsewhere, *(Ended("a", "h1", at, good) for at, good in told)]) is trial


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["h1", "h2", "h3"]), st.floats(0, 100), st.booleans()), max_size=60))
def test_more_good_orders_never_halt_more(rows):
    told = [Ended(*r) for r in rows]
    helped = [*told, *(Ended(s, h, 1000.0, True) for s in "abc" for h in ("h1", "h2", "h3"))]
    assert set(scopes(helped)) <= set(scopes(told))


def test_who_is_in_a_scope():
    assert [inside(s, "a", "h1") for s in ("cloud", "host:h1", "server:a", "host:h2", "server:h1")] == [True, True, True, False, False]


# -- measurements that are missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("silent", "hosts", "halts"), [(2, 5, False), (3, 5, True), (3, 15, False), (4, 15, True), (0, 0, False)])
def test_many_silent_hosts_are_an_outage_of_measurements(silent, hosts, halts):
    assert bool(silence(silent, hosts, 0.2)) is halts


def total(at, cpu, memory=1000.0, servers=100):
    return Total(at, servers, cpu, memory)


@pytest.mark.parametrize(
    ("totals", "halts"),
    [
        ([total(0, 100), total(60, 61)], False),  # 39 % less
        ([total(0, 100), total(60, 59)], True),
        ([total(0, 100), total(301, 10)], False),  # not within five minutes
        ([total(0, 100, 1000), total(60, 100, 500)], True),  # memory
        ([total(0, 100, servers=19), total(60, 10, servers=19)], False),  # too few servers to say
        ([total(0, 0), total(60, 0)], False),
        ([], False),
    ],
)
def test_a_fall_of_all_demand_is_not_believed(totals, halts):
    assert bool(fall(totals, 0.4)) is halts
