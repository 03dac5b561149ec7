"""Hard caps over HTTP and by command: set, told to agents, shown with what they mean, lifted; refused in words where they make no sense."""

import json
import logging

import msgspec
import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.main import build
from foreshape_controller.model.answers import Problem
from foreshape_controller.model.cap import CapAnswer
from foreshape_demo.serve import Serving
from foreshape_wire.ids import CauseId, OrderId
from foreshape_wire.order import Mode, Origin, Verdict
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import Capability, LeverName
from store_support import T0, ask, card, outcome, report, sample, settings

pytestmark = pytest.mark.functional

CAP = {"scope": "server:vm-1", "amounts": {"cpu": 1.0}, "reason": "it runs away", "for_s": 3600}
SEGMENTS = "segments:\n  web: [{name: 'web-*'}]\n"
THROTTLES = (
    Capability(lever=LeverName.DISK_IOPS, lowest=2, highest=1e6, granule=1),
    Capability(lever=LeverName.DISK_BANDWIDTH, lowest=2, highest=1e6, granule=1),
    Capability(lever=LeverName.NET_BANDWIDTH, reason="its interface n0 (user) has no device on the host that could be held back"),
)


class Clock:
    def __init__(self):
        self.at = T0 + 100

    def __call__(self):
        return self.at


class World:
    """A controller with one host: vm-1 (project p1, web-1, two disks) and vm-2 (project p2, db-1)."""

    def __init__(self, folder):
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        (folder / "segments.yaml").write_text(SEGMENTS)
        self.clock = Clock()
        self.program = build(settings(folder, segments_file=str(folder / "segments.yaml")), self.clock)
        self.program.store.modes.set("cloud", Mode.ACT, "a test", T0)
        self.sequence = 0
        self.report()

    def report(self, *outcomes):
        self.sequence += 1
        web = msgspec.structs.replace(card("vm-1", name="web-1", project="p1"), throttles=THROTTLES, memory_margin=Memory(64.0))
        cards = (web, card("vm-2", name="db-1", project="p2"))
        told = report(
            self.sequence,
            self.clock.at - 1,
            [sample("vm-1"), sample("vm-2")],
            cards=cards if self.sequence == 1 else None,
            outcomes=outcomes,
        )
        return ask(self.program.intake, told, now=self.clock.at)

    def caps_of(self, server="vm-1"):
        """What an agent is told to hold."""
        guards = {g.server: g for g in self.report().guards}
        return {c.resource: (c.amount, c.cause) for c in guards[server].caps if c.until > self.clock.at}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.program.store.close()


@pytest.fixture
def client(world):
    with connected(world) as c:
        yield c


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A world that nothing may change: for requests that are refused."""
    made = World(tmp_path_factory.mktemp("still"))
    yield made
    made.program.store.close()


@pytest.fixture(scope="module")
def client_of_still(still):
    with connected(still) as c:
        yield c


def connected(world):
    client = TestClient(world.program.app, raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {world.program.admin_token}"
    return client


def made(client, **changes):
    reply = client.post("/v1/caps", json=CAP | changes)
    assert reply.status_code == 201, reply.text
    return msgspec.json.decode(reply.content, type=list[CapAnswer])


def refused(reply, status, *words):
    assert reply.status_code == status, reply.text
    found = msgspec.json.decode(reply.content, type=Problem)
    for word in words:
        assert word in found.detail, found.detail
    return found


# -- from people to agents ---------------------------------------------------------------------------------------------


def test_a_cap_is_told_to_the_agent_with_its_cause_and_its_end(world, client):
    (cap,) = made(client)
    assert (cap.state, cap.unit, cap.servers, cap.left_s) == ("in force", "cores", 1, 3600)
    (guard,) = [g for g in world.report().guards if g.server == "vm-1"]
    (told,) = guard.caps
    assert (told.cause, told.resource, told.amount, told.until, told.reason) == (cap.id, "cpu", 1.0, world.clock.at + 3600, "it runs away")


def test_one_request_may_cap_several_resources_each_with_an_id_of_its_own(world, client):
    caps = made(client, amounts={"cpu": 1.0, "disk_iops": 100, "net_kib_s": 512})
    assert {c.resource: c.amount for c in caps} == {"cpu": 1.0, "disk_iops": 100, "net_kib_s": 512}
    assert len({c.id for c in caps}) == 3
    assert set(world.caps_of()) == {"cpu", "disk_iops", "net_kib_s"}


@pytest.mark.parametrize(
    ("scope", "hit"),
    [
        ("server:vm-1", {"vm-1"}),
        ("server:web-1", {"vm-1"}),  # by name
        ("project:p2", {"vm-2"}),
        ("segment:web", {"vm-1"}),
        ("host:hv1", {"vm-1", "vm-2"}),
    ],
)
def test_every_kind_of_scope_reaches_its_servers_and_no_others(world, client, scope, hit):
    (cap,) = made(client, scope=scope)
    assert cap.servers == len(hit)
    assert {e.server for e in cap.effects} == hit
    assert {s for s in ("vm-1", "vm-2") if world.caps_of(s)} == hit


def test_of_several_caps_the_smallest_wins_and_when_it_ends_the_other_counts(world, client):
    (wide,) = made(client, scope="host:hv1", amounts={"cpu": 1.5})
    (narrow,) = made(client, scope="project:p1", amounts={"cpu": 0.5}, for_s=60)
    assert world.caps_of()["cpu"] == (0.5, narrow.id)
    shown = msgspec.json.decode(client.get(f"/v1/caps/{wide.id}").content, type=CapAnswer)
    assert any(f"{narrow.id} on project:p1 is stricter" in n for e in shown.effects if e.server == "vm-1" for n in e.notes)
    world.clock.at += 61
    assert world.caps_of()["cpu"] == (1.5, wide.id)


def test_lifted_it_is_over_for_the_agent_and_kept_on_record(world, client):
    (cap,) = made(client)
    reply = client.delete(f"/v1/caps/{cap.id}", params={"reason": "it was a mistake"})
    lifted = msgspec.json.decode(reply.content, type=CapAnswer)
    assert (lifted.state, lifted.lifted_why, lifted.left_s) == ("lifted", "it was a mistake", 0.0)
    assert world.caps_of() == {}
    (guard,) = [g for g in world.report().guards if g.server == "vm-1"]
    assert [c.until <= world.clock.at for c in guard.caps] == [True]  # still told, as over: an agent that forgot it knows its limit by it
    world.clock.at += 86500
    (guard,) = [g for g in world.report().guards if g.server == "vm-1"]
    assert guard.caps == ()
    assert [c["state"] for c in client.get("/v1/caps").json()] == ["lifted"]
    assert client.delete(f"/v1/caps/{cap.id}").json()["lifted_why"] == "it was a mistake"  # lifting twice changes nothing


def test_outside_mode_act_it_is_told_and_does_not_begin(world, client):
    world.program.store.modes.set("project:p1", Mode.ADVISE, "careful", world.clock.at)
    (cap,) = made(client, scope="host:hv1")
    notes = {e.server: e.notes for e in cap.effects}
    assert any("mode advise: it does not begin" in n for n in notes["vm-1"])
    assert notes["vm-2"] == ()
    assert {g.server: [c.begins for c in g.caps] for g in world.report().guards} == {"vm-1": [False], "vm-2": [True]}


def test_a_restarted_controller_tells_the_same_before_its_first_plan(world, client, tmp_path):
    made(client, scope="segment:web")
    again = build(world.program.settings, world.clock)
    world.program = again
    assert set(world.caps_of()) == {"cpu"}


def test_the_plan_has_it_as_a_ceiling(world, client):
    (cap,) = made(client)
    world.report()
    assert world.program.plan_loop.run_once(world.clock.at).decision("vm-1").cpu.ceiling == 1.0
    view = world.program.store.inventory.view(world.clock.at)
    assert world.program.plan_loop._sources.caps(view, world.clock.at)["cpu"]["vm-1"].id == cap.id


def test_guards_carry_the_terms_of_the_servers_tier(world):
    world.program.store.inventory.set_tier("vm-1", "guaranteed")
    assert {g.tier for g in world.report().guards} == {""}  # nobody decided yet: the agent's own settings hold
    world.program.plan_loop.run_once(world.clock.at)
    guards = {g.server: g for g in world.report().guards}
    tiers = world.program.policy.current().tiers
    for server, tier in (("vm-1", tiers["guaranteed"]), ("vm-2", tiers["standard"])):
        g = guards[server]
        assert (g.tier, g.reflex_growth, g.reflex_headroom, g.memory_margin_share) == (
            tier.name,
            tier.reflex_growth,
            tier.reflex_headroom,
            tier.memory.margin_share,
        )


# -- what it means is said ---------------------------------------------------------------------------------------------


def test_a_cap_below_the_floor_says_that_the_floor_is_kept(client):
    (cap,) = made(client, amounts={"cpu": 0.06})
    (effect,) = cap.effects
    assert effect.amount == 0.2  # the standard tier: a tenth of 2 cores
    assert any(n == "its floor is 0.2 cores: no cap goes below what was promised" for n in effect.notes)


def test_devices_share_a_cap_and_what_cannot_be_throttled_says_why(client):
    disk, net = made(client, amounts={"disk_iops": 100, "net_kib_s": 512})
    assert disk.effects[0].notes == ("each of its 2 disks gets an equal share: 50 requests/s",)
    assert net.effects[0].notes == ("cannot be throttled: its interface n0 (user) has no device on the host that could be held back",)
    (of_older_agent,) = made(client, scope="server:vm-2", amounts={"disk_iops": 100})
    assert "does not say whether it can be throttled" in of_older_agent.effects[0].notes[0]


def test_what_the_agent_did_is_shown_and_counted(world, client):
    (cap,) = made(client, amounts={"disk_iops": 100})
    assert cap.effects[0].seen == "nothing yet"
    done = outcome("", "disk_iops", Verdict.APPLIED, origin=Origin.CAP, cause=CauseId(cap.id), proof="read back: vda 50, vdb 50")
    world.report(msgspec.structs.replace(done, order=OrderId("")))
    shown = msgspec.json.decode(client.get(f"/v1/caps/{cap.id}").content, type=CapAnswer)
    assert shown.effects[0].seen == "applied: read back: vda 50, vdb 50"
    assert world.program.store.journal.counts()["cap_actions"] == 1
    assert world.program.store.inventory.view(world.clock.at).servers  # and no floor was raised by it
    assert all(s.raised_floor is None for s in world.program.store.inventory.view(world.clock.at).servers)


def test_owners_are_told_once_each_when_a_cap_is_set_and_when_it_is_lifted(world, client):
    (cap,) = made(client, scope="host:hv1", amounts={"disk_iops": 100})
    (told,) = world.program.store.notices.list("p1")
    assert (told.kind, told.server, told.cause) == ("cap", "", cap.id)
    assert told.text == "at most 100 requests/s of disk_iops for each of your servers on one host until 2026-01-05 01:01 UTC: it runs away"
    assert len(world.program.store.notices.list()) == 2  # p1 and p2
    for _ in range(2):  # the second time changes nothing
        client.delete(f"/v1/caps/{cap.id}", params={"reason": "agreed"})
    (lifted, _) = world.program.store.notices.list("p2")
    assert (lifted.kind, lifted.text.startswith("lifted before its time: agreed")) == ("cap_lifted", True)
    (one,) = made(client, scope="server:web-1")
    assert world.program.store.notices.list(server="vm-1")[0].cause == one.id


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"scope": "cloud"}, 400, ("scope 'cloud' is none", "server:ID")),
        ({"scope": "zone:nova"}, 400, ("scope",)),
        ({"scope": "server:"}, 400, ("scope",)),
        ({"scope": "server:vm-9"}, 404, ("there is no server 'vm-9'", "server list")),
        ({"scope": "project:p9"}, 404, ("no server is in project:p9",)),
        ({"scope": "host:hv9"}, 404, ("no server is in host:hv9",)),
        ({"scope": "segment:nope"}, 404, ("there is no segment 'nope'", "web")),
        ({"amounts": {"cpu": -1}}, 400, ("cpu is -1", "0.05 to 8192 cores")),
        ({"amounts": {"cpu": 0}}, 400, ("cpu is 0",)),
        ({"amounts": {"cpu": 1e12}}, 400, ("cores are possible",)),
        ({"amounts": {"disk_iops": 1}}, 400, ("10 to",)),
        ({"amounts": {"gpu": 1}}, 400, ("there is no 'gpu' to cap", "disk_iops")),
        ({"amounts": {}}, 400, ("name at least one",)),
        ({"reason": "  "}, 400, ("reason: say why",)),
        ({"reason": "x" * 1001}, 400, ("reason",)),
        ({"for_s": 0}, 400, ("more than 0 and at most 30 days",)),
        ({"for_s": -5}, 400, ("more than 0",)),
        ({"for_s": 31 * 86400}, 400, ("at most 30 days",)),
        ({"for_s": None}, 400, ("give either for_s or until",)),
        ({"until": T0 + 5000}, 400, ("give either",)),
        ({"for_s": None, "until": T0}, 400, ("it would last -100 s",)),
        ({"amounts": {"cpu": "much"}}, 400, ("amounts",)),
        ({"unknown": 1}, 400, ("unknown",)),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do_and_nothing_is_kept(client_of_still, changes, status, words):
    body = {k: v for k, v in (CAP | changes).items() if v is not None}
    refused(client_of_still.post("/v1/caps", json=body), status, *words)
    assert client_of_still.get("/v1/caps").json() == []


@pytest.mark.parametrize("word", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(client_of_still, word):
    body = json.dumps(CAP | {"amounts": {"cpu": 1}}).replace('"cpu": 1', f'"cpu": {word}')
    reply = client_of_still.post("/v1/caps", content=body.encode(), headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert client_of_still.get("/v1/caps").json() == []


def test_a_request_is_kept_whole_or_not_at_all(client_of_still):
    refused(client_of_still.post("/v1/caps", json=CAP | {"amounts": {"cpu": 1.0, "memory": -5}}), 400, "memory is -5")
    assert client_of_still.get("/v1/caps").json() == []


def test_a_cap_that_nobody_knows_is_not_found(client_of_still):
    refused(client_of_still.get("/v1/caps/cap-none"), 404, "there is no cap 'cap-none'", "cap list")
    refused(client_of_still.delete("/v1/caps/cap-none"), 404, "there is no cap")


def test_without_the_admin_token_nothing_is_told(still):
    with TestClient(still.program.app) as c:
        assert {c.get("/v1/caps").status_code, c.post("/v1/caps", json=CAP).status_code, c.delete("/v1/caps/x").status_code} == {401}


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(still):
    with Serving(still.program, 0) as api:
        yield ["--url", api.url, "--token-file", still.program.settings.api.admin_token_file]


@pytest.fixture
def command(served, capsys):
    return Operator(capsys, tuple(served))


SET = ("cap", "set", "server:web-1", "--cpu", "1", "--for", "2h", "--reason", "it runs away")


def test_a_server_shows_what_can_be_capped_and_why_not(command):
    out = command("server", "show", "web-1", "-f", "table")[1]
    assert "disk.iops: can be capped, in requests/s" in out
    assert "net.bandwidth: no, its interface n0 (user)" in out


def test_the_operators_walk_set_list_show_lift(command):
    code, out, _ = command(*SET, "--disk-iops", "100")
    assert code == 0
    assert "disk_iops: web-1: at most 100 (each of its 2 disks gets an equal share: 50 requests/s); agent: nothing yet" in out
    listed = json.loads(command("cap", "list", "-f", "json")[1])
    assert {(c["resource"], c["state"]) for c in listed} == {("cpu", "in force"), ("disk_iops", "in force")}
    cap = listed[0]["id"]
    for form in ("table", "yaml", "csv", "json"):
        assert cap in command("cap", "show", cap, "-f", form)[1]
    code, out, _ = command("cap", "lift", cap, "--reason", "done", "-f", "json")
    assert (code, json.loads(out)["state"]) == (0, "lifted")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (SET[:2] + SET[3:], "SCOPE"),
        (SET[:3] + SET[5:], "name at least one"),
        (SET[:5] + SET[7:], "--for"),
        (SET[:7], "--reason"),
        ((*SET[:4], "NaN", *SET[5:]), "write a number from 0"),
        ((*SET[:4], "many", *SET[5:]), "write a number from 0"),
        ((*SET[:4], "-3", *SET[5:]), "-3"),
        ((*SET[:6], "soon", *SET[7:]), "is not a duration"),
        ((*SET[:6], "40d", *SET[7:]), "at most 30 days"),
        (("cap", "lift", "cap-none"), "there is no cap"),
    ],
)
def test_a_command_that_makes_no_sense_fails_with_a_sentence(command, words, said):
    code, out, err = command(*words)
    assert code != 0
    assert said in err
    assert "Traceback" not in err + out
