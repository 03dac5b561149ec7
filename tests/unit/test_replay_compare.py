"""Policies over past demand: the definitions, on numbers one can check by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.replay.compare import compare, smallest
from foreshape_controller.replay.measure import active, measure
from foreshape_controller.replay.policies import (
    EVERY,
    TERMS,
    decayed_quantiles,
    filled,
    future_peaks,
    moving_max,
    past_peaks,
    resized,
    static,
)

pytestmark = pytest.mark.unit

SOLD = np.array([4.0], np.float32)


def row(*values):
    return np.array([values], np.float32)


def test_a_violation_is_a_bin_whose_demand_is_above_the_allocation():
    found = measure(row(1, 2, 3, np.nan), row(2, 2, 2, 2), SOLD)
    assert found.violations == pytest.approx(1 / 3), "of three known bins the third wants 3 of 2"
    assert found.allocation_share == pytest.approx(6 / 12), "three known bins of 2 against 4"
    assert found.slack == pytest.approx(1 - (1 + 2 + 2) / 6)


def test_demand_above_what_was_sold_is_no_violation():
    assert measure(row(9), row(4), SOLD).violations == 0


def test_resizes_are_counted_per_series_and_day():
    demand = np.ones((1, BINS_PER_DAY), np.float32)
    allocation = np.repeat(row(1, 2, 2, 1), BINS_PER_DAY // 4, axis=1)
    assert measure(demand, allocation, SOLD).resizes_per_day == 2.0


def test_idle_series_are_left_out_of_the_active_ones():
    past = np.array([[0.1] * 100, [1.0] * 100], np.float32)
    assert active(past, np.array([4, 4], np.float32)).tolist() == [False, True]


def test_static_flavors_never_violate():
    demand = np.array([[1.0, 5.0]], np.float32)
    found = measure(demand, static(SOLD, 2), SOLD)
    assert (found.violations, found.allocation_share, found.resizes_per_day) == (0.0, 1.0, 0.0)


def test_a_gap_holds_the_last_value_and_nothing_seen_is_nothing():
    assert np.array_equal(filled(row(np.nan, 1, np.nan, 3, np.nan)), row(np.nan, 1, 1, 3, 3), equal_nan=True)


def test_the_oracle_sees_the_half_hour_that_comes():
    demand = np.repeat(row(1, 2, 5, 4), EVERY, axis=1)
    demand[0, 13] = np.nan
    assert future_peaks(demand, 6).tolist() == [[2.0, 5.0, 4.0]]


def test_servers_above_two_per_cent_are_counted_and_the_volume_that_was_missing():
    demand = np.ones((2, 100), np.float32)
    demand[0, :3] = 2.0
    found = measure(demand, np.ones_like(demand), np.array([4, 4], np.float32))
    assert found.above_most == 1, "three bins of a hundred"
    assert found.volume == pytest.approx(3 / 203), "three cores too little of 203"


def weighted_quantile(pairs, level):
    """The first of sorted (value, weight) at which the level's share of all weight is reached."""
    total, reached = sum(w for _, w in pairs), 0.0
    for value, weight in pairs:
        reached += weight
        if reached >= level * total * (1 - 1e-9):
            return value
    raise AssertionError("no weight")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_decayed_quantile_is_what_a_weighted_sort_says(seed):
    """Every sample alone: weight 2^(−age in days), sorted, the first at which 95 % is reached; to the upper end of its bucket."""
    rng = np.random.default_rng(seed)
    demand = rng.gamma(1, 0.8, (2, 330)).astype(np.float32)
    demand[0, :20], demand[1, 100:110] = np.nan, np.nan
    sold, start = np.array([4, 3], np.float32), 300
    found = decayed_quantiles(demand, sold, start)
    for i in range(2):
        held = filled(demand)[i]
        for k, b in enumerate(range(start, 330, EVERY)):
            pairs = sorted((float(held[j]) / float(sold[i]), 2.0 ** (-(b - j) / 288)) for j in range(b) if np.isfinite(held[j]))
            value = weighted_quantile(pairs, 0.95)
            edges = [0.0, *np.geomspace(0.002, 1.6, 120)]
            want = min((e for e in edges if e >= value * (1 - 1e-6)), default=1.6) * sold[i]
            assert found[i, k] == pytest.approx(want, rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 12, 72]))
@settings(max_examples=25)
def test_a_moving_max_is_what_a_slow_loop_says(seed, window):
    rng = np.random.default_rng(seed)
    demand = rng.gamma(1, 0.8, (3, 200)).astype(np.float32)
    demand[rng.random((3, 200)) < 0.2] = np.nan
    found = past_peaks(demand, 80, window)
    for i in range(3):
        for k, b in enumerate(range(80, 200, EVERY)):
            seen = [v for v in filled(demand)[i, max(0, b - window) : b] if np.isfinite(v)]
            assert found[i, k] == pytest.approx(max(seen)) if seen else np.isnan(found[i, k])


def test_a_moving_max_sees_only_what_came_before():
    demand = np.repeat(row(1, 2, 3, 4), EVERY, axis=1)
    peaks = past_peaks(demand, 6, 6)
    assert peaks.tolist() == [[1.0, 2.0, 3.0]], "decisions at bins 6, 12 and 18 look at the six bins before each"


def test_resizing_goes_up_at_once_and_down_only_beyond_the_dead_band():
    found = resized(row(1.0, 2.0, 1.9, 1.7), SOLD, TERMS["cpu"])[0, ::EVERY]
    assert found.tolist() == pytest.approx([1.0, 2.0, 2.0, 1.7])


def test_memory_holds_the_largest_of_six_hours():
    wanted = row(1000, *[300] * 12)
    found = resized(wanted, np.array([4096.0], np.float32), TERMS["memory"])[0, ::EVERY]
    assert found[11] == 1024.0, "twelve decisions: 1000 MiB, up to the next 64"
    assert found[12] == 320.0


def test_a_moving_max_is_compared_at_equal_violations():
    rng = np.random.default_rng(3)
    demand = np.clip(rng.gamma(2, 0.5, (8, 4 * BINS_PER_DAY)), 0, 4).astype(np.float32)
    sold = np.full(8, 4.0, np.float32)
    allocation = moving_max(demand, sold, 2 * BINS_PER_DAY, 288, 0.8, TERMS["cpu"])
    mine, flavor, *rivals, oracle = compare(demand, allocation, sold)
    assert flavor.measures.allocation_share == 1.0
    assert [r.policy for r in rivals] == ["moving max 1 h", "moving max 6 h", "moving max 24 h", "VPA-like p95"]
    for rival in rivals:
        assert rival.reached
        assert rival.measures.violations_active <= mine.measures.violations_active
    assert oracle.measures.violations == 0
    assert oracle.measures.allocation_share < min(r.measures.allocation_share for r in rivals)
    assert rivals[2].multiplier == pytest.approx(0.8, abs=0.06), "it is the very policy compared; a granule is 0.05 of about 3"


def test_the_smallest_multiplier_is_found():
    assert smallest(lambda m: m >= 1.7) == pytest.approx(1.7, rel=1e-4)
    assert smallest(lambda m: False) == 20.0


@given(st.lists(st.floats(0, 4), min_size=12, max_size=60), st.floats(0.1, 4))
def test_measures_are_shares(values, given_cores):
    demand = np.array([values], np.float32)
    found = measure(demand, np.full_like(demand, given_cores), SOLD)
    for share in (found.violations, found.slack, found.allocation_share, found.worst_active):
        assert 0 <= share <= 1
