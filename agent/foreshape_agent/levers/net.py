"""net.bandwidth: hold network interfaces back in the host's kernel (tc, through libvirt). Needs a device on the host."""

from foreshape_agent.levers.attempt import carry_out
from foreshape_agent.levers.base import Clock, Hypervisor, Pull
from foreshape_agent.levers.disk import attempt
from foreshape_wire.reading import DeviceLimit, DomainReading, LeverName


class NetThrottle:
    """Limits of interfaces in KiB per second, each way."""

    name = LeverName.NET_BANDWIDTH

    def apply(self, door: Hypervisor, domain: DomainReading, limits: tuple[DeviceLimit, ...], clock: Clock) -> Pull:
        def act() -> None:
            for limit in limits:
                door.set_net_limit(domain.identity.server, limit)

        return carry_out(attempt(self.name, act, limits), door, domain, clock)
