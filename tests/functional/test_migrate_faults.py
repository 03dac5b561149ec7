"""What goes wrong with migrations: lost answers, hosts that die, people who act at the same time. Nothing is done twice or left."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from foreshape_controller.errors import Invalid
from foreshape_controller.loops.clouding import PLACING
from foreshape_controller.model.migration import State
from foreshape_wire.order import Mode
from move_support import MoveWorld, moving, placed

pytestmark = pytest.mark.functional

ACTION = "compute POST /servers/.*/action"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoveWorld]:
    """Planned once at the start: what is approved then is looked at again when it begins, not before."""
    with moving(tmp_path, plan_every_s=3600.0) as made:
        yield made


def under_way(world: MoveWorld) -> str:
    """A server on its way to node02, which nothing but the test ends."""
    server = placed(world)
    world.emulator.nova.migration_s = 10_000.0
    world.propose(server, "node02")
    world.round()
    return server


def ended(world: MoveWorld, *, seconds: float = 5.0) -> tuple[State, str]:
    """How the only migration ended, and what was said of it on the way."""
    (row,) = world.rounds(seconds=seconds)
    world.reservations.run_once(world.at)
    world.tidy()
    return row.migration.state, "; ".join(h.text for h in world.store.migrating.moves.history(row.id))


# -- the order


def test_an_order_whose_answer_is_lost_is_watched_and_not_repeated(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fails(ACTION, "lost")
    assert ended(world)[0] is State.SETTLED
    assert (world.orders(server), world.moved(server)) == (1, 1)


def test_an_order_that_nova_may_have_taken_and_did_not_is_given_up_after_a_while_and_not_repeated(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fails(ACTION, "status", status=500)
    state, said = ended(world, seconds=20.0)
    assert state is State.COMPENSATED
    assert "Nova knows of no such migration" in said
    assert (world.orders(server), world.moved(server)) == (1, 0)
    assert world.host_of(server) == "node01"


def test_nova_has_as_long_to_know_an_order_whose_place_took_long_to_be_handed_over(
    world: MoveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, slow = placed(world), count(0.0, 100.0)
    world.propose(server, "node02")
    world.fails(ACTION, "status", status=500)
    monkeypatch.setattr(world.coordinator._p.carrier, "_clock", lambda: next(slow))
    while not world.orders(server):
        world.round()
    begun = world.at
    (row,) = world.store.migrating.moves.open()
    assert row.migration.ordered_at == begun + 100.0
    world.round(150.0)
    assert [r.migration.state for r in world.store.migrating.moves.open()] == [State.ORDERED], "the order itself is 50 s old"
    assert ended(world, seconds=80.0)[0] is State.COMPENSATED
    assert world.orders(server) == 1


@pytest.mark.parametrize(("status", "word"), [(503, "503"), (409, "409"), (403, "403"), (404, "404")])
def test_an_order_that_nova_refuses_ends_the_migration_and_the_room_is_given_back(world: MoveWorld, status: int, word: str) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fails(ACTION, "status", status=status, times=9)
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert word in said
    assert world.moved(server) == 0


def test_a_reservation_that_placement_does_not_answer_to_is_asked_for_again(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fails("placement (PUT|POST) /allocations", "status", status=503, times=4)
    assert ended(world)[0] is State.SETTLED
    assert world.moved(server) == 1


def test_while_nova_does_not_answer_nothing_is_concluded(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.round()
    world.fails("compute GET /servers/[0-9a-f-]+$", "status", status=500, times=8)
    for _ in range(3):
        world.round()
        assert world.store.migrating.moves.open()[0].migration.state in (State.ORDERED, State.RUNNING)
    assert ended(world)[0] is State.SETTLED


# -- the world changes


def test_a_server_that_is_deleted_while_it_migrates_leaves_nothing(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.round()
    world.emulator.nova.delete(server)
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "deleted" in said


def test_a_server_that_is_deleted_before_the_order_is_not_ordered(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.resizing(server)
    world.round()
    assert world.store.migrating.moves.open()[0].migration.state is State.RESERVED
    world.emulator.nova.delete(server)
    world.resized(server)
    assert ended(world)[0] is State.COMPENSATED
    assert world.orders() == 0


@pytest.mark.parametrize(("host", "word"), [("node01", "nova-compute on node01 is down"), ("node02", "its nova-compute is down")])
def test_a_host_that_goes_down_before_the_order_stops_it(world: MoveWorld, host: str, word: str) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.emulator.nova.hosts[host].up = False
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert word in said
    assert world.orders(server) == 0


def test_a_source_that_dies_in_the_middle_keeps_it_in_progress_until_nova_says_more(world: MoveWorld) -> None:
    server = under_way(world)
    world.emulator.nova.hosts["node01"].up = False
    world.silent.add("node01")
    for _ in range(5):
        world.round(100.0)
    (row,) = world.store.migrating.moves.open()
    assert row.migration.state is State.RUNNING
    assert "still watched" in row.migration.said
    with world.emulator.lock:  # the node comes back; nova-compute finds the guest where it was
        world.emulator.nova._back(world.emulator.nova.migrations[-1], "error")
        world.emulator.nova.servers[server].status = "ACTIVE"
    world.emulator.nova.hosts["node01"].up = True
    world.silent.clear()
    assert ended(world)[0] is State.COMPENSATED
    assert world.orders(server) == 1


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ("well", ""),
        ("silent", "whether its guest still runs is not known; if that host is dead, 'openstack server evacuate"),
        ("absent", "the agent there does not see its guest run: 'openstack server reboot --hard"),
    ],
)
def test_what_nova_calls_active_after_a_failed_move_and_nobody_sees_run_is_said_to_be_so(world: MoveWorld, seen: str, word: str) -> None:
    server, nova = under_way(world), world.emulator.nova
    world.silent |= {"node01"} if seen == "silent" else set()
    world.absent |= {server} if seen == "absent" else set()
    world.round(40.0)
    with world.emulator.lock:
        nova._back(nova.migrations[-1], "error")
        nova.servers[server].status = "ACTIVE"
    for _ in range(20):
        world.round()
    (row,) = world.done()
    assert row.migration.state is State.COMPENSATED
    assert row.migration.said.startswith("Nova ended it: error")
    assert word in row.migration.said
    assert (";" in row.migration.said) == bool(word)


def test_a_claim_that_nova_left_on_the_target_is_told_with_the_commands_that_put_it_right(world: MoveWorld) -> None:
    server, nova = under_way(world), world.emulator.nova
    with world.emulator.lock:
        on_the_target = nova.placement.consumers[server]
        nova._back(nova.migrations[-1], "error")
        nova.placement.consumers[server] = on_the_target
        nova.servers[server].status = "ACTIVE"
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "Nova left its claim in Placement on node02" in said
    assert f"heal_allocations --instance {server} --force" in said


def test_a_record_that_a_dead_nova_compute_left_running_does_not_keep_the_lease_for_ever(world: MoveWorld) -> None:
    server = under_way(world)
    with world.emulator.lock:
        world.emulator.nova.servers[server].status, world.emulator.nova.servers[server].task = "ACTIVE", None
    for _ in range(5):
        world.round(100.0)
    assert not world.store.migrating.moves.open()
    assert world.done()[0].migration.state is State.COMPENSATED


def test_a_target_that_filled_up_meanwhile_is_no_target_any_more(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fill("node02")
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "no room" in said
    assert world.orders(server) == 0
    with pytest.raises(Invalid, match="node02 cannot take it"):
        world.propose(server, "node02")


def test_an_operator_who_migrates_by_hand_first_is_left_alone(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    nova = world.emulator.nova
    with world.emulator.lock:
        nova._move(nova.servers[server], nova.hosts["node03"], force=False, later=False)
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "somebody else moves it" in said or "no longer on node01" in said or "being done to it" in said
    assert world.orders(server) == 0


def test_an_operator_who_migrates_it_on_afterwards_ends_ours(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.silent.add("node02")
    for _ in range(4):
        world.round()
    nova = world.emulator.nova
    with world.emulator.lock:
        nova._move(nova.servers[server], nova.hosts["node03"], force=False, later=False)
    state, said = ended(world, seconds=60.0)
    assert state is State.COMPENSATED
    assert "node03" in said
    assert world.orders(server) == 1


# -- aborts, and what Nova 32 to 34 leave behind


def test_a_server_that_nova_left_in_error_is_repaired_once_its_agent_sees_it_run(world: MoveWorld) -> None:
    server = placed(world)
    nova = world.emulator.nova
    nova.abort, nova.migration_s = "error", 100.0
    world.propose(server, "node02")
    world.round()
    world.silent.add("node01")
    with world.emulator.lock:
        nova._back(nova.migrations[-1], "error")
    world.round(61.0)
    (row,) = world.store.migrating.moves.open()
    assert nova.servers[server].status == "ERROR", "nobody says that its guest runs"
    assert "no agent says that its guest runs" in row.waits
    world.silent.clear()
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "reset-state to active" in said
    assert nova.servers[server].status == "ACTIVE"


@pytest.mark.parametrize("mode", [Mode.ACT, Mode.ADVISE])
def test_a_server_that_nova_has_in_error_on_its_target_has_arrived_once_its_state_is_put_right(world: MoveWorld, mode: Mode) -> None:
    """The target lost its libvirt at the last moment: the guest runs there, Nova calls server and migration an error."""
    server, nova = under_way(world), world.emulator.nova
    world.store.modes.set("cloud", mode, "a test", world.at)
    with world.emulator.lock:
        nova._arrive(nova.migrations[-1])
        nova._set(nova.migrations[-1], "error")
        nova.servers[server].status = "ERROR"
    for _ in range(3):
        world.round()
    if mode is Mode.ADVISE:
        (row,) = world.store.migrating.moves.open()
        assert nova.servers[server].status == "ERROR"
        assert f"openstack server set --state active {server}" in row.waits
        nova.servers[server].status = "ACTIVE"  # as told
    state, said = ended(world)
    assert state is State.SETTLED
    assert ("reset-state to active" in said) == (mode is Mode.ACT)
    assert nova.servers[server].status == "ACTIVE"
    assert world.orders(server) == 1 + (mode is Mode.ACT), "the order, and the repair"


def test_a_guest_that_nova_only_calls_moved_is_told_and_what_nova_holds_for_it_after_its_end_too(world: MoveWorld) -> None:
    """The source died before anything was sent: Nova 34 names the target, in ERROR, and keeps the migration's share."""
    server, nova = under_way(world), world.emulator.nova
    world.silent.update({"node01", "node02"})
    with world.emulator.lock:
        nova._arrive(nova.migrations[-1])
        nova._set(nova.migrations[-1], "error")
        nova.servers[server].status = "ERROR"
    for _ in range(3):
        world.round(61.0)
    (row,) = world.store.migrating.moves.open()
    assert "no agent says that its guest runs: an operator has to look; it ran on node01 before" in row.waits
    nova.delete(server)
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert f"openstack resource provider allocation delete {nova.migrations[-1].uuid}" in said
    assert world.orders(server) == 1


def test_an_error_that_nova_writes_after_the_failure_of_its_migration_is_repaired_too(world: MoveWorld) -> None:
    """Seen with Nova 34: the record says failed while the server is still ACTIVE, and only then the server goes to ERROR."""
    server, nova = under_way(world), world.emulator.nova
    with world.emulator.lock:
        nova._back(nova.migrations[-1], "failed")
        nova.servers[server].status, nova.servers[server].task = "ACTIVE", None
    world.round(3.0)
    assert world.store.migrating.moves.open()[0].migration.state is State.FAILED
    nova.servers[server].status = "ERROR"
    state, said = ended(world)
    assert state is State.COMPENSATED
    assert "reset-state to active" in said
    assert nova.servers[server].status == "ACTIVE"


def test_in_observe_a_server_in_error_is_left_to_an_operator(world: MoveWorld) -> None:
    server = placed(world)
    nova = world.emulator.nova
    nova.migration_s = 100.0
    world.propose(server, "node02")
    world.round()
    with world.emulator.lock:
        nova._back(nova.migrations[-1], "error")
    world.store.modes.stop("cloud", "a test", world.at)
    world.round(5.0)
    assert nova.servers[server].status == "ERROR"
    assert "mode forbids" in world.store.migrating.moves.open()[0].waits
    nova.servers[server].status = "ACTIVE"
    assert ended(world)[0] is State.COMPENSATED


def test_a_cancel_of_one_that_runs_does_not_abort_where_nova_does_not_survive_it(world: MoveWorld) -> None:
    server = placed(world)
    world.emulator.nova.migration_s = 5.0
    identity = world.propose(server, "node02")
    world.round()
    world.store.migrating.moves.ask_cancel(identity, "changed my mind", world.at)
    state, said = ended(world)
    assert state is State.SETTLED
    assert "does not survive an abort" in said
    assert not [r for r in world.emulator.requests if "DELETE /servers" in r]


def test_a_cancel_of_one_that_runs_aborts_it_where_nova_survives_that(tmp_path: Path) -> None:
    with moving(tmp_path, newest="2.96") as world:
        server = placed(world)
        world.emulator.nova.migration_s = 50.0
        identity = world.propose(server, "node02")
        world.round()
        world.round()
        world.store.migrating.moves.ask_cancel(identity, "changed my mind", world.at)
        state, said = ended(world)
        assert state is State.COMPENSATED
        assert "aborted" in said
        assert world.host_of(server) == "node01"
        assert sum("DELETE /servers" in r for r in world.emulator.requests) == 1


def test_one_that_ended_just_before_it_was_to_be_completed_by_force_has_arrived_and_is_not_taken_for_deleted(tmp_path: Path) -> None:
    with moving(tmp_path, force=True) as world:
        server = placed(world)
        world.emulator.nova.migration_s = 5000.0
        world.propose(server, "node02")
        world.rounds(most=3, seconds=1.0)
        (row,) = world.store.migrating.moves.open()
        world.fails("compute POST /servers/.*/migrations/.*/action", "status", status=404, times=9)
        world.round(row.migration.limit_s + 5.0)
        world.round(5.0)
        (row,) = world.store.migrating.moves.open()
        assert (row.migration.state, row.migration.gone) == (State.RUNNING, False)
        assert any("/migrations/" in r and "/action" in r for r in world.emulator.requests), "it was asked"
        world.emulator.nova.migration_s = 1.0
        assert ended(world)[0] is State.SETTLED


def test_a_cancel_before_the_order_gives_the_room_back(world: MoveWorld) -> None:
    server = placed(world)
    identity = world.propose(server, "node02")
    world.resizing(server)
    world.round()
    assert world.ours("node02")
    world.store.migrating.moves.ask_cancel(identity, "changed my mind", world.at)
    assert ended(world)[0] is State.COMPENSATED
    assert world.orders(server) == 0
    with pytest.raises(Invalid, match="is over"):
        world.store.migrating.moves.ask_cancel(identity, "again", world.at)


# -- stops


def test_a_stop_ends_what_waits_and_lets_arrive_what_runs(world: MoveWorld) -> None:
    runs, waits = placed(world), placed(world)
    world.propose(runs, "node02")
    world.round()
    world.propose(waits, "node03")
    world.store.modes.stop("cloud", "enough", world.at)
    rows = {r.migration.server: r for r in world.rounds()}
    assert rows[runs].migration.state is State.SETTLED
    assert rows[waits].migration.state is State.COMPENSATED
    assert (world.moved(runs), world.moved(waits)) == (1, 0)
    world.tidy()


def test_a_halted_host_makes_it_wait_and_not_fail(world: MoveWorld) -> None:
    from foreshape_controller.model.brakes import Halt  # noqa: PLC0415

    server = placed(world)
    halt = Halt(scope="host:node02", kind="failures", state="open", since=world.at, until=world.at + 60, reason="orders fail")
    world.store.halts.save([halt])
    world.propose(server, "node02")
    world.round()
    assert "is halted: orders fail" in world.store.migrating.moves.open()[0].waits
    assert world.orders() == 0
    world.store.halts.save([], [halt])
    assert ended(world)[0] is State.SETTLED


@pytest.mark.parametrize("what", ["os-server-groups", "os-aggregates", "os-migrations"])
def test_nothing_is_moved_by_a_reading_without_what_a_forced_order_skips(world: MoveWorld, what: str) -> None:
    """Without its server groups nobody would know that these two must stay apart."""
    server, other = placed(world), world.emulator.boot("node02", vcpus=1, ram=512)
    world.propose(server, "node02")
    world.emulator.nova.groups["g"] = {"id": "g", "name": "apart", "policy": "anti-affinity", "rules": {}, "members": [server, other]}
    fault = world.fails(f"compute GET /{what}", "status", status=500, times=999)
    for _ in range(3):
        world.round()
    assert world.orders() == 0
    assert not world.ours()
    assert "could not be read in full" in world.work.watch.why_not(world.at, PLACING)
    fault.times = 0
    for _ in range(6):
        world.round()
    assert (world.orders(), world.host_of(server)) == (0, "node01"), "they are apart, and stay so"


def test_a_reading_of_the_cloud_that_is_too_old_is_no_ground_to_order_on(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.at += 1000.0
    world.coordinator.run_once(world.at)
    assert world.orders() == 0
    assert not world.ours()
    assert ended(world)[0] is State.SETTLED


def test_nothing_is_done_in_advise_without_a_word_and_nothing_at_all_in_observe(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.OBSERVE) as world:
        server = placed(world)
        world.propose(server, "node02")
        state, said = ended(world)
        assert state is State.COMPENSATED
        assert "observe" in said
        assert world.orders() == 0


def test_a_source_that_falls_silent_while_it_sends_is_named_until_it_speaks_again(world: MoveWorld) -> None:
    server = placed(world)
    world.emulator.nova.migration_s = 400.0
    world.propose(server, "node02")
    while not world.orders(server):
        world.round()
    world.silent.add("node01")
    for _ in range(5):
        world.round(20.0)
    (row,) = world.store.migrating.moves.open()
    assert row.waits.startswith("no word from the agent of node01 for")
    assert "evacuated" in row.waits
    told = [h.text for h in world.store.migrating.moves.history(row.id)]
    assert sum("no word from the agent" in text for text in told) == 1, "told once, not with each look"
    world.silent.clear()
    world.round(20.0)
    assert [r.waits for r in world.store.migrating.moves.open()] == [""]
    assert ended(world, seconds=60.0)[0] is State.SETTLED
