"""The small interface of all levers, and the doors they act through. The doors are declared here, by their user."""

from typing import Protocol

import msgspec

from foreshape_wire.ids import ServerId
from foreshape_wire.order import Verdict
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DeviceLimit, DomainReading, LeverName


class Clock(Protocol):
    """Time as an argument: real, or simulated."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class Hypervisor(Protocol):
    """The hypervisor door: libvirt (hypervisor.py) or a simulated one.

    Every call may raise HypervisorLost; calls on a domain DomainGone, DomainBusy, LeverRejected.
    A call that returns was accepted, no more: proof is another reading.
    """

    def read_domains(self) -> tuple[DomainReading, ...]:
        """All domains at this instant, in one bulk call; a busy domain comes with what could be read."""

    def read_domain(self, server: ServerId, *, ask_guest: bool = False) -> DomainReading:
        """One domain now; with ``ask_guest`` its agent is asked for the vCPUs it has online."""

    def set_cpu_quota(self, server: ServerId, cap: Cores | None) -> None:
        """Cap the whole domain's CPU; None lifts the cap."""

    def set_guest_vcpus(self, server: ServerId, count: int) -> None:
        """Let the guest's agent bring vCPUs on or off line until ``count`` are online."""

    def set_vcpus(self, server: ServerId, count: int) -> None:
        """Plug or unplug vCPUs live."""

    def set_balloon(self, server: ServerId, memory: Memory) -> None:
        """Ask the balloon to leave the guest this much (without virtio-mem)."""

    def set_virtio_mem(self, server: ServerId, memory: Memory) -> None:
        """Ask the virtio-mem device to plug this much beside the base memory."""

    def set_disk_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        """Let one disk do at most so much; what the limit does not say is lifted."""

    def set_net_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        """Let one interface move at most so much, each way."""

    def set_stats_period(self, server: ServerId, seconds: int) -> None:
        """Make the balloon ask the guest for its numbers every so often."""


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """What came of pulling a lever once. ``after`` was measured; cores or MiB."""

    verdict: Verdict
    after: float
    code: str
    reason: str
    proof: str = ""
    retry: bool = False


class Lever(Protocol):
    """One way to resize one resource."""

    name: LeverName

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        """Move the domain to the target and prove it.

        ``target`` is in the lever's own unit: cores (quota), vCPUs (guest, hotplug), MiB the balloon leaves,
        MiB virtio-mem plugs beside the base memory. (A capability's range is always the domain's total.)

        Polls the guest or the measurement until a deadline of a few seconds; what is not seen by then is
        PENDING with the reason, and a later reading settles it (``settle``). Never raises for a refused or
        failed change: that is a FAILED pull with its reason. HypervisorLost passes through.
        """

    def reached(self, domain: DomainReading, target: float) -> bool:
        """Whether a reading proves that the target has been reached."""


class Throttle(Protocol):
    """A lever that only holds devices back: limits in, limits read back."""

    name: LeverName

    def apply(self, door: Hypervisor, domain: DomainReading, limits: tuple[DeviceLimit, ...], clock: Clock) -> Pull:
        """Set these devices' limits, and prove it. ``after`` is what all devices of the resource may do together; 0: no limit."""
