"""Under a policy of the operators' own, who reads every project and is a member of one writes in that one only."""

import logging
from dataclasses import replace

import pytest
import structlog
from litestar.testing import TestClient

from foreshape_controller.main import build
from store_support import T0, ask, card, report, sample, settings
from tenants_support import ADMIN, FakeTokens, headers

pytestmark = pytest.mark.functional

AUDITOR = headers("p1", "auditor", "member", "reader")
EVENT = {"name": "sale", "start": "2026-11-27T09:00", "duration_s": 3600, "factors": {"cpu": 3}}
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nX-WR-CALNAME:shop\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:sale\r\n"
    "DTSTART:20261127T090000Z\r\nDTEND:20261127T100000Z\r\n%sEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
WRITES = {
    "choose": lambda c, who, s, p: c.put(f"/v1/choices/project:{p}", json={"mode": "observe"}, headers=who),
    "choose for a server": lambda c, who, s, p: c.put(f"/v1/choices/server:{s}", json={"mode": "observe"}, headers=who),
    "profile": lambda c, who, s, p: c.put(f"/v1/servers/{s}/profile", json={"class": "batch"}, headers=who),
    "no profile": lambda c, who, s, p: (WRITES["profile"](c, ADMIN, s, p), c.delete(f"/v1/servers/{s}/profile", headers=who))[1],
    "object": lambda c, who, s, p: c.post(f"/v1/reclaims/{s}/object", json={"reason": "no"}, headers=who),
    "event of a server": lambda c, who, s, p: c.post("/v1/events", json=EVENT | {"scope": f"server:{s}"}, headers=who),
    "event of a project": lambda c, who, s, p: c.post("/v1/events", json=EVENT | {"scope": f"project:{p}"}, headers=who),
    "calendar": lambda c, who, s, p: c.post("/v1/events/import", content=CALENDAR % "", params={"scope": f"server:{s}"}, headers=who),
    "calendar's own scope": lambda c, who, s, p: c.post(
        "/v1/events/import", content=CALENDAR % f"X-FORESHAPE-SCOPE:server:{s}\r\n", headers=who
    ),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("policy")
    file = folder / "policy.yaml"
    file.write_text('"foreshape:system_reader": "rule:foreshape:admin or role:auditor"\n')
    plain = settings(folder)
    made = build(replace(plain, identity=replace(plain.identity, policy_file=str(file))), lambda: T0 + 100, tokens=FakeTokens())
    cards = (card("vm-1", name="web-1", project="p1"), card("vm-2", name="db-1", project="p2"))
    ask(made.intake, report(1, T0 + 99, [sample("vm-1"), sample("vm-2")], cards=cards), now=T0 + 100)
    yield TestClient(made.app, raise_server_exceptions=False)
    made.store.close()


def test_the_auditor_reads_all_projects(client):
    assert {s["project"] for s in client.get("/v1/servers", headers=AUDITOR).json()} == {"p1", "p2"}


@pytest.mark.parametrize("write", WRITES)
def test_who_sees_everything_writes_in_his_own_project_only_and_operators_everywhere(client, write):
    refused = WRITES[write](client, AUDITOR, "db-1", "p2")
    assert refused.status_code == 403, refused.text
    assert "another role than yours in project p2" in refused.json()["detail"]
    for who, server, project in ((AUDITOR, "web-1", "p1"), (ADMIN, "db-1", "p2")):
        assert (done := WRITES[write](client, who, server, project)).status_code < 300, done.text


def test_his_events_are_his_projects_and_the_operators_are_not_his_to_delete(client):
    mine = client.post("/v1/events", json=EVENT | {"name": "mine"}, headers=AUDITOR).json()
    theirs = client.post("/v1/events", json=EVENT | {"name": "theirs", "scope": "server:db-1"}, headers=ADMIN).json()
    assert (mine["project"], mine["scope"], theirs["project"], theirs["scope"]) == ("p1", "project:p1", "", "server:vm-2")
    assert client.delete(f"/v1/events/{theirs['id']}", headers=AUDITOR).status_code == 403
    assert client.delete(f"/v1/events/{mine['id']}", headers=AUDITOR).status_code == 204
    assert client.delete(f"/v1/events/{theirs['id']}", headers=ADMIN).status_code == 204
    for scope in ("cloud", "zone:east", "segment:web"):
        assert client.post("/v1/events", json=EVENT | {"scope": scope}, headers=AUDITOR).status_code == 403


def test_an_operators_event_for_a_server_that_does_not_exist_is_refused(client):
    assert client.post("/v1/events", json=EVENT | {"scope": "server:nonsense"}, headers=ADMIN).status_code == 404
    assert client.post("/v1/events/import", content=CALENDAR % "", params={"scope": "server:nonsense"}, headers=ADMIN).status_code == 404
