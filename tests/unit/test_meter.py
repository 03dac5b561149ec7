"""Metering counts what was really there, once, and what is uncertain for the customer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.meter import held, stretches, tally
from foreshape_controller.model.metering import AT, Kind, Since, Terms
from pricing_support import HOUR, STEP, history, since, terms

pytestmark = pytest.mark.unit

NAN = float("nan")


def spread(rows):
    return stretches(rows, HOUR, 12, STEP)


def none(n):
    return np.zeros((n, 12), np.bool_)


def counted(cpu, memory=8192.0, before=None, need=None, wanted=(), **more):
    """One server for an hour; amounts by name."""
    of = spread([since("s", HOUR - 10, **more)])
    cpu = [cpu] * 12 if isinstance(cpu, int | float) else list(cpu)
    came = {
        "cpu": history("cpu", ["s"], {"s": cpu}, {"s": need} if need else None),
        "memory": history("memory", ["s"], {"s": [memory if np.isfinite(c) else NAN for c in cpu]}),
    }
    found = tally(came, of, none(1) if before is None else before, wanted)
    return {name: int(found.amounts[0, i]) for name, i in AT.items() if found.amounts[0, i]}


def test_an_hour_at_its_entitlement_is_an_hour_of_the_entitlement():
    assert counted(4.0) == {
        "cpu_entitlement": 4000 * 3600,
        "cpu_guaranteed": 400 * 3600,
        "cpu_known": 12,
        "memory_entitlement": 8192 * 3600,
        "memory_guaranteed": 1024 * 3600,
        "memory_known": 12,
        "seconds": 3600,
    }


def test_what_was_given_back_is_freed_and_what_was_really_more_is_burst():
    found = counted([1.0] * 6 + [5.5] * 6)
    assert found["cpu_entitlement"] == (1000 + 4000) * 1800
    assert found["cpu_freed"] == 3000 * 1800
    assert found["cpu_burst"] == 1500 * 1800


def test_a_growth_that_was_refused_was_never_seen_and_costs_nothing():
    """Whatever was ordered: the reports go on saying four cores."""
    assert "cpu_burst" not in counted(4.0)


def test_a_bin_without_data_is_not_charged():
    found = counted([4.0] * 9 + [NAN] * 3)
    assert found["cpu_entitlement"] == 4000 * 2700
    assert found["seconds"] == 2700
    assert found["cpu_known"] == 9


@pytest.mark.parametrize("odd", [NAN, float("inf"), -3.0, 1e15])
def test_an_odd_size_is_no_size(odd):
    found = counted([4.0] * 11 + [odd])
    assert found["cpu_entitlement"] == 4000 * 3300


def test_more_than_can_be_reached_is_a_mistake_of_measurement():
    assert counted(9999.0)["cpu_burst"] == 4000 * 3600


def test_the_grain_of_day_chunks_is_no_burst():
    assert "cpu_burst" not in counted(4.003)
    assert "cpu_freed" not in counted(3.997)


def test_below_the_floor_is_missing_and_its_guarantee_is_not_charged():
    found = counted([0.1] * 2 + [4.0] * 10)
    assert found["cpu_missing"] == 300 * 600
    assert found["cpu_broken"] == 2
    assert found["cpu_guaranteed"] == 400 * 3000


def test_wanting_more_than_it_had_is_short_only_below_what_was_sold():
    assert counted([2.0] * 12, need=[3.0] * 4 + [1.0] * 8)["cpu_short"] == 4
    assert "cpu_short" not in counted([4.0] * 12, need=[6.0] * 12)


def test_what_a_plan_would_have_freed_of_a_server_that_it_may_not_change():
    wanted = [{"s": (1.5, 4096.0)}] * 12
    assert counted(4.0, wanted=wanted)["cpu_could_free"] == 2500 * 3600
    assert "cpu_could_free" not in counted(4.0, wanted=wanted, act=True)
    assert counted(4.0, wanted=[{"s": (0.01, 4096.0)}] * 12)["cpu_could_free"] == 3600 * 3600  # its floor stays
    assert "cpu_could_free" not in counted(4.0, wanted=[{"s": (NAN, NAN)}] * 12)


def test_a_bin_that_was_counted_is_not_counted_again():
    before = none(1)
    before[0, :5] = True
    assert counted(4.0, before=before)["cpu_entitlement"] == 4000 * 2100
    before[:] = True
    assert counted(4.0, before=before) == {}


def test_a_shadow_vm_costs_its_flavor_while_it_waits_and_is_seen():
    found = counted([0.1] * 6 + [NAN] * 6, memory=256.0, kind=Kind.POOL)
    assert found == {"cpu_pool": 4000 * 1800, "memory_pool": 8192 * 1800, "seconds": 1800}


def test_in_the_middle_of_an_hour_a_server_changes_tier_project_and_flavor():
    rows = [since("s", 0.0), since("s", HOUR + 900, tier="economy"), since("s", HOUR + 1800, project="p2", mcores=8000)]
    found = [(s.terms.tier, s.terms.project, s.first, s.last) for s in spread(rows)]
    assert found == [("standard", "p1", 0, 3), ("economy", "p1", 3, 6), ("standard", "p2", 6, 12)]


def test_a_bin_belongs_to_the_terms_at_its_beginning():
    rows = [since("s", 0.0), since("s", HOUR + 901, tier="economy")]
    assert [(s.terms.tier, s.first, s.last) for s in spread(rows)] == [("standard", 0, 4), ("economy", 4, 12)]


def test_who_came_in_the_hour_is_not_charged_for_before_and_who_left_not_for_after():
    assert [(s.first, s.last) for s in spread([since("s", HOUR + 1)])] == [(1, 12)]
    assert [(s.first, s.last) for s in spread([since("s", 0.0), Since("s", HOUR + 600, Terms(Kind.GONE))])] == [(0, 2)]


def test_of_a_reservation_only_bins_count_through_which_it_was_held():
    rows = [since("reservation:r", HOUR + 100, kind=Kind.RESERVATION), Since("reservation:r", HOUR + 1000, Terms(Kind.GONE))]
    of = spread(rows)
    assert [(s.first, s.last) for s in of] == [(1, 3)]
    found = held(of, none(1), STEP)
    assert found.amounts[0, AT["cpu_reservation"]] == 4000 * 600


instants = st.lists(st.integers(HOUR - 1000, HOUR + 4600), min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None)
@given(instants, st.lists(st.sampled_from([0.5, 2.0, 4.0, 6.0, NAN]), min_size=12, max_size=12), st.data())
def test_however_terms_change_and_in_how_many_looks_each_bin_is_counted_once(at, had, data):
    """Two looks, the second over what the first left out, count what one look over everything counts."""
    rows = [Since("s", float(t), terms(tier=("standard", "economy")[i % 2])) for i, t in enumerate(sorted(at))]
    of = spread(rows)
    if not of:
        return
    came = {
        "cpu": history("cpu", ["s"], {"s": had}),
        "memory": history("memory", ["s"], {"s": [NAN if np.isnan(x) else 8192.0 for x in had]}),
    }
    whole = tally(came, of, none(len(of)))
    assert (whole.bins.sum(axis=0) <= 1).all()
    first = np.array([[data.draw(st.booleans()) for _ in range(12)]] * len(of), np.bool_)
    a, b = tally(came, of, ~first), tally(came, of, first)
    assert (a.amounts + b.amounts == whole.amounts).all()
    sold = whole.amounts[:, AT["cpu_entitlement"]] + whole.amounts[:, AT["cpu_freed"]]
    assert (sold == whole.bins.sum(axis=1) * 4000 * STEP).all()
