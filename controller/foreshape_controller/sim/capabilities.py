"""Which levers a simulated server has now, and why not the others: the same cases as on real hypervisors."""

from foreshape_controller.sim.guest import VIRTIO_BLOCK_MIB, SimVm
from foreshape_wire.quantity import MAX_MIB
from foreshape_wire.reading import THROTTLES, Capability, LeverName

LEAST_CORES = 0.05
LEAST_MIB = 64.0
"""As on real hypervisors: below these a Linux guest stops being one."""


def capabilities(vm: SimVm) -> tuple[Capability, ...]:
    """All five levers, each with its range or its reason. Memory ranges are the server's total."""
    return (_quota(vm), _guest(vm), _hotplug(vm), _balloon(vm), _virtio(vm))


def throttles(vm: SimVm) -> tuple[Capability, ...]:
    """What can hold its disks and its network back."""
    return tuple(_throttle(lever, vm.spec.nics if lever is LeverName.NET_BANDWIDTH else vm.spec.disks) for lever in THROTTLES)


def _throttle(lever: LeverName, devices: tuple[str, ...]) -> Capability:
    if not devices:
        return Capability(lever=lever, reason="it has no device that could be held back")
    return Capability(lever=lever, lowest=float(len(devices)), highest=MAX_MIB, granule=1.0)


def _quota(vm: SimVm) -> Capability:
    return Capability(lever=LeverName.CPU_QUOTA, lowest=LEAST_CORES, highest=float(vm.spec.most_cores), granule=0.01)


def _guest(vm: SimVm) -> Capability:
    if not vm.spec.has_agent:
        return Capability(lever=LeverName.CPU_GUEST, reason="no guest agent channel (image property hw_qemu_guest_agent)")
    return Capability(lever=LeverName.CPU_GUEST, lowest=1.0, highest=float(vm.plugged), granule=1.0)


def _hotplug(vm: SimVm) -> Capability:
    spec = vm.spec
    if spec.most_cores <= spec.cores:
        return Capability(lever=LeverName.CPU_HOTPLUG, reason="all vCPUs are plugged: the domain was defined without room for more")
    lowest = spec.cores if spec.can_unplug else vm.plugged
    return Capability(lever=LeverName.CPU_HOTPLUG, lowest=float(lowest), highest=float(spec.most_cores), granule=1.0)


def _balloon(vm: SimVm) -> Capability:
    if not vm.spec.has_balloon:
        return Capability(lever=LeverName.MEM_BALLOON, reason="no balloon device")
    return Capability(lever=LeverName.MEM_BALLOON, lowest=min(LEAST_MIB, vm.spec.mib), highest=vm.spec.mib, granule=1.0)


def _virtio(vm: SimVm) -> Capability:
    spec = vm.spec
    if spec.most_mib <= spec.mib:
        return Capability(lever=LeverName.MEM_VIRTIO, reason="no virtio-mem device")
    return Capability(lever=LeverName.MEM_VIRTIO, lowest=spec.mib, highest=spec.most_mib, granule=VIRTIO_BLOCK_MIB)
