"""Prices and statements over HTTP and by command: one's own only, to the cent, harmless in a spreadsheet."""

import csv
import io
from decimal import Decimal
from typing import Any

import pytest
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.decide.statement import COLUMNS_OF_CSV
from foreshape_demo.serve import Serving
from pricing_support import CARD, HOUR, Had, PriceWorld
from tenants_support import MEMBER, OTHER, READER, SYSTEM_READER, headers

pytestmark = pytest.mark.functional

EVIL = {"vm-1": "=cmd|' /C calc'!A0\"", "vm-2": "@SUM(A1:A9)\nsecond line", "vm-3": "-2+3"}
CARDS = {
    "vm-1": {"name": EVIL["vm-1"]},
    "vm-2": {"name": EVIL["vm-2"]},
    "vm-3": {"name": EVIL["vm-3"], "project": "p2"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = PriceWorld(tmp_path_factory.mktemp("prices"), HOUR, CARDS)
    made.run(HOUR + 2 * 3600 + 600, lambda server, _at: Had(2.0 if server == "vm-1" else 6.0))
    yield made
    made.program.store.close()


@pytest.fixture(scope="module")
def client(world):
    return TestClient(world.program.app, raise_server_exceptions=False)


def operator(world):
    return {"Authorization": f"Bearer {world.program.admin_token}"}


def asked(client, path, who, status=200) -> Any:
    reply = client.get(f"/v1{path}", headers=who)
    assert reply.status_code == status, reply.text
    return reply.json()


def test_everybody_sees_what_things_cost_and_operators_where_it_stands(world, client):
    mine, theirs = asked(client, "/prices", READER), asked(client, "/prices", operator(world))
    assert mine["card"]["tiers"]["standard"]["cpu"]["entitlement"] == "0.02"
    assert (mine["currency"], mine["shadow"], mine["default_tier"]) == ("EUR", True, "standard")
    assert mine["file"] == ""
    assert theirs["file"].endswith("rates.yaml")


def test_a_quote_is_to_the_cent_and_nonsense_is_refused(client):
    body = {"cores": 2, "gib": "4", "duration_s": 2592000}
    reply = client.post("/v1/prices/quote", json=body, headers=READER)
    assert reply.status_code == 200, reply.text
    made = reply.json()
    assert Decimal(made["total"]) == sum(Decimal(n["amount"]) for n in made["lines"]) == Decimal("37.44")
    for wrong in ({"cores": -1}, {"tier": "gold"}, {"duration_s": "long"}, {"count": 0}, {"more": 1}):
        refused = client.post("/v1/prices/quote", json=body | wrong, headers=READER)
        assert refused.status_code == 400, refused.text


def test_a_tenant_sees_his_own_statement_and_another_does_not_exist(world, client):
    mine = asked(client, "/statements?period=2026-11", MEMBER)
    assert [r["project"] for r in mine] == ["p1"]
    assert asked(client, "/statements?period=2026-11&project=p2", MEMBER) == []
    unknown = asked(client, "/statements/2026-11?project=p2", MEMBER, 404)
    missing = asked(client, "/statements/2026-11?project=p9", MEMBER, 404)
    assert unknown["detail"].replace("p2", "p9") == missing["detail"]
    everybody = asked(client, "/statements?period=2026-11", SYSTEM_READER)
    assert [r["project"] for r in everybody] == ["p1", "p2"]
    assert asked(client, "/statements/2026-11?project=p2", operator(world))["project"] == "p2"
    assert asked(client, "/statements/2026-11", headers("p3", "reader"), 404)


@pytest.mark.parametrize("by", ["meter", "server", "day", "line"])
def test_the_lines_add_up_to_the_total_whichever_way(client, by):
    made = asked(client, f"/statements/2026-11?by={by}", READER)
    assert sum(Decimal(n["amount"]) for n in made["lines"]) == Decimal(made["total"]) > 0
    assert made["total"] == asked(client, "/statements/2026-11", READER)["total"]
    assert (made["state"], made["shadow"], made["currency"]) == ("open", True, "EUR")


def test_the_list_says_what_the_statement_says(client):
    (row,) = asked(client, "/statements?period=2026-11", READER)
    made = asked(client, "/statements/2026-11", READER)
    assert {k: made[k] for k in row} == row


@pytest.mark.parametrize(
    "path", ["/statements/2026-13", "/statements?period=x", "/statements/2026-11?by=tier", "/statements/2026-11/csv?by=x"]
)
def test_what_is_asked_wrongly_is_refused_in_words(client, path):
    assert asked(client, path, READER, 400)["detail"]


def test_an_operator_has_to_say_whose(world, client):
    assert "say whose statement" in asked(client, "/statements/2026-11", operator(world), 400)["detail"]


def test_csv_adds_up_and_no_cell_is_a_formula(client):
    reply = client.get("/v1/statements/2026-11/csv", headers=READER)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/csv")
    assert "attachment" in reply.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert tuple(rows[0]) == COLUMNS_OF_CSV
    assert sum(Decimal(r["amount"]) for r in rows) == Decimal(asked(client, "/statements/2026-11", READER)["total"])
    assert {r["name"] for r in rows} == {"'" + EVIL["vm-1"], "'@SUM(A1:A9) second line"}
    for row in rows:
        for name, text in row.items():
            assert name in ("amount", "rate", "quantity") or not text.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_only_operators_reload_and_a_broken_file_changes_nothing(world, client):
    assert client.post("/v1/prices/reload", headers=MEMBER).status_code == 403
    file = world.folder / "rates.yaml"
    before = asked(client, "/prices", READER)
    file.write_text(CARD.replace("0.02,", "-0.02,"))
    broken = client.post("/v1/prices/reload", headers=operator(world)).json()
    assert "must lie between" in broken["problems"][0]
    assert asked(client, "/prices", READER) == before
    file.write_text(CARD)
    assert client.post("/v1/prices/reload", headers=operator(world)).json()["problems"] == []


def test_nobody_without_a_token_sees_anything(client):
    for path in ("/prices", "/statements", "/statements/2026-11"):
        assert asked(client, path, {}, 401)
    assert asked(client, "/statements", headers("", "reader"), 403)
    assert asked(client, "/statements", OTHER)[0]["project"] == "p2"


# --- commands


@pytest.fixture
def type_(world, capsys, tmp_path):
    token = tmp_path / "token"
    token.write_text(world.program.admin_token)
    with Serving(world.program, 0) as served:
        yield Operator(capsys, ("--url", served.url, "--token-file", token))


def test_commands_show_prices_quotes_and_statements(type_, tmp_path):
    assert "0.02" in type_("price", "list").out
    assert "28.80" in type_("price", "quote", "--cores", 2, "--gib", 4).out
    assert "gold" in type_("price", "quote", "--cores", 2, "--gib", 4, "--tier", "gold").err
    listed = type_("statement", "list", "--month", "2026-11")
    assert "p1" in listed.out
    assert "p2" in listed.out
    file = tmp_path / "s.csv"
    shown = type_("statement", "show", "2026-11", "--project", "p1", "--csv", file)
    assert shown.code == 0, shown.err
    assert "no invoice" in shown.out
    assert file.read_text().startswith("period,project,server")
    assert type_("statement", "show", "2026-11", "--project", "p9").code == 1
    assert "say whose statement" in type_("statement", "show", "2026-11").err


def test_a_file_is_checked_without_a_controller(capsys, tmp_path):
    check = Operator(capsys)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(CARD)
    bad.write_text(CARD.replace("currency: EUR", "").replace("0.03,", ".nan,"))
    assert check("price", "check", good).code == 0
    refused = check("price", "check", bad)
    assert refused.code == 2
    assert "problem: currency is None" in refused.out
    assert "entitlement is nan" in refused.out
    assert "cannot be read" in check("price", "check", tmp_path / "none.yaml").err


def test_collectors_see_what_was_metered_last_by_project_and_tier(world, client):
    """vm-1 had two of its four cores, vm-2 four and two more; vm-3 is p2's."""
    text = client.get("/metrics", headers=operator(world)).text
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("foreshape_meter_")}
    assert found['foreshape_meter_entitlement_cores{project_id="p1",tier="standard"}'] == 6.0
    assert found['foreshape_meter_freed_cores{project_id="p1",tier="standard"}'] == 2.0
    assert found['foreshape_meter_burst_cores{project_id="p2",tier="standard"}'] == 2.0
    assert found["foreshape_meter_until_timestamp_seconds"] == world.store.metering.until()
    assert not [name for name in found if "vm-" in name]
