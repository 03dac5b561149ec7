"""The journal and Placement are compared: what is missing is held again, what is nobody's goes, whoever died is continued."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_emulator import PROJECT, USER
from foreshape_controller.cloud.call import Service
from foreshape_controller.errors import CloudError, Permanent
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.model.cloud import LOCKED_OUT, reservation_type
from foreshape_controller.model.reservation import State
from foreshape_controller.store.engine import Database
from foreshape_wire.order import Mode
from reserve_support import Killed, World, until, world

pytestmark = pytest.mark.functional

GRACE_S = 600.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, orphan_grace_s=GRACE_S, audit_every_s=300.0) as made:
        yield made


def orphan(here: World, host: str = "node03") -> str:
    """A consumer of ours that no journal knows."""
    consumer = "0f0f0f0f-0000-4000-8000-000000000001"
    held = {here.provider(host): {"VCPU": 1}}
    here.cloud.placement.put_allocation(
        consumer, held, generation=None, type=reservation_type(here.store.controller), project=PROJECT, user=USER
    )
    return consumer


# -- owned, and missing


def test_all_in_order_costs_one_request_for_each_host(here: World) -> None:
    here.hold(count=5)
    here.emulator.requests.clear()
    found = here.reservations.audit(here.at)
    assert (found.slots, found.in_order, found.clean) == (5, 5, True)
    assert [r.rsplit(" ", 2)[1].rsplit("/", 1)[1] for r in here.emulator.requests] == ["allocations", "usages"]


def test_an_operators_audit_delete_is_made_good(here: World) -> None:
    held = here.hold(count=3)
    here.emulator.nova.placement.consumers.clear()
    found = here.reservations.audit(here.at)
    assert (found.held_again, found.lost) == (3, 0)
    assert set(here.ours("node02")) == {s.consumer for s in held.slots}
    assert here.reservations.audit(here.at).clean


def test_what_was_deleted_and_taken_by_others_is_lost_loudly(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    held = here.hold()
    here.emulator.placement.consumers.clear()
    here.fill("node02", leave=2)
    assert here.reservations.audit(here.at).lost == 1
    assert here.reservations.find(held.id).state is State.LOST
    assert "reservation lost" in capsys.readouterr().out
    assert here.ours() == {}


def test_of_several_the_rest_stays_and_the_lost_one_comes_back_with_room(here: World) -> None:
    held = here.hold(count=3)
    del here.emulator.placement.consumers[held.slots[1].consumer]
    here.fill("node02")
    here.reservations.audit(here.at)
    assert (here.reservations.find(held.id).state, len(here.ours())) == (State.HELD, 2)
    here.emulator.nova.delete(next(iter(here.emulator.nova.servers)))
    here.reservations.audit(here.at)
    assert len(here.ours()) == 3


def test_wrong_amounts_and_wrong_hosts_are_put_right(here: World) -> None:
    held = here.hold(count=2)
    first, second = (here.emulator.placement.consumers[s.consumer] for s in held.slots)
    first.held = {here.provider("node02"): {"VCPU": 1}}
    second.held = {here.provider("node03"): {"VCPU": 4, "MEMORY_MB": 4096}}
    assert here.reservations.audit(here.at).held_again == 2
    assert list(here.ours("node02").values()) == [{"VCPU": 4, "MEMORY_MB": 4096}] * 2
    assert here.ours("node03") == {}


def test_wrong_amounts_without_room_for_the_right_ones_leave_nothing_behind(here: World) -> None:
    held = here.hold()
    here.emulator.placement.consumers[held.slots[0].consumer].held = {here.provider("node02"): {"VCPU": 1}}
    here.fill("node02")
    here.reservations.audit(here.at)
    assert here.reservations.find(held.id).state is State.LOST
    assert here.ours() == {}


def test_a_host_that_vanished_from_nova_loses_what_was_held_there(here: World) -> None:
    held, other = here.hold(count=2), here.hold(host="node01")
    del here.emulator.nova.hosts["node02"]
    here.later(300)
    assert here.reservations.find(held.id).state is State.LOST
    assert set(here.ours()) == {other.slots[0].consumer}


def test_a_provider_that_is_gone_too_is_no_obstacle(here: World) -> None:
    held = here.hold()
    provider = here.provider("node02")
    del here.emulator.nova.hosts["node02"]
    here.emulator.placement.consumers.clear()
    del here.emulator.placement.providers[provider]
    here.later(300)
    assert here.reservations.find(held.id).state is State.LOST


def test_one_host_without_an_answer_does_not_stop_the_others(here: World) -> None:
    lost, held = here.hold(), here.hold(host="node01")
    here.emulator.placement.consumers.clear()
    here.fails(f"{here.provider('node02')}/allocations", status=500, times=99)
    found = here.reservations.audit(here.at)
    assert (found.held_again, len(found.problems)) == (1, 1)
    assert set(here.ours()) == {held.slots[0].consumer}
    here.emulator.faults.clear()
    here.reservations.audit(here.at)
    assert set(here.ours()) == {lost.slots[0].consumer, held.slots[0].consumer}


def test_stopped_it_tells_what_is_missing_and_takes_nothing(here: World) -> None:
    held = here.hold()
    here.emulator.placement.consumers.clear()
    here.store.modes.stop("cloud", "a test", here.at)
    here.reservations.audit(here.at)
    here.later(400)
    assert here.ours() == {}
    assert here.reservations.find(held.id).state is State.HELD
    here.store.modes.resume("cloud", "a test", here.at)
    here.later(400)
    assert len(here.ours()) == 1


# -- ours, and nobody's


def test_what_nobody_owns_is_deleted_after_its_grace_and_not_before(here: World) -> None:
    held, stray = here.hold(), orphan(here)
    first = here.reservations.audit(here.at)
    assert (first.orphans, first.deleted) == (1, 0)
    here.later(GRACE_S - 1)
    assert stray in here.ours()
    here.later(301)
    assert set(here.ours()) == {held.slots[0].consumer}
    assert here.store.reservations.writes()[0].subject == stray


def test_what_nobody_owns_is_found_beside_what_is_wrong_and_what_is_missing(here: World) -> None:
    held = here.hold(host="node03", count=2)
    here.cloud_loses(held.slots[0].consumer)
    here.emulator.placement.consumers[held.slots[1].consumer].held = {here.provider("node03"): {"VCPU": 1}}
    orphan(here)
    found = here.reservations.audit(here.at)
    assert (found.held_again, found.orphans) == (2, 1)


def test_servers_and_reservations_of_other_projects_are_left_alone(here: World) -> None:
    server = here.emulator.boot("node03")
    theirs = "0f0f0f0f-0000-4000-8000-000000000002"
    held = {here.provider("node03"): {"VCPU": 1}}
    here.cloud.placement.put_allocation(
        theirs, held, generation=None, type=reservation_type(here.store.controller), project="another", user=USER
    )
    orphan(here)
    here.reservations.audit(here.at)
    here.later(GRACE_S + 1)
    assert set(here.ours()) == {theirs}
    assert server in here.emulator.placement.consumers


def test_in_advise_nothing_of_placement_is_changed(tmp_path: Path) -> None:
    with world(tmp_path, Mode.ADVISE) as here:
        stray = orphan(here)
        here.reservations.audit(here.at)
        here.later(10_000)
        assert set(here.ours()) == {stray}
        assert not here.asked("DELETE")


def test_a_clock_that_jumps_back_ends_nothing_and_deletes_nothing(here: World) -> None:
    held, stray = here.hold(), orphan(here)
    here.reservations.audit(here.at)
    here.later(-7200)
    assert set(here.ours()) == {stray, held.slots[0].consumer}
    here.later(GRACE_S + 1)
    assert set(here.ours()) == {held.slots[0].consumer}


# -- time


def test_what_expired_while_we_were_down_is_given_back_at_start(here: World) -> None:
    held = here.hold(until=here.at + 60)
    here.at += 3600
    here.restart()
    here.reservations.run_once(here.at)
    assert here.reservations.find(held.id).state is State.EXPIRED
    assert here.ours() == {}


def test_without_an_answer_it_expires_as_soon_as_there_is_one(here: World) -> None:
    held = here.hold(until=here.at + 60)
    here.fails("DELETE /allocations", status=503, times=99)
    here.later(61)
    assert here.reservations.find(held.id).state is State.HELD
    here.emulator.faults.clear()
    here.later(30)
    assert here.reservations.find(held.id).state is State.EXPIRED
    assert here.ours() == {}


def test_a_planned_one_is_held_from_its_lead_on_and_tried_again_while_it_lasts(here: World) -> None:
    planned = here.reservations.plan(here.wish(starts=here.at + 1000), here.at)
    here.fill("node02")
    here.later(600)
    assert not here.asked("PUT /allocations")
    here.later(101)
    assert here.reservations.find(planned.id).state is State.PLANNED
    assert "capacity" in here.reservations.find(planned.id).said
    here.emulator.nova.delete(next(iter(here.emulator.nova.servers)))
    here.later(60)
    assert here.reservations.find(planned.id).state is State.HELD


def test_in_advise_room_for_what_a_person_approved_is_held_and_held_again_after_a_restart(tmp_path: Path) -> None:
    with world(tmp_path, Mode.ADVISE) as here:
        with pytest.raises(Permanent, match="advise, not act"):
            here.hold(owner="migration:mig-1")
        with on_a_persons_word():
            here.hold(owner="migration:mig-2")
        (consumer,) = here.ours()
        here.cloud_loses(consumer)
        here.restart()
        here.later(600)
        assert set(here.ours()) == {consumer}


def test_in_advise_a_planned_one_says_what_would_be_done(tmp_path: Path) -> None:
    with world(tmp_path, Mode.ADVISE) as here:
        planned = here.reservations.plan(here.wish(), here.at)
        here.later(1)
        assert here.reservations.find(planned.id).said == (
            "planned: would hold 4096 MEMORY_MB, 4 VCPU on node02 now; nothing is taken on node02: the mode there is advise, not act"
            f"; to hold it all the same: foreshape reservation approve {planned.id}"
        )
        assert here.ours() == {}


# -- whoever dies


class Death:
    """The process dies before or after that request to a service which changes something; after it nobody does anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool) -> None:
        self.count, self.dead = 0, False
        ask, write = Service.ask, Database.write

        def asking(service: Service, method: str, path: str, **how: object) -> object:
            self.count += method != "GET"
            self.live()
            mine = method != "GET" and self.count == number
            self.dead = mine and before
            self.live()
            answer = ask(service, method, path, **how)  # type: ignore[arg-type]
            self.dead = mine
            self.live()
            return answer

        def writing(database: Database) -> object:
            self.live()
            return write(database)

        monkeypatch.setattr(Service, "ask", asking)
        monkeypatch.setattr(Database, "write", writing)

    def live(self) -> None:
        if self.dead:
            raise Killed


def a_life(here: World, server: str, ordered: list[str]) -> None:
    """Two slots held (1), one lost and held again (2), handed over: lock (3), two deletions (4, 5), order (6), unlock (7)."""
    held = here.hold(owner="migration:m1", count=2)
    here.cloud_loses(held.slots[0].consumer)
    here.reservations.audit(here.at)
    ordered.append(held.id)
    here.reservations.hand_over(held.id, lambda: here.cloud.nova.live_migrate(server, "node02", force=True), here.at, force=True)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, 8))
def test_whoever_dies_at_any_write_leaves_nothing_orphaned_and_no_lock(
    here: World, monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool
) -> None:
    server, ordered = here.emulator.boot("node01"), list[str]()
    with monkeypatch.context() as patched:
        death = Death(patched, number, before=before)
        with pytest.raises(Killed):
            a_life(here, server, ordered)
        assert death.count == number
    here.restart()
    here.later(1)
    found = here.reservations.audit(here.at)
    assert not here.locked()
    assert found.problems == ()
    owned = {s.consumer for r in here.reservations.open() for s in r.slots if r.held}
    assert set(here.ours()) == owned
    if ordered and number > 3:
        assert here.reservations.find(ordered[0]).state is State.HANDED_OVER
        assert owned == set()
    for left in here.reservations.of_owner("migration:m1"):
        here.reservations.release(left.id, "over", here.at)
    assert here.ours() == {}


def left_locked(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller dies in a hand-over, and another one starts."""
    held = here.hold()

    def dies() -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(here.reservations.lockout), "_leave", lambda *_: None)
        with pytest.raises(Killed):
            here.reservations.hand_over(held.id, dies, here.at, force=True)
    here.restart()


def test_a_lock_left_behind_is_lifted_at_start(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left_locked(here, monkeypatch)
    assert here.locked()
    here.reservations.run_once(here.at)
    assert not here.locked()
    assert here.store.reservations.locks() == {}


def test_a_host_that_was_disabled_since_stays_locked_until_it_is_enabled(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left_locked(here, monkeypatch)
    service = here.cloud.nova.find_service("node02")
    here.cloud.nova.disable(service.id, "maintenance")
    assert here.reservations.audit(here.at).lifted == 0
    assert here.locked()
    here.cloud.nova.enable(service.id)
    assert here.locked()
    here.later(30)
    assert not here.locked()
    assert here.store.reservations.locks() == {}


def test_a_trait_that_an_operator_set_is_never_lifted(here: World) -> None:
    here.cloud.placement.add_trait(here.provider(), LOCKED_OUT)
    held = here.hold()
    here.reservations.hand_over(held.id, lambda: None, here.at, force=True)
    here.restart()
    here.reservations.audit(here.at)
    assert here.locked()


def test_a_lock_that_cannot_be_lifted_now_is_lifted_later(here: World) -> None:
    held = here.hold()

    def order() -> None:
        here.fails("PUT /resource_providers/.*/traits", status=503, times=99)

    here.reservations.hand_over(held.id, order, here.at, force=True)
    assert here.locked()
    here.emulator.faults.clear()
    here.later(30)
    assert not here.locked()


# -- a cloud that is not well


PATTERNS = ["/allocations", "/traits", "placement (PUT|POST|DELETE)"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "storm", "times": 3},
        {"kind": "drop"},
        {"kind": "lost"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 409},
    ],
    ids=lambda f: f"{f['kind']}{f.get('status', '')}",
)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_fault_of_placement_leaves_journal_and_placement_agreed(here: World, fault: dict[str, object], pattern: str) -> None:
    agrees_after(here, pattern, **fault)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_answer_of_placement_that_comes_too_late_leaves_them_agreed(tmp_path: Path, pattern: str) -> None:
    with world(tmp_path, timeout_s=0.3, orphan_grace_s=GRACE_S, audit_every_s=300.0) as hasty:
        agrees_after(hasty, pattern, kind="slow", seconds=0.5)


def agrees_after(here: World, pattern: str, **fault: Any) -> None:
    here.fails(pattern, **{"times": 2, **fault})
    try:
        held = here.hold(count=2)
        here.reservations.hand_over(held.id, lambda: None, here.at, force=True)
        here.reservations.release(held.id, "over", here.at)
    except CloudError:
        pass
    here.emulator.faults.clear()
    here.later(301)

    def agreed() -> bool:
        """A slow write may still land after one clean audit: the next audit is to put it right."""
        clean = here.reservations.audit(here.at).clean
        owned = {s.consumer for r in here.reservations.open() for s in r.slots}
        return clean and set(here.ours()) == owned and not here.locked()

    until(agreed, "journal and Placement to agree")


def test_a_write_that_comes_after_the_end_is_deleted_at_once(here: World) -> None:
    held = here.hold()
    late = dict(here.emulator.placement.consumers)
    here.reservations.release(held.id, "over", here.at)
    here.emulator.placement.consumers.update(late)
    assert here.reservations.audit(here.at).deleted == 1
    assert here.ours() == {}


@pytest.mark.parametrize("broken", ["endpoint", "keystone"])
def test_without_placement_or_keystone_nothing_is_forgotten(here: World, broken: str) -> None:
    held = here.hold(until=here.at + 60)
    if broken == "endpoint":
        here.emulator.without.add("placement")
        here.emulator.expire_tokens()
    else:
        here.emulator.expire_tokens()
        here.fails("identity POST /auth/tokens", status=401, times=999)
    found = here.reservations.audit(here.at)
    assert found.problems
    assert not found.clean
    here.reservations.run_once(here.at + 61)
    here.emulator.without.clear()
    here.emulator.faults.clear()
    here.emulator.expire_tokens()
    here.restart()
    here.later(61)
    assert here.reservations.find(held.id).state is State.EXPIRED
    assert here.ours() == {}
