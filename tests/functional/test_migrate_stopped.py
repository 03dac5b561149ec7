"""What a stop, a halt, Nova's own work and a view that ages do to migrations under way."""

from pathlib import Path

import pytest

from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.migration import State
from move_support import MoveWorld, moving

pytestmark = pytest.mark.functional


def running_late(world: MoveWorld) -> str:
    """A migration that a person wanted, past its time limit."""
    server = world.emulator.boot("node01", vcpus=1, ram=512)
    world.round()
    world.emulator.nova.migration_s = 50_000.0
    identity = world.propose(server, "node02")
    world.rounds(most=3, seconds=1.0)
    (row,) = world.store.migrating.moves.open()
    assert row.migration.state is State.RUNNING
    world.at += row.migration.limit_s
    return identity


def asked(world: MoveWorld) -> int:
    """How often Nova was told to complete one by force, or to abort it."""
    forced = sum("/migrations/" in r and "/action" in r for r in world.emulator.requests)
    return forced + sum("DELETE /servers" in r and "/migrations/" in r for r in world.emulator.requests)


@pytest.mark.parametrize("how", ["force", "abort"])
@pytest.mark.parametrize("where", ["cloud", "host:node02", "server"])
def test_its_time_limit_does_nothing_to_it_while_we_are_stopped(tmp_path: Path, how: str, where: str) -> None:
    with moving(tmp_path, newest="2.96" if how == "abort" else "2.104", force=how == "force") as world:
        running_late(world)
        (row,) = world.store.migrating.moves.open()
        scope = f"server:{row.migration.server}" if where == "server" else where
        world.store.modes.stop(scope, "a test", world.at)
        for _ in range(5):
            world.round(5.0)
        assert asked(world) == 0
        (row,) = world.store.migrating.moves.open()
        assert row.migration.state is State.RUNNING
        assert row.waits.startswith(f"not done: {how}")
        assert "observe" in row.waits
        world.store.modes.resume(scope, "go on", world.at)
        world.round(5.0)
        assert asked(world) >= 1, "it is done once nobody is stopped any more"


def test_a_halt_keeps_it_from_being_completed_by_force(tmp_path: Path) -> None:
    with moving(tmp_path, force=True) as world:
        running_late(world)
        halt = Halt(scope="cloud", kind="failures", state="open", since=world.at, until=world.at + 600, reason="a test")
        world.store.halts.save([halt])
        world.round(5.0)
        assert asked(world) == 0
        assert "cloud is halted: a test" in world.store.migrating.moves.open()[0].waits


def test_a_persons_own_cancel_is_carried_out_in_a_halt_too(tmp_path: Path) -> None:
    with moving(tmp_path, newest="2.96") as world:
        server = world.emulator.boot("node01", vcpus=1, ram=512)
        world.round()
        world.emulator.nova.migration_s = 500.0
        identity = world.propose(server, "node02")
        world.rounds(most=3, seconds=1.0)
        world.store.modes.stop("cloud", "a test", world.at)
        world.store.migrating.moves.ask_cancel(identity, "changed my mind", world.at)
        world.round()
        assert asked(world) == 1


def test_a_server_in_error_that_nova_still_works_on_is_left_alone(tmp_path: Path) -> None:
    with moving(tmp_path) as world:
        server = world.emulator.boot("node01", vcpus=1, ram=512)
        world.round()
        nova = world.emulator.nova
        nova.migration_s = 100.0
        world.propose(server, "node02")
        world.rounds(most=3, seconds=1.0)
        with world.emulator.lock:
            nova._back(nova.migrations[-1], "error")
        nova.servers[server].task = "rebuilding"
        world.rounds(most=4)
        assert nova.servers[server].status == "ERROR"
        assert "still does something to it: rebuilding" in world.store.migrating.moves.open()[0].waits
        nova.servers[server].task = ""
        world.rounds(most=10)
        assert nova.servers[server].status == "ACTIVE"


def test_a_view_that_ages_is_told_once_and_not_with_each_tick(tmp_path: Path) -> None:
    with moving(tmp_path) as world:
        server = world.emulator.boot("node01", vcpus=1, ram=512)
        world.round()
        halt = Halt(scope="cloud", kind="failures", state="open", since=world.at, until=world.at + 1e6, reason="a test")
        world.store.halts.save([halt])
        identity = world.propose(server, "node02")
        world.round()
        for _ in range(20):
            world.at += 30.0
            world.coordinator.run_once(world.at)
        told = [e.text for e in world.store.migrating.moves.history(identity) if e.what == "waits"]
        assert [text.partition(" 1")[0] for text in told] == ["cloud is halted: a test", "the cloud was last read"]
