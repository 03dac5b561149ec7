"""Anomalies: what each kind looks like when it is found, what never alarms, and what a forecast and a training set make of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_support import START, fleet, history, nab, nab_file, windows
from foreshape_controller.forecast import caution
from foreshape_controller.forecast.anomaly import detect, masked, widen
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.runs import find
from foreshape_controller.forecast.tails import limits
from foreshape_controller.model.anomaly import Finding, Findings, Kind, left_habits
from foreshape_controller.model.forecast import HEADS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY

pytestmark = pytest.mark.unit

WEEK = 7 * BINS_PER_DAY
AT = WEEK - 100
"""Where anomalies are put: on the last day."""
CLEAN = fleet(8)
MEDIAN = LEVELS.index(0.5)


def with_one(change, row=0):
    """The clean fleet, one series changed by ``change(values, top)`` from AT on."""
    y = CLEAN.copy()
    change(y[row], float(np.nanmax(y[row])))
    return history(y)


def spike(y, top):
    y[AT : AT + 3] = 3 * top


def shift(y, top):
    y[AT:] += 1.5 * top


def frozen(y, top):
    y[AT:] = y[AT - 1] if np.isfinite(y[AT - 1]) else top / 2


def dead(y, top):
    y[AT:] = 0.0


def silent(y, top):
    y[AT:] = np.nan


def bins(found, history):
    """Beginning and notice of a finding, in bins."""
    return (found.since - history.start) // 300, (found.noticed - history.start) // 300


def only(h, row=0):
    """The findings of one series."""
    return [f for f in detect(h).found if f.series == h.series[row]]


@pytest.mark.parametrize(
    ("change", "kind", "within"),
    [(spike, Kind.SPIKE, 1), (shift, Kind.SHIFT, 1), (frozen, Kind.FLAT, 9), (dead, Kind.DEAD, 6), (silent, Kind.DEAD, 6)],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_each_kind_is_found_named_and_timed(change, kind, within):
    h = with_one(change)
    (found,) = only(h)
    since, noticed = bins(found, h)
    assert found.kind is kind
    assert abs(since - AT) <= 2, "a gap beside the change may hide its first bin"
    assert noticed - AT <= within + 2
    assert found.strength >= 1
    assert 0.5 <= found.confidence < 1


def test_only_what_lasts_is_open():
    assert only(with_one(spike))[0].until == START + 300 * (AT + 3)
    assert only(with_one(dead))[0].until is None
    (ended,) = only(with_one(lambda y, top: y[AT : AT + 12].fill(0.0)))
    assert (ended.kind, ended.until) == (Kind.DEAD, START + 300 * (AT + 12))


def test_a_new_level_is_normal_after_three_hours():
    h = with_one(lambda y, top: y[WEEK - 60 :].__iadd__(1.5 * top))
    assert only(h)[0].until == START + 300 * (WEEK - 60 + 36)
    assert detect(h).mask[0].sum() == 12, "its first hour is the transition"


def test_a_clean_fleet_hardly_alarms():
    """40 series for a week are 9.3 series-months: one a month would be 9."""
    assert len(detect(history(fleet(40, seed=9))).found) <= 9


def test_what_comes_every_day_is_no_anomaly():
    y = CLEAN.copy()
    for day in range(7):
        y[0, day * BINS_PER_DAY + 100 : day * BINS_PER_DAY + 103] = 5 * np.nanmax(CLEAN[0])
    assert not [f for f in only(history(y)) if f.since >= START + 86400], "from the second day on"


def test_a_gap_of_the_whole_fleet_is_the_controllers():
    y = CLEAN.copy()
    y[:, AT:] = np.nan
    assert not detect(history(y)).found


def test_what_is_small_beside_what_was_sold_does_not_matter():
    """0.001 cores that become 0.03 are 0.75 % of 4 cores."""
    y = CLEAN.copy()
    y[0] = 0.001
    y[0, AT : AT + 3] = 0.03
    assert not only(history(y))


def test_a_sensor_that_dies_on_an_idle_server_does_not_matter():
    y = CLEAN.copy()
    y[0] = 0.02 * np.nan_to_num(CLEAN[0] / np.nanmax(CLEAN[0]), nan=0.5)
    y[0, AT:] = 0.0
    assert not only(history(y))


@pytest.mark.parametrize("length", [0, 1, 30, 287, 288, 289, 700])
def test_no_length_of_history_is_an_error(length):
    found = detect(history(CLEAN[:, :length]))
    assert found.mask.shape == (len(CLEAN), length)


def test_nothing_at_all_is_an_answer():
    assert detect(history(CLEAN[:0])).found == ()
    assert detect(history(np.full((3, WEEK), np.nan))).found == ()


@settings(max_examples=8, deadline=None)
@given(level=st.floats(0, 4, width=32), gaps=st.floats(0, 0.5), seed=st.integers(0, 99))
def test_constants_never_alarm_whatever_the_gaps(level, gaps, seed):
    y = np.full((4, WEEK), level, np.float32)
    y[np.random.default_rng(seed).random(y.shape) < gaps] = np.nan
    assert detect(history(y)).found == ()


@settings(max_examples=6, deadline=None)
@given(power=st.integers(-8, 8), change=st.sampled_from([spike, shift, dead, frozen]))
def test_the_unit_does_not_matter(power, change):
    """Powers of two: binary rounding is then the same, so every finding must be."""
    h, factor = with_one(change), np.float32(2.0**power)
    scaled = replace(h, mean=h.mean * factor, max=h.max * factor, entitlement=h.entitlement * factor)
    one, other = detect(h), detect(scaled)
    assert (one.mask == other.mask).all()
    assert [(f.series, f.kind, f.since) for f in one.found] == [(f.series, f.kind, f.since) for f in other.found]


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(len(CLEAN))))
def test_the_order_of_series_does_not_matter(order):
    h = with_one(spike)
    turned = replace(h, mean=h.mean[order], max=h.max[order], series=tuple(h.series[i] for i in order))
    assert set(detect(turned).found) == set(detect(h).found)


@settings(max_examples=6, deadline=None)
@given(change=st.sampled_from([spike, shift, dead, frozen]), days=st.integers(1, 13))
def test_days_before_anything_was_measured_do_not_matter(change, days):
    h = with_one(change)
    nothing = np.full((len(h.series), days * BINS_PER_DAY), np.nan, np.float32)
    columns = {name: np.hstack([nothing, getattr(h, name)]) for name in ("mean", "max", "coverage", "censored")}
    longer = detect(replace(h, start=h.start - days * BINS_PER_DAY * h.step_s, **columns))
    assert longer.found == detect(h).found
    assert (longer.mask == np.hstack([np.isfinite(nothing), detect(h).mask])).all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 999))
def test_gaps_elsewhere_do_not_hide_a_spike(seed):
    h = with_one(spike)
    holes = np.random.default_rng(seed).random(WEEK) < 0.1
    holes[AT - 30 : AT + 3] = False
    h.mean[0, holes] = np.nan
    assert any(f.kind is Kind.SPIKE for f in only(h))


def test_half_the_alarms_asked_for_means_higher_thresholds():
    values = np.random.default_rng(4).gamma(2, 1, (50, WEEK)).astype(np.float32)
    known = np.ones_like(values, np.bool_)
    rare, often = (limits(values, known, rate) for rate in (0.005, 0.02))
    assert (rare.at[:, -1] > often.at[:, -1]).all()


def test_thresholds_keep_their_rate_on_heavy_tails():
    """Days whose largest values are Pareto (α = 2); 200 series, one new day each, 0.02 alarms a day: 4 expected.

    More than 13 would have probability 0.0001 if the rate were kept.
    """
    rng = np.random.default_rng(5)
    values = np.log(rng.pareto(2.0, (200, WEEK)) + 1).astype(np.float32)
    limit = limits(values, np.ones_like(values, np.bool_), 0.02)
    today = (values > limit.at)[:, -BINS_PER_DAY:].any(axis=1)
    assert today.sum() <= 13


def test_a_run_alarms_when_it_is_longer_than_luck_and_habit():
    """Holds in every tenth bin, alone: luck explains a run of k with 0.1^k, so 1e-6 takes 6 bins; the 7th is sure."""
    holds = np.zeros((1, 600), np.bool_)
    holds[0, ::10] = True
    holds[0, 500:520] = True
    runs = find(holds, np.ones_like(holds), 1e-6)
    assert np.flatnonzero(runs.alarms[0])[0] in (505, 506)
    assert np.flatnonzero(runs.alarms[0])[-1] == 520


def test_a_condition_that_is_a_habit_never_alarms():
    holds = np.random.default_rng(6).random((1, 600)) < 0.5
    holds[0, 400:] = True
    assert not find(holds, np.ones_like(holds), 1e-6).alarms.any()


ABSURD = (np.inf, -np.inf, -5.0, 0.0, 3e38, np.nan, 1e-40)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 9999), length=st.integers(1, WEEK), sold=st.sampled_from([0.0, 4.0, float("nan"), 1e30]))
@pytest.mark.filterwarnings("error")
def test_absurd_values_are_no_error_and_make_no_absurd_finding(seed, length, sold):
    rng = np.random.default_rng(seed)
    y = rng.lognormal(0, 10, (3, length)).astype(np.float32)
    y[rng.random(y.shape) < 0.1] = rng.choice(ABSURD)
    for f in detect(history(y, entitlement=sold)).found:
        assert np.isfinite([f.strength, f.before]).all()
        assert 0.5 <= f.confidence < 1
        assert f.since < f.noticed


# --- what follows ------------------------------------------------------------------------------------------------------


def forecast_and_findings(change):
    h = with_one(change)
    return h, Baseline().predict(h, h.until), detect(h)


def test_the_margin_grows_while_it_lasts_and_says_so():
    _, before, findings = forecast_and_findings(lambda y, top: y[WEEK - 4 :].__iadd__(3 * top))
    after = widen(before, findings)
    for head in HEADS:
        old, new = getattr(before, head), getattr(after, head)
        assert (new >= old).all()
        assert (np.diff(new, axis=-1) >= 0).all()
        assert (new[..., : MEDIAN + 1] == old[..., : MEDIAN + 1]).all(), "only the upper half"
        assert (new[1:] == old[1:]).all(), "only the series that is odd"
    assert after.peak30m[0, -1] > before.peak30m[0, -1]
    assert "margin × " in after.reason[0]
    assert after.reason[1] == before.reason[1]


def test_an_hour_after_its_end_the_margin_is_as_it_was():
    _, before, findings = forecast_and_findings(spike)
    assert widen(before, findings) is before


def test_nothing_falls_below_the_day_before_on_a_dead_sensors_word():
    h, before, findings = forecast_and_findings(dead)
    after = widen(before, findings)
    top = np.nanmax(h.max[0, AT - BINS_PER_DAY : AT])
    for head in HEADS:
        assert (getattr(after, head)[0, ..., MEDIAN + 1 :] >= top).all()
    assert "not below the day before" in after.reason[0]


@given(a=st.floats(1, 1e6), b=st.floats(1, 1e6))
def test_a_stronger_anomaly_never_stretches_less(a, b):
    low, high = sorted((a, b))
    assert 1.25 <= caution.factor(low) <= caution.factor(high) <= 2.0


def test_training_sees_gaps_where_something_was_odd():
    h, _, findings = forecast_and_findings(spike)
    clean = masked(h, findings)
    assert np.isnan(clean.mean[0, AT : AT + 3]).all()
    assert np.isnan(clean.max[0, AT : AT + 3]).all()
    untouched = ~findings.mask
    assert np.array_equal(clean.mean[untouched], h.mean[untouched], equal_nan=True)


def test_active_is_what_lasts_or_has_just_ended():
    one = Finding("a", "cpu", Kind.SPIKE, 0, 600, 300, 1.0, 0.5, 1.0)
    findings = Findings("cpu", ("a",), np.zeros((1, 1), np.bool_), (one, replace(one, until=None)), 1.0)
    assert len(findings.active(500)) == 2
    assert len(findings.active(700)) == 1
    assert len(findings.active(700, hold_s=200)) == 2


@pytest.mark.skipif(nab_file() is None, reason="the NAB series are not here: set FORESHAPE_SHARED to the folder with data/nab_aws.parquet")
def test_nab_series_alarm_rarely_and_more_often_where_people_saw_something():
    """19 series, 10.4 series-months, 34 published windows that cover 10 % of the time: alarms by chance would hit one in ten."""
    inside = outside = hit = 0
    months = 0.0
    for name, h in nab(nab_file()):
        spans, found = windows()[name], detect(h).found
        hits = [any(a <= f.noticed <= b for a, b in spans) for f in found]
        inside, outside = inside + sum(hits), outside + len(hits) - sum(hits)
        hit += sum(any(a <= f.noticed <= b for f in found) for a, b in spans)
        months += h.bins / BINS_PER_DAY / 30
    assert hit >= 12
    assert outside / months <= 1.5
    assert inside / (inside + outside) >= 0.4


def test_what_lasts_for_longer_than_a_day_is_no_longer_odd():
    def found(series, resource, since):
        return Finding(series, resource, Kind.FLAT, since, None, since + 300, 1.0, 0.5, 1.0)

    going = [found("a", "cpu", 100), found("b", "cpu", 90_000), found("b", "memory", 90_000)]
    assert left_habits(going, since=100) == {"cpu": frozenset({"b"}), "memory": frozenset({"b"})}
