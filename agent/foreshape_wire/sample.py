"""What an agent tells about its domains and its host: rates and demand over one cycle, and the report that carries them."""

from typing import Annotated

import msgspec

from foreshape_wire.ids import HostName, Label, Name, ServerKey, Text
from foreshape_wire.order import MAX_SERVERS, Outcome
from foreshape_wire.quantity import Cores, Count, Cpus, GuestVcpus, Instant, Memory, Rate, Share, Size, Window
from foreshape_wire.reading import Capability, DomainState, Identity


class CpuSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """CPU of one VM over one cycle. demand = used + waiting + throttled (domain.md §2)."""

    used: Cores
    waiting: Cores
    throttled: Cores
    demand: Cores
    allocation: Cores
    """What it could have used: the least of quota, plugged vCPUs and vCPUs online in the guest."""
    censored: bool
    """Use at 97 % of the allocation or more: the true demand may be higher."""
    confidence: Share
    """How far the demand can be trusted: 1 = all three parts measured."""
    guest_vcpus: GuestVcpus | None = None
    """vCPUs the guest itself has online."""


class MemorySample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Memory of one VM at the end of the cycle."""

    demand: Memory
    allocation: Memory
    censored: bool
    confidence: Share
    """Guest's own fresh numbers 0.9 and more, resident set 0.4 and less."""
    rss: Memory | None = None
    usable: Memory | None = None
    swap_in_kib_s: Rate = 0.0
    major_faults_s: Rate = 0.0

    @property
    def in_use(self) -> Memory:
        """What a shrink cannot take: the demand, and what the guest's kernel keeps for itself, which its own total leaves out.

        Planned with by the controller and insisted on by the agent: two formulas here would order what is always refused.
        """
        return self.demand if self.usable is None else max(self.demand, self.allocation - self.usable)


class IoSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Disk and network rates of one VM over one cycle."""

    read_kib_s: Rate = 0.0
    write_kib_s: Rate = 0.0
    read_iops: Rate = 0.0
    write_iops: Rate = 0.0
    rx_kib_s: Rate = 0.0
    tx_kib_s: Rate = 0.0


class VmSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One VM over one cycle. A part is None when nothing honest can be said; ``note`` says why."""

    server: ServerKey
    state: DomainState
    window_s: Window
    """Length of the cycle that the rates are taken over; 0 for the first sight of a domain."""
    cpu: CpuSample | None = None
    memory: MemorySample | None = None
    io: IoSample | None = None
    note: Text = ""


class HostSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The hypervisor over one cycle."""

    cpus: Cpus
    memory_total: Memory
    memory_available: Memory
    cpu_used: Cores
    cpu_stolen: Cores
    load_1m: Rate
    psi_cpu_some: Share | None = None
    psi_memory_some: Share | None = None
    psi_memory_full: Share | None = None
    psi_io_some: Share | None = None


class DomainCard(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What changes rarely: who a domain is, what was sold, what it can do."""

    identity: Identity
    entitlement: Size
    ceiling: Size
    allocation: Size
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)]
    """Of the levers that resize."""
    throttles: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=64)] = ()
    """Of those that only hold back: apart from the others, of which older controllers know each by name."""
    memory_margin: Memory | None = None
    """Room above the working set that this agent insists on, whatever the tier."""
    stopped_s: Window | None = None
    """How long the live migration that brought it to this host stopped its guest, as the hypervisor measured; None: nobody did."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Samples that the spool had to thin: the time they covered and how many reports went."""

    since: Instant
    until: Instant
    reports: Count


class HostReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cycle of one host. (host, epoch, sequence) names it for ever: a replay changes nothing."""

    version: Count
    host: Name
    epoch: Name
    """Identity of the spool the number was given by: a new spool starts a new epoch."""
    sequence: Count
    taken_at: Instant
    """When the samples were taken (the agent's clock)."""
    samples: Annotated[tuple[VmSample, ...], msgspec.Meta(max_length=MAX_SERVERS)]
    host_sample: HostSample | None = None
    outcomes: Annotated[tuple[Outcome, ...], msgspec.Meta(max_length=MAX_SERVERS)] = ()
    cards: Annotated[tuple[DomainCard, ...], msgspec.Meta(max_length=MAX_SERVERS)] | None = None
    """All domains' cards; None means unchanged since the last report that had them."""
    gap: Gap | None = None
    safe_mode: Text = ""
    """Why the agent acts on no order now (fail to static, stopped); empty when it does."""
    agent_version: Label = ""
    note: Text = ""
    """What is wrong with the agent itself (hypervisor lost: its domains are unknown, not gone; spool in memory); empty when nothing is."""

    @property
    def host_name(self) -> HostName:
        return HostName(self.host)
