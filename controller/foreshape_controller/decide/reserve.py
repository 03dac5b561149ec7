"""The course of one reservation: a table from (state, event) to the next state and what is to be written in Placement.

             due              all slots put                hand
    planned ─────▶ planned ─────────────────▶ held ──────────────────▶ handed_over
       ▲           (asked)                    │ ▲ └─ missing: put again     │   │
       └──────────────┘ refused: freed again, │ └──── back: put again ──────┘   │
                        tried while it lasts  │                                 │
       │                                      │ release, expire, lose           │ release, expire
       ▼                                      ▼                                 ▼
    released | expired | lost  ◀── reached only when Placement holds nothing of it any more

What is not in the table changes nothing. Rules that the table alone does not show:

- The caller stores the new reservation before it carries the instructions out. A slot that was ``asked`` for may exist, one that is being
  freed may exist still: whoever dies in between finds that, and the next tick asks for the same again. Both writes may come twice.
- No answer is no event: the slot stays ``asked`` or ``freeing`` until Placement tells.
- What is held is held whole or not at all at first: one slot refused, and all are freed. Later, when slots get lost (an operator's
  ``nova-manage placement audit --delete``), those that can be held again are; it is lost when none is left.
- A reservation that is handed over is deleted before its taker is told to come; if the taker surely was not taken, ``back`` holds it again.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from foreshape_controller.model.reservation import Do, Event, Happened, Instruction, Place, Reservation, Slot, State

Result = tuple[Reservation, tuple[Instruction, ...]]
Handler = Callable[[Reservation, Event, float], Reservation]


def step(reservation: Reservation, event: Event, now: float) -> Result:
    """The reservation after the event, and what is to be written. Store the first before doing the second."""
    handler = TABLE.get((reservation.state, event.kind))
    moved = _ended(handler(reservation, event, now), now) if handler else reservation
    if event.kind is Happened.TICK:
        return moved, _due(moved, moved.slots)
    had = {slot.consumer: slot.place for slot in reservation.slots}
    again = event.kind is Happened.MISSING
    return moved, _due(moved, [s for s in moved.slots if s.place is not had[s.consumer] or (again and s.consumer == event.consumer)])


def _due(reservation: Reservation, slots: Iterable[Slot]) -> tuple[Instruction, ...]:
    what = {Place.ASKED: Do.PUT, Place.FREEING: Do.DELETE}
    why = reservation.said or reservation.wish.reason
    return tuple(Instruction(do=what[s.place], consumer=s.consumer, why=why) for s in slots if s.place in what)


def _ask(reservation: Reservation, _event: Event, _now: float) -> Reservation:
    """Not before what was refused is freed: it would be in its own way."""
    if reservation.owed or reservation.ending is not None:
        return reservation
    return _all(reservation, {Place.NONE: Place.ASKED}, f"asks for room on {reservation.wish.host}")


def _put(reservation: Reservation, event: Event, now: float) -> Reservation:
    moved = _one(reservation, event.consumer, {Place.ASKED: Place.HELD})
    whole = all(slot.place is Place.HELD for slot in moved.slots)
    if not whole or moved is reservation:
        return moved
    return _enter(moved, State.HELD, f"room on {moved.wish.host} is held", now)


def _refused(reservation: Reservation, event: Event, _now: float) -> Reservation:
    """While it is not held yet: all or nothing."""
    moved = _one(reservation, event.consumer, {Place.ASKED: Place.NONE})
    if moved is reservation:
        return reservation
    return _all(moved, _FREE, event.text or f"no room on {moved.wish.host}")


def _not_again(reservation: Reservation, event: Event, _now: float) -> Reservation:
    """A slot that was held once and cannot be again; the others stay."""
    moved = _one(reservation, event.consumer, {Place.ASKED: Place.NONE})
    if moved is reservation:
        return reservation
    left = sum(slot.place is not Place.NONE for slot in moved.slots)
    said = f"{len(moved.slots) - left} of {len(moved.slots)} slots lost: {event.text or 'no room'}"
    return replace(moved, said=said, ending=None if left else State.LOST)


def _missing(reservation: Reservation, event: Event, _now: float) -> Reservation:
    """Held again; also a slot that was given up for lost: there may be room by now."""
    text = event.text or "not in Placement any more"
    again = _one(reservation, event.consumer, {Place.HELD: Place.ASKED, Place.NONE: Place.ASKED})
    return again if again is reservation else replace(again, said=f"held again: {text}")


def _unasked(reservation: Reservation, event: Event, _now: float) -> Reservation:
    """Not there, and not held yet: asked for again by the instruction, nothing else is to be noted."""
    return _one(reservation, event.consumer, {Place.HELD: Place.ASKED})


def _freed(reservation: Reservation, event: Event, _now: float) -> Reservation:
    return _one(reservation, event.consumer, {Place.FREEING: Place.NONE})


def _release(reservation: Reservation, event: Event, _now: float) -> Reservation:
    return _end(reservation, State.RELEASED, event.text or "released")


def _expire(reservation: Reservation, event: Event, _now: float) -> Reservation:
    return _end(reservation, State.EXPIRED, event.text or "its time is over")


def _over_at_last(reservation: Reservation, event: Event, _now: float) -> Reservation:
    """Handed over, and nobody said how it went: what was to be given was given."""
    return _end(reservation, State.RELEASED, event.text or "handed over; its time is over")


def _lose(reservation: Reservation, event: Event, _now: float) -> Reservation:
    return _end(reservation, State.LOST, event.text or f"{reservation.wish.host} is gone")


def _end(reservation: Reservation, state: State, why: str) -> Reservation:
    """The first reason counts."""
    if reservation.ending is not None:
        return reservation
    return replace(_all(reservation, _FREE, why), ending=state)


def _hand(reservation: Reservation, event: Event, now: float) -> Reservation:
    if reservation.ending is not None:
        return reservation
    freed = _all(reservation, _FREE, event.text or "handed over")
    return _enter(freed, State.HANDED_OVER, freed.said, now)


def _back(reservation: Reservation, event: Event, now: float) -> Reservation:
    if reservation.ending is not None:
        return reservation
    again = _all(reservation, {Place.NONE: Place.ASKED, Place.FREEING: Place.ASKED}, f"held again: {event.text or 'not taken'}")
    return _enter(again, State.HELD, again.said, now)


def _stay(reservation: Reservation, _event: Event, _now: float) -> Reservation:
    return reservation


def _enter(reservation: Reservation, state: State, said: str, now: float) -> Reservation:
    changed = reservation.changed if state is reservation.state else now
    return replace(reservation, state=state, said=said, changed=changed)


def _one(reservation: Reservation, consumer: str, change: Mapping[Place, Place]) -> Reservation:
    """With one slot's place changed, or every slot's where none is named; the same object where nothing changes."""
    slots = tuple(replace(s, place=change.get(s.place, s.place)) if consumer in ("", s.consumer) else s for s in reservation.slots)
    return reservation if slots == reservation.slots else replace(reservation, slots=slots)


def _all(reservation: Reservation, change: Mapping[Place, Place], said: str) -> Reservation:
    return replace(reservation, slots=tuple(replace(s, place=change.get(s.place, s.place)) for s in reservation.slots), said=said)


def _ended(reservation: Reservation, now: float) -> Reservation:
    if reservation.ending is None or reservation.owed:
        return reservation
    return replace(reservation, state=reservation.ending, ending=None, changed=now)


def _rows(states: Iterable[State], handlers: Mapping[Happened, Handler]) -> dict[tuple[State, Happened], Handler]:
    return {(state, kind): handler for state in states for kind, handler in handlers.items()}


_FREE = {Place.ASKED: Place.FREEING, Place.HELD: Place.FREEING}
_H = Happened
TABLE: Mapping[tuple[State, Happened], Handler] = MappingProxyType(
    {
        **_rows([State.PLANNED], {_H.DUE: _ask, _H.REFUSED: _refused, _H.MISSING: _unasked}),
        **_rows([State.HELD], {_H.REFUSED: _not_again, _H.MISSING: _missing, _H.HAND: _hand}),
        **_rows([State.PLANNED, State.HELD], {_H.PUT: _put, _H.EXPIRE: _expire, _H.LOSE: _lose}),
        **_rows([State.HANDED_OVER], {_H.BACK: _back, _H.EXPIRE: _over_at_last, _H.LOSE: _over_at_last}),
        **_rows([State.PLANNED, State.HELD, State.HANDED_OVER], {_H.FREED: _freed, _H.RELEASE: _release, _H.TICK: _stay}),
    }
)
"""All that can happen. A pair that is missing changes nothing."""
