"""Requests in the store, on both engines: what is kept, found, journalled and told."""

import pytest
from msgspec.structs import replace

from foreshape_controller.decide.request_life import Happened, step
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.request import Placed, RequestState, Webhook
from request_support import T0, request
from store_support import open_store

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def store(engine, tmp_path):
    made = open_store(tmp_path / "controller.db")
    yield made
    made.close()


def add(store, name="r1", project="shop", most=9, **said):
    made = request(name, project=project, **said)
    return store.requests.add(project, lambda clock: (replace(made, tag=clock + 5.0), clock + 10.0), most, T0)


def test_each_moves_its_projects_clock_and_the_queue_is_in_their_order(store):
    assert [add(store, f"r{i}").tag for i in range(3)] == [5.0, 15.0, 25.0]
    assert add(store, "x", "other").tag == 5.0
    assert [r.id for r in store.requests.open("shop")] == ["r0", "r1", "r2"]
    assert store.requests.clock("shop") == 30.0


def test_too_many_and_two_of_one_name_are_refused_and_leave_nothing(store):
    add(store, name="a")
    with pytest.raises(Invalid, match="at most 1 may be"):
        add(store, "r2", most=1)
    assert store.requests.clock("shop") == 10.0


def test_a_change_of_state_is_journalled_and_told_with_it(store):
    store.requests.hook(Webhook(id="hook-1", project="shop", url="https://example.org/", created=T0, secret="s"))
    add(store)
    placed = replace(store.requests.find("r1"), placed=(Placed("h1", 1),), start=T0)
    store.requests.change("r1", lambda _: step(placed, Happened.PLACED, T0, "now"), T0 + 1)
    store.requests.change("r1", lambda r: replace(r, said="the same state"), T0 + 2)
    assert [s.state for s in store.requests.steps("r1")] == ["scheduled", "queued"]
    due = store.requests.due(T0 + 9, 10)
    assert [d.event for d in due] == ["request_queued", "request_scheduled"]
    store.requests.told(replace(due[0], state="taken"))
    assert [d.event for d in store.requests.due(T0 + 9, 10)] == ["request_scheduled"]
    store.requests.unhook("hook-1")
    assert store.requests.due(T0 + 9, 10) == ()


def test_a_change_that_fails_changes_nothing(store):
    add(store)

    def fails(_):
        raise Invalid("no")

    with pytest.raises(Invalid):
        store.requests.change("r1", fails, T0)
    with pytest.raises(NotFound):
        store.requests.change("r2", lambda r: r, T0)
    assert len(store.requests.steps("r1")) == 1


def test_another_projects_is_not_there_and_what_is_over_is_forgotten_after_a_while(store):
    add(store)
    with pytest.raises(NotFound):
        store.requests.find("r1", "other")
    store.requests.change("r1", lambda r: step(r, Happened.CANCEL, T0, "enough"), T0)
    assert (store.requests.open(), [r.id for r in store.requests.over("shop")]) == ((), ["r1"])
    assert [r.id for r in store.requests.since(T0 - 1, RequestState.CANCELLED)] == ["r1"]
    store.requests.tidy(T0 + 1)
    assert store.requests.over() == ()
    assert store.requests.steps("r1") == ()
