"""mem.virtio: plug and unplug memory beside what the domain was started with, block by block."""

from math import ceil

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import DomainReading, LeverName

CLOSE_MIB = 0.5
"""Sizes are whole blocks of at least 1 MiB: this only forgives floating point."""


class VirtioMemLever:
    """Target in MiB plugged, rounded up to the device's block; proven by the device's size, which the guest confirms."""

    name = LeverName.MEM_VIRTIO

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        wanted = _blocks(domain, target)
        attempt = Attempt(
            lever=self.name,
            act=lambda: door.set_virtio_mem(domain.identity.server, Memory(wanted)),
            reached=lambda reading: self.reached(reading, wanted),
            measure=plugged,
            done="virtio_mem_measured",
            proof=lambda reading: f"the guest has plugged {plugged(reading):.0f} MiB",
            short="virtio_mem_pending",
            why_short=lambda reading: f"asked for {wanted:.0f} MiB, the guest has plugged {plugged(reading):.0f} MiB so far",
        )
        return carry_out(attempt, door, domain, clock)

    def reached(self, domain: DomainReading, target: float) -> bool:
        return domain.memory is not None and abs(plugged(domain) - _blocks(domain, target)) <= CLOSE_MIB


def plugged(domain: DomainReading) -> float:
    """MiB plugged now."""
    return 0.0 if domain.memory is None or domain.memory.virtio_current is None else domain.memory.virtio_current.mib


def _blocks(domain: DomainReading, target: float) -> float:
    block = domain.capability(LeverName.MEM_VIRTIO).granule or 1.0
    return ceil(target / block - 1e-6) * block
