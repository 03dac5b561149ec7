"""The inventory in a bad world, over HTTP: each line of docs/openstack.md's table "When something is wrong"."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_emulator import Fault
from foreshape_controller.loops.clouding import CORE
from foreshape_controller.loops.joining import NEEDED
from world_support import CloudedWorld, clouded

pytestmark = pytest.mark.functional


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudedWorld]:
    with clouded(tmp_path) as world:
        yield world


def in_full(world: CloudedWorld) -> bool:
    return world.work.watch.why_not(world.at, CORE) == ""


def test_two_services_of_one_name_stop_nothing_but_what_would_go_there(world: CloudedWorld) -> None:
    here, there = world.boot("node01"), world.boot("node02")
    world.emulator.nova.extra_rows = {"services": [{"id": "other", "host": "node01", "status": "enabled", "state": "up"}]}
    found = world.round()
    assert in_full(world)
    view = world.work.watch.view()
    assert view is not None
    assert (view.hosts["node01"].schedulable, view.hosts["node02"].schedulable) == (False, True)
    assert {world.why(s, found)[0] for s in (here, there)} == {"below_floor"}, "their agents know where they are"
    assert any("delete the stale one" in p for p in view.problems)


def test_a_server_deleted_between_plan_and_report_gets_no_order(world: CloudedWorld) -> None:
    server = world.boot()
    world.round()
    world.emulator.nova.delete(server)
    world.look()
    assert world.ordered() == set()
    world.gone(server)
    world.round()
    assert server not in world.round(700.0)
    assert world.work.joining.joined.strangers == ()
    assert world.program.store.cloud_servers.all()[server].gone_at is not None, "its past keeps its project"


def test_a_server_shelved_and_back_on_another_host_is_sized_there(world: CloudedWorld) -> None:
    server = world.boot("node01")
    world.round()
    nova = world.emulator.nova.servers[server]
    nova.status, nova.host, nova.updated = "SHELVED_OFFLOADED", "", world.at
    world.gone(server)
    world.round()
    world.at += 30
    nova.status, nova.host, nova.updated = "ACTIVE", "node02", world.at
    world.guest(server, "node02")
    found = world.round()
    assert world.why(server, found)[0] == "below_floor"
    assert world.ordered("node02") == {server}


@pytest.mark.parametrize("behind", [400.0, -400.0])
def test_a_nova_whose_clock_is_wrong_hides_no_change(world: CloudedWorld, behind: float) -> None:
    """What changed is asked for since a moment of Nova's own clock; 400 s are more than the overlap of two readings."""
    world.emulator.clock_ahead_s, world.emulator.nova.now = -behind, lambda: world.at - behind
    server = world.boot()
    world.round()
    nova = world.emulator.nova.servers[server]
    nova.task, nova.updated = "rebuilding", world.at - behind
    assert world.why(server, world.round())[0] == "nova_task"


def test_a_storm_of_errors_is_ridden_out_and_leaves_nothing_behind(world: CloudedWorld) -> None:
    server = world.boot()
    world.round()
    world.emulator.faults = [Fault(".*", "status", times=10_000, status=502)]
    for _ in range(3):
        world.round()
        assert "could not be read in full" in world.work.watch.why_not(world.at, NEEDED)
    world.emulator.faults = []
    assert world.why(server, world.round())[0] == "below_floor"
    assert in_full(world)
    assert world.program.store.journal.latest_plan().notes == ()


def test_a_cloud_that_is_silent_for_longer_than_allowed_is_no_ground_to_act_on(world: CloudedWorld) -> None:
    world.boot()
    world.round()
    world.at += world.settings.cloud.stale_after_s + 1
    assert world.work.watch.why_not(world.at) == "the cloud was last read 121 s ago"


def test_expired_tokens_are_nobodys_trouble(world: CloudedWorld) -> None:
    server = world.boot()
    world.round()
    world.emulator.expire_tokens()
    assert world.why(server, world.round())[0] == "below_floor"
    assert in_full(world)


@pytest.mark.parametrize(
    ("service", "sized", "reserved"), [("placement", True, False), ("identity", True, True), ("compute", False, False)]
)
def test_an_endpoint_that_is_missing_costs_what_needs_it_and_no_more(tmp_path: Path, service: str, sized: bool, reserved: bool) -> None:
    """Keystone's own: names of projects. Placement's: room. Nova's: everything."""
    with clouded(tmp_path) as world:
        world.emulator.without = {service}
        server = world.boot()
        found = world.round()
        assert (world.work.watch.why_not(world.at, NEEDED) == "") is sized
        assert in_full(world) is reserved
        assert world.why(server, found)[0] == ("below_floor" if sized else "not_in_nova")
        world.work.census.run_once(world.at)
        told = [*world.work.census.newest.problems, world.work.joining.names_trouble, *world.work.watch.view().problems]
        assert any("catalogue has no endpoint" in t for t in told)


def test_rows_that_make_no_sense_are_left_out_and_nothing_is_taken_from_anybody_meanwhile(world: CloudedWorld) -> None:
    server = world.boot()
    world.round()
    world.emulator.nova.extra_rows = {"servers": [{"name": "no id"}]}
    assert world.why(server, world.round())[0] == "below_floor", "growth to what was sold goes on"
    assert "servers" in world.work.watch.view().missing


def test_a_refused_login_says_what_to_check(world: CloudedWorld) -> None:
    world.emulator.faults = [Fault("identity POST", "status", times=99, status=401)]
    world.emulator.expire_tokens()
    world.boot()
    world.round()
    assert any("check user, password and project" in p for p in world.work.watch.view().problems)


def test_a_store_that_cannot_keep_the_words_leaves_the_last_reading_in_force(world: CloudedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next reading tells everything again."""
    server = world.boot()
    world.round()
    before = world.work.watch.view()
    world.emulator.nova.servers[server].task, world.emulator.nova.servers[server].updated = "rebuilding", world.at
    with monkeypatch.context() as broken:
        broken.setattr(world.program.store.cloud_servers, "save", _full_disk)
        world.at += 30
        with pytest.raises(OSError, match="disk"):
            world.look()
        assert world.work.watch.view() is before
    assert world.why(server, world.round())[0] == "nova_task"


def _full_disk(_words: object) -> None:
    raise OSError("the disk is full")
