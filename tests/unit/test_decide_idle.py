"""Who is idle or over-sized: figures from history, and the reason of everybody who is not."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from decide_support import history
from foreshape_controller.decide.idle import CODES, WHY_NOT, FindRule, Standing, Use, find, finding, quantile, sentence, use_of
from long_support import LONG
from reclaim_support import DAY, NOW, standing, use

pytestmark = pytest.mark.unit

RULE = FindRule()


def code(resource="cpu", *, used=None, **what):
    found = find(resource, used or use(), standing(**what), RULE)
    return CODES[found.code[0]]


# -- figures ----------------------------------------------------------------------------------------------------------


def test_99_percent_of_the_measured_peaks_do_not_exceed_the_quantile():
    values = np.arange(1, 201, dtype=np.float32)[None, :]
    known = np.ones_like(values, bool)
    assert quantile(values, known, 0.99)[0] == 198.0, "198 of 200 values are 198 or less"


def test_gaps_do_not_count():
    values = np.array([[1.0, np.nan, 3.0, 100.0]], np.float32)
    known = np.array([[True, False, True, False]])
    assert quantile(values, known, 0.99)[0] == 3.0
    assert np.isnan(quantile(values, np.zeros_like(known), 0.99)[0])


def test_a_capped_or_doubtful_bin_says_nothing_of_demand():
    told = history([[0.1] * 8 + [5.0] * 2], until=NOW)
    capped = np.zeros_like(told.mean)
    capped[0, 8:] = 0.5
    seen = use_of(replace(told, censored=capped, doubtful=np.zeros_like(capped)), NOW)
    assert (seen.p99[0], seen.covered[0], seen.capped[0]) == (pytest.approx(0.1), 0.8, 0.2)
    doubted = use_of(replace(told, doubtful=capped), NOW)
    assert (doubted.p99[0], doubted.doubtful[0]) == (pytest.approx(0.1), 0.2)


def test_a_series_without_any_bin_has_no_figures():
    empty = history([[]], until=NOW)
    assert np.isnan(use_of(empty, NOW).p99[0])


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(
    arrays.arrays(np.float32, (3, 20), elements=st.floats(0, 1e6, width=32)),
    arrays.arrays(bool, (3, 20)),
)
def test_the_quantile_is_a_known_value_that_99_percent_do_not_exceed(values, known):
    got = quantile(values, known, 0.99)
    for row, (v, k) in enumerate(zip(values, known, strict=True)):
        if k.any():
            assert got[row] in v[k]
            assert np.mean(v[k] <= got[row]) >= 0.99
        else:
            assert np.isnan(got[row])


# -- the reasons --------------------------------------------------------------------------------------------------------


def test_a_server_that_uses_next_to_nothing_is_idle():
    assert code() == "idle", "0.07 cores are below 5 % of 8, which is 0.4"


def test_one_that_uses_a_part_of_what_it_was_sold_is_over_sized():
    assert code(used=use(p99=1.0)) == "oversized", "1 core is above 5 % and below 30 % of 8"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"used": use(p99=2.5)}, "in_use"),
        ({"used": use(top=2.5)}, "in_use"),
        ({"used": use(p99=np.nan, covered=0.0)}, "uncovered"),
        ({"used": use(covered=0.79)}, "uncovered"),
        ({"used": use(age_s=6.9 * DAY)}, "young"),
        ({"used": use(capped=0.02)}, "censored"),
        ({"used": use(doubtful=0.02)}, "doubtful"),
        ({"day_peak": np.nan}, "no_forecast"),
        ({"day_peak": 2.5}, "forecast_high"),
        ({"odd": True}, "anomaly"),
        ({"event": True}, "event"),
        ({"declared": True}, "declared"),
        ({"entitlement": 0.0}, "odd_data"),
        ({"entitlement": np.nan}, "odd_data"),
        ({"entitlement": np.inf}, "odd_data"),
        ({"overhead": np.nan}, "odd_data"),
        ({"in_use": -1.0}, "odd_data"),
    ],
    ids=str,
)
def test_who_is_not_found_has_a_reason_that_has_a_sentence(what, why):
    assert code(**what) == why
    assert WHY_NOT[why]


def test_every_reason_has_a_sentence():
    assert set(WHY_NOT) == set(CODES[2:])


def test_the_floor_that_would_do_is_the_largest_need_and_a_margin():
    found = find("cpu", use(p99=0.05), standing(day_peak=0.1), RULE)
    assert found.goal[0] == pytest.approx(0.13), "0.1 forecast and 30 %"
    assert find("cpu", use(p99=0.01), standing(day_peak=0.01), RULE).goal[0] == 0.05, "nobody keeps less than 0.05 cores"


def test_memory_keeps_the_working_set_its_margin_and_what_the_kernel_needs():
    of_memory = {"entitlement": 8192.0, "day_peak": 300.0, "overhead": 100.0, "in_use": 600.0, "margin_share": 0.15}
    found = find("memory", use(p99=350.0), standing(**of_memory), RULE)
    assert found.needed[0] == pytest.approx(690.0), "(350 + 100) * 1.3 = 585, but 600 are in use: 600 + 15 %"
    small = find("memory", use(p99=50.0), standing(**(of_memory | {"day_peak": 50.0, "overhead": 0.0, "in_use": 60.0})), RULE)
    assert small.goal[0] == 128.0, "60 + 64 is less than anybody keeps"


def test_a_finding_is_told_with_its_figures():
    seen, stands = use(), standing()
    told = sentence("cpu", finding(0, find("cpu", seen, stands, RULE), seen, stands, 7.0))
    for word in ("idle", "7 days", "100% measured", "0.05 cores", "0.07 cores", "8.00 cores"):
        assert word in told


figures = st.one_of(st.floats(0, 1e6), st.sampled_from([np.nan, np.inf, -1.0]))
shares = st.floats(0, 1)


@st.composite
def fleets(draw):
    n = draw(st.integers(1, 6))

    def column(of):
        return np.array([draw(of) for _ in range(n)], np.float64)

    seen = Use(column(figures), column(figures), column(shares), column(shares), column(shares), column(st.floats(0, 100 * DAY)))
    stands = Standing(
        **{
            f.name: column(st.booleans()).astype(bool) if f.name in ("odd", "event", "declared") else column(figures)
            for f in fields(Standing)
        }
    )
    return seen, stands


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(fleets(), st.sampled_from(["cpu", "memory"]))
def test_nobody_is_found_against_the_evidence_and_nobody_s_row_matters_to_another(fleet, resource):
    seen, stands = fleet
    found = find(resource, seen, stands, RULE)
    for i, which in enumerate(found.code):
        alone = find(resource, *(_one(part, i) for part in (seen, stands)), RULE)
        assert alone.code[0] == which
        if which <= 1:
            assert seen.age_s[i] >= 7 * DAY
            assert seen.covered[i] >= 0.8
            assert not any(part[i] for part in (stands.odd, stands.event, stands.declared))
            assert np.fmax(np.fmax(seen.p99[i], seen.top[i]), stands.day_peak[i]) <= 0.3 * stands.entitlement[i]
            assert found.goal[i] >= RULE.least[resource]
            assert found.goal[i] >= 1.3 * np.fmax(seen.p99[i], stands.day_peak[i])


def _one(part, i):
    return type(part)(**{f.name: getattr(part, f.name)[i : i + 1] for f in fields(part)})
