"""Events over HTTP: declared, imported, shown with what was learned, and refused in words where they make no sense."""

import json

import msgspec
import pytest
from litestar.testing import TestClient

from event_support import HOUR, HOURLY_SALE, START, ics, measured, vevent
from foreshape_controller.main import build
from foreshape_controller.model.answers import Problem
from foreshape_controller.model.event import EventAnswer
from store_support import settings

pytestmark = pytest.mark.functional

NOW = START
SALE = {"name": "Black Friday", "scope": "project:p1", "start": "2026-01-05T09:00", "duration_s": HOUR, "factors": {"cpu": 3.0}}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    made = build(settings(tmp_path_factory.mktemp("api")), clock=lambda: NOW)
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    for event in program.store.events.all():
        program.store.events.remove(event.id)
    with TestClient(program.app, raise_server_exceptions=False) as c:
        c.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield c


def created(client, **changes):
    reply = client.post("/v1/events", json=SALE | changes)
    assert reply.status_code == 201, reply.text
    return msgspec.json.decode(reply.content, type=EventAnswer)


def problem(reply, status, *words):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"].startswith("application/problem+json")
    found = msgspec.json.decode(reply.content, type=Problem)
    assert found.status == status
    for word in words:
        assert word in found.detail
    return found


def load(client, *events, text=None, **query):
    data = ics(*events) if text is None else text
    return client.post(
        "/v1/events/import", content=data, headers={"Content-Type": "text/calendar"}, params={"source": "shop", "scope": "cloud"} | query
    )


def names(client):
    return [e["name"] for e in client.get("/v1/events").json()]


# -- one by one -------------------------------------------------------------------------------------------------------


def test_an_event_is_declared_shown_listed_and_deleted(client):
    made = created(client)
    assert (made.next_start, made.next_end) == (NOW + 9 * HOUR, NOW + 10 * HOUR)
    assert (made.declared, made.learned, made.occurrences_seen) == ({"cpu": 3.0}, {}, 0)
    assert (made.source, made.created_at) == ("api", NOW)
    assert client.get(f"/v1/events/{made.id}").json() == client.get("/v1/events/Black%20Friday").json()
    assert names(client) == ["Black Friday"]
    assert client.delete("/v1/events/Black%20Friday").status_code == 204
    assert names(client) == []
    problem(client.get(f"/v1/events/{made.id}"), 404, "event list")
    problem(client.delete(f"/v1/events/{made.id}"), 404)


def test_the_list_begins_with_what_happens_next(client):
    for name, start in [("later", "2026-02-01T00:00"), ("past", "2025-01-01T00:00"), ("sooner", "2026-01-06T00:00")]:
        created(client, name=name, start=start)
    assert names(client) == ["sooner", "later", "past"]
    assert client.get("/v1/events/past").json()["next_start"] is None


def test_a_recurring_event_says_when_it_happens_next(client):
    yearly = created(client, start="2020-12-24T00:00", time_zone="Europe/Amsterdam", recurrence="FREQ=YEARLY")
    assert yearly.next_start == NOW + 352 * 86400 + 23 * HOUR, "24 December 2026, 00:00 in Amsterdam"


def test_what_was_learned_is_shown_beside_what_was_declared(client, program):
    made = created(client)
    program.store.events.learn([measured(made.id, 2.0), measured(made.id, 1.0, resource="memory")])
    shown = client.get(f"/v1/events/{made.id}").json()
    assert shown["declared"] == {"cpu": 3.0}
    assert shown["learned"] == {"cpu": 2.169}, "(3^0.25 * 2)^(1/1.25); memory stays as it is"
    assert shown["occurrences_seen"] == 1


def test_two_events_of_one_name_are_told_apart_by_id(client):
    first, second = created(client), created(client)
    detail = problem(client.get("/v1/events/Black%20Friday"), 409)
    assert detail.code == "ambiguous"
    assert client.delete(f"/v1/events/{first.id}").status_code == 204
    assert client.get("/v1/events/Black%20Friday").json()["id"] == second.id


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"end": "2026-01-05T08:00", "duration_s": None}, "end after it starts"),
        ({"duration_s": -1.0}, "duration_s"),
        ({"factors": {"cpu": -1.0}}, "cpu is -1"),
        ({"factors": {"cpu": 1000.0}}, "0 to 20"),
        ({"factors": {"cpu": "NaN"}}, "cpu is nan"),
        ({"factors": {"gpu": 1.0}}, "gpu"),
        ({"scope": "planet:x"}, "zone:NAME"),
        ({"scope": 7}, "scope: Expected"),
        ({"recurrence": "FREQ=SECONDLY"}, "SECONDLY"),
        ({"recurrence": "now and then"}, "RRULE"),
        ({"time_zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"name": "x" * 10_000}, "10000 characters"),
        ({"note": "x" * 10_000}, "10000 characters"),
        ({"lead_s": -5.0}, "lead_s"),
        ({"colour": "red"}, "colour"),
        ({"start": "2026-13-45"}, "2026-13-45"),
        ({"start": None}, "start: Expected"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_field(client, changes, word):
    problem(client.post("/v1/events", json=SALE | changes), 400, word)
    assert names(client) == []


def test_nan_in_the_body_is_no_number(client):
    body = json.dumps(SALE).replace("3.0", "NaN")
    problem(client.post("/v1/events", content=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/events"), ("POST", "/v1/events"), ("POST", "/v1/events/import")])
def test_nobody_asks_without_the_token(client, method, path):
    problem(client.request(method, path, headers={"Authorization": "Bearer nobody"}), 401)


# -- a calendar -------------------------------------------------------------------------------------------------------


def test_an_import_adds_updates_and_removes_by_uid(client, program):
    first = load(client, vevent("a", *HOURLY_SALE, summary="A"), vevent("b", *HOURLY_SALE, summary="B"), cpu=2.0)
    assert first.json() == {"source": "shop", "added": 2, "updated": 0, "unchanged": 0, "removed": 0}
    a = client.get("/v1/events/A").json()
    assert (a["declared"], a["scope"], a["source"]) == ({"cpu": 2.0}, "cloud", "shop")
    program.store.events.learn([measured(a["id"], 4.0)])

    again = load(client, vevent("a", *HOURLY_SALE, summary="A"), vevent("b", *HOURLY_SALE, summary="B"), cpu=2.0)
    assert again.json() == {"source": "shop", "added": 0, "updated": 0, "unchanged": 2, "removed": 0}

    third = load(client, vevent("a", *HOURLY_SALE, "RRULE:FREQ=DAILY", summary="A"), vevent("c", *HOURLY_SALE, summary="C"), cpu=2.0)
    assert third.json() == {"source": "shop", "added": 1, "updated": 1, "unchanged": 0, "removed": 1}
    assert sorted(names(client)) == ["A", "C"]
    assert client.get("/v1/events/A").json()["occurrences_seen"] == 1, "what was learned stays with the event"


def test_what_vanished_can_be_kept(client):
    load(client, vevent("a", *HOURLY_SALE, summary="A"))
    kept = load(client, vevent("b", *HOURLY_SALE, summary="B"), keep="true")
    assert (kept.json()["added"], kept.json()["removed"]) == (1, 0)
    assert sorted(names(client)) == ["A", "B"]


def test_one_calendar_leaves_another_and_declared_events_alone(client):
    created(client)
    load(client, vevent("a", *HOURLY_SALE, summary="A"))
    load(client, vevent("b", *HOURLY_SALE, summary="B"), source="other")
    assert sorted(names(client)) == ["A", "B", "Black Friday"]


def test_a_broken_calendar_changes_nothing_and_its_component_is_named(client):
    load(client, vevent("a", *HOURLY_SALE, summary="A"))
    problem(load(client, vevent("a", *HOURLY_SALE, summary="new"), vevent("bad", "DTSTART:garbage")), 400, "'bad'", "DTSTART")
    assert names(client) == ["A"]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"cpu": "nan"}, "cpu is nan"),
        ({"cpu": "-1"}, "cpu is -1"),
        ({"cpu": "much"}, "cpu"),
        ({"scope": "planet:x"}, "scope"),
        ({"scope": ""}, "'a'"),
        ({"source": ""}, "--name-calendar"),
        ({"source": "api"}, "'api'"),
        ({"source": "x" * 500}, "characters"),
        ({"time_zone": "Mars"}, "Mars"),
        ({"lead_s": "-1"}, "lead_s"),
        ({"keep": "perhaps"}, "keep"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_terms_that_make_no_sense_are_refused(client, query, word):
    problem(load(client, vevent("a", *HOURLY_SALE), **query), 400, word)
    assert names(client) == []


@pytest.mark.parametrize("text", [b"", b"hello", b"\x00\xff", ics()], ids=["empty", "text", "binary", "no events"])
def test_what_is_no_calendar_is_refused(client, text):
    problem(load(client, text=text), 400)


def test_a_huge_calendar_is_refused(client):
    problem(load(client, text=b"BEGIN:VEVENT\r\n" * 3000), 400, "at most 2000")
    assert load(client, text=b"x" * (9 * 1024 * 1024)).status_code == 413


def test_events_survive_a_restart_and_stop_somewhere(client, program, monkeypatch):
    made = created(client)
    program.store.events.learn([measured(made.id, 2.0, start=START + n * 86400) for n in range(500)])
    kept = program.store.events.effects()[made.id]
    assert len(kept) == 400, "the newest"
    assert kept[-1].start == START + 499 * 86400
    monkeypatch.setattr("foreshape_controller.store.events.MOST", 2)
    created(client, name="second")
    problem(client.post("/v1/events", json=SALE), 400, "more than 2 events")
    assert len(names(client)) == 2, "nothing of it was kept"


def test_deleting_an_event_forgets_what_was_learned(client, program):
    made = created(client)
    program.store.events.learn([measured(made.id, 2.0)])
    client.delete(f"/v1/events/{made.id}")
    assert made.id not in program.store.events.effects()
    program.store.events.learn([measured(made.id, 2.0)])
    assert made.id not in program.store.events.effects(), "a measurement that comes too late has no event"
