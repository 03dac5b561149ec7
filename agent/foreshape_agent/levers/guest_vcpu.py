"""cpu.guest: the guest's own agent takes vCPUs off and on line. Whole vCPUs, both ways, also where nothing can be plugged."""

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.reading import DomainReading, LeverName


class GuestVcpuLever:
    """Target in vCPUs on line, counted by the guest itself."""

    name = LeverName.CPU_GUEST

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        count = max(1, round(target))
        attempt = Attempt(
            lever=self.name,
            act=lambda: door.set_guest_vcpus(domain.identity.server, count),
            reached=lambda reading: self.reached(reading, count),
            measure=online,
            done="guest_vcpus",
            proof=lambda reading: f"the guest reports {online(reading):g} vCPUs on line",
            short="guest_vcpus_short",
            why_short=lambda reading: f"asked for {count} vCPUs on line, the guest reports {_told(reading)}",
            ask_guest=True,
        )
        return carry_out(attempt, door, domain, clock)

    def reached(self, domain: DomainReading, target: float) -> bool:
        return domain.cpu is not None and domain.cpu.guest_online == max(1, round(target))


def online(domain: DomainReading) -> float:
    """How many vCPUs the guest uses: its own word, else what is plugged."""
    if domain.cpu is None:
        return 0.0
    return float(domain.cpu.current if domain.cpu.guest_online is None else domain.cpu.guest_online)


def _told(domain: DomainReading) -> str:
    return "nothing" if domain.cpu is None or domain.cpu.guest_online is None else str(domain.cpu.guest_online)
