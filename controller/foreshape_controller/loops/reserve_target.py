"""Where room is to be held: every check that Nova's scheduler makes and a forced hand-over skips, then Placement's own candidates."""

from msgspec.structs import replace

from foreshape_controller.decide.movable import labels_of
from foreshape_controller.decide.target import Guest, Planned, closed, why_not
from foreshape_controller.errors import Gone, NoRoom, Permanent, Temporary
from foreshape_controller.loops.clouding import PLACING
from foreshape_controller.loops.reserve_door import May, Placement, ReservationStore, Watch
from foreshape_controller.model.cloud import LOCKED_OUT, CloudHost, CloudView

TOLD = 10
"""Hosts whose reason an error names."""


class Targets:
    """Judges hosts by the newest reading, which has to be fresh and whole."""

    def __init__(self, store: ReservationStore, placement: Placement, watch: Watch, may: May) -> None:
        self._store, self._placement, self._watch, self._may = store, placement, watch, may

    def why_not(self, host: str, guest: Guest, now: float, *, room: bool = True) -> str:
        """Why a host is no target for a guest; empty: it is one. room: it must have room now. Raises CloudError."""
        return self._against(self.host(host, now), guest, self._view(now), self._planned(), room=room)

    def choose(self, guest: Guest, now: float, *, acts: bool = True, room: bool = True) -> str:
        """The host with most room left that passes every check; acts: and where we may act; room: now, not only later.

        Raises NoRoom, which names what spoke against each host.
        """
        view, planned = self._view(now), self._planned()
        against: dict[str, str] = {}
        for host in sorted(_within(view, guest.az), key=_emptiest):
            said = (acts and self._may(host.name)) or self._against(host, guest, view, planned, room=room)
            if not said:
                return host.name
            against[host.name] = said
        raise NoRoom(_nowhere(against, guest.az))

    def host(self, name: str, now: float) -> CloudHost:
        """Raises Gone where Nova or Placement does not know it, Temporary while nobody can tell."""
        host = self._view(now).hosts.get(name)
        if host is None:
            raise Gone(f"Nova knows no host {name[:80]!r}: see 'openstack compute service list'")
        if not host.provider:
            raise Gone(f"Placement knows no provider of {name}: nothing can be held there")
        return host

    def ready(self, name: str, now: float) -> CloudHost:
        """A host on which room may be taken now, or to which somebody may be told to come. A lock may be on: ours, of a hand-over.

        Raises Permanent where mode or a halt forbids it, or the host is down or disabled; Temporary while nobody can tell.
        """
        host = self.host(name, now)
        if said := self._may(name):
            raise Permanent(f"nothing is taken on {name}: {said}")
        if said := closed(replace(host, traits=host.traits - {LOCKED_OUT})):
            raise Permanent(f"{name} is no target: {said}")
        return host

    def _view(self, now: float) -> CloudView:
        said, view = self._watch.why_not(now, PLACING), self._watch.view()
        if said or view is None:
            raise Temporary(f"nothing is reserved now: {said}")
        return view

    def _against(self, host: CloudHost, guest: Guest, view: CloudView, planned: list[Planned], *, room: bool) -> str:
        return why_not(host, guest, view, planned, room=room) or (self._not_candidate(host, guest) if room else "")

    def _planned(self) -> list[Planned]:
        """Places promised to members of groups, also those that are handed over: Nova may not show them yet."""
        wishes = [r.wish for r in self._store.open() if r.ending is None]
        return [Planned(w.host, w.groups, w.count, w.server) for w in wishes if w.groups]

    def _not_candidate(self, host: CloudHost, guest: Guest) -> str:
        """Placement's own judgement, of one; amounts of several are counted before."""
        wanted = labels_of(guest.specs or {})
        required = [x.removeprefix("trait:") for x in wanted if not x.startswith("!")]
        forbidden = [x.removeprefix("!trait:") for x in wanted if x.startswith("!")]
        found = self._placement.candidates(
            guest.resources, required=required, forbidden=[*forbidden, LOCKED_OUT], provider=host.provider, limit=1
        )
        return "" if found else "Placement has no candidate there"


def _emptiest(host: CloudHost) -> tuple[float, str]:
    """Most VCPUs free first, then by name."""
    return -host.free("VCPU"), host.name


def _within(view: CloudView, zone: str) -> list[CloudHost]:
    """Hosts of a zone; of all where none is named. Raises NoRoom where there is none at all."""
    found = [h for h in view.hosts.values() if zone in ("", h.az)]
    if not found:
        zones = ", ".join(sorted({h.az for h in view.hosts.values()})[:TOLD])
        raise NoRoom(f"no host is in zone {zone[:80]!r}: hosts are in {zones}" if zones else "Nova knows no hosts")
    return found


def _nowhere(against: dict[str, str], zone: str) -> str:
    """Every host's reason; of a zone with one host it says that there is no other to choose from."""
    told = "; ".join(f"{name}: {said}" for name, said in sorted(against.items())[:TOLD])
    if zone and len(against) == 1:
        return f"zone {zone} has one host only, and it cannot take it: {told}"
    return f"no host can take it ({len(against)} looked at): {told}"
