"""Every change is in the audit before it is done and after: who, what, whose, from where, and how it ended. Refusals are there, too."""

import json
import subprocess
import sys

import pytest
from litestar.testing import TestClient

from foreshape_controller.errors import Unavailable
from foreshape_controller.main import build
from foreshape_controller.model.audit import Stage
from foreshape_controller.store.audit import Filter
from foreshape_demo.serve import Serving
from foreshape_wire.codec import encode
from store_support import T0, card, report, sample, settings
from tenants_support import ADMIN, MEMBER, OTHER, READER, FakeTokens

pytestmark = pytest.mark.functional

MODE = {"scope": "server:web-1", "mode": "observe", "reason": "test"}


@pytest.fixture
def program(tmp_path):
    made = build(settings(tmp_path), clock=lambda: T0 + 30, tokens=FakeTokens())
    cards = [card(name="web-1", project="p1"), card("vm-2", name="db-1", project="p2")]
    made.intake.accept("hv1", encode(report(1, samples=[sample(), sample("vm-2")], cards=cards)), T0 + 30)
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def admin(program):
    return {"Authorization": f"Bearer {program.admin_token}"}


def audit(client, by, **query):
    reply = client.get("/v1/audit", headers=by, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_change_is_kept_with_who_what_whose_and_how_it_ended(client, admin):
    reply = client.put("/v1/mode", json=MODE, headers=admin)
    (row,) = audit(client, admin)
    assert row["request"] == reply.headers["x-request-id"]
    told = {k: row[k] for k in ("method", "route", "user", "project", "scope", "status", "address")}
    assert told == {
        "method": "PUT",
        "route": "/v1/mode",
        "user": "operator",
        "project": "p1",
        "scope": "server:vm-1",
        "status": 200,
        "address": "testclient",
    }


def test_a_tenants_change_names_him_and_his_project(client, admin):
    assert client.put("/v1/servers/web-1/profile", json={"class": "steady"}, headers=MEMBER).status_code == 200
    (row,) = audit(client, admin, project="p1")
    assert (row["user"], row["route"], row["path"]) == ("user-of-p1", "/v1/servers/{name}/profile", "/v1/servers/web-1/profile")


def test_a_cap_is_found_by_its_cause(client, admin):
    asked = {"scope": "project:p2", "amounts": {"cpu": 1.0}, "for_s": 60, "reason": "x"}
    cap = client.post("/v1/caps", json=asked, headers=admin).json()[0]["id"]
    (row,) = audit(client, admin, cause=cap)
    assert (row["scope"], row["project"]) == ("project:p2", "p2")


def test_what_reads_and_what_agents_report_is_not_in_it(client, admin):
    client.get("/v1/servers", headers=admin)
    client.post("/v1/reports", content=b"x", headers=admin)
    assert audit(client, admin) == []


def test_it_is_there_before_the_change_is_done(client, admin, program, monkeypatch):
    seen = []

    def unset(scope):
        seen.extend(k.entry for k in program.store.audit.list(Filter()))
        raise RuntimeError("the power went")

    monkeypatch.setattr(program.store.modes, "unset", unset)
    assert client.put("/v1/mode", json={**MODE, "mode": ""}, headers=admin).status_code == 500
    assert [(e.stage, e.route) for e in seen] == [(Stage.BEGUN, "/v1/mode")]


def test_nothing_is_done_that_cannot_be_audited(client, admin, program, monkeypatch):
    def full(_):
        raise Unavailable("disk full")

    monkeypatch.setattr(program.store.audit, "add", full)
    assert client.put("/v1/mode", json=MODE, headers=admin).status_code == 503
    assert program.store.modes.get("server:vm-1") is None


def test_a_change_that_is_refused_for_what_it_says_ended_so(client, admin):
    assert client.put("/v1/mode", json={"mode": "never"}, headers=admin).status_code == 400
    assert [r["status"] for r in audit(client, admin)] == [400]


def test_whoever_may_not_is_noted(client, admin):
    assert client.put("/v1/mode", json=MODE, headers=READER).status_code == 403
    assert client.put("/v1/mode", json=MODE, headers={"X-Auth-Token": "bogus"}).status_code == 401
    assert client.put("/v1/mode", json=MODE).status_code == 401
    assert [(r["status"], r["user"], r["project"]) for r in audit(client, admin)] == [
        (401, "", ""),
        (401, "", ""),
        (403, "user-of-p1", "p1"),
    ]


def test_a_flood_of_refusals_does_not_fill_the_disk_and_says_how_many_were_left_out(client, admin):
    for _ in range(30):
        client.put("/v1/mode", json=MODE)
    assert len(audit(client, admin)) == 6
    client.put("/v1/mode", json=MODE, headers=admin)
    assert audit(client, admin)[0]["detail"] == "24 more refused attempts were not noted"


def test_a_tenant_reads_of_his_own_project_and_not_which_operator_it_was(client, admin):
    client.put("/v1/mode", json=MODE, headers=ADMIN)
    client.put("/v1/mode", json={**MODE, "scope": "server:vm-2"}, headers=admin)
    client.put("/v1/servers/db-1/profile", json={"class": "steady"}, headers=OTHER)
    (mine,) = audit(client, READER)
    assert (mine["user"], mine["name"], mine["address"], mine["scope"]) == ("operator", "operator", "", "server:vm-1")
    assert "p0" not in json.dumps(mine)
    assert {r["scope"] for r in audit(client, OTHER)} == {"server:vm-2"}
    assert audit(client, READER, project="p2") == audit(client, READER, user="operator") == []


def test_long_lists_come_in_parts(client, admin):
    for _ in range(5):
        client.put("/v1/mode", json=MODE, headers=admin)
    first = client.get("/v1/audit?limit=2", headers=admin)
    url = first.links["next"]["url"]
    second = client.get(url, headers=admin)
    third = client.get(second.links["next"]["url"], headers=admin)
    ids = [r["id"] for part in (first, second, third) for r in part.json()]
    assert len(set(ids)) == 5
    assert ids == sorted(ids, reverse=True)
    assert "next" not in third.links


@pytest.mark.parametrize("query", ["since=never", "limit=0", "limit=100000", "status=1000", "marker=x"])
def test_questions_that_make_no_sense_are_refused(client, admin, query):
    assert client.get(f"/v1/audit?{query}", headers=admin).status_code == 400


def test_verify_is_the_operators(client, admin):
    client.put("/v1/mode", json=MODE, headers=admin)
    assert client.get("/v1/audit/verify", headers=READER).status_code == 403
    found = client.get("/v1/audit/verify", headers=admin).json()
    assert (found["rows"], found["broken"]) == (2, None)


def test_control_characters_in_a_path_are_kept_as_spaces(client, admin):
    client.put("/v1/servers/a%00b%1b%5b31m/tier", json={"tier": ""}, headers=admin)
    assert audit(client, admin)[0]["path"] == "/v1/servers/a b [31m/tier"


def test_the_command_lists_and_verifies(program, client, admin, tmp_path):
    client.put("/v1/mode", json=MODE, headers=admin)
    (tmp_path / "token").write_text(program.admin_token)
    with Serving(program, 0) as api:
        code = "from foreshape_controller.start import operator; import sys; sys.exit(operator())"
        command = [sys.executable, "-c", code, "--url", api.url, "--token-file", str(tmp_path / "token")]

        def said(*words):
            done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
            return done.returncode, done.stdout + done.stderr

        code_, text = said("audit", "list", "--touched", "server:vm-1", "-f", "json")
        assert (code_, json.loads(text)[0]["route"]) == (0, "/v1/mode")
        assert said("audit", "verify")[0] == 0
        with program.store.db.engine.begin() as conn:
            conn.exec_driver_sql("DROP TRIGGER audit_stays")
            conn.exec_driver_sql("UPDATE audit SET user = 'mallory' WHERE id = 1")
        code_, text = said("audit", "verify")
        assert code_ == 1
        assert "it is not what was written" in text
