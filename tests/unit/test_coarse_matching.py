"""Bins made coarse keep their peaks and weigh their means; a profile's accuracy is what its definition says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.coarse import STEPS, fitting, largest, weighed
from foreshape_controller.model.matching import FADES, LEAST, accuracy, looked
from foreshape_controller.model.workload import Tally, WorkClass, Workload

pytestmark = pytest.mark.unit

some = st.one_of(st.just(math.nan), st.floats(0, 1e6))


@given(st.lists(st.tuples(some, st.floats(0, 1)), min_size=6, max_size=60), st.sampled_from([1, 2, 3, 6]))
def test_no_step_hides_a_peak_and_no_mean_leaves_what_was_measured(bins, step):
    bins = bins[: len(bins) // step * step]
    values, weights = (np.array(column, np.float64) for column in zip(*bins, strict=True))
    mean, most = weighed(values, weights, step), largest(values, step)
    for k in range(len(bins) // step):
        part = values[k * step : (k + 1) * step]
        known = part[np.isfinite(part)]
        if len(known):
            assert most[k] == known.max()
            assert math.isnan(mean[k]) or known.min() - 1e-6 <= mean[k] <= known.max() * (1 + 1e-9) + 1e-6
        else:
            assert math.isnan(most[k])
            assert math.isnan(mean[k])


def test_a_mean_is_weighed_by_what_was_measured():
    assert weighed(np.array([1.0, 4.0]), np.array([1.0, 0.5]), 2)[0] == 2.0  # (1·1 + 4·½) / 1½


@given(st.integers(1, 200_000), st.integers(10, 2000))
def test_steps_are_the_finest_that_fit(bins, most):
    step = fitting(bins, most)
    finer = [s for s in STEPS if s < step]
    assert step == STEPS[-1] or bins / step <= most
    assert all(-(-bins // s) > most for s in finer)


def seen(work, confidence=1.0):
    return Workload(work=work, confidence=confidence)


def test_accuracy_is_the_share_of_looks_that_agreed_later_ones_counting_more():
    tally = Tally()
    for work in (WorkClass.BURSTY, WorkClass.STEADY, WorkClass.STEADY, WorkClass.STEADY):
        tally = looked(tally, WorkClass.STEADY, seen(work))
    agreed, all_ = 1 + FADES + FADES**2, 1 + FADES + FADES**2 + FADES**3
    assert accuracy(tally) == pytest.approx(agreed / all_)


def test_nothing_is_told_before_a_day_has_passed_and_looks_that_cannot_tell_are_none():
    tally = Tally()
    for _ in range(LEAST - 1):
        tally = looked(tally, WorkClass.STEADY, seen(WorkClass.STEADY))
    assert accuracy(tally) is None
    assert looked(tally, WorkClass.STEADY, seen(WorkClass.UNKNOWN)) == tally
    assert looked(tally, WorkClass.STEADY, seen(WorkClass.IDLE, 0.0)) == tally
    assert accuracy(None) is None


@given(st.lists(st.tuples(st.sampled_from(list(WorkClass)), st.floats(0, 1)), max_size=100))
def test_accuracy_is_a_share_whatever_comes(looks):
    tally = Tally()
    for work, confidence in looks:
        tally = looked(tally, WorkClass.BATCH, seen(work, confidence))
    told = accuracy(tally)
    assert told is None or 0 <= told <= 1
