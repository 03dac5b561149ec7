"""One line in the log for each piece of work, with its fields: neither none nor two."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from litestar.testing import TestClient

from filled_support import NOW, filled
from foreshape_controller.main import Program
from foreshape_wire.codec import encode
from store_support import outcome, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.usefixtures("every_line")]

Lines = list[dict[str, Any]]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = filled(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def client(program: Program) -> Iterator[TestClient[Any]]:
    with TestClient(program.app) as c:
        yield c


def of(lines: Lines, event: str) -> Lines:
    return [x for x in lines if x["event"] == event]


def operator(program: Program) -> dict[str, str]:
    return {"Authorization": f"Bearer {program.admin_token}"}


def enrolled(program: Program) -> dict[str, str]:
    agents = program.store.agents
    return {"Authorization": f"Bearer {agents.enrol('hv1', agents.join_token('hv1', NOW, 60.0), NOW)}"}


def test_a_report_is_one_quiet_line_and_no_request_beside_it(program: Program, client: TestClient[Any]) -> None:
    token = enrolled(program)
    with structlog.testing.capture_logs() as lines:
        assert (
            client.post("/v1/reports", content=encode(report(50, NOW, [sample("vm-1"), sample("vm-2")])), headers=token).status_code == 200
        )
    (line,) = of(lines, "report")
    assert (line["log_level"], line["host"], line["sequence"], line["samples"], line["new"]) == ("debug", "hv1", 50, 2, True)
    assert line["took_ms"] >= 0
    assert of(lines, "request") == []


def test_a_report_that_is_refused_is_one_line_that_says_why(program: Program, client: TestClient[Any]) -> None:
    token = enrolled(program)
    with structlog.testing.capture_logs() as lines:
        assert client.post("/v1/reports", content=b"{}", headers=token).status_code == 400
    assert len(of(lines, "message refused")) == 1
    assert of(lines, "report") == []


def test_an_outcome_is_one_line_with_the_cause_of_its_decision(program: Program, client: TestClient[Any]) -> None:
    told = report(51, NOW, [sample("vm-1"), sample("vm-2")], outcomes=(outcome("ord-9"),))
    with structlog.testing.capture_logs() as lines:
        client.post("/v1/reports", content=encode(told), headers=enrolled(program))
    (line,) = [x for x in lines if "outcome" in x["event"]]
    assert (line["cause"], line["order"], line["verdict"]) == ("cause-1", "ord-9", "applied")


def test_a_plan_is_one_line_with_what_it_came_to(program: Program) -> None:
    with structlog.testing.capture_logs() as lines:
        program.plan_loop.run_once(NOW + 1, look_ahead=False)
    (line,) = of(lines, "plan")
    assert (line["decisions"], line["log_level"]) == (4, "info")
    assert {"plan", "orders", "grows", "shrinks", "held", "changed_by_forecast", "took"} <= line.keys()


def test_a_read_is_one_quiet_line_and_a_write_one_that_says_who(program: Program, client: TestClient[Any]) -> None:
    with structlog.testing.capture_logs() as lines:
        client.get("/v1/servers", headers=operator(program))
    (line,) = of(lines, "request")
    assert (line["log_level"], line["route"], line["status"]) == ("debug", "/v1/servers", 200)
    with structlog.testing.capture_logs() as lines:
        client.put("/v1/mode", json={"scope": "cloud", "mode": "observe", "reason": "a test"}, headers=operator(program))
    (line,) = of(lines, "request")
    assert (line["log_level"], line["method"], line["route"], line["status"], line["user"]) == ("info", "PUT", "/v1/mode", 200, "operator")


def test_no_token_and_no_body_is_ever_in_a_line(program: Program, client: TestClient[Any]) -> None:
    token = enrolled(program)
    with structlog.testing.capture_logs() as lines:
        client.post("/v1/reports", content=encode(report(52, NOW, [sample("vm-1")])), headers=token)
        client.put("/v1/mode", json={"scope": "cloud", "mode": "observe", "reason": "a test"}, headers=operator(program))
    said = repr(lines)
    assert token["Authorization"].split()[1] not in said
    assert program.admin_token not in said


@pytest.mark.parametrize("work", ["forecast", "expire"])
def test_a_run_of_a_loop_is_one_line(program: Program, work: str) -> None:
    program.pulse.expect(work, 60.0)
    with structlog.testing.capture_logs() as lines:
        program.pulse.run(work, lambda: None)
    assert [(x["event"], x["loop"]) for x in lines] == [("loop run", work)]
