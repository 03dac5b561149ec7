"""libvirt's bulk statistics of one domain, as our readings. Pure; runs for every domain every cycle, so it is plain and quick."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from foreshape_agent.domain_xml import Card
from foreshape_wire.quantity import MAX_MIB, Cores, Memory
from foreshape_wire.reading import CpuReading, DomainState, IoReading, MemoryReading, VcpuReading

Stats = Mapping[str, int]
"""Keys like ``vcpu.0.time``; sizes in KiB, times in ns. (Names of devices are text; nothing here reads them.)"""

# virDomainState, and the reasons that mean "on its way to or from another host" or "the guest crashed".
_RUNNING, _BLOCKED, _PAUSED, _SHUTDOWN, _SHUTOFF, _CRASHED, _SUSPENDED = range(1, 8)
STARTING, _POSTCOPY = 11, 10
_STATES = {
    _BLOCKED: DomainState.RUNNING,
    _PAUSED: DomainState.PAUSED,
    _SHUTDOWN: DomainState.BUSY,
    _SHUTOFF: DomainState.SHUTOFF,
    _CRASHED: DomainState.CRASHED,
    _SUSPENDED: DomainState.PAUSED,
}
_BY_REASON = {
    (_RUNNING, _POSTCOPY): DomainState.MIGRATING,  # post-copy, at the destination
    (_PAUSED, 2): DomainState.MIGRATING,
    (_PAUSED, 12): DomainState.MIGRATING,  # post-copy, at the source
    (_PAUSED, 13): DomainState.MIGRATING,  # post-copy failed: nobody may touch it
    (_PAUSED, 10): DomainState.CRASHED,  # the guest panicked
    (_PAUSED, STARTING): DomainState.BUSY,
}


def state(stats: Stats) -> DomainState:
    """The state, busy included: without the job lock libvirt leaves out what it has to ask QEMU for."""
    number, reason = stats.get("state.state", 0), stats.get("state.reason", 0)
    if number == _RUNNING and reason != _POSTCOPY:
        return DomainState.RUNNING if "balloon.rss" in stats else DomainState.BUSY
    return _BY_REASON.get((number, reason)) or _STATES.get(number, DomainState.PAUSED)


def starting(stats: Stats) -> bool:
    """Whether the domain is just being started: its process may not be there yet."""
    return (stats.get("state.state"), stats.get("state.reason")) == (_PAUSED, STARTING)


def cpu(stats: Stats, card: Card, guest_online: int | None, throttled_ns: int | None) -> CpuReading | None:
    """CPU counters; None where the domain does not run."""
    if "cpu.time" not in stats:
        return None
    current = stats.get("vcpu.current", card.vcpus)
    return CpuReading(
        run_ns=stats["cpu.time"],
        vcpus=_vcpus(stats),
        current=current,
        maximum=stats.get("vcpu.maximum", card.max_vcpus),
        guest_online=guest_online,
        quota=_least_cap(card, current),
        throttled_ns=throttled_ns,
    )


def _vcpus(stats: Stats) -> tuple[VcpuReading, ...]:
    keys = _vcpu_keys(stats.get("vcpu.maximum", 0))
    return tuple([VcpuReading(n, stats[time], stats.get(delay)) for n, time, delay in keys if time in stats])


def _least_cap(card: Card, vcpus: int) -> Cores | None:
    """The domain's own cap, or what its vCPUs may use together when the flavor caps each."""
    if card.quota is None and card.vcpu_quota is None:
        return None
    caps = [card.quota, None if card.vcpu_quota is None else card.vcpu_quota * vcpus]
    return Cores(min(cap for cap in caps if cap is not None))


def memory(stats: Stats, card: Card, actual_kib: int | None = None) -> MemoryReading | None:
    """Memory numbers. ``actual_kib``: the balloon as QEMU measures it now; the bulk number follows within a second."""
    if "balloon.current" not in stats or "cpu.time" not in stats:
        return None
    plugged = card.virtio.current if card.virtio else 0.0
    current = stats["balloon.current"] / 1024 if actual_kib is None else actual_kib / 1024 + plugged
    get = stats.get
    return MemoryReading(
        current=Memory(current),
        maximum=Memory(card.base),
        rss=_kib(get("balloon.rss")),
        available=_kib(get("balloon.available")),
        usable=_kib(get("balloon.usable")),
        unused=_kib(get("balloon.unused")),
        swap_in_bytes=_count(get("balloon.swap_in"), 1024),
        swap_out_bytes=_count(get("balloon.swap_out"), 1024),
        major_faults=_count(get("balloon.major_fault")),
        guest_updated_at=get("balloon.last-update") or None,
        stats_period_s=card.stats_period,
        virtio_current=Memory(card.virtio.current) if card.virtio else None,
        virtio_requested=Memory(card.virtio.requested) if card.virtio else None,
        total_stays=card.autodeflate,
    )


MOST_KIB, MOST_COUNT = int(MAX_MIB * 1024), 2**52
"""The guest itself says how much it has free and swapped: what cannot be is not believed."""


def _kib(value: int | None) -> Memory | None:
    return None if value is None or value > MOST_KIB else Memory(value / 1024)


def _count(value: int | None, unit: int = 1) -> int | None:
    return None if value is None or value > MOST_COUNT else value * unit


def io(stats: Stats) -> IoReading | None:
    """Disk and network counters, summed over devices; None where the domain does not run."""
    if "cpu.time" not in stats:
        return None
    get = stats.get
    read = wrote = reads = writes = got = sent = 0
    for read_bytes, write_bytes, read_ops, write_ops in _disk_keys(get("block.count", 0)):
        read, wrote = read + get(read_bytes, 0), wrote + get(write_bytes, 0)
        reads, writes = reads + get(read_ops, 0), writes + get(write_ops, 0)
    for rx, tx in _net_keys(get("net.count", 0)):
        got, sent = got + get(rx, 0), sent + get(tx, 0)
    return IoReading(read_bytes=read, write_bytes=wrote, read_ops=reads, write_ops=writes, rx_bytes=got, tx_bytes=sent)


# virDomainJobType and virDomainJobOperation; more than a day is no stop of a live migration.
_COMPLETED, _MIGRATION_IN, _MOST_STOP_MS = 3, 4, 86_400_000


def stopped_s(job: Mapping[str, Any]) -> float | None:
    """For how long a completed incoming migration stopped its guest; None where the job was another, or does not say.

    libvirt counts from the stop on the source to the start on the target, the difference of the two hosts' clocks deducted.
    """
    ms = job.get("downtime")
    if job.get("operation") != _MIGRATION_IN or job.get("type") != _COMPLETED or not isinstance(ms, int):
        return None
    return ms / 1000 if 0 <= ms <= _MOST_STOP_MS else None


# Building keys costs more than looking them up: each set is made once per count.


@cache
def _vcpu_keys(maximum: int) -> tuple[tuple[int, str, str], ...]:
    return tuple((n, f"vcpu.{n}.time", f"vcpu.{n}.delay") for n in range(maximum))


@cache
def _disk_keys(count: int) -> tuple[tuple[str, str, str, str], ...]:
    return tuple((f"block.{n}.rd.bytes", f"block.{n}.wr.bytes", f"block.{n}.rd.reqs", f"block.{n}.wr.reqs") for n in range(count))


@cache
def _net_keys(count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"net.{n}.rx.bytes", f"net.{n}.tx.bytes") for n in range(count))
