"""What the store's own transactions tell: each new state once, to its project, hosts and causes to operators only."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from foreshape_controller.bus import Watch
from foreshape_controller.model.migration import Migration
from foreshape_controller.model.moving import Goal, Moving
from foreshape_controller.model.reservation import Reservation, ReservationWish, Slot, State
from foreshape_controller.store import Store
from store_support import T0, card, decision, open_store, order, outcome, plan, report, sample

pytestmark = pytest.mark.functional


@pytest.fixture
def store() -> Iterator[Store]:
    made = open_store()
    made.history.take(report(1, T0, [sample("vm-1")], cards=(card("vm-1", project="p1"),)), T0)
    yield made
    made.close()


@pytest.fixture
def watch(store: Store) -> Watch:
    return store.bus.watch(lambda: None)


def told(watch: Watch) -> list[tuple[str, str, dict, dict]]:
    return [(n.kind, n.project, json.loads(n.data), json.loads(n.full)) for n in watch.read()]


def test_what_came_of_an_order_is_told_once_to_its_project(store: Store, watch: Watch) -> None:
    store.journal.record(plan(T0 + 20, decision(T0 + 20)), (order(),))
    store.journal.settle([outcome()], T0 + 30, "hv1")
    store.journal.settle([outcome()], T0 + 31, "hv1")  # an agent repeats itself until it is acknowledged
    ((kind, project, plain, full),) = told(watch)
    assert (kind, project, plain["order"], plain["verdict"]) == ("outcome", "p1", "ord-1", "applied")
    assert "host" not in plain
    assert full["host"] == "hv1"


def test_a_stray_outcome_is_told_to_nobody(store: Store, watch: Watch) -> None:
    store.journal.settle([outcome("never-ordered")], T0 + 30, "hv1")
    assert told(watch) == []


def test_a_reservation_is_told_when_its_state_changes(store: Store, watch: Watch) -> None:
    wish = ReservationWish(host="hv1", resources={"VCPU": 1}, owner="operator:ann", reason="r", until=T0 + 60, project="p1")
    planned = Reservation(id="res-1", wish=wish, slots=(Slot("c1"),), created=T0, changed=T0)
    store.reservations.save(planned)
    store.reservations.save(msgspec.structs.replace(planned, said="asked again"))
    store.reservations.save(msgspec.structs.replace(planned, state=State.HELD))
    found = told(watch)
    assert [(k, p, d["state"]) for k, p, d, _ in found] == [("reservation", "p1", "planned"), ("reservation", "p1", "held")]
    assert all("host" not in d and f["host"] == "hv1" for _, _, d, f in found)


def test_a_migration_is_told_without_its_hosts_to_the_servers_project(store: Store, watch: Watch) -> None:
    made = Moving(
        migration=Migration("mig-1", "vm-1", "hv1", "hv2", "it was asked for", T0, 600.0),
        goal=Goal.OPERATOR,
        by="ann",
        cause="cause-1",
        name="web",
    )
    assert store.migrating.moves.add(made, T0)
    ((kind, project, plain, full),) = told(watch)
    assert (kind, project, plain["migration"], plain["state"]) == ("migration", "p1", "mig-1", "queued")
    assert not {"source", "target"} & plain.keys()
    assert (full["source"], full["target"]) == ("hv1", "hv2")
