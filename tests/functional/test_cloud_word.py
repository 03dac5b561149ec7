"""Nova's word beside the agents': whose wins, who is left alone and why, and what it changes in decisions."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_emulator import Fault
from foreshape_controller.main import build
from foreshape_wire.order import Mode
from world_support import CloudedWorld, clouded

pytestmark = pytest.mark.functional

TIERS = "assign:\n  - {project: gold, tier: guaranteed}\n"
SEGMENTS = "segments:\n  east: [{az: east}]\n  fast: [{aggregate: ssd}]\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudedWorld]:
    with clouded(tmp_path, tiers=TIERS, segments=SEGMENTS) as world:
        yield world


def test_a_server_that_nova_knows_gets_what_it_was_promised(world: CloudedWorld) -> None:
    server = world.boot()
    found = world.round()
    assert world.why(server, found)[0] == "below_floor"
    assert world.ordered() == {server}


# -- who is left alone


def resize(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.servers[server].status = "VERIFY_RESIZE"


def work_on(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.servers[server].task = "rebuilding"


def lock(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.servers[server].locked = True


def delete(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.delete(server)


def move(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.migration_s = 1e6
    world.cloud.nova.live_migrate(server, "node02")


def evacuate(world: CloudedWorld, server: str) -> None:
    world.emulator.nova.servers[server].host = "node02"


CHANGES = [
    (resize, "nova_state", "VERIFY_RESIZE"),
    (work_on, "nova_task", "rebuilding"),
    (lock, "locked", "locked it"),
    (delete, "not_in_nova", "Nova deleted it"),
    (move, "nova_migration", "from node01 to node02"),
    (evacuate, "elsewhere", "Nova has it on node02, and the agent of node01 reports it"),
]


@pytest.mark.parametrize(("change", "code", "words"), CHANGES, ids=[c[1] for c in CHANGES])
def test_what_nova_does_to_a_server_keeps_us_off_it(
    world: CloudedWorld, change: Callable[[CloudedWorld, str], None], code: str, words: str
) -> None:
    """Also the order that waits already: it is handed out no more from the moment that Nova says so."""
    server, other = world.boot(), world.boot()
    world.round()
    assert world.ordered() == {server, other}
    change(world, server)
    world.emulator.nova.servers.get(server, world.emulator.nova.deleted.get(server)).updated = world.at
    world.look()
    assert world.ordered() == {other}
    found = world.round()
    assert world.why(server, found)[0] == code
    assert words in world.why(server, found)[1]
    assert world.why(other, found)[0] == "below_floor"


def test_when_nova_is_done_the_server_is_sized_again(world: CloudedWorld) -> None:
    server = world.boot()
    work_on(world, server)
    assert world.why(server, world.round())[0] == "nova_task"
    nova = world.emulator.nova.servers[server]
    nova.task, nova.updated = None, world.at
    assert world.why(server, world.round())[0] == "below_floor"


def test_a_guest_that_nova_never_had_is_never_touched(world: CloudedWorld) -> None:
    world.guest("somebody-elses")
    server = world.boot()
    found = world.round()
    assert world.why("somebody-elses", found) == (
        "not_in_nova",
        "Nova has no such server: it is somebody else's guest, or left over; it is never touched",
    )
    told = world.report()
    assert {str(o.server) for o in told.orders} == {server}
    assert {str(g.server): g.hands_off for g in told.guards} == {server: False, "somebody-elses": True}
    assert world.work.joining.joined.strangers == ("somebody-elses",)


def test_a_server_is_left_alone_until_nova_was_asked_about_it(world: CloudedWorld) -> None:
    """Its first report comes between two readings."""
    world.round()
    server = world.boot()
    world.at += 5
    world.report()
    assert world.why(server, world.plan())[0] == "not_in_nova"
    assert world.why(server, world.round())[0] == "below_floor"


def test_a_restart_forgets_nobody(world: CloudedWorld) -> None:
    """Before the first reading of the new process, the last words of the old one hold."""
    server = world.boot(project="gold")
    work_on(world, server)
    world.round()
    world.restart()
    world.report()
    (known,) = world.program.store.inventory.view(world.at).servers
    assert (known.project, known.held) == ("gold", ("nova_task", "Nova is doing something to it: rebuilding"))


# -- whose word wins


def test_novas_project_name_and_flavor_win_and_the_difference_is_told(world: CloudedWorld) -> None:
    server = world.boot(reports=False, name="renamed", project="gold")
    world.guest(server, project="a-project", name="before")
    found = world.round()
    (known,) = world.program.store.inventory.view(world.at).servers
    assert (known.project, known.name, known.flavor, known.zone) == ("gold", "renamed", "m1", "east")
    assert found[known.id].tier == "guaranteed", "the tier of Nova's project"
    assert [(d.what, d.agent, d.nova) for d in world.work.joining.joined.differences] == [("project", "a-project", "gold")]


def test_a_stop_of_novas_project_withdraws_its_orders_and_the_agents_project_stops_nothing(world: CloudedWorld) -> None:
    server = world.boot(reports=False, project="gold")
    world.guest(server, project="a-project")
    world.round()
    world.program.store.modes.stop("project:a-project", "a misunderstanding", world.at)
    assert world.ordered() == {server}
    assert world.program.store.modes.stop("project:gold", "gold asked for it", world.at).withdrawn == 1
    assert world.ordered() == set()
    assert world.program.store.inventory.view(world.at).servers[0].mode is Mode.OBSERVE


def test_segments_and_zones_are_novas(world: CloudedWorld) -> None:
    world.emulator.nova.aggregates = [{"name": "ssd", "hosts": ["node02"], "metadata": {}}]
    servers = [world.boot("node01"), world.boot("node02")]
    world.round()
    view = world.program.store.inventory.view(world.at)
    groups = world.program.foresight.newest(view).groups.of
    assert groups[servers[0]] == ("host:node01", "project:a-project", "zone:east", "segment:east")
    assert groups[servers[1]] == ("host:node02", "project:a-project", "zone:west", "segment:fast")


# -- hosts


def test_an_agent_by_another_name_than_novas_host_is_told_what_to_write(world: CloudedWorld) -> None:
    server = world.boot(reports=False)
    world.guest(server, "node01.cloud.example")
    found = world.round()
    assert world.why(server, found)[0] == "elsewhere"
    advice = world.work.joining.joined.strange_hosts["node01.cloud.example"]
    assert "one called node01: write host = node01 into the [agent] section" in advice
    assert world.work.joining.joined.silent_hosts == ("node01", "node02")


def test_a_host_that_vanishes_from_nova_has_its_servers_left_alone_and_the_others_go_on(world: CloudedWorld) -> None:
    lost, other = world.boot("node01"), world.boot("node02")
    world.round()
    del world.emulator.nova.hosts["node01"]
    nova = world.emulator.nova.servers[lost]
    nova.status, nova.host, nova.updated = "SHUTOFF", "", world.at
    found = world.round()
    assert world.why(lost, found)[0] == "nova_state"
    assert world.why(other, found)[0] == "below_floor"
    assert "Nova has no nova-compute of that name" in world.work.joining.joined.strange_hosts["node01"]


def test_servers_and_hosts_without_an_agent_are_counted(world: CloudedWorld) -> None:
    world.boot("node01")
    world.boot("node01", reports=False)
    world.boot("node02", reports=False)
    world.round()
    joined = world.work.joining.joined
    assert (len(joined.unreported), joined.unwatched, joined.silent_hosts) == (1, 1, ("node02",))


# -- a cloud that is not to be believed now


def test_while_nova_cannot_be_read_what_was_sold_is_given_back_and_nothing_else_is_ordered(world: CloudedWorld) -> None:
    """Growth back to what was sold is the safe direction."""
    server = world.boot()
    world.round()
    world.emulator.faults = [Fault("compute GET /servers/detail", "status", times=10_000, status=500)]
    plan = world.round(), world.program.store.journal.latest_plan()
    assert world.why(server, plan[0])[0] == "below_floor"
    assert any("could not be read in full" in note for note in plan[1].notes)
    stopped = world.program.plan_loop._sources.brakes(world.program.store.inventory.view(world.at), world.at).stopped
    assert "could not be read" in stopped[server]


def test_a_server_that_a_broken_list_lacks_is_not_taken_for_deleted(world: CloudedWorld) -> None:
    server = world.boot()
    world.round()
    world.at += world.settings.cloud.full_every_s
    world.emulator.faults = [Fault("compute GET /servers/detail", "status", times=10_000, status=503)]
    assert world.why(server, world.round())[0] == "below_floor"
    assert world.work.joining.joined.strangers == ()


def test_projects_without_names_are_projects(world: CloudedWorld) -> None:
    world.emulator.faults = [Fault("identity GET /projects", "status", times=99, status=403)]
    world.boot()
    world.round()
    (known,) = world.program.store.inventory.view(world.at).servers
    assert (known.project, known.project_name) == ("a-project", "")
    assert "403" in world.work.joining.names_trouble


def test_without_a_cloud_agents_words_hold_and_nobody_waits_for_nova(world: CloudedWorld) -> None:
    """A controller whose cloud was taken out of its configuration."""
    server = world.boot(reports=False, project="gold")
    world.guest(server, project="a-project")
    world.round()
    world.program.store.close()
    world.program = build(replace(world.settings, cloud=replace(world.settings.cloud, enabled=False)), lambda: world.at)
    assert world.program.cloud is None
    world.report()
    (known,) = world.program.store.inventory.view(world.at).servers
    assert (known.project, known.held) == ("a-project", None)
