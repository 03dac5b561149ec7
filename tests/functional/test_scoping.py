"""A tenant sees and touches his own project alone: what is another's looks exactly like what is not there. Hosts are no tenant's."""

import json

import numpy as np
import pytest
from litestar.testing import TestClient

from foreshape_controller.main import build
from foreshape_controller.model.event import Event
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.plan import Gate
from foreshape_wire.codec import encode
from store_support import T0, card, decision, order, outcome, plan, report, sample, settings, sizing
from tenants_support import MEMBER, OTHER, READER, SYSTEM_READER, FakeTokens

pytestmark = pytest.mark.functional

NOW = T0 + 30
HOST = "hv-secret-7"
THEIRS = ("vm-2", "db-theirs", "p2", HOST, "acme-launch", "gold-customers")
"""What nobody of p1 may read anywhere. Both projects have a server called ``twin``."""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("scoping")
    (tmp_path / "segments.yaml").write_text("segments: {gold-customers: [{name: '*'}]}")
    made = build(
        settings(tmp_path, default_mode="act", segments_file=str(tmp_path / "segments.yaml")), clock=lambda: NOW, tokens=FakeTokens()
    )
    cards = [card(name="web-1", project="p1"), card("vm-2", name="db-theirs", project="p2")]
    cards += [card("vm-3", name="twin", project="p1"), card("vm-4", name="twin", project="p2")]
    samples = [sample(c.identity.server) for c in cards]
    crowded = {"reason": f"only 0.50 of 2.00 fit host {HOST}", "gates": (Gate(name="share", passed=False, detail=f"host {HOST} is short"),)}
    short = decision(T0 + 20, host=HOST, cause="cause-7f-0", cpu=sizing("cpu", 1.0, 2.0, code="host_short", **crowded))
    store = made.store
    made.intake.accept(HOST, encode(report(1, samples=samples, cards=cards, host=HOST)), NOW)
    store.journal.record(
        plan(T0 + 20, short, decision(T0 + 20, "vm-2", HOST, cause="cause-7f-1"), name="plan-7f"),
        [order(memory=None, reason=f"only 0.50 fit host {HOST}")],
    )
    told = (outcome(reason=f"done on {HOST}"),)
    made.intake.accept(HOST, encode(report(2, T0 + 25, samples, outcomes=told, host=HOST)), NOW)
    calendar = {"start": T0, "end": T0 + 9, "time_zone": "UTC", "calendar": ""}
    store.events.put(Event(id="evt-1", name="acme-launch", scope="cloud", factors={"cpu": 2.0}, **calendar))
    q = np.linspace(0, 1, 13, dtype=np.float32)
    series = ("vm-1", "vm-2", "project:p1", "project:p2", f"host:{HOST}", "segment:gold-customers")
    n = len(series)
    store.forecasts.save(
        Forecast(
            resource="cpu",
            series=series,
            origin=int(T0),
            steps=np.tile(q, (n, 6, 1)),
            half_hours=np.tile(q, (n, 48, 1)),
            peak30m=np.tile(q, (n, 1)),
            peak24h=np.tile(q, (n, 1)),
            source=("baseline",) * n,
            reason=("a day of history; event 'acme-launch' from 05 Jan: ×2 declared",) * n,
            age_s=np.array([86400.0] * n),
        )
    )
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture(scope="module")
def admin(program):
    return {"Authorization": f"Bearer {program.admin_token}"}


READS = (
    "/v1/servers",
    "/v1/servers/vm-1",
    "/v1/servers/web-1",
    "/v1/servers/twin",
    "/v1/servers/vm-1/forecast",
    "/v1/servers/vm-1/why",
    "/v1/servers/vm-1/profile",
    "/v1/why?cause=cause-7f-0",
    "/v1/workloads",
    "/v1/anomalies",
    "/v1/reclaims",
    "/v1/notices",
    "/v1/caps",
    "/v1/tiers",
    "/v1/tiers/standard",
    "/v1/mode",
    "/v1/mode?scope=project:p1",
    "/v1/mode?scope=server:web-1",
    "/v1/modes",
    "/v1/forecasts/project:p1",
)


def cap(client, admin, scope):
    asked = {"scope": scope, "amounts": {"cpu": 1.0}, "for_s": 3600, "reason": f"work on {HOST}", "by": "alice"}
    reply = client.post("/v1/caps", json=asked, headers=admin)
    assert reply.status_code == 201, reply.text
    return reply.json()[0]["id"]


@pytest.fixture(scope="module")
def busy(client, admin):
    """Modes, caps and notices about everybody."""
    for scope in ("server:vm-2", "project:p2", f"host:{HOST}", "segment:gold-customers", "project:p1"):
        cap(client, admin, scope)
    for scope in ("cloud", f"host:{HOST}", "project:p2", "project:p1", "server:vm-2"):
        asked = {"scope": scope, "mode": "advise", "reason": f"because of db-theirs on {HOST}" if scope != "project:p1" else f"see {HOST}"}
        assert client.put("/v1/mode", json=asked, headers=admin).status_code == 200


@pytest.mark.parametrize("path", READS)
def test_what_a_tenant_reads_has_nothing_of_others_in_it(client, busy, path):
    reply = client.get(path, headers=READER)
    assert reply.status_code == 200, reply.text
    assert [w for w in THEIRS if w in reply.text] == []


@pytest.mark.parametrize("path", READS)
def test_operators_and_readers_of_the_system_see_all_as_before(client, admin, busy, path):
    path = path.replace("/twin", "/vm-3")
    mine, theirs = client.get(path, headers=admin), client.get(path, headers=SYSTEM_READER)
    assert (mine.status_code, mine.text) == (200, theirs.text)


def test_his_own_servers_are_all_there(client):
    assert {s["id"] for s in client.get("/v1/servers", headers=READER).json()} == {"vm-1", "vm-3"}
    assert {s["server"] for s in client.get("/v1/workloads", headers=OTHER).json()} == {"vm-2", "vm-4"}


def test_a_name_that_another_project_has_too_is_not_ambiguous(client, admin):
    assert client.get("/v1/servers/twin", headers=READER).json()["id"] == "vm-3"
    assert client.get("/v1/servers/twin", headers=OTHER).json()["id"] == "vm-4"
    assert client.get("/v1/servers/twin", headers=admin).status_code == 409


ONES = ("/v1/servers/{}", "/v1/servers/{}/forecast", "/v1/servers/{}/why", "/v1/servers/{}/profile", "/v1/anomalies?server={}")
WRITES = (
    ("put", "/v1/servers/{}/profile", {"class": "batch"}),
    ("delete", "/v1/servers/{}/profile", None),
    ("post", "/v1/reclaims/{}/object", {"reason": "no"}),
    ("delete", "/v1/reclaims/{}/objection", None),
)


@pytest.mark.parametrize("path", [*ONES, "/v1/notices?server={}", "/v1/mode?scope=server:{}", "/v1/forecasts/{}", "/v1/why?cause=cause-{}"])
@pytest.mark.parametrize("theirs", ["vm-2", "db-theirs", "project:p2", f"host:{HOST}", "7f-1"])
def test_anothers_is_answered_like_what_is_not_there(client, path, theirs):
    nothing = theirs[:-1] + ("~" if ":" in theirs or "-" in theirs else "x")
    found, missing = (client.get(path.format(n), headers=READER) for n in (theirs, nothing))
    assert found.status_code == missing.status_code
    assert found.status_code in (400, 404)
    assert found.text.replace(theirs, "X") == missing.text.replace(nothing, "X")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("theirs", ["vm-2", "db-theirs"])
def test_anothers_cannot_be_touched_and_does_not_show(client, method, path, body, theirs):
    more = {"json": body} if body else {}
    found = client.request(method, path.format(theirs), headers=MEMBER, **more)
    missing = client.request(method, path.format("nothing-x"), headers=MEMBER, **more)
    assert (found.status_code, missing.status_code) == (404, 404)
    assert found.text.replace(theirs, "X") == missing.text.replace("nothing-x", "X")


@pytest.mark.parametrize(("method", "path", "body"), WRITES[:1])
def test_a_reader_changes_nothing_and_a_member_what_is_his(client, method, path, body):
    assert client.request(method, path.format("vm-1"), headers=READER, json=body).status_code == 403
    assert client.request(method, path.format("vm-1"), headers=MEMBER, json=body).status_code == 200


def test_lists_of_another_project_are_as_empty_as_those_of_none(client, busy):
    for path in ("/v1/notices?project={}", "/v1/reclaims?project={}"):
        assert client.get(path.format("p2"), headers=READER).json() == client.get(path.format("nobody"), headers=READER).json() == []


def test_caps_on_his_host_or_segment_are_told_without_its_name(client, admin, busy):
    found = client.get("/v1/caps", headers=READER).json()
    assert sorted(c["scope"] for c in found) == ["host", "project:p1", "segment"]
    assert {c["servers"] for c in found} == {2}, "his own, not all that are there"
    shown = client.get(f"/v1/caps/{found[0]['id']}", headers=READER).json()
    assert {e["server"] for e in shown["effects"]} <= {"vm-1", "vm-3"}
    theirs = next(c["id"] for c in client.get("/v1/caps", headers=admin).json() if c["scope"] == "project:p2")
    missing = client.get("/v1/caps/cap-none", headers=READER)
    refused = client.get(f"/v1/caps/{theirs}", headers=READER)
    assert (refused.status_code, refused.text.replace(theirs, "cap-none")) == (404, missing.text)


def test_tiers_count_his_own_servers(client):
    assert client.get("/v1/tiers/standard", headers=READER).json()["servers"] == 2
    told = client.get("/v1/tiers", headers=READER).json()
    assert (told["file"], told["assign"], len(told["tiers"])) == ("", [], 3)


def test_why_tells_him_his_own_numbers_and_not_those_of_the_host(client):
    told = client.get("/v1/servers/vm-1/why", headers=READER).json()
    text = json.dumps(told)
    assert "its host has no room for all of what it should have" in text
    assert "0.50 of 2.00" not in text
    assert told["decisions"][0]["cpu"]["target"] == 2.0
    assert told["orders"][0]["order"]["reason"] == ""
    assert any("on its host" in s for s in told["sentences"])


def test_which_servers_are_together_is_told_as_nova_tells_it(client):
    hosts = {s["host"] for s in client.get("/v1/servers", headers=READER).json()}
    others = {s["host"] for s in client.get("/v1/servers", headers=OTHER).json()}
    assert len(hosts) == len(others) == 1
    assert hosts != others
    assert len(hosts.pop()) == 56


def test_the_clouds_mode_is_told_without_its_reason(client, busy):
    said = client.get("/v1/modes", headers=READER).json()
    assert {m["scope"]: m["reason"] for m in said} == {"cloud": "", "project:p1": "see a host"}


def test_a_caller_of_no_project_sees_nothing(client):
    assert client.get("/v1/servers", headers={"X-Auth-Token": "system:member"}).status_code == 403
