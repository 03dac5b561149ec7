"""Classes of work: each archetype is called by its name, whatever its size, gaps or the day it is looked at."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_support import archetypes, history
from foreshape_controller.forecast.workload import classify, read_write
from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.model.workload import ReadWrite, WorkClass
from foreshape_controller.sim.demand import BIN_TICKS, _State, draw_character, draw_day

pytestmark = pytest.mark.unit

KNOWN = [w for w in WorkClass if w is not WorkClass.UNKNOWN]
MIXED = np.concatenate([archetypes(w.value, 4).mean for w in KNOWN])


def works(cpu):
    return [w.work for w in classify(cpu)]


@pytest.mark.parametrize("work", KNOWN)
def test_archetypes_are_told_apart(work):
    """20 servers each, ten days with a tenth of the bins and a whole day missing: one may be mistaken."""
    assert Counter(works(archetypes(work.value)))[work] >= 19


@pytest.mark.parametrize("work", KNOWN)
def test_a_week_is_enough_to_be_sure(work):
    found = classify(archetypes(work.value, days=9))
    assert np.mean([w.confidence for w in found]) >= 0.8


def test_confidence_grows_with_the_days_known():
    """Four days, of which one is missing, are 3/7 of a week: no class is surer than that."""
    young, old = (classify(archetypes("steady", days=d)) for d in (4, 10))
    assert max(w.confidence for w in young) <= round(3 / 7, 2)
    assert min(w.confidence for w in old) == 1.0


def test_two_days_are_too_young():
    (found,) = classify(history(np.full(2 * BINS_PER_DAY, 1.0)))
    assert (found.work, found.confidence) == (WorkClass.UNKNOWN, 0.0)
    assert "2 days of data, 3 are needed" in found.note


@pytest.mark.parametrize("bins", [0, 1, 287, 288])
def test_no_length_of_history_is_an_error(bins):
    (found,) = classify(history(np.ones((1, bins))))
    assert found.work is WorkClass.UNKNOWN


def test_nobody_is_an_answer():
    assert classify(history(np.empty((0, 2000)))) == ()


def test_a_server_that_never_ran_is_idle():
    assert works(history(np.zeros(7 * BINS_PER_DAY))) == [WorkClass.IDLE]


def test_the_simulators_idle_servers_are_idle_and_its_busy_ones_are_not():
    rng = np.random.default_rng(2)

    def server(stratum):
        character, state, days = draw_character(stratum, 4.0, 8192.0, rng), _State(), []
        for day in range(7):
            cpu, _, state = draw_day(character, state, rng, weekend=day >= 5)
            days.append(cpu.reshape(-1, BIN_TICKS).mean(axis=1))
        return np.concatenate(days)

    assert set(works(history(np.stack([server("idle") for _ in range(5)])))) == {WorkClass.IDLE}
    assert not {WorkClass.IDLE, WorkClass.STEADY} & set(works(history(np.stack([server("busy") for _ in range(5)]))))


@settings(max_examples=10, deadline=None)
@given(power=st.integers(-10, 10))
def test_the_size_of_a_server_does_not_matter(power):
    cpu, factor = history(MIXED), np.float32(2.0**power)
    scaled = replace(cpu, mean=cpu.mean * factor, max=cpu.max * factor, entitlement=cpu.entitlement * factor)
    assert classify(scaled) == classify(cpu)


@settings(max_examples=5, deadline=None)
@given(days=st.integers(1, 300))
def test_the_date_does_not_matter(days):
    cpu = history(MIXED)
    assert classify(replace(cpu, start=cpu.start + days * 86400)) == classify(cpu)


@settings(max_examples=10, deadline=None)
@given(turn=st.integers(1, 9))
def test_the_order_of_days_does_not_matter_to_the_class(turn):
    assert works(history(np.roll(MIXED, turn * BINS_PER_DAY, axis=1))) == works(history(MIXED))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_more_gaps_do_not_change_the_class(seed):
    y = MIXED.copy()
    y[np.random.default_rng(seed).random(y.shape) < 0.1] = np.nan
    same = np.mean([a is b for a, b in zip(works(history(y)), works(history(MIXED)), strict=True)])
    assert same >= 0.9


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(MIXED))))
def test_the_order_of_servers_does_not_matter(order):
    told = works(history(MIXED))
    assert works(history(MIXED[order])) == [told[i] for i in order]


@pytest.mark.parametrize(
    ("share", "disk"),
    [(0.9, ReadWrite.READ), (0.1, ReadWrite.WRITE), (0.5, ReadWrite.MIXED), (float("nan"), ReadWrite.UNKNOWN)],
)
def test_the_disk_is_called_by_what_it_mostly_does(share, disk):
    assert read_write(share) is disk
    assert classify(archetypes("idle", 1), np.array([share], np.float32))[0].read_write is disk
