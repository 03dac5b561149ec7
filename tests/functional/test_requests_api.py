"""Requests and webhooks over the API and by command, without an OpenStack: what a tenant asks, sees and may do."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.main import Program, build
from foreshape_controller.model.forecast import Forecast
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from store_support import T0, card, report, sample, settings
from tenants_support import ADMIN, MEMBER, OTHER, READER, SYSTEM_READER, FakeTokens

pytestmark = pytest.mark.functional

NOW = T0 + 30
ASK = {"vcpus": 1, "ram": 512, "for_s": 7200}


class Clock:
    at = NOW

    def __call__(self) -> float:
        return self.at


def program(folder: Path, mode: Mode = Mode.ACT) -> Program:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    made = build(settings(folder), Clock(), tokens=FakeTokens())
    made.store.modes.set("cloud", mode, "a test", T0)
    cards = (card("vm-1", name="web-1", project="p1"), card("vm-2", name="db-1", project="p2"))
    made.store.history.take(report(1, NOW - 1, [sample("vm-1"), sample("vm-2")], cards=cards), NOW)
    return made


@pytest.fixture
def made(tmp_path):
    made = program(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def api(made):
    return TestClient(made.app)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """One for all that is refused: nothing is kept in it."""
    made = program(tmp_path_factory.mktemp("refusing"))
    yield TestClient(made.app)
    made.store.close()


@pytest.fixture
def advising(tmp_path):
    made = program(tmp_path, Mode.ADVISE)
    yield TestClient(made.app)
    made.store.close()


def ask(api, headers=MEMBER, status=201, **said):
    answer = api.post("/v1/requests", headers=headers, json={**ASK, **said})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_what_fits_starts_at_once_and_says_that_it_is_bookkeeping(api):
    made = ask(api, name="build")
    assert (made["state"], made["start"], made["project"], made["bookkeeping"]) == ("started", NOW, "p1", True)
    assert any("no OpenStack is configured" in said for said in made["assumed"])
    assert [s["state"] for s in made["history"]] == ["started", "admitted", "scheduled", "queued"]
    assert made["price"]


def test_a_tenant_sees_no_hosts_and_an_operator_does(api):
    made = ask(api)
    assert made["hosts"] == []
    assert "hv1" not in json.dumps(made)
    assert api.get(f"/v1/requests/{made['id']}", headers=ADMIN).json()["hosts"] == [{"host": "hv1", "count": 1}]


def test_another_projects_request_looks_exactly_like_none(api):
    made = ask(api)
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "/accept", {"alternative": 0}),
        ("POST", "/take", None),
        ("POST", "/decline", None),
    ):
        theirs = api.request(method, f"/v1/requests/{made['id']}{path}", headers=OTHER, json=body)
        nobodys = api.request(method, f"/v1/requests/req-0000{path}", headers=OTHER, json=body)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["detail"].replace(made["id"], "X") == nobodys.json()["detail"].replace("req-0000", "X")
    assert api.get("/v1/requests?all=true", headers=OTHER).json() == []
    assert api.get("/v1/requests?project=p1", headers=OTHER).json() == []


def test_a_project_is_forced_and_another_one_is_refused(api):
    assert ask(api, project="p1")["project"] == "p1"
    assert "the project of your token" in ask(api, status=403, project="p2")["detail"]
    assert ask(api, headers=ADMIN, project="p2")["project"] == "p2"


def test_a_reader_reads_and_changes_nothing(api):
    made = ask(api)
    assert api.get(f"/v1/requests/{made['id']}", headers=READER).status_code == 200
    assert api.get("/v1/requests", headers=SYSTEM_READER).json()[0]["id"] == made["id"]
    for headers in (READER, SYSTEM_READER):
        assert api.post("/v1/requests", headers=headers, json=ASK).status_code == 403
        assert api.delete(f"/v1/requests/{made['id']}", headers=headers).status_code == 403
    assert api.post(f"/v1/requests/{made['id']}/approve", headers=MEMBER, json={}).status_code == 403
    assert api.get("/v1/requests").status_code == 401


def test_who_reads_all_projects_changes_his_own_alone(api):
    both = {"X-Auth-Token": "p1:member,reader"}
    theirs = ask(api, headers=OTHER)
    assert api.delete(f"/v1/requests/{theirs['id']}", headers=both).status_code == 404
    assert api.delete(f"/v1/requests/{theirs['id']}", headers=ADMIN).json()["state"] == "cancelled"


def test_in_advise_an_operator_approves(advising):
    made = ask(advising)
    assert (made["state"], made["approved"]) == ("proposed", "")
    approved = advising.post(f"/v1/requests/{made['id']}/approve", headers=ADMIN, json={"by": "ann"}).json()
    assert (approved["state"], approved["approved"]) == ("started", "operator:ann")


def test_it_is_taken_or_cancelled_once(api):
    made = ask(api)
    assert api.post(f"/v1/requests/{made['id']}/take", headers=MEMBER).json()["state"] == "fulfilled"
    assert api.post(f"/v1/requests/{made['id']}/take", headers=MEMBER).status_code == 400
    other = ask(api)
    assert api.delete(f"/v1/requests/{other['id']}?reason=plans%20changed", headers=MEMBER).json()["said"] == "plans changed"
    assert api.delete(f"/v1/requests/{other['id']}", headers=MEMBER).json()["state"] == "cancelled"
    assert api.get("/v1/requests?state=fulfilled", headers=MEMBER).json()[0]["id"] == made["id"]


def test_what_does_not_fit_waits_with_its_place_and_alternatives(api):
    made = ask(api, vcpus=2, ram=2048, count=30)
    assert (made["state"], made["position"]) == ("queued", 1)
    assert made["next_look"] > NOW
    fewer = next(i for i, a in enumerate(made["alternatives"]) if a["kind"] == "count")
    assert made["alternatives"][fewer]["price"]
    after = api.put(f"/v1/requests/{made['id']}/accept", headers=MEMBER, json={"alternative": fewer}).json()
    assert after["state"] == "started"
    assert after["count"] == made["alternatives"][fewer]["count"] < 30


def forecast(made, cores, origin=NOW):
    """Of the one host: so many cores in the next three hours, none after."""
    day = np.zeros((1, 48, 13), np.float32)
    day[:, :6] = cores
    head = {"steps": np.full((1, 6, 13), cores), "peak30m": np.full((1, 13), cores), "peak24h": np.full((1, 13), cores)}
    words = {"source": ("baseline",), "reason": ("a test",), "age_s": np.array([1e6])}
    for resource, factor in (("cpu", 1.0), ("memory", 0.0)):
        scaled = {name: (part * factor).astype(np.float32) for name, part in {**head, "half_hours": day}.items()}
        made.store.forecasts.save(Forecast(resource=resource, series=("host:hv1",), origin=int(origin), **scaled, **words))


def test_a_host_that_will_be_busy_takes_critical_ones_now_and_others_when_it_is_not(made, api):
    forecast(made, 1000.0)
    later = ask(api)
    assert later["state"] == "scheduled"
    assert 2.5 * 3600 <= later["start"] - NOW <= 3 * 3600
    assert not any("no forecast" in said for said in later["assumed"])
    assert ask(api, criticality="critical")["state"] == "started"


def test_an_old_forecast_is_none_and_that_is_said(made, api):
    forecast(made, 1000.0, origin=NOW - 2 * 3600)
    answered = ask(api)
    assert answered["state"] == "started"
    assert any("1 hosts have no forecast" in said for said in answered["assumed"])


def test_a_dry_run_is_answered_and_keeps_nothing(api):
    answer = api.post("/v1/requests?dry_run=true", headers=MEMBER, json=ASK)
    assert (answer.status_code, answer.json()["id"], answer.json()["start"]) == (200, "", NOW)
    assert api.get("/v1/requests", headers=MEMBER).json() == []


def test_growth_is_of_ones_own_server_and_of_more_than_it_has(api):
    grown = ask(api, server="web-1", vcpus=3, ram=None)
    assert (grown["each"], grown["state"]) == ({"VCPU": 1}, "started")
    assert (
        ask(api, status=404, server="db-1", vcpus=3, ram=None)["detail"] == ask(api, status=404, server="db-1", vcpus=3, ram=None)["detail"]
    )
    assert "say more of one" in ask(api, status=400, server="web-1", vcpus=1, ram=None)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"count": 10**30},
        {"count": -1},
        {"count": "many"},
        {"for_s": 1e308},
        {"for_s": -5},
        {"earliest": T0 - 86400},
        {"latest": T0 - 86400},
        {"earliest": NOW + 9000, "latest": NOW + 5},
        {"vcpus": 10**18},
        {"criticality": "vital"},
        {"tier": "platinum"},
        {"unknown": 1},
        {"name": "x" * 5000},
        {"flavor": "m1.small"},
    ],
)
def test_bad_input_is_a_clear_400_and_nothing_is_kept(refusing, body):
    answer = refusing.post("/v1/requests", headers=MEMBER, json={**ASK, **body})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert refusing.get("/v1/requests?all=true", headers=MEMBER).json() == []


@pytest.mark.parametrize("text", ['{"vcpus": 1, "ram": 1, "for_s": NaN}', '{"vcpus": 1e999, "ram": 1}', "[]", "{", "\xff"])
def test_what_is_no_json_is_a_400(refusing, text):
    headers = {**MEMBER, "Content-Type": "application/json"}
    assert refusing.post("/v1/requests", headers=headers, content=text.encode("latin-1")).status_code == 400


def test_the_same_name_twice_is_one_request(api):
    ask(api, name="build")
    assert "sent twice" in ask(api, status=400, name="build")["detail"]
    assert len(api.get("/v1/requests", headers=MEMBER).json()) == 1


def test_a_request_is_told_on_the_bus_to_its_project_alone(made, api):
    seen = []
    publish = made.store.bus.publish
    made.store.bus.publish = lambda *news: seen.append(news) or publish(*news)
    ask(api)
    told = [n for n in seen if n[0] == "request"]
    assert {n[1] for n in told} == {"p1"}
    assert told[-1][2]["event"] == "request_started"
    assert "hv1" not in json.dumps([n[2] for n in told])


# -- webhooks ------------------------------------------------------------------------------------------------------------


def hook(api, url="https://example.org/told", headers=MEMBER):
    return api.post("/v1/webhooks", headers=headers, json={"url": url})


def test_a_webhooks_secret_is_shown_once_and_only_its_project_sees_it(api):
    made = hook(api).json()
    assert len(made["secret"]) > 30
    assert [h["secret"] for h in api.get("/v1/webhooks", headers=MEMBER).json()] == [""]
    assert api.get("/v1/webhooks", headers=OTHER).json() == []
    assert api.get(f"/v1/webhooks/{made['id']}/deliveries", headers=OTHER).status_code == 404
    assert api.delete(f"/v1/webhooks/{made['id']}", headers=OTHER).status_code == 404
    ask(api)
    ask(api, headers=OTHER)
    told = api.get(f"/v1/webhooks/{made['id']}/deliveries", headers=MEMBER).json()
    assert {d["event"] for d in told} == {"request_queued", "request_scheduled", "request_admitted", "request_started"}
    assert api.delete(f"/v1/webhooks/{made['id']}", headers=MEMBER).status_code == 200
    assert api.get("/v1/webhooks", headers=MEMBER).json() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/",
        "https://user:pass@example.org/",
        "ftp://example.org/",
        "https://",
        "https://exa mple.org/",
        "https://example.org/" + "x" * 3000,
        "",
    ],
)
def test_a_url_that_nobody_may_be_told_at_is_refused(refusing, url):
    assert hook(refusing, url).status_code == 400


def test_a_project_has_ten_webhooks_at_most(api):
    assert [hook(api).status_code for _ in range(11)] == [201] * 10 + [400]


# -- by command ----------------------------------------------------------------------------------------------------------


def test_the_commands_do_it_all(tmp_path, capsys):
    made = program(tmp_path)
    with Serving(made, 0) as served:
        (tmp_path / "token").write_text(made.admin_token)
        say = Operator(capsys, ("--url", served.url, "--token-file", tmp_path / "token"))
        code, out, err = say(
            "request", "create", "--vcpus", 1, "--ram", 512, "--for", "2h", "--name", "ci", "--wait", "--wait-for", "9s", "-f", "json"
        )
        assert (code, err) == (0, "")
        answered = json.loads(out)
        assert answered["state"] == "started"
        assert "started" in say("request", "list").out
        assert "there is room now" in say("request", "create", "--vcpus", 1, "--ram", 64, "--dry-run").out
        shown = say("request", "show", answered["id"]).out
        assert "2 vcpus" not in shown
        assert "its owner may come" in shown or "may start" in shown
        assert "fulfilled" in say("request", "take", answered["id"]).out
        code, _, err = say("request", "take", answered["id"])
        assert code != 0
        assert "can be taken when it has started" in err
        assert "example.org" in say("webhook", "create", "https://example.org/x").out
        listed = json.loads(say("webhook", "list", "-f", "json").out)
        assert say("webhook", "show", listed[0]["id"]).code == 0
        assert say("webhook", "delete", listed[0]["id"]).code == 0
        assert "Nobody is told." in say("webhook", "list").out
    made.store.close()
