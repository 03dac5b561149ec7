"""Second controllers: which changes are ours, which are explained, and which somebody else made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import NOW, server, size_of
from foreshape_controller.decide.foreign import PATIENCE_S, Claim, Watch, asked, judged, odd, tolerance
from foreshape_controller.model.server import ClusterView
from foreshape_wire.reading import DomainState

pytestmark = pytest.mark.unit


def look(watch, *vms, at=NOW, claims=None):
    """One look of the guard; what nobody explained."""
    return list(judged(watch, odd(watch, ClusterView(at=at, hosts=(), servers=tuple(vms))), claims or {}))


def vm(cpu=2.0, memory=2048.0, at=NOW, **changes):
    return server("vm1", allocation=size_of(cpu, memory), last_seen=at, **changes)


def seen_at(times, *sizes, **changes):
    """A server's CPU at these seconds; what was found at each."""
    watch, found = Watch(), []
    for t, cpu in zip(times, sizes, strict=True):
        found.append(look(watch, vm(cpu, at=NOW + t, **changes), at=NOW + t))
    return found


def test_a_change_that_nobody_explains_in_time_is_somebody_elses():
    *before, last = seen_at([0, 60, 120, 180], 2.0, 3.0, 3.0, 3.0)
    assert before == [[], [], []], "an outcome may come with the next report"
    (found,) = last
    assert found.sentence == "somebody else changed its cpu: from 2.00 to 3.00 cores at 22:16:00 UTC"


def test_it_is_said_once_and_the_new_size_is_what_it_has():
    assert [len(f) for f in seen_at([0, 60, 180, 300, 420], 2.0, 3.0, 3.0, 3.0, 3.0)] == [0, 0, 1, 0, 0]


def test_what_goes_away_by_itself_was_nothing():
    assert not any(seen_at([0, 60, 120, 300], 2.0, 3.0, 2.0, 2.0))


def test_measurement_is_no_change():
    assert not any(seen_at([0, 60, 200, 400], 2.0, 2.05, 1.95, 2.0))


@pytest.mark.parametrize(
    ("claims", "ours"),
    [
        ([Claim(3.0, 3.0)], True),  # an outcome that left it there
        ([Claim(2.0, 4.0)], True),  # an order on its way
        ([Claim(3.04, 4.0)], True),  # within what measurements do
        ([Claim(2.0, 2.5)], False),
        ([], False),
    ],
)
def test_what_an_order_or_an_outcome_explains_is_ours(claims, ours):
    watch = Watch()
    look(watch, vm(2.0))
    look(watch, vm(3.0, at=NOW + 60), claims={("vm1", "cpu"): claims})
    assert look(watch, vm(3.0, at=NOW + 200), claims={}) == [] if ours else look(watch, vm(3.0, at=NOW + 200))


@pytest.mark.parametrize(
    "changes",
    [
        {"entitlement": size_of(8, 8192)},  # Nova resized it
        {"host": "hv2"},  # it moved
        {"state": DomainState.PAUSED},
        {"last": None},
    ],
)
def test_another_flavor_another_host_or_a_server_that_did_not_run_explains_itself(changes):
    watch = Watch()
    look(watch, vm(2.0))
    for t in (60, 200, 400):
        assert look(watch, vm(3.0, at=NOW + t, **changes)) == []


def test_a_return_to_what_was_sold_is_a_restart_but_not_the_third_time_in_an_hour():
    watch, found = Watch(), []
    for t in range(0, 1800, 300):  # ours: 2 cores; undone: 4, what was sold
        ours = {("vm1", "cpu"): [Claim(2.0, 2.0)]}
        look(watch, vm(2.0, at=NOW + t), claims=ours)
        for late in (60, 120, 240):
            found += [(t, f) for f in look(watch, vm(4.0, at=NOW + t + late))]
    assert [t for t, _ in found][:1] == [600]


def test_what_explains_a_change_came_after_the_size_before_it_was_last_seen():
    watch = Watch()
    for t in (0, 60, 120):
        look(watch, vm(2.0, at=NOW + t), at=NOW + t)
    for t in (180, 240):
        look(watch, vm(3.0, at=NOW + t), at=NOW + t)
        assert asked(watch) == {("vm1", "cpu"): (2.0, NOW + 120)}


def test_after_a_start_our_last_proven_change_is_what_it_should_have():
    view = ClusterView(at=NOW, hosts=(), servers=(vm(3.0),))
    watch = Watch.remembered(view, {("vm1", "cpu"): (2.0, NOW - 9000)})
    assert odd(watch, view).keys() == {("vm1", "cpu")}
    assert asked(watch) == {("vm1", "cpu"): (2.0, NOW - 9000)}


def test_a_server_that_left_is_forgotten():
    watch = Watch()
    look(watch, vm(2.0))
    look(watch)
    assert (watch.looks, watch.suspects) == ({}, {})


@given(st.lists(st.tuples(st.floats(0.1, 16), st.booleans()), min_size=1, max_size=30))
def test_nothing_that_is_explained_at_once_is_ever_held_against_anybody(steps):
    watch, t = Watch(), 0.0
    for cpu, quick in steps:
        t += 10 if quick else 2 * PATIENCE_S
        assert look(watch, vm(cpu, at=NOW + t), claims={("vm1", "cpu"): [Claim(cpu, cpu)]}) == []


@given(st.floats(0.1, 64), st.floats(0.1, 64))
def test_a_lasting_change_beyond_tolerance_is_found_exactly_once(a, b):
    found = seen_at([0, 60, 60 + PATIENCE_S, 400, 600], a, b, b, b, b, entitlement=size_of(100, 4096))
    assert sum(map(len, found)) == (abs(a - b) > tolerance("cpu", a))
