"""The gate: a net is heard where it has won, by enough, often enough, and not by luck."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import NOW
from foreshape_controller.forecast import gate as gates
from foreshape_controller.forecast.gate import Bout, blended, bout, decide, fall_back, surety, weights_of
from foreshape_controller.model.forecast import HEADS, LEVELS
from foreshape_controller.model.learned import WEIGHTS, Gate, Score, Verdict
from learned_support import DAY, Knowing, draws

pytestmark = pytest.mark.unit

SERIES = tuple(f"vm{i + 1}" for i in range(20))


def fought(loss, days=8, series=SERIES):
    """Bouts with given losses [series, weights], the same each day."""
    losses = np.broadcast_to(np.asarray(loss, float), (len(series), len(WEIGHTS)))
    each = dict.fromkeys(HEADS, losses)
    return [Bout("cpu", int(NOW - DAY * d), series, np.full(len(series), "mid"), each) for d in range(days)]


def verdict(found, head="peak30m"):
    return found.verdict("cpu", "mid", head)


def met(net, baseline, *, series=20, days=8):
    truth = draws(series=series, days=days + 1)
    strata = np.full(series, "mid")
    origins = [int(NOW - DAY * (d + 1)) for d in range(days)]
    return decide([bout(net.predict(truth, o), baseline.predict(truth, o), truth, strata) for o in origins])


def test_a_net_that_knows_more_is_heard_alone():
    found = met(Knowing(), Knowing(shift=1.0))
    assert {v.weight for v in found.verdicts} == {1.0}
    v = verdict(found)
    assert (v.windows, v.series, v.days) == (160, 20, 8)
    assert v.reason.startswith("won by")
    assert v.ratio == v.net_ratio < 0.9


def test_a_net_that_knows_less_is_not_heard():
    v = verdict(met(Knowing(shift=1.0), Knowing()))
    assert v.weight == 0
    assert v.reason == f"lost ({v.net_ratio:.2f})"
    assert v.net_ratio > 1


def test_two_that_err_to_opposite_sides_are_blended():
    """The net is a half too high, the baseline a half too low: half of each is right."""
    v = verdict(met(Knowing(shift=0.5), Knowing(shift=-0.5)), "half_hours")
    assert v.weight == 0.5
    assert v.ratio < v.net_ratio


def test_as_good_as_the_baseline_is_not_enough():
    v = verdict(decide(fought([1.0, 1.0, 0.995, 1.0, 1.0])))
    assert v.weight == 0
    assert "0.995, 0.99 is needed" in v.reason


def test_a_blend_must_be_more_than_one_percent_better_than_the_net_alone():
    """Losses of the weights 0, ¼, ½, ¾, 1 by the baseline's; a blend costs the baseline's time."""
    assert verdict(decide(fought([1.0, 0.95, 0.893, 0.9, 0.9]))).weight == 1.0
    assert verdict(decide(fought([1.0, 0.95, 0.88, 0.9, 0.9]))).weight == 0.5


def test_one_lucky_big_series_does_not_carry_the_net_in():
    """One of 20 series is a hundred times the others and wins 5 %, the others lose 5 %: 1 − 0.05 · 81 / 119 is below 0.98."""
    loss = np.ones((20, len(WEIGHTS)))
    loss[:, 1:] = 1.05
    loss[0] = [100, 95, 95, 95, 95]
    v = verdict(decide(fought(loss)))
    assert v.weight == 0
    assert v.ratio == pytest.approx((95 + 19 * 1.05) / 119, abs=1e-3)
    assert v.sure == pytest.approx(1 - (19 / 20) ** 20, abs=0.06), "better whenever the big one was drawn: 64 %"
    assert "luck" in v.reason


@pytest.mark.parametrize(
    ("bouts", "word"),
    [
        (fought([1.0, 0.5, 0.5, 0.5, 0.5], days=1), "1 days of 2"),
        (fought([1.0, 0.5, 0.5, 0.5, 0.5], days=2), "40 windows of 60"),
        (fought([1.0, 0.5, 0.5, 0.5, 0.5], days=30, series=SERIES[:7]), "7 series of 8"),
        (fought([0.0, 0.0, 0.0, 0.0, 0.0]), "no error"),
    ],
)
def test_without_evidence_no_weight(bouts, word):
    v = verdict(decide(bouts))
    assert v.weight == 0
    assert word in v.reason


def test_where_it_was_never_tried_it_is_not_heard():
    v = decide([]).verdict("disk", "flow", "steps")
    assert v.weight == 0
    assert "never tried" in v.reason


def test_windows_on_which_one_was_silent_do_not_count():
    truth = draws(series=20, days=3)
    found = bout(
        Knowing(silent=SERIES[:5]).predict(truth, int(NOW - DAY)), Knowing().predict(truth, int(NOW - DAY)), truth, np.full(20, "mid")
    )
    assert np.isnan(found.losses["steps"][:5]).all()
    assert np.isfinite(found.losses["steps"][5:]).all()


ratios = st.lists(st.floats(0.3, 3.0), min_size=len(WEIGHTS) - 1, max_size=len(WEIGHTS) - 1)


@given(ratios)
@settings(max_examples=60)
def test_what_is_chosen_has_always_won(found):
    """Whatever the losses: weight 0, or a ratio of at most the margin; and no other winner is more than the gain better."""
    v = verdict(decide(fought([1.0, *found])))
    won = [r for r in found if r <= gates.MARGIN]
    if v.weight == 0:
        assert not won
        return
    chosen = found[WEIGHTS.index(v.weight) - 1]
    assert chosen <= gates.MARGIN
    assert chosen <= min(won) * (1 + gates.BLEND_GAIN) + 1e-9
    assert v.weight == 1 or found[-1] > chosen * (1 + gates.BLEND_GAIN) - 1e-9


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_the_order_of_series_and_bouts_does_not_matter_to_the_ratio(seed):
    rng = np.random.default_rng(seed)
    loss = rng.gamma(2, 1, (20, len(WEIGHTS)))
    order = rng.permutation(20)
    turned = [replace(b, series=tuple(SERIES[i] for i in order)) for b in fought(loss[order])][::-1]
    assert verdict(decide(turned)) == verdict(decide(fought(loss)))


def test_the_bootstrap_draws_series_and_days_not_windows():
    """Half of the series win by as much as the others lose, on every day: better in about half of the resamples. Days likewise."""
    loss = np.ones((40, 40, 5))
    loss[:20, :, 4], loss[20:, :, 4] = 0.9, 1.1
    assert surety(loss, 4000)[4] == pytest.approx(0.5, abs=0.1)
    assert surety(loss.transpose(1, 0, 2), 4000)[4] == pytest.approx(0.5, abs=0.1)


def test_one_odd_day_does_not_carry_the_net_in():
    """On one of eight days the baseline fails altogether (loss 3 against 0.5), on the others it is 2 % better."""
    usual, odd = fought([1.0, 1.02, 1.02, 1.02, 1.02], days=7), fought([3.0, 0.5, 0.5, 0.5, 0.5], days=8)[7:]
    v = verdict(decide(usual + odd))
    assert v.ratio == pytest.approx((7 * 1.02 + 0.5) / 10, abs=1e-3)
    assert v.sure == pytest.approx(1 - (7 / 8) ** 8, abs=0.06), "better whenever the odd day was drawn: 66 %"
    assert v.weight == 0


def test_the_peak_of_a_day_wants_a_week_of_days():
    found = decide(fought([1.0, 0.5, 0.5, 0.5, 0.5], days=6))
    assert verdict(found, "peak24h").weight == 0
    assert "6 days of 7" in verdict(found, "peak24h").reason
    assert verdict(found, "half_hours").weight == 1


@given(st.floats(0, 1), st.floats(-3, 3), st.floats(0.1, 3))
def test_a_blend_lies_between_the_two_and_never_crosses(weight, shift, stretch):
    truth = draws(series=2, days=1)
    net, baseline = Knowing(shift=shift, stretch=stretch).predict(truth, int(NOW)), Knowing().predict(truth, int(NOW))
    mixed = blended(net, baseline, dict.fromkeys(HEADS, weight))
    for head in HEADS:
        a, b, m = (getattr(f, head) for f in (net, baseline, mixed))
        assert (m >= np.minimum(a, b) - 1e-4).all()
        assert (m <= np.maximum(a, b) + 1e-4).all()
        assert (np.diff(m, axis=-1) >= 0).all()


def test_a_weight_of_nothing_does_not_hear_a_silent_net():
    truth = draws(series=2, days=1)
    silent = Knowing(silent=("vm1", "vm2")).predict(truth, int(NOW))
    assert np.isfinite(blended(silent, Knowing().predict(truth, int(NOW)), dict.fromkeys(HEADS, 0.0)).steps).all()


def won(head="peak30m", weight=1.0):
    return Verdict(resource="cpu", stratum="mid", head=head, weight=weight, reason="won by 8 %")


def live(covered, windows=1000, head="peak30m"):
    """Scores whose 99 % level held so often."""
    below = tuple(round(windows * (covered if level == 0.99 else level)) for level in LEVELS)
    return Score(resource="cpu", stratum="mid", head=head, count=windows, windows=windows, below=below)


def test_a_verdict_falls_back_when_its_live_coverage_is_lost():
    after = fall_back(Gate((won(), won("steps"))), [live(0.95)])
    assert verdict(after).weight == 0
    assert "95.0 %" in verdict(after).reason
    assert verdict(after, "steps").weight == 1, "the other head was not seen to fail"


@pytest.mark.parametrize(("covered", "windows"), [(0.99, 1000), (0.978, 1000), (0.90, 100)])
def test_a_verdict_stays_when_coverage_holds_within_the_error_of_counting_or_little_was_seen(covered, windows):
    """0.978 of 1000 has a standard error of 0.0046: 0.98 is within it."""
    assert fall_back(Gate((won(),)), [live(covered, windows)]) == Gate((won(),))


def test_live_scores_of_several_days_are_added_up():
    days = [live(0.95, 100) for _ in range(5)]
    assert verdict(fall_back(Gate((won(),)), days)).weight == 0


@given(st.floats(0, 1), st.integers(0, 5000), st.sampled_from(WEIGHTS))
def test_falling_back_never_gives_weight(covered, windows, weight):
    after = fall_back(Gate((won(weight=weight),)), [live(covered, windows)])
    assert verdict(after).weight in (0.0, weight)


def test_weights_are_looked_up_by_stratum():
    found = weights_of(Gate((won(),)), "cpu", np.array(["idle", "mid", "mid"]))
    assert found["peak30m"].tolist() == [0, 1, 1]
    assert found["steps"].tolist() == [0, 0, 0]
    assert weights_of(Gate(), "cpu", np.array([], str))["steps"].shape == (0,)
