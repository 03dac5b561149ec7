"""Token buckets: what is allowed in the long run and at once, and who is never limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.api.limits import MOST, Buckets, Limits, neighbours
from foreshape_controller.errors import TooMany
from foreshape_controller.model.caller import OPERATOR, Caller

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(per_minute=st.integers(1, 10_000), gaps=st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_a_half_at_once_and_the_rate_after(per_minute, gaps):
    clock, taken = Clock(), 0
    buckets = Buckets(per_minute, clock)
    for gap in gaps:
        clock.now += gap
        taken += buckets.take("p") == 0.0
    assert taken <= max(1.0, per_minute / 2) + clock.now * per_minute / 60 + 1e-6


@given(per_minute=st.integers(1, 10_000), used=st.integers(1, 300))
def test_whoever_waits_as_long_as_he_is_told_is_let_in(per_minute, used):
    clock = Clock()
    buckets = Buckets(per_minute, clock)
    for _ in range(used):
        buckets.take("p")
    clock.now += buckets.wait("p") + 1e-6
    assert buckets.wait("p") == 0.0
    assert buckets.take("p") == 0.0


def test_one_project_does_not_use_up_anothers():
    limits = Limits(2, 2, Clock())
    noisy, calm = (Caller(user="u", project=p) for p in ("p1", "p2"))
    limits.count(noisy)
    with pytest.raises(TooMany) as e:
        limits.count(noisy)
    assert e.value.delay == pytest.approx(30.0)
    limits.count(calm)


def test_operators_are_not_limited():
    limits = Limits(1, 1, Clock(), 1)
    for _ in range(100):
        limits.count(OPERATOR, writes=True)


def test_who_writes_too_often_may_still_read():
    limits = Limits(600, 2, Clock(), writes_per_minute=4)
    busy, calm = (Caller(user="u", project=p) for p in ("p1", "p2"))
    limits.count(busy, writes=True)
    limits.count(busy, writes=True)
    with pytest.raises(TooMany, match="writes_per_minute") as e:
        limits.count(busy, writes=True)
    assert e.value.delay == pytest.approx(15.0)
    limits.count(busy)
    limits.count(calm, writes=True)


def test_names_are_forgotten_and_memory_is_bounded():
    buckets = Buckets(60, Clock())
    for i in range(MOST + 100):
        buckets.take(f"address-{i}")
    assert len(buckets._of) == MOST


def test_an_address_with_too_many_failures_is_told_so_before_keystone_is():
    limits = Limits(600, 10, Clock())
    for _ in range(5):
        limits.failed("a")
    with pytest.raises(TooMany):
        limits.failed("a")
    with pytest.raises(TooMany):
        limits.may_fail("a")
    limits.may_fail("b")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_whose_failures_are_counted_together(address, counted):
    assert neighbours(address) == counted


def test_another_address_of_the_same_network_is_no_way_around():
    limits = Limits(600, 2, Clock())
    limits.failed("2001:db8::1")
    with pytest.raises(TooMany):
        limits.may_fail("2001:db8::2")
    limits.may_fail("2001:db8:0:1::2")
