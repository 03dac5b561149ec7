"""Pressure gives back at once, within the entitlement, and never takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core_support import size
from foreshape_agent.config import Settings
from foreshape_agent.reflex import Give, decide
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

pytestmark = pytest.mark.unit

SETTINGS = Settings()
ENTITLED = size(4, 1024)


def a_cpu(allocation: float, used: float, throttled: float = 0.0, waiting: float = 0.0) -> CpuSample:
    return CpuSample(
        used=Cores(used),
        waiting=Cores(waiting),
        throttled=Cores(throttled),
        demand=Cores(used + throttled + waiting),
        allocation=Cores(allocation),
        censored=used >= 0.97 * allocation,
        confidence=1.0,
    )


def a_memory(allocation: float, usable: float | None, *, swap: float = 0.0, faults: float = 0.0, confidence: float = 0.95) -> MemorySample:
    demand = allocation if usable is None else allocation - usable
    return MemorySample(
        demand=Memory(demand),
        allocation=Memory(allocation),
        censored=False,
        confidence=confidence,
        usable=None if usable is None else Memory(usable),
        swap_in_kib_s=swap,
        major_faults_s=faults,
    )


def a_sample(cpu: CpuSample | None = None, memory: MemorySample | None = None) -> VmSample:
    return VmSample(server=ServerId("vm"), state=DomainState.RUNNING, window_s=5.0, cpu=cpu, memory=memory)


def only(gives: tuple[Give, ...]) -> Give:
    assert len(gives) == 1
    return gives[0]


def test_a_cpu_at_its_limit_gets_half_as_much_again() -> None:
    give = only(decide(a_sample(a_cpu(1.0, 1.0)), None, ENTITLED, SETTINGS))
    assert (give.resource, give.target, give.code) == ("cpu", 1.5, "cpu_starved")


def test_a_throttled_cpu_gets_what_it_wants_and_some() -> None:
    give = only(decide(a_sample(a_cpu(1.0, 0.9, throttled=1.5)), None, ENTITLED, SETTINGS))
    assert give.target == pytest.approx(2.4 * 1.3)


def test_never_more_than_the_entitlement() -> None:
    assert only(decide(a_sample(a_cpu(3.0, 3.0, throttled=9.0)), None, ENTITLED, SETTINGS)).target == 4.0


def test_waiting_for_a_busy_host_is_not_cured_by_a_larger_cap() -> None:
    assert decide(a_sample(a_cpu(1.0, 0.5, waiting=3.0)), None, ENTITLED, SETTINGS) == ()


def test_bursts_held_back_at_low_use_are_no_starvation() -> None:
    """Seen on a real guest: bursts of 0.1 s at a third of its cap were held back for a twelfth of it."""
    assert decide(a_sample(a_cpu(0.4, 0.14, throttled=0.03)), None, ENTITLED, SETTINGS) == ()
    assert decide(a_sample(a_cpu(0.4, 0.20, throttled=0.09)), None, ENTITLED, SETTINGS) == ()
    assert decide(a_sample(a_cpu(0.4, 0.28, throttled=0.05)), None, ENTITLED, SETTINGS) != ()


def test_a_small_guest_is_not_squeezed_below_half_the_margin() -> None:
    assert only(decide(a_sample(memory=a_memory(120, 31)), None, ENTITLED, SETTINGS)).target == 180.0  # 31 < 64/2
    assert decide(a_sample(memory=a_memory(120, 33)), None, ENTITLED, SETTINGS) == ()


def test_a_domain_with_its_entitlement_is_left_alone() -> None:
    assert decide(a_sample(a_cpu(4.0, 4.0), a_memory(1024, 5)), None, ENTITLED, SETTINGS) == ()


def test_little_usable_memory_gets_half_as_much_again() -> None:
    give = only(decide(a_sample(memory=a_memory(400, 30)), None, ENTITLED, SETTINGS))  # 30/400 < 8 %
    assert (give.target, give.code) == (600.0, "memory_pressure")


def test_swapping_in_is_pressure_and_much_of_it_a_storm() -> None:
    assert only(decide(a_sample(memory=a_memory(400, 100, swap=100)), None, ENTITLED, SETTINGS)).target == 600.0
    storm = only(decide(a_sample(memory=a_memory(400, 100, swap=4096)), None, ENTITLED, SETTINGS))
    assert (storm.target, storm.code) == (1024.0, "swap_storm")


def test_next_to_nothing_usable_gives_all_back() -> None:
    give = only(decide(a_sample(memory=a_memory(400, 4)), None, ENTITLED, SETTINGS))
    assert (give.target, give.code) == (1024.0, "out_of_memory")


def test_major_faults_count_only_with_little_usable_memory() -> None:
    assert decide(a_sample(memory=a_memory(400, 200, faults=500)), None, ENTITLED, SETTINGS) == ()  # a file is read, no more
    assert decide(a_sample(memory=a_memory(400, 50)), None, ENTITLED, SETTINGS) == ()  # 50 MiB alone are enough
    assert only(decide(a_sample(memory=a_memory(400, 50, faults=500)), None, ENTITLED, SETTINGS)).code == "memory_pressure"


def test_a_guest_that_falls_silent_while_it_is_shrunk_gets_all_back() -> None:
    before = a_sample(memory=a_memory(400, 100))
    silent = a_sample(memory=a_memory(400, None, confidence=0.3))
    assert only(decide(silent, before, ENTITLED, SETTINGS)).code == "guest_silent"
    assert decide(silent, silent, ENTITLED, SETTINGS) == ()  # one that never told is no news


def test_a_guest_that_never_told_is_not_judged_by_its_resident_set() -> None:
    assert decide(a_sample(memory=a_memory(400, None, confidence=0.3)), None, ENTITLED, SETTINGS) == ()


def test_the_first_sample_without_a_rate_gives_nothing() -> None:
    assert decide(a_sample(), None, ENTITLED, SETTINGS) == ()


def test_pressure_repeats_until_the_entitlement_is_reached() -> None:
    has, steps = 1.0, 0
    while gives := decide(a_sample(a_cpu(has, has)), None, ENTITLED, SETTINGS):
        has, steps = gives[0].target, steps + 1
    assert (has, steps) == (4.0, 4)  # 1.5, 2.25, 3.375, 4


positive = st.floats(0.01, 10_000)


@given(
    has=positive,
    used=st.floats(0, 10_000),
    held=st.floats(0, 10_000),
    cores=positive,
    mib=positive,
    usable=st.none() | st.floats(0, 10_000),
    swap=st.floats(0, 1e6),
)
def test_a_reflex_only_grows_and_stays_within_the_entitlement(
    *, has: float, used: float, held: float, cores: float, mib: float, usable: float | None, swap: float
) -> None:
    entitled = size(min(cores, 8192), mib)
    memory = replace(a_memory(has, None, swap=swap), usable=None if usable is None else Memory(usable))
    for give in decide(
        a_sample(replace(a_cpu(min(has, 8000), 0), used=Cores(min(used, 8000)), throttled=Cores(min(held, 8000)), censored=True), memory),
        None,
        entitled,
        SETTINGS,
    ):
        allocation, bound = (min(has, 8000), entitled.cpu.cores) if give.resource == "cpu" else (has, entitled.memory.mib)
        assert allocation < give.target <= bound
