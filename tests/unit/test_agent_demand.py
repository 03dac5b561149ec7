"""Demand: used + waiting + throttled without counting twice, censoring, and how far memory numbers are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core_support import a_memory, a_reading
from foreshape_agent.config import Settings
from foreshape_agent.demand import cpu, cpu_allocation, estimate, is_fresh, pulse
from foreshape_agent.rates import DomainRates
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import CpuReading, MemoryReading

pytestmark = pytest.mark.unit

SETTINGS = Settings()


def vcpus(current: int = 2, quota: float | None = None) -> CpuReading:
    return CpuReading(
        run_ns=0, vcpus=(), current=current, maximum=4, guest_online=None, quota=None if quota is None else Cores(quota), throttled_ns=0
    )


def rates(used: float | None = 0.0, delayed: float | None = 0.0, throttled: float | None = 0.0) -> DomainRates:
    return DomainRates(window_s=10.0, used=used, delayed=delayed, throttled=throttled, swap_in_kib_s=0.0, major_faults_s=0.0)


@pytest.mark.parametrize(
    ("plugged", "online", "quota", "allocation"),
    [(2, None, None, 2.0), (4, 2, None, 2.0), (4, 4, 1.5, 1.5), (4, 1, 1.5, 1.0), (2, 4, None, 2.0), (2, 0, None, 1.0)],
)
def test_allocation_is_the_least_of_quota_plugged_and_online(
    plugged: int, online: int | None, quota: float | None, allocation: float
) -> None:
    assert cpu_allocation(vcpus(plugged, quota), online) == allocation


def test_waiting_for_a_cpu_is_demand() -> None:
    sample = cpu(vcpus(2), rates(used=0.8, delayed=0.5), None)
    assert sample is not None
    assert (sample.waiting.cores, sample.demand.cores) == (0.5, pytest.approx(1.3))


def test_throttled_time_inside_the_delay_is_counted_once() -> None:
    """As measured: a busy loop at a cap of 0.3 has 0.31 used, 0.69 delay of which 0.68 is throttling; it wants 1 core."""
    sample = cpu(vcpus(2, quota=0.3), rates(used=0.31, delayed=0.69, throttled=0.68), None)
    assert sample is not None
    assert sample.throttled.cores == 0.68
    assert sample.waiting.cores == pytest.approx(0.01)
    assert sample.demand.cores == pytest.approx(1.0)
    assert sample.censored


def test_throttling_that_no_delay_shows_still_counts() -> None:
    sample = cpu(vcpus(2, quota=0.5), rates(used=0.5, delayed=0.0, throttled=0.7), None)
    assert sample is not None
    assert sample.demand.cores == pytest.approx(1.2)


def test_demand_is_bounded_by_the_vcpus_on_line() -> None:
    sample = cpu(vcpus(2), rates(used=1.5, delayed=30.0), None)
    assert sample is not None
    assert (sample.waiting.cores, sample.demand.cores) == (2.0, 2.0)


@pytest.mark.parametrize(("used", "censored"), [(0.96, False), (0.97, True), (1.0, True)])
def test_use_at_97_percent_of_the_allocation_is_censored(used: float, censored: bool) -> None:
    sample = cpu(vcpus(1), rates(used=used), None)
    assert sample is not None
    assert sample.censored is censored


def test_confidence_says_which_parts_were_measured() -> None:
    def confidence(r: DomainRates, quota: float | None) -> float:
        sample = cpu(vcpus(2, quota), r, None)
        assert sample is not None
        return sample.confidence

    assert confidence(rates(), 1.0) == 1.0
    assert confidence(rates(throttled=None), None) == 1.0  # without a cap nothing is throttled
    assert confidence(rates(throttled=None), 1.0) == pytest.approx(0.8)
    assert confidence(rates(delayed=None, throttled=None), 1.0) == pytest.approx(0.5)


def test_no_rate_is_no_cpu_sample() -> None:
    assert cpu(vcpus(2), rates(used=None), None) is None


@given(st.floats(0, 64), st.floats(0, 64), st.floats(0, 64), st.integers(1, 64), st.none() | st.floats(0.05, 64))
def test_demand_never_lies_below_use_nor_above_what_can_run(
    used: float, delayed: float, held: float, count: int, quota: float | None
) -> None:
    sample = cpu(vcpus(count, quota), rates(used, delayed, held), None)
    assert sample is not None
    assert used <= sample.demand.cores <= max(used, count)
    assert sample.waiting.cores + sample.throttled.cores <= max(sample.throttled.cores, min(delayed, count)) + 1e-9


def test_fresh_guest_numbers_give_available_minus_usable() -> None:
    sample = estimate(a_reading(), rates(), fresh=True, guest_vcpus=None).memory  # 480 available, 200 usable
    assert sample is not None
    assert (sample.demand.mib, sample.confidence, sample.censored) == (280.0, 0.95, False)


@pytest.mark.parametrize(("usable", "censored"), [(15.0, False), (14.0, True), (0.0, True)])
def test_a_guest_that_uses_97_percent_of_what_its_kernel_leaves_it_is_censored(usable: float, censored: bool) -> None:
    """480 of 512 MiB are the guest's to use: 3 % of that is 14.4."""
    sample = estimate(a_reading(memory=replace(a_memory(), usable=Memory(usable))), rates(), fresh=True, guest_vcpus=None).memory
    assert sample is not None
    assert sample.censored is censored


def test_frozen_guest_numbers_fall_back_to_the_resident_set_with_little_confidence() -> None:
    sample = estimate(a_reading(), rates(), fresh=False, guest_vcpus=None)
    assert sample.memory is not None
    assert (sample.memory.demand.mib, sample.memory.confidence, sample.memory.usable) == (300.0, 0.3, None)
    assert "frozen" in sample.note


def test_a_guest_without_a_driver_is_said_to_tell_nothing() -> None:
    sample = estimate(a_reading(memory=replace(a_memory(), available=None, usable=None)), rates(), fresh=True, guest_vcpus=None)
    assert sample.memory is not None
    assert sample.memory.confidence <= 0.4
    assert "no balloon driver" in sample.note


def test_without_any_number_the_allocation_is_the_demand() -> None:
    sample = estimate(a_reading(memory=replace(a_memory(), available=None, rss=None)), rates(), fresh=True, guest_vcpus=None).memory
    assert sample is not None
    assert (sample.demand.mib, sample.confidence) == (512.0, 0.1)


def test_numbers_that_move_are_fresh_and_those_that_stop_are_frozen_after_three_periods() -> None:
    def at(monotonic: float, updated: float) -> object:
        return a_reading(monotonic, memory=replace(a_memory(), guest_updated_at=updated))

    first = pulse(None, replace(at(100.0, 1_699_999_999.0)))  # 1 s old by the wall clock
    assert is_fresh(first, at(100.0, 1_699_999_999.0), SETTINGS)
    moved = pulse(first, at(110.0, 1_700_000_009.0))
    assert is_fresh(moved, at(125.0, 1_700_000_009.0), SETTINGS)  # 15 s: three periods of 5
    assert not is_fresh(pulse(moved, at(126.0, 1_700_000_009.0)), at(126.0, 1_700_000_009.0), SETTINGS)


def test_numbers_that_were_old_at_first_sight_are_not_believed() -> None:
    reading = a_reading(memory=replace(a_memory(), guest_updated_at=1_699_990_000.0))
    assert not is_fresh(pulse(None, reading), reading, SETTINGS)


def test_without_a_period_the_guest_is_never_asked() -> None:
    reading = a_reading(memory=replace(a_memory(), stats_period_s=None, guest_updated_at=1_700_000_000.0))
    assert not is_fresh(pulse(None, reading), reading, SETTINGS)


def test_a_clock_step_does_not_freeze_numbers_that_move() -> None:
    before = pulse(None, a_reading(100.0, memory=replace(a_memory(), guest_updated_at=1_700_000_000.0)))
    stepped = a_reading(110.0, memory=replace(a_memory(), guest_updated_at=1_699_996_400.0))
    assert is_fresh(pulse(before, stepped), stepped, SETTINGS)


# -- a balloon that the guest may empty itself: its kernel's total stays what it was


def ballooned(left: float, usable: float, updated: float = 1000.0, *, stays: bool = True) -> MemoryReading:
    """A guest of 512 MiB, of which its kernel keeps 32; its balloon leaves ``left``."""
    sizes = {"current": Memory(left), "available": Memory(480), "usable": Memory(usable), "guest_updated_at": updated}
    return replace(a_memory(), total_stays=stays, **sizes)


@given(st.floats(0, 200), st.floats(240, 512))
def test_what_the_balloon_holds_is_no_demand(used: float, left: float) -> None:
    """Its kernel says 480 whatever the balloon leaves; usable is what is left of that."""
    seen = estimate(a_reading(memory=ballooned(left, left - 32 - used)), rates(), fresh=True, guest_vcpus=None).memory
    assert seen is not None
    assert seen.demand.mib == pytest.approx(used)
    assert seen.in_use.mib == pytest.approx(used + 32)  # with what the kernel keeps


def test_it_is_censored_by_what_its_balloon_leaves_it() -> None:
    """Of 300 MiB 268 are the guest's: all but 6 in use."""
    seen = estimate(a_reading(memory=ballooned(300, 6)), rates(), fresh=True, guest_vcpus=None).memory
    assert seen is not None
    assert (seen.demand.mib, seen.censored) == (262.0, True)


def test_numbers_from_before_it_was_given_back_are_no_demand() -> None:
    """At 200 MiB it uses 100; then it has 512 again, and its numbers are still those of before, with 68 usable."""
    small = a_reading(100.0, memory=ballooned(200, 68, 1000.0))
    grown = a_reading(101.0, memory=ballooned(512, 68, 1000.0))
    told = a_reading(102.0, memory=ballooned(512, 380, 1001.0))
    later = a_reading(103.0, memory=ballooned(512, 380, 1002.0))
    beat, found = None, []
    for reading in (small, grown, told, later):
        beat = pulse(beat, reading)
        seen = estimate(reading, rates(), fresh=True, guest_vcpus=None, least_mib=beat.least_mib).memory
        assert seen is not None
        found.append(seen.demand.mib)
    assert found == [100.0, 100.0, 100.0, 100.0]


def test_a_total_that_goes_down_with_the_balloon_is_taken_as_it_is() -> None:
    reading = replace(ballooned(300, 168, stays=False), available=Memory(268))
    seen = estimate(a_reading(memory=reading), rates(), fresh=True, guest_vcpus=None).memory
    assert seen is not None
    assert seen.demand.mib == 100.0
