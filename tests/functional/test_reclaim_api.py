"""Reclamation through the API and the operator's command: listed, told, objected to, and refused in words where it makes no sense."""

import json
import logging

import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.decide.reclaim import unfound
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.main import build
from foreshape_controller.model.reclaim import Notice, State
from foreshape_controller.store.reclaims import Change
from foreshape_demo.serve import Serving
from foreshape_wire.ids import ServerId
from reclaim_support import NOW, finding, row
from store_support import card, report, sample, settings

pytestmark = pytest.mark.functional

SERVERS = ("vm-1", "vm-2")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("served")
    program = build(settings(folder), clock=lambda: NOW)
    told = report(1, at=NOW - 1, samples=[sample(s) for s in SERVERS], cards=tuple(card(s, project="p1") for s in SERVERS))
    program.store.history.append(told, NOW - 1)
    with Serving(program, 0) as api:
        yield program, ["--url", api.url, "--token-file", str(folder / "admin-token")]
    program.store.close()


@pytest.fixture
def store(served):
    """One found, one whose floor is lowered; its owner was told."""
    found = served[0].store
    with found.db.write() as conn:
        for table in ("reclaims", "notices"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
    taken = row(State.RECLAIMED, name="name-of-vm-1", floor=0.1, begins_at=NOW - 86400.0, stated_s=80.0)
    told = Notice(at=NOW - 9e4, project="p1", server="vm-1", name="name-of-vm-1", kind="reclaim", text="Its CPU is idle.", resource="cpu")
    advice = row(server="vm-2", name="name-of-vm-2", project="p2", hindrance="its mode is advise", finding=finding())
    found.reclaims.save([Change(None, taken, told), Change(None, advice)])
    return found


@pytest.fixture
def ask(served, capsys):
    return Operator(capsys, tuple(served[1]))


def rows(ask, *words):
    code, out, err = ask("reclaim", "list", *words, "-f", "json")
    assert code == 0, err
    return json.loads(out)


def test_the_list_tells_state_floors_savings_and_give_back(ask, store):
    taken, advice = rows(ask)
    assert (taken["server"], taken["state"], taken["floor_from"], taken["floor_now"], taken["floor_to"]) == (
        "vm-1",
        "reclaimed",
        0.4,
        0.1,
        0.1,
    )
    assert (taken["saves"], taken["saved"]) == (pytest.approx(0.3), pytest.approx(0.3))
    assert (taken["give_back_stated_s"], taken["give_back_measured_s"]) == (80.0, None)
    assert advice["hindrance"] == "its mode is advise"
    assert advice["spare"] == pytest.approx(8 - 0.091), "what a smaller flavor would do"
    assert "idle" in advice["sentence"]
    code, out, _ = ask("reclaim", "list", "--max-width", "250")
    assert code == 0
    for words in ("0.40 / 0.10 / 0.10 cores", "80 s / -", "its mode is advise"):
        assert words in out


def test_the_list_can_be_narrowed(ask, store):
    assert [r["server"] for r in rows(ask, "--state", "reclaimed")] == ["vm-1"]
    assert [r["server"] for r in rows(ask, "--project", "p2")] == ["vm-2"]
    assert rows(ask, "--project", "nobody") == []


def test_an_objection_gives_back_and_answers_the_notice(ask, store):
    assert store.reclaims.floors(NOW) == {"cpu": {"vm-1": 0.1}}
    code, out, _ = ask("reclaim", "object", "name-of-vm-1", "--reason", "month's end is near", "-f", "json")
    assert code == 0
    assert {r["resource"]: r["state"] for r in json.loads(out)} == {"cpu": "giving_back", "memory": "objected"}
    assert store.reclaims.floors(NOW) == {}
    code, out, _ = ask("notice", "list", "--project", "p1", "-f", "json")
    (told,) = json.loads(out)
    assert (told["text"], told["answered_at"]) == ("Its CPU is idle.", NOW)


def test_one_may_object_before_anything_was_found_and_take_it_back(ask, store):
    code, _, _ = ask("reclaim", "object", "vm-2", "--reason", "ours", "--resource", "memory")
    assert code == 0
    memory = store.reclaims.of("vm-2")["memory"]
    assert (memory.state, memory.objection, memory.tier_floor) == (State.OBJECTED, "ours", 2048 * 0.15)
    assert ask("reclaim", "allow", "vm-2")[0] == 0
    assert store.reclaims.of("vm-2")["memory"].state is State.GONE
    code, _, err = ask("reclaim", "allow", "vm-2")
    assert code != 0
    assert "nobody objected" in err


def test_notices_are_shown_by_project_and_server(ask, store):
    code, out, _ = ask("notice", "list", "--server", "name-of-vm-1")
    assert code == 0
    assert "Its CPU is idle." in out
    assert json.loads(ask("notice", "list", "--project", "p2", "-f", "json")[1]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reclaim", "object", "nobody", "--reason", "x"), "no server 'nobody'"),
        (("reclaim", "object", "vm-1", "--reason", "  "), "reason"),
        (("reclaim", "object", "vm-1", "--reason", "x" * 600), "600 characters"),
        (("reclaim", "object", "vm-1", "--reason", "a\x00b"), "cannot be printed"),
        (("reclaim", "object", "vm-1"), "--reason"),
        (("reclaim", "object", "vm-1", "--reason", "x", "--resource", "gpu"), "gpu"),
        (("reclaim", "allow", "nobody"), "no server 'nobody'"),
        (("reclaim", "list", "--state", "asleep"), "asleep"),
        (("notice", "list", "--server", "nobody"), "no server 'nobody'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_words(ask, store, words, said):
    before = store.reclaims.all()
    code, _, err = ask(*words)
    assert code != 0
    assert said in err
    assert "Traceback" not in err
    assert store.reclaims.all() == before, "nothing is lost"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/reclaims?state=asleep", None, 400, "found, noticed"),
        ("/v1/reclaims/vm-1/object", {"reason": "x", "resource": "gpu"}, 400, "cpu or memory"),
        ("/v1/reclaims/vm-1/object", {}, 400, "reason"),
        ("/v1/reclaims/vm-1/object", {"reason": "x", "colour": "red"}, 400, "colour"),
        ("/v1/reclaims/vm-1/object", {"reason": 7}, 400, "reason"),
        ("/v1/reclaims/nobody/object", {"reason": "x"}, 404, "server list"),
        ("/v1/notices?limit=0", None, 400, "limit"),
        ("/v1/notices?limit=many", None, 400, "limit"),
    ],
    ids=str,
)
def test_bad_requests_are_answered_with_a_problem(served, path, body, status, said):
    method = "GET" if body is None else "POST"
    with TestClient(served[0].app, raise_server_exceptions=False) as client:
        reply = client.request(method, path, json=body, headers={"Authorization": f"Bearer {served[0].admin_token}"})
        assert reply.status_code == status, reply.text
        assert said in reply.json()["detail"]
        assert client.request(method, path, json=body, headers={"Authorization": "Bearer nobody"}).status_code == 401


def test_an_unfound_server_has_its_tier_s_floor(served):
    (server,) = (s for s in served[0].store.inventory.view(NOW).servers if s.id == ServerId("vm-1"))
    assert unfound(server, "cpu", BUILT_IN.tiers["economy"], "c", NOW).tier_floor == pytest.approx(0.1), (
        "5 % of 2 cores, but a tenth at least"
    )
