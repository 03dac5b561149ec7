"""Calibration: fans that missed are moved, fans that did not are left, and little evidence moves little."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import NOW
from foreshape_controller.forecast import scores
from foreshape_controller.forecast.calibrate import Calibration, conformal, misses, refit, sizes
from foreshape_controller.model.forecast import HEADS, LEVELS
from learned_support import DAY, LEVEL, Knowing, draws

pytestmark = pytest.mark.unit

MEDIAN = LEVELS.index(0.5)


def lesson(net, days=13, series=30, seed=1):
    """Misses of a predictor at one origin of each of so many days."""
    truth = draws(series=series, days=days + 1, seed=seed)
    strata = np.full(series, "mid")
    origins = [int(NOW - DAY * (d + 1)) for d in range(days)]
    return [misses(net.predict(truth, o), truth, strata) for o in origins]


def coverage(calibration, net, seed=99, series=80):
    """80/90/98 % intervals of each head on fresh series."""
    truth = draws(series=series, days=2, seed=seed)
    origin, strata = int(NOW - DAY), np.full(series, "mid")
    said = calibration.apply(net.predict(truth, origin), strata, sizes(truth, origin))
    found = scores.tally(scores.marks(said, truth), strata, "cpu", "")
    return {s.head: [s.inside(c) for c in (0.8, 0.9, 0.98)] for s in found}


def test_a_fan_that_is_too_narrow_is_widened_until_it_holds():
    narrow = Knowing(stretch=0.5)
    before, after = coverage(Calibration.fit([]), narrow), coverage(Calibration.fit(lesson(narrow)), narrow)
    for head in ("steps", "half_hours"):
        assert before[head][0] < 0.6
        assert after[head] == pytest.approx([0.8, 0.9, 0.98], abs=0.05), "480 values of steps: a standard error of 2 points"


def test_a_fan_that_is_too_wide_is_narrowed():
    wide = Knowing(stretch=2.0)
    after = coverage(Calibration.fit(lesson(wide)), wide)
    assert after["half_hours"] == pytest.approx([0.8, 0.9, 0.98], abs=0.03)


def test_a_fan_that_is_too_low_is_lifted():
    low = Knowing(shift=-1.0)
    truth = draws(series=3, days=2)
    calibration = Calibration.fit(lesson(low))
    said = calibration.apply(low.predict(truth, int(NOW)), np.full(3, "mid"), sizes(truth, int(NOW)))
    assert said.steps[0, 0, MEDIAN] == pytest.approx(LEVEL, abs=0.15)


def test_an_honest_fan_stays_where_it_is():
    honest = Knowing()
    truth = draws(series=3, days=2)
    raw = honest.predict(truth, int(NOW))
    said = Calibration.fit(lesson(honest)).apply(raw, np.full(3, "mid"), sizes(truth, int(NOW)))
    np.testing.assert_allclose(said.half_hours, raw.half_hours, atol=0.25)


def test_day_peaks_are_moved_only_by_what_held_from_one_half_of_the_days_to_the_other():
    """The peak's miss is turned round between the halves: what would mend the one half breaks the other."""
    early, late = Knowing(shift=-2.0), Knowing(shift=2.0)
    found = lesson(early)[7:] + lesson(late)[:6]
    (cell,) = (c for c in Calibration.fit(found).corrections.cells if c.head == "peak24h" and c.stratum == "mid")
    assert max(abs(s) for s in cell.shifts[2:-2]) == 0


def test_day_peaks_of_few_days_count_in_part():
    """The same miss, seen on 4 days or on 12: 4 / 12 of the shift, since it helped from half to half in both."""
    low = Knowing(shift=-3.0)

    def shift(days):
        (cell,) = (c for c in Calibration.fit(lesson(low, days=days)).corrections.cells if c.head == "peak24h" and c.stratum == "mid")
        return cell.shifts[MEDIAN]

    assert shift(12) > 0
    assert shift(4) == pytest.approx(shift(12) / 3, rel=0.2)


def test_too_few_series_move_nothing():
    assert Calibration.fit(lesson(Knowing(shift=-1.0), series=9)).corrections.cells == ()


def test_levels_near_the_end_wait_for_many_series_and_take_the_coarser_groups_shift():
    """The 99 % level needs 100 series. 30 "mid" ones that miss by 1 beside 90 "idle" ones that miss by 3: the pooled shift."""
    mid, idle = lesson(Knowing(shift=-1.0), series=30), lesson(Knowing(shift=-3.0), series=120, seed=2)
    for m in idle:
        m.strata[:90], m.strata[90:] = "idle", "elsewhere"
    renamed = [type(m)(**{**vars(m), "series": tuple(f"other-{s}" for s in m.series)}) for m in idle]
    cells = {(c.stratum, c.head): c for c in Calibration.fit(mid + renamed).corrections.cells}
    pooled, own = cells["server", "steps"], cells["mid", "steps"]
    assert own.shifts[-1] == pooled.shifts[-1]
    assert own.shifts[MEDIAN] == pytest.approx(1 / 3.29, abs=0.05), "in widths: 5 % to 95 % of a normal fan is 3.29 wide"


def test_a_stratum_that_was_never_seen_takes_its_group_and_a_group_that_was_never_seen_nothing():
    low = Knowing(shift=-1.0)
    calibration = Calibration.fit(lesson(low))
    truth = draws(series=3, days=2)
    raw = low.predict(truth, int(NOW))
    said = calibration.apply(raw, np.array(["busy", "young", "group"]), sizes(truth, int(NOW)))
    assert said.steps[0, 0, MEDIAN] > raw.steps[0, 0, MEDIAN] + 0.5
    np.testing.assert_array_equal(said.steps[1:], raw.steps[1:])


def test_voices_and_resources_are_kept_apart():
    calibration = Calibration.fit(lesson(Knowing(shift=-1.0)))
    truth = draws(series=2, days=2)
    raw = Knowing().predict(truth, int(NOW))
    same = calibration.apply(raw, np.full(2, "mid"), sizes(truth, int(NOW)), "baseline")
    np.testing.assert_array_equal(same.steps, raw.steps)


def test_a_refit_follows_the_days_step_by_step():
    """Each day's correction counts for 0.3 of itself: after ten days a miss of 1 is left to 0.7^10 = 3 %."""
    low, calibration = Knowing(shift=-1.0), Calibration.fit([])
    truth, strata = draws(series=40, days=2), np.full(40, "mid")
    origin = int(NOW - DAY)
    for _ in range(10):
        said = calibration.apply(low.predict(truth, origin), strata, sizes(truth, origin))
        calibration = refit(calibration, [misses(said, truth, strata)])
    said = calibration.apply(low.predict(truth, origin), strata, sizes(truth, origin))
    assert said.half_hours[0, 0, MEDIAN] == pytest.approx(LEVEL, abs=0.12)


def test_levels_near_the_end_move_outwards_only_on_the_word_of_few_series():
    """30 series: the 99 % level of a fan that is twice too wide stays, the 80 % level comes in."""
    (cell,) = (c for c in Calibration.fit(lesson(Knowing(stretch=2.0))).corrections.cells if (c.stratum, c.head) == ("mid", "half_hours"))
    assert cell.shifts[-1] == 0
    assert cell.shifts[LEVELS.index(0.8)] < -0.1


def test_what_a_refit_widened_by_chance_it_takes_back():
    """Days that miss upwards push the 99 % level out, days that do not bring it back, never inside where it began."""
    calibration, strata = Calibration.fit([]), np.full(30, "mid")
    for shift, days in ((-2.0, 5), (2.0, 60)):
        for day in range(days):
            truth = draws(series=30, days=2, seed=day)
            origin = int(NOW - DAY)
            said = calibration.apply(Knowing(shift=shift).predict(truth, origin), strata, sizes(truth, origin))
            calibration = refit(calibration, [misses(said, truth, strata)])
        (cell,) = (c for c in calibration.corrections.cells if (c.stratum, c.head) == ("mid", "half_hours"))
        assert (cell.shifts[-1] > 0.3) == (shift < 0)
        assert cell.shifts[-1] >= 0


def test_a_refit_without_news_changes_nothing():
    calibration = Calibration.fit(lesson(Knowing(shift=-1.0)))
    assert refit(calibration, []).corrections == calibration.corrections


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=300), st.sampled_from(LEVELS))
def test_the_conformal_shift_covers_at_least_its_level(missed, level):
    """After the shift at least the level's share of the misses lies under it (over it, below the median)."""
    values = np.array(missed, np.float32)
    shift = np.float32(conformal(values, level))
    if level >= 0.5:
        assert (values <= shift).mean() >= level - 1e-6
    else:
        assert (values >= shift).mean() >= 1 - level - 1e-6


@given(st.floats(-6, 6), st.floats(0.01, 4), st.integers(0, 1000))
@settings(max_examples=15)
def test_levels_never_cross_and_nothing_is_negative(shift, stretch, seed):
    odd = Knowing(shift=shift, stretch=stretch)
    calibration = Calibration.fit(lesson(odd, days=3, series=12, seed=seed))
    truth = draws(series=4, days=2, level=0.3)
    said = calibration.apply(odd.predict(truth, int(NOW)), np.full(4, "mid"), sizes(truth, int(NOW)))
    for head in HEADS:
        fan = getattr(said, head)
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) >= 0).all()


def test_a_stored_calibration_says_the_same():
    calibration = Calibration.fit(lesson(Knowing(shift=-1.0)))
    data = msgspec.json.encode(calibration.corrections)
    again = Calibration(msgspec.json.decode(data, type=type(calibration.corrections)))
    assert again.corrections == calibration.corrections
