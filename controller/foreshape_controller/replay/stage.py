"""Servers of a trace on hosts, as the plan loop would see them: what each has, what it uses, who is there.

The trace says how much every VM wanted in each bin; nothing that is decided here changes that. A VM is there from its first known
bin to its last. A bin without data is a VM that was not heard of: nothing is decided about it then.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from foreshape_controller.model.columns import Column, Flags, Rows
from foreshape_controller.model.history import RESOURCES, Floats, History
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import NO_CORES, Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, LeverName
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

CENSORED_AT = 0.97
"""Use from this share of the allocation on may have wanted more (as the agent sees it)."""

LEVERS = {"cpu": LeverName.CPU_QUOTA, "memory": LeverName.MEM_BALLOON}
LOWEST = {"cpu": 0.01, "memory": 64.0}
"""What those levers reach: the floors of the tiers are above."""

UNKNOWN = {"cpu": 1.0, "memory": 1024.0}
"""What stands for the size of a resource that the trace does not hold; nothing is decided about it."""


@dataclass(frozen=True)
class Hosts:
    """So many hosts of one size; ``cpus`` and ``memory_mib`` are what their VMs may have together."""

    count: int
    cpus: int
    memory_mib: float


@dataclass(frozen=True, eq=False)
class Stage:
    """Everything that does not change while a trace is replayed."""

    demand: Mapping[str, Floats]
    """By resource: [n, bins], cut at nothing."""
    sold: Mapping[str, Column]
    """By resource: [n]; also of a resource that the trace does not hold."""
    names: tuple[str, ...]
    host: Rows
    """[n]: index into the hosts."""
    hosts: tuple[Host, ...]
    base: tuple[Server, ...]
    begins: Rows
    """[n]: first known bin."""
    ends: Rows
    """[n]: bin after the last known one."""

    @classmethod
    def of(cls, histories: Mapping[str, History], packed: Hosts | None) -> "Stage":
        some = next(iter(histories.values()))
        n = len(some.series)
        sold = {r: np.asarray(histories[r].entitlement, np.float64) if r in histories else np.full(n, UNKNOWN[r]) for r in RESOURCES}
        sold = {r: np.where(s > 0, s, UNKNOWN[r]) for r, s in sold.items()}
        known = np.logical_or.reduce([np.isfinite(h.mean) for h in histories.values()])
        host, hosts = _placed(sold, packed)
        base = tuple(_server(name, hosts[k].name, sold, i) for i, (name, k) in enumerate(zip(some.series, host.tolist(), strict=True)))
        return cls(
            demand={r: h.mean for r, h in histories.items()},
            sold=sold,
            names=some.series,
            host=host,
            hosts=hosts,
            base=base,
            begins=np.asarray(known.argmax(axis=1), np.intp),
            ends=np.asarray(known.shape[1] - known[:, ::-1].argmax(axis=1), np.intp) * known.any(axis=1),
        )

    def there(self, b: int) -> Flags:
        """[n]: which VMs exist at the start of a bin: the ones that have begun, and have not left by then."""
        return np.asarray((self.begins < b) & (b <= self.ends))

    def view(self, b: int, now: float, have: Mapping[str, Column]) -> ClusterView:
        """The world at the start of bin ``b``, from what was measured in the bin before it."""
        here = np.flatnonzero(self.there(b)).tolist()
        hosts = tuple(msgspec.structs.replace(h, last_seen=now) for h in self.hosts)
        return ClusterView(at=now, hosts=hosts, servers=tuple(self._seen(i, b, now, have) for i in here))

    def _seen(self, i: int, b: int, now: float, have: Mapping[str, Column]) -> Server:
        cpu, memory = Cores(float(have["cpu"][i])), Memory(float(have["memory"][i]))
        used = {r: float(d[i, b - 1]) for r, d in self.demand.items()}
        heard = any(np.isfinite(x) for x in used.values())
        last = VmSample(
            server=self.base[i].id,
            state=DomainState.RUNNING,
            window_s=300,
            cpu=_cpu(used.get("cpu", np.nan), cpu),
            memory=_memory(used.get("memory", np.nan), memory),
        )
        return msgspec.structs.replace(self.base[i], allocation=Size(cpu, memory), last_seen=now if heard else now - 86400.0, last=last)


def _cpu(demand: float, allocation: Cores) -> CpuSample | None:
    if not np.isfinite(demand):
        return None
    used = min(demand, allocation.cores)
    return CpuSample(
        used=Cores(used),
        waiting=Cores(demand - used),
        throttled=NO_CORES,
        demand=Cores(demand),
        allocation=allocation,
        censored=demand >= CENSORED_AT * allocation.cores,
        confidence=1.0,
    )


def _memory(demand: float, allocation: Memory) -> MemorySample | None:
    if not np.isfinite(demand):
        return None
    return MemorySample(demand=Memory(demand), allocation=allocation, censored=demand >= CENSORED_AT * allocation.mib, confidence=1.0)


def _server(name: str, host: HostName, sold: Mapping[str, Column], i: int) -> Server:
    size = Size(Cores(float(sold["cpu"][i])), Memory(float(sold["memory"][i])))
    return Server(
        id=ServerId(name),
        host=host,
        name=name,
        project="",
        flavor=f"{size.cpu.cores:g}c-{size.memory.mib:g}m",
        image="",
        tier="",
        mode=Mode.ACT,
        entitlement=size,
        ceiling=size,
        allocation=size,
        capabilities=tuple(_lever(r, float(sold[r][i])) for r in RESOURCES),
        state=DomainState.RUNNING,
        first_seen=0.0,
        last_seen=0.0,
    )


def _lever(resource: str, sold: float) -> Capability:
    return Capability(lever=LEVERS[resource], lowest=min(LOWEST[resource], sold), highest=sold, granule=0.0)


def _placed(sold: Mapping[str, Column], packed: Hosts | None) -> tuple[Rows, tuple[Host, ...]]:
    """Where each VM runs: the largest first, each where the least was sold yet; without hosts all on one that holds everything."""
    n = len(sold["cpu"])
    if packed is None:
        room = Hosts(1, int(np.ceil(sold["cpu"].sum())) + 1, float(np.ceil(sold["memory"].sum())) + 1)
        return np.zeros(n, np.intp), (_host(0, room),)
    share = sold["cpu"] / packed.cpus + sold["memory"] / packed.memory_mib
    filled, place = np.zeros(packed.count), np.zeros(n, np.intp)
    for i in np.argsort(-share, kind="stable").tolist():
        place[i] = int(filled.argmin())
        filled[place[i]] += share[i]
    return place, tuple(_host(k, packed) for k in range(packed.count))


def _host(number: int, size: Hosts) -> Host:
    total = Memory(size.memory_mib)
    return Host(
        name=HostName(f"host{number + 1}"),
        cpus=size.cpus,
        memory_total=total,
        memory_available=total,
        last_seen=0.0,
        safe_mode="",
        mode=Mode.ACT,
    )
