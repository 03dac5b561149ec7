"""Two controllers in one project, hosts without room, hosts that do not answer: each minds its own, and nothing is in another's way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshape_controller import assemble
from foreshape_controller.cli.reservation import ReservationAudit
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.model.cloud import RESERVATION, reservation_type
from foreshape_controller.model.reservation import State
from foreshape_controller.store import Store
from foreshape_wire.order import Mode
from reserve_support import World, world

pytestmark = pytest.mark.functional

GRACE_S = 600.0
STRAY = "0f0f0f0f-0000-4000-8000-000000000001"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, orphan_grace_s=GRACE_S, audit_every_s=300.0) as made:
        yield made


@pytest.fixture
def there(here: World, tmp_path: Path) -> Iterator[Reservations]:
    """A second controller with a database of its own, on the same cloud and in the same project."""
    store = Store.open(f"sqlite:///{tmp_path}/second.db")
    work = assemble.build(here.settings, store, lambda: here.at, here.cloud)
    assert work is not None
    store.modes.set("cloud", Mode.ACT, "a test", here.at)
    work.watch.run_once(here.at)
    yield work.reservations
    store.close()


def untagged(here: World, consumer: str = STRAY) -> None:
    """As a Foreshape of before controllers had names wrote it."""
    me = here.cloud.keystone.me()
    held = {here.provider("node03"): {"VCPU": 1}}
    here.cloud.placement.put_allocation(consumer, held, generation=None, type=RESERVATION, project=me.project, user=me.user)


# -- two controllers


def test_two_controllers_in_one_project_leave_each_others_reservations_alone_and_say_so(here: World, there: Reservations) -> None:
    mine, theirs = here.hold(), there.hold(here.wish(host="node03"), here.at)
    for _ in range(3):
        found, other = here.reservations.audit(here.at), there.audit(here.at)
        here.at += GRACE_S + 1
        here.look()
    assert (found.others, found.orphans, other.others, other.orphans) == (1, 0, 1, 0)
    assert found.clean
    assert set(here.ours()) == {mine.slots[0].consumer, theirs.slots[0].consumer}
    assert dict(ReservationAudit.columns)["Other controllers'"]({"others": found.others}) == "1, left alone"


def test_its_own_leftovers_go_beside_another_controllers(here: World, there: Reservations) -> None:
    there.hold(here.wish(host="node03"), here.at)
    me = here.cloud.keystone.me()
    mine = reservation_type(here.store.controller)
    held = {here.provider("node03"): {"VCPU": 1}}
    here.cloud.placement.put_allocation(STRAY, held, generation=None, type=mine, project=me.project, user=me.user)
    assert here.reservations.audit(here.at).orphans == 1
    here.later(GRACE_S + 1)
    assert STRAY not in here.ours()
    assert len(here.ours()) == 1


def test_a_controller_keeps_its_name_over_restarts(here: World) -> None:
    name = here.store.controller
    here.restart()
    assert name
    assert here.store.controller == name


def test_what_an_older_version_wrote_goes_only_if_our_journal_knows_it(here: World) -> None:
    untagged(here)
    assert here.reservations.audit(here.at).others == 1
    here.later(GRACE_S + 1)
    assert STRAY in here.ours()


def test_a_reservation_that_an_older_version_holds_is_still_ours(here: World) -> None:
    held = here.hold()
    here.emulator.placement.consumers[held.slots[0].consumer].type = RESERVATION
    found = here.reservations.audit(here.at)
    assert (found.in_order, found.orphans, found.others) == (1, 0, 0)
    here.emulator.placement.consumers[held.slots[0].consumer].held = {here.provider("node03"): {"VCPU": 1}}
    assert here.reservations.audit(here.at).held_again == 1


# -- no room


def test_what_has_no_room_is_asked_for_less_and_less_often(here: World) -> None:
    here.fill("node02", leave=2)
    planned = here.reservations.plan(here.wish(until=here.at + 7200), here.at)
    for _ in range(120):
        here.later(30)
    puts = [w for w in here.store.reservations.writes(planned.id, limit=1000) if w.what == "put"]
    # asked for at once, and after 60, 120, 240, 480, 900 and 900 s; each is seen at the next half minute: 7 in an hour instead of 120
    assert 5 <= len(puts) <= 8
    assert "asked for again in 900 s" in here.reservations.find(planned.id).said


def test_an_approval_does_not_wait_and_room_that_came_free_is_taken(here: World) -> None:
    here.fill("node02", leave=2)
    planned = here.reservations.plan(here.wish(until=here.at + 7200), here.at)
    here.later(30)
    here.emulator.placement.consumers.clear()
    here.look()
    assert here.reservations.approve(planned.id, "ann", here.at).state is State.HELD


# -- hosts that do not answer


def test_three_providers_that_fail_do_not_keep_the_audit_from_the_others(tmp_path: Path) -> None:
    with world(tmp_path, audit_every_s=300.0) as here:
        for n in range(4, 9):
            here.emulator.add_host(f"node{n:02}")
        here.look()
        held = {host: here.hold(host=host) for host in sorted(here.emulator.nova.hosts)}
        by_provider = sorted((here.provider(host), host) for host in held)
        for provider, _ in by_provider[:3]:
            here.fails(f"GET.*{provider}/allocations", times=1000)
        lost = held[by_provider[-1][1]].slots[0].consumer
        here.cloud_loses(lost)
        here.reservations.audit(here.at)
        assert here.reservations.audit(here.at).held_again == 1
        assert lost in here.ours()
