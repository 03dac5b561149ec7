"""An in-memory hypervisor with honest physics: what is asked for takes time, stops short, or never comes."""

from dataclasses import dataclass, field

from foreshape_agent.errors import DomainBusy, DomainGone, HypervisorLost, LeverRejected
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import (
    RESIZERS,
    THROTTLES,
    Capability,
    CpuReading,
    DeviceLimit,
    DomainReading,
    DomainState,
    Identity,
    IoReading,
    LeverName,
    MemoryReading,
    VcpuReading,
)

SERVER = ServerId("00000000-0000-4000-8000-0000000000aa")
NOT_SEEN = (DomainState.PAUSED, DomainState.SHUTOFF, DomainState.CRASHED)


class FakeClock:
    """Time that passes only when somebody sleeps, or a test says so."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """The wall clock jumps; the monotonic one does not."""
        self._now += seconds


@dataclass
class FakeDomain:
    """One guest. Amounts in cores and MiB; whatever a test wants odd is a field."""

    server: ServerId = SERVER
    name: str = "vm"
    project: str = ""
    flavor: str = ""
    state: DomainState = DomainState.RUNNING
    instance: str = "1"
    entitlement: tuple[float, float] | None = None
    """Cores and MiB; None: what it was started with."""
    # CPU
    boot_vcpus: int = 2
    vcpus: int = 2
    max_vcpus: int = 2
    agent: bool = True
    agent_obeys: bool = True
    online: int = 2
    onlines_plugged: bool = True
    """Whether the guest brings plugged vCPUs on line by itself (udev rule)."""
    unplug_works: bool = True
    quota: float | None = None
    quota_ignored: bool = False
    demand_cores: float = 0.5
    waiting_cores: float = 0.0
    # memory
    base_mib: float = 512.0
    balloon: bool = True
    balloon_mib: float = 512.0
    balloon_target: float = 512.0
    balloon_mib_per_s: float = 1024.0
    used_mib: float = 100.0
    """What the guest cannot give: the balloon stops here."""
    stats: bool = True
    stats_period: int | None = 10
    swap_in_bytes: int = 0
    major_faults: int = 0
    virtio_size: float = 0.0
    virtio_mib: float = 0.0
    virtio_target: float = 0.0
    virtio_stuck_at: float = 0.0
    """Plugged memory below this cannot be unplugged."""
    # devices
    disks: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    no_tap: bool = False
    """Its network is user-mode."""
    limits: dict[tuple[str, str], DeviceLimit] = field(default_factory=dict)
    """By device and resource; what is not named has none."""
    limits_ignored: bool = False
    # counters
    run_ns: float = 0.0
    delay_ns: float = 0.0
    throttled_ns: float = 0.0
    guest_updated_at: float = 0.0

    def device_limits(self) -> tuple[DeviceLimit, ...]:
        named = [(d, r) for d in self.disks for r in ("disk_iops", "disk_kib_s")] + [(n, "net_kib_s") for n in self.nics]
        return tuple(self.limits.get((d, r)) or DeviceLimit(device=d, resource=r) for d, r in named)

    def reboot(self) -> None:
        """Started anew: live limits and caps are gone."""
        self.instance, self.quota = f"{self.instance}+", None
        self.limits = {}

    def entitled(self) -> Size:
        cores, mib = self.entitlement or (float(self.boot_vcpus), self.base_mib)
        return Size(cpu=Cores(cores), memory=Memory(mib))

    def ceiling(self) -> Size:
        return Size(cpu=Cores(float(self.max_vcpus)), memory=Memory(self.base_mib + self.virtio_size))

    def pass_time(self, seconds: float, now: float) -> None:
        """Counters grow, the balloon and virtio-mem move towards their targets."""
        if self.state in NOT_SEEN:
            return
        possible = min(self.demand_cores, float(self.online))
        had = possible if self.quota is None or self.quota_ignored else min(possible, self.quota)
        self.run_ns += had * seconds * 1e9
        self.throttled_ns += (possible - had) * seconds * 1e9
        self.delay_ns += self.waiting_cores * seconds * 1e9
        step = self.balloon_mib_per_s * seconds
        stop = max(self.balloon_target, min(self.used_mib, self.balloon_mib))
        self.balloon_mib = _towards(self.balloon_mib, stop, step)
        self.virtio_mib = _towards(self.virtio_mib, max(self.virtio_target, min(self.virtio_stuck_at, self.virtio_mib)), step)
        if self.stats_period:
            self.guest_updated_at = now


def _towards(value: float, goal: float, step: float) -> float:
    return min(goal, value + step) if goal > value else max(goal, value - step)


@dataclass
class FakeHypervisor:
    """Satisfies levers.base.Hypervisor. ``calls`` tells what was asked; ``trouble`` is raised by the next setter of that name."""

    clock: FakeClock
    domains: dict[ServerId, FakeDomain] = field(default_factory=dict)
    calls: list[tuple[str, ServerId, object]] = field(default_factory=list)
    trouble: dict[str, Exception] = field(default_factory=dict)
    lost: bool = False
    _read_at: float | None = None

    def add(self, domain: FakeDomain) -> FakeDomain:
        self.domains[domain.server] = domain
        return domain

    # -- readings -------------------------------------------------------------------------------------------

    def read_domains(self) -> tuple[DomainReading, ...]:
        self._pass_time()
        return tuple(self._reading(d, ask=False) for d in self.domains.values())

    def read_domain(self, server: ServerId, *, ask_guest: bool = False) -> DomainReading:
        self._pass_time()
        return self._reading(self._find(server), ask=ask_guest)

    # -- setters --------------------------------------------------------------------------------------------

    def set_cpu_quota(self, server: ServerId, cap: Cores | None) -> None:
        domain = self._take("set_cpu_quota", server, cap)
        if not domain.quota_ignored:
            domain.quota = None if cap is None else cap.cores

    def set_guest_vcpus(self, server: ServerId, count: int) -> None:
        domain = self._take("set_guest_vcpus", server, count)
        if not domain.agent:
            raise LeverRejected("QEMU guest agent is not configured")
        if domain.agent_obeys:
            domain.online = min(count, domain.vcpus)

    def set_vcpus(self, server: ServerId, count: int) -> None:
        domain = self._take("set_vcpus", server, count)
        if not domain.boot_vcpus <= count <= domain.max_vcpus:
            raise LeverRejected(f"{count} vCPUs: only {domain.boot_vcpus} to {domain.max_vcpus} are possible")
        if count < domain.vcpus and not domain.unplug_works:
            self.clock.sleep(5.0)  # libvirt's own time-out; the call comes back and nothing has changed
            return
        domain.online = count if domain.onlines_plugged else min(domain.online, count)
        domain.vcpus = count

    def set_balloon(self, server: ServerId, memory: Memory) -> None:
        domain = self._take("set_balloon", server, memory)
        if not domain.balloon:
            raise LeverRejected("Unable to change memory of active domain without the balloon device")
        if memory.mib > domain.base_mib:
            raise LeverRejected("cannot set memory higher than max memory")
        domain.balloon_target = memory.mib

    def set_virtio_mem(self, server: ServerId, memory: Memory) -> None:
        domain = self._take("set_virtio_mem", server, memory)
        if memory.mib > domain.virtio_size:
            raise LeverRejected("requested size is above the device's size")
        domain.virtio_target = memory.mib

    def set_disk_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        self._limit("set_disk_limit", server, limit)

    def set_net_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        self._limit("set_net_limit", server, limit)

    def _limit(self, call: str, server: ServerId, limit: DeviceLimit) -> None:
        domain = self._take(call, server, limit)
        if limit.device not in (*domain.disks, *domain.nics):
            raise LeverRejected(f"no device {limit.device}")
        if not domain.limits_ignored:
            domain.limits[limit.device, limit.resource] = limit

    def set_stats_period(self, server: ServerId, seconds: int) -> None:
        self._take("set_stats_period", server, seconds).stats_period = seconds

    # -- within ---------------------------------------------------------------------------------------------

    def _find(self, server: ServerId) -> FakeDomain:
        if self.lost:
            raise HypervisorLost("the connection is gone")
        if server not in self.domains:
            raise DomainGone(f"no domain {server}")
        return self.domains[server]

    def _take(self, call: str, server: ServerId, value: object) -> FakeDomain:
        self._pass_time()
        domain = self._find(server)
        self.calls.append((call, server, value))
        if call in self.trouble:
            raise self.trouble.pop(call)
        if domain.state in (DomainState.BUSY, DomainState.MIGRATING):
            raise DomainBusy(f"{domain.name} is {domain.state.value}")
        return domain

    def _pass_time(self) -> None:
        if self.lost:
            raise HypervisorLost("the connection is gone")
        at = self.clock.monotonic()
        seconds = at - (self._read_at if self._read_at is not None else at)
        self._read_at = at
        for domain in self.domains.values():
            domain.pass_time(seconds, self.clock.now())

    def _reading(self, d: FakeDomain, *, ask: bool) -> DomainReading:
        dark = d.state in (DomainState.SHUTOFF, DomainState.CRASHED)
        return DomainReading(
            identity=Identity(server=d.server, name=d.name, project=d.project, flavor=d.flavor),
            state=d.state,
            read_at=self.clock.now(),
            monotonic_s=self.clock.monotonic(),
            entitlement=d.entitled(),
            ceiling=d.ceiling(),
            cpu=None if dark else _cpu(d),
            memory=None if dark or d.state is DomainState.BUSY else _memory(d),
            io=None if dark else IoReading(),
            capabilities=tuple(_capabilities(d)),
            throttles=tuple(_throttles(d)),
            limits=() if dark else d.device_limits(),
            instance=d.instance,
            note="" if d.state is DomainState.RUNNING else f"domain is {d.state.value}",
        )


def _cpu(d: FakeDomain) -> CpuReading:
    each = int(d.run_ns / d.vcpus)
    ran = [each if n < d.online else 0 for n in range(d.vcpus)]
    return CpuReading(
        run_ns=int(d.run_ns),
        vcpus=tuple(VcpuReading(n, max(ns, 1_000_000 if n < d.online else 0), int(d.delay_ns / d.vcpus)) for n, ns in enumerate(ran)),
        current=d.vcpus,
        maximum=d.max_vcpus,
        guest_online=d.online if d.agent else None,
        quota=None if d.quota is None else Cores(d.quota),
        throttled_ns=int(d.throttled_ns),
    )


def _memory(d: FakeDomain) -> MemoryReading:
    total = d.balloon_mib + d.virtio_mib
    told = d.balloon and d.stats
    return MemoryReading(
        current=Memory(total),
        maximum=Memory(d.base_mib),
        rss=Memory(min(total, d.used_mib + 60)),
        available=Memory(max(0.0, total - 30)) if told else None,
        usable=Memory(max(0.0, total - 30 - d.used_mib)) if told else None,
        unused=Memory(max(0.0, total - 40 - d.used_mib)) if told else None,
        swap_in_bytes=d.swap_in_bytes if told else None,
        swap_out_bytes=0 if told else None,
        major_faults=d.major_faults if told else None,
        guest_updated_at=d.guest_updated_at if told else None,
        stats_period_s=d.stats_period if d.balloon else None,
        virtio_current=Memory(d.virtio_mib) if d.virtio_size else None,
        virtio_requested=Memory(d.virtio_target) if d.virtio_size else None,
    )


def _capabilities(d: FakeDomain) -> list[Capability]:
    if d.state is not DomainState.RUNNING:
        return [Capability(lever=lever, reason=f"domain is {d.state.value}") for lever in RESIZERS]
    ranges: dict[LeverName, tuple[float, float, float] | str] = {
        LeverName.CPU_QUOTA: (0.05, float(d.max_vcpus), 0.01),
        LeverName.CPU_GUEST: (1, d.vcpus, 1) if d.agent else "guest agent channel is not connected",
        LeverName.CPU_HOTPLUG: (d.boot_vcpus, d.max_vcpus, 1) if d.max_vcpus > d.boot_vcpus else "no vCPU slots to plug",
        LeverName.MEM_BALLOON: (64, d.base_mib, 1) if d.balloon else "no balloon device",
        LeverName.MEM_VIRTIO: (d.base_mib, d.base_mib + d.virtio_size, 2) if d.virtio_size else "no virtio-mem device",
    }
    return [_capability(lever, r) for lever, r in ranges.items()]


def _throttles(d: FakeDomain) -> list[Capability]:
    if d.state is not DomainState.RUNNING:
        return [Capability(lever=lever, reason=f"domain is {d.state.value}") for lever in THROTTLES]
    no_net = "its interface is user-mode: nothing on the host could be held back" if d.no_tap else "" if d.nics else "it has no interface"
    reasons = {lever: no_net if lever is LeverName.NET_BANDWIDTH else "" if d.disks else "it has no disk" for lever in THROTTLES}
    return [_capability(lever, why or (1, 1e6, 1)) for lever, why in reasons.items()]


def _capability(lever: LeverName, r: tuple[float, float, float] | str) -> Capability:
    if isinstance(r, str):
        return Capability(lever=lever, reason=r)
    return Capability(lever=lever, lowest=float(r[0]), highest=float(r[1]), granule=float(r[2]))
