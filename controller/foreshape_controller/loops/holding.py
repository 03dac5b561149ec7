"""Carries reservations through their table: stores what was decided, writes it to Placement, stores what became of it."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from foreshape_controller.decide.reserve import step
from foreshape_controller.errors import CloudError, Conflict, Gone, NoRoom, Permanent
from foreshape_controller.loops.reserve_door import Door, ReservationStore
from foreshape_controller.model.cloud import RESERVATION, Allocation, Resources
from foreshape_controller.model.reservation import Do, Event, Happened, Instruction, Place, Reservation, State, Write

_log = structlog.get_logger("foreshape.reservations")

TRIES = 5
"""Rounds of writing and reading when a consumer's generation is not what we think."""


class Keyed:
    """Locks by name: whatever has the same name waits for each other. A thread may take its own again."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.RLock, list[int]]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.setdefault(name, (threading.RLock(), [0]))
            users[0] += 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users[0] -= 1
                if not users[0]:
                    del self._locks[name]


class Holding:
    """Events in, writes out. What happens to one reservation happens one after the other, from whatever thread."""

    def __init__(self, store: ReservationStore, door: Door) -> None:
        self._store, self._door = store, door
        self.alone = Keyed()
        """By id of a reservation: hold it to look and act in one piece."""

    def happen(self, wanted: str, event: Event, now: float, *, takes: bool = True) -> tuple[Reservation, CloudError | None]:
        """The reservation after the event and all that followed from it; the first error of Placement's, if there was one.

        After a Temporary or another error that leaves it open what was done, the slot stays asked for: a tick goes on with it.
        takes: whether room may be taken now; without it only what is not wanted any more is given back.
        """
        with self.alone(wanted):
            return _Run(self._store, self._door, self._store.find(wanted), now, takes=takes).go(event)


class _Run:
    """One event of one reservation, to the end of what follows from it."""

    def __init__(self, store: ReservationStore, door: Door, reservation: Reservation, now: float, *, takes: bool) -> None:
        self._store, self._placement, self._me, self._type = store, door.placement, door.me, door.type
        self._now, self._takes = now, takes
        self._at = reservation
        self._queue: deque[tuple[Instruction, int]] = deque()
        self._failed: CloudError | None = None

    def go(self, event: Event) -> tuple[Reservation, CloudError | None]:
        self._step(event)
        if self._at.state is State.PLANNED and len(self._queue) > 1:
            self._at_once()
        while self._queue:
            instruction, number = self._queue.popleft()
            if not self._wanted(instruction):
                self._store.known([number], "failed", self._now, "not tried: not wanted any more")
            elif not self._carried(instruction, number):
                self._give_up()
        return self._at, self._failed

    def _step(self, event: Event) -> None:
        """Decide, and store it together with the writes that follow."""
        before = self._at
        self._at, wanted = step(before, event, self._now)
        todo = [i for i in wanted if self._takes or i.do is Do.DELETE]
        if self._at != before or todo:
            numbers = self._store.save(self._at, [self._write(i) for i in todo])
            self._queue.extend(zip(todo, numbers, strict=True))
        if self._at.state is not before.state:
            _tell(self._at)

    def _carried(self, instruction: Instruction, number: int) -> bool:
        """Whether it is known how it ended; what followed from that is in the queue."""
        try:
            event = self._delete(instruction) if instruction.do is Do.DELETE else self._put(instruction)
        except CloudError as e:
            self._failed = self._failed or e
            self._store.known([number], "asked", self._now, str(e))
            return False
        self._store.known([number], "refused" if event.kind is Happened.REFUSED else "done", self._now, event.text)
        self._step(event)
        return True

    def _give_up(self) -> None:
        """Placement does not answer as it should: the rest is asked for by the next tick."""
        self._store.known([n for _, n in self._queue], "failed", self._now, "not tried: Placement failed before")
        self._queue.clear()

    def _wanted(self, instruction: Instruction) -> bool:
        place = next(s.place for s in self._at.slots if s.consumer == instruction.consumer)
        return place is {Do.PUT: Place.ASKED, Do.DELETE: Place.FREEING}[instruction.do]

    # -- Placement

    def _held(self) -> Mapping[str, Resources]:
        return {self._at.provider: dict(self._at.wish.resources)}

    def _delete(self, instruction: Instruction) -> Event:
        self._placement.delete_allocation(instruction.consumer)
        return Event(kind=Happened.FREED, consumer=instruction.consumer)

    def _put(self, instruction: Instruction) -> Event:
        try:
            self._put_once(instruction.consumer)
        except (NoRoom, Gone) as e:
            self._failed = self._failed or e
            return Event(kind=Happened.REFUSED, consumer=instruction.consumer, text=str(e))
        return Event(kind=Happened.PUT, consumer=instruction.consumer)

    def _put_once(self, consumer: str) -> None:
        """Until Placement holds it as it should be. Refused, nothing of it is left there."""
        wanted, (project, user) = self._held(), self._me()
        had = Allocation(consumer=consumer)
        for _ in range(TRIES):
            try:
                self._placement.put_allocation(consumer, wanted, generation=had.generation, type=self._type, project=project, user=user)
            except Conflict:
                had = self._placement.allocation(consumer)
            except (NoRoom, Gone):
                if had.held:
                    self._placement.delete_allocation(consumer)
                raise
            else:
                return
            if had.held == wanted:
                return
            if had.held and had.type not in (self._type, RESERVATION):  # the second: from before controllers had types of their own
                raise Permanent(f"consumer {consumer} is a {had.type} in Placement: somebody uses a uuid of ours; nothing is done to it")
        raise Conflict(f"consumer {consumer} was written to {TRIES} times between our reading and writing", delay=1.0)

    def _at_once(self) -> None:
        """Several new slots in one step of Placement's: all or nothing. Where it does not say, each is asked for alone."""
        project, user = self._me_or_nobody()
        if not project or not all(i.do is Do.PUT for i, _ in self._queue):
            return
        whole = [Allocation(consumer=i.consumer, type=self._type, project=project, user=user, held=self._held()) for i, _ in self._queue]
        try:
            self._placement.post_allocations(whole)
        except (NoRoom, Gone) as e:
            self._failed = e
            self._all(Event(kind=Happened.REFUSED, text=str(e)), "refused")
        except CloudError as e:
            _log.info("slots are asked for one by one", reservation=self._at.id, reason=str(e))
        else:
            self._all(Event(kind=Happened.PUT), "done")

    def _me_or_nobody(self) -> tuple[str, str]:
        try:
            return self._me()
        except CloudError:
            return "", ""

    def _all(self, event: Event, outcome: str) -> None:
        self._store.known([n for _, n in self._queue], outcome, self._now, event.text)
        self._queue.clear()
        self._step(event)

    def _write(self, instruction: Instruction) -> Write:
        wish = self._at.wish
        return Write(
            at=self._now,
            reservation=self._at.id,
            host=wish.host,
            provider=self._at.provider,
            what=instruction.do.value,
            subject=instruction.consumer,
            reason=instruction.why,
            cause=wish.cause,
            undo=f"delete consumer {instruction.consumer}" if instruction.do is Do.PUT else f"hold {dict(wish.resources)} again",
        )


def _tell(reservation: Reservation) -> None:
    """Every change of state; a loss is loud."""
    told = {"reservation": reservation.id, "host": reservation.wish.host, "owner": reservation.wish.owner, "cause": reservation.wish.cause}
    if reservation.state is State.LOST:
        _log.error("reservation lost", **told, reason=reservation.said, does="the need behind it is open again")
    else:
        _log.info("reservation", state=reservation.state.value, **told, reason=reservation.said)
