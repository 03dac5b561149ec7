"""A simulated hypervisor as the agent's door: the simulation's errors become the agent's of the same meaning."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from foreshape_agent.errors import DomainBusy, DomainGone, HypervisorLost, LeverRejected
from foreshape_controller.sim.errors import SimBusy, SimDomainGone, SimLost, SimRejected
from foreshape_controller.sim.hypervisor import SimHypervisor
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DeviceLimit, DomainReading, HostReading

P = ParamSpec("P")
T = TypeVar("T")

MEANS = {SimLost: HypervisorLost, SimDomainGone: DomainGone, SimBusy: DomainBusy, SimRejected: LeverRejected}


def as_agent(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call into the simulation; its errors come out as the agent's."""
    try:
        return call(*args, **kwargs)
    except tuple(MEANS) as e:
        raise MEANS[type(e)](str(e)) from e


class SimDoor:
    """``foreshape_agent.levers.base.Hypervisor`` over a SimHypervisor."""

    def __init__(self, sim: SimHypervisor) -> None:
        self._sim = sim

    def read_domains(self) -> tuple[DomainReading, ...]:
        return as_agent(self._sim.read_domains)

    def read_domain(self, server: ServerId, *, ask_guest: bool = False) -> DomainReading:
        return as_agent(self._sim.read_domain, server, ask_guest=ask_guest)

    def read_host(self) -> HostReading:
        return as_agent(self._sim.read_host)

    def set_cpu_quota(self, server: ServerId, cap: Cores | None) -> None:
        as_agent(self._sim.set_cpu_quota, server, cap)

    def set_guest_vcpus(self, server: ServerId, count: int) -> None:
        as_agent(self._sim.set_guest_vcpus, server, count)

    def set_vcpus(self, server: ServerId, count: int) -> None:
        as_agent(self._sim.set_vcpus, server, count)

    def set_balloon(self, server: ServerId, memory: Memory) -> None:
        as_agent(self._sim.set_balloon, server, memory)

    def set_virtio_mem(self, server: ServerId, memory: Memory) -> None:
        as_agent(self._sim.set_virtio_mem, server, memory)

    def set_disk_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        as_agent(self._sim.set_disk_limit, server, limit)

    def set_net_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        as_agent(self._sim.set_net_limit, server, limit)

    def set_stats_period(self, server: ServerId, seconds: int) -> None:
        as_agent(self._sim.set_stats_period, server, seconds)
