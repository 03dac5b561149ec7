"""Segments through the API and the command: what they have beside what is expected, and who gave to whom."""

import json
import logging
import re

import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from foreshape_controller.main import build
from foreshape_controller.model.reclaim import State
from foreshape_controller.store.reclaims import Change
from foreshape_controller.store.schema import transfers
from foreshape_demo.serve import Serving
from reclaim_support import NOW, row
from store_support import card, report, sample, settings

pytestmark = pytest.mark.functional

HOUR = 3600.0
SEGMENTS = "segments: {web: [{name: 'web-*'}], batch: [{name: 'job-*'}]}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """hv1 has 16 CPUs and 65,536 MiB; web-1 and job-1 were sold 2 cores each, job-1 wants 0.5."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("served")
    (folder / "segments.yaml").write_text(SEGMENTS)
    program = build(settings(folder, segments_file=str(folder / "segments.yaml")), clock=lambda: NOW)
    cards = (card("vm-1", name="web-1"), card("vm-2", name="job-1"))
    told = report(1, at=NOW - 1, samples=[sample("vm-1"), sample("vm-2", 0.5)], cards=cards)
    program.store.history.append(told, NOW - 1)
    with program.store.db.write() as conn:
        for at, amount in ((NOW - HOUR, 0.5), (NOW - 2 * HOUR, 0.25), (NOW - 3 * 24 * HOUR, 8.0)):
            words = {"at": at, "plan": "p", "host": "hv1", "resource": "cpu", "giver": "segment:batch", "taker": "segment:web"}
            conn.execute(transfers.insert(), words | {"amount": amount})
    with Serving(program, 0) as api:
        yield program, ["--url", api.url, "--token-file", str(folder / "admin-token")]
    program.store.close()


@pytest.fixture
def ask(served, capsys):
    return Operator(capsys, tuple(served[1]))


def test_a_segment_is_shown_with_what_it_wants_has_and_could_have(ask):
    web, batch = json.loads(ask("segment", "list", "-f", "json")[1])
    assert (web["name"], web["servers"], web["hosts"]) == ("web", 1, 1)
    assert (web["cpu"]["demand"], web["cpu"]["allocated"], web["cpu"]["entitled"]) == (1.0, 2.0, 2.0)
    assert web["cpu"]["floor"] == pytest.approx(0.2), "standard keeps a tenth"
    assert (web["cpu"]["room"], web["cpu"]["capacity"]) == (64.0, 32.0), "4 cores per CPU of 16; half of what was sold there is its own"
    assert web["cpu"]["slack"] == 0.5
    assert web["memory"]["room"] == 65536 - 512
    assert batch["cpu"]["slack"] == 0.75
    code, out, _ = ask("segment", "list", "--max-width", "300")
    assert code == 0
    assert "1.00 / 2.00 / 0.20 / 2.00 / 32.00" in out
    assert "- / -" in out, "not forecast yet"


def test_a_floor_that_was_lowered_counts(ask, served):
    reclaims = served[0].store.reclaims
    taken = row(State.RECLAIMED, tier_floor=0.2, floor=0.05, goal=0.05, begins_at=NOW)
    reclaims.save([Change(None, taken)])
    web, _ = json.loads(ask("segment", "list", "-f", "json")[1])
    assert web["cpu"]["floor"] == 0.05
    reclaims.alter("vm-1", "cpu", lambda _: row(State.GONE))


def test_the_report_tells_who_gave_and_who_got(ask, served):
    code, out, _ = ask("segment", "report", "-f", "json")
    assert code == 0
    (moved,) = json.loads(out)
    assert (moved["giver"], moved["taker"], moved["amount"], moved["times"], moved["hosts"]) == ("segment:batch", "segment:web", 0.75, 2, 1)
    assert json.loads(ask("segment", "report", "--since", "7d", "-f", "json")[1])[0]["amount"] == 8.75
    table = ask("segment", "report")[1]
    assert "0.75 cores" in table
    assert re.search(r"From \S+.* to \S+", table), "of which time"


def test_the_balance_of_everybody_is_nothing(served):
    with TestClient(served[0].app) as client:
        answer = client.get("/v1/segments/report", headers={"Authorization": f"Bearer {served[0].admin_token}"}).json()
    assert {b["party"]: b["got"] - b["gave"] for b in answer["balances"]} == {"segment:batch": -0.75, "segment:web": 0.75}


@pytest.mark.parametrize("since", ["yesterday", "-1h", "0s", "99999d"])
def test_a_time_that_is_none_is_refused(ask, since):
    code, _, err = ask("segment", "report", "--since", since)
    assert code != 0
    assert "Traceback" not in err
    assert err


def test_one_segment_is_shown_with_its_members(ask):
    code, out, _ = ask("segment", "show", "web", "-f", "json")
    assert code == 0
    told = json.loads(out)
    assert (told["name"], told["members"]) == ("web", ["vm-1"])
    assert "vm-1" in ask("segment", "show", "web")[1]
    code, _, err = ask("segment", "show", "wbe")
    assert code == 1
    assert "known are web, batch" in err
