"""Pools over HTTP and by command: made, shown, claimed from, exported, closed; refused in words where something makes no sense."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import icalendar
import msgspec
import pytest
import yaml
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.decide import heat
from foreshape_controller.main import build
from foreshape_controller.model.pool import Pool, PoolRequest
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from pool_support import World, world
from store_support import settings
from tenants_support import headers

pytestmark = pytest.mark.functional

CREATE = ("pool", "create", "web", "--image", "cirros", "--flavor", "m1.small", "--least", "2", "--most", "4")


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, whole=True) as made:
        yield made


@pytest.fixture
def ask(w: World, capsys: pytest.CaptureFixture[str]) -> Iterator[Operator]:
    token = Path(w.settings.api.admin_token_file)
    with Serving(w.program, 0) as served:
        yield Operator(capsys, ("--url", served.url, "--token-file", token))


def made(ask: Operator, *words: str) -> dict:
    said = ask(*CREATE, *words, "-f", "json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_a_pool_is_made_filled_claimed_from_and_closed_by_command(w: World, ask: Operator) -> None:
    assert made(ask)["wanted"] == 0
    w.warm()
    (listed,) = json.loads(ask("pool", "list", "-f", "json").out)
    assert (listed["ready"], listed["wanted"], listed["state"]) == (2, 2, "open")
    shown = ask("pool", "show", "web").out
    assert "ready on node01" in shown
    got = json.loads(ask("pool", "claim", "web", "--name", "shop", "--owner", "ann", "-f", "json").out)
    assert (got["hit"], got["name"]) == (True, "shop")
    assert w.emulator.nova.servers[got["server"]].name == "shop"
    assert json.loads(ask("pool", "delete", "web", "-f", "json").out)["state"] == "closing"
    w.until(lambda: [s.id for s in w.servers()] == [got["server"]], "only the claimed one")
    assert ask("pool", "show", "web").code != 0


def test_a_report_says_what_a_hit_cost(w: World, ask: Operator) -> None:
    made(ask)
    w.warm()
    ask("pool", "claim", "web", "--name", "shop")
    told = json.loads(ask("pool", "report", "web", "--days", "1", "-f", "json").out)
    assert (told["claims"], told["hits"], told["hit_rate"]) == (1, 1, 1.0)
    assert told["cost_per_hit"] == told["cost"]
    assert "100%" in ask("pool", "report", "web").out


def test_a_schedule_is_a_table_csv_and_a_calendar(w: World, ask: Operator) -> None:
    made(ask)
    slots = json.loads(ask("pool", "schedule", "web", "-f", "json").out)
    assert len(slots) == 48
    assert all(s["servers"] == 2 for s in slots)
    assert len(ask("pool", "schedule", "web", "-f", "csv").out.splitlines()) == 49
    calendar = icalendar.Calendar.from_ical(ask("pool", "schedule", "web", "--ical").out)
    (event,) = calendar.walk("VEVENT")  # the same number all day is one event
    assert event["SUMMARY"] == "2 shadow VMs of pool web"
    assert (event.end - event.start).total_seconds() == 86400


def test_a_template_is_yaml_that_its_own_check_accepts(w: World, ask: Operator) -> None:
    made(ask, "--network", w.network, "--az", "nova")
    w.later()
    tree = yaml.safe_load(ask("pool", "template", "web").out)
    assert heat.problems(tree) == ()
    assert tree == json.loads(ask("pool", "template", "web", "-f", "json").out)
    server = tree["resources"]["servers"]["properties"]["resource_def"]["properties"]
    assert (server["networks"], server["availability_zone"]) == ([{"network": w.network}], "nova")
    assert tree["parameters"]["count"]["default"] == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t["resources"]["servers"]["properties"]["resource_def"]["properties"].update(flavour="x"), "flavour"),
        (lambda t: t["resources"]["servers"].update(type="OS::Nova::Srever"), "Srever"),
        (lambda t: t["parameters"].pop("image"), "image"),
        (lambda t: t.update(resource={}), "resource"),
        (lambda t: t.update(resources={}), "resources"),
        (lambda t: t["resources"]["servers"]["properties"].update(count=[1]), "count"),
    ],
)
def test_a_template_with_a_fault_is_found(change, says: str) -> None:
    tree = heat.template(Pool(id="p", name="web", project="p", image="i", flavor="f"), 2)
    assert heat.problems(tree) == ()
    change(tree)
    assert any(says in p for p in heat.problems(tree))


def test_in_advise_a_pool_is_shown_with_what_it_would_do(w: World, ask: Operator) -> None:
    w.store.modes.set("cloud", Mode.ADVISE, "a test", w.at)
    made(ask)
    w.later()
    shown = ask("pool", "show", "web").out
    assert "only proposed (2 to boot)" in shown
    assert not w.servers()
    said = ask("pool", "claim", "web", "--name", "shop")
    assert said.code != 0
    assert "advise" in said.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pool", "show", "nope"), "no pool"),
        (("pool", "claim", "nope", "--name", "x"), "no pool"),
        (("pool", "report", "nope"), "no pool"),
        (("pool", "report", "web", "--days", "-1"), "write a number above 0, 365 at most"),
        (("pool", "report", "web", "--days", "nan"), "write a number"),
        (("pool", "create", "a/b", "--image", "cirros", "--flavor", "m1.small"), "name"),
        (("pool", "create", "b", "--image", "cirros", "--flavor", "m1.small", "--most", "0"), "most"),
        (("pool", "create", "b", "--image", "cirros", "--flavor", "m1.small", "--idle-cost", "nan"), "write a number from 0"),
        (("pool", "create", "b", "--image", "nope", "--flavor", "m1.small"), "image"),
        (("pool", "create", "b", "--image", "cirros", "--flavor", "nope"), "flavor"),
        (("pool", "create", "b", "--image", "cirros", "--flavor", "m1.small", "--project", "another"), "project"),
        (("pool", "create", "b", "--image", "cirros", "--flavor", "m1.small", "--cloud", "no-such-cloud"), "no-such-cloud"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(ask: Operator, words: tuple[str, ...], says: str) -> None:
    said = ask(*words)
    assert said.code != 0
    assert says in said.err
    assert "Traceback" not in said.err


def test_without_a_cloud_it_says_what_to_configure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = settings(tmp_path)
    program = build(options)
    with Serving(program, 0) as served:
        said = Operator(capsys, ("--url", served.url, "--token-file", options.api.admin_token_file))("pool", "list")
    program.store.close()
    assert said.code != 0
    assert "[cloud] enabled" in said.err


def test_requests_with_unknown_fields_are_refused(w: World) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "a", "image": "b", "flavor": "c", "flavour": "d"}, PoolRequest)


def test_requests_that_wait_for_a_silent_cloud_leave_threads_for_a_stop(w: World, ask: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshape_controller.api.services.SEAT_S", 0.05)
    made(ask)
    assert w.program is not None
    seats = w.program.app.state["services"].seats
    with ExitStack() as waiting:
        for _ in range(w.settings.api.workers // 2):
            waiting.enter_context(seats())
        late = ask("pool", "claim", "web", "--name", "shop")
        assert (late.code, "4 requests wait for OpenStack already" in late.err) == (3, True)
        assert ask("stop", "--reason", "a test").code == 0
    assert "the mode there is observe" in ask("pool", "claim", "web", "--name", "shop").err, "seats are free again"


def test_a_tenant_claims_from_his_own_pools_and_sees_neither_others_nor_hosts(w: World, ask: Operator) -> None:
    project = made(ask)["pool"]["project"]
    w.warm()
    client = TestClient(w.program.app, raise_server_exceptions=False)
    mine, other, reader = headers(project, "member", "reader"), headers("another", "member", "reader"), headers(project, "reader")
    (listed,) = client.get("/v1/pools", headers=reader).json()
    assert (listed["ready"], listed["shadows"], listed["decided"]) == (2, [], None)
    assert client.get("/v1/pools", headers=other).json() == []
    for wanted in ("web", listed["pool"]["id"]):
        assert (
            client.get(f"/v1/pools/{wanted}", headers=other).json()["detail"] == f"there is no pool {wanted!r}: see 'foreshape pool list'"
        )
        assert client.post(f"/v1/pools/{wanted}/claims", json={"name": "x"}, headers=other).status_code == 404
    assert client.post("/v1/pools/web/claims", json={"name": "x"}, headers=reader).status_code == 403
    assert client.get("/v1/pools/web/steps", headers=mine).status_code == 403
    got = client.post("/v1/pools/web/claims", json={"name": "shop", "owner": "somebody else"}, headers=mine)
    assert got.status_code == 201, got.text
    assert got.json()["host"] not in ("node01", "node02")
    assert "node0" not in got.text
    (claimed,) = [s for s in w.store.pools.shadows(listed["pool"]["id"], alive=True) if s.server == got.json()["server"]]
    assert claimed.owner == f"someone of {project}"
