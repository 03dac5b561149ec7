"""cpu.quota: cap the CPU time of the whole domain. Fine-grained, immediate, and it asks nothing of the guest."""

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.quantity import Cores
from foreshape_wire.reading import DomainReading, LeverName

CLOSE_CORES = 0.005
"""libvirt takes whole microseconds of a 100 ms period: far finer than this."""


class QuotaLever:
    """Target in cores. At or above the plugged vCPUs a cap would only hold back QEMU's own threads, so it is lifted."""

    name = LeverName.CPU_QUOTA

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        cap = None if domain.cpu is not None and target >= domain.cpu.current else Cores(target)
        attempt = Attempt(
            lever=self.name,
            act=lambda: door.set_cpu_quota(domain.identity.server, cap),
            reached=lambda reading: self.reached(reading, target),
            measure=_cap,
            done="cap_read_back",
            proof=_said,
            short="cap_not_in_force",
            why_short=lambda reading: f"asked for a cap of {target:g} cores, {_said(reading)}",
        )
        return carry_out(attempt, door, domain, clock)

    def reached(self, domain: DomainReading, target: float) -> bool:
        if domain.cpu is None:
            return False
        if domain.cpu.quota is None:
            return target >= domain.cpu.current - CLOSE_CORES
        return abs(domain.cpu.quota.cores - target) <= CLOSE_CORES


def _cap(domain: DomainReading) -> float:
    """The cap in force; without one, what is plugged."""
    if domain.cpu is None:
        return 0.0
    return float(domain.cpu.current) if domain.cpu.quota is None else domain.cpu.quota.cores


def _said(domain: DomainReading) -> str:
    if domain.cpu is None:
        return "the cap could not be read"
    return "read back: no cap" if domain.cpu.quota is None else f"read back: a cap of {domain.cpu.quota.cores:g} cores"
