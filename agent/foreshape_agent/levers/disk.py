"""disk.iops and disk.bandwidth: hold disks back inside QEMU. The guest sees slower disks, and nothing else."""

from collections.abc import Callable

from foreshape_agent.levers.attempt import Attempt, carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_agent.throttle import said, seen, together
from foreshape_wire.reading import DeviceLimit, DomainReading, LeverName


class DiskThrottle:
    """Limits of disks in requests or KiB per second; QEMU says itself what is in force."""

    def __init__(self, name: LeverName) -> None:
        self.name = name

    def apply(self, door: Hypervisor, domain: DomainReading, limits: tuple[DeviceLimit, ...], clock: Clock) -> Pull:
        def act() -> None:
            for limit in limits:
                door.set_disk_limit(domain.identity.server, limit)

        return carry_out(attempt(self.name, act, limits), door, domain, clock)


def attempt(lever: LeverName, act: Callable[[], None], limits: tuple[DeviceLimit, ...]) -> Attempt:
    """The same words for disks and network: asked for, and read back."""
    return Attempt(
        lever=lever,
        act=act,
        reached=lambda reading: seen(reading.limits, limits),
        measure=lambda reading: together(reading.limits, lever.resource),
        done="limits_read_back",
        proof=lambda reading: f"read back: {said(reading.limits, lever.resource)}",
        short="limits_not_in_force",
        why_short=lambda reading: f"asked for {said(limits, lever.resource)}; {said(reading.limits, lever.resource)}",
    )
