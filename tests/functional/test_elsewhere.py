"""A guest that runs on another host than the one where Nova has it: seen, held, told, left alone; and forgotten when it is put right."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli_support import Operator
from foreshape_controller.errors import Invalid
from foreshape_controller.loops.elsewhere import FRESH_S, HELD_S, SURE_S
from foreshape_controller.model.migration import State
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from move_support import MoveWorld, moving, placed
from world_support import CloudedWorld, clouded

pytestmark = pytest.mark.functional

ROOM = {"VCPU": 4, "MEMORY_MB": 4096}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoveWorld]:
    with moving(tmp_path, plan_every_s=3600.0) as made:
        yield made


def passes(world: MoveWorld, seconds: float) -> None:
    """Everything that runs by the clock, every ten seconds."""
    while seconds > 0:
        world.round(min(seconds, 10.0))
        world.reservations.run_once(world.at)
        world.work.elsewhere.run_once(world.at)
        seconds -= 10.0


def astray(world: MoveWorld, host: str = "node02") -> str:
    """A server of node01 whose guest runs on another host, for long enough to be believed."""
    server = placed(world)
    world.strays[server] = host
    passes(world, SURE_S + 20.0)
    return server


def room(world: MoveWorld, host: str = "node02") -> list[dict[str, int]]:
    return [{name: n for name, n in amounts.items() if name in ROOM} for amounts in world.ours(host).values()]


# -- a migration of ours that Nova calls an error, and that libvirt ended all the same


def arrived_in_secret(world: MoveWorld) -> str:
    """The source's nova-compute died while it sent."""
    server = placed(world)
    world.propose(server, "node02")
    world.round()
    (under_way,) = [m for m in world.emulator.nova.migrations if m.server == server]
    with world.emulator.lock:
        world.emulator.nova._back(under_way, "error")
        world.emulator.nova.servers[server].status = "ACTIVE"
    world.strays[server] = "node02"
    return server


def test_a_guest_that_arrived_although_nova_says_error_is_held_where_it_runs_and_its_migration_says_so(world: MoveWorld) -> None:
    server = arrived_in_secret(world)
    passes(world, SURE_S + 20.0)
    (row,) = world.done()
    assert row.migration.state is State.FAILED
    assert "it runs on node02" in row.waits
    assert "do not start, reboot, migrate or evacuate it" in row.waits
    assert room(world) == [ROOM]
    assert [m.server for m in world.work.elsewhere.found] == [server]
    passes(world, 600.0)
    assert (world.orders(server), world.moved(server)) == (1, 1), "nothing is ordered again"
    assert world.host_of(server) == "node01", "nothing is repaired by itself"


def test_a_record_that_a_dead_nova_compute_left_behind_does_not_hide_where_its_guest_runs(world: MoveWorld) -> None:
    """Seen with Nova 34: killed while the order was on its way, it forgets the task at its start, and the record stays as it was."""
    server = placed(world)
    world.emulator.nova.migration_s = 1e9
    world.propose(server, "node02")
    world.round()
    with world.emulator.lock:
        known = world.emulator.nova.servers[server]
        known.status, known.task, known.updated = "ACTIVE", None, world.emulator.nova.now()
    world.strays[server] = "node02"
    passes(world, 120.0)
    assert world.work.elsewhere.found == (), "Nova may be at it"
    passes(world, 300.0)
    assert [(m.server, m.runs) for m in world.work.elsewhere.found] == [(server, "node02")]
    assert room(world) == [ROOM]
    assert [r.migration.state for r in world.done()] == [State.FAILED]
    assert (world.orders(server), world.moved(server)) == (1, 1)


def test_once_an_operator_put_it_right_its_migration_ends_and_its_room_is_given_back(world: MoveWorld) -> None:
    server = arrived_in_secret(world)
    passes(world, SURE_S + 20.0)
    world.emulator.nova.servers[server].host = "node02"
    passes(world, 30.0)
    assert world.work.elsewhere.found == ()
    assert [r.migration.state for r in world.done()] == [State.COMPENSATED]
    world.tidy()


def test_a_guest_that_is_brought_back_is_never_told_to_be_started_anew_while_its_host_may_still_report_it(world: MoveWorld) -> None:
    server = arrived_in_secret(world)
    passes(world, SURE_S + 20.0)
    world.leaving.add(server)
    passes(world, 20.0)
    assert "reports it on its way" in world.done()[0].waits
    world.absent.add(server)
    passes(world, 20.0)
    (row,) = world.done()
    assert not row.over
    assert "whose agent may still report it" in row.waits
    world.absent.clear()
    world.leaving.clear()
    del world.strays[server]
    passes(world, 30.0)
    (row,) = world.done()
    assert row.migration.state is State.COMPENSATED
    assert "reboot" not in row.migration.said


def test_one_that_nobody_reports_afterwards_is_said_to_be_gone(world: MoveWorld) -> None:
    server = arrived_in_secret(world)
    passes(world, SURE_S + 20.0)
    world.absent.add(server)
    passes(world, 120.0)
    (row,) = world.done()
    assert row.migration.state is State.COMPENSATED
    assert f"'openstack server reboot --hard {server}'" in row.migration.said


def test_a_failed_migration_does_not_wait_for_ever(world: MoveWorld) -> None:
    arrived_in_secret(world)
    passes(world, SURE_S + 20.0)
    world.at += 86400.0
    passes(world, 40.0)
    (row,) = world.done()
    assert row.migration.state is State.COMPENSATED
    assert room(world) == [ROOM], "its guest is watched on"


def test_an_ended_migration_that_brought_it_there_has_it_in_its_history(world: MoveWorld) -> None:
    server = arrived_in_secret(world)
    world.absent.add(server)
    passes(world, 40.0)
    (row,) = world.done()
    assert row.over, "nobody saw it yet: it ended as failed ones do"
    world.absent.clear()
    passes(world, SURE_S + 20.0)
    told = [h for h in world.store.migrating.moves.history(row.id) if h.what == "elsewhere"]
    assert len(told) == 1
    assert "it runs on node02" in told[0].text


# -- one that somebody else left so


def test_it_is_neither_moved_nor_taken_for_a_place_to_move_from(world: MoveWorld) -> None:
    server = astray(world)
    with pytest.raises(Invalid, match="the agent of node02 reports it, and Nova has it on node01"):
        world.propose(server, "node03")
    world.short("node01")
    world.coordinator.replan()
    passes(world, 60.0)
    assert world.orders(server) == 0


def test_its_size_is_left_alone(world: MoveWorld) -> None:
    server = astray(world)
    assert world.work.joining.joined.words[server].held_code == "elsewhere"


def test_room_is_held_for_as_long_as_it_is_seen(world: MoveWorld) -> None:
    server = astray(world)
    (held,) = world.reservations.of_owner(f"elsewhere:{server}")
    passes(world, 2 * HELD_S)
    (later,) = world.reservations.of_owner(f"elsewhere:{server}")
    assert later.id == held.id
    assert later.wish.until > held.wish.until + HELD_S
    assert room(world) == [ROOM]


def test_room_of_a_guest_that_nobody_sees_any_more_ends_by_itself(world: MoveWorld) -> None:
    astray(world)
    world.silent.add("node02")
    passes(world, FRESH_S + 60.0)
    assert room(world) == [ROOM], "silence proves nothing"
    passes(world, HELD_S)
    assert room(world) == []


def test_room_is_given_back_when_its_agent_does_not_report_it_any_more(world: MoveWorld) -> None:
    server = astray(world)
    world.absent.add(server)
    passes(world, 20.0)
    assert room(world) == []


def test_room_follows_a_guest_that_somebody_moves_on(world: MoveWorld) -> None:
    server = astray(world)
    world.strays[server] = "node03"
    passes(world, SURE_S + 20.0)
    assert (room(world), room(world, "node03")) == ([], [ROOM])


def test_a_short_disagreement_is_none(world: MoveWorld) -> None:
    server = placed(world)
    world.strays[server] = "node02"
    passes(world, 10.0)
    assert world.work.elsewhere.found == ()
    world.strays.clear()
    passes(world, 60.0)
    assert (world.work.elsewhere.found, room(world)) == ((), [])


def test_a_server_that_nova_moves_is_not_astray(world: MoveWorld) -> None:
    server = placed(world)
    world.emulator.nova.migration_s = 600.0
    world.propose(server, "node02")
    world.round()
    world.strays[server] = "node02"
    passes(world, 120.0)
    assert world.work.elsewhere.found == ()


def test_a_controller_that_starts_anew_goes_on_with_what_is_held(world: MoveWorld) -> None:
    server = astray(world)
    (held,) = world.reservations.of_owner(f"elsewhere:{server}")
    world.restart()
    passes(world, 10.0)
    (found,) = world.work.elsewhere.found
    assert (found.reservation, found.since) == (held.id, held.created)
    assert room(world) == [ROOM]


def test_where_no_room_is_left_it_says_so_and_asks_seldom(world: MoveWorld) -> None:
    server = placed(world)
    world.fill("node02")
    world.strays[server] = "node02"
    passes(world, SURE_S + 20.0)
    asked = world.asked("placement PUT /allocations") + world.asked("placement POST /allocations")
    passes(world, 20.0)
    assert world.asked("placement PUT /allocations") + world.asked("placement POST /allocations") == asked
    (found,) = world.work.elsewhere.found
    assert found.reservation == ""
    assert "no room is held for it on node02" in found.said


def test_in_mode_advise_it_is_told_and_nothing_is_held(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        server = astray(world)
        (found,) = world.work.elsewhere.found
        assert (found.server, found.reservation, room(world)) == (server, "", [])
        assert "mode" in found.said


def test_in_mode_advise_the_room_of_a_move_that_a_person_approved_is_held_on_that_word(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        arrived_in_secret(world)
        passes(world, SURE_S + 20.0)
        assert room(world) == [ROOM]


# -- told


@pytest.fixture
def told(tmp_path: Path, capsys: Any, plain_log: Any) -> Iterator[tuple[CloudedWorld, Operator]]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with clouded(tmp_path) as world, Serving(world.program, 0) as api:
        yield world, Operator(capsys, ("--url", api.url, "--token-file", world.folder / "admin-token"))


def test_an_operator_reads_where_it_runs_what_is_held_and_what_to_do(told: tuple[CloudedWorld, Operator]) -> None:
    world, ask = told
    server = world.boot("node01", reports=False, name="db")
    world.boot("node02")
    world.guest(server, "node02", name="db")
    for _ in range(4):
        world.at += 10.0
        world.round()
        world.report("node02")
        world.work.elsewhere.run_once(world.at)
    text = ask("cloud", "status").out
    assert f"db ({server}) RUNS ON node02 since" in text
    assert "and Nova has it on node01" in text
    assert "the room that it uses on node02 is held by rsv-" in text
    assert "do not start, reboot, migrate or evacuate it" in text
    assert "1 GUESTS RUN WHERE NOVA DOES NOT HAVE THEM" in ask("summary").out
    (one,) = json.loads(ask("cloud", "status", "-f", "json").out)["elsewhere"]
    assert (one["server"], one["nova"], one["runs"]) == (server, "node01", "node02")
