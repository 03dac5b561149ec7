"""Stop in one call: observe, and no agent is handed an order any more; resume puts back what was."""

import pytest
from litestar.testing import TestClient

from foreshape_controller.decide.why import _ENDINGS
from foreshape_controller.main import build
from foreshape_controller.store.orders import Status
from foreshape_wire.order import Mode, Verdict
from store_support import T0, ask, card, decision, order, outcome, plan, report, sample, settings

pytestmark = pytest.mark.functional


@pytest.fixture
def program(tmp_path):
    """Four servers of two hosts and two projects, each with an open order that was issued 20 s after the hosts' last report."""
    made = build(settings(tmp_path, default_mode="act"), clock=lambda: T0 + 40)
    ask(made.intake, report(1, T0, [sample("vm-1"), sample("vm-2")], cards=[card("vm-1", project="p1"), card("vm-2", project="p2")]))
    other = [card("vm-3", project="p1"), card("vm-4", project="p2")]
    ask(made.intake, report(1, T0, [sample("vm-3"), sample("vm-4")], cards=other, host="hv2"))
    on = {"vm-1": "hv1", "vm-2": "hv1", "vm-3": "hv2", "vm-4": "hv2"}
    orders = [order(f"ord-{i}", s, T0 + 20, memory=None) for i, s in enumerate(on, 1)]
    made.store.journal.record(plan(T0 + 20, *(decision(T0 + 20, s, h) for s, h in on.items())), orders)
    yield made
    made.store.close()


@pytest.fixture
def api(program):
    with TestClient(program.app) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield client


def handed(program, at=T0 + 50, sequence=2):
    """Ids of the orders that both hosts' next reports are answered with."""
    told = [
        report(sequence, at, [sample("vm-1"), sample("vm-2")]),
        report(sequence, at, [sample("vm-3"), sample("vm-4")], host="hv2"),
    ]
    return {o.order for t in told for o in ask(program.intake, t).orders}


ALL = {"ord-1", "ord-2", "ord-3", "ord-4"}


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ("cloud", set()),
        ("host:hv1", {"ord-3", "ord-4"}),
        ("project:p1", {"ord-2", "ord-4"}),
        ("server:vm-4", ALL - {"ord-4"}),
    ],
)
def test_after_a_stop_no_report_is_answered_with_an_order_of_the_scope(program, api, scope, left):
    answer = api.post("/v1/stop", json={"scope": scope, "reason": "trouble", "by": "ann"}).json()
    assert (answer["mode"], answer["withdrawn"], answer["with_agents"]) == ("observe", 4 - len(left), 0)
    assert answer["reason"] == "stopped by ann: trouble"
    assert handed(program) == left


def test_without_a_stop_every_order_is_handed_out(program):
    assert handed(program) == ALL


def test_orders_that_an_agent_has_already_are_counted(program, api):
    ask(program.intake, report(2, T0 + 30, [sample("vm-1"), sample("vm-2")]))  # hv1 has fetched its two
    answer = api.post("/v1/stop", json={"reason": "trouble"}).json()
    assert (answer["withdrawn"], answer["with_agents"]) == (4, 2)


def test_what_an_agent_tells_of_a_withdrawn_order_is_kept_and_changes_nothing(program, api):
    api.post("/v1/stop", json={"reason": "trouble"})
    program.store.journal.settle([outcome("ord-1", verdict=Verdict.APPLIED)], T0 + 60, "hv1")
    (told,) = program.store.journal.orders("vm-1")
    assert (told.status, len(told.outcomes)) == ("withdrawn", 1)


def test_why_says_that_the_order_was_withdrawn(program, api):
    api.post("/v1/stop", json={"reason": "trouble"})
    said = api.get("/v1/servers/vm-1/why").json()["sentences"]
    assert any("was withdrawn: somebody stopped Foreshape there" in line for line in said)


def test_every_way_an_order_can_end_has_its_words():
    assert set(_ENDINGS) == set(Status)


def test_resuming_puts_back_the_mode_that_was_and_no_order_of_before(program, api):
    api.put("/v1/mode", json={"mode": "advise", "scope": "host:hv2"})
    api.post("/v1/stop", json={"scope": "host:hv2", "reason": "trouble"})
    api.post("/v1/stop", json={"scope": "host:hv2", "reason": "still"})  # a second stop remembers what the first replaced
    assert program.store.modes.effective("hv2") is Mode.OBSERVE
    assert api.post("/v1/resume", json={"scope": "host:hv2", "reason": "over"}).json()["mode"] == "advise"
    api.post("/v1/stop", json={"reason": "trouble"})
    assert api.post("/v1/resume", json={"reason": "over"}).json()["mode"] == "act"  # the configured default
    assert handed(program) == set()


def test_an_order_of_a_plan_that_was_under_way_does_not_survive(program, api):
    api.post("/v1/stop", json={"reason": "trouble"})
    program.store.journal.record(plan(T0 + 41, decision(T0 + 41)), [order("late", at=T0 + 41)])
    assert handed(program) == set()
    api.post("/v1/resume", json={"reason": "over"})
    assert handed(program, T0 + 60, 3) == set()


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("stop", {"reason": " "}, "reason is empty"),
        ("stop", {"reason": "x", "scope": "planet:earth"}, "not a scope"),
        ("resume", {"reason": "x"}, "is not stopped"),
        ("resume", {"reason": "x", "scope": "host:hv1"}, "is not stopped"),
        ("halts/clear", {"reason": "x", "scope": "planet:earth"}, "not a scope"),
    ],
)
def test_a_wrong_call_says_what_to_write(api, path, body, words):
    answer = api.post(f"/v1/{path}", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (400, True)


def test_a_server_is_stopped_by_its_name_too(program, api):
    """Under its name nothing would be stopped: modes and orders go by ids."""
    name = api.get("/v1/servers/vm-1").json()["name"]
    assert name != "vm-1"
    assert api.post("/v1/stop", json={"scope": f"server:{name}", "reason": "x"}).json()["scope"] == "server:vm-1"
    assert handed(program) == ALL - {"ord-1"}
    assert api.get("/v1/mode", params={"scope": f"server:{name}"}).json()["mode"] == "observe"
    assert api.post("/v1/resume", json={"scope": f"server:{name}", "reason": "x"}).json()["mode"] == "act"
    assert api.put("/v1/mode", json={"scope": f"server:{name}", "mode": "advise"}).json()["scope"] == "server:vm-1"
    assert api.put("/v1/mode", json={"scope": f"server:{name}", "mode": ""}).json()["mode"] == "act"


@pytest.mark.parametrize("scope", ["server:web-l", "host:hv11", "project:p3"])
def test_nobody_is_told_that_a_misspelt_scope_was_stopped(program, api, scope):
    answer = api.post("/v1/stop", json={"scope": scope, "reason": "trouble"})
    assert (answer.status_code, "shows those that are known" in answer.json()["detail"]) == (404, True)
    assert [m.scope for m in program.store.modes.all()] == ["cloud"]


def test_a_mode_may_be_set_for_a_host_that_is_still_to_come_but_not_for_a_server_that_nobody_knows(api):
    assert api.put("/v1/mode", json={"scope": "host:hv9", "mode": "advise"}).status_code == 200
    assert api.put("/v1/mode", json={"scope": "server:nobody", "mode": "advise"}).status_code == 404


def test_what_was_set_for_a_server_that_is_gone_can_be_taken_back(program, api):
    program.store.modes.set("server:gone", Mode.ADVISE, "before", T0)
    assert api.get("/v1/mode", params={"scope": "server:gone"}).json()["mode"] == "advise"
    assert api.put("/v1/mode", json={"scope": "server:gone", "mode": ""}).status_code == 200
    assert program.store.modes.get("server:gone") is None


def test_a_reason_is_kept_as_one_line_that_a_terminal_can_show(api):
    pasted = "switch\u00a0down\n\x1b[31mred " + "x" * 5000
    reason = api.post("/v1/stop", json={"reason": pasted, "by": "ann\n"}).json()["reason"]
    assert reason.startswith("stopped by ann: switch down [31mred xxx")
    assert (len(reason), reason.isprintable()) == (len("stopped by ann: ") + 1000, True)
    assert api.put("/v1/mode", json={"mode": "act", "reason": pasted}).json()["reason"].startswith("switch down [31mred xxx")


@pytest.mark.parametrize("body", [b'{"reason":"\xff\xfe"}', b"[" * 100_000, b'{"reason":"\\ud800"}'])
def test_a_body_that_cannot_be_read_is_the_senders_fault(program, api, body):
    answer = api.post("/v1/stop", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert [m.scope for m in program.store.modes.all()] == ["cloud"]
