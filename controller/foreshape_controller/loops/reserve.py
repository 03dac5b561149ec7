"""Reservations: hold room on a host, keep it until its taker comes or its time is over, hand it over without losing it (domain.md §7).

Taking room needs mode act for the host (or advise and somebody's approval), a fresh reading of the cloud and no halt; giving back is
always done. What is decided is in the store before Placement hears of it, so that whoever dies at any moment is continued by the next
``run_once``.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from uuid import uuid4

import structlog
from msgspec.structs import replace

from foreshape_controller.errors import CloudError, Gone, Invalid, NoRoom, Temporary
from foreshape_controller.loops.acting import has_a_persons_word, on_a_persons_word
from foreshape_controller.loops.backoff import Backoff
from foreshape_controller.loops.durations import same_but_for_time
from foreshape_controller.loops.holding import Holding
from foreshape_controller.loops.lockout import Lockout
from foreshape_controller.loops.reserve_audit import Auditor, with_lifted
from foreshape_controller.loops.reserve_door import Door, May, ReservationStore, Watch
from foreshape_controller.loops.reserve_target import Targets
from foreshape_controller.model.cloud import CloudHost, Resources
from foreshape_controller.model.reservation import Audit, Event, Happened, Place, Reservation, ReservationWish, Slot, State
from foreshape_wire.ids import new_id

_log = structlog.get_logger("foreshape.reservations")

MOST_SLOTS = 200
MOST_S = 90 * 86400.0
ENOUGH = 3
"""Temporary failures in a row after which a run leaves the rest to the next one."""
AGAIN_S, SELDOM_S = 60.0, 900.0
"""What has no room is asked for again after the first, twice as long each time, up to the second: every try is a write, and a few rows."""


@dataclass(frozen=True)
class ReserveTerms:
    """What the configuration says. Seconds."""

    lead_s: float = 300.0
    wait_s: float = 1.0
    audit_every_s: float = 300.0
    grace_s: float = 600.0


class Reservations:
    """Safe from any thread. Errors: CloudError, and NotFound for an id that does not exist."""

    def __init__(self, store: ReservationStore, door: Door, watch: Watch, may: May, terms: ReserveTerms) -> None:
        self._store, self._watch, self._may, self._terms = store, watch, may, terms
        self.holding = Holding(store, door)
        self.lockout = Lockout(store, door, terms.wait_s)
        self.targets = Targets(store, door.placement, watch, may)
        self._auditor = Auditor(store, door, self.holding, watch, may, terms.grace_s)
        self._auditing = Lock()
        self._audited_at = float("-inf")
        self.found: Counter[str] = Counter()
        """What audits found since the start: slots ``lost``, ``orphans``."""
        self._failing: set[str] = set()
        """Those that failed in the last run: they come last in the next one, so that they are in nobody's way."""
        self._full = Backoff(AGAIN_S, SELDOM_S)
        """Those without room."""

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

    # -- acting

    def plan(self, wish: ReservationWish, now: float) -> Reservation:
        """Write down what is wanted; held when its window opens and we may act. On a person's word it is approved. Raises Invalid."""
        wish = replace(wish, resources=held(wish.resources))
        check(wish, now)
        slots = tuple(Slot(consumer=str(uuid4())) for _ in range(wish.count))
        said = f"planned: {_amounts(wish)} on {wish.host}"
        made = Reservation(id=new_id("rsv"), wish=wish, slots=slots, created=now, changed=now, said=said, approved=_approver(wish))
        self._store.save(made)
        return made

    def explained(self, planned: Reservation, now: float) -> Reservation:
        """A new one with what stands in its way, if its window is open."""
        with suppress(CloudError):  # whoever goes on with it will tell
            self._go_on(planned, now)
        return self._store.find(planned.id)

    def approve(self, wanted: str, by: str, now: float) -> Reservation:
        """A person wants it held in mode advise, too: at once if its window is open. Raises Invalid for one that is over, CloudError."""
        with self.holding.alone(wanted):
            planned = self._store.find(wanted)
            if not planned.wanted:
                raise Invalid(f"reservation {planned.id} is {planned.state.value}: nothing is left to approve; make another one")
            approved = replace(planned, approved=planned.approved or by)
            self._store.save(approved)
        self._full.forget(wanted)
        if error := self._go_on(approved, now):
            raise error
        return self._store.find(wanted)

    def hold(self, wish: ReservationWish, now: float) -> Reservation:
        """Held in Placement when it returns; asked again by the same migration, it is the same reservation.

        Raises Invalid; NoRoom, Gone: nothing is held, and nothing is left of it; Permanent: it may not be; a Temporary with ``maybe_done``:
        it is asked for, and ``of_owner`` finds it: call again, or release it.
        """
        wish = replace(wish, resources=held(wish.resources))
        with self.holding.alone(wish.owner):
            made = self._same(wish) or self._first(wish, now)
        after, error = self.begin(made.id, now)
        if after.state is State.HELD:
            return after
        if isinstance(error, NoRoom | Gone):
            self.holding.happen(made.id, Event(kind=Happened.RELEASE, text=str(error)), now)
            raise error
        raise _unknown(after, error)

    def _first(self, wish: ReservationWish, now: float) -> Reservation:
        check(wish, now)
        self.targets.ready(wish.host, now)
        return self.plan(wish, now)

    def begin(self, wanted: str, now: float) -> tuple[Reservation, CloudError | None]:
        """Ask Placement for what is planned, or go on asking. Raises CloudError where nothing may be asked."""
        with self.holding.alone(wanted):
            planned = self._store.find(wanted)
            if not planned.owed and planned.state is State.PLANNED:
                host = self._ready(planned, now)
                self._store.save(replace(planned, provider=host.provider))
                return self.holding.happen(wanted, Event(kind=Happened.DUE), now)
            return self.holding.happen(wanted, Event(kind=Happened.TICK), now)

    def _ready(self, reservation: Reservation, now: float) -> CloudHost:
        """As ``Targets.ready``, on the word of who approved it."""
        with on_a_persons_word(bool(reservation.approved)):
            return self.targets.ready(reservation.wish.host, now)

    def extend(self, wanted: str, until: float, now: float) -> Reservation:
        """What is held stays so until later; never sooner. Raises Invalid for one that is over, or for a time that makes no sense."""
        with self.holding.alone(wanted):
            held_now = self._store.find(wanted)
            if not held_now.wanted:
                raise Invalid(f"reservation {held_now.id} is {held_now.state.value}: nothing is left to extend; make another one")
            longer = replace(held_now, wish=replace(held_now.wish, until=max(until, held_now.wish.until)))
            check(longer.wish, now)
            self._store.save(longer)
            return longer

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
        is not held (any more), Permanent or a Temporary without ``maybe_done`` when it must not be handed over now: then ``order`` was not
        called.
        """
        whole = self._store.find(wanted)
        self._takes(whole)
        self.targets.ready(whole.wish.host, now)
        with ExitStack() as until_ordered:
            with _nothing_ordered():
                if force:
                    until_ordered.enter_context(self.lockout.locked(whole, now))
                self._give_up(wanted, now)
            self._ordered(wanted, order, now)

    def _give_up(self, wanted: str, now: float) -> None:
        """Deleted for certain when it returns; otherwise held again."""
        with self.holding.alone(wanted):
            self._takes(self._store.find(wanted))
            left, error = self.holding.happen(wanted, Event(kind=Happened.HAND, text="handed over"), now)
            if left.owed:
                self._back(wanted, f"it could not be deleted: {error}", now)
                raise error or Temporary(f"reservation {wanted} could not be given up")

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
        failed, before, self._failing = 0, self._failing, set()
        rows = self._store.open()
        self._full.keep([r.id for r in rows])
        for reservation in sorted(rows, key=lambda r: r.id in before):
            try:
                error = self._go_on(reservation, now)
            except CloudError as e:
                error = e
            failed = failed + 1 if isinstance(error, Temporary) else 0
            if failed:
                self._failing.add(reservation.id)
            if error:
                problems.append(f"{reservation.id} on {reservation.wish.host}: {error}")
            if failed == ENOUGH:
                break
        if problems:
            _log.warning("reservations", problems=problems[:10], more=max(0, len(problems) - 10))
        if failed < ENOUGH and not 0 <= now - self._audited_at < self._terms.audit_every_s:
            self.audit(now)

    def audit(self, now: float) -> Audit:
        """Compare the journal with Placement and repair what differs; what cannot be done now is in its ``problems``."""
        with self._auditing:
            lifted, problems = self.lockout.lift_left(now)
            found = with_lifted(self._auditor.run_once(now), lifted, problems)
            self._audited_at = now if not found.problems else float("-inf")
            self.found.update(lost=found.lost, orphans=found.orphans)
            return found

    def _go_on(self, reservation: Reservation, now: float) -> CloudError | None:
        wish, places = reservation.wish, {slot.place for slot in reservation.slots}
        if reservation.ending is None and wish.until <= now:
            return self.holding.happen(reservation.id, Event(kind=Happened.EXPIRE), now)[1]
        if Place.FREEING in places:
            return self.holding.happen(reservation.id, Event(kind=Happened.TICK), now, takes=False)[1]
        if not self._due(reservation, places, now) or (not reservation.owed and self._full.waits(reservation.id, now)):
            return None
        try:
            self._ready(reservation, now)
        except CloudError as e:
            self._say(reservation, f"planned: would hold {_amounts(wish)} on {wish.host} now; {e}{self._remedy(reservation)}")
            return None
        return self._begun(reservation, now)

    def _remedy(self, reservation: Reservation) -> str:
        """What a person can do, if it is only a person's word that is missing."""
        host = reservation.wish.host
        with on_a_persons_word():
            approvable = not self._may(host)
        return f"; to hold it all the same: foreshape reservation approve {reservation.id}" if approvable and self._may(host) else ""

    def _due(self, reservation: Reservation, places: set[Place], now: float) -> bool:
        opens = reservation.wish.starts - self._terms.lead_s
        return Place.ASKED in places or (reservation.state is State.PLANNED and opens <= now)

    def _begun(self, reservation: Reservation, now: float) -> CloudError | None:
        """What has no room yet is asked for again while its window lasts, less and less often; that is nobody's fault."""
        after, error = self.begin(reservation.id, now)
        if not isinstance(error, NoRoom) or after.state.over:
            return error
        self._say(after, f"{after.said}; asked for again in {self._full.failed(after.id, now):.0f} s")
        return None

    def _say(self, reservation: Reservation, said: str) -> None:
        """Why nothing is done yet; only what is new is written."""
        if reservation.state is State.PLANNED and not same_but_for_time(reservation.said, said):
            with self.holding.alone(reservation.id):
                now_is = self._store.find(reservation.id)
                if now_is == reservation:
                    self._store.save(replace(now_is, said=said))

    # -- the same again

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
            mine = replace(planned, wish=wish, approved=planned.approved or _approver(wish))
            self._store.save(mine)
            return mine


@contextmanager
def _nothing_ordered() -> Iterator[None]:
    """Whatever did not get an answer in here, it was not the order."""
    try:
        yield
    except Temporary as e:
        raise Temporary(f"nothing was ordered: {e}", delay=e.delay) from e


def held(amounts: Resources) -> Resources:
    """Without what is nothing: Placement has no allocations of 0."""
    return {name: amount for name, amount in amounts.items() if amount}


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
    if not wish.starts < wish.until:  # also where one is no number
        raise Invalid("starts: it begins before it ends")


def _approver(wish: ReservationWish) -> str:
    return wish.owner if has_a_persons_word() else ""


def _unknown(left: Reservation, error: CloudError | None) -> CloudError:
    """For somebody who has to know that it may be held already."""
    stays = f"; reservation {left.id} stays asked for: see 'foreshape reservation show {left.id}'" if left.owed else ""
    if error is not None and not isinstance(error, Temporary):
        return type(error)(f"{error}{stays}")
    return Temporary(f"{error or left.said}{stays}", delay=error.delay if error else 0.0, maybe_done=left.owed)


def _alike(one: ReservationWish, other: ReservationWish) -> bool:
    return (one.host, dict(one.resources), one.count) == (other.host, dict(other.resources), other.count)


def _amounts(wish: ReservationWish) -> str:
    each = ", ".join(f"{amount} {name}" for name, amount in sorted(wish.resources.items()))
    return each if wish.count == 1 else f"{wish.count} x ({each})"
