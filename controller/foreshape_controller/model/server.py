"""A server (VM) as the controller knows it."""

from collections.abc import Mapping
from functools import cached_property

import msgspec

from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Memory, Size
from foreshape_wire.reading import Capability, DomainState, LeverName
from foreshape_wire.sample import VmSample


class Server(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One server in one snapshot."""

    id: ServerId
    host: HostName
    name: str
    project: str
    flavor: str
    image: str
    tier: str
    mode: Mode
    """Effective: the lowest of cloud, host, project and server."""
    entitlement: Size
    ceiling: Size
    allocation: Size
    capabilities: tuple[Capability, ...]
    state: DomainState
    first_seen: float
    last_seen: float
    """When its latest sample was taken, seconds since the epoch."""
    last: VmSample | None = None
    raised_floor: Memory | None = None
    """Memory floor raised after an OOM or a swap storm."""
    throttles: tuple[Capability, ...] = ()
    """What can hold its disks and its network back, and why not; empty: its agent does not say."""
    memory_margin: Memory | None = None
    """Room above the working set that its agent insists on; None: its agent does not say."""
    project_name: str = ""
    """As Keystone has it; empty: no cloud is configured, or it does not say."""
    zone: str = ""
    """Nova's availability zone of its host; empty: no cloud is configured."""
    aggregates: tuple[str, ...] = ()
    """Nova's host aggregates of its host."""
    held: tuple[str, str] | None = None
    """Code and sentence of why nothing may be changed on it: what the cloud says of it."""

    def capability(self, lever: LeverName) -> Capability:
        for c in self.capabilities:
            if c.lever == lever:
                return c
        return Capability(lever=lever, reason="not reported by the agent")

    def usable(self, resource: str) -> tuple[Capability, ...]:
        """Levers of ``cpu`` or ``memory`` that can be pulled now."""
        return tuple(c for c in self.capabilities if c.usable and c.lever.resource == resource)


class Host(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One hypervisor in one snapshot."""

    name: HostName
    cpus: int
    memory_total: Memory
    memory_available: Memory
    last_seen: float
    safe_mode: str
    mode: Mode


class ClusterView(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The world at one instant; nobody changes it while a cycle lasts."""

    at: float
    hosts: tuple[Host, ...]
    servers: tuple[Server, ...]

    def on(self, host: HostName) -> tuple[Server, ...]:
        return self._by_host.get(host, ())

    @cached_property
    def _by_host(self) -> Mapping[HostName, tuple[Server, ...]]:
        found: dict[HostName, list[Server]] = {}
        for s in self.servers:
            found.setdefault(s.host, []).append(s)
        return {host: tuple(servers) for host, servers in found.items()}
