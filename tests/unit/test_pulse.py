"""The pulse of loops: what is remembered of their runs, when one is late, and the one line that each run leaves."""

from collections.abc import Callable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.pulse import LEAST_S, PATIENCE, Beat, Pulse
from foreshape_controller.model.tally import Tally

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("every_line")]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def pulse_of(clock: Clock, every_s: float = 60.0) -> Pulse:
    pulse = Pulse(clock)
    pulse.expect("plan", every_s)
    return pulse


def broken(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_a_run_that_succeeds_is_remembered_and_says_one_line() -> None:
    clock = Clock()
    pulse = pulse_of(clock)
    with structlog.testing.capture_logs() as lines:
        pulse.run("plan", lambda: None)
    beat = pulse.beats()["plan"]
    assert (beat.succeeded, beat.runs, beat.failures, beat.begun) == (1000.0, 1, 0, None)
    assert [(x["event"], x["loop"], x["log_level"]) for x in lines] == [("loop run", "plan", "info")]


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), RuntimeError("a fault")])
def test_a_run_that_fails_is_no_success_says_one_line_and_ends_nothing(error: Exception) -> None:
    pulse = pulse_of(Clock())
    with structlog.testing.capture_logs() as lines:
        pulse.run("plan", broken(error))
    beat = pulse.beats()["plan"]
    assert (beat.succeeded, beat.runs, beat.failures, beat.begun) == (None, 0, 1, None)
    assert [(x["event"], x["loop"], x["log_level"]) for x in lines] == [("loop failed", "plan", "error")]


def test_what_runs_every_few_seconds_is_quiet() -> None:
    pulse = pulse_of(Clock(), every_s=10.0)
    with structlog.testing.capture_logs() as lines:
        pulse.run("plan", lambda: None)
    assert [x["log_level"] for x in lines] == ["debug"]


def test_a_loop_that_never_succeeds_becomes_late_and_says_since_when() -> None:
    clock = Clock()
    pulse = pulse_of(clock)
    clock.now += PATIENCE * 60.0
    assert pulse.late() == ()
    clock.now += 1.0
    (said,) = pulse.late()
    assert "loop plan, due every 60 s, succeeded never" in said


def test_one_success_makes_it_punctual_again_and_a_hanging_run_is_told() -> None:
    clock = Clock()
    pulse = pulse_of(clock)
    clock.now += 1000.0
    pulse.run("plan", lambda: None)
    assert pulse.late() == ()

    def hangs() -> None:
        clock.now += 500.0
        (said,) = pulse.late()
        assert "succeeded 500 s ago; a run has been under way for 500 s" in said

    pulse.run("plan", hangs)
    assert pulse.late() == ()


@given(st.floats(0.1, 1e5), st.floats(0, 1e6), st.floats(0, 1e6))
def test_lateness_only_grows_with_time_and_never_comes_before_patience(every_s: float, at: float, more: float) -> None:
    beat = Beat(every_s, since=0.0)
    assert beat.late(at) <= beat.late(at + more)
    assert beat.late(min(at, max(PATIENCE * every_s, LEAST_S))) == 0.0


@given(st.lists(st.floats(0, 100)))
def test_a_tally_counts_everything_once(durations: list[float]) -> None:
    tally = Tally()
    for d in durations:
        tally.add(d)
    assert tally.count == len(durations)
    assert tally.total == pytest.approx(sum(durations))
    assert tally.counts[-1] == sum(d > tally.bounds[-1] for d in durations)
    assert tally.counts[0] == sum(d <= tally.bounds[0] for d in durations)
