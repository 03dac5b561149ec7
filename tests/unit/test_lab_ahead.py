"""What the proof of looking ahead rests on: when there was enough, judged; a guest's own word of its rise, read; a schedule, entered."""

from types import SimpleNamespace

import pytest
from foreshape_lab.console import Console, Turn
from foreshape_lab.judge import ahead
from foreshape_lab.programs import with_options
from hypothesis import given
from hypothesis import strategies as st

from ahead_support import BUSY_CORES, BUSY_S, PERIOD_S, Schedule

pytestmark = pytest.mark.unit

SPAN = (0.0, 20.0, 28.0)
"""Looked at from 0, busy from 20 to 28."""


def looks(*changes, until=28):
    """One look a second; ``changes``: (when, how much from then on)."""
    return [(float(t), next(amount for at, amount in reversed(changes) if t >= at)) for t in range(until + 1)]


def judged(*changes):
    return ahead(looks(*changes), SPAN, small=0.5, enough=1.0)


def test_enough_before_the_rise_is_a_lead():
    found = judged((0, 2.0), (4, 0.3), (14, 1.2))
    assert (found.small_s, found.lead_s, found.late_s) == (10.0, 6.0, 0.0)


def test_enough_after_the_rise_is_negative_and_the_guest_lacked_it_so_long():
    found = judged((0, 2.0), (4, 0.3), (23, 1.2))
    assert (found.small_s, found.lead_s, found.late_s) == (16.0, -3.0, 3.0)


def test_a_bump_that_did_not_last_is_no_lead():
    found = judged((0, 0.3), (10, 1.5), (12, 0.3), (22, 1.5))
    assert (found.lead_s, found.late_s) == (-2.0, 2.0)


def test_always_enough_is_ahead_of_nothing():
    found = judged((0, 2.0))
    assert (found.small_s, found.lead_s, found.late_s) == (0.0, None, 0.0)


def test_never_enough_is_no_lead_either():
    found = judged((0, 0.3))
    assert (found.lead_s, found.late_s) == (None, 8.0)


def test_what_lies_outside_the_span_is_not_looked_at():
    far = [(-5.0, 0.1), *looks((0, 1.5)), (40.0, 0.1)]
    assert ahead(far, SPAN, small=0.5, enough=1.0).lead_s is None


def test_a_guests_word_of_its_rise_is_dated_by_its_own_uptime_however_late_it_is_read(tmp_path, monkeypatch):
    now = iter([100.0, 105.0])
    monkeypatch.setattr("foreshape_lab.console.time", SimpleNamespace(time=lambda: next(now)))
    file = tmp_path / "g.console"
    console = Console(file)
    file.write_text("LOAD up=10.00 ncpu=2 memtotal=200 memavail=100 want=0.05 got=0.05 memwant=16 memheld=16 oom=0\n")
    console.poll()  # booted at 90
    with file.open("a") as f:
        f.write("LOAD-TURN up=12.50 want=0.80 memwant=16\n")
    console.poll()
    assert console.turns == [Turn(102.5, 12.5, 0.8, 16)]


@given(st.floats(0, 1e6), st.floats(0, PERIOD_S), st.floats(0, 3 * PERIOD_S))
def test_a_schedule_entered_at_any_moment_goes_on_in_step(now, shift_s, later):
    schedule = Schedule(shift_s)
    words = schedule.words(now)
    steps = [tuple(map(float, step.split("@"))) for step in words.removesuffix("*").split(",")]
    assert sum(s for _, s in steps) == pytest.approx(PERIOD_S, abs=0.05)
    phase = schedule.phase(now + later)
    if min(abs(phase - edge) for edge in (0, BUSY_S, PERIOD_S)) > 0.1 + later / PERIOD_S * 0.05:  # two decimals are told
        assert (wanted(steps, later) == BUSY_CORES) == schedule.busy(now + later)


def wanted(steps, later):
    """loadd's own reading of a pattern."""
    at = later % sum(s for _, s in steps)
    for value, seconds in steps:
        if at < seconds:
            return value
        at -= seconds
    return steps[-1][0]


def test_options_are_set_beside_those_that_stand():
    text = with_options("[plan]\ninterval_s = 3\nforecast_every_s = 3\n", {"plan": {"interval_s": 1}, "store": {"synchronous": "normal"}})
    assert "interval_s = 1\nforecast_every_s = 3" in text
    assert "[store]\nsynchronous = normal" in text
