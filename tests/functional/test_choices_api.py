"""Opting out and in over HTTP and by command: one's own only, beside the operators' modes, and orders given at once."""

import logging
from dataclasses import replace

import msgspec
import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.main import build
from foreshape_controller.model.choice import PLAN, ChoiceAnswer
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory
from store_support import T0, ask, card, decision, order, plan, report, sample, settings, size
from tenants_support import ADMIN, MEMBER, OTHER, READER, SYSTEM_READER, FakeTokens

pytestmark = pytest.mark.functional


class World:
    """vm-1 of p1 and vm-2 of p2, each with one of its two cores."""

    def __init__(self, folder, **options):
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        plain = settings(folder)
        self.at, self.sequence = T0 + 100, 0
        self.program = build(replace(plain, plan=replace(plain.plan, **options)), lambda: self.at, tokens=FakeTokens())
        self.store = self.program.store
        self.store.modes.set("cloud", Mode.ACT, "a test", T0)
        self.report()

    def report(self, cores=1.0):
        self.sequence += 1
        self.at += 10
        cards = tuple(
            msgspec.structs.replace(card(s, name=n, project=p), allocation=size(cores, 2048))
            for s, n, p in (("vm-1", "web-1", "p1"), ("vm-2", "db-1", "p2"))
        )
        return ask(
            self.program.intake,
            report(self.sequence, self.at - 1, [measured("vm-1", cores), measured("vm-2", cores)], cards=cards),
            now=self.at,
        )


def measured(server, cores):
    plain = sample(server, cores=0.1)
    cpu = msgspec.structs.replace(plain.cpu, allocation=Cores(cores))
    return msgspec.structs.replace(plain, cpu=cpu, memory=msgspec.structs.replace(plain.memory, allocation=Memory(2048.0)))


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Nothing is changed in it: for requests that are refused."""
    made = World(tmp_path_factory.mktemp("still"))
    yield TestClient(made.program.app, raise_server_exceptions=False)
    made.store.close()


@pytest.fixture
def client(world):
    return TestClient(world.program.app, raise_server_exceptions=False)


def choose(client, scope, mode, headers=MEMBER, **more):
    return client.put(f"/v1/choices/{scope}", json={"mode": mode, **more}, headers=headers)


def answer(reply):
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=ChoiceAnswer)


def test_opting_out_orders_at_once_what_was_sold_and_others_keep_what_they_have(world, client):
    told = answer(choose(client, "project", "observe", reason="the sale"))
    assert (told.scope, told.mode, told.in_force, told.reason, told.returning) == ("project:p1", "observe", "observe", "the sale", 1)
    (order,) = world.report().orders
    assert (order.server, order.cpu.cores, order.plan) == ("vm-1", 2.0, PLAN)
    world.report(cores=2.0)
    assert answer(client.get("/v1/choices/project", headers=READER)).returning == 0


def test_neither_the_operators_mode_nor_the_tenants_choice_overwrites_the_other(world, client):
    world.store.modes.set("project:p1", Mode.ADVISE, "operators", T0)
    told = answer(choose(client, "project", "act"))
    assert (told.mode, told.operators, told.in_force) == ("act", "advise", "advise")
    told = answer(choose(client, "project", "observe"))
    assert (told.mode, told.operators, told.in_force) == ("observe", "advise", "observe")
    assert world.store.modes.get("project:p1").mode is Mode.ADVISE
    world.store.modes.set("project:p1", Mode.ACT, "operators", T0)
    assert answer(client.get("/v1/choices/project", headers=READER)).in_force == "observe"
    assert client.delete("/v1/choices/project?reason=over", headers=MEMBER).status_code == 204
    told = answer(client.get("/v1/choices/project", headers=READER))
    assert (told.mode, told.in_force, [h.mode for h in told.history]) == ("", "act", ["", "observe", "act"])


def test_a_server_by_its_name_and_by_its_id(world, client):
    told = answer(choose(client, "server:web-1", "advise"))
    assert (told.scope, told.name, told.in_force) == ("server:vm-1", "web-1", "advise")
    listed = msgspec.json.decode(client.get("/v1/choices", headers=READER).content, type=list[ChoiceAnswer])
    assert [(c.scope, c.mode) for c in listed] == [("project:p1", ""), ("server:vm-1", "advise")]
    assert msgspec.json.decode(client.get("/v1/choices", headers=OTHER).content, type=list[ChoiceAnswer])[0].scope == "project:p2"


@pytest.mark.parametrize("scope", ["server:vm-1", "server:web-1", "project:p1", "server:nonsense", "project:nonsense"])
def test_what_is_anothers_looks_like_what_is_not_there(still, scope):
    for reply in (choose(still, scope, "observe", OTHER), still.get(f"/v1/choices/{scope}", headers=OTHER)):
        assert reply.status_code == 404
        assert reply.json()["detail"].replace(scope.partition(":")[2], "X") in (
            "there is no project 'X'",
            "there is no server 'X': 'foreshape server list' shows those that are known",
        )


def test_readers_choose_nothing_and_operators_for_everybody(world, client):
    assert choose(client, "project", "observe", READER).status_code == 403
    assert choose(client, "project:p1", "observe", SYSTEM_READER).status_code == 403
    assert answer(choose(client, "project:p2", "observe", ADMIN)).in_force == "observe"


@pytest.mark.parametrize("body", [{"mode": "off"}, {"mode": ""}, {}, {"mode": "act", "x": 1}, [], {"mode": 3}])
def test_nonsense_is_refused(still, body):
    assert still.put("/v1/choices/project", json=body, headers=MEMBER).status_code == 400


@pytest.mark.parametrize("scope", ["cloud", "host:hv1", "server", "server:", "x:y"])
def test_only_projects_and_servers_are_chosen_for(still, scope):
    assert choose(still, scope, "observe").status_code == 400


def test_why_tells_who_chose_what_and_why(world, client):
    world.program.plan_loop.run_once(world.at)
    choose(client, "server:vm-1", "observe", reason="a demo")
    said = client.get("/v1/servers/vm-1/why", headers={"Authorization": f"Bearer {world.program.admin_token}"}).json()["sentences"]
    assert any("Its owner chose for server:vm-1" in s and "a demo" in s for s in said)


def test_operators_bound_what_tenants_may_choose_and_what_holds_without_a_choice(tmp_path):
    world = World(tmp_path, tenants_default="observe", tenants_may="advise")
    client = TestClient(world.program.app)
    told = answer(client.get("/v1/choices/project", headers=READER))
    assert (told.mode, told.default, told.most, told.in_force) == ("", "observe", "advise", "observe")
    assert choose(client, "project", "act").status_code == 403
    assert answer(choose(client, "project", "advise")).in_force == "advise"
    assert answer(choose(client, "project", "observe")).in_force == "observe"
    world.store.close()


def test_orders_of_a_plan_under_way_reach_no_server_whose_owner_opted_out(world, client):
    """The plan knew nothing of it; what it left is hidden, and void when he opts in again."""
    choose(client, "project", "observe")
    world.store.journal.record(plan(world.at, decision(world.at)), (order(at=world.at),))
    assert [o.plan for o in world.report().orders if o.server == "vm-1"] in ([], [PLAN])
    choose(client, "project", "act")
    assert not [o for o in world.report().orders if o.server == "vm-1"]


def test_one_command_each(world, tmp_path, capsys):
    (tmp_path / "token").write_text(world.program.admin_token)
    with Serving(world.program, 0) as served:
        ask_cli = Operator(capsys, ("--url", served.url, "--token-file", tmp_path / "token"))
        said = ask_cli("optout", "web-1", "--reason", "a demo")
        assert said.code == 0, said.err
        assert "web-1: out" in said.out
        assert ask_cli("optin", "--project", "p1").code == 0
        listed = ask_cli("choice", "list", "-f", "json")
        assert '"server:vm-1"' in listed.out
        assert ask_cli("optout").code != 0
        assert "no server" in ask_cli("optout", "nonsense").err
