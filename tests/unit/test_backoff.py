"""What did not succeed is left alone for longer each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.loops.backoff import Backoff

pytestmark = pytest.mark.unit


@given(st.integers(1, 40))
def test_waits_double_up_to_the_most(times: int) -> None:
    backoff, at = Backoff(60.0, 900.0), 0.0
    for n in range(times):
        assert not backoff.waits("a", at)
        wait = backoff.failed("a", at)
        assert wait == min(60.0 * 2**n, 900.0)
        assert backoff.waits("a", at + wait - 1)
        at += wait


def test_each_name_waits_for_itself_and_what_is_over_is_forgotten() -> None:
    backoff = Backoff(60.0, 900.0)
    backoff.failed("a", 0.0)
    assert not backoff.waits("b", 0.0)
    backoff.keep(["b"])
    assert not backoff.waits("a", 1.0)


def test_a_clock_that_jumps_back_makes_nobody_wait() -> None:
    backoff = Backoff(60.0, 900.0)
    backoff.failed("a", 1000.0)
    assert not backoff.waits("a", 0.0)
