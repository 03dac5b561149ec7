"""Reservations on a real Keystone, Placement and Nova: what holds, what an operator's audit does, and that a hand-over loses no room."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from foreshape_cloudbed import Cloud

from cloud_bed import CloudHands
from foreshape_controller import assemble
from foreshape_controller.errors import CloudError, NoRoom
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.model.cloud import LOCKED_OUT, CloudHost, reservation_type
from foreshape_controller.model.reservation import Reservation, ReservationWish, State
from foreshape_controller.store import Store
from foreshape_wire.order import Mode
from store_support import settings

pytestmark = pytest.mark.integration

ROUNDS = 20 if os.environ.get("LONG") else 6
PATIENCE_S = 60.0
PAUSE_S = 2.0
"""Of a thief between two boots: Nova works them off slower than they come in."""
ONE = {"VCPU": 2, "MEMORY_MB": 256}


class Controller:
    """Reservations of a controller in mode act, on the bed; ``restart`` is what is left after a kill."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.bed, self.hands, self.folder = cloud, CloudHands(cloud), folder
        self.source, self.target, *_ = cloud.hosts
        self.start()
        self.store.modes.set("cloud", Mode.ACT, "a test", time.time())

    def start(self) -> None:
        base = settings(self.folder)
        chosen = replace(
            base,
            cloud=replace(base.cloud, enabled=True),
            reservations=replace(base.reservations, orphan_grace_s=0.0),
        )
        self.store = Store.open(chosen.store.url)
        work = assemble.build(chosen, self.store, time.time, self.hands.cloud)
        assert work is not None
        self.work: CloudWork = work
        self.look()

    @property
    def type(self) -> str:
        """Of what is ours in Placement."""
        return reservation_type(self.store.controller)

    @property
    def reservations(self) -> Reservations:
        return self.work.reservations

    def look(self) -> CloudHost:
        view = self.work.watch.run_once(time.time())
        return view.hosts[self.target]

    def restart(self) -> None:
        self.store.close()
        self.start()

    def hold(self, resources: dict[str, int] | None = None, *, count: int = 1, owner: str = "operator:test") -> Reservation:
        wish = ReservationWish(
            host=self.target, resources=resources or ONE, owner=owner, reason="a test", until=time.time() + 3600, count=count
        )
        return self.reservations.hold(wish, time.time())

    def fill(self) -> None:
        """Every VCPU of the target is held, in slots of at most what one consumer may hold."""
        host = self.look()
        most, left = host.inventories["VCPU"].max_unit, host.free("VCPU")
        while left > 0:
            self.hold({"VCPU": min(most, left), "MEMORY_MB": 1})
            left -= most

    def ours(self) -> int:
        placement, me = self.hands.cloud.placement, self.hands.cloud.keystone.me()
        return placement.held_by_type(me.project).get(self.type, 0)

    def locked(self) -> bool:
        return LOCKED_OUT in self.hands.cloud.placement.traits(self.look().provider)[0]

    def got_in(self, tried: set[str]) -> set[str]:
        """Of these servers, those that were built; once Nova has come to an end with all."""
        end = time.monotonic() + 2 * PATIENCE_S
        while True:
            seen = {s.id: s.status for s in self.hands.users.link.compute.servers(all_projects=True) if s.id in tried}
            if "BUILD" not in seen.values():
                return {s for s, status in seen.items() if status == "ACTIVE"}
            assert time.monotonic() < end, "boots do not end"
            time.sleep(0.5)

    def settle(self, server: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.hands.cloud.nova.migrations(server=server)[0].moving:
            assert time.monotonic() < end, "the migration does not end"
            time.sleep(0.05)


@pytest.fixture
def here(cloud: Cloud, tmp_path: Path) -> Iterator[Controller]:
    made = Controller(cloud, tmp_path)
    yield made
    for left in made.reservations.open():
        made.reservations.release(left.id, "the test is over", time.time())
    made.hands.users.clear()
    made.store.close()


def test_what_is_held_keeps_users_out_and_is_seen_as_ours(here: Controller) -> None:
    here.fill()
    with pytest.raises(NoRoom):
        here.hands.boot(here.target, vcpus=1, ram=64)
    with pytest.raises(NoRoom):
        here.hold()
    assert here.look().free("VCPU") == 0
    assert here.reservations.audit(time.time()).clean


def test_an_operators_audit_delete_is_made_good(here: Controller) -> None:
    held = here.hold(count=3)
    here.hands.audit_delete()
    assert here.ours() == 0
    found = here.reservations.audit(time.time())
    assert (found.held_again, here.ours()) == (3, 3)
    assert here.reservations.find(held.id).state is State.HELD
    assert here.reservations.audit(time.time()).clean


def test_wrong_amounts_are_put_right_and_what_nobody_owns_is_deleted(here: Controller) -> None:
    held, me, placement = here.hold(), here.hands.cloud.keystone.me(), here.hands.cloud.placement
    consumer, provider = held.slots[0].consumer, held.provider
    generation = placement.allocation(consumer).generation
    placement.put_allocation(consumer, {provider: {"VCPU": 1}}, generation=generation, type=here.type, project=me.project, user=me.user)
    stray = "0f0f0f0f-0000-4000-8000-000000000001"
    placement.put_allocation(stray, {provider: {"VCPU": 1}}, generation=None, type=here.type, project=me.project, user=me.user)
    found = here.reservations.audit(time.time())
    assert (found.held_again, found.orphans, found.deleted) == (1, 1, 1)
    assert placement.allocation(consumer).held == {provider: ONE}
    assert not placement.allocation(stray).held


def test_a_host_that_is_disabled_in_between_keeps_the_trait_until_it_is_enabled(here: Controller) -> None:
    nova = here.hands.cloud.nova
    service = nova.find_service(here.target)
    held, ordered = here.hold(), list[bool]()

    def order() -> None:
        nova.disable(service.id, "maintenance")
        ordered.append(True)

    try:
        here.reservations.hand_over(held.id, order, time.time(), force=True)
        assert ordered
        here.reservations.run_once(time.time())
        assert here.locked()
    finally:
        nova.enable(service.id)
    end = time.monotonic() + PATIENCE_S
    # Nova takes the trait off an enabled host itself: our note of it goes at the next look, before or after that.
    while here.locked() or here.store.reservations.locks():
        assert time.monotonic() < end, "the host does not come back"
        here.reservations.run_once(time.time())
        time.sleep(0.1)


class Thief:
    """A user who wants servers on the target, one after the other, as fast as Nova takes orders."""

    def __init__(self, here: Controller, number: int) -> None:
        self.here, self.number = here, number
        self.ordered: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        hands = CloudHands(self.here.bed)
        while not self._over.is_set():
            self.ordered.append(hands.users.order(self.here.target, vcpus=2, ram=256))
            self._over.wait(PAUSE_S)

    def __enter__(self) -> "Thief":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)


@pytest.mark.timeout(600)
def test_hand_overs_against_competing_boots_lose_nothing(here: Controller) -> None:
    """The target is full but for what is held for its servers, which come one after the other while two users want it, too."""
    servers = [here.hands.boot(here.source, vcpus=2, ram=256) for _ in range(ROUNDS)]
    held = [here.hold() for _ in servers]
    here.fill()
    here.bed.migration_takes(0.2)
    lost, took = 0, []
    with Thief(here, 1) as one, Thief(here, 2) as two:
        for number, (server, mine) in enumerate(zip(servers, held, strict=True)):
            if number % 5 == 0:
                here.look()  # so that the reading is fresh; each round would cost more than the hand-over
            began = time.monotonic()
            try:
                here.reservations.hand_over(
                    mine.id,
                    lambda s=server: here.hands.cloud.nova.live_migrate(s, here.target, force=True),  # type: ignore[misc]
                    time.time(),
                    force=True,
                )
            except NoRoom:
                lost += 1
            took.append(time.monotonic() - began)
            here.reservations.release(mine.id, "over", time.time())
    tried = {*one.ordered, *two.ordered}
    stolen = here.got_in(tried)
    print(f"hand-overs lost {lost} of {ROUNDS}; {len(tried)} boots tried, {len(stolen)} got in; median {median(took):.2f} s each")
    assert len(tried) >= ROUNDS
    assert (lost, stolen) == (0, set())
    for server in servers:
        here.settle(server)
        assert here.hands.cloud.nova.server(server).host == here.target
    assert not here.locked()


@pytest.mark.parametrize("when", ["locked", "freed"])
def test_placement_dies_in_the_middle_of_a_hand_over_and_all_is_put_right(here: Controller, cloud: Cloud, when: str) -> None:
    """Locked: it dies before the reservation can be deleted. Freed: after that, before the lock can be lifted."""
    held, lockout = here.hold(), here.reservations.lockout

    def dies(_: float = 0.0) -> None:
        cloud.kill("placement")

    if when == "locked":
        lockout._sleep = dies
    try:
        with pytest.raises(CloudError) if when == "locked" else nullcontext():
            here.reservations.hand_over(held.id, dies, time.time(), force=True)
    finally:
        cloud.start("placement")
    here.restart()
    here.reservations.run_once(time.time())
    assert not here.locked()
    assert here.store.reservations.locks() == {}
    assert here.reservations.find(held.id).state is (State.HELD if when == "locked" else State.HANDED_OVER)
    assert here.ours() == (1 if when == "locked" else 0)
