"""Health and readiness: what is in order is said, what would lose a report is 503, what is late is told and is none."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from foreshape_controller.main import Program, build
from foreshape_wire.codec import encode
from store_support import T0, report, settings

pytestmark = pytest.mark.functional


class Clock:
    now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def program(tmp_path: Path, clock: Clock) -> Iterator[Program]:
    made = build(settings(tmp_path), clock)
    yield made
    made.store.close()


@pytest.fixture
def client(program: Program) -> Iterator[TestClient[Any]]:
    with TestClient(program.app) as c:
        yield c


def test_anybody_may_ask_whether_it_is_alive_and_ready(client: TestClient[Any]) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "store": "ok", "reports": "ok", "late": []}


def test_a_loop_that_is_late_is_named_and_agents_are_served_all_the_same(client: TestClient[Any], program: Program, clock: Clock) -> None:
    program.pulse.expect("plan", 60.0)
    clock.now += 1000.0
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["late"] == ["loop plan, due every 60 s, succeeded never"]
    program.pulse.run("plan", lambda: None)
    assert client.get("/readyz").json()["status"] == "ready"


def test_a_store_that_does_not_answer_is_503(client: TestClient[Any], program: Program, tmp_path: Path) -> None:
    program.store.close()
    for file in tmp_path.glob("*.db*"):
        file.unlink()
    tmp_path.joinpath("controller.db").mkdir()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    tmp_path.joinpath("controller.db").rmdir()


def test_a_database_of_another_version_is_503_and_says_which(client: TestClient[Any], program: Program) -> None:
    with program.store.db.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "0001 there" in answer.json()["detail"]


def test_reports_that_nobody_would_take_are_503_until_somebody_does(client: TestClient[Any], program: Program) -> None:
    services = program.app.state.services
    door = services.door
    client.blocking_portal.call(door.begin)
    try:
        assert client.get("/readyz").json()["reports"] == "ok"
        os.kill(door.process.pid, signal.SIGKILL)
        for _ in range(200):
            if client.get("/readyz").status_code == 503:
                break
        assert "reports" in client.get("/readyz").json()["detail"]
        token = services.store.agents.enrol("hv1", services.store.agents.join_token("hv1", T0, 60.0), T0)
        for _ in range(400):
            said = client.post("/v1/reports", content=encode(report(1)), headers={"Authorization": f"Bearer {token}"})
            if said.status_code == 200:
                break
            client.blocking_portal.call(_pause)
        assert said.status_code == 200
        assert client.get("/readyz").status_code == 200
    finally:
        client.blocking_portal.call(door.close)


async def _pause() -> None:
    await asyncio.sleep(0.05)
