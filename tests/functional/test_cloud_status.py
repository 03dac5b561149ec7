"""``foreshape cloud status``, ``summary`` and ``server show`` over a real API: what an operator is told about the configured cloud."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from cloud_emulator import Fault
from foreshape_controller.cloud.rights import TRIES
from foreshape_controller.main import build
from foreshape_demo.serve import Serving
from world_support import CloudedWorld, clouded

pytestmark = pytest.mark.functional


@pytest.fixture(autouse=True)
def quiet(plain_log: Any) -> None:
    """The controller logs in this process: no line of its log may stand in what a command printed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudedWorld]:
    with clouded(tmp_path) as world:
        yield world


@pytest.fixture
def ask(world: CloudedWorld, capsys: Any) -> Iterator[Operator]:
    with Serving(world.program, 0) as api:
        token = world.folder / "admin-token"
        yield Operator(capsys, ("--url", api.url, "--token-file", token))


def told(ask: Operator, *words: str) -> Any:
    said = ask(*words, "-f", "json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def shown(ask: Operator, *words: str) -> str:
    said = ask("cloud", "status", *words)
    assert said.code == 0, said.err
    return said.out


def test_an_operator_sees_services_hosts_servers_and_what_does_not_fit(world: CloudedWorld, ask: Operator) -> None:
    mine = world.boot("node01", name="web")
    world.boot("node02", reports=False)
    world.guest("left-over")
    world.guest(world.boot("node01", reports=False, project="gold", name="db"), project="silver", name="db")
    world.emulator.nova.servers[mine].task = "rebooting"
    world.round()
    world.work.census.run_once(world.at)
    text = shown(ask)
    for line in (
        "as user 5e55000000000000000000000000a9e7 of project 5e55000000000000000000000000c10d, roles: foreshape",
        "read 0 s ago, in full",
        "Nova 2.1 to 2.104 (2026.2), asked at 2.96, answers in",
        "2 in Nova: 2 up, 2 enabled, 1 with an agent",
        "without an agent: node02",
        "3 in Nova: 2 reported by agents, 1 on hosts without one",
        "left alone: 1 not_in_nova, 1 nova_task",
        "guests that Nova does not have, never touched: left-over",
        "db: project is gold, and its agent says silver",
    ):
        assert line in text
    assert "Problems   none" in text


def test_before_the_first_reading_it_says_so(ask: Operator) -> None:
    assert "not read yet" in shown(ask)
    assert "NOTHING IS RESERVED OR MIGRATED: the cloud was not read yet" in shown(ask)
    assert told(ask, "summary")["cloud"] == "not read yet: nothing is done"


def test_a_cloud_that_is_not_read_in_full_is_shouted(world: CloudedWorld, ask: Operator) -> None:
    world.round()
    world.emulator.faults = [Fault("placement GET .*/(usages|allocation_candidates)", "status", times=10_000, status=500)]
    world.round()
    text = shown(ask)
    assert "NOT IN FULL: inventories, traits, usages" in text
    assert "NOTHING IS RESERVED OR MIGRATED" in text
    assert "NOBODY IS SHRUNK" not in text, "sizes need Nova's servers only"
    assert "HELD BACK: foreshape cloud status says why" in told(ask, "summary")["cloud"]


def test_the_summary_has_the_cloud_in_one_line(world: CloudedWorld, ask: Operator) -> None:
    world.boot()
    world.round()
    assert told(ask, "summary")["cloud"] == "read 0 s ago; 2 hosts, 1 with an agent; 1 servers, 0 left alone"


def test_a_server_says_why_it_is_left_alone(world: CloudedWorld, ask: Operator) -> None:
    server = world.boot("node01")
    world.emulator.nova.servers[server].status = "SHELVED"
    world.round()
    answer = told(ask, "server", "show", server)
    assert (answer["zone"], answer["held"]) == ("east", "it is SHELVED in Nova: only an ACTIVE server is resized")
    assert "only an ACTIVE server is resized" in ask("why", server).out


def test_rights_are_tried_without_changing_anything(world: CloudedWorld, ask: Operator) -> None:
    world.round()
    world.emulator.faults = [
        Fault("placement POST /allocations", "status", times=9, status=403),
        Fault("compute GET /os-aggregates", "status", times=9, status=403),
    ]
    before = dict(world.emulator.placement.consumers)
    untold = {"os_compute_api:os-migrate-server:migrate_live", "os_compute_api:servers:migrations:delete"}
    rights = {r["policy"]: r["state"] for r in told(ask, "cloud", "status", "--rights")["rights"]}
    refused = {policy for policy, state in rights.items() if state == "refused"}
    assert refused == {"placement:allocations:manage", "os_compute_api:os-aggregates:index"}
    assert {p for p, state in rights.items() if state == "unknown"} == untold
    world.emulator.faults = []
    rights = {r["policy"]: r["state"] for r in told(ask, "cloud", "status", "--rights")["rights"]}
    assert {p for p, state in rights.items() if state != "granted"} == untold
    assert world.emulator.placement.consumers == before
    assert all(h.enabled for h in world.emulator.nova.hosts.values())


def test_every_policy_that_is_tried_stands_in_the_document() -> None:
    text = Path("docs/openstack.md").read_text()
    assert [t.policy for t in TRIES if t.policy not in text] == []


def test_without_a_cloud_the_question_is_answered_with_what_to_do(world: CloudedWorld) -> None:
    folder = world.folder / "plain"
    folder.mkdir()
    base = world.settings
    plain = replace(
        base,
        cloud=replace(base.cloud, enabled=False),
        store=replace(base.store, url=f"sqlite:///{folder / 'c.db'}"),
    )
    program = build(plain, lambda: world.at)
    with TestClient(program.app) as client:
        answer = client.get("/v1/cloud", headers={"Authorization": f"Bearer {program.admin_token}"})
    assert answer.status_code == 400
    assert "[cloud] enabled" in answer.json()["detail"]


def test_a_clock_that_differs_is_told(world: CloudedWorld, ask: Operator) -> None:
    world.emulator.clock_ahead_s = -400.0
    world.round()
    world.work.census.run_once(world.at)
    text = shown(ask)
    assert "the controller's clock is 400 s ahead of all services': check NTP on this machine first" in text
    assert "clock -400 s" in text


def test_a_project_may_be_stopped_by_its_name(world: CloudedWorld, ask: Operator) -> None:
    world.emulator.projects = [{"id": "gold-id", "name": "gold"}]
    server = world.boot(project="gold-id")
    world.round()
    assert told(ask, "server", "show", server)["project_name"] == "gold"
    assert ask("stop", "--scope", "project:gold", "--reason", "x").code == 0
    assert told(ask, "server", "show", server)["mode"] == "observe"
    assert ask("resume", "--scope", "project:gold", "--reason", "x").code == 0
    assert told(ask, "server", "show", server)["mode"] == "act"


def test_a_name_that_two_projects_have_is_not_guessed(world: CloudedWorld, ask: Operator) -> None:
    world.emulator.projects = [{"id": "a", "name": "twin"}, {"id": "b", "name": "twin"}]
    world.boot(project="a")
    world.boot(project="b")
    world.round()
    said = ask("stop", "--scope", "project:twin", "--reason", "x")
    assert (said.code, "ask by id: " in said.err) == (1, True)


def test_a_host_says_what_nova_says_of_it(world: CloudedWorld, ask: Operator) -> None:
    world.emulator.nova.aggregates = [{"name": "ssd", "hosts": ["node01"], "metadata": {}}]
    world.boot("node01")
    world.guest(world.boot("node02", reports=False), "node02.cloud.example")
    world.emulator.nova.hosts["node01"].enabled, world.emulator.nova.hosts["node01"].why = False, "new disks"
    world.round()
    assert told(ask, "host", "show", "node01")["cloud"] == "zone east; up; disabled (new disks); aggregates ssd"
    assert "write host = node02" in told(ask, "host", "show", "node02.cloud.example")["cloud"]
