"""Making room for the largest flavor: when it pays, and that it never costs any."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.consolidate import consolidate, fragments
from foreshape_controller.decide.room import Rule
from long_support import LONG
from place_support import Host, Vm, afterwards, ground

pytestmark = pytest.mark.unit

LARGE = np.array([8.0, 8192.0, 10.0])
RULE = Rule()
EXAMPLES = max(100, LONG // 10)


def host(name: str, **changed: float) -> Host:
    return Host(name, vcpu=16, mib=65536, **changed)


PIECES = [Vm("x", "a", 4), Vm("w", "a", 6, fixed="pinned"), Vm("y", "b", 6), Vm("z", "b", 6, fixed="pinned")]
"""a has 6 of 16 VCPU free, b 4: ten in all, and no 8 in one place."""


def test_free_room_in_pieces_is_stranded():
    assert fragments(ground([host("a"), host("b")], PIECES), LARGE).fits == 0
    assert fragments(ground([host("a"), host("b")], PIECES), LARGE).stranded == 1.0
    one_fits = fragments(ground([host("a")], [Vm("x", "a", 4)]), LARGE)
    assert (one_fits.fits, one_fits.stranded) == (1, pytest.approx(4 / 12)), "12 free, 8 of them sellable"


def test_one_move_makes_room_for_one_more():
    before = ground([host("a"), host("b")], PIECES)
    plan = consolidate(before, LARGE, RULE)
    assert [(m.server, m.target) for m in plan.moves] == [("x", "b")], "a then has 10 free, b none"
    assert fragments(before, LARGE, plan.moves).fits == 1
    assert "1 moves out of a make room for 1 more" in plan.moves[0].reason


def test_what_would_cost_as_much_elsewhere_is_not_done():
    even = [Vm("x", "a", 4), Vm("w", "a", 6, fixed="pinned"), Vm("y", "b", 8, fixed="pinned")]
    plan = consolidate(ground([host("a"), host("b")], even), LARGE, RULE)
    assert plan.moves == (), "a has 6 free and b 8: with x on b, a would take one and b none any more"
    assert all(k.reason for k in plan.kept)


def test_a_flavor_that_makes_no_sense_is_refused():
    assert "VCPU must be above 0" in consolidate(ground([host("a")], []), np.array([math.nan, 1, 1]), RULE).kept[0].reason


HOSTS = st.tuples(
    *(
        st.builds(
            Host,
            st.just(name),
            vcpu=st.sampled_from([16, 24]),
            mib=st.just(65536),
            other=st.sampled_from([0.0, 0.0, 9.0, math.nan]),
            closed=st.sampled_from(["", "", "off"]),
        )
        for name in "abcd"
    )
).map(list)
VMS = st.lists(
    st.builds(
        Vm,
        st.integers(0, 999).map("v{:03d}".format),
        st.sampled_from("abcd"),
        vcpu=st.sampled_from([1, 2, 4, 6]),
        cores=st.sampled_from([0.3, 1.0]),
        group=st.sampled_from(["", "apart"]),
        fixed=st.sampled_from(["", "", "pinned"]),
    ),
    min_size=4,
    max_size=14,
    unique_by=lambda v: v.name,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(HOSTS, VMS, st.integers(1, 5), st.randoms())
def test_it_never_costs_room_and_says_truly_what_it_brings(hosts, vms, most, random):
    rule = Rule(moves=most)
    before = ground(hosts, vms)
    plan = consolidate(before, LARGE, rule)
    fits = fragments(before, LARGE).fits
    assert len(plan.moves) <= most
    assert (fragments(before, LARGE, plan.moves).fits > fits) == bool(plan.moves), "it brings something, or nothing moves"
    done = ground(hosts, afterwards(vms, plan.moves))
    assert fragments(done, LARGE).fits == fragments(before, LARGE, plan.moves).fits, "what it promised is what is there afterwards"
    loads = done.hosts.forecast / done.hosts.physical
    hit = sorted({done.host_index[m.target] for m in plan.moves})
    assert (loads[hit] <= rule.full + 1e-9).all()
    assert (done.hosts.held[hit] <= done.hosts.capacity[hit]).all()
    mixed = ground(random.sample(hosts, len(hosts)), random.sample(vms, len(vms)))
    assert consolidate(mixed, LARGE, rule).moves == plan.moves
