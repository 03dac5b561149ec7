"""On the same arrivals, requests answered from forecasts have a lower peak and leave fewer with nothing than first come, first served."""

import numpy as np
import pytest

from foreshape_controller.decide.requests import RequestRule
from foreshape_controller.model.request import Criticality
from foreshape_controller.replay.shaping import Town, compare

pytestmark = pytest.mark.simulation

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=[0.5, 1.0])
def runs(request):
    return [compare(Town(load=request.param, days=2), seed) for seed in SEEDS]


def test_the_peak_is_lower_in_every_run_and_by_a_margin_on_average(runs):
    for refuses, waits, shaped in runs:
        assert shaped.peak < min(refuses.peak, waits.peak)
    assert np.mean([min(a.peak, b.peak) - c.peak for a, b, c in runs]) > 0.04


def test_fewer_get_nothing(runs):
    refuses, waits, shaped = (np.mean([run[i].unserved() for run in runs]) for i in range(3))
    assert shaped < 0.5 * refuses
    assert shaped < 0.8 * waits or shaped < 0.005


def test_critical_ones_do_not_pay_for_it(runs):
    """They start at once or not at all either way; those who can wait make room for them."""
    refuses, waits, shaped = (np.mean([run[i].unserved(Criticality.CRITICAL) for run in runs]) for i in range(3))
    assert shaped < min(refuses, waits)
    assert max(shaped.waits(Criticality.CRITICAL).max() for *_, shaped in runs) <= 1.0


def test_nobody_starts_after_his_window_or_before_he_came(runs):
    for *_, shaped in runs:
        for a in shaped.arrivals:
            start = shaped.starts.get(a.request.id)
            assert start is None or a.at <= start <= a.request.latest


def test_it_is_the_smoothing_that_lowers_the_peak():
    """The same rules with no smoothing: the peak is as high as without."""
    town = Town(load=0.8, days=2)
    plain = RequestRule(share=1.0, fleet_peak=1.0, flexible_wait_s=0.0, full=10.0)
    *_, smoothed = compare(town, 1)
    *_, hasty = compare(town, 1, plain)
    assert hasty.peak > smoothed.peak + 0.04
