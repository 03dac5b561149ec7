"""What can happen to a request, and what a request may say."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide.request_check import check
from foreshape_controller.decide.request_life import TABLE, Happened, due, step, wanted
from foreshape_controller.errors import Invalid
from foreshape_controller.model.request import Placed, RequestAsk, RequestState
from request_support import HOUR, RULE, T0, request

pytestmark = pytest.mark.unit


def test_the_way_of_a_request_that_goes_well():
    r = replace(request(), placed=(Placed("h0", 1),), start=T0)
    seen = []
    for event in (Happened.OFFERED, Happened.APPROVE, Happened.DUE, Happened.HELD, Happened.TAKE):
        r = step(r, event, T0)
        seen.append(r.state.value)
    assert seen == ["proposed", "scheduled", "admitted", "started", "fulfilled"]


@given(st.lists(st.sampled_from(list(Happened)), max_size=20))
def test_whatever_happens_room_is_wanted_exactly_where_it_is_promised_and_what_is_over_stays_so(events):
    r = replace(request(), placed=(Placed("h0", 1),), start=T0)
    for i, event in enumerate(events):
        before, r = r, step(r, event, T0 + i)
        assert bool(wanted(r)) == (r.state.promised and bool(r.placed))
        if before.state.over:
            assert r is before
        if (before.state, event) not in TABLE:
            assert r is before
        if r.state is RequestState.QUEUED and before.state.promised:
            assert (r.placed, r.start, r.lost) == ((), 0.0, before.lost + 1)
        if r.state.over:
            assert r.next_look == 0.0


def test_the_clock_ends_what_nobody_used():
    r = replace(request(latest=T0 + HOUR), placed=(Placed("h0", 1),), start=T0, take_by=T0 + HOUR)
    assert due(r, T0 + HOUR) is None
    assert due(r, T0 + HOUR + 1) is Happened.EXPIRE
    assert due(replace(r, state=RequestState.PROPOSED), T0 + 1700) is None
    assert due(replace(r, state=RequestState.PROPOSED), T0 + 1900) is Happened.LOST
    assert due(replace(r, state=RequestState.SCHEDULED), T0) is Happened.DUE
    assert due(replace(r, state=RequestState.STARTED), T0 + HOUR) is Happened.EXPIRE


GOOD = {"flavor": "m1.small"}


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"count": 0}, "count"),
        ({"count": 10**9}, "count"),
        ({"for_s": nan}, "for_s"),
        ({"for_s": inf}, "for_s"),
        ({"for_s": 1.0}, "for_s"),
        ({"for_s": 1e9}, "for_s"),
        ({"earliest": nan}, "earliest"),
        ({"latest": inf}, "earliest, latest"),
        ({"earliest": T0 - 3600}, "earliest"),
        ({"earliest": T0 + 100 * 86400}, "earliest"),
        ({"latest": T0 - 1}, "latest"),
        ({"earliest": T0 + 7200, "latest": T0 + 3600}, "latest"),
        ({"flavor": ""}, "a flavor"),
        ({"vcpus": 2}, "not both"),
        ({"flavor": "", "vcpus": 2}, "both vcpus and ram"),
        ({"flavor": "", "vcpus": 0, "ram": 1}, "vcpus"),
        ({"flavor": "", "vcpus": 10**12, "ram": 1}, "vcpus"),
        ({"flavor": "", "vcpus": 1, "ram": -1}, "ram"),
        ({"name": "x" * 300}, "name"),
        ({"note": "a\x1b[2J"}, "note"),
        ({"server": "vm-1"}, "server"),
        ({"flavor": "", "server": "vm-1", "count": 2, "vcpus": 3}, "server"),
        ({"flavor": "", "server": "vm-1", "vcpus": 3, "disk": 9}, "disk"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_field_is_named(said, word):
    with pytest.raises(Invalid, match=word):
        check(RequestAsk(**{**GOOD, **said}), T0, RULE.horizon_s)


def test_a_window_has_ends_where_none_are_said():
    assert check(RequestAsk(**GOOD), T0, RULE.horizon_s) == (T0, T0 + RULE.horizon_s)
    assert check(RequestAsk(**GOOD, earliest=T0 - 100, latest=T0 + 5), T0, RULE.horizon_s) == (T0, T0 + 5)
