"""A SIMULATED hypervisor behind the agent's door (``foreshape_agent.levers.base.Hypervisor``, by its shape).

Reads and levers look at the world now: the host's simulated time catches up with the clock first. A lever that is
accepted starts a change, no more; whether it happened is seen by reading again, as on a real hypervisor.
"""

from foreshape_controller.sim.capabilities import capabilities, throttles
from foreshape_controller.sim.errors import SimBusy, SimLost, SimRejected
from foreshape_controller.sim.guest import VIRTIO_BLOCK_MIB, SimVm
from foreshape_controller.sim.world import SimHost, World
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import (
    CpuReading,
    DeviceLimit,
    DomainReading,
    DomainState,
    HostReading,
    Identity,
    IoReading,
    MemoryReading,
    VcpuReading,
)

NS = 1e9
MIB = 1048576


class SimHypervisor:
    """One host of a world."""

    def __init__(self, world: World, host: HostName) -> None:
        self._world = world
        self._host = world.hosts[host]

    def read_domains(self) -> tuple[DomainReading, ...]:
        host = self._ready()
        return tuple(self._reading(vm) for vm in host.living(self._world.clock.now()))

    def read_domain(self, server: ServerId, *, ask_guest: bool = False) -> DomainReading:
        return self._reading(self._vm(server), ask_guest=ask_guest)

    def read_host(self) -> HostReading:
        """The host itself, whatever its hypervisor's connection does; what ``foreshape_agent.host.read_host`` is for a real one."""
        host, clock = self._host, self._world.clock
        host.advance(clock.now())
        resident = sum(vm.rss for vm in host.living(clock.now()))
        busy = sum(vm.wish.cpu for vm in host.living(clock.now()))
        return HostReading(
            read_at=clock.now(),
            monotonic_s=clock.monotonic(),
            cpus=host.spec.cpus,
            memory_total=Memory(host.spec.mib),
            memory_available=Memory(max(0.0, host.spec.mib - 2048 - resident)),
            cpu_busy_s=host.busy_s,
            cpu_steal_s=0.0,
            load_1m=busy,
            psi_cpu_some=min(1.0, max(0.0, busy / host.spec.cpus - 1)),
            psi_memory_some=0.0,
            psi_memory_full=0.0,
            psi_io_some=0.0,
        )

    def set_cpu_quota(self, server: ServerId, cap: Cores | None) -> None:
        vm = self._free(server)
        vm.cap = None if cap is None else max(0.01, cap.cores)

    def set_guest_vcpus(self, server: ServerId, count: int) -> None:
        vm = self._free(server)
        if not vm.spec.has_agent:
            raise SimRejected("QEMU guest agent is not configured")
        if not 1 <= count <= vm.plugged:
            raise SimRejected(f"requested vcpus {count} is not between 1 and {vm.plugged}")
        vm.online = count

    def set_vcpus(self, server: ServerId, count: int) -> None:
        vm = self._free(server)
        if count > vm.spec.most_cores:
            raise SimRejected(f"requested vcpus is greater than max allowable vcpus for the live domain: {count} > {vm.spec.most_cores}")
        if count < vm.spec.cores or (count < vm.plugged and not vm.spec.can_unplug):
            raise SimRejected("vcpu unplug request timed out")
        vm.online = count if count >= vm.plugged else min(vm.online, count)
        vm.plugged = count

    def set_balloon(self, server: ServerId, memory: Memory) -> None:
        vm = self._free(server)
        if not vm.spec.has_balloon:
            raise SimRejected("Unable to change memory of active domain without the balloon device")
        if memory.mib > vm.spec.mib + 1:
            raise SimRejected(f"cannot set memory higher than max memory: {memory.mib:.0f} > {vm.spec.mib:.0f} MiB")
        vm.balloon_target = memory.mib

    def set_virtio_mem(self, server: ServerId, memory: Memory) -> None:
        vm = self._free(server)
        room = vm.spec.most_mib - vm.spec.mib
        if room <= 0:
            raise SimRejected("no virtio-mem device")
        if memory.mib > room:
            raise SimRejected(f"requested size exceeds the device: {memory.mib:.0f} > {room:.0f} MiB")
        vm.virtio_target = memory.mib // VIRTIO_BLOCK_MIB * VIRTIO_BLOCK_MIB

    def set_disk_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        """Kept and told again; simulated I/O follows the CPU and is not slowed down by it."""
        self._limit(server, limit)

    def set_net_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        self._limit(server, limit)

    def _limit(self, server: ServerId, limit: DeviceLimit) -> None:
        vm = self._free(server)
        if (limit.device, limit.resource) not in vm.limits:
            raise SimRejected(f"no device {limit.device} with {limit.resource}")
        vm.limits[limit.device, limit.resource] = limit

    def set_stats_period(self, server: ServerId, seconds: int) -> None:
        vm = self._free(server)
        if not vm.spec.has_balloon:
            raise SimRejected("no balloon device")
        vm.ask_every(seconds, self._world.clock.now())

    def _ready(self) -> SimHost:
        if self._host.lost:
            raise SimLost(f"{self._host.spec.name}: {self._host.lost}")
        self._host.advance(self._world.clock.now())
        return self._host

    def _vm(self, server: ServerId) -> SimVm:
        return self._ready().vm(server, self._world.clock.now())

    def _free(self, server: ServerId) -> SimVm:
        """The server, if no other job holds it."""
        vm = self._vm(server)
        if self._world.busy(server):
            raise SimBusy(f"{vm.spec.name}: cannot acquire state change lock (held by a backup job)")
        return vm

    def _reading(self, vm: SimVm, *, ask_guest: bool = False) -> DomainReading:
        spec, clock = vm.spec, self._world.clock
        busy = self._world.busy(spec.server)
        return DomainReading(
            identity=_identity(vm),
            state=DomainState.BUSY if busy else DomainState.RUNNING,
            read_at=clock.now(),
            monotonic_s=clock.monotonic(),
            entitlement=Size(Cores(float(spec.cores)), Memory(spec.mib)),
            ceiling=Size(Cores(float(spec.most_cores)), Memory(spec.most_mib)),
            cpu=_cpu(vm, ask_guest=ask_guest),
            memory=None if busy else _memory(vm, clock.now()),
            io=None if busy else _io(vm),
            capabilities=capabilities(vm),
            instance=vm.instance,
            note="another job holds the domain" if busy else "",
            throttles=throttles(vm),
            limits=tuple(vm.limits.values()),
        )


def _identity(vm: SimVm) -> Identity:
    spec = vm.spec
    name = f"instance-{spec.server[:8]}"
    return Identity(server=spec.server, name=name, project=spec.project, flavor=spec.flavor, image=spec.image, display_name=spec.name)


def _cpu(vm: SimVm, *, ask_guest: bool) -> CpuReading:
    """A vCPU's delay contains the time its cap held it back, as measured on Linux."""
    c, n = vm.counters, vm.plugged
    run, delay = int(c.run * NS / n), int((c.waiting + c.throttled) * NS / n)
    return CpuReading(
        run_ns=int(c.run * NS),
        vcpus=tuple(VcpuReading(i, run, delay) for i in range(n)),
        current=n,
        maximum=vm.spec.most_cores,
        guest_online=vm.online if ask_guest and vm.spec.has_agent else None,
        quota=None if vm.cap is None else Cores(vm.cap),
        throttled_ns=int(c.throttled * NS),
    )


def _memory(vm: SimVm, now: float) -> MemoryReading:
    spec, told = vm.spec, vm.told(now)
    virtio = spec.most_mib > spec.mib
    return MemoryReading(
        current=Memory(vm.memory),
        maximum=Memory(spec.mib),
        rss=Memory(vm.rss),
        available=Memory(told.available) if spec.has_balloon else None,
        usable=Memory(told.usable) if spec.has_balloon else None,
        unused=Memory(told.usable * 0.5) if spec.has_balloon else None,
        swap_in_bytes=int(told.swap_in * MIB) if spec.has_balloon else None,
        swap_out_bytes=int(told.swap_out * MIB) if spec.has_balloon else None,
        major_faults=int(told.faults) if spec.has_balloon else None,
        guest_updated_at=told.at if spec.has_balloon else None,
        stats_period_s=vm.stats_period_s if spec.has_balloon else None,
        virtio_current=Memory(vm.virtio) if virtio else None,
        virtio_requested=Memory(vm.virtio_target) if virtio else None,
    )


def _io(vm: SimVm) -> IoReading:
    """I/O follows the CPU: so many MiB per core-second."""
    run = vm.counters.run
    return IoReading(
        read_bytes=int(0.4 * run * MIB),
        write_bytes=int(0.8 * run * MIB),
        read_ops=int(12 * run),
        write_ops=int(50 * run),
        rx_bytes=int(0.3 * run * MIB),
        tx_bytes=int(0.5 * run * MIB),
    )
