"""What a person asks for, made a wish: amounts from a flavor, a host that fits, a window. Held at once where we may act, else proposed."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from foreshape_controller.decide.ground import claim_of
from foreshape_controller.decide.target import Guest, unholdable
from foreshape_controller.errors import Gone, Invalid, NoRoom, NotFound
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.loops.reserve import Reservations, check, held
from foreshape_controller.model.cloud import DISK, MEMORY, VCPU, CloudFlavor
from foreshape_controller.model.reservation import Reservation, ReservationRequest, ReservationWish

REASON_MOST = 500

FindFlavor = Callable[[str], tuple[str, CloudFlavor]]
"""A flavor by its name or id. Raises Gone."""


class Requests:
    """``create`` for the API."""

    def __init__(self, reservations: Reservations, flavor: FindFlavor, may: Callable[[str], str], lead_s: float) -> None:
        self._reservations, self._flavor, self._may, self._lead_s = reservations, flavor, may, lead_s

    def create(self, asked: ReservationRequest, now: float) -> Reservation:
        """Held, or planned where its window is not open yet or we may not act: with its approval we may in advise, too.

        Raises Invalid, NotFound, CloudError.
        """
        starts, until = _window(asked, now)
        resources, specs = self._amounts(asked)
        soon = starts - self._lead_s <= now
        guest = Guest(resources=held(resources), count=asked.count, az=asked.az, specs=specs)
        draft = ReservationWish(
            host=asked.host or "anywhere",
            resources=held(resources),
            owner=f"operator:{asked.by or 'admin'}",
            reason=asked.reason[:REASON_MOST],
            until=until,
            starts=asked.starts or 0.0,
            count=asked.count,
        )
        check(draft, now)
        host = self._place(asked.host, guest, now, room=soon)
        wish = replace(draft, host=host)
        with on_a_persons_word(asked.approve):
            if soon and not self._may(host):
                return self._reservations.hold(wish, now)
            planned = self._reservations.plan(wish, now)
        return self._reservations.explained(planned, now)

    def _amounts(self, asked: ReservationRequest) -> tuple[Mapping[str, int], Mapping[str, str]]:
        given = {VCPU: asked.vcpus, MEMORY: asked.ram, DISK: asked.disk}
        if bool(asked.flavor) == any(v is not None for v in given.values()):
            raise Invalid("say how much: a flavor, or vcpus and ram (and disk), not both")
        if asked.flavor:
            return self.of_flavor(asked.flavor)
        if not asked.vcpus or not asked.ram:
            raise Invalid("say both vcpus and ram, each an amount above 0: a server takes some of each")
        return {k: v for k, v in given.items() if v is not None}, {}

    def of_flavor(self, name: str) -> tuple[Mapping[str, int], Mapping[str, str]]:
        """Amounts and extra specs. Raises NotFound, and Invalid for one that no room can be held for."""
        try:
            _, flavor = self._flavor(name)
        except Gone as e:
            raise NotFound(f"flavor: {e}; see 'openstack flavor list --all'") from e
        if why := unholdable(flavor.extra_specs):
            raise Invalid(f"flavor {name[:80]}: {why}: Placement alone cannot hold room for that")
        return claim_of(flavor, from_image=True), flavor.extra_specs

    def _place(self, host: str, guest: Guest, now: float, *, room: bool) -> str:
        targets = self._reservations.targets
        if not host:
            return targets.choose(guest, now, acts=False, room=room)
        try:
            said = targets.why_not(host, guest, now, room=room)
        except Gone as e:
            raise NotFound(f"host: {e}") from e
        if said:
            raise NoRoom(f"{host} is no target: {said}")
        return host


def _window(asked: ReservationRequest, now: float) -> tuple[float, float]:
    """When it is needed, and when it ends."""
    if bool(asked.host) == bool(asked.az):
        raise Invalid("say where: a host, or an availability zone to choose one in, not both")
    if (asked.for_s is None) == (asked.until is None):
        raise Invalid("say how long: for_s or until, not both")
    starts = now if asked.starts is None else max(asked.starts, now)
    return starts, asked.until if asked.until is not None else starts + (asked.for_s or 0.0)
