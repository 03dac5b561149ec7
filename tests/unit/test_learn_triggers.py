"""When a model in office stands back or learns anew, and what a challenger has to show."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.learning import GRAVITY, Action, Limits, Live, Terms, contest, judge_live
from foreshape_controller.errors import ConfigError
from foreshape_controller.loops.learn import clock_time

pytestmark = pytest.mark.unit

LIMITS = Limits()
SOUND = Live(
    windows=1000,
    champion_wql=0.90,
    baseline_wql=1.00,
    champion_inside98=0.98,
    baseline_inside98=0.98,
    champion_below99=0.99,
    baseline_below99=0.99,
    promised_ratio=0.88,
)


def action(standing: Action = Action.FINE, **seen: float) -> Action:
    return judge_live(replace(SOUND, **seen), standing, LIMITS).action


def test_a_model_that_does_what_it_promised_is_fine():
    assert judge_live(SOUND, Action.FINE, LIMITS).reasons == ()


def test_one_that_loses_to_the_baseline_stands_back_and_says_by_how_much():
    verdict = judge_live(replace(SOUND, champion_wql=1.2), Action.FINE, LIMITS)
    assert verdict.action is Action.FALL_BACK
    assert "1.20 of the baseline's" in verdict.reasons[0]


def test_one_that_still_wins_but_by_less_than_promised_learns_anew():
    """Promised .88, stands at .99: more than .10 above."""
    assert action(champion_wql=0.99) is Action.RETRAIN


def test_lost_coverage_stands_back_where_the_baseline_covers_more_and_else_learns_anew():
    assert action(champion_inside98=0.95) is Action.FALL_BACK
    assert action(champion_inside98=0.95, baseline_inside98=0.94) is Action.RETRAIN
    assert action(champion_below99=0.97) is Action.FALL_BACK
    assert action(champion_below99=0.97, baseline_below99=0.96) is Action.RETRAIN


def test_who_stood_back_stays_back_until_another_model_is_in_office():
    assert action(Action.FALL_BACK) is Action.FALL_BACK


@given(st.sampled_from([Action.FINE, Action.RETRAIN]), st.floats(0, 10))
def test_a_handful_of_forecasts_changes_nothing(standing, wql):
    assert action(standing, windows=LIMITS.least_windows - 1, champion_wql=wql) is standing


def test_between_the_limits_the_standing_verdict_stays():
    """Promised .88; .95 is above the inner limit of .93 and below the outer of .98."""
    assert action(Action.FINE, champion_wql=0.95) is Action.FINE
    assert action(Action.RETRAIN, champion_wql=0.95) is Action.RETRAIN
    assert action(Action.RETRAIN, champion_wql=0.92) is Action.FINE


@given(st.lists(st.floats(0.94, 0.97), min_size=2, max_size=20), st.sampled_from([Action.FINE, Action.RETRAIN]))
def test_wandering_between_the_limits_never_flips_the_verdict(ratios, standing):
    for ratio in ratios:
        assert action(standing, champion_wql=ratio) is standing


shares = st.floats(0, 1)


@st.composite
def lives(draw) -> Live:
    wql = st.floats(0, 10)
    return Live(
        draw(st.integers(0, 5000)),
        draw(wql),
        draw(wql),
        draw(shares),
        draw(shares),
        draw(shares),
        draw(shares),
        draw(st.none() | st.floats(0.1, 1)),
    )


@given(lives(), st.sampled_from(list(Action)), st.floats(0, 5))
def test_more_error_never_makes_the_verdict_milder(live, standing, more):
    worse = replace(live, champion_wql=live.champion_wql + more)
    milder = GRAVITY.index(judge_live(worse, standing, LIMITS).action) < GRAVITY.index(judge_live(live, standing, LIMITS).action)
    assert not milder


@given(lives(), st.sampled_from(list(Action)), shares)
def test_less_coverage_never_makes_the_verdict_milder(live, standing, less):
    worse = replace(live, champion_inside98=live.champion_inside98 * less, champion_below99=live.champion_below99 * less)
    assert GRAVITY.index(judge_live(worse, standing, LIMITS).action) >= GRAVITY.index(judge_live(live, standing, LIMITS).action)


@given(lives(), st.sampled_from(list(Action)))
def test_every_verdict_that_is_not_fine_has_a_reason_and_asking_again_says_the_same(live, standing):
    once = judge_live(live, standing, LIMITS)
    assert once.reasons or once.action is Action.FINE
    assert judge_live(live, once.action, LIMITS).action is once.action


# --- a challenger ---


def test_a_challenger_wins_by_the_mean_over_heads_and_resources():
    """√(.8 · 1.0) = .894."""
    result = contest({("cpu", "steps"): 0.8, ("memory", "steps"): 1.0}, Terms())
    assert result.won
    assert result.ratio == pytest.approx(0.8944, abs=1e-4)


def test_one_head_that_is_much_worse_loses_it_all():
    result = contest({("cpu", "steps"): 0.5, ("memory", "peak30m"): 1.06}, Terms())
    assert not result.won
    assert "memory peak30m" in result.reason


@pytest.mark.parametrize("ratios", [{}, {("cpu", "steps"): float("nan")}, {("cpu", "steps"): 0.0}])
def test_nothing_to_compare_wins_nothing(ratios):
    assert not contest(ratios, Terms()).won


def test_as_good_as_the_one_in_office_is_not_better():
    assert not contest({("cpu", "steps"): 1.0, ("cpu", "peak24h"): 1.0}, Terms()).won


cells = st.tuples(st.sampled_from(["cpu", "memory", "disk", "net"]), st.sampled_from(["steps", "half_hours", "peak30m", "peak24h"]))


@given(st.dictionaries(cells, st.floats(0.5, 1.5), min_size=1), st.floats(0.5, 1.0))
def test_a_challenger_that_is_better_everywhere_still_wins_where_a_worse_one_won(ratios, gain):
    won = contest(ratios, Terms()).won
    assert not won or contest({c: r * gain for c, r in ratios.items()}, Terms()).won


@given(st.dictionaries(cells, st.floats(0.01, 0.9), min_size=1), cells, st.floats(0.01, 5))
def test_a_winner_is_never_clearly_worse_anywhere(ratios, cell, ratio):
    """One cell of any ratio beside better ones: drawn so, about half of the challengers win."""
    won = contest({**ratios, cell: ratio}, Terms()).won
    assert not won or ratio <= Terms().allowed(*cell)


@pytest.mark.parametrize("cell", [("disk", "steps"), ("cpu", "peak24h")])
def test_what_nothing_is_sized_by_and_day_peaks_may_vary_more(cell):
    assert contest({("cpu", "steps"): 0.8, cell: 1.2}, Terms()).won
    assert not contest({("cpu", "steps"): 0.7, cell: 1.3}, Terms()).won


# --- the time of the night ---


def test_the_time_of_training_is_read_as_a_time_of_day():
    assert clock_time("02:30") == (2, 30)


@pytest.mark.parametrize("text", ["2", "25:00", "02:60", "two", "02:00:00", " "])
def test_what_is_no_time_is_refused_with_the_option_s_name(text):
    with pytest.raises(ConfigError, match="train_at"):
        clock_time(text)
