"""The simulated cloud: hosts share their CPUs among servers while simulated time passes, and the truth is written down."""

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from foreshape_controller.sim import fleet
from foreshape_controller.sim.clock import SimClock
from foreshape_controller.sim.demand import TICK_S
from foreshape_controller.sim.errors import SimDomainGone
from foreshape_controller.sim.fleet import Fleet, HostSpec
from foreshape_controller.sim.guest import SimVm
from foreshape_controller.sim.trace import read_trace
from foreshape_controller.sim.truth import Truth
from foreshape_wire.ids import HostName, ServerId

MONDAY = 1767571200.0
"""Monday 5 January 2026, 00:00 UTC: where simulated time begins unless told otherwise."""

BUSY_SLOT_S = 120
BUSY_PER_MILLE = 1
"""In how many two-minute slots of a thousand another job (a snapshot, a backup) holds a domain."""


def fair_shares(wants: Sequence[float], weights: Sequence[float], capacity: float) -> list[float]:
    """Weighted max-min fairness, as the kernel's scheduler gives: nobody more than it wants, the rest by weight."""
    got = list(wants)
    if sum(wants) <= capacity:
        return got
    left, open_ = capacity, [i for i, w in enumerate(wants) if w > 0]
    while open_:
        level = left / sum(weights[i] for i in open_)
        filled = [i for i in open_ if wants[i] <= level * weights[i]]
        if not filled:
            for i in open_:
                got[i] = level * weights[i]
            break
        left -= sum(wants[i] for i in filled)
        open_ = [i for i in open_ if i not in filled]
    return got


class SimHost:
    """One simulated hypervisor with its servers. Time passes for it when somebody looks."""

    def __init__(self, spec: HostSpec, vms: Sequence[SimVm], truth: Truth, start: float) -> None:
        self.spec = spec
        self.lost = ""
        """Not empty: the connection to it is cut, and why."""
        self.busy_s = 0.0
        self.pressed_s = 0.0
        self._vms = {vm.spec.server: vm for vm in vms}
        self._truth = truth
        self._at = start

    def living(self, at: float) -> list[SimVm]:
        return [vm for vm in self._vms.values() if vm.spec.born <= at < vm.spec.dies]

    def vm(self, server: ServerId, at: float) -> SimVm:
        vm = self._vms.get(server)
        if vm is None or not vm.spec.born <= at < vm.spec.dies:
            raise SimDomainGone(f"no domain {server} on {self.spec.name}")
        return vm

    def all(self) -> tuple[SimVm, ...]:
        return tuple(self._vms.values())

    def step_wall_clock(self, seconds: float) -> None:
        self._at += seconds

    def advance(self, to: float) -> None:
        """Let time pass up to ``to``, tick by tick: demand is constant within a tick."""
        while self._at < to:
            end = min(to, (self._at // TICK_S + 1) * TICK_S)
            self._step(self._at, end - self._at)
            self._at = end

    def _step(self, at: float, dt: float) -> None:
        vms = self.living(at)
        wants = [vm.wants(at) for vm in vms]
        got = fair_shares(wants, [vm.spec.cores for vm in vms], self.spec.cpus)
        for vm, cores in zip(vms, got, strict=True):
            vm.run(cores, dt)
            needs, server = vm.needs, vm.spec.server
            self._truth.add("cpu", server, at, dt, needs.cpu, vm.cpu)
            self._truth.add("memory", server, at, dt, needs.memory, vm.memory)
        self.busy_s += sum(got) * dt
        self.pressed_s += dt if sum(wants) > sum(got) + 1e-9 else 0.0


class World:
    """Hosts, servers, clock and truth of one simulation."""

    def __init__(self, plan: Fleet, clock: SimClock, seed: int = 1) -> None:
        start = clock.now()
        self.clock = clock
        self.seed = seed
        self.truth = Truth(start)
        self.hosts: dict[HostName, SimHost] = {}
        for spec in plan.hosts:
            vms = [SimVm(s, max(start, s.born)) for s in plan.servers if s.host == spec.name]
            self.hosts[spec.name] = SimHost(spec, vms, self.truth, start)
        for server in plan.servers:
            self.truth.sold(server.server, server.cores, server.mib)

    @classmethod
    def generated(cls, *, seed: int = 1, hosts: int = 3, servers: int = 40, start: float = MONDAY) -> "World":
        """A fleet drawn by the generator."""
        return cls(fleet.generated(seed, hosts, servers, start), SimClock(start), seed)

    @classmethod
    def traced(cls, path: Path, *, seed: int = 1, hosts: int = 3, servers: int = 40, start: float = MONDAY) -> "World":
        """A fleet that replays a canonical trace file. Raises TraceError."""
        return cls(fleet.traced(seed, hosts, read_trace(path, servers, seed), start), SimClock(start), seed)

    def advance(self) -> None:
        """Let every host catch up with the clock."""
        for host in self.hosts.values():
            host.advance(self.clock.now())

    def step_wall_clock(self, seconds: float) -> None:
        """Set the clock of all machines; the servers' own time goes on as if nothing had happened."""
        self.advance()
        self.clock.step_wall_clock(seconds)
        for host in self.hosts.values():
            host.step_wall_clock(seconds)

    def vms(self) -> tuple[SimVm, ...]:
        return tuple(vm for host in self.hosts.values() for vm in host.all())

    def reboot(self, server: ServerId) -> None:
        """Start a server anew: its counters begin again, its caps are gone."""
        for vm in self.vms():
            if vm.spec.server == server:
                vm.boot(self.clock.now())

    def busy(self, server: ServerId) -> bool:
        """Whether another job holds the domain now: a pure function of (seed, server, time)."""
        slot = int(self.clock.now() // BUSY_SLOT_S)
        return crc32(f"{self.seed}/{server}/{slot}".encode()) % 1000 < BUSY_PER_MILLE
