"""Others want the same room: thieves that boot all the time, a second hand-over to the same host, and moves that forecasts announce."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from emulated_problem import Problem
from foreshape_controller.errors import CloudError, NoRoom, Permanent
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.model.cloud import LOCKED_OUT
from foreshape_controller.model.moving import Goal, Proposal
from foreshape_controller.model.reservation import State
from foreshape_wire.order import Mode
from reserve_support import HOSTS, World, until, world

pytestmark = pytest.mark.functional

ROUNDS = 20
LASTS_S = 1800.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


# -- thieves


class Thief:
    """Boots servers of 2 VCPU on node02 without a pause, through the scheduler, as fast as it answers."""

    def __init__(self, here: World) -> None:
        self.here, self.stolen, self.tried, self._over = here, 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self._over.is_set():
            self.tried += 1
            try:
                self.here.emulator.boot("node02", vcpus=2, ram=64)
                self.stolen += 1
            except Problem:
                time.sleep(0.001)

    def __enter__(self) -> "Thief":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)


def contest(here: World, *, force: bool) -> tuple[int, Thief]:
    """Hand-overs lost to the thief, on a host that is full but for what we hold for 20 servers that come one by one."""
    here.emulator.nova.migration_s = 0.0
    servers = [here.emulator.boot("node01", vcpus=2, ram=64) for _ in range(ROUNDS)]
    held = [here.hold(resources={"VCPU": 2, "MEMORY_MB": 64}) for _ in servers]
    here.fill("node02")
    lost = 0
    with Thief(here) as thief:
        for server, mine in zip(servers, held, strict=True):
            try:
                here.reservations.hand_over(
                    mine.id,
                    lambda s=server: here.cloud.nova.live_migrate(s, "node02", force=force),  # type: ignore[misc]
                    here.at,
                    force=force,
                )
            except NoRoom:
                lost += 1
            here.reservations.release(mine.id, "over", here.at)
    return lost, thief


def test_behind_the_lock_no_room_is_lost_to_others(here: World) -> None:
    lost, thief = contest(here, force=True)
    assert (lost, thief.stolen) == (0, 0)
    assert thief.tried > ROUNDS
    assert not here.locked()
    assert here.ours() == {}


def test_without_the_lock_others_are_faster_and_what_they_took_is_told(here: World) -> None:
    lost, thief = contest(here, force=False)
    assert lost == thief.stolen > 0
    assert here.ours() == {}


def test_two_hand_overs_to_one_host_share_its_lock(here: World) -> None:
    first, second, both = here.hold(), here.hold(), threading.Barrier(2, timeout=5)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(here.reservations.hand_over, r.id, both.wait, here.at, force=True) for r in (first, second)]
        for call in calls:
            call.result(10)
    assert not here.locked()
    assert here.asked("placement PUT /resource_providers/") == 2
    told = [w.what for w in here.store.reservations.writes() if w.subject == LOCKED_OUT]
    assert told == ["unlock", "lock"]


def test_nobody_is_told_to_come_to_a_host_that_was_disabled_since_the_cloud_was_read(here: World) -> None:
    held, ordered = here.hold(), []
    service = here.emulator.nova.hosts["node02"].service
    here.cloud.nova.disable(service, "its disk is broken")
    with pytest.raises(Permanent, match="disabled in Nova meanwhile"):
        here.reservations.hand_over(held.id, lambda: ordered.append(1), here.at, force=True)
    assert not ordered
    assert here.reservations.find(held.id).state is State.HELD
    assert here.store.reservations.locks() == {}
    assert here.locked(), "that trait is Nova's"


def test_an_audit_in_the_middle_of_a_hand_over_leaves_it_alone(here: World) -> None:
    held = here.hold()

    def order() -> None:
        here.reservations.audit(here.at)
        assert here.locked()

    here.reservations.hand_over(held.id, order, here.at, force=True)
    assert here.reservations.find(held.id).state is State.HANDED_OVER
    assert here.ours() == {}


def test_a_reading_in_the_middle_of_a_hand_over_does_not_show_the_host_as_closed(here: World) -> None:
    held, seen = here.hold(), []

    def order() -> None:
        here.look()
        seen.append(here.work.watch.view())

    here.reservations.hand_over(held.id, order, here.at, force=True)
    assert seen[0].hosts["node02"].schedulable
    here.cloud.placement.add_trait(here.provider("node03"), LOCKED_OUT)
    here.look()
    view = here.work.watch.view()
    assert view is not None
    assert not view.hosts["node03"].schedulable


# -- moves that forecasts announce


def proposal(here: World, server: str, deadline: float, state: str = "open") -> Proposal:
    return Proposal(
        id="mig-1",
        server=server,
        name="web",
        source="node01",
        target="node02",
        goal=Goal.NEED,
        reason="short of CPU at 14:00",
        made=here.at,
        deadline=deadline,
        state=state,
    )


@pytest.fixture
def server(here: World) -> str:
    ident = here.emulator.boot("node01", vcpus=2, ram=2048)
    here.look()
    return ident


def ours_of(here: World) -> list[tuple[str, str]]:
    return [(r.wish.owner, r.state.value) for r in here.store.reservations.open()]


def test_a_proposal_with_a_deadline_has_its_room_held_shortly_before(here: World, server: str) -> None:
    here.store.migrating.proposals.put([proposal(here, server, here.at + 3600)])
    here.work.foreseen.run_once(here.at)
    here.work.foreseen.run_once(here.at)
    assert ours_of(here) == [("need:mig-1", "planned")]
    here.later(3600 - 301)
    assert here.ours() == {}
    here.later(2)
    assert list(here.ours("node02").values()) == [{"VCPU": 2, "MEMORY_MB": 2048}]
    here.later(LASTS_S + 300)
    assert here.ours() == {}
    here.work.foreseen.run_once(here.at)
    assert ours_of(here) == []


def test_a_proposal_too_far_ahead_to_be_held_does_not_stop_the_others(here: World, server: str) -> None:
    far = replace(proposal(here, server, here.at + 400 * 86400.0), id="mig-0")
    here.store.migrating.proposals.put([far, proposal(here, server, here.at + 3600)])
    here.work.foreseen.run_once(here.at)
    assert ours_of(here) == [("need:mig-1", "planned")]


def test_the_migration_takes_over_what_was_held_for_it(here: World, server: str) -> None:
    here.store.migrating.proposals.put([proposal(here, server, here.at)])
    here.work.foreseen.run_once(here.at)
    here.later(1)
    (planned,) = here.store.reservations.open()
    resources = {"VCPU": 2, "MEMORY_MB": 2048}
    taken = here.hold(owner="migration:mig-1", server=server, resources=resources)
    assert (taken.id, taken.wish.owner, len(here.ours())) == (planned.id, "migration:mig-1", 1)
    assert here.hold(owner="migration:mig-1", server=server, resources=resources).id == taken.id


def test_in_advise_what_was_planned_for_a_proposal_is_held_when_its_migration_was_approved(tmp_path: Path) -> None:
    with world(tmp_path, Mode.ADVISE, plan_needs=True) as here:
        server = here.emulator.boot("node01", vcpus=2, ram=2048)
        here.look()
        here.store.migrating.proposals.put([proposal(here, server, here.at)])
        here.work.foreseen.run_once(here.at)
        here.later(1)
        assert (ours_of(here), here.ours()) == ([("need:mig-1", "planned")], {})
        with on_a_persons_word():
            here.hold(owner="migration:mig-1", server=server, resources={"VCPU": 2, "MEMORY_MB": 2048})
        (consumer,) = here.ours()
        here.cloud_loses(consumer)
        here.later(600)
        assert set(here.ours()) == {consumer}


def test_a_proposal_that_is_withdrawn_gives_its_room_back(here: World, server: str) -> None:
    here.store.migrating.proposals.put([proposal(here, server, here.at)])
    here.work.foreseen.run_once(here.at)
    here.later(1)
    here.store.migrating.proposals.put([proposal(here, server, here.at, state="withdrawn")])
    here.work.foreseen.run_once(here.at)
    assert here.ours() == {}


def test_room_that_was_lost_is_planned_for_again_while_the_proposal_stands(here: World, server: str) -> None:
    here.store.migrating.proposals.put([proposal(here, server, here.at + 60)])
    here.work.foreseen.run_once(here.at)
    here.later(1)
    (first,) = here.store.reservations.open()
    here.cloud_loses(first.slots[0].consumer)
    here.fill("node02")
    here.reservations.audit(here.at)
    assert here.reservations.find(first.id).state is State.LOST
    here.work.foreseen.run_once(here.at)
    assert ours_of(here) == [("need:mig-1", "planned")]


def test_a_server_of_a_volume_takes_no_disk(here: World) -> None:
    assert here.hold(resources={"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 0}).wish.resources == {"VCPU": 1, "MEMORY_MB": 64}


# -- everything at once


class Crowd:
    """Many threads on one controller: they hold, hand over and release; one audits; one is an operator who deletes."""

    def __init__(self, here: World) -> None:
        self.here, self.over = here, threading.Event()

    def works(self, number: int) -> None:
        host, chance = HOSTS[number % len(HOSTS)], random.Random(number)
        for turn in range(6):
            with suppress(CloudError):
                self._turn(host, 1 + turn % 3, chance)

    def _turn(self, host: str, count: int, chance: random.Random) -> None:
        here = self.here
        held = here.hold(host=host, count=count, resources={"VCPU": 1, "MEMORY_MB": 64})
        if chance.random() < 0.5:
            here.reservations.hand_over(held.id, lambda: None, here.at, force=True)
        if chance.random() < 0.7:
            here.reservations.release(held.id, "over", here.at)

    def audits(self) -> None:
        while not self.over.wait(0.01):
            self.here.reservations.audit(self.here.at)

    def deletes(self) -> None:
        chance = random.Random(7)
        while not self.over.wait(0.02):
            with self.here.emulator.lock:
                self.here.emulator.placement.consumers.pop(chance.choice([*self.here.ours(), ""]), None)

    def run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            others = [pool.submit(self.audits), pool.submit(self.deletes)]
            work = [pool.submit(self.works, number) for number in range(6)]
            try:
                for one in work:
                    one.result(60)
            finally:
                self.over.set()
            for other in others:
                other.result(60)


def test_many_at_work_at_once_on_a_bad_day_and_journal_and_placement_agree_in_the_end(here: World) -> None:
    for pattern, kind in (("PUT /allocations", "lost"), ("DELETE /allocations", "lost"), ("placement GET", "status"), ("/traits", "storm")):
        here.fails(pattern, kind, times=10)
    Crowd(here).run()
    here.emulator.faults.clear()
    here.later(1)
    until(lambda: here.reservations.audit(here.at).clean, "what came late to be put right")
    wanted = {s.consumer for r in here.reservations.open() if r.wanted for s in r.slots}
    assert set(here.ours()) == wanted
    assert not any(here.locked(h) for h in HOSTS)
    assert here.store.reservations.locks() == {}


def test_a_migration_that_asks_twice_at_once_holds_once(here: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(here.hold, owner="migration:m1", server="vm1") for _ in range(4)]
        assert len({call.result(10).id for call in calls}) == 1
    assert len(here.ours()) == 1
