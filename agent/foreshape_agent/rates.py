"""Two readings of the same thing become rates. Pure: the clock is the readings' own, which never steps.

No honest rate is no rate: first sight, a restarted domain, a counter that fell and an absurd window each leave a note.
"""

import msgspec

from foreshape_wire.quantity import NO_CORES, Cores
from foreshape_wire.reading import DomainReading, HostReading, IoReading
from foreshape_wire.sample import HostSample, IoSample

SHORTEST_S = 0.2
"""Below this, vCPU time's granularity of 10 ms is worth 5 % and more."""
LONGEST_S = 900.0
"""Above this a mean says nothing about a cycle: the agent was stopped or the machine asleep."""
NS = 1e9


class DomainRates(msgspec.Struct, frozen=True, kw_only=True):
    """One domain between two readings; cores, KiB/s and 1/s. None: nothing honest can be said."""

    window_s: float = 0.0
    used: float | None = None
    delayed: float | None = None
    """Runnable but not running, the cap's share included."""
    throttled: float | None = None
    swap_in_kib_s: float | None = None
    swap_out_kib_s: float | None = None
    major_faults_s: float | None = None
    io: IoSample | None = None
    notes: tuple[str, ...] = ()


def between(before: DomainReading | None, now: DomainReading) -> DomainRates:
    """Rates of a domain from one reading to the next; ``before`` is None at first sight."""
    if before is None:
        return DomainRates(notes=("first sight",))
    if before.instance != now.instance:
        return DomainRates(notes=("started anew: counters begin again",))
    window = now.monotonic_s - before.monotonic_s
    if not SHORTEST_S <= window <= LONGEST_S:
        return DomainRates(notes=(f"no rates over {window:.1f} s",))
    return _rates(before, now, window)


def _rates(before: DomainReading, now: DomainReading, window: float) -> DomainRates:
    notes: list[str] = []
    used, delayed, throttled = _cpu(before, now, window, notes)
    swap_in, swap_out, faults = _paging(before, now, window, notes)
    return DomainRates(
        window_s=window,
        used=used,
        delayed=delayed,
        throttled=throttled,
        swap_in_kib_s=swap_in,
        swap_out_kib_s=swap_out,
        major_faults_s=faults,
        io=_io(before.io, now.io, window, notes),
        notes=tuple(notes),
    )


def _per_second(before: int | None, now: int | None, window: float) -> float | None:
    """Rate of a counter; None where one side is missing or the counter fell."""
    if before is None or now is None or now < before:
        return None
    return (now - before) / window


def _cpu(before: DomainReading, now: DomainReading, window: float, notes: list[str]) -> tuple[float | None, float | None, float | None]:
    """Used, delayed and throttled, in cores."""
    old, new = before.cpu, now.cpu
    if old is None or new is None:
        return None, None, None
    if new.run_ns < old.run_ns:
        notes.append("CPU counter fell: counted anew")
        return None, None, None
    throttled = _per_second(old.throttled_ns, new.throttled_ns, window)
    return (new.run_ns - old.run_ns) / window / NS, _delayed(before, now, window), None if throttled is None else throttled / NS


def _delayed(before: DomainReading, now: DomainReading, window: float) -> float | None:
    """Waiting of the vCPUs seen on both sides; None when none tells."""
    assert before.cpu is not None
    assert now.cpu is not None
    old = {v.number: v.delay_ns for v in before.cpu.vcpus}
    waits = [_per_second(old.get(v.number), v.delay_ns, window) for v in now.cpu.vcpus]
    known = [w / NS for w in waits if w is not None]
    return sum(known) if known else None


def _paging(before: DomainReading, now: DomainReading, window: float, notes: list[str]) -> tuple[float | None, float | None, float | None]:
    """Swap-in, swap-out (KiB/s) and major faults (1/s)."""
    old, new = before.memory, now.memory
    if old is None or new is None:
        return None, None, None
    swap_in = _per_second(old.swap_in_bytes, new.swap_in_bytes, window)
    swap_out = _per_second(old.swap_out_bytes, new.swap_out_bytes, window)
    if swap_in is None and old.swap_in_bytes is not None and new.swap_in_bytes is not None:
        notes.append("swap counter fell: the guest was rebooted")
    return _kib(swap_in), _kib(swap_out), _per_second(old.major_faults, new.major_faults, window)


def _kib(rate: float | None) -> float | None:
    return None if rate is None else rate / 1024


def _io(old: IoReading | None, new: IoReading | None, window: float, notes: list[str]) -> IoSample | None:
    """Disk and network rates; a device taken away makes a counter fall, and that cycle has none."""
    if old is None or new is None:
        return None
    rate = {name: _per_second(getattr(old, name), getattr(new, name), window) for name in IoReading.__struct_fields__}
    if None in rate.values():
        notes.append("I/O counter fell: a device went")
        return None
    r = {name: value or 0.0 for name, value in rate.items()}
    return IoSample(
        read_kib_s=r["read_bytes"] / 1024,
        write_kib_s=r["write_bytes"] / 1024,
        read_iops=r["read_ops"],
        write_iops=r["write_ops"],
        rx_kib_s=r["rx_bytes"] / 1024,
        tx_kib_s=r["tx_bytes"] / 1024,
    )


def host_sample(before: HostReading | None, now: HostReading) -> HostSample | None:
    """The host over one cycle; None at first sight, over an absurd window or when a counter fell."""
    if before is None:
        return None
    window = now.monotonic_s - before.monotonic_s
    busy, steal = now.cpu_busy_s - before.cpu_busy_s, now.cpu_steal_s - before.cpu_steal_s
    if not SHORTEST_S <= window <= LONGEST_S or busy < 0:
        return None
    return HostSample(
        cpus=now.cpus,
        memory_total=now.memory_total,
        memory_available=now.memory_available,
        cpu_used=Cores(min(busy / window, float(now.cpus))),
        cpu_stolen=Cores(min(steal / window, float(now.cpus))) if steal >= 0 else NO_CORES,
        load_1m=max(0.0, now.load_1m),
        psi_cpu_some=_share(now.psi_cpu_some),
        psi_memory_some=_share(now.psi_memory_some),
        psi_memory_full=_share(now.psi_memory_full),
        psi_io_some=_share(now.psi_io_some),
    )


def _share(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(0.0, value))
