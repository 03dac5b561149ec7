"""Reports over HTTP and on the command line: tiers against their targets, levers, the alarm, and a server's story."""

import json
import logging
from dataclasses import replace

import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.config_tenants import PricingSettings
from foreshape_controller.main import build
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.mark import Factors, Mark
from foreshape_controller.store.marks import MarkKey
from foreshape_demo.serve import Serving
from sim_support import Lockstep
from store_support import T0, card, decision, plan, report, sample, settings, sizing

pytestmark = pytest.mark.functional

NOW = T0 + 7200


# -- figures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "tiers.yaml"
    file.write_text("tiers: {economy: {price: {cpu_core: 0.02, burst_cpu_core: 0.03}}}")
    made = build(settings(tmp_path, tiers_file=str(file)), clock=lambda: NOW)
    yield made
    made.store.close()


@pytest.fixture
def ask(program):
    with TestClient(program.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield client.get


def half_hour(program, slot=T0, tier="economy", resource="cpu", **sums) -> None:
    whole = {"bins": 1200, "acting": 1200, "used": 600.0, "allocation": 1200.0, "entitlement": 2400.0, "freed": 1200.0, "decisions": 1000}
    program.store.marks.settle({MarkKey(int(slot), tier, resource): Mark(**(whole | sums))}, int(slot) + 1800)


def test_a_tier_s_report_divides_its_sums(program, ask):
    half_hour(program, violated=12, short=6, changed=100, resizes=10, grew=4, grew_came=3, burst=12.0)
    answer = ask("/v1/tiers/report").json()
    (row,) = answer["rows"]
    assert (row["tier"], row["resource"], row["bins"], row["violation_target"]) == ("economy", "cpu", 1200, 0.02)
    assert (row["violation_share"], row["short_share"], row["slack"]) == (0.01, 0.005, 0.5)
    assert row["allocation_of_entitlement"] == 0.5
    assert row["resizes_per_vm_day"] == pytest.approx(10 / (1200 * 300 / 86400))  # 4.17 VM-days
    assert (row["changed_share"], row["grew_came_share"], row["shrank_short_share"]) == (0.1, 0.75, None)
    assert row["price_sold"] == pytest.approx(2400 / 12 * 0.02)  # core-hours: twelve bins an hour
    assert row["price_freed"] == pytest.approx(1200 / 12 * 0.02)
    assert row["price_burst"] == pytest.approx(12 / 12 * 0.03)
    assert answer["alarm"] == ""
    assert answer["until"] == T0 + 1800


def test_half_hours_add_up_and_older_ones_are_left_out(program, ask):
    for i in range(4):
        half_hour(program, T0 + 1800 * i, violated=3)
    assert ask("/v1/tiers/report").json()["rows"][0]["bins"] == 4800
    assert ask("/v1/tiers/report", params={"since_s": 3600}).json()["rows"][0]["bins"] == 2400


def test_the_rate_card_s_price_replaces_the_tier_s_own(tmp_path):
    """What statements use counts everywhere; an example without a currency counts nowhere."""
    (tmp_path / "tiers.yaml").write_text("tiers: {economy: {price: {cpu_core: 0.02, burst_cpu_core: 0.03}}}")
    card = "cards: [{valid_from: 2020-01-01, tiers: {economy: {cpu: {entitlement: 0.05, burst: 0.07}}}}]"
    for currency, sold in (("EUR", 2400 / 12 * 0.05), ("XXX", 2400 / 12 * 0.02)):
        (tmp_path / currency).mkdir()
        (tmp_path / "rates.yaml").write_text(f"currency: {currency}\n{card}\n")
        files = settings(tmp_path / currency, tiers_file=str(tmp_path / "tiers.yaml"))
        made = build(replace(files, pricing=PricingSettings(rates_file=str(tmp_path / "rates.yaml"))), clock=lambda: NOW)
        half_hour(made)
        with TestClient(made.app) as client:
            client.headers["Authorization"] = f"Bearer {made.admin_token}"
            assert client.get("/v1/tiers/report").json()["rows"][0]["price_sold"] == pytest.approx(sold)
            assert client.get("/v1/tiers/economy").json()["price"]["burst_cpu_core"] == (0.07 if currency == "EUR" else 0.03)
            assert client.get("/v1/tiers").json()["warnings"] != []
        made.store.close()


def test_a_tier_without_a_price_has_no_money(program, ask):
    half_hour(program, tier="standard")
    assert ask("/v1/tiers/report").json()["rows"][0]["price_sold"] is None


def test_a_tier_that_left_the_file_keeps_its_past(program, ask):
    half_hour(program, tier="platinum")
    assert [r["tier"] for r in ask("/v1/tiers/report").json()["rows"]] == ["platinum"]


@pytest.mark.parametrize("since", ["0", "-1", "nan", "1e12", "yesterday"])
def test_a_time_that_makes_no_sense_is_a_problem_with_words(ask, since):
    reply = ask("/v1/tiers/report", params={"since_s": since})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid")


def test_forecasts_that_change_nothing_are_an_alarm_in_report_and_summary(program, ask):
    half_hour(program, changed=0)
    for path in ("/v1/tiers/report", "/v1/summary"):
        assert "none of 1000 decisions was changed by one" in ask(path).json()["alarm"]
    half_hour(program, T0 + 1800, changed=1)
    assert ask("/v1/summary").json()["alarm"] == ""
    assert ask("/v1/summary").json()["changed_share_24h"] == pytest.approx(1 / 2000)


def test_before_anything_is_judged_the_report_is_empty(ask):
    answer = ask("/v1/tiers/report").json()
    assert (answer["rows"], answer["alarm"], answer["changed_share"]) == ([], "", None)
    assert ask("/v1/levers").json() == []


def test_what_feedback_learned_is_shown_with_the_tier_and_decided_by(program, ask):
    program.store.tier_factors.save({("economy", "cpu"): Factors(headroom=1.25, hold=0.8, at=T0, reason="too many")})
    shown = ask("/v1/tiers/economy").json()
    assert shown["cpu"]["headroom"] == 1.25
    assert shown["cpu"]["hold_s"] == pytest.approx(0.8 * 3 * 3600)
    assert shown["learned"]["cpu"] == "headroom × 1.25, hold time × 0.80 by feedback of 2026-01-05 00:00 UTC: too many"
    assert "nothing was learned yet" in shown["learned"]["memory"]
    half_hour(program)
    assert (ask("/v1/tiers/report").json()["rows"][0]["headroom"]) == 1.25


def decided(program, tier="economy") -> None:
    """vm-1 was sold 2 cores and 2048 MiB, has 2 and 1024, and shrinks to 1.5 at T0 + 20; half an hour of 1 core follows."""
    store = program.store
    store.history.append(report(1, T0 + 10, [sample()], cards=(card(name="web-1", project="p1"),)), T0 + 10)
    shrink = decision(T0 + 20, tier=tier, cpu=sizing("cpu", 2.0, 1.5, code="peak_below", reason="use is low"))
    store.journal.record(plan(T0 + 20, shrink), [])
    for i in range(12):
        store.history.append(report(2 + i, T0 + 310 + 300 * i, [sample()]), T0 + 310 + 300 * i)


def test_a_decision_is_told_with_its_price_and_with_what_came(program, ask):
    decided(program)
    why = ask("/v1/servers/web-1/why").json()
    (worth,) = why["worth"]  # memory has no price
    assert (worth["resource"], worth["entitlement"]) == ("cpu", 2.0)
    assert (worth["before_per_hour"], worth["change_per_hour"]) == pytest.approx((0.04, 0.5 * 0.02))
    cpu, memory = why["afterwards"]
    assert (cpu["since"], cpu["until"], cpu["bins"], cpu["came"], cpu["verdict"]) == (T0 + 300, T0 + 2100, 6, 1.0, "enough")
    assert (memory["came"], memory["had"]) == (500.0, 1024.0)
    told = " ".join(why["sentences"])
    assert "the change frees capacity, worth 0.0100 an hour" in told
    assert "Afterwards, CPU until 2026-01-05 00:35:00 UTC: 1.00 cores came; it had 2.00 cores: enough." in told


def test_without_a_price_nothing_is_said_of_money(program, ask):
    decided(program, tier="standard")
    assert ask("/v1/servers/web-1/why").json()["worth"] == []


def test_a_tier_that_is_gone_has_the_default_s_price(program, ask):
    decided(program, tier="platinum")
    assert ask("/v1/servers/web-1/why").status_code == 200


def test_a_cap_in_force_then_is_told_and_one_set_later_is_not(program, ask):
    decided(program)
    words = {"resource": "cpu", "amount": 1.0, "reason": "noisy", "scope": "project:p1"}
    program.store.caps.add([Cap(id="cap-1", since=T0, until=T0 + 3600, **words)], T0)
    program.store.caps.add([Cap(id="cap-2", since=T0 + 60, until=T0 + 3600, **(words | {"amount": 0.5}))], T0 + 60)
    (said,) = ask("/v1/servers/web-1/why").json()["circumstances"]
    assert said == "A hard cap on CPU was in force for project:p1: 1 cores until 2026-01-05 01:00 UTC: noisy."
    assert "foreshape cap show cap-1" in ask("/v1/why", params={"cause": "cap-1"}).json()["detail"]


def test_operators_need_their_token(program):
    with TestClient(program.app) as client:
        assert {client.get(p).status_code for p in ("/v1/levers", "/v1/tiers/report", "/v1/why?cause=c")} == {401}


# -- on a simulated cloud ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("cloud")
    run = Lockstep.impatient(folder, servers=3).run(2 * 3600)
    with Serving(run.bed.controller, 0) as api:
        yield run, ["--url", api.url, "--token-file", str(folder / "admin-token")]
    run.bed.close()


@pytest.fixture
def run(cloud, capsys):
    return Operator(capsys, tuple(cloud[1]))


@pytest.fixture
def name(cloud) -> str:
    return cloud[0].bed.world.vms()[0].spec.name


def read(answer: tuple[int, str, str]):
    code, out, _ = answer
    assert code == 0
    return json.loads(out)


def test_the_report_of_a_run_adds_up_to_it(cloud, run):
    rows = read(run("report", "tiers", "--since", "3h", "-f", "json"))
    assert {r["resource"] for r in rows} == {"cpu", "memory"}
    for row in rows:
        assert row["bins"] > 0
        assert row["decisions"] > 0
        assert 0 <= row["slack"] < 1
        assert 0 < row["allocation_of_entitlement"] <= 1
    table = run("report", "tiers", "--reasons")[1]
    assert "Forecasts changed" in table
    assert "first day is not over" in table


def test_levers_are_listed_with_what_guests_waited(cloud, run):
    rows = read(run("lever", "list", "-f", "json"))
    assert sum(r["pulls"] for r in rows) > 0
    for row in rows:
        assert row["own_p95_s"] <= row["p95_s"]
        assert row["median_s"] <= row["p95_s"]
    assert "Median s" in run("lever", "list")[1]


def test_a_decision_of_an_hour_ago_is_told_with_what_came(run, name):
    story = read(run("why", name, "--at", "1h ago", "-f", "json"))
    assert [a["over"] for a in story["afterwards"]] == [True, True]
    for after in story["afterwards"]:
        assert after["bins"] == 6
        assert after["verdict"] in {"enough", "needed", "not_needed", "short"}
    text = run("why", name, "--at", "1h ago")[1]
    assert "Afterwards, CPU until" in text
    assert "were predicted to be safe" in text


def test_the_same_decision_is_found_by_its_cause(run, name):
    story = read(run("why", name, "--at", "1h ago", "-f", "json"))
    cause = story["decisions"][0]["cause"]
    again = read(run("why", "--cause", cause, "-f", "json"))
    assert again["decisions"][0] == story["decisions"][0]
    assert again["name"] == name


def test_a_hold_is_told_as_well_as_a_change(cloud, run, name):
    """Every plan of the two hours is kept, whatever it decided."""
    server = cloud[0].bed.world.vms()[0].spec.server
    told = cloud[0].store.journal.decisions(server, limit=100)
    assert len(told) == cloud[0].bed.plans
    assert any(d.cpu.choice == "hold" and d.memory.choice == "hold" for d in told)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("why", "nobody"), 1, "there is no server"),
        (("why", "{name}", "--at", "40d ago"), 1, "before its first one"),
        (("why", "{name}", "--at", "2090-01-01"), 1, "is in the future"),
        (("why", "--cause", "cause-1-2"), 1, "no decision with the cause"),
    ],
)
def test_what_cannot_be_told_is_said_in_words(run, name, words, code, said):
    found, _, err = run(*(w.format(name=name) for w in words))
    assert (found, said in err, "Traceback" in err) == (code, True, False)
