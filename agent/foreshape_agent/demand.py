"""What a domain would use unthrottled (domain.md §2). Pure.

CPU demand = used + waiting + throttled, in cores. A vCPU's run-queue delay contains the time its cap held it back:
measured on Linux 6.18, cgroup v1, one busy loop at a cap of 0.3 core: per wall second 0.31 used, 0.69 delay, 0.68 throttled
(two loops: 0.31, 1.70, 1.59). So waiting is the delay beyond the throttled time, and the parts are not counted twice.
The throttled time is counted per CPU run queue, not per vCPU: it may miss one of two vCPUs that share a CPU, or count one
that would have slept. Hence the bound: no demand beyond the vCPUs that are online.
"""

from math import inf

import msgspec

from foreshape_agent.config import Settings
from foreshape_agent.rates import DomainRates
from foreshape_wire.ids import clip
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import CpuReading, DomainReading, MemoryReading
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

CENSORED_AT = 0.97
FRESH, DATED, RESIDENT, NOTHING = 0.95, 0.9, 0.3, 0.1
"""Confidence in a memory estimate: guest's numbers with, without a paging counter; resident set; the allocation itself."""


def estimate(reading: DomainReading, rates: DomainRates, *, fresh: bool, guest_vcpus: int | None, least_mib: float = inf) -> VmSample:
    """One domain's sample. ``fresh``: the guest's memory numbers moved lately; ``guest_vcpus``: last answer of its agent.

    ``least_mib``: of what its balloon may have left it when it told its numbers, the least.
    """
    notes = [n for n in (reading.note, *rates.notes) if n]
    return VmSample(
        server=reading.identity.server,
        state=reading.state,
        window_s=rates.window_s,
        cpu=None if reading.cpu is None else cpu(reading.cpu, rates, guest_vcpus),
        memory=None if reading.memory is None else memory(reading.memory, rates, fresh, least_mib, notes),
        io=rates.io,
        note=clip("; ".join(notes)),
    )


def online(reading: CpuReading, guest_vcpus: int | None) -> int:
    """How many vCPUs can run: plugged in, and online in the guest where it says so."""
    return max(1, reading.current if guest_vcpus is None else min(reading.current, guest_vcpus))


def cpu_allocation(reading: CpuReading, guest_vcpus: int | None) -> float:
    """The least of quota, plugged vCPUs and vCPUs online in the guest, in cores."""
    vcpus = float(online(reading, guest_vcpus))
    return vcpus if reading.quota is None else min(vcpus, reading.quota.cores)


def cpu(reading: CpuReading, rates: DomainRates, guest_vcpus: int | None) -> CpuSample | None:
    """The CPU's sample; None without a rate."""
    if rates.used is None:
        return None
    vcpus, allocation = float(online(reading, guest_vcpus)), cpu_allocation(reading, guest_vcpus)
    held, delayed = min(rates.throttled or 0.0, vcpus), min(rates.delayed or 0.0, vcpus)
    waiting = max(0.0, delayed - held)
    return CpuSample(
        used=Cores(rates.used),
        waiting=Cores(waiting),
        throttled=Cores(held),
        demand=Cores(max(rates.used, min(rates.used + waiting + held, vcpus))),
        allocation=Cores(allocation),
        censored=rates.used >= CENSORED_AT * allocation,
        confidence=_cpu_confidence(reading, rates),
        guest_vcpus=guest_vcpus,
    )


def _cpu_confidence(reading: CpuReading, rates: DomainRates) -> float:
    """1 with all three parts; without a cap nothing can be throttled, so that part is known to be nothing."""
    lost = 0.0 if rates.delayed is not None else 0.3
    return 1.0 - lost - (0.2 if reading.quota is not None and rates.throttled is None else 0.0)


def memory(reading: MemoryReading, rates: DomainRates, fresh: bool, least_mib: float, notes: list[str]) -> MemorySample:
    """Memory's sample: the guest's own numbers while they move, else the resident set with little confidence."""
    total = _total(reading, least_mib)
    demand, confidence = _memory_demand(reading, total, rates, fresh, notes)
    trusted = fresh and reading.usable is not None and total is not None
    # Of what the guest can use at all: its kernel keeps a part of the allocation for itself, so 97 % of that is never reached.
    most = total or reading.current
    return MemorySample(
        demand=demand,
        allocation=reading.current,
        censored=trusted and demand.mib >= CENSORED_AT * most.mib,
        confidence=confidence,
        rss=reading.rss,
        usable=reading.usable if trusted else None,
        swap_in_kib_s=rates.swap_in_kib_s or 0.0,
        major_faults_s=rates.major_faults_s or 0.0,
    )


def _total(reading: MemoryReading, least_mib: float) -> Memory | None:
    """What the guest's kernel can use at all, without what its balloon holds.

    Measured with Nova's domains: 344 of 384 MiB "available", and still 344 when the balloon left 160. While the balloon moves it is not
    known which of its sizes the guest's numbers are of: the least that they fit, or the demand would seem to rise by what was given.
    """
    if reading.available is None or not reading.total_stays:
        return reading.available
    whole = reading.maximum if reading.virtio_current is None else reading.maximum + reading.virtio_current
    now, least = (reading.available - (whole - Memory(left)) for left in (reading.current.mib, min(least_mib, reading.current.mib)))
    return least if reading.usable is None or reading.usable <= least else now


def _memory_demand(reading: MemoryReading, total: Memory | None, rates: DomainRates, fresh: bool, notes: list[str]) -> tuple[Memory, float]:
    if total is None or reading.usable is None:
        notes.append("memory: the guest tells nothing (no balloon driver)")
    elif not fresh:
        notes.append("memory: the guest's numbers are frozen")
    else:
        return total - reading.usable, FRESH if rates.major_faults_s is not None else DATED
    if reading.rss is not None:
        return min(reading.rss, reading.current), RESIDENT
    return reading.current, NOTHING


class Pulse(msgspec.Struct, frozen=True):
    """When a guest's own numbers last moved, on the clock that never steps; and what its balloon left it since the reading before."""

    updated_at: float | None
    moved_at: float
    left_mib: float = inf
    """By the newest reading that tells."""
    least_mib: float = inf


def pulse(before: Pulse | None, reading: DomainReading) -> Pulse:
    """Follow one domain's numbers. At first sight their age is taken from the wall clock."""
    updated = None if reading.memory is None else reading.memory.guest_updated_at
    known = inf if before is None else before.left_mib
    left = known if reading.memory is None else reading.memory.current.mib
    if before is not None and before.updated_at is not None:
        if updated is None or updated == before.updated_at:
            return Pulse(before.updated_at, before.moved_at, left, min(left, before.least_mib))
        return Pulse(updated, reading.monotonic_s, left, min(left, known))
    age = 0.0 if updated is None else abs(reading.read_at - updated)
    return Pulse(updated, reading.monotonic_s - age, left, left)


def is_fresh(beat: Pulse, reading: DomainReading, settings: Settings) -> bool:
    """Whether the guest's memory numbers may be believed: they moved within a few of their periods."""
    if reading.memory is None or beat.updated_at is None or not reading.memory.stats_period_s:
        return False
    return reading.monotonic_s - beat.moved_at <= settings.stats_fresh_periods * reading.memory.stats_period_s
