"""The examination: held-back days only, young ones made by cutting, groups made up, nobody scored on what made him honest."""

import numpy as np
import pytest

from decide_support import NOW, history
from foreshape_controller.forecast import exam
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.exam import Plan, aged, examine, made_up, origins, sample, sit, span, window
from foreshape_controller.forecast.naive import Naive
from foreshape_controller.forecast.scores import age_bins, is_group
from foreshape_controller.model.forecast import HEADS
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S
from learned_support import DAY, Knowing, draws

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(3)


def plan(days=4.0, until=NOW, **more):
    return Plan(int(until - days * DAY), int(until), **more)


def test_origins_lie_in_the_held_back_days_on_the_grid_with_a_day_of_truth_behind_each():
    past, held = draws(series=5, days=8), plan(4, origins_per_day=2)
    found = origins(past, held, RNG)
    assert len(found) == 6, "two a day on the three days that have a day behind them"
    assert all(held.since - STEP_S <= o <= held.until - DAY for o in found)
    assert all((o - past.start) % STEP_S == 0 for o in found)
    assert found == sorted(found)


def test_an_origin_inside_a_hole_of_the_whole_cloud_is_left_out():
    past = draws(series=5, days=8)
    past.mean[:, -4 * BINS_PER_DAY :] = np.nan
    assert origins(past, plan(3), RNG) == []


def test_a_span_is_cut_from_the_grid_and_a_window_has_a_week_before_and_a_day_after():
    past = draws(series=2, days=12)
    cut = window(past, int(NOW - DAY))
    assert (cut.bins, cut.until) == (8 * BINS_PER_DAY, past.until)
    np.testing.assert_array_equal(cut.mean, past.mean[:, -8 * BINS_PER_DAY :])
    assert span(past, past.start - 999_999, past.until + 999_999).bins == past.bins


def test_a_fifth_of_the_servers_is_shown_as_if_just_born_and_no_group_is():
    past = draws(series=50, days=4, names=[*(f"vm{i}" for i in range(40)), *(f"host:{i}" for i in range(10))])
    origin = int(NOW - DAY)
    shown = aged(past, origin, np.random.default_rng(1))
    age = age_bins(shown, origin)
    young = age < 3 * BINS_PER_DAY
    assert young.sum() == 8
    assert not young[40:].any()
    assert (age[young] >= 2).all()
    assert (age[young] <= 2 * BINS_PER_DAY).all()
    np.testing.assert_array_equal(shown.mean[:, -BINS_PER_DAY:], past.mean[:, -BINS_PER_DAY:], "the truth stays")
    assert np.isfinite(past.mean).all(), "the history itself stays"


def test_groups_are_made_of_twenty_servers_where_there_are_none():
    """Every server at 1: a host of twenty at 20, sold 80; one server's gap is bridged by its last value."""
    flat = history(np.ones((40, 300)), entitlement=4.0)
    flat.mean[0, 100] = np.nan
    made = made_up(flat, np.arange(40), np.random.default_rng(0))
    assert made is not None
    assert all(is_group(s) for s in made.series)
    assert made.mean == pytest.approx(np.full((20, 300), 20.0))
    assert made.entitlement == pytest.approx(np.full(20, 80.0))


def test_a_history_with_groups_of_its_own_gets_no_made_up_ones_and_a_small_cloud_neither():
    mine = draws(series=42, days=2, names=["host:a", "project:b", *(f"vm{i}" for i in range(40))])
    assert [s for s in sample(mine, 10, RNG).series if is_group(s)] == ["host:a", "project:b"]
    assert len(sample(mine, 10, RNG).series) == 12
    assert not any(is_group(s) for s in sample(draws(series=30, days=2), 100, RNG).series)


def test_both_are_asked_the_same_and_neither_sees_the_day_that_follows():
    class Watching(Knowing):
        def predict(self, past, origin):
            self.seen = getattr(self, "seen", [])
            self.seen.append((past.mean.tobytes(), origin))
            return super().predict(past, origin)

    net, baseline = Watching(), Watching("baseline")
    list(sit(net, baseline, draws(series=10, days=8), plan()))
    assert net.seen == baseline.seen
    assert len(net.seen) == 3


def test_a_net_that_knows_more_passes_and_its_scores_are_beside_the_others():
    found = examine(Knowing(), Knowing("baseline", shift=0.7), {"cpu": draws(series=60, days=7)}, plan(5))
    strata = {v.stratum for v in found.gate.verdicts}
    assert {"mid", "young", "group"} <= strata
    assert {found.gate.verdict("cpu", "mid", h).weight for h in ("steps", "half_hours", "peak30m")} == {1.0}
    wql = {s.predictor: s.wql for s in found.scores if (s.stratum, s.head) == ("mid", "half_hours")}
    assert set(wql) == {"net", "baseline", "naive", "model"}
    assert wql["net"] < min(wql["baseline"], wql["naive"])
    windows = {s.predictor: s.windows for s in found.scores if (s.stratum, s.head) == ("mid", "steps")}
    assert len(set(windows.values())) == 1, "all on the same windows"


def test_a_net_that_knows_less_fails_and_the_model_is_the_baseline_made_honest():
    """A baseline of half the true width holds 48 % in its 80 % interval; the model, on days that did not fit it, about 80 %."""
    found = examine(Knowing(shift=3.0), Knowing("baseline", stretch=0.5), {"cpu": draws(series=60, days=11)}, plan(8))
    assert {found.gate.verdict("cpu", "mid", h).weight for h in ("steps", "half_hours")} == {0.0}
    inside = {s.predictor: s.inside(0.8) for s in found.scores if (s.stratum, s.head) == ("mid", "half_hours")}
    assert inside["baseline"] == pytest.approx(0.48, abs=0.03)
    assert inside["model"] == pytest.approx(0.8, abs=0.04)


def test_calibration_is_crossed_no_day_is_scored_with_a_calibration_that_saw_it():
    sittings = list(sit(Knowing(), Knowing("baseline"), draws(series=20, days=9), plan(6)))
    gate = exam.decide(exam.bouts(sittings))
    middle = np.median([s.net.origin for s in sittings])
    crossed = list(exam.crossed(sittings, gate))
    assert len(crossed) == len(sittings) == 5
    for sitting, calibration in crossed:
        fitted_on_late_days = calibration.corrections.fitted_at > middle
        assert fitted_on_late_days == (sitting.net.origin <= middle)


def test_without_any_origin_there_is_no_verdict_and_no_error():
    found = examine(Knowing(), Knowing("baseline"), {"cpu": draws(series=10, days=1)}, plan(0.5))
    assert (found.gate.verdicts, found.scores, found.sittings) == ((), (), 0)


def test_flows_are_examined_as_flows():
    found = examine(
        Knowing(), Knowing("baseline", shift=1.0), {"net": draws(series=30, days=8, resource="net", entitlement=np.nan)}, plan()
    )
    assert {v.stratum for v in found.gate.verdicts} == {"flow"}


@pytest.mark.parametrize("bins", [0, 1, 5, 6, 7, 40, 288, 300, 900])
def test_the_naive_forecast_answers_whatever_the_length(bins):
    past = history(np.full((4, bins), 1.0)) if bins else history(np.empty((4, 0)))
    said = Naive().predict(past, int(NOW))
    for head in HEADS:
        fan = getattr(said, head)
        assert np.isfinite(fan).all()
        assert (np.diff(fan, axis=-1) >= 0).all()


def test_the_naive_forecast_says_now_and_its_errors():
    """A walk of ±0 stays where it is; the baseline, which looks at three days and not at two, agrees within what a day's draws differ."""
    past = draws(series=3, days=3)
    naive, base = Naive().predict(past, int(NOW)), Baseline().predict(past, int(NOW))
    assert naive.steps[0, 0, 6] == pytest.approx(past.mean[0, -1], abs=0.5)
    assert naive.half_hours[:, -1] == pytest.approx(base.half_hours[:, -1], abs=0.2)
