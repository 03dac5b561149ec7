"""Migrations in a cloud that is not in order: hosts that vanish, names that two have, quotas, generations that move, clocks that differ."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshape_controller.errors import Invalid
from foreshape_controller.loops.draining import told
from foreshape_controller.model.migration import State
from foreshape_controller.model.moving_answers import DrainRequest
from move_support import MoveWorld, moving, placed

pytestmark = pytest.mark.functional

TWIN = {"services": [{"id": "other", "host": "node02", "status": "enabled", "state": "up"}]}
"""A second nova-compute that calls itself node02."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoveWorld]:
    with moving(tmp_path, plan_every_s=3600.0) as made:
        yield made


def reads_all_again(world: MoveWorld) -> None:
    world.at += world.settings.cloud.full_every_s
    world.look()


def test_a_target_that_vanishes_from_nova_ends_what_was_to_go_there_and_no_other(world: MoveWorld) -> None:
    lost, kept = placed(world), placed(world)
    world.propose(lost, "node02")
    world.propose(kept, "node03")
    del world.emulator.nova.hosts["node02"]
    reads_all_again(world)
    rows = {r.migration.server: r.migration for r in world.rounds()}
    assert (rows[lost].state, rows[kept].state) == (State.COMPENSATED, State.SETTLED)
    assert "no host node02" in rows[lost].said
    assert (world.host_of(lost), world.orders(lost)) == ("node01", 0)
    world.tidy()


def test_a_drained_host_that_vanishes_from_nova_is_told_and_others_are_emptied(world: MoveWorld) -> None:
    """What Nova still calls its servers cannot leave; another host's drain goes on."""
    placed(world, "node01")
    other = placed(world, "node02")
    for host in ("node01", "node02"):
        world.moves.draining.begin(host, DrainRequest(reason="a test", by="ann", approve=True), world.at)
    del world.emulator.nova.hosts["node01"]
    reads_all_again(world)
    for _ in range(20):
        world.coordinator.replan()
        world.round(5.0)
    drains = {d.host: told(d, world.moves.gather(world.at)) for d in world.store.migrating.drains.open()}
    assert world.host_of(other) == "node03"
    assert drains["node02"].state == "empty"
    assert "no host 'node01' in Nova" in str(drains["node01"].kept)


def test_where_two_nova_computes_share_a_name_nobody_is_moved(world: MoveWorld) -> None:
    server, elsewhere = placed(world), placed(world)
    world.emulator.nova.extra_rows = TWIN
    reads_all_again(world)
    with pytest.raises(Invalid, match="node02 cannot take it"):
        world.propose(server, "node02")
    world.propose(elsewhere, "node03")
    (row,) = world.rounds()
    assert row.migration.state is State.SETTLED, "the other hosts are not concerned"


def test_a_name_that_a_second_nova_compute_takes_before_the_order_stops_it(world: MoveWorld) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.emulator.nova.extra_rows = TWIN
    reads_all_again(world)
    (row,) = world.rounds()
    assert (row.migration.state, world.orders(server)) == (State.COMPENSATED, 0)
    assert "node02 is no target for it any more" in row.migration.said
    world.tidy()


@pytest.mark.parametrize("status", [403, 413])
def test_a_quota_ends_the_migration_once_and_is_told_with_novas_words(world: MoveWorld, status: int) -> None:
    server = placed(world)
    world.propose(server, "node02")
    world.fails("compute POST /servers/.*/action", "status", status=status, times=99)
    (row,) = world.rounds()
    assert (row.migration.state, world.moved(server)) == (State.COMPENSATED, 0)
    assert str(status) in row.migration.said
    assert world.orders(server) == 1, "a refusal is an answer: not asked again"
    world.tidy()


def test_generations_that_move_meanwhile_are_ridden_out(world: MoveWorld) -> None:
    """Everybody writes to the target's provider while we lock it, hold room there, hand it over and unlock it."""
    server = placed(world)
    world.propose(server, "node02")
    storm = world.fails("placement (PUT|DELETE) ", "storm", times=4)
    (row,) = world.rounds()
    assert storm.hits == 4
    assert (row.migration.state, world.moved(server)) == (State.SETTLED, 1)
    world.tidy()


def test_generations_that_never_rest_lose_nothing(world: MoveWorld) -> None:
    """The lock cannot be written: nobody is ordered without it, the room is given back, and it says why."""
    server = placed(world)
    world.propose(server, "node02")
    storm = world.fails("placement PUT .*/traits", "storm", times=10**6)
    (row,) = world.rounds()
    assert (row.migration.state, world.moved(server)) == (State.COMPENSATED, 0)
    assert "could not be handed over" in row.migration.said
    storm.hits = storm.times
    world.reservations.run_once(world.at)
    world.tidy()


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_nova_whose_clock_is_wrong_moves_and_measures_as_any_other(world: MoveWorld, ahead: float) -> None:
    """What it took is the difference of two times of Nova's own."""
    server = placed(world)
    world.emulator.clock_ahead_s, world.emulator.nova.now = ahead, lambda: world.at + ahead
    world.emulator.nova.migration_s = 30.0
    world.propose(server, "node02")
    (row,) = world.rounds(seconds=2.0)
    assert (row.migration.state, world.moved(server)) == (State.SETTLED, 1)
    assert row.took_s == pytest.approx(30.0, abs=3.0)


def test_a_target_whose_agents_clock_is_behind_is_believed_later_and_by_as_much(world: MoveWorld) -> None:
    """Its reports seem to be of before the order: until they do not, Nova's word stands alone. Nothing is done twice meanwhile."""
    server = placed(world)
    world.ahead["node02"] = -120.0
    world.propose(server, "node02")
    world.rounds(most=12)
    (row,) = world.store.migrating.moves.open()
    assert row.migration.state is State.RUNNING, "a minute after the order"
    assert "does not report it yet" in row.migration.said
    (row,) = world.rounds(most=20)
    assert (row.migration.state, world.orders(server)) == (State.SETTLED, 1)
    assert row.ended is not None
    assert row.ended - (row.migration.ordered_at or 0.0) < 200.0
