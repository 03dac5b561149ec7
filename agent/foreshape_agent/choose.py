"""Which levers, in which order, take a domain to a size. Pure.

CPU shrinks by quota (fine, instant, needs nobody in the guest) and else by whole vCPUs. CPU grows through every cap above it:
plug vCPUs, bring them on line in the guest, then raise or lift the quota. Memory up to what the domain was started with
is the balloon's; beyond it virtio-mem's, which is taken back first.
"""

from math import ceil

import msgspec

from foreshape_wire.reading import CpuReading, DomainReading, LeverName, MemoryReading

EPSILON = 1e-6


class Step(msgspec.Struct, frozen=True):
    """Pull one lever to a target in its own unit: cores, vCPUs, MiB left by the balloon, MiB plugged by virtio-mem."""

    lever: LeverName
    target: float


class NoWay(msgspec.Struct, frozen=True):
    """No usable lever leads there; why."""

    reason: str


def steps(domain: DomainReading, resource: str, target: float, guest_vcpus: int | None) -> tuple[Step, ...] | NoWay:
    """The steps to a target, in order; empty when nothing has to change."""
    if resource == "cpu":
        return NoWay("the CPU could not be read") if domain.cpu is None else _cpu(domain, domain.cpu, target, guest_vcpus)
    return NoWay("the memory could not be read") if domain.memory is None else _memory(domain, domain.memory, target)


def _cpu(domain: DomainReading, cpu: CpuReading, target: float, guest_vcpus: int | None) -> tuple[Step, ...] | NoWay:
    online = cpu.current if guest_vcpus is None else min(guest_vcpus, cpu.current)
    quota = domain.capability(LeverName.CPU_QUOTA)
    if target <= online and quota.usable:
        return _quota(cpu, float(online), max(target, quota.lowest))
    count = max(1, ceil(target - EPSILON))
    plug = _vcpus(domain, cpu, count, online)
    if isinstance(plug, NoWay):
        return plug
    if cpu.quota is None and (target >= count - EPSILON or not quota.usable):
        return plug
    if not quota.usable:
        return NoWay(f"the quota of {cpu.quota.cores:g} cores stays in the way: {quota.reason}" if cpu.quota else quota.reason)
    return (*plug, *_quota(cpu, float(count), target))


def _quota(cpu: CpuReading, vcpus: float, target: float) -> tuple[Step, ...]:
    """Nothing when the cap in force already gives exactly this."""
    has = vcpus if cpu.quota is None else cpu.quota.cores
    same = abs(has - target) < EPSILON or (target >= vcpus - EPSILON and has >= vcpus)
    return () if same else (Step(LeverName.CPU_QUOTA, target),)


def _vcpus(domain: DomainReading, cpu: CpuReading, count: int, online: int) -> tuple[Step, ...] | NoWay:
    """Whole vCPUs: plugged where too few are, on line in the guest where it has them off (or has to take some off)."""
    guest, plug = domain.capability(LeverName.CPU_GUEST), domain.capability(LeverName.CPU_HOTPLUG)
    if count > cpu.current:
        if not plug.usable or count > plug.highest:
            return NoWay(plug.reason or f"{count} vCPUs wanted, {plug.highest:g} can be plugged")
        return (Step(LeverName.CPU_HOTPLUG, count),)  # this lever brings them on line too
    if count == online:
        return ()
    if guest.usable:
        return (Step(LeverName.CPU_GUEST, count),)
    if count < cpu.current and plug.usable and count >= plug.lowest:
        return (Step(LeverName.CPU_HOTPLUG, count),)
    return NoWay(f"{guest.reason}; {plug.reason or 'vCPUs cannot be unplugged'}")


def _memory(domain: DomainReading, memory: MemoryReading, target: float) -> tuple[Step, ...] | NoWay:
    virtio, balloon = _virtio(domain, memory, target), _balloon(domain, memory, min(target, memory.maximum.mib))
    if isinstance(virtio, NoWay) or isinstance(balloon, NoWay):
        return virtio if isinstance(virtio, NoWay) else balloon
    return (*virtio, *balloon) if target < memory.current.mib else (*balloon, *virtio)


def _virtio(domain: DomainReading, memory: MemoryReading, target: float) -> tuple[Step, ...] | NoWay:
    """virtio-mem plugs beside what the domain was started with, in whole blocks: rounded up."""
    asked = memory.virtio_requested or memory.virtio_current
    plugged, extra = (0.0 if asked is None else asked.mib), max(0.0, target - memory.maximum.mib)
    if abs(plugged - extra) < 1:
        return ()
    lever = domain.capability(LeverName.MEM_VIRTIO)
    if not lever.usable:
        return NoWay(f"beyond what the domain was started with: {lever.reason}")
    grain, room = lever.granule or 1.0, lever.highest - lever.lowest
    wanted = ceil(extra / grain - EPSILON) * grain
    if wanted > room + EPSILON:
        return NoWay(f"{wanted:.0f} MiB wanted beside the base memory, {room:.0f} can be plugged")
    return () if abs(plugged - wanted) < 1 else (Step(LeverName.MEM_VIRTIO, wanted),)


def _balloon(domain: DomainReading, memory: MemoryReading, base: float) -> tuple[Step, ...] | NoWay:
    inflated = memory.current.mib - (memory.virtio_current.mib if memory.virtio_current else 0.0)
    if abs(inflated - base) < 1:
        return ()
    lever = domain.capability(LeverName.MEM_BALLOON)
    if not lever.usable:
        return NoWay(lever.reason)
    return (Step(LeverName.MEM_BALLOON, max(base, lever.lowest)),)
