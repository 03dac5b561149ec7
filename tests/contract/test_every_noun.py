"""What the API speaks of, the command speaks of, too, alone and inside the OpenStack client."""

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
OURS = {tuple(name.split("_")) for name in POINTS["foreshape.cli"]}
SHAPED = {tuple(name.split("_")[1:]) for name in POINTS["openstack.shape.v1"]}

COMMANDS = {
    "agents": "agent list, agent show, agent enroll, agent revoke",
    "anomalies": "anomaly list",
    "audit": "audit list, audit verify",
    "caps": "cap list, cap show, cap set, cap lift",
    "choices": "choice list, optout, optin",
    "cloud": "cloud status",
    "drains": "host drains, host drain, host undrain",
    "events": "event list, event show, event create, event import, event delete",
    "forecasts": "forecast show",
    "halts": "halt list, halt clear",
    "headroom": "headroom list",
    "hosts": "host list, host show, host chart",
    "learning": "forecast accuracy, model rollback, model train-now",
    "levers": "lever list",
    "migrations": "migration list, migration show, migration plan, migration propose, migration approve, migration cancel",
    "mode": "mode get, mode set",
    "models": "model list, model show, model promote",
    "modes": "mode list",
    "needs": "need list",
    "notices": "notice list",
    "plan": "plan show",
    "policy": "policy show, policy set, tier check",
    "pools": "pool list, pool show, pool create, pool delete, pool claim, pool report, pool schedule, pool template",
    "prices": "price list, price quote, price reload, price check",
    "reclaims": "reclaim list, reclaim object, reclaim allow",
    "requests": "request list, request show, request create, request cancel, request accept, request decline, "
    "request take, request approve",
    "reservations": "reservation list, reservation show, reservation create, reservation approve, reservation release, reservation audit",
    "resume": "resume",
    "sales": "sell list, sell show, sell start, sell stop",
    "segments": "segment list, segment show, segment report",
    "servers": "server list, server show, tier set, tier unset, workload declare",
    "statements": "statement list, statement show",
    "stop": "stop",
    "summary": "summary",
    "tiers": "tier list, tier show, tier reload, report tiers",
    "webhooks": "webhook list, webhook show, webhook create, webhook delete",
    "why": "why",
    "workloads": "workload list, workload show, workload clear",
}
NOBODY_TYPES = {
    "overview": "the dashboard's own, of the same things",
    "reports": "agents'",
    "session": "the dashboard's login",
    "stream": "for programs; people have --watch",
}


def nouns() -> set[str]:
    return set(re.findall(r"^### [A-Z]+ /v1/([a-z]+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE))


def commands() -> set[tuple[str, ...]]:
    return {tuple(said.split()) for row in COMMANDS.values() for said in row.split(", ")}


def test_every_noun_of_the_api_has_its_commands() -> None:
    assert nouns() == {*COMMANDS, *NOBODY_TYPES}


def test_they_exist_here_and_in_the_openstack_client() -> None:
    assert commands() - OURS == set()
    assert commands() - SHAPED == set()


def test_every_command_that_asks_a_controller_is_one_of_them() -> None:
    local = {("backtest",), ("demo",), ("replay",), ("train",), ("trace", "import")}
    assert OURS - local == commands()
