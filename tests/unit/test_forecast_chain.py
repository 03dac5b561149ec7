"""The chain: who speaks for each series, why, and that nothing odd comes out whatever goes wrong with the net."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import NOW, history
from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.calibrate import Calibration
from foreshape_controller.forecast.chain import Chain, Champion, sane, uncalibrated
from foreshape_controller.model.forecast import HEADS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.model.learned import STRATA, WEIGHTS, Cell, Corrections, Gate, Verdict
from learned_support import Knowing, draws

pytestmark = pytest.mark.unit

MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)


def verdicts(weight=1.0, strata=STRATA, resource="cpu", **heads):
    """The same verdict for all strata, with other weights for the heads that are named."""
    return Gate(
        tuple(
            Verdict(resource=resource, stratum=s, head=h, weight=w, reason="won by 8 %" if w else "lost (1.04)", days=3)
            for s in strata
            for h in HEADS
            for w in [heads.get(h, weight)]
        )
    )


def chain(net, gate=None, baseline=None, cells=(), **champion):
    found = Champion("m1", net, verdicts() if gate is None else gate, Calibration(Corrections(tuple(cells))), **champion)
    return Chain(baseline or Knowing("baseline", shift=1.0, source="baseline"), found)


def predict(net, past=None, **words):
    return chain(net, **words).predict(draws() if past is None else past, int(NOW))


def assert_sane(forecast):
    for head in HEADS:
        fan = getattr(forecast, head)
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) >= 0).all()
    assert (forecast.peak30m >= forecast.steps.max(axis=1)).all()
    assert (forecast.peak24h >= forecast.peak30m).all()


def test_without_a_champion_the_baseline_speaks():
    past = draws(series=4)
    said, alone = Chain(Baseline()).predict(past, int(NOW)), Baseline().predict(past, int(NOW))
    assert said.source == ("baseline",) * 4
    np.testing.assert_array_equal(said.steps, alone.steps)


def test_where_the_net_has_won_it_speaks_alone_and_the_baseline_is_not_asked():
    baseline = Knowing("baseline")
    said = predict(Knowing(), baseline=baseline)
    assert set(said.source) == {"net"}
    assert said.reason[0] == "net: model m1 won by 8 % on 3 held-back days in stratum mid"
    assert baseline.asked == []
    assert said.steps[0, 0, MEDIAN] == pytest.approx(5.0)


def test_where_it_lost_the_baseline_speaks_and_says_so():
    net = Knowing()
    said = predict(net, gate=verdicts(0.0))
    assert set(said.source) == {"baseline"}
    assert said.reason[0] == "as it is; not the net: lost (1.04), stratum mid"
    assert said.steps[0, 0, MEDIAN] == pytest.approx(6.0)
    assert net.asked == [], "a net that is heard nowhere is not asked"


def test_a_blend_hears_both_by_weight():
    """Medians 5 and 6, three quarters net: 5.25."""
    said = predict(Knowing(), gate=verdicts(0.75))
    assert set(said.source) == {"net+baseline"}
    assert said.steps[0, 0, MEDIAN] == pytest.approx(5.25)
    assert said.reason[0].startswith("75 % net, the rest baseline: model m1 won by 8 %")


def test_heads_may_differ_and_the_reason_speaks_of_the_one_that_sizes():
    said = predict(Knowing(), gate=verdicts(0.0, half_hours=1.0))
    assert set(said.source) == {"baseline"}
    assert said.reason[0].endswith("not the net: lost (1.04), stratum mid; otherwise: half_hours 100 % net")
    assert said.half_hours[0, 0, MEDIAN] == pytest.approx(5.0)
    assert said.steps[0, 0, MEDIAN] == pytest.approx(6.0)


def test_series_of_other_strata_are_heard_by_their_own_verdicts():
    """Entitlements of 25 and 200 make the same demand mid (6.6 of 25) and idle (of 200)."""
    past = draws(series=2)
    past.entitlement[1] = 200.0
    said = predict(Knowing(), past, gate=verdicts(strata=("mid",)))
    assert said.source == ("net", "baseline")
    assert "never tried there" in said.reason[1]


def test_a_series_on_which_the_net_is_silent_goes_to_the_baseline_and_only_that():
    baseline = Knowing("baseline", shift=1.0, source="baseline")
    said = predict(Knowing(silent=("vm2",)), draws(series=3), baseline=baseline)
    assert said.source == ("net", "baseline", "net")
    assert "knows too little of this series" in said.reason[1]
    assert baseline.asked == [("vm2",)]


def test_a_newborn_that_goes_to_the_baseline_brings_peers_so_that_the_fleet_has_a_shape():
    past = draws(series=20)
    past.mean[0], past.max[0] = np.nan, np.nan
    said = predict(Knowing(silent=("vm1",)), past, baseline=Baseline())
    assert said.source[0] == "fleet"
    assert "shape of 19 series" in said.reason[0]


def test_without_data_or_peers_the_entitlement_speaks_and_is_not_moved():
    past = history(np.full((1, 900), np.nan), entitlement=4.0)
    up = [
        Cell(voice=v, resource="cpu", stratum="young", head=h, shifts=(1.0,) * 13, series=99, values=999)
        for v in ("model", "baseline")
        for h in HEADS
    ]
    said = predict(Knowing(silent=("vm1",)), past, baseline=Baseline(), cells=up)
    assert said.source == ("entitlement",)
    np.testing.assert_array_equal(said.steps, Baseline().predict(past, int(NOW)).steps)


def test_what_the_gate_chose_and_the_baseline_in_its_place_are_moved_by_their_own_shifts():
    """vm2's net is silent: the baseline's shift of 0 there; vm1 is lifted by one width of its fan (3.29) and the thousandth."""
    up = [Cell(voice="model", resource="cpu", stratum="mid", head="steps", shifts=(1.0,) * 13, series=99, values=999)]
    said = predict(Knowing(silent=("vm2",)), draws(series=2), cells=up)
    assert said.steps[0, 0, MEDIAN] == pytest.approx(5.0 + 3.29 + 0.025, abs=0.01)
    assert said.steps[1, 0, MEDIAN] == pytest.approx(6.0)


def test_uncalibrated_leaves_the_rest_as_it_is():
    up = [Cell(voice="model", resource="cpu", stratum="mid", head="steps", shifts=(1.0,) * 13, series=99, values=999)]
    found = chain(Knowing(), cells=up).champion
    raw = Chain(Knowing(), uncalibrated(found)).predict(draws(), int(NOW))
    assert raw.steps[0, 0, MEDIAN] == pytest.approx(5.0)
    assert set(raw.source) == {"net"}


class Broken:
    name = "net"

    def __init__(self, error=None):
        self.error = error

    def predict(self, past, origin):
        if self.error:
            raise self.error
        return replace(Knowing().predict(past, origin), series=past.series[:-1])


@pytest.mark.parametrize(
    ("net", "word"),
    [(Broken(ModelError("weights are damaged")), "weights are damaged"), (Broken(), "other series"), (None, "torch is not installed")],
)
def test_a_net_that_fails_costs_nobody_his_forecast(net, word):
    said = predict(net, silence="torch is not installed")
    assert set(said.source) == {"baseline"}
    assert word in said.reason[0]
    assert_sane(said)


def test_a_resource_that_the_net_does_not_know_goes_to_the_baseline():
    net = Knowing()
    past = draws(series=3, resource="servers", names=["host:a", "host:b", "project:c"], entitlement=np.nan)
    said = predict(net, past, gate=verdicts(resource="servers"), baseline=Baseline())
    assert set(said.source) == {"baseline"}
    assert "does not forecast servers" in said.reason[0]
    assert net.asked == []


@pytest.mark.parametrize("resource", ["disk", "net"])
def test_flows_have_no_entitlement_and_are_forecast_all_the_same(resource):
    said = predict(
        Knowing(), draws(series=3, resource=resource, entitlement=np.nan), gate=verdicts(0.5, resource=resource), baseline=Baseline()
    )
    assert set(said.source) == {"net+baseline"}
    assert_sane(said)


def test_groups_are_heard_by_the_verdict_on_groups():
    past = draws(series=2, names=["host:a", "vm1"])
    said = predict(Knowing(), past, gate=verdicts(strata=("group",)))
    assert said.source == ("net", "baseline")


def test_no_series_is_no_trouble():
    assert predict(Knowing(), draws(series=3).pick([])).series == ()


def test_a_fan_beyond_all_sense_is_cut_at_half_more_than_was_sold_or_seen():
    said = predict(Knowing(shift=1e6))
    assert said.steps.max() == pytest.approx(1.5 * 25)


odd = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-30, 1.0, 1e6])


@given(
    st.lists(st.lists(odd, min_size=40, max_size=40), min_size=1, max_size=4),
    st.integers(0, 700),
    st.sampled_from(WEIGHTS),
    st.sampled_from(WEIGHTS),
    st.sampled_from([0.0, 4.0, np.nan]),
    st.booleans(),
)
@settings(max_examples=40)
def test_nothing_odd_comes_out_of_anything_odd(rows, steady, sizing, other, entitlement, silent):
    past = history([[1.0] * steady + row for row in rows], entitlement=entitlement)
    net = Knowing(shift=-3.0, stretch=4.0, silent=("vm1",) if silent else ())
    cells = [
        Cell(voice=v, resource="cpu", stratum=s, head=h, shifts=tuple(np.linspace(1, -1, 13)), series=99, values=999)
        for v in ("model", "baseline")
        for s in STRATA
        for h in HEADS
    ]
    said = predict(net, past, gate=verdicts(other, peak30m=sizing), baseline=Baseline(), cells=cells)
    assert_sane(said)
    assert all(said.source)
    assert all(said.reason)


def test_the_order_of_series_does_not_matter():
    past = draws(series=6)
    past.mean[2, :-10], past.max[2, :-10] = np.nan, np.nan
    order = [3, 0, 5, 2, 1, 4]
    a = predict(Knowing(silent=("vm4",)), past, baseline=Baseline()).pick(order)
    b = predict(Knowing(silent=("vm4",)), past.pick(order), baseline=Baseline())
    assert (a.series, a.source, a.reason) == (b.series, b.source, b.reason)
    for head in HEADS:
        np.testing.assert_allclose(getattr(a, head), getattr(b, head), rtol=1e-5)


def test_a_longer_windows_peak_is_lifted_to_the_shorters():
    past = draws(series=1, days=1)
    raw = Knowing().predict(past, int(NOW))
    raw.peak24h[:] = 0.1
    assert (sane(raw, past).peak24h == sane(raw, past).peak30m).all()
    assert past.bins == BINS_PER_DAY
    assert raw.peak30m[0, HIGH] > 0.1
