"""The course of one migration: a table from (state, event) to the next state and what is to be done.

            start          reserved      go           Nova: in progress
    queued ──────▶ queued ─────────▶ reserved ──▶ ordered ─────────▶ running
      │            (asked)              │            │  └────────┐       │  Nova: completed, server sound on the target,
      │ refused, cancel,                │            │           ▼       ▼  and the target's agent reports it
      │ gone, lost                      │            │          arrived ──────▶ settled      (released, shape applied again)
      ▼                                 ▼            ▼ refused, did not move, gone
    failed | aborted ◀──────────────────┴────────────┴──── running
      └──────▶ compensated      (released, and the server seen to be sound on its source)

What is not in the table changes nothing. Rules that the table alone does not show:

- Orders are given once: entering ``ordered`` is the only place, nothing leads back to ``reserved``. The caller stores the new
  migration before it carries the instructions out, so whoever dies in between finds ``ordered`` and only watches.
- Unknown is in progress: no answer from Nova is no event, an unknown status is a running one. ``completed`` without a sound server
  on the target, or without the target's agent, is not arrival. cancelled, failed and error all mean "did not move" (measured on
  Nova 31 and 34), unless Nova shows the server on the target.
- A server that Nova keeps in ERROR on the target is neither arrived nor back: it stays ``running`` and says so until somebody mends it.
- Ends are reached only when the reservation is known to be released. One that appears late, after the end, is released all the same.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from foreshape_controller.model.cloud import NOT_MOVED
from foreshape_controller.model.migration import Do, Event, Happened, Instruction, Migration, Room, State, Wish

ORDER_GRACE_S = 120.0
"""Until Nova must know an order: longer than any request's time limit, so that a late one is not overlooked."""

LEASED = frozenset({State.ORDERED, State.RUNNING, State.ARRIVED, State.FAILED, State.ABORTED})
"""While a migration is here, the server's shape belongs to it."""

Result = tuple[Migration, tuple[Instruction, ...]]
Handler = Callable[[Migration, Event, float], Migration]


def step(migration: Migration, event: Event, now: float) -> Result:
    """The migration after the event, and what is to be done. Store the first before doing the second."""
    handler = TABLE.get((migration.state, event.kind))
    moved = _ended(handler(migration, event, now)) if handler else migration
    entered = moved.state is not migration.state
    if event.kind is Happened.TICK or entered or moved != migration:
        return moved, tuple(_instruct(moved, do) for do in _due(moved, entered))
    return moved, ()


def may_order(migration: Migration, resizing: bool, others: Iterable[Migration]) -> str:
    """Why the order must wait, empty if it need not: a server has one lease, for a resize or for one migration."""
    if resizing:
        return "a change of its size is still open"
    for other in others:
        if other.id != migration.id and other.server == migration.server and other.state in LEASED:
            return f"migration {other.id} of the same server is {other.state}"
    return ""


def may_resize(server: str, migrations: Iterable[Migration]) -> str:
    """Why the server's size must stay as it is, empty if it need not."""
    for migration in migrations:
        if migration.server == server and migration.state in LEASED:
            return f"it migrates to {migration.target} ({migration.state}): its size stays until that is over"
    return ""


def _reserve(migration: Migration, _event: Event, _now: float) -> Migration:
    return replace(migration, room=Room.ASKED, said=f"asks for room on {migration.target}")


def _reserved(migration: Migration, _event: Event, _now: float) -> Migration:
    return replace(migration, state=State.RESERVED, room=Room.HELD, said=f"room on {migration.target} is held")


def _order(migration: Migration, _event: Event, now: float) -> Migration:
    return replace(migration, state=State.ORDERED, ordered_at=now, said="ordered from Nova")


def _refused(migration: Migration, event: Event, _now: float) -> Migration:
    return _not_moved(migration, State.FAILED, event.text or "refused")


def _lost(migration: Migration, event: Event, _now: float) -> Migration:
    return _not_moved(migration, State.FAILED, event.text or "the room held for it was lost")


def _cancelled(migration: Migration, event: Event, _now: float) -> Migration:
    return _not_moved(migration, State.ABORTED, event.text or "cancelled before it was ordered")


def _not_moved(migration: Migration, state: State, why: str) -> Migration:
    """A server that was never ordered to move needs no compensation."""
    return replace(migration, state=state, restored=migration.ordered_at is None, said=why)


def _call_off(migration: Migration, _event: Event, _now: float) -> Migration:
    """A cancel after the order: aborted where Nova survives that, else it runs to its end."""
    if migration.may_abort:
        return replace(migration, wish=Wish.ABORT, said="is being aborted")
    return replace(migration, said="cancel asked for, but this Nova does not survive an abort: it runs to its end")


def _gone(migration: Migration, event: Event, _now: float) -> Migration:
    """There is nothing left to move or to restore; an arrival stays one. What Nova left behind is said."""
    state = State.ARRIVED if migration.state is State.ARRIVED else State.FAILED
    why = migration.said if migration.state in (State.FAILED, State.ABORTED) else "the server was deleted"
    why = f"{why}; {event.text}" if event.alarm else why
    kept = State.ABORTED if migration.state is State.ABORTED else state
    return replace(migration, state=kept, gone=True, restored=True, said=why)


def _nova(migration: Migration, event: Event, now: float) -> Migration:
    """What Nova says of an order. The record's status alone proves neither arrival nor, with the server on the target, failure."""
    there = event.host == migration.target
    if event.status in NOT_MOVED and not there:
        return _ended_early(migration, event.status)
    if not event.status and not there:
        return _unknown_to_nova(migration, event, now)
    if there and event.sound and event.status in NOT_MOVED | {"completed", ""}:
        return _arrived(replace(migration, moved=True, nova_id=event.nova_id or migration.nova_id))
    if event.status == "completed" and event.host and not there:
        return _elsewhere(migration, event, now)
    return _in_progress(migration, event)


def _elsewhere(migration: Migration, event: Event, now: float) -> Migration:
    """Completed, yet not on the target: an answer read while it changed, or somebody moved it on. Believed once the limit is over."""
    if now - (migration.ordered_at or now) > migration.limit_s:
        return _not_moved(migration, State.FAILED, f"Nova completed it, but the server is on {event.host}: somebody else moved it")
    return _in_progress(migration, event)


def _ended_early(migration: Migration, status: str) -> Migration:
    if migration.wish is Wish.ABORT:
        return _not_moved(migration, State.ABORTED, f"aborted; Nova calls it {status}")
    return _not_moved(migration, State.FAILED, f"Nova ended it: {status}")


def _unknown_to_nova(migration: Migration, event: Event, now: float) -> Migration:
    """Nova has no such migration and does not show the server on the target: believed once the order cannot be on its way any more."""
    waited = now - (migration.ordered_at or now)
    if event.host and waited >= ORDER_GRACE_S:
        return _not_moved(migration, State.FAILED, f"Nova knows of no such migration, and the server is on {event.host}")
    return migration


def _in_progress(migration: Migration, event: Event) -> Migration:
    said = migration.said if migration.state is State.RUNNING else f"runs ({event.status})"
    return replace(migration, state=State.RUNNING, nova_id=event.nova_id or migration.nova_id, said=said)


def _agent(migration: Migration, event: Event, _now: float) -> Migration:
    """The target's agent sees it running, and saw it after the order; any other host's report says nothing."""
    since = migration.ordered_at
    fresh = since is not None and event.at >= since
    if event.host != migration.target or not fresh:
        return migration
    return _arrived(replace(migration, reported=True), event.text)


def _arrived(migration: Migration, word: str = "") -> Migration:
    """``word``: what stands for the agent's, where it has none."""
    if migration.moved and migration.reported:
        return replace(migration, state=State.ARRIVED, said=word or f"Nova and the agent of {migration.target} both say so")
    if migration.moved:
        said = f"Nova says that it is on {migration.target}; the agent there does not report it yet"
        return replace(migration, state=State.RUNNING, said=said)
    return migration


def _time(migration: Migration, _event: Event, now: float) -> Migration:
    """A running one past its limit: force, then abort after as long again; where neither is allowed it goes on and says so.

    One that Nova calls completed only waits for the agent's word.
    """
    ran = now - (migration.ordered_at or now)
    if ran <= migration.limit_s or migration.wish is Wish.ABORT or migration.moved:
        return migration
    if migration.may_force and ran <= 2 * migration.limit_s:
        return replace(migration, wish=Wish.FORCE, said=f"is completed by force: longer than {migration.limit_s:.0f} s")
    if migration.may_abort:
        return replace(migration, wish=Wish.ABORT, said=f"is being aborted: longer than {migration.limit_s:.0f} s")
    return replace(migration, said=f"longer than {migration.limit_s:.0f} s, and this Nova does not survive an abort: still watched")


def _stay(migration: Migration, _event: Event, _now: float) -> Migration:
    return migration


def _freed(migration: Migration, _event: Event, _now: float) -> Migration:
    return replace(migration, room=Room.FREED)


def _late(migration: Migration, _event: Event, _now: float) -> Migration:
    """A reservation that came into being although nobody wants it any more: it is owed again."""
    return replace(migration, room=Room.HELD)


def _restored(migration: Migration, event: Event, _now: float) -> Migration:
    said = f"{migration.said}; {event.text}" if event.alarm and event.text else migration.said
    return replace(migration, restored=True, said=said)


def _ended(migration: Migration) -> Migration:
    if migration.room.owed or not migration.restored:
        return migration
    if migration.state is State.ARRIVED:
        return replace(migration, state=State.SETTLED)
    if migration.state in (State.FAILED, State.ABORTED):
        return replace(migration, state=State.COMPENSATED)
    return migration


def _due(migration: Migration, entered: bool) -> list[Do]:
    """What is outstanding. Everything but the order may be asked for again; so a tick asks again for all that is not done."""
    if migration.state is State.ORDERED and entered:
        return [Do.ORDER]
    if migration.state is State.QUEUED:
        return [Do.RESERVE] if migration.room is Room.ASKED else []
    if migration.state in (State.ORDERED, State.RUNNING):
        return _while_under_way(migration)
    return _afterwards(migration)


def _while_under_way(migration: Migration) -> list[Do]:
    """An abort or a force is for a running one: Nova refuses both before."""
    asked = {Wish.FORCE: [Do.FORCE], Wish.ABORT: [Do.ABORT], Wish.NONE: []}[migration.wish]
    return [*(asked if migration.state is State.RUNNING else []), Do.WATCH]


def _afterwards(migration: Migration) -> list[Do]:
    if migration.state is State.RESERVED:
        return []
    due = [Do.RELEASE] if migration.room.owed else []
    if migration.state.over or migration.restored:
        return due
    return [*due, Do.REAPPLY if migration.state is State.ARRIVED else Do.COMPENSATE]


def _instruct(migration: Migration, do: Do) -> Instruction:
    return Instruction(do=do, migration=migration.id, server=migration.server, why=migration.said or migration.reason)


def _rows(states: Iterable[State], handlers: Mapping[Happened, Handler]) -> dict[tuple[State, Happened], Handler]:
    return {(state, kind): handler for state in states for kind, handler in handlers.items()}


_H = Happened
TABLE: Mapping[tuple[State, Happened], Handler] = MappingProxyType(
    {
        **_rows([State.QUEUED], {_H.START: _reserve, _H.RESERVED: _reserved}),
        **_rows([State.QUEUED, State.RESERVED], {_H.REFUSED: _refused, _H.CANCEL: _cancelled, _H.GONE: _gone, _H.TICK: _stay}),
        **_rows([State.RESERVED], {_H.GO: _order, _H.LOST: _lost}),
        **_rows(
            [State.ORDERED, State.RUNNING],
            {_H.NOVA: _nova, _H.AGENT: _agent, _H.CANCEL: _call_off, _H.GONE: _gone},
        ),
        **_rows([State.ORDERED], {_H.REFUSED: _refused, _H.TICK: _stay}),
        **_rows([State.RUNNING], {_H.TICK: _time}),
        **_rows(
            [State.ARRIVED, State.FAILED, State.ABORTED],
            {_H.RESTORED: _restored, _H.RELEASED: _freed, _H.RESERVED: _late, _H.GONE: _gone, _H.TICK: _stay},
        ),
        **_rows([State.SETTLED, State.COMPENSATED], {_H.RELEASED: _freed, _H.RESERVED: _late, _H.TICK: _stay}),
    }
)
"""All that can happen. A pair that is missing changes nothing."""
