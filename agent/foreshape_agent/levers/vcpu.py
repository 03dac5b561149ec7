"""cpu.hotplug: plug vCPUs into a running domain, and unplug them where that is safe."""

from collections.abc import Callable

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.reading import CpuReading, DomainReading, LeverName


class VcpuLever:
    """Target in vCPUs plugged. Growing is proven by the guest using them: its agent counts them, or each has run."""

    name = LeverName.CPU_HOTPLUG

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        count = max(1, round(target))
        shrinks = domain.cpu is not None and count < domain.cpu.current
        attempt = Attempt(
            lever=self.name,
            act=lambda: door.set_vcpus(domain.identity.server, count),
            reached=lambda reading: self.reached(reading, count),
            measure=lambda reading: 0.0 if reading.cpu is None else float(reading.cpu.current),
            done="vcpus",
            proof=_proof,
            short="unplug_pending" if shrinks else "plug_pending",
            why_short=lambda reading: f"asked for {count} vCPUs: {_state(reading)}",
            ask_guest=domain.capability(LeverName.CPU_GUEST).usable,
            nudge=None if shrinks else _bring_on_line(door, domain, count),
        )
        return carry_out(attempt, door, domain, clock)

    def reached(self, domain: DomainReading, target: float) -> bool:
        cpu = domain.cpu
        return cpu is not None and cpu.current == max(1, round(target)) and _used(cpu)


def _bring_on_line(door: Hypervisor, domain: DomainReading, count: int) -> Callable[[], None] | None:
    """Some guests leave a plugged vCPU off line until they are told."""
    if not domain.capability(LeverName.CPU_GUEST).usable:
        return None
    return lambda: door.set_guest_vcpus(domain.identity.server, count)


def _used(cpu: CpuReading) -> bool:
    """A plugged vCPU that the guest does not use waits for its first interrupt and has never run."""
    if cpu.guest_online is not None:
        return cpu.guest_online >= cpu.current
    return all(vcpu.run_ns > 0 for vcpu in cpu.vcpus)


def _proof(domain: DomainReading) -> str:
    if domain.cpu is None or domain.cpu.guest_online is None:
        return "plugged, and each vCPU has run"
    return f"plugged, and the guest reports {domain.cpu.guest_online} vCPUs on line"


def _state(domain: DomainReading) -> str:
    if domain.cpu is None:
        return "the CPU could not be read"
    told = "" if domain.cpu.guest_online is None else f", {domain.cpu.guest_online} on line in the guest"
    return f"{domain.cpu.current} plugged{told}"
