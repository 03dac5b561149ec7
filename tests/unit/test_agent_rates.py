"""Rates from two readings: the arithmetic, and every case where no honest rate exists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core_support import a_cpu, a_memory, a_reading, host_reading
from doors_support import FakeClock
from foreshape_agent.rates import LONGEST_S, between, host_sample
from foreshape_wire.reading import IoReading

pytestmark = pytest.mark.unit


def test_cpu_seconds_per_wall_second_are_cores() -> None:
    before = a_reading(100.0, cpu=a_cpu(run_ns=10**9, delay_ns=0, throttled_ns=0))
    now = a_reading(110.0, cpu=a_cpu(run_ns=6 * 10**9, delay_ns=2 * 10**9, throttled_ns=10**9))
    rates = between(before, now)
    assert (rates.window_s, rates.used, rates.delayed, rates.throttled) == (10.0, 0.5, 0.2, 0.1)


def test_paging_and_io_are_per_second_in_kib() -> None:
    before = a_reading(100.0)
    now = a_reading(110.0, memory=a_memory(swap_in=10 * 1024 * 1024, faults=50), io=IoReading(read_bytes=20480, read_ops=30, tx_bytes=1024))
    rates = between(before, now)
    assert rates.swap_in_kib_s == 1024.0  # 10 MiB in 10 s
    assert rates.major_faults_s == 5.0
    assert rates.io is not None
    assert (rates.io.read_kib_s, rates.io.read_iops, rates.io.tx_kib_s) == (2.0, 3.0, 0.1)


def test_a_new_domain_has_no_window_and_no_rate() -> None:
    rates = between(None, a_reading())
    assert (rates.window_s, rates.used, rates.notes) == (0.0, None, ("first sight",))


def test_a_restarted_domain_begins_anew() -> None:
    rates = between(a_reading(100.0), a_reading(110.0, instance="2", cpu=a_cpu(run_ns=5 * 10**9)))
    assert rates.used is None
    assert "started anew" in rates.notes[0]


def test_a_counter_that_fell_gives_no_rate_and_says_so() -> None:
    rates = between(a_reading(100.0, cpu=a_cpu(run_ns=10**12)), a_reading(110.0))
    assert rates.used is None
    assert "fell" in " ".join(rates.notes)


def test_a_guest_that_rebooted_has_no_swap_rate_but_its_cpu_goes_on() -> None:
    rates = between(a_reading(100.0, memory=a_memory(swap_in=4096)), a_reading(110.0, cpu=a_cpu(run_ns=10**10)))
    assert (rates.swap_in_kib_s, rates.used) == (None, 1.0)
    assert "rebooted" in " ".join(rates.notes)


def test_a_device_taken_away_leaves_no_io_rate() -> None:
    rates = between(a_reading(100.0, io=IoReading(read_bytes=5000)), a_reading(110.0))
    assert rates.io is None


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.1, LONGEST_S + 1])
def test_an_absurd_window_gives_nothing(seconds: float) -> None:
    rates = between(a_reading(100.0), a_reading(100.0 + seconds, cpu=a_cpu(run_ns=10**9)))
    assert (rates.window_s, rates.used) == (0.0, None)
    assert "no rates over" in rates.notes[0]


def test_the_wall_clock_may_step() -> None:
    before, now = a_reading(100.0), a_reading(110.0, cpu=a_cpu(run_ns=10**10))
    assert between(before, replace(now, read_at=now.read_at - 3600)).used == 1.0


def test_parts_that_could_not_be_read_have_no_rate() -> None:
    rates = between(a_reading(100.0), a_reading(110.0, cpu=None, memory=None, io=None))
    assert (rates.window_s, rates.used, rates.swap_in_kib_s, rates.io) == (10.0, None, None, None)


def test_no_delay_and_no_throttling_told_are_not_zero() -> None:
    silent = a_cpu(delay_ns=None, throttled_ns=None)
    rates = between(a_reading(100.0, cpu=silent), a_reading(110.0, cpu=silent))
    assert (rates.used, rates.delayed, rates.throttled) == (0.0, None, None)


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.floats(0.2, LONGEST_S))
def test_no_rate_is_ever_negative(first: int, second: int, window: float) -> None:
    rates = between(a_reading(100.0, cpu=a_cpu(run_ns=first)), a_reading(100.0 + window, cpu=a_cpu(run_ns=second)))
    assert rates.used is None or rates.used >= 0
    assert (rates.used is None) == (second < first or rates.window_s == 0)


def test_host_use_is_busy_seconds_per_second() -> None:
    clock = FakeClock()
    before = host_reading(clock)
    clock.sleep(10.0)
    sample = host_sample(before, replace(host_reading(clock), cpu_busy_s=before.cpu_busy_s + 25.0, cpu_steal_s=5.0))
    assert sample is not None
    assert (sample.cpu_used.cores, sample.cpu_stolen.cores) == (2.5, 0.5)


def test_a_host_seen_first_or_rebooted_has_no_sample() -> None:
    clock = FakeClock()
    before = host_reading(clock)
    assert host_sample(None, before) is None
    clock.sleep(10.0)
    assert host_sample(before, replace(host_reading(clock), cpu_busy_s=0.0)) is None


def test_host_shares_stay_shares() -> None:
    clock = FakeClock()
    before = host_reading(clock)
    clock.sleep(10.0)
    sample = host_sample(before, replace(host_reading(clock), psi_cpu_some=1.7, psi_io_some=None))
    assert sample is not None
    assert (sample.psi_cpu_some, sample.psi_io_some) == (1.0, None)
