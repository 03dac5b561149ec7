"""What Nova and agents say of a migration, as events: which record is ours, what proves arrival, how fast the server writes its memory."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.loops.mend import lost
from foreshape_controller.loops.surroundings import pasts
from foreshape_controller.loops.witness import ALONE_S, MIB, SILENT_S, Witness
from foreshape_controller.model.cloud import CloudFlavor, CloudMigration, CloudServer
from foreshape_controller.model.migration import Event, Happened, Migration, State
from foreshape_controller.model.moving import Goal, Moving, Shape
from foreshape_wire.reading import DomainState

pytestmark = pytest.mark.unit

MIGRATION = Migration(
    id="m1", server="vm1", source="hv1", target="hv2", reason="", created=0.0, limit_s=600.0, state=State.ORDERED, ordered_at=100.0
)
ROW = Moving(migration=MIGRATION, goal=Goal.NEED, by="automatic", cause="c", link="hv1|hv2", predicted_s=10.0, known=("old",))


def record(**more: Any) -> CloudMigration:
    said = {"uuid": "n1", "id": 7, "server": "vm1", "source": "hv1", "target": "hv2", "status": "running", "kind": "live-migration"}
    return CloudMigration(**{**said, **more})


@dataclass(frozen=True)
class Seen:
    host: str = "hv2"
    at: float = 120.0
    state: DomainState = DomainState.RUNNING
    stopped_s: float | None = None


@dataclass
class World:
    """Nova, agents and what is learnt."""

    host: str = "hv1"
    status: str = "ACTIVE"
    task: str = ""
    records: list[CloudMigration] = field(default_factory=list)
    running: list[CloudMigration] = field(default_factory=list)
    seen: Seen | None = None
    heard: dict[str, float] = field(default_factory=dict)
    learnt: dict[tuple[str, str], float] = field(default_factory=dict)

    def server(self, server: str) -> CloudServer:
        return CloudServer(id=server, host=self.host, status=self.status, task_state=self.task, flavor=CloudFlavor())

    def migrations(self, *, server: str = "") -> list[CloudMigration]:
        return self.records

    def progress(self, server: str) -> tuple[CloudMigration, ...]:
        return tuple(self.running)

    def of(self, wanted: Any) -> dict[str, Any]:
        if isinstance(wanted, str):
            return {name: value for (kind, name), value in self.learnt.items() if kind == wanted}
        return {"vm1": self.seen} if self.seen else {}

    def hosts(self) -> dict[str, float]:
        return self.heard

    def put(self, kind: str, name: str, value: float, now: float) -> None:
        self.learnt[kind, name] = value

    def look(self, row: Moving = ROW, now: float = 130.0) -> tuple[Moving, tuple[Event, ...]]:
        return Witness(self, self, self).look(row, now)

    def agent(self, row: Moving = ROW, now: float = 130.0) -> Event | None:
        return next((e for e in self.look(row, now)[1] if e.kind is Happened.AGENT), None)


def test_our_record_is_the_one_on_our_way_that_was_not_there_before_the_order():
    world = World(records=[record(uuid="other", target="hv3"), record(uuid="new"), record(uuid="old", status="completed")])
    row, events = world.look()
    assert (events[0].nova_id, events[0].status, row.number) == ("new", "running", 7)
    assert World(records=[record(uuid="old", status="error")]).look()[1][0].status == "", "that one was there before"
    assert World(records=[record(uuid="new", kind="resize")]).look()[1][0].status == ""


def test_a_record_that_is_known_by_its_id_is_found_wherever_it_goes():
    row = replace(ROW, migration=replace(MIGRATION, nova_id="n9"))
    assert World(records=[record(uuid="new"), record(uuid="n9", status="failed")]).look(row)[1][0].status == "failed"


def test_a_record_that_runs_while_its_server_rests_is_believed_until_the_limit_and_then_not():
    world = World(records=[record()])
    assert world.look(now=700.0)[1][0].status == "running"
    assert world.look(now=700.1)[1][0].status == "error"
    world.host = "hv2"
    assert world.look(now=701.0)[1][0].status == "completed"
    world.task = "migrating"
    assert world.look(now=9000.0)[1][0].status == "running"


ARRIVED = record(status="completed", started=100.0, updated=118.0)


def test_the_targets_agent_is_heard_and_no_other():
    world = World(host="hv2", records=[ARRIVED], seen=Seen())
    assert world.agent() == Event(Happened.AGENT, at=120.0, host="hv2")
    world.seen = Seen(host="hv1")
    assert world.agent() is None
    world.seen = Seen(state=DomainState.MIGRATING)
    assert world.agent() is None, "it is only coming in"


@pytest.mark.parametrize(
    ("heard", "status", "waited", "believed"),
    [
        ({}, "ACTIVE", ALONE_S - 1, False),
        ({}, "ACTIVE", ALONE_S, True),
        ({"hv2": 90.0}, "ACTIVE", SILENT_S - 1, False),
        ({"hv2": 90.0}, "ACTIVE", SILENT_S, True),
        ({"hv2": 1e9}, "ACTIVE", 100 * SILENT_S, False),
        ({"hv2": 1e9}, "SHUTOFF", SILENT_S, True),
    ],
)
def test_novas_word_alone_holds_where_no_agent_can_speak(heard, status, waited, believed):
    world = World(host="hv2", status=status, records=[ARRIVED], heard=heard)
    row, _ = world.look(now=130.0)
    assert row.there_since == 130.0
    assert (world.agent(row, 130.0 + waited) is not None) is believed


def test_a_server_that_left_the_target_again_begins_anew():
    world = World(host="hv2", records=[ARRIVED])
    row, _ = world.look()
    world.host = "hv3"
    assert world.look(row, 140.0)[0].there_since is None


def test_what_it_took_by_novas_clock_is_learnt_once():
    world = World(host="hv2", records=[ARRIVED])
    row, _ = world.look()
    assert row.took_s == 18.0
    first = dict(world.learnt)
    assert first["link", "hv1|hv2"] > 1.0, "predicted 10"
    world.look(row, 140.0)
    assert world.learnt == first


def stopped(world: World, row: Moving, now: float = 130.0) -> Moving:
    return Witness(world, world, world).stopped(row, now)


PROMISED = replace(ROW, downtime_s=0.1, factors=(1.0, 1.0))


def test_a_measured_downtime_is_kept_and_learnt_from_once():
    world = World(seen=Seen(stopped_s=0.4))
    row = stopped(world, PROMISED)
    assert row.stopped_s == 0.4
    first = dict(world.learnt)
    assert first["downtime", "hv1|hv2"] == pytest.approx(4**0.2)
    assert first["downtime", "*"] == first["downtime", "hv1|hv2"]
    world.seen = Seen(stopped_s=9.0)
    assert stopped(world, row) == row
    assert world.learnt == first


@pytest.mark.parametrize("seen", [None, Seen(), Seen(host="hv1", stopped_s=0.4), Seen(at=99.9, stopped_s=0.4)])
def test_a_downtime_that_nobody_measured_is_none_and_teaches_nothing(seen):
    """No report, none that says it, another host's, one of before the order."""
    world = World(seen=seen)
    assert stopped(world, PROMISED) == PROMISED
    assert not world.learnt


def test_a_downtime_without_a_prediction_is_told_and_teaches_nothing():
    world = World(seen=Seen(stopped_s=0.4))
    assert stopped(world, replace(PROMISED, downtime_s=0.0)).stopped_s == 0.4
    assert not world.learnt


@given(rate=st.floats(1.0, 1000.0), dirty=st.floats(0.0, 900.0), gap=st.floats(1.0, 60.0))
def test_the_dirty_rate_is_what_was_sent_and_is_left_again(rate, dirty, gap):
    """In ``gap`` seconds ``rate`` MiB/s were sent, and ``dirty`` MiB/s written: what is left shrank by the difference."""
    world, start = World(status="MIGRATING", records=[record()]), 100_000.0
    witness = Witness(world, world, world)
    for at, sent, left in ((130.0, 0.0, start), (130.0 + gap, rate * gap, start - (rate - dirty) * gap)):
        world.running = [record(memory_processed=int(sent * MIB), memory_remaining=int(left * MIB))]
        witness.look(ROW, at)
    assert world.learnt["dirty", "vm1"] == pytest.approx(dirty, abs=1e-3)


@given(st.floats(0.1, 64.0), st.floats(0.0, 64.0))
def test_a_shape_is_lost_where_it_differs_by_more_than_measurements_do(proven, has):
    found = lost(Shape(cpu=proven), has, None)
    assert found == (Shape(cpu=proven) if abs(proven - has) > max(0.05, 0.03 * proven) else Shape())
    assert lost(Shape(memory=512.0), has, None) == Shape(), "nobody says what it has"


def test_moves_in_a_row_are_counted_back_from_the_last():
    def ended(at: float, state: State = State.SETTLED) -> Moving:
        return replace(ROW, migration=replace(MIGRATION, state=state), ended=at, took_s=5.0)

    day = 86400.0
    found = pasts([ended(5 * day), ended(5.5 * day), ended(6 * day), ended(2 * day), ended(6.1 * day, State.COMPENSATED)])
    assert (found["vm1"].ended, found["vm1"].moves) == (6 * day, 3), "the failed one moved nobody; the first was three days before"


def test_what_was_sampled_of_a_migration_is_forgotten_when_it_is_over() -> None:
    world = World(host="hv1", records=[record()], running=[record(memory_processed=10 * MIB, memory_remaining=90 * MIB)])
    witness = Witness(world, world, world)  # type: ignore[arg-type]
    witness.look(ROW, 101.0)
    assert witness._bytes
    witness.forget(ROW.id)
    assert not witness._bytes


@pytest.mark.parametrize(
    ("heard", "now", "there", "said"),
    [
        ({"hv1": 130.0}, 131.0, None, ""),
        ({"hv1": 130.0}, 189.0, None, ""),
        ({"hv1": 130.0}, 190.0, None, "no word from the agent of hv1 for 60 s; if that host is dead, Nova cannot end this"),
        ({"hv1": 50.0}, 159.0, None, ""),  # ordered at 100: not yet a minute of its own
        ({"hv1": 50.0}, 160.0, None, "no word from the agent of hv1 for 110 s"),
        ({"hv1": 130.0}, 500.0, 200.0, ""),  # it is there: the source has nothing more to say
        ({}, 500.0, None, ""),  # a host without an agent says nothing ever
    ],
)
def test_a_source_that_fell_silent_is_told(heard: dict[str, float], now: float, there: float | None, said: str) -> None:
    world = World(heard=heard)
    assert Witness(world, world, world).silence(replace(ROW, there_since=there), now).startswith(said)
    assert bool(said) == bool(Witness(world, world, world).silence(replace(ROW, there_since=there), now))
