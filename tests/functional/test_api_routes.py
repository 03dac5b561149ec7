"""The HTTP edge: who may ask what, what is answered, and every error as a problem document."""

import msgspec
import numpy as np
import pytest
from litestar.testing import TestClient

from foreshape_controller.errors import Unavailable
from foreshape_controller.main import build
from foreshape_controller.model import answers
from foreshape_controller.model.forecast import Forecast
from foreshape_wire.codec import MAX_MESSAGE_BYTES, decode_desired, encode
from foreshape_wire.order import Mode, Origin
from store_support import T0, card, decision, order, outcome, plan, raw, report, sample, settings

pytestmark = pytest.mark.functional

NOW = T0 + 30


@pytest.fixture
def program(tmp_path):
    (tmp_path / "segments.yaml").write_text("segments: {web: [{name: 'web-*'}], empty: [{name: nobody}]}")
    made = build(settings(tmp_path, default_mode="act", segments_file=str(tmp_path / "segments.yaml")), clock=lambda: NOW)
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def admin(program):
    return {"Authorization": f"Bearer {program.admin_token}"}


@pytest.fixture
def agent(client, admin):
    """An agent that enrolled as an operator lets it: returns the header with its token."""
    join = client.post("/v1/agents/hv1/join", headers=admin).json()
    token = client.post("/v1/agents/enrol", json={"host": "hv1", "join_token": join["join_token"]}).json()["token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def filled(program, client, agent):
    """hv1 with two servers, one decision, one settled order, one reflex, one forecast."""
    cards = [card(name="web-1", project="p1"), card("vm-2", name="db-1")]
    assert (
        client.post(
            "/v1/reports", content=encode(report(1, samples=[sample(), sample("vm-2", 0.5)], cards=cards)), headers=agent
        ).status_code
        == 200
    )
    program.store.journal.record(plan(T0 + 20, decision(T0 + 20)), [order(memory=None)])
    told = (outcome(), outcome("", "memory", origin=Origin.REFLEX))
    client.post("/v1/reports", content=encode(report(2, T0 + 25, [sample(), sample("vm-2", 0.5)], outcomes=told)), headers=agent)
    q = np.linspace(0, 1, 13, dtype=np.float32)
    for resource in ("cpu", "servers"):
        program.store.forecasts.save(
            Forecast(
                resource=resource,
                series=("vm-1", "segment:web"),
                origin=int(T0),
                steps=np.tile(q, (2, 6, 1)),
                half_hours=np.tile(q, (2, 48, 1)),
                peak30m=np.tile(q, (2, 1)),
                peak24h=np.tile(q, (2, 1)) * 2,
                source=("baseline",) * 2,
                reason=("it has a day of history",) * 2,
                age_s=np.array([86400.0] * 2),
            )
        )


def problem(response, status, code):
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/problem+json")
    found = msgspec.json.decode(response.content, type=answers.Problem)
    assert (found.status, found.code) == (status, code)
    return found.detail


# --- agents -----------------------------------------------------------------------------------------------------------


def test_an_agent_enrols_reports_and_gets_its_desired_state(client, agent):
    reply = client.post("/v1/reports", content=encode(report(3)), headers=agent)
    assert reply.status_code == 200
    desired = decode_desired(reply.content)
    assert (desired.host, desired.accepted, desired.mode, desired.issued_at) == ("hv1", (3,), Mode.ACT, NOW)


def test_a_report_for_another_host_is_forbidden(client, agent, admin):
    detail = problem(client.post("/v1/reports", content=encode(report(1, host="hv2")), headers=agent), 403, "forged_host")
    assert "hv1" in detail
    assert client.get("/v1/hosts", headers=admin).json() == []


def test_replayed_and_reordered_reports_count_once(client, agent, program):
    for n in (3, 1, 3, 2, 1):
        at = T0 + 10 * n
        assert client.post("/v1/reports", content=encode(report(n, at, [sample(cores=n)])), headers=agent).status_code == 200
    h = program.store.history.read("cpu", ["vm-1"], NOW, 1)
    assert h.mean[0, 0] == 2.0
    assert h.coverage[0, 0] == pytest.approx(30 / 300)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer "}])
def test_without_its_token_an_agent_is_nobody(client, header):
    reply = client.post("/v1/reports", content=encode(report()), headers=header)
    problem(reply, 401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_revoked_agent_is_nobody_from_then_on(client, agent, admin):
    assert client.delete("/v1/agents/hv1", headers=admin).status_code == 204
    assert "enrol it again" in problem(client.post("/v1/reports", content=encode(report()), headers=agent), 401, "unauthenticated")
    problem(client.delete("/v1/agents/hv1", headers=admin), 404, "not_found")


def test_half_a_message_is_refused_and_the_whole_one_taken_after(client, agent):
    whole = encode(report())
    assert "truncated" in problem(client.post("/v1/reports", content=whole[: len(whole) // 2], headers=agent), 400, "bad_message")
    assert client.post("/v1/reports", content=whole, headers=agent).status_code == 200


def test_a_wrong_field_is_named(client, agent):
    assert "$.taken_at" in problem(client.post("/v1/reports", content=raw(report(), taken_at="noon"), headers=agent), 400, "bad_message")


def test_another_version_is_told_which_side_to_upgrade(client, agent):
    assert "upgrade the older side" in problem(
        client.post("/v1/reports", content=raw(report(), version=2), headers=agent), 400, "wrong_version"
    )


def test_50_mb_are_refused_by_their_length(client, agent):
    problem(client.post("/v1/reports", content=b"x" * 50_000_000, headers=agent), 413, "too_large")


def test_50_mb_without_a_length_are_cut_off_at_the_limit(client, agent):
    sent = []

    def body():
        for _ in range(50):
            sent.append(1_000_000)
            yield b"x" * 1_000_000

    problem(client.post("/v1/reports", content=body(), headers=agent), 413, "too_large")
    assert MAX_MESSAGE_BYTES < 50_000_000


def test_a_store_that_cannot_take_it_answers_503_and_acknowledges_nothing(client, agent, program, monkeypatch):
    def refuse(*_):
        raise Unavailable("database or disk is full: free some space")

    monkeypatch.setattr(program.store.history, "take", refuse)
    reply = client.post("/v1/reports", content=encode(report()), headers=agent)
    assert "free some space" in problem(reply, 503, "unavailable")
    assert reply.headers["retry-after"] == "5"


def test_a_join_token_works_once(client, admin):
    join = client.post("/v1/agents/hv1/join", headers=admin).json()
    body = {"host": "hv1", "join_token": join["join_token"]}
    assert join["expires_at"] == NOW + 3600
    assert client.post("/v1/agents/enrol", json=body).status_code == 200
    assert "foreshape agent enroll hv1" in problem(client.post("/v1/agents/enrol", json=body), 403, "enrol_refused")
    assert "join_token" in problem(client.post("/v1/agents/enrol", json={"host": "hv1"}), 400, "invalid")
    problem(client.post("/v1/agents/enrol", content=b"\xff"), 400, "invalid")


# --- operators --------------------------------------------------------------------------------------------------------

READS = [
    ("/v1/hosts", list[answers.HostAnswer]),
    ("/v1/hosts/hv1", answers.HostAnswer),
    ("/v1/servers", list[answers.ServerAnswer]),
    ("/v1/servers/web-1", answers.ServerAnswer),
    ("/v1/servers/vm-1", answers.ServerAnswer),
    ("/v1/servers/web-1/forecast", answers.ForecastAnswer),
    ("/v1/forecasts/segment%3Aweb", answers.SeriesForecastAnswer),
    ("/v1/segments", list[answers.SegmentAnswer]),
    ("/v1/segments/report", answers.SegmentReportAnswer),
    ("/v1/segments/web", answers.SegmentAnswer),
    ("/v1/agents", list[answers.AgentAnswer]),
    ("/v1/agents/hv1", answers.AgentAnswer),
    ("/v1/servers/web-1/why", answers.WhyAnswer),
    ("/v1/plan", answers.PlanAnswer),
    ("/v1/plan?changes=true", answers.PlanAnswer),
    ("/v1/summary", answers.SummaryAnswer),
    ("/v1/mode", answers.ModeAnswer),
    ("/v1/mode?scope=host:hv1", answers.ModeAnswer),
    ("/v1/modes", list[answers.ModeAnswer]),
]


@pytest.mark.parametrize(("path", "shape"), READS, ids=[p for p, _ in READS])
def test_every_answer_has_the_shape_that_the_command_reads(client, admin, filled, path, shape):
    reply = client.get(path, headers=admin)
    assert reply.status_code == 200
    assert msgspec.json.decode(reply.content, type=shape)


def test_a_segment_is_shown_with_its_members_and_what_they_are_expected_to_want(client, admin, filled):
    """Levels lie evenly from 0 to 1: the middle is the seventh, 6/12; the day's 95 % is the twelfth of twice that, 2 × 11/12."""
    web, empty = client.get("/v1/segments", headers=admin).json()
    assert (web["name"], web["servers"], web["cpu"]["ahead"], web["memory"]["ahead"]) == ("web", 1, 0.5, None)
    assert web["cpu"]["peak24h_q95"] == pytest.approx(22 / 12)
    assert (empty["servers"], empty["hosts"], empty["cpu"]["ahead"]) == (0, 0, None)
    told = client.get("/v1/forecasts/segment:web", headers=admin).json()
    assert (told["kind"], told["name"], told["servers"]) == ("segment", "web", 1)
    assert [(f["resource"], f["unit"]) for f in told["fans"]] == [("cpu", "cores"), ("servers", "servers")]


@pytest.mark.parametrize("path", [p for p, _ in READS] + ["/v1/agents/hv1/join"])
def test_operators_need_their_own_token(client, agent, path):
    method = client.post if path.endswith("/join") else client.get
    problem(method(path), 401, "unauthenticated")
    assert "admin_token_file" in problem(method(path, headers=agent), 401, "unauthenticated")


def test_a_host_s_sums_are_those_of_its_servers(client, admin, filled):
    host = client.get("/v1/hosts/hv1", headers=admin).json()
    assert (host["servers"], host["cpu_entitled_cores"], host["memory_entitled_mib"]) == (2, 4.0, 4096.0)
    assert (host["cpu_used_cores"], host["last_report_s_ago"], host["fresh"]) == (4.0, 5.0, True)


def test_the_summary_counts_what_happened(client, admin, filled):
    s = client.get("/v1/summary", headers=admin).json()
    assert (s["hosts"], s["servers"], s["decisions"], s["orders"], s["orders_applied"], s["reflexes"]) == (1, 2, 1, 1, 1, 1)
    assert s["cpu_demand_cores"] == 1.5
    assert s["servers_unmeasured"] == 0
    assert s["simulated"] is False


def test_why_tells_the_decision_its_order_and_the_agent_s_own_action(client, admin, filled):
    why = client.get("/v1/servers/web-1/why", headers=admin).json()
    assert "CPU grows from 1.00 cores to 2.00 cores" in " ".join(why["sentences"])
    assert why["orders"][0]["status"] == "applied"
    assert [o["origin"] for o in why["local_actions"]] == ["reflex"]


def test_why_before_the_first_decision_or_in_the_future_is_an_error_with_words(client, admin, filled):
    before = client.get("/v1/servers/web-1/why", params={"at": T0 + 19}, headers=admin)
    assert "before its first one" in problem(before, 404, "not_found")
    ahead = client.get("/v1/servers/web-1/why", params={"at": NOW + 60}, headers=admin)
    assert "is in the future" in problem(ahead, 400, "invalid")
    never = client.get("/v1/servers/db-1/why", params={"at": NOW}, headers=admin)
    assert "nothing was decided about db-1 yet" in problem(never, 404, "not_found")
    assert "Nothing was decided" in client.get("/v1/servers/db-1/why", headers=admin).json()["sentences"][0]


def test_why_is_found_by_the_cause_that_orders_and_log_lines_name(client, admin, program, filled):
    made = decision(T0 + 21, cause="cause-7f-0")
    program.store.journal.record(plan(T0 + 21, made, name="plan-7f"), [order("ord-2", at=T0 + 21, cause="cause-7f-0", memory=None)])
    found = client.get("/v1/why", params={"cause": "cause-7f-0"}, headers=admin).json()
    assert [d["cause"] for d in found["decisions"]] == ["cause-7f-0"]
    assert "Order ord-2" in " ".join(found["sentences"])
    assert found["name"] == "web-1"
    unknown = client.get("/v1/why", params={"cause": "cause-7f-99"}, headers=admin)
    assert "no decision with the cause" in problem(unknown, 404, "not_found")
    problem(client.get("/v1/why", headers=admin), 400, "invalid")


def test_why_still_answers_for_a_server_that_is_gone(client, admin, agent, program, monkeypatch):
    client.post("/v1/reports", content=encode(report(1, cards=[card(name="web-1")])), headers=agent)
    client.post("/v1/reports", content=encode(report(2, T0 + 20, [])), headers=agent)
    program.store.journal.record(plan(T0 + 15, decision(T0 + 15)), [])
    view = program.store.inventory.view
    monkeypatch.setattr(program.store.inventory, "view", lambda now, *rest: view(now + 3600, *rest))
    problem(client.get("/v1/servers/web-1", headers=admin), 404, "not_found")
    assert len(client.get("/v1/servers/web-1/why", headers=admin).json()["decisions"]) == 1


def test_a_name_that_two_servers_have_lists_their_ids(client, admin, agent):
    cards = [card(name="twin"), card("vm-2", name="twin")]
    client.post("/v1/reports", content=encode(report(1, samples=[sample(), sample("vm-2")], cards=cards)), headers=agent)
    detail = problem(client.get("/v1/servers/twin", headers=admin), 409, "ambiguous")
    assert "vm-1, vm-2" in detail
    assert client.get("/v1/servers/vm-2", headers=admin).json()["name"] == "twin"


def test_the_mode_is_set_and_unset(client, admin, filled):
    set_to = client.put("/v1/mode", json={"scope": "host:hv1", "mode": "observe", "reason": "maintenance"}, headers=admin).json()
    assert set_to == {"scope": "host:hv1", "mode": "observe", "since": NOW, "reason": "maintenance"}
    assert client.get("/v1/servers/web-1", headers=admin).json()["mode"] == "observe"
    client.put("/v1/mode", json={"scope": "host:hv1", "mode": ""}, headers=admin)
    assert client.get("/v1/servers/web-1", headers=admin).json()["mode"] == "act"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (("GET", "/v1/servers/nobody", None), 404, "not_found"),
        (("GET", "/v1/servers/nobody/why", None), 404, "not_found"),
        (("GET", "/v1/servers/db-1/forecast", None), 404, "not_found"),
        (("GET", "/v1/forecasts/zone:nowhere", None), 404, "not_found"),
        (("GET", "/v1/forecasts/web-1", None), 400, "invalid"),
        (("GET", "/v1/hosts/nobody", None), 404, "not_found"),
        (("GET", "/v1/servers/web-1/why?at=noon", None), 400, "invalid"),
        (("GET", "/v1/servers/web-1/why?limit=0", None), 400, "invalid"),
        (("GET", "/v1/mode?scope=everything", None), 400, "invalid"),
        (("PUT", "/v1/mode", {"mode": "attack"}), 400, "invalid"),
        (("PUT", "/v1/mode", {"scope": "cloud"}), 400, "invalid"),
        (("PUT", "/v1/mode", {"mode": "act", "scop": "cloud"}), 400, "invalid"),
        (("GET", "/v1/nothing", None), 404, "no_such_route"),
        (("GET", "/v1/servers/a%2Fb", None), 404, "no_such_route"),
        (("POST", "/v1/plan", None), 405, "method_not_allowed"),
        (("POST", f"/v1/agents/{'x' * 256}/join", None), 400, "invalid"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_what_makes_no_sense_is_a_problem_with_words(client, admin, asked, status, code):
    assert len(problem(client.request(*asked[:2], json=asked[2], headers=admin), status, code)) > 10


def test_a_fault_of_ours_shows_an_id_and_no_more(client, admin, program, monkeypatch, capsys):
    def fail(*_):
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(program.store.inventory, "view", fail)
    reply = client.get("/v1/servers", headers=admin)
    detail = problem(reply, 500, "internal")
    assert b"secret" not in reply.content
    assert b"Traceback" not in reply.content
    fault = detail.rsplit(" ", 1)[1]
    shown = capsys.readouterr()
    assert fault in shown.out + shown.err
    assert "ZeroDivisionError" in shown.out + shown.err


def test_health_and_readiness_need_no_token(client, program, monkeypatch):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "store": "ok", "reports": "ok", "late": []}

    def refuse():
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(program.store, "ping", refuse)
    problem(client.get("/readyz"), 503, "unavailable")
    assert client.get("/healthz").status_code == 200


def test_the_api_describes_itself(client):
    paths = client.get("/schema/openapi.json").json()["paths"]
    assert {"/v1/reports", "/v1/agents/enrol", "/v1/servers/{name}/why", "/v1/mode", "/healthz"} <= set(paths)
