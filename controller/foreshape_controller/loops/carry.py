"""One migration carried as far as it goes now: what happened becomes events, what is to be done is done (``decide/migrate.py``).

The order of every step: the new state and what is about to be done are in the store, then it is done, then its answer is the next event.
So whoever takes over after a kill finds what may have happened, asks, and never orders twice.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.decide.migrate import step
from foreshape_controller.decide.permit import Stop
from foreshape_controller.errors import ControllerError, Gone, Permanent, Temporary
from foreshape_controller.loops.durations import same_but_for_time
from foreshape_controller.loops.mend import Mend
from foreshape_controller.loops.witness import NO_WORD, Witness
from foreshape_controller.model.cloud import NOT_MOVED, CloudMigration
from foreshape_controller.model.migration import Do, Event, Happened, Instruction, State
from foreshape_controller.model.moving import Moving, Shape

_log = structlog.get_logger("foreshape.migrate")

UNASKED = frozenset({Do.FORCE, Do.ABORT})
"""What is done to a running migration because of its time limit: not where a person stopped us, nor in a halt. One that is left alone
harms nobody; completing it by force stops its guest. A person's own cancel is carried out all the same."""

WATCHING = (f"{Do.WATCH.value}:", NO_WORD)
"""What a wait that comes from watching begins with: it ends as soon as there is something to be seen again."""

LATE_S = 1.0
"""An order so much later than it was written down is dated anew."""


class Rooms(Protocol):
    """Room on the target (``loops/rooms.py``). Each may be asked twice."""

    def hold(self, row: Moving, now: float) -> str:
        """Id of the reservation that holds it. Raises NoRoom, Temporary, Permanent."""

    def lost(self, row: Moving) -> str:
        """Why what was held is held no more; empty: it is."""

    def hand_over(self, row: Moving, order: Callable[[], None], now: float) -> None:
        """Give the place up to the server: nobody else gets it before ``order`` has run."""

    def release(self, row: Moving, why: str, now: float) -> None:
        """Nothing is held for it any more when this returns."""


class Orders(Protocol):
    """The part of Nova that moves servers."""

    def live_migrate(self, server: str, host: str, *, force: bool = False, block: bool | None = None) -> None: ...

    def migrations(self, *, server: str = "") -> list[CloudMigration]: ...

    def abort(self, server: str, migration: int) -> None: ...

    def force_complete(self, server: str, migration: int) -> None: ...


class Rows(Protocol):
    """The part of the store that migrations are in."""

    def save(self, row: Moving, now: float, what: str, text: str = "") -> None: ...

    def void_orders(self, server: str, now: float) -> str: ...


class Proofs(Protocol):
    """The part of the store that knows what was proven."""

    def proven(self, server: str) -> Shape: ...


@dataclass(frozen=True)
class Hands:
    """Everything that a migration is carried out with."""

    rows: Rows
    proofs: Proofs
    nova: Orders
    rooms: Rooms
    witness: Witness
    mend: Mend
    stopped: Callable[[Moving], str] = lambda _row: ""
    """Why nothing is done now to what runs already, mode and halts considered; empty: it may be."""


class Carrier:
    """``advance``, and ``measure`` for what is over. Holds nothing between two calls."""

    def __init__(self, hands: Hands, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: monotonic; it tells only how long a place took to be handed over."""
        self._h, self._clock = hands, clock

    def advance(self, row: Moving, now: float, *, happened: Iterable[Event], may_go: Callable[[Moving], Stop | None]) -> Moving:
        """Take events, and everything that follows from them now. ``may_go``: what stands in the order's way."""
        events, done = deque(happened), set[Do]()
        asked = any(event.kind is Happened.CANCEL for event in events)
        while events:
            row, instructions = self._take(row, events.popleft(), now)
            for instruction in instructions:
                if instruction.do not in done:  # once in a call: a poll is no loop
                    done.add(instruction.do)
                    row, found = self._carry_out(row, instruction, now, asked=asked)
                    events.extend(found)
            if not events and row.migration.state is State.RESERVED:
                row, found = self._go(row, now, may_go)
                events.extend(found)
        if row.over:
            self._h.witness.forget(row.id)
        return row

    def measure(self, row: Moving, now: float) -> Moving:
        """For how long its guest was stopped, where the target's agent has told it by now."""
        known = self._h.witness.stopped(row, now)
        if known != row:
            self._h.rows.save(known, now, "measured", _measured(known))
        return known

    def _take(self, row: Moving, event: Event, now: float) -> tuple[Moving, tuple[Instruction, ...]]:
        """The state after an event, stored before anything is done."""
        before = row.migration
        after, instructions = step(before, event, now)
        if after == before:
            return row, instructions
        row = replace(row, migration=after, waits="" if after.state is not before.state else row.waits)
        row = replace(row, ended=now if row.over else None)
        if after.state in (State.FAILED, State.ABORTED) and after.state is not before.state:
            row = replace(row, failed_at=now)
        self._h.rows.save(row, now, event.kind.value, _told(event, after.said if after.said != before.said else ""))
        if after.state is not before.state:
            _log.info(
                "migration",
                id=row.id,
                server=after.server,
                source=after.source,
                target=after.target,
                state=after.state.value,
                why=after.said,
                cause=row.cause,
            )
        return row, instructions

    # -- before the order

    def _go(self, row: Moving, now: float, may_go: Callable[[Moving], Stop | None]) -> tuple[Moving, list[Event]]:
        """Every rule once more, the lease, and what Nova has of this server already: then the order is due."""
        gone = self._h.rooms.lost(row)
        if gone:
            return row, [Event(Happened.LOST, text=gone)]
        stop = may_go(row)
        if stop is not None and stop.final:
            return row, [Event(Happened.REFUSED, text=stop.why)]
        why = stop.why if stop is not None else self._h.rows.void_orders(row.migration.server, now)
        if why:
            return self._waits(row, why, now), []
        return self._last_look(row, now)

    def _last_look(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        """Straight from Nova: the view may be half a minute old."""
        try:
            refused = self._h.witness.unfit(row)
            known = tuple(m.uuid for m in self._h.nova.migrations(server=row.migration.server))
        except Gone:
            return row, [Event(Happened.GONE)]
        except ControllerError as e:
            return self._waits(row, str(e), now), []
        if refused:
            return row, [Event(Happened.REFUSED, text=refused)]
        row = replace(row, known=known, shape=self._h.proofs.proven(row.migration.server))
        return row, [Event(Happened.GO)]

    def _waits(self, row: Moving, why: str, now: float) -> Moving:
        if not same_but_for_time(why, row.waits):
            row = replace(row, waits=why)
            self._h.rows.save(row, now, "waits" if why else "", why)
        return row

    # -- instructions

    def _carry_out(self, row: Moving, instruction: Instruction, now: float, *, asked: bool) -> tuple[Moving, list[Event]]:
        """Do one thing; what came of it. One that fails is asked for again with the next tick. ``asked``: somebody called it off."""
        if instruction.do in UNASKED and not asked and (why := self._h.stopped(row)):
            return self._waits(row, f"not done: {instruction.do.value} ({row.migration.said}): {why}", now), []
        ways: Mapping[Do, Callable[[Moving, float], tuple[Moving, list[Event]]]] = {
            Do.RESERVE: self._reserve,
            Do.ORDER: self._order,
            Do.WATCH: self._watch,
            Do.FORCE: self._force,
            Do.ABORT: self._abort,
            Do.REAPPLY: self._reapply,
            Do.COMPENSATE: self._h.mend.compensate,
            Do.RELEASE: self._release,
        }
        try:
            return ways[instruction.do](row, now)
        except Gone as e:
            if instruction.do is Do.RELEASE:
                return row, []
            left = self._h.mend.left_behind(row)
            return row, [Event(Happened.GONE, text=left or str(e), alarm=bool(left))]
        except ControllerError as e:
            return self._waits(row, f"{instruction.do.value}: {e}", now), []

    def _reserve(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        try:
            held = self._h.rooms.hold(row, now)
        except Permanent as e:  # no room is one of these
            return row, [Event(Happened.REFUSED, text=str(e))]
        return replace(row, reservation=held), [Event(Happened.RESERVED)]

    def _order(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        """The one and only order. What Nova said of it counts, whatever became of the lock around it."""
        m, order = row.migration, _Order(self._h.nova, row, self._clock)
        self._h.rows.save(row, now, "order", f"live-migrate to {m.target}; undo: abort, or migrate back to {m.source}")
        try:
            self._h.rooms.hand_over(row, order, now)
        except ControllerError as e:
            if not order.asked:
                return row, [Event(Happened.REFUSED, text=f"the place could not be handed over: {e}")]
            self._h.rows.save(row, now, "trouble", str(e))
        if order.refused:
            return row, [Event(Happened.REFUSED, text=order.refused)]
        row = self._dated(row, order.waited_s, now)
        if order.unknown:
            self._h.rows.save(row, now, "unknown", order.unknown)
        return row, []

    def _dated(self, row: Moving, waited_s: float, now: float) -> Moving:
        """Ordered as late as it really was: until when Nova must know it counts from there."""
        m = row.migration
        if waited_s < LATE_S or m.ordered_at is None:
            return row
        row = replace(row, migration=replace(m, ordered_at=m.ordered_at + waited_s))
        self._h.rows.save(row, now, "late", f"ordered {waited_s:.0f} s later: the place took so long to be handed over")
        return row

    def _watch(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        seen, found = self._h.witness.look(row, now)
        if seen != row:
            self._h.rows.save(seen, now, "")
        if not seen.waits or seen.waits.startswith(WATCHING):
            seen = self._waits(seen, self._h.witness.silence(seen, now), now)
        if any(_spoilt(seen, event) for event in found):
            seen = self._h.mend.there(seen, now)
        return seen, list(found)

    def _force(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        if row.number:
            self._h.rows.save(row, now, "force", "complete it by force")
            self._if_it_runs(self._h.nova.force_complete, row)
        return row, []

    def _abort(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        if row.number:
            self._h.rows.save(row, now, "abort", f"abort Nova's migration {row.number}")
            self._if_it_runs(self._h.nova.abort, row)
        return row, []

    def _if_it_runs(self, ask: Callable[[str, int], None], row: Moving) -> None:
        """What has ended by itself needs neither; it is the migration that is gone then, and not the server."""
        try:
            ask(row.migration.server, row.number)
        except Gone:
            return

    def _reapply(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        """What the move took is mostly known by now; then its shape."""
        return self._h.mend.reapply(self.measure(row, now), now)

    def _release(self, row: Moving, now: float) -> tuple[Moving, list[Event]]:
        row = self.measure(row, now) if row.took_s is not None else row
        self._h.rooms.release(row, row.migration.said or "its migration is over", now)
        return row, [Event(Happened.RELEASED)]


def _spoilt(row: Moving, event: Event) -> bool:
    """Over for Nova, with the server on the target and in no state to be used."""
    over = event.kind is Happened.NOVA and event.status in NOT_MOVED | {"completed"}
    return over and event.host == row.migration.target and not event.sound


def _measured(row: Moving) -> str:
    """What it took beside what was predicted."""
    took = "" if row.took_s is None else f"took {row.took_s:.1f} s, predicted {row.predicted_s:.1f} s; "
    return f"{took}its guest was stopped for {row.stopped_s:.3f} s, predicted {row.downtime_s:.3f} s"


def _told(event: Event, said: str) -> str:
    """What happened, and what it means, in one line."""
    return "; ".join(dict.fromkeys(text for text in (event.text or event.status, said) if text))


class _Order:
    """The call to Nova, and what is known of it afterwards."""

    def __init__(self, nova: Orders, row: Moving, clock: Callable[[], float]) -> None:
        self._nova, self._m, self._clock = nova, row.migration, clock
        self._made = clock()
        self.asked, self.waited_s = False, 0.0
        self.refused = ""
        """Surely not taken."""
        self.unknown = ""
        """It may have been."""

    def __call__(self) -> None:
        """Raises what Nova says: who handed the place over wants to know, too."""
        self.asked, self.waited_s = True, self._clock() - self._made
        try:
            self._nova.live_migrate(self._m.server, self._m.target, force=True)
        except Temporary as e:
            self.unknown, self.refused = (str(e), "") if e.maybe_done else ("", str(e))
            raise
        except Permanent as e:
            self.refused = str(e)
            raise


def happening(row: Moving, cancels: Mapping[str, str]) -> list[Event]:
    """What happens to an open migration in this round by itself: time passes, and perhaps somebody does not want it any more."""
    tick = Event(Happened.TICK)
    if row.id in cancels and row.migration.state in CANCELLED:
        return [Event(Happened.CANCEL, text=cancels[row.id] or "cancelled"), tick]
    return [tick]


CANCELLED = frozenset({State.QUEUED, State.RESERVED, State.ORDERED, State.RUNNING})
"""States in which a cancel changes something."""
