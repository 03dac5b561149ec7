"""mem.balloon: take memory from the guest and give it back, up to what the domain was started with."""

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import DomainReading, LeverName

CLOSE_MIB = 2.0
CLOSE_SHARE = 0.01
"""A balloon counts pages; the guest may keep a few back."""


class BalloonLever:
    """Target in MiB that the balloon leaves the guest, virtio-mem not counted; proven by the balloon's measured size."""

    name = LeverName.MEM_BALLOON

    def apply(self, door: Hypervisor, domain: DomainReading, target: float, clock: Clock) -> Pull:
        attempt = Attempt(
            lever=self.name,
            act=lambda: door.set_balloon(domain.identity.server, Memory(target)),
            reached=lambda reading: self.reached(reading, target),
            measure=left,
            done="balloon_measured",
            proof=lambda reading: f"the balloon leaves {left(reading):.0f} MiB",
            short="balloon_short",
            why_short=lambda reading: f"asked for {target:.0f} MiB, the balloon leaves {left(reading):.0f} MiB so far",
        )
        return carry_out(attempt, door, domain, clock)

    def reached(self, domain: DomainReading, target: float) -> bool:
        return domain.memory is not None and abs(left(domain) - target) <= max(CLOSE_MIB, CLOSE_SHARE * target)


def left(domain: DomainReading) -> float:
    """MiB that the balloon leaves the guest."""
    if domain.memory is None:
        return 0.0
    plugged = domain.memory.virtio_current
    return domain.memory.current.mib - (0.0 if plugged is None else plugged.mib)
