"""One simulated server: what it was sold, what it has, and how it behaves when its levers are pulled.

It behaves as measured on real guests: a balloon needs a second or so and stops short of what the guest must keep; a
working set larger than the memory swaps in; a cap below the runnable vCPUs shows as throttled time; guest numbers freeze
when nobody asks for them.
"""

from dataclasses import dataclass
from math import exp

from foreshape_controller.sim.demand import Wish, Workload
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.reading import DeviceLimit

BALLOON_GIVES_S = 0.1
BALLOON_TAKES_S = 0.4
"""Time constants of the balloon: memory given to the guest, and taken from it."""
VIRTIO_BLOCK_MIB = 2.0
KEEPS = 0.85
"""Part of its working set that a guest never gives to the balloon; the rest it swaps."""
QEMU_MIB = 60.0
SWAP_SHARE_S = 0.05
"""Part of the missing memory that is swapped in each second."""


@dataclass(frozen=True)
class VmSpec:
    """What does not change while a simulated server lives."""

    server: ServerId
    name: str
    host: HostName
    project: str
    flavor: str
    image: str
    cores: int
    mib: float
    """cores, mib: what its flavor sold and it was started with."""
    most_cores: int
    most_mib: float
    """What it can reach live: the flavor, or more where it was defined with room for hot-add."""
    workload: Workload
    has_agent: bool = True
    has_balloon: bool = True
    asked_for_stats: bool = True
    """Whether its balloon is asked for the guest's numbers from the start."""
    can_unplug: bool = True
    disks: tuple[str, ...] = ("vda",)
    nics: tuple[str, ...] = ("tap0",)
    """None: its network has no device on the host."""
    born: float = 0.0
    dies: float = float("inf")

    @property
    def hot_add(self) -> bool:
        return self.most_cores > self.cores or self.most_mib > self.mib

    @property
    def reserve(self) -> float:
        """MiB that the guest's kernel keeps for itself: the guest calls the rest available."""
        return 24.0 + 0.016 * self.mib


@dataclass
class Counters:
    """Only grow, until the domain is started anew. Seconds and MiB."""

    run: float = 0.0
    waiting: float = 0.0
    throttled: float = 0.0
    swap_in: float = 0.0
    swap_out: float = 0.0
    faults: float = 0.0


@dataclass(frozen=True)
class GuestNumbers:
    """What the guest last said of itself, MiB."""

    at: float
    available: float
    usable: float
    swap_in: float
    swap_out: float
    faults: float


class SimVm:
    """State of one simulated server. Time passes for it only in ``run`` (its host shares out the CPUs)."""

    def __init__(self, spec: VmSpec, booted_at: float) -> None:
        self.spec = spec
        self.boots = 0
        self.busy_until = 0.0
        self.boot(booted_at)

    def boot(self, at: float) -> None:
        """Start anew at the size of the flavor; counters and caps begin again."""
        spec = self.spec
        self.boots += 1
        self.cap: float | None = None
        self.plugged = spec.cores
        self.online = spec.cores
        self.balloon = self.balloon_target = spec.mib
        self.virtio = self.virtio_target = 0.0
        self.instance = f"{self.boots}@{at:.0f}"
        self.stats_period_s = 10 if spec.asked_for_stats else 0
        self.limits = {(d, r): DeviceLimit(device=d, resource=r) for d in spec.disks for r in ("disk_iops", "disk_kib_s")}
        self.limits |= {(n, "net_kib_s"): DeviceLimit(device=n, resource="net_kib_s") for n in spec.nics}
        self.counters = Counters()
        self.wish = Wish(0.0, 0.0)
        self.rss = QEMU_MIB + spec.reserve
        self._frozen = self._numbers(at)

    @property
    def usable_vcpus(self) -> int:
        return min(self.plugged, self.online)

    @property
    def cpu(self) -> float:
        """Cores it could use now."""
        return min(float(self.usable_vcpus), self.cap if self.cap is not None else float(self.usable_vcpus))

    @property
    def memory(self) -> float:
        """MiB it has now."""
        return self.balloon + self.virtio

    @property
    def needs(self) -> Wish:
        """What it would need to have to miss nothing: demand, and the working set plus what its kernel keeps."""
        return Wish(self.wish.cpu, self.wish.memory + self.spec.reserve)

    def wants(self, t: float) -> float:
        """Look at the workload; returns the cores its runnable threads would take within its cap."""
        self.wish = self.spec.workload.at(t)
        return min(self.wish.cpu, self.cpu)

    def run(self, got: float, dt: float) -> None:
        """Let ``dt`` seconds pass, in which it had ``got`` cores."""
        c = self.counters
        vcpus = float(self.usable_vcpus)
        runnable = min(self.wish.cpu, vcpus)
        within_cap = runnable if self.cap is None else min(runnable, self.cap)
        c.run += got * dt
        c.waiting += (within_cap - got) * dt
        c.throttled += (runnable - within_cap) * dt
        self._move_memory(dt)
        self._swap(dt)
        self.rss = min(self.memory + QEMU_MIB, max(self.rss, self.wish.memory + self.spec.reserve + QEMU_MIB))

    def told(self, now: float) -> GuestNumbers:
        """What the guest last said of itself: as old as its balloon's period, or frozen where nobody asks."""
        return self._numbers(now) if self.stats_period_s > 0 else self._frozen

    def ask_every(self, seconds: int, now: float) -> None:
        """From now on the balloon asks this often."""
        self._frozen = self.told(now)
        self.stats_period_s = seconds

    def _move_memory(self, dt: float) -> None:
        if self.balloon == self.balloon_target and self.virtio == self.virtio_target:
            return
        kept = min(self.balloon, max(0.0, KEEPS * self.wish.memory - self.virtio))
        self.balloon = _towards(self.balloon, max(self.balloon_target, kept), dt)
        goal = self.virtio_target
        if goal < self.virtio:  # only blocks that nobody uses can be unplugged
            goal = max(goal, min(self.virtio, self.wish.memory + self.spec.reserve - self.balloon))
        self.virtio = _towards(self.virtio, goal, dt)

    def _swap(self, dt: float) -> None:
        short = self.wish.memory - (self.memory - self.spec.reserve)
        if short <= 0:
            return
        self.counters.swap_in += short * SWAP_SHARE_S * dt
        self.counters.swap_out += short * SWAP_SHARE_S * dt
        self.counters.faults += short * SWAP_SHARE_S * dt * 256 / 8  # a cluster of eight pages a fault

    def _numbers(self, at: float) -> GuestNumbers:
        available = max(1.0, self.memory - self.spec.reserve)
        usable = max(0.01 * available, available - self.wish.memory)
        c = self.counters
        told = at if self.stats_period_s <= 0 else at - at % self.stats_period_s
        return GuestNumbers(told, available, usable, c.swap_in, c.swap_out, c.faults)


def _towards(now: float, goal: float, dt: float) -> float:
    """Exponential approach; the last MiB at once."""
    tau = BALLOON_GIVES_S if goal > now else BALLOON_TAKES_S
    moved = now + (goal - now) * (1 - exp(-dt / tau))
    return goal if abs(goal - moved) < 1.0 else moved
