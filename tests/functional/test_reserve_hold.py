"""Room is held, given back and handed over on an emulated cloud: what is asked of Placement, and what is left there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshape_controller.errors import Conflict, NoRoom, Permanent, Temporary
from foreshape_controller.model.reservation import State
from reserve_support import World, world

pytestmark = pytest.mark.functional


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_what_is_held_is_in_placement_until_it_is_released(here: World) -> None:
    held = here.hold()
    assert held.state is State.HELD
    assert here.ours("node02") == {held.slots[0].consumer: {"VCPU": 4, "MEMORY_MB": 4096}}
    assert here.reservations.release(held.id, "enough", here.at).state is State.RELEASED
    assert here.ours() == {}
    assert here.reservations.release(held.id, "again", here.at).said == "enough"


def test_several_slots_are_held_in_one_request_and_each_under_a_consumer_of_its_own(here: World) -> None:
    held = here.hold(count=7)
    assert held.held == len(here.ours("node02")) == 7
    assert here.asked("POST /allocations") == 1


def test_without_room_nothing_is_held_and_the_error_says_so(here: World) -> None:
    here.fill("node02", leave=9)
    with pytest.raises(NoRoom, match="capacity of VCPU"):
        here.hold(count=3)
    assert here.ours() == {}
    assert here.reservations.open() == ()


def test_the_journal_has_each_write_with_its_reason_and_how_to_undo_it(here: World) -> None:
    held = here.hold(cause="pln-1")
    here.reservations.release(held.id, "enough", here.at)
    told = [(w.what, w.outcome, w.cause) for w in here.store.reservations.writes(held.id)]
    assert told == [("delete", "done", "pln-1"), ("put", "done", "pln-1")]
    assert all(w.reason and w.undo for w in here.store.reservations.writes(held.id))


def test_an_answer_that_is_lost_is_asked_for_again_and_held_once(here: World) -> None:
    here.fails("PUT /allocations", "lost")
    assert here.hold().state is State.HELD
    assert len(here.ours()) == 1


def test_a_hold_without_an_answer_is_found_by_its_owner_and_held_when_asked_again(here: World) -> None:
    here.fails("placement PUT /allocations", "lost", times=9)
    with pytest.raises(Temporary) as unknown:
        here.hold(owner="migration:m1")
    assert unknown.value.maybe_done
    here.emulator.faults.clear()
    (asked,) = here.reservations.of_owner("migration:m1")
    assert here.hold(owner="migration:m1").id == asked.id
    assert len(here.ours()) == 1


def test_a_hand_over_locks_the_target_frees_the_room_orders_and_unlocks(here: World) -> None:
    held, seen = here.hold(), []
    here.reservations.hand_over(held.id, lambda: seen.append((here.locked(), here.ours())), here.at, force=True)
    assert seen == [(True, {})]
    assert not here.locked()
    assert here.reservations.find(held.id).state is State.HANDED_OVER
    assert here.reservations.release(held.id, "arrived", here.at).state is State.RELEASED


@pytest.mark.parametrize("error", [NoRoom("full"), Conflict("it moves"), Permanent("no"), Temporary("503")])
def test_an_order_that_surely_was_not_taken_has_its_room_held_again(here: World, error: Exception) -> None:
    held = here.hold()

    def order() -> None:
        raise error

    with pytest.raises(type(error)):
        here.reservations.hand_over(held.id, order, here.at, force=True)
    assert here.reservations.find(held.id).state is State.HELD
    assert len(here.ours("node02")) == 1
    assert not here.locked()


def test_an_order_without_an_answer_counts_as_taken(here: World) -> None:
    held = here.hold()

    def order() -> None:
        raise Temporary("no answer", maybe_done=True)

    with pytest.raises(Temporary):
        here.reservations.hand_over(held.id, order, here.at, force=True)
    assert here.reservations.find(held.id).state is State.HANDED_OVER
    assert here.ours() == {}
    assert not here.locked()


def test_a_disabled_host_keeps_its_trait_and_gets_nothing(here: World) -> None:
    held = here.hold()
    service = here.cloud.nova.find_service("node02")
    here.cloud.nova.disable(service.id, "maintenance")
    here.look()
    with pytest.raises(Permanent, match="maintenance"):
        here.reservations.hand_over(held.id, lambda: None, here.at, force=True)
    assert here.locked()
    assert here.reservations.find(held.id).state is State.HELD


@pytest.mark.parametrize("broken", ["placement DELETE /allocations", "placement PUT /resource_providers"])
def test_what_fails_before_the_order_is_no_unknown_order(here: World, broken: str) -> None:
    held, ordered = here.hold(), list[bool]()
    here.fails(broken, "lost", times=9)
    with pytest.raises(Temporary, match="nothing was ordered") as failed:
        here.reservations.hand_over(held.id, lambda: ordered.append(True), here.at, force=True)
    assert not failed.value.maybe_done
    assert not ordered
    here.emulator.faults.clear()
    here.later(1)
    assert here.reservations.find(held.id).state is State.HELD
    assert len(here.ours()) == 1
    assert not here.locked()


def test_what_a_policy_forbids_stays_asked_for_and_the_error_says_where_to_look(here: World) -> None:
    here.fails("PUT /allocations", status=403, times=9)
    with pytest.raises(Permanent, match="stays asked for: see 'foreshape reservation show rsv-"):
        here.hold()
    here.emulator.faults.clear()
    here.later(30)
    assert len(here.ours()) == 1


def test_reservations_that_placement_keeps_failing_on_are_in_nobodys_way(here: World) -> None:
    stuck = [here.reservations.plan(here.wish(), here.at).slots[0].consumer for _ in range(3)]
    here.fails(f"placement PUT /allocations/({'|'.join(stuck)})", times=999)
    here.at += 1
    held = here.hold(until=here.at + 120)
    here.later(200)
    here.later(1)
    assert here.reservations.find(held.id).state is State.EXPIRED
    here.emulator.faults.clear()
    here.later(1)
    assert set(here.ours()) == set(stuck)
