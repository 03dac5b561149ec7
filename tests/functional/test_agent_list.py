"""`foreshape agent list` and `show` against the real API: who there is, what is wrong, what to do."""

import json
import logging

import pytest
import structlog

from cli_support import Operator
from foreshape_controller.main import build
from foreshape_demo.serve import Serving
from store_support import DAY, T0, report, settings

pytestmark = pytest.mark.functional

NOW = T0 + 2 * DAY


@pytest.fixture
def program(tmp_path):
    """well reports; silent reported yesterday; shut was revoked; new was invited, quiet enrolled and never came."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    program = build(settings(tmp_path), clock=lambda: NOW)
    agents, history = program.store.agents, program.store.history
    for host, at in (("well", NOW - 5), ("silent", NOW - DAY), ("shut", NOW - 5)):
        agents.enrol(host, agents.join_token(host, T0, 60.0), T0)
        history.append(report(1, at=at, host=host, agent_version="0.0.1"), at)
    agents.revoke("shut")
    agents.enrol("quiet", agents.join_token("quiet", T0, 60.0), T0)
    agents.rotate("well", NOW - 60)
    agents.join_token("new", NOW, 600.0)
    agents.join_token("forgotten", T0, 600.0)
    yield program
    program.store.close()


@pytest.fixture
def ask(program, tmp_path, capsys):
    with Serving(program, 0) as api:
        yield Operator(capsys, ("--url", api.url, "--token-file", str(tmp_path / "admin-token")))


def test_every_agent_is_listed_with_its_state(ask):
    code, out, _ = ask("agent", "list", "-f", "json")
    told = {a["host"]: a for a in json.loads(out)}
    assert code == 0
    assert {host: a["state"] for host, a in told.items()} == {
        "new": "invited",
        "quiet": "enrolled",
        "shut": "revoked",
        "silent": "silent",
        "well": "reporting",
    }
    assert told["well"]["token_age_s"] == 2 * DAY
    assert told["well"]["token_next"] == NOW - 60
    assert told["silent"]["last_report_s_ago"] == DAY
    assert told["new"]["last_report_s_ago"] is None
    assert "version 0.0.1" in told["well"]["wrong"]


def test_a_person_reads_what_to_do(ask):
    code, out, _ = ask("agent", "list", "--max-width", "400")
    assert code == 0
    assert "foreshape agent enroll shut" in out
    assert "24 h ago" in out
    assert "never" in out


def test_a_state_chooses(ask):
    assert [a["host"] for a in json.loads(ask("agent", "list", "--state", "silent", "-f", "json")[1])] == ["silent"]
    assert ask("agent", "list", "--state", "asleep")[0] == 2


def test_one_agent_is_shown(ask):
    code, out, _ = ask("agent", "show", "new")
    assert code == 0
    assert "2026-01-07 00:10 UTC" in out, "until when its join token holds"
    code, _, err = ask("agent", "show", "nobody")
    assert code == 1
    assert "foreshape agent list" in err


def test_a_token_that_was_replaced_and_used_is_the_current_one(program):
    agents = program.store.agents
    token = agents.rotate("well", NOW)
    agents.authenticate(token, NOW)
    assert agents.enrolled(NOW)["well"]._asdict() == {"host": "well", "issued_at": NOW, "next_at": None, "join_until": None}
