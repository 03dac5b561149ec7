"""Reservations: hold room on a host, keep it until its taker comes or its time is over, hand it over without losing it (domain.md §7).

Taking room needs mode act for the host, a fresh reading of the cloud and no halt; giving back is always done. What is decided is in the
store before Placement hears of it, so that whoever dies at any moment is continued by the next ``run_once``.
"""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

import structlog
from msgspec.structs import replace

from foreshape_controller.decide.movable import labels_of
from foreshape_controller.decide.target import Guest, Planned, closed, why_not
from foreshape_controller.errors import CloudError, Gone, Invalid, NoRoom, Permanent, Temporary
from foreshape_controller.loops.holding import Allocations, Holding, HoldingStore, Me
from foreshape_controller.loops.lockout import Disabled, Lockout, LockStore, Traits
from foreshape_controller.model.cloud import LOCKED_OUT, Candidate, CloudHost, CloudView, Resources
from foreshape_controller.model.reservation import Event, Happened, Place, Reservation, ReservationWish, Slot, State
from foreshape_wire.ids import new_id

_log = structlog.get_logger("foreshape.reservations")

MOST_SLOTS = 200
MOST_S = 90 * 86400.0
ENOUGH = 3
"""Temporary failures in a row after which a run leaves the rest to the next one."""


class Placement(Allocations, Traits, Protocol):
    """What reservations ask of Placement."""

    def candidates(
        self, resources: Resources, *, required: Collection[str] = (), forbidden: Collection[str] = (), provider: str = "", limit: int = 0
    ) -> tuple[Candidate, ...]: ...


class ReservationStore(HoldingStore, LockStore, Protocol):
    """What reservations keep."""

    def open(self) -> tuple[Reservation, ...]: ...

    def of_host(self, host: str) -> tuple[Reservation, ...]: ...

    def of_owner(self, owner: str) -> tuple[Reservation, ...]: ...


class Watch(Protocol):
    """The cloud as it was read last."""

    def view(self) -> CloudView | None: ...

    def why_not(self, now: float) -> str: ...


@dataclass(frozen=True)
class Door:
    """The cloud, as far as reservations need it."""

    placement: Placement
    me: Me
    disabled: Disabled


@dataclass(frozen=True)
class ReserveTerms:
    """What the configuration says. Seconds."""

    lead_s: float = 300.0
    wait_s: float = 1.0


class Reservations:
    """Safe from any thread. Errors: CloudError, and NotFound for an id that does not exist."""

    def __init__(self, store: ReservationStore, door: Door, watch: Watch, may: Callable[[str], str], terms: ReserveTerms) -> None:
        """``may``: why nothing may be taken on a host now, mode and halts considered; empty: it may."""
        self._store, self._door, self._watch, self._may, self._terms = store, door, watch, may, terms
        self.holding = Holding(store, door.placement, door.me)
        self.lockout = Lockout(store, door.placement, door.disabled, terms.wait_s)

    # -- looking

    def find(self, wanted: str) -> Reservation:
        """Raises NotFound."""
        return self._store.find(wanted)

    def open(self) -> tuple[Reservation, ...]:
        """All that are not over."""
        return self._store.open()

    def of_host(self, host: str) -> tuple[Reservation, ...]:
        """Those of a host that are not over."""
        return self._store.of_host(host)

    def of_owner(self, owner: str) -> tuple[Reservation, ...]:
        """Those of an owner that are not over: also one whose ``hold`` ended without an answer."""
        return self._store.of_owner(owner)

    def of_server(self, server: str) -> tuple[Reservation, ...]:
        """Those for one server that are not over."""
        return tuple(r for r in self._store.open() if r.wish.server == server)

    def why_not(self, host: str, guest: Guest, now: float) -> str:
        """Why a host is no target for a guest, by our own checks and by Placement's candidates; empty: it is one. Raises CloudError."""
        found = self._host(host, now)
        return self._against(found, guest) or self._not_candidate(found, guest)

    def choose(self, guest: Guest, now: float) -> str:
        """The host with most room left that passes every check. Raises NoRoom, which names what spoke against each host."""
        view = self._view(now)
        against: dict[str, str] = {}
        for host in sorted(view.hosts.values(), key=_emptiest):
            said = self._may(host.name) or self._against(host, guest) or self._not_candidate(host, guest)
            if not said:
                return host.name
            against[host.name] = said
        told = "; ".join(f"{name}: {said}" for name, said in sorted(against.items())[:10])
        raise NoRoom(f"no host can take it ({len(against)} looked at): {told or 'Nova knows no hosts'}")

    # -- acting

    def plan(self, wish: ReservationWish, now: float) -> Reservation:
        """Write down what is wanted; held when its window opens and we may act. Raises Invalid."""
        check(wish, now)
        slots = tuple(Slot(consumer=str(uuid4())) for _ in range(wish.count))
        said = f"planned: {_amounts(wish)} on {wish.host}"
        made = Reservation(id=new_id("rsv"), wish=wish, slots=slots, created=now, changed=now, said=said)
        self._store.save(made)
        return made

    def hold(self, wish: ReservationWish, now: float) -> Reservation:
        """Held in Placement when it returns; asked again by the same migration, it is the same reservation.

        Raises Invalid; NoRoom, Gone: nothing is held, and nothing is left of it; Permanent: it may not be; a Temporary with ``maybe_done``:
        it is asked for, and ``of_owner`` finds it: call again, or release it.
        """
        made = self._same(wish)
        if made is None:
            check(wish, now)
            self._allowed(wish.host, now)
            made = self.plan(wish, now)
        held, error = self.begin(made.id, now)
        if held.state is State.HELD:
            return held
        if isinstance(error, NoRoom | Gone):
            self.holding.happen(made.id, Event(kind=Happened.RELEASE, text=str(error)), now)
            raise error
        raise error or Temporary(f"reservation {made.id} is {held.state.value}: {held.said}", maybe_done=held.owed)

    def begin(self, wanted: str, now: float) -> tuple[Reservation, CloudError | None]:
        """Ask Placement for what is planned, or go on asking. Raises CloudError where nothing may be asked."""
        with self.holding.alone(wanted):
            planned = self._store.find(wanted)
            if not planned.owed and planned.state is State.PLANNED:
                host = self._allowed(planned.wish.host, now)
                self._store.save(replace(planned, provider=host.provider))
                return self.holding.happen(wanted, Event(kind=Happened.DUE), now)
            return self.holding.happen(wanted, Event(kind=Happened.TICK), now)

    def release(self, wanted: str, why: str, now: float) -> Reservation:
        """Give it back, and lift our lock if one was left for it. Done twice, it does nothing.

        Raises Temporary when Placement does not answer: it will be given back all the same.
        """
        left, error = self.holding.happen(wanted, Event(kind=Happened.RELEASE, text=why), now)
        if any(lock.reservation == wanted for lock in self._store.locks().values()):
            self.lockout.lift_left(now)
        if left.owed and not error:
            left, error = self.holding.happen(wanted, Event(kind=Happened.TICK), now)
        if left.owed and error:
            raise error
        return left

    def hand_over(self, wanted: str, order: Callable[[], None], now: float, *, force: bool) -> None:
        """Give the room up and call ``order``, which claims it, at most once.

        force: nobody else is scheduled to the host meanwhile, and ``order`` skips the scheduler; else others may be faster.
        Where ``order`` surely was not taken (NoRoom, Conflict, Permanent, a Temporary without ``maybe_done``) the room is held again, if
        nobody took it, and the error is raised: release it, or try again. After anything else it counts as taken. Raises NoRoom when it
        is not held (any more), Permanent or Temporary when it must not be handed over now: then ``order`` was not called.
        """
        held = self._store.find(wanted)
        self._takes(held)
        host = self._allowed(held.wish.host, now)
        if said := closed(replace(host, traits=host.traits - {LOCKED_OUT})):
            raise Permanent(f"{host.name} is no target any more: {said}")
        with self.lockout.locked(held, now) if force else nullcontext():
            with self.holding.alone(wanted):
                self._takes(self._store.find(wanted))
                left, error = self.holding.happen(wanted, Event(kind=Happened.HAND, text="handed over"), now)
                if left.owed:
                    self._back(wanted, f"it could not be deleted: {error}", now)
                    raise error or Temporary(f"reservation {wanted} could not be given up")
            self._ordered(wanted, order, now)

    def _ordered(self, wanted: str, order: Callable[[], None], now: float) -> None:
        try:
            order()
        except Temporary as e:
            if not e.maybe_done:
                self._back(wanted, str(e), now)
            raise
        except CloudError as e:
            self._back(wanted, str(e), now)
            raise

    def _back(self, wanted: str, why: str, now: float) -> None:
        _, error = self.holding.happen(wanted, Event(kind=Happened.BACK, text=why), now)
        if error:
            _log.warning("not held again", reservation=wanted, reason=str(error))

    def _takes(self, reservation: Reservation) -> None:
        if reservation.state is not State.HELD or reservation.ending is not None or not reservation.held:
            raise NoRoom(f"reservation {reservation.id} is {reservation.state.value}: {reservation.said}")

    # -- by the clock

    def run_once(self, now: float) -> None:
        """Lift what locks were left, begin and end what is due, go on with what is open."""
        _, problems = self.lockout.lift_left(now)
        failed = 0
        for reservation in self._store.open():
            try:
                error = self._go_on(reservation, now)
            except CloudError as e:
                error = e
            failed = failed + 1 if isinstance(error, Temporary) else 0
            if error:
                problems.append(f"{reservation.id} on {reservation.wish.host}: {error}")
            if failed == ENOUGH:
                break
        if problems:
            _log.warning("reservations", problems=problems[:10], more=max(0, len(problems) - 10))

    def _go_on(self, reservation: Reservation, now: float) -> CloudError | None:
        wish, places = reservation.wish, {slot.place for slot in reservation.slots}
        if reservation.ending is None and wish.until <= now:
            return self.holding.happen(reservation.id, Event(kind=Happened.EXPIRE), now)[1]
        if Place.FREEING in places:
            return self.holding.happen(reservation.id, Event(kind=Happened.TICK), now, takes=False)[1]
        if not self._due(reservation, places, now):
            return None
        said = self._watch.why_not(now) or self._may(wish.host)
        if said:
            self._say(reservation, f"planned: would hold {_amounts(wish)} on {wish.host} now; {said}")
            return None
        return self._begun(reservation, now)

    def _due(self, reservation: Reservation, places: set[Place], now: float) -> bool:
        opens = reservation.wish.starts - self._terms.lead_s
        return Place.ASKED in places or (reservation.state is State.PLANNED and opens <= now)

    def _begun(self, reservation: Reservation, now: float) -> CloudError | None:
        """What has no room yet is asked for again while its window lasts; that is nobody's fault."""
        held, error = self.begin(reservation.id, now)
        return None if isinstance(error, NoRoom) and not held.state.over else error

    def _say(self, reservation: Reservation, said: str) -> None:
        """Why nothing is done yet; only what is new is written."""
        if reservation.state is State.PLANNED and reservation.said != said:
            with self.holding.alone(reservation.id):
                now_is = self._store.find(reservation.id)
                if now_is == reservation:
                    self._store.save(replace(now_is, said=said))

    # -- ground

    def _view(self, now: float) -> CloudView:
        said, view = self._watch.why_not(now), self._watch.view()
        if said or view is None:
            raise Temporary(f"nothing is reserved now: {said}")
        return view

    def _host(self, name: str, now: float) -> CloudHost:
        view = self._view(now)
        host = view.hosts.get(name)
        if host is None:
            raise Gone(f"Nova knows no host {name[:80]!r}: see 'openstack compute service list'")
        if not host.provider:
            raise Gone(f"Placement knows no provider of {name}: nothing can be held there")
        return host

    def _allowed(self, name: str, now: float) -> CloudHost:
        host = self._host(name, now)
        if said := self._may(name):
            raise Permanent(f"nothing is taken on {name}: {said}")
        return host

    def _against(self, host: CloudHost, guest: Guest) -> str:
        view = self._watch.view()
        assert view is not None
        return why_not(host, guest, view, self._planned())

    def _planned(self) -> list[Planned]:
        """Places promised to somebody, also those that are handed over: Nova may not show them yet."""
        wishes = [r.wish for r in self._store.open() if r.ending is None]
        return [Planned(w.host, w.groups, w.count, w.server) for w in wishes if w.groups]

    def _not_candidate(self, host: CloudHost, guest: Guest) -> str:
        """Placement's own judgement, of one; amounts of several are counted in ``why_not``."""
        from_specs = labels_of(guest.specs or {})
        required = [x.removeprefix("trait:") for x in from_specs if x.startswith("trait:")]
        forbidden = [x.removeprefix("!trait:") for x in from_specs if x.startswith("!")]
        found = self._door.placement.candidates(
            guest.resources, required=required, forbidden=[*forbidden, LOCKED_OUT], provider=host.provider, limit=1
        )
        return "" if found else "Placement has no candidate there"

    def _same(self, wish: ReservationWish) -> Reservation | None:
        """What the same migration asked for before, or what a forecast planned for the same server there: that becomes its own."""
        if not wish.owner.startswith("migration:"):
            return None
        for mine in self._store.of_owner(wish.owner):
            if mine.wanted and _alike(mine.wish, wish):
                return mine
        for planned in self.of_server(wish.server) if wish.server else ():
            if planned.wanted and planned.wish.owner.startswith("need:") and _alike(planned.wish, wish):
                return self._adopt(planned.id, wish)
        return None

    def _adopt(self, wanted: str, wish: ReservationWish) -> Reservation | None:
        with self.holding.alone(wanted):
            planned = self._store.find(wanted)
            if not planned.wanted:
                return None
            mine = replace(planned, wish=wish)
            self._store.save(mine)
            return mine


def check(wish: ReservationWish, now: float) -> None:
    """Raises Invalid for what makes no sense."""
    if not wish.resources or any(amount <= 0 for amount in wish.resources.values()):
        raise Invalid("resources: name at least one, and each with an amount above 0")
    if not 1 <= wish.count <= MOST_SLOTS:
        raise Invalid(f"count: {wish.count} is none; write 1 to {MOST_SLOTS}, or make several reservations")
    if not wish.owner.partition(":")[2] or not wish.reason.strip():
        raise Invalid("reason and owner: say who wants it, and why")
    if not now < wish.until <= now + MOST_S:
        raise Invalid(f"until: it ends in the future, within {MOST_S / 86400:.0f} days")
    if wish.starts >= wish.until:
        raise Invalid("starts: it begins before it ends")


def _alike(one: ReservationWish, other: ReservationWish) -> bool:
    return (one.host, dict(one.resources), one.count) == (other.host, dict(other.resources), other.count)


def _amounts(wish: ReservationWish) -> str:
    each = ", ".join(f"{amount} {name}" for name, amount in sorted(wish.resources.items()))
    return each if wish.count == 1 else f"{wish.count} x ({each})"


def _emptiest(host: CloudHost) -> tuple[float, str]:
    """Most VCPUs free first, then by name."""
    return -host.free("VCPU"), host.name
