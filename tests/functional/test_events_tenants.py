"""Tenants' own events: for their project and its servers only, apart from those of others, and not more than a project may have."""

import logging

import pytest
import structlog
from litestar.testing import TestClient

from foreshape_controller.main import build
from foreshape_controller.store import events as stored
from store_support import T0, ask, card, report, sample, settings
from tenants_support import ADMIN, MEMBER, OTHER, READER, FakeTokens

pytestmark = pytest.mark.functional

ONE = {"name": "sale", "start": "2026-11-27T09:00", "duration_s": 3600, "factors": {"cpu": 3}}
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nX-WR-CALNAME:shop\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:sale\r\n"
    "DTSTART:20261127T090000Z\r\nDTEND:20261127T100000Z\r\n%sEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
def world(tmp_path):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    made = build(settings(tmp_path), lambda: T0 + 100, tokens=FakeTokens())
    cards = (card("vm-1", name="web-1", project="p1"), card("vm-2", name="db-1", project="p2"))
    ask(made.intake, report(1, T0 + 99, [sample("vm-1"), sample("vm-2")], cards=cards), now=T0 + 100)
    yield made
    made.store.close()


@pytest.fixture
def client(world):
    return TestClient(world.app, raise_server_exceptions=False)


def create(client, headers=MEMBER, **more):
    return client.post("/v1/events", json=ONE | more, headers=headers)


def upload(client, headers=MEMBER, lines="", **query):
    return client.post("/v1/events/import", content=CALENDAR % lines, params=query, headers=headers | {"Content-Type": "text/calendar"})


def names(client, headers):
    return [(e["name"], e["scope"]) for e in client.get("/v1/events", headers=headers).json()]


def test_an_event_is_for_ones_own_project_unless_it_names_a_server(client):
    assert create(client).json()["scope"] == "project:p1"
    assert create(client, name="backup", scope="server:web-1").json()["scope"] == "server:vm-1"
    assert {s for _, s in names(client, READER)} == {"project:p1", "server:vm-1"}
    assert names(client, OTHER) == []
    assert len(names(client, ADMIN)) == 2


@pytest.mark.parametrize("scope", ["project:p2", "server:vm-2", "server:db-1", "cloud", "zone:east", "segment:web", "server:no"])
def test_nobody_declares_events_for_others(client, scope):
    assert create(client, scope=scope).status_code == 404
    assert upload(client, scope=scope).status_code == 404
    assert upload(client, lines=f"X-FORESHAPE-SCOPE:{scope}\r\n").status_code == 404
    assert names(client, ADMIN) == []


def test_anothers_event_looks_like_one_that_is_not_there(client):
    made = create(client).json()
    for wanted in (made["id"], "sale"):
        for reply in (client.get(f"/v1/events/{wanted}", headers=OTHER), client.delete(f"/v1/events/{wanted}", headers=OTHER)):
            assert reply.status_code == 404
            assert f"there is no event {wanted!r}" in reply.json()["detail"]
    assert client.delete("/v1/events/sale", headers=READER).status_code == 403
    assert client.delete("/v1/events/sale", headers=MEMBER).status_code == 204


def test_two_projects_may_call_their_calendars_and_events_the_same(client):
    assert upload(client).json()["added"] == 1
    assert upload(client, OTHER).json() == {"source": "shop", "added": 1, "updated": 0, "unchanged": 0, "removed": 0}
    assert upload(client).json()["unchanged"] == 1
    assert names(client, READER) == [("sale", "project:p1")]
    assert client.get("/v1/events/sale", headers=OTHER).json()["project"] == "p2"


def test_an_event_of_ones_own_moves_the_forecast_of_ones_own(world, client):
    create(client, start="2026-01-05T00:30")
    known = world.store.events.all("p1")
    assert [e.project for e in known] == ["p1"]
    assert world.store.events.all() == known


def test_a_project_has_a_bounded_number_of_events(client, monkeypatch):
    monkeypatch.setattr(stored, "PROJECT_MOST", 2)
    assert [create(client, name=f"e{k}").status_code for k in range(3)] == [201, 201, 400]
    assert upload(client).status_code == 400
    assert create(client, OTHER).status_code == 201


@pytest.mark.parametrize(
    "body",
    [b"", b"x" * 300_000, b"BEGIN:VCALENDAR\r\n" * 5000, (CALENDAR % "RRULE:FREQ=SECONDLY\r\n").encode(), b"\xff\xfe", b"\x00" * 100],
)
def test_bombs_and_rubbish_are_refused_in_words(client, body):
    reply = client.post("/v1/events/import?source=x", content=body, headers=MEMBER | {"Content-Type": "text/calendar"})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid")
