"""What a hypervisor door hands to the agent's core: one instant, counters as they are, units already ours.

libvirt's door and the simulated hypervisor give the same words, so that the same core runs on both.
Counters only grow; a smaller value than before means that the domain was restarted.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from foreshape_wire.ids import Label, Name, ServerKey, Text
from foreshape_wire.quantity import Amount, Cores, Memory, Size

Resource = Annotated[str, msgspec.Meta(pattern=r"^(cpu|memory|disk_iops|disk_kib_s|net_kib_s)(?![\s\S])")]
"""``cpu`` (amounts in cores), ``memory`` (MiB); what can only be capped: ``disk_iops`` (1/s), ``disk_kib_s``, ``net_kib_s`` (KiB/s).

Only a controller that sent a cap on disks or network is told of one: older ones know two resources.
"""


class DomainState(StrEnum):
    """State of a domain, as far as resizing cares."""

    RUNNING = "running"
    PAUSED = "paused"
    BUSY = "busy"
    """Its job lock is held (libvirt could not answer without blocking)."""
    MIGRATING = "migrating"
    SHUTOFF = "shutoff"
    CRASHED = "crashed"


class Identity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who a domain is. Nova's words are empty where the domain was not made by Nova."""

    server: ServerKey
    name: Name
    project: Label = ""
    flavor: Label = ""
    image: Label = ""
    display_name: Label = ""


class LeverName(StrEnum):
    """A way to resize, or to throttle (domain.md §1)."""

    CPU_QUOTA = "cpu.quota"
    CPU_GUEST = "cpu.guest"
    CPU_HOTPLUG = "cpu.hotplug"
    MEM_BALLOON = "mem.balloon"
    MEM_VIRTIO = "mem.virtio"
    DISK_IOPS = "disk.iops"
    DISK_BANDWIDTH = "disk.bandwidth"
    NET_BANDWIDTH = "net.bandwidth"

    @property
    def resource(self) -> str:
        """``cpu`` or ``memory``; of a throttle ``disk_iops``, ``disk_kib_s``, ``net_kib_s``."""
        return _RESOURCES[self.value]

    @property
    def throttles(self) -> bool:
        """Whether it only holds back, and gives or takes nothing."""
        return self.resource not in {"cpu", "memory"}


_RESOURCES = {
    "cpu.quota": "cpu",
    "cpu.guest": "cpu",
    "cpu.hotplug": "cpu",
    "mem.balloon": "memory",
    "mem.virtio": "memory",
    "disk.iops": "disk_iops",
    "disk.bandwidth": "disk_kib_s",
    "net.bandwidth": "net_kib_s",
}

RESIZERS = tuple(lever for lever in LeverName if not lever.throttles)
THROTTLES = tuple(lever for lever in LeverName if lever.throttles)


class Capability(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One lever of one domain: its range in the lever's unit (cores or MiB), or why it is not there.

    ``reason`` is empty exactly when the lever can be used now.
    """

    lever: LeverName
    lowest: Amount = 0.0
    highest: Amount = 0.0
    granule: Amount = 0.0
    reason: Text = ""

    @property
    def usable(self) -> bool:
        return not self.reason


class VcpuReading(msgspec.Struct, frozen=True, gc=False):
    """One vCPU. ``run_ns`` is CPU time had, ``delay_ns`` time spent runnable but waiting for a CPU."""

    number: int
    run_ns: int
    delay_ns: int | None


class CpuReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """CPU counters and limits of a domain."""

    run_ns: int
    """CPU time of the whole domain, emulator threads included."""
    vcpus: tuple[VcpuReading, ...]
    current: int
    """vCPUs plugged in now (live)."""
    maximum: int
    guest_online: int | None
    """vCPUs the guest itself has online, from its agent; None when the agent does not say."""
    quota: Cores | None
    """Cap of the whole domain now; None means no cap."""
    throttled_ns: int | None
    """Time the domain's threads were held back by the cap (cgroup throttled_time); None when unreadable."""


class MemoryReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Memory of a domain. Guest's numbers are None without a balloon driver."""

    current: Memory
    """What the guest has now: measured balloon size plus plugged virtio-mem."""
    maximum: Memory
    """The balloon's upper end: memory it was started with."""
    rss: Memory | None
    """Resident memory of the QEMU process."""
    available: Memory | None
    """Total as the guest's kernel sees it."""
    usable: Memory | None
    """What the guest could give without swapping (MemAvailable)."""
    unused: Memory | None
    swap_in_bytes: int | None
    swap_out_bytes: int | None
    major_faults: int | None
    guest_updated_at: float | None
    """When the guest last sent its numbers, seconds since the epoch; unchanging means frozen."""
    stats_period_s: int | None
    """0 or None: the guest is never asked, so its numbers are frozen."""
    virtio_current: Memory | None = None
    virtio_requested: Memory | None = None
    total_stays: bool = False
    """``available`` counts what the balloon holds as well: so with a balloon that the guest empties itself before it kills (Nova's are)."""


class IoReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Disk and network counters, summed over devices."""

    read_bytes: int = 0
    write_bytes: int = 0
    read_ops: int = 0
    write_ops: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0


class DeviceLimit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one disk or network interface may do at most, of one resource (1/s or KiB/s). 0: as much as it likes.

    A disk has either ``total`` or the two parts; an interface the two parts only.
    """

    device: str
    """``vda``, ``vnet0``: what the hypervisor calls it."""
    resource: str
    total: float = 0.0
    inward: float = 0.0
    """Read from the disk, received by the guest."""
    outward: float = 0.0
    """Written, sent."""
    bursts: tuple[tuple[str, int], ...] = ()
    """What else the hypervisor says of this limit, in its own words: put back with it, never made up."""


class DomainReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One domain at one instant. A part is None when it could not be read; ``note`` then says why."""

    identity: Identity
    state: DomainState
    read_at: float
    """Wall clock, seconds since the epoch."""
    monotonic_s: float
    """Clock that never steps: rates are taken over it."""
    entitlement: Size
    """The size its flavor sold (Nova metadata), else what it was started with."""
    ceiling: Size
    """What can be reached live."""
    cpu: CpuReading | None
    memory: MemoryReading | None
    io: IoReading | None
    capabilities: tuple[Capability, ...]
    """Of the levers that resize."""
    instance: str = ""
    """Changes when the domain is started anew (libvirt id and start time): counters and caps begin again."""
    note: str = ""
    throttles: tuple[Capability, ...] = ()
    """Of the levers that only hold back."""
    limits: tuple[DeviceLimit, ...] = ()
    """One for each device and resource that can be throttled."""
    stopped_s: float | None = None
    """How long the live migration that brought it here stopped its guest, as the hypervisor measured; None: it does not say."""

    def capability(self, lever: LeverName) -> Capability:
        """The named lever's capability; a lever nobody spoke of is not usable."""
        for c in self.throttles if lever.throttles else self.capabilities:
            if c.lever == lever:
                return c
        return Capability(lever=lever, reason="not examined")


class HostReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The hypervisor itself at one instant."""

    read_at: float
    monotonic_s: float
    cpus: int
    memory_total: Memory
    memory_available: Memory
    cpu_busy_s: float
    """CPU seconds not idle, all CPUs, since boot: a counter."""
    cpu_steal_s: float
    load_1m: float
    psi_cpu_some: float | None
    """Pressure stall, share of the last 10 s (0..1); None where the kernel has no PSI."""
    psi_memory_some: float | None
    psi_memory_full: float | None
    psi_io_some: float | None
