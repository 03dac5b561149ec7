"""The course of one reservation: what is asked of Placement when, and that every way ends with nothing of it left there."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide.reserve import TABLE, step
from foreshape_controller.model.reservation import Do, Event, Happened, Place, Reservation, ReservationWish, Slot, State
from long_support import LONG

pytestmark = pytest.mark.unit

EXAMPLES = max(200, LONG // 3)
WISH = ReservationWish(host="hv2", resources={"VCPU": 2}, owner="operator:ann", reason="a test", until=100.0)
ONE = Reservation(id="r1", wish=WISH, slots=(Slot(consumer="a"),), created=0.0, changed=0.0)
THREE = replace(ONE, slots=tuple(Slot(consumer=c) for c in "abc"))
DUE, TICK, RELEASE, EXPIRE, LOSE, HAND, BACK = (
    Event(kind=Happened(k)) for k in ("due", "tick", "release", "expire", "lose", "hand", "back")
)


def put(consumer: str = "a") -> Event:
    return Event(kind=Happened.PUT, consumer=consumer)


def refused(consumer: str = "a") -> Event:
    return Event(kind=Happened.REFUSED, consumer=consumer, text="full")


def missing(consumer: str = "a") -> Event:
    return Event(kind=Happened.MISSING, consumer=consumer)


def freed(consumer: str = "a") -> Event:
    return Event(kind=Happened.FREED, consumer=consumer)


def run(*events: Event, of: Reservation = ONE) -> tuple[Reservation, list[tuple[Do, str]]]:
    """The reservation after the events, and what the last of them asked for."""
    asked: list[tuple[Do, str]] = []
    for at, event in enumerate(events):
        of, todo = step(of, event, float(at))
        asked = [(i.do, i.consumer) for i in todo]
    return of, asked


def test_the_way_of_one_that_is_handed_over():
    events = (DUE, put(), HAND, freed(), RELEASE)
    seen = [run(*events[:n]) for n in range(1, 6)]
    assert [(r.state, asked) for r, asked in seen] == [
        (State.PLANNED, [(Do.PUT, "a")]),
        (State.HELD, []),
        (State.HANDED_OVER, [(Do.DELETE, "a")]),
        (State.HANDED_OVER, []),
        (State.RELEASED, []),
    ]


@pytest.mark.parametrize(("event", "end"), [(RELEASE, State.RELEASED), (EXPIRE, State.EXPIRED), (LOSE, State.LOST)])
def test_an_end_is_reached_only_when_its_room_is_known_to_be_free(event, end):
    ending, asked = run(DUE, put(), event)
    assert (ending.state, asked) == (State.HELD, [(Do.DELETE, "a")])
    assert run(TICK, of=ending)[1] == [(Do.DELETE, "a")]
    assert run(freed(), of=ending)[0].state is end


def test_what_was_never_asked_for_ends_at_once():
    assert run(RELEASE)[0].state is State.RELEASED
    assert run(EXPIRE)[0].state is State.EXPIRED


def test_one_slot_refused_and_the_others_are_freed_and_asked_for_again_later():
    after, asked = run(DUE, put("a"), refused("b"), of=THREE)
    assert after.state is State.PLANNED
    assert run(DUE, of=after) == (after, [])  # not while something of it is left
    assert run(TICK, of=after)[1] == [(Do.DELETE, "a"), (Do.DELETE, "c")]
    again, asked = run(freed("a"), freed("c"), DUE, of=after)
    assert [c for _, c in asked] == ["a", "b", "c"]
    assert "asks for room" in again.said


def test_all_refused_in_one_step_leaves_nothing_to_free():
    after, asked = run(DUE, refused(""), of=THREE)
    assert not after.owed
    assert asked == []
    assert after.said == "full"


def test_a_lost_slot_is_held_again_and_is_lost_without_room():
    again, asked = run(DUE, put(), missing())
    assert (again.state, asked) == (State.HELD, [(Do.PUT, "a")])
    assert run(put(), of=again)[0].held == 1
    assert run(refused(), of=again)[0].state is State.LOST


def test_of_several_slots_those_that_are_left_stay_and_the_lost_one_is_tried_again():
    held, _ = run(DUE, put(""), of=THREE)
    fewer, _ = run(missing("b"), refused("b"), of=held)
    assert (fewer.state, fewer.held) == (State.HELD, 2)
    assert "1 of 3 slots lost" in fewer.said
    assert run(missing("b"), of=fewer)[1] == [(Do.PUT, "b")]
    assert run(missing("b"), put("b"), of=fewer)[0].held == 3


def test_an_order_that_was_not_taken_has_its_room_back():
    back, asked = run(DUE, put(), HAND, freed(), BACK)
    assert (back.state, asked) == (State.HELD, [(Do.PUT, "a")])
    assert run(refused(), of=back)[0].state is State.LOST


def test_one_that_is_ending_is_neither_handed_over_nor_brought_back():
    ending, _ = run(DUE, put(), RELEASE)
    assert run(HAND, of=ending) == (ending, [])
    gone, _ = run(DUE, put(), HAND, RELEASE)
    assert run(BACK, of=gone) == (gone, [])


def test_the_first_reason_of_an_end_counts():
    ending, _ = run(DUE, put(), EXPIRE)
    assert run(RELEASE, freed(), of=ending)[0].state is State.EXPIRED


def test_a_handed_over_one_whose_time_is_over_was_released():
    assert run(DUE, put(), HAND, freed(), EXPIRE)[0].state is State.RELEASED


def test_nothing_happens_to_one_that_is_over():
    assert not [state for state, _ in TABLE if state.over]


EVENTS = st.builds(
    Event,
    kind=st.sampled_from(list(Happened)),
    consumer=st.sampled_from(["", "a", "b", "c"]),
)


@settings(max_examples=EXAMPLES)
@given(st.lists(EVENTS, max_size=25))
def test_after_any_events_an_end_holds_nothing_and_a_release_leads_there(events):
    reservation = THREE
    for event in events:
        reservation, _ = step(reservation, event, 1.0)
        assert not (reservation.state.over and reservation.owed)
        assert reservation.state is not State.HELD or reservation.owed or reservation.ending
        assert reservation.state is not State.LOST or any(e.kind in (Happened.LOSE, Happened.REFUSED) for e in events)
    reservation, _ = step(reservation, RELEASE, 2.0)
    for slot in reservation.slots:
        reservation, _ = step(reservation, freed(slot.consumer), 3.0)
    assert reservation.state.over


@dataclass
class _World:
    """Placement with room for so many slots; the answer to a write may get lost, and a process may die before or after each."""

    room: int = 3
    there: set[str] = field(default_factory=set)

    def do(self, instruction, arrives: bool) -> Event | None:
        """What is known afterwards; None: nothing."""
        kind, consumer = Happened.FREED, instruction.consumer
        if instruction.do is Do.DELETE:
            self.there.discard(consumer)
        elif consumer in self.there or len(self.there) < self.room:
            self.there.add(consumer)
            kind = Happened.PUT
        else:
            kind = Happened.REFUSED
        return Event(kind=kind, consumer=consumer) if arrives else None


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_whoever_dies_after_any_write_is_continued_and_journal_and_placement_agree_in_the_end(data):
    """Kept in the store: the reservation before its instructions. Lost by a death: answers, and instructions not carried out."""
    world, kept = _World(room=data.draw(st.integers(0, 3))), THREE
    for event in data.draw(st.lists(st.sampled_from([DUE, RELEASE, EXPIRE, HAND, BACK, TICK, missing("b"), LOSE]), max_size=8)):
        kept, todo = step(kept, event, 1.0)
        for instruction in todo:
            if data.draw(st.booleans(), label="dies before"):
                break
            place = next(s.place for s in kept.slots if s.consumer == instruction.consumer)
            if place is not {Do.PUT: Place.ASKED, Do.DELETE: Place.FREEING}[instruction.do]:
                continue
            if (known := world.do(instruction, data.draw(st.booleans(), label="answer arrives"))) is not None:
                kept, _ = step(kept, known, 1.0)
    for _ in range(4):
        kept, todo = step(kept, TICK, 2.0)
        for instruction in todo:
            known = world.do(instruction, True)
            kept, _ = step(kept, known, 2.0)
    assert {s.consumer for s in kept.slots if s.place is Place.HELD} == world.there
    assert all(s.place in (Place.HELD, Place.NONE) for s in kept.slots)
