"""How many move at once, who may move again, drains, leases, shapes, a second balancer: the coordinator's rules on an emulated cloud."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.guard import Guard, GuardTerms
from foreshape_controller.loops.migrate import leased
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.group import group_series
from foreshape_controller.model.migration import Migration, State
from foreshape_controller.model.moving import Goal, Moving
from foreshape_controller.model.moving_answers import DrainRequest
from foreshape_wire.order import Mode, Origin
from foreshape_wire.quantity import Cores
from move_support import MoveWorld, moving
from store_support import order, outcome

pytestmark = pytest.mark.functional


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoveWorld]:
    with moving(tmp_path) as made:
        yield made


def servers(world: MoveWorld, count: int, host: str = "node01", **size: int) -> list[str]:
    made = [world.emulator.boot(host, **{"vcpus": 1, "ram": 512, **size}) for _ in range(count)]
    world.round()
    return made


# -- limits


@pytest.mark.parametrize(
    ("out", "into", "cluster", "link", "workers"), [(1, 2, 4, 9, 0), (3, 1, 4, 9, 0), (9, 9, 2, 9, 0), (9, 9, 9, 1, 0), (2, 2, 3, 2, 8)]
)
def test_never_more_at_once_than_the_limits_allow(tmp_path: Path, out: int, into: int, cluster: int, link: int, workers: int) -> None:
    """Also where several are worked on at once: what has begun counts before it is written down."""
    with moving(tmp_path, out=out, into=into, cluster=cluster, link=link, workers=workers) as world:
        for host, target in (("node01", "node02"), ("node02", "node03"), ("node03", "node01")):
            for server in servers(world, 4, host):
                world.propose(server, target)
        most = Counter[str]()
        for _ in range(90):
            world.round()
            going = [m for m in world.emulator.nova.migrations if m.status not in ("completed", "error", "failed")]
            for kind, found in (
                ("cluster", Counter({"": len(going)})),
                ("out", Counter(m.source for m in going)),
                ("into", Counter(m.target for m in going)),
                ("link", Counter((m.source, m.target) for m in going)),
            ):
                most[kind] = max(most[kind], *found.values(), 0)
            if not world.store.migrating.moves.open():
                break
        done = world.done()
        assert [r.migration.state for r in done] == [State.SETTLED] * 12
        assert most["cluster"] <= cluster
        assert most["out"] <= out
        assert most["into"] <= into
        assert most["link"] <= link
        assert max(most["cluster"] / cluster, most["out"] / out, most["into"] / into, most["link"] / link) == 1.0, "a limit is reached"
        world.tidy()


def test_no_more_than_so_many_are_ordered_within_an_hour(tmp_path: Path) -> None:
    with moving(tmp_path, per_hour=2, wait_s=90_000.0) as world:
        for server in servers(world, 3):
            world.propose(server, "node02")
        for _ in range(10):
            world.round(10.0)
        assert len(world.emulator.nova.migrations) == 2
        assert "within an hour: the limit" in world.store.migrating.moves.open()[0].waits
        world.restart()
        world.round(3600.0)
        world.round()
        assert len(world.emulator.nova.migrations) == 3


def test_others_migrations_take_up_the_limits_too(tmp_path: Path) -> None:
    with moving(tmp_path, out=1) as world:
        mine, theirs = servers(world, 2)
        nova = world.emulator.nova
        nova.migration_s = 20.0
        with world.emulator.lock:
            nova._move(nova.servers[theirs], nova.hosts["node03"], force=False, later=False)
        world.look()
        world.propose(mine, "node02")
        world.round()
        assert "under way out of node01" in world.store.migrating.moves.open()[0].waits
        assert world.moved(mine) == 0
        assert world.rounds()[0].migration.state is State.SETTLED


def test_room_that_is_held_for_it_beforehand_is_no_obstacle_to_it(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        servers(world, 2, vcpus=8)
        world.short("node01", cores=3.0)
        world.round()
        (proposal,) = world.store.migrating.proposals.waiting()
        world.store.modes.set("cloud", Mode.ACT, "only to hold", world.at)
        world.hold(host=proposal.target, resources=world.moves_size(proposal.server), owner=f"need:{proposal.id}", server=proposal.server)
        world.hold(host=proposal.target, resources={"VCPU": 14}, count=4)
        world.store.modes.set("cloud", Mode.ADVISE, "a test", world.at)
        for _ in range(3):
            world.round()
        assert [p.id for p in world.store.migrating.proposals.waiting()] == [proposal.id], "full, but of its own room"
        world.store.migrating.proposals.approve([proposal.id], "ann")
        (row,) = world.rounds()
        assert (row.migration.state, row.migration.target) == (State.SETTLED, proposal.target)


# -- who moves again


def test_a_server_that_was_moved_lately_is_not_moved_for_a_need(tmp_path: Path) -> None:
    with moving(tmp_path, hold_s=1800.0) as world:
        (moved,) = servers(world, 1, "node02", vcpus=4)
        world.propose(moved, "node01")
        world.rounds()
        servers(world, 1, vcpus=8)
        world.short("node01", cores=3.0)
        world.round()
        assert [p.server for p in world.store.migrating.proposals.waiting()] != [moved]
        assert not [r for r in world.store.migrating.moves.open() if r.migration.server == moved]


def test_a_server_has_one_migration_at_a_time(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    world.propose(server, "node02")
    world.propose(server, "node03")
    world.rounds()
    world.tidy()
    assert world.moved(server) <= 2
    assert len([r for r in world.done() if r.migration.state is State.SETTLED]) == world.moved(server)


def test_proposals_are_kept_while_they_hold_and_withdrawn_when_the_need_is_over(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        servers(world, 2, vcpus=8)
        world.short("node01", cores=3.0)
        world.round()
        (first,) = world.store.migrating.proposals.waiting()
        for _ in range(3):
            world.round()
        assert [p.id for p in world.store.migrating.proposals.waiting()] == [first.id]
        world.enough("node01")
        world.round()
        gone = world.store.migrating.proposals.find(first.id)
        assert (gone.state, gone.why) == ("withdrawn", "node01 is not expected to run short any more")


# -- drains


def drained(world: MoveWorld, host: str = "node01", **more: object) -> None:
    asked = DrainRequest(**{"reason": "new memory", "by": "ann", **more})
    world.moves.draining.begin(host, asked, world.at)
    world.coordinator.replan()


def test_a_host_is_drained_and_takes_nobody_until_it_is_undrained(world: MoveWorld) -> None:
    mine = servers(world, 5)
    drained(world)
    world.round()
    rows = world.rounds()
    assert {r.migration.server for r in rows} == set(mine)
    assert {r.migration.state for r in rows} == {State.SETTLED}
    assert {world.host_of(s) for s in mine} <= {"node02", "node03"}
    world.round(2.0)
    world.round(20.0)  # the last one has arrived for both: its agents, and Nova
    (drain,) = world.store.migrating.drains.open()
    assert (drain.total, drain.empty_at is not None) == (5, True)
    with pytest.raises(Invalid, match="it is being drained: new memory"):
        world.propose(mine[0], "node01")
    with pytest.raises(Invalid, match="drained already"):
        drained(world)
    world.moves.draining.end("node01", "done", world.at)
    world.propose(mine[0], "node01")
    with pytest.raises(NotFound, match="not being drained"):
        world.moves.draining.end("node01", "again", world.at)


def test_what_cannot_leave_is_told_with_its_reason(world: MoveWorld) -> None:
    free, locked = servers(world, 2)
    world.emulator.nova.servers[locked].locked = True
    world.look()
    drained(world)
    world.round()
    world.rounds()
    world.round()
    assert (world.host_of(free) != "node01", world.host_of(locked)) == (True, "node01")
    (drain,) = world.store.migrating.drains.open()
    assert dict(drain.kept) == {locked: "it is locked by its owner or an operator"}
    assert drain.empty_at is None


def test_in_advise_a_drain_is_proposed_unless_it_was_approved_with_the_command(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        (server,) = servers(world, 1)
        drained(world)
        world.round()
        world.round()
        assert [(p.server, p.goal) for p in world.store.migrating.proposals.waiting()] == [(server, Goal.DRAIN)]
        assert world.orders() == 0
        world.moves.draining.end("node01", "", world.at)
        drained(world, approve=True)
        world.round()
        assert [(r.migration.state, r.by) for r in world.rounds()] == [(State.SETTLED, "ann")]


def test_in_advise_a_service_is_disabled_only_for_a_drain_that_was_approved_with_the_command(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        host = world.emulator.nova.hosts["node01"]
        with pytest.raises(Invalid, match="approve the drain as well"):
            drained(world, disable=True)
        assert host.enabled
        assert world.store.migrating.drains.open() == ()
        drained(world, disable=True, approve=True)
        assert not host.enabled


def test_a_drain_disables_the_service_and_undrain_enables_it_unless_somebody_else_gave_a_reason(world: MoveWorld) -> None:
    host = world.emulator.nova.hosts["node01"]
    drained(world, disable=True)
    assert not host.enabled
    assert "new memory" in host.why
    world.look()
    world.moves.draining.end("node01", "", world.at)
    assert host.enabled
    drained(world, disable=True)
    host.why = "its disk is broken"
    world.look()
    world.moves.draining.end("node01", "", world.at)
    assert not host.enabled


@pytest.mark.parametrize("reason", ["its disk is broken", ""])
def test_a_host_that_somebody_disabled_before_its_drain_keeps_his_reason_and_stays_disabled(world: MoveWorld, reason: str) -> None:
    host = world.emulator.nova.hosts["node01"]
    world.cloud.nova.disable(host.service, reason)
    drained(world, disable=True)
    world.round(60.0)
    assert host.why == reason
    world.moves.draining.end("node01", "", world.at)
    world.round(60.0)
    assert not host.enabled


def test_a_drain_does_not_open_what_was_closed_anew_since_the_cloud_was_read(world: MoveWorld) -> None:
    host = world.emulator.nova.hosts["node01"]
    drained(world, disable=True)
    world.look()
    host.why = ""  # an operator's own 'disable', which gives no reason
    world.moves.draining.end("node01", "", world.at)
    assert not host.enabled


def test_a_drain_whose_disabling_nova_did_not_hear_is_made_good_for(world: MoveWorld) -> None:
    host = world.emulator.nova.hosts["node01"]
    world.fails("PUT /os-services", "status", status=503, times=4)
    drained(world, disable=True)
    assert host.enabled
    world.round()
    world.round()
    assert not host.enabled
    world.fails("PUT /os-services", "status", status=503, times=4)
    world.look()
    world.moves.draining.end("node01", "", world.at)
    assert not host.enabled
    world.round(2.0)
    world.round(2.0)
    assert host.enabled


@pytest.mark.parametrize(
    ("host", "asked", "word"), [("nowhere", {}, "no host"), ("node01", {"reason": " "}, "reason"), ("node01", {"until": 5.0}, "future")]
)
def test_a_drain_that_makes_no_sense_is_refused(world: MoveWorld, host: str, asked: dict[str, object], word: str) -> None:
    with pytest.raises((Invalid, NotFound), match=word):
        drained(world, host, **asked)
    assert not world.store.migrating.drains.open()


def test_what_a_person_withdraws_at_the_last_moment_does_not_become_a_migration(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    kept, wanted = world.store.migrating, world.propose(server, "node02")
    proposal = kept.proposals.find(wanted)
    migration = Migration(id=wanted, server=server, source="node01", target="node02", reason="a test", created=world.at, limit_s=60.0)
    row = Moving(migration=migration, goal=proposal.goal, by="ann", cause="c")
    kept.proposals.withdraw(wanted, "not today")
    assert not kept.moves.add(row, world.at, taken=replace(proposal, state="taken"))
    assert kept.proposals.find(wanted).state == "withdrawn"
    assert not kept.moves.open()


@pytest.mark.parametrize("goal", [Goal.NEED, Goal.DRAIN])
def test_a_migration_that_nova_fails_is_not_ordered_again_each_minute(world: MoveWorld, goal: Goal) -> None:
    mine = [world.emulator.boot("node01", vcpus=4, ram=4096), world.emulator.boot("node01", vcpus=8, ram=8192)]
    world.round()
    if goal is Goal.DRAIN:
        drained(world)
    else:
        world.short("node01", cores=3.0, deadline=world.at + 86400)
    world.emulator.nova.fails = 999
    for rounds, most in ((20, 1), (120, 3)):  # ten minutes; then an hour: again after a quarter of it, and after half of one
        for _ in range(rounds):
            world.round(30.0)
        assert max(world.orders(server) for server in mine) == most
    around = world.moves.gather(world.at)
    assert around is not None
    assert any("its migration failed 3 times in a row" in k.reason for k in world.moves.proposing.drain("node01", 1e12, around).kept)


# -- the lease, and the shape


def test_an_order_to_resize_that_an_agent_has_is_awaited_and_the_others_are_withdrawn(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    world.resizing(server)
    world.propose(server, "node02")
    world.round()
    world.round()
    (row,) = world.store.migrating.moves.open()
    assert row.migration.state is State.RESERVED
    assert "which its agent may have, is not settled" in row.waits
    assert set(leased(world.store.migrating.moves.open())) == {server}
    world.resized(server)
    assert world.rounds()[0].migration.state is State.SETTLED
    assert leased(world.store.migrating.moves.open()) == {}


def test_an_order_that_no_agent_fetched_is_withdrawn_before_the_migration(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    world.propose(server, "node02")
    world.at += 1.0
    world.store.journal.again(order("ord-late", server, world.at), "node01", (1.0, 512.0), world.at)
    world.look()
    world.coordinator.run_once(world.at)
    assert world.store.migrating.moves.open()[0].migration.state in (State.ORDERED, State.RUNNING)
    assert world.store.journal.orders(server)[0].status == "withdrawn"


def shaped(world: MoveWorld, server: str, cores: float) -> None:
    """Foreshape gave it so much, and that was proven."""
    name = f"ord-{server[:8]}"
    world.store.journal.again(order(name, server, world.at), "node01", (2.0, 2048.0), world.at)
    told = outcome(name, server=server, at=world.at, before=2.0, target=cores, after=cores)
    world.store.journal.settle([told], world.at)
    world.store.journal.settle([outcome(name, "memory", server=server, at=world.at, after=2048.0)], world.at)
    world.shapes[server] = (cores, 2048.0)
    world.round()


def test_a_shape_that_came_along_is_left_as_it_is(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=2, ram=2048)
    shaped(world, server, 1.0)
    world.propose(server, "node02")
    (row,) = world.rounds()
    assert row.migration.state is State.SETTLED
    assert row.applying == ""


def test_a_shape_that_was_lost_on_the_way_is_applied_again_on_the_target(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=2, ram=2048)
    shaped(world, server, 1.0)
    world.propose(server, "node02")
    world.round()
    del world.shapes[server]
    world.round(2.0)
    world.round(2.0)
    (row,) = world.store.migrating.moves.open()
    assert row.migration.state is State.ARRIVED
    (told,) = [o for o in world.store.journal.orders(server) if o.order.order == row.applying]
    assert (told.order.cpu, told.order.memory, told.status) == (Cores(1.0), None, "open")
    assert leased([row]) != {}
    open_there = [o.order for o in world.store.journal.open_orders("node02", world.at)]
    assert open_there == [row.applying]
    world.store.journal.settle([outcome(row.applying, server=server, at=world.at, after=1.0)], world.at)
    world.shapes[server] = (1.0, 2048.0)
    assert world.rounds()[0].migration.state is State.SETTLED


def test_a_halted_host_gets_no_order_for_a_shape_before_it_is_in_order_again(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=2, ram=2048)
    shaped(world, server, 1.0)
    world.propose(server, "node02")
    world.round()
    del world.shapes[server]
    halt = Halt(scope="host:node02", kind="failures", state="open", since=world.at, until=world.at + 600, reason="orders fail")
    world.store.halts.save([halt])
    for _ in range(3):
        world.round(2.0)
    (row,) = world.store.migrating.moves.open()
    assert (row.migration.state, row.applying) == (State.ARRIVED, "")
    assert "host:node02 is halted: orders fail" in row.waits
    world.store.halts.save([], [halt])
    world.round(2.0)
    (row,) = world.store.migrating.moves.open()
    assert [o.order.order for o in world.store.journal.orders(server) if o.order.order == row.applying] == [row.applying]


def reboots(world: MoveWorld, server: str) -> None:
    """It has what it was sold again."""
    world.shapes.pop(server)


def minutes(world: MoveWorld, count: int) -> int:
    """How many orders came of so many looks."""
    ordered = 0
    for _ in range(count):
        world.at += 60.0
        world.agents()
        ordered += world.moves.shapes.run_once(world.at)
    return ordered


def test_a_shape_that_a_reboot_undid_is_applied_again_once_the_server_runs_for_a_while(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=4, ram=2048)
    shaped(world, server, 2.0)
    assert minutes(world, 1) == 0
    reboots(world, server)
    assert minutes(world, 2) == 0, "it starts"
    assert minutes(world, 1) == 1
    newest = world.store.journal.orders(server)[0].order
    assert (newest.cpu, newest.memory) == (Cores(2.0), None)
    assert "came back with what it was sold (4 cores" in newest.reason
    assert minutes(world, 10) == 0, "once"


def test_a_shape_is_not_applied_again_after_a_resize_nor_below_what_is_used_nor_in_advise(world: MoveWorld) -> None:
    resized, busy, advised = servers(world, 3, vcpus=4, ram=2048)
    for server in (resized, busy, advised):
        shaped(world, server, 2.0 if server != busy else 1.1)
    minutes(world, 1)
    for server in (resized, busy, advised):
        reboots(world, server)
    world.emulator.nova.servers[resized].vcpus = 8
    world.store.modes.set(f"server:{advised}", Mode.ADVISE, "a test", world.at)
    assert minutes(world, 6) == 0, "the busy one uses 1.0 cores: 1.1 would not do"


def test_what_an_agent_gave_back_by_itself_is_no_lost_shape(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=4, ram=2048)
    shaped(world, server, 2.0)
    minutes(world, 1)
    told = outcome("", server=server, at=world.at, before=2.0, target=4.0, after=4.0, origin=Origin.REFLEX)
    world.store.journal.settle([told], world.at)
    reboots(world, server)
    assert minutes(world, 6) == 0


def test_a_target_without_agent_is_believed_on_novas_word_after_a_while(world: MoveWorld) -> None:
    world.emulator.add_host("node04")
    world.silent.add("node04")
    (server,) = servers(world, 1)
    world.propose(server, "node04")
    (row,) = world.rounds(seconds=3.0)
    assert row.migration.state is State.SETTLED
    said = "; ".join(h.text for h in world.store.migrating.moves.history(row.id))
    assert "node04 has no agent: Nova's word alone" in said


def test_a_target_whose_agent_reports_without_the_server_is_not_believed(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    world.propose(server, "node02")
    world.silent.add("node01")
    world.round()
    world.absent.add(server)
    for _ in range(8):
        world.round(100.0)
    assert world.host_of(server) == "node02"
    assert world.store.migrating.moves.open()[0].migration.state is State.RUNNING
    world.absent.clear()
    assert world.rounds()[0].migration.state is State.SETTLED


# -- a second balancer


def test_several_migrations_by_somebody_else_stop_what_is_done_by_itself_until_they_rest(tmp_path: Path) -> None:
    with moving(tmp_path, balancer_rest_s=600.0) as world:
        theirs, nova = servers(world, 3, "node02"), world.emulator.nova
        for server in theirs:
            with world.emulator.lock:
                nova._move(nova.servers[server], nova.hosts["node03"], force=False, later=False)
        servers(world, 2, vcpus=8)
        world.short("node01", cores=3.0)
        world.round(61.0)
        world.round(61.0)
        assert [(h.scope, h.kind, h.active) for h in world.store.halts.all()] == [("cloud", "balancer", True)]
        guard = Guard(world.store, GuardTerms.of(world.settings))
        guard.look(world.store.inventory.view(world.at), world.at)
        assert not guard.brakes(world.store.inventory.view(world.at), world.at).stopped, "sizes are nobody else's"
        before = len(nova.migrations)
        for _ in range(3):
            world.round(10.0)
        assert len(nova.migrations) == before
        (waiting,) = [p for p in world.store.migrating.proposals.waiting() if p.state == "open"]
        world.store.migrating.proposals.approve([waiting.id], "ann")
        assert world.rounds()[-1].migration.state is State.SETTLED, "a person's word goes on"
        for _ in range(12):
            world.round(100.0)
        assert not world.moves.gather(world.at).balancer


def test_a_drained_hosts_migrations_by_hand_are_no_balancer(world: MoveWorld) -> None:
    theirs, nova = servers(world, 3, "node02"), world.emulator.nova
    nova.hosts["node02"].enabled = False
    for server in theirs:
        with world.emulator.lock:
            nova._move(nova.servers[server], nova.hosts["node03"], force=True, later=False)
    world.propose(servers(world, 1)[0], "node03")
    world.rounds()
    world.round(61.0)
    assert world.store.halts.all() == ()


# -- what it learns


def test_what_a_migration_took_is_kept_beside_what_was_predicted_and_learnt_from(world: MoveWorld) -> None:
    world.emulator.nova.migration_s = 30.0
    (server,) = servers(world, 1, vcpus=4, ram=8192)
    world.propose(server, "node02")
    (row,) = world.rounds(seconds=2.0)
    assert row.took_s == pytest.approx(30.0, abs=3.0)
    assert 3.0 < row.predicted_s < 30.0, "256 MiB at 100 MiB/s, and what Nova takes beside"
    factors = world.store.migrating.learnt.of("link")
    assert set(factors) == {"node01|node02", "*"}
    assert all(f > 1.0 for f in factors.values()), "it was slower than predicted"


def test_what_the_targets_agent_measured_of_the_downtime_is_kept_told_and_learnt_from(world: MoveWorld) -> None:
    (server,) = servers(world, 1, vcpus=4, ram=8192)
    world.stops = {(server, "node02"): 0.008, (server, "node01"): 7.0}
    name = world.propose(server, "node02")
    (row,) = world.rounds(seconds=2.0)
    assert (row.migration.state, row.stopped_s) == (State.SETTLED, 0.008)
    assert 0.008 < row.downtime_s < 0.6
    (told,) = [h.text for h in world.store.migrating.moves.history(name) if h.what == "measured"]
    assert "stopped for 0.008 s, predicted 0." in told
    learnt = world.store.migrating.learnt.of("downtime")
    assert set(learnt) == {"node01|node02", "*"}
    around = world.moves.gather(world.at)
    assert around is not None
    assert around.outlook(server, "node01", "node02").downtime_s < row.downtime_s, "the next one on this link is predicted shorter"


@pytest.mark.parametrize(("late_s", "measured"), [(20.0, 0.008), (300.0, None)])
def test_an_agent_that_tells_the_downtime_after_the_move_is_settled_is_still_heard(
    world: MoveWorld, late_s: float, measured: float | None
) -> None:
    """Within two minutes, once, and also by a controller that was started anew meanwhile."""
    (server,) = servers(world, 1, vcpus=4, ram=8192)
    name = world.propose(server, "node02")
    (row,) = world.rounds(seconds=2.0)
    assert (row.migration.state, row.stopped_s) == (State.SETTLED, None)
    world.round(late_s)
    world.stops = {(server, "node02"): 0.008}
    world.restart()
    for _ in range(3):
        world.round(2.0)
    assert world.store.migrating.moves.find(name).stopped_s == measured
    assert [h.what for h in world.store.migrating.moves.history(name)].count("measured") == (measured is not None)
    assert bool(world.store.migrating.learnt.of("downtime")) == (measured is not None)
    assert len(world.store.migrating.moves.open()) == 0


def test_what_an_earlier_migration_stopped_it_for_is_not_taken_for_this_one(world: MoveWorld) -> None:
    """Until the target's agent speaks of it, what is known of the server is what its old host's agent told."""
    (server,) = servers(world, 1, vcpus=4, ram=8192)
    world.stops = {(server, "node01"): 7.0}
    world.propose(server, "node02")
    (row,) = world.rounds(seconds=2.0)
    assert (row.migration.state, row.stopped_s) == (State.SETTLED, None), "nobody measured it"
    assert not world.store.migrating.learnt.of("downtime")


# -- hosts whose history is short


def foreseen(world: MoveWorld, host: str, source: str) -> None:
    """A forecast says that the host may use all it has, and which link of the chain says so."""
    for resource, has in (("cpu", 1e3), ("memory", 1e6)):
        n = len(LEVELS)
        fan = np.full(n, has, np.float32)
        world.store.forecasts.save(
            Forecast(
                resource=resource,
                series=(group_series("host", host),),
                origin=int(world.at),
                steps=np.broadcast_to(fan, (1, 6, n)),
                half_hours=np.broadcast_to(fan, (1, HALF_HOURS, n)),
                peak30m=fan[None],
                peak24h=fan[None],
                source=(source,),
                reason=("",),
                age_s=np.zeros(1),
            )
        )


@pytest.mark.parametrize("source", ["entitlement", "fleet"])
def test_a_host_without_history_is_judged_by_its_servers_not_by_all_that_it_could_use(world: MoveWorld, source: str) -> None:
    """A new host, or every host of a new installation: "anything up to all it has" would let nothing move for three hours."""
    (server,) = servers(world, 1)
    foreseen(world, "node02", source)
    world.round(11.0)
    world.propose(server, "node02")
    world.rounds()
    assert world.host_of(server) == "node02"


def test_a_host_whose_own_history_says_that_it_will_be_full_takes_nobody(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    foreseen(world, "node02", "baseline")
    world.round(11.0)  # agents' word of then is old enough to be read again
    with pytest.raises(Invalid, match="would exceed 90 % by forecast"):
        world.propose(server, "node02")


def test_a_server_needs_no_more_on_its_target_than_it_can_use_whatever_an_event_makes_of_its_demand(world: MoveWorld) -> None:
    (server,) = servers(world, 1)
    wanted(world, server, cores=1e3)
    world.round(11.0)
    around = world.moves.gather(world.at)
    assert around is not None
    ground = around.ground(around.pending(), resting=False)
    assert ground.servers.peak[ground.servers.ids.index(server)].tolist() == [1.0, 512.0]
    world.propose(server, "node02")
    world.rounds()
    assert world.host_of(server) == "node02"


def wanted(world: MoveWorld, server: str, cores: float) -> None:
    """A forecast from its own history says that it will want so much."""
    fan = np.full(len(LEVELS), cores, np.float32)
    world.store.forecasts.save(
        Forecast(
            resource="cpu",
            series=(server,),
            origin=int(world.at),
            steps=np.broadcast_to(fan, (1, 6, fan.size)),
            half_hours=np.broadcast_to(fan, (1, HALF_HOURS, fan.size)),
            peak30m=fan[None],
            peak24h=fan[None],
            source=("own",),
            reason=("",),
            age_s=np.zeros(1),
        )
    )
