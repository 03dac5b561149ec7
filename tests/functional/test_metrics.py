"""What Prometheus scrapes: who may, in which format, what is in it, and that one odd figure hides no other."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from filled_support import filled
from foreshape_controller.api import metrics as door
from foreshape_controller.main import Program
from store_support import T0, settings
from tenants_support import ADMIN, MEMBER, READER, SYSTEM_READER

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("metrics")
    made = filled(folder)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def client(program: Program) -> Iterator[TestClient[Any]]:
    with TestClient(program.app) as c:
        yield c


@pytest.fixture(scope="module")
def text(client: TestClient[Any], program: Program) -> str:
    client.get("/v1/servers", headers=operator(program))
    return str(client.get("/metrics", headers=operator(program)).text)


def operator(program: Program) -> dict[str, str]:
    return {"Authorization": f"Bearer {program.admin_token}"}


def values(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parsed(text):
        for s in family.samples:
            found.setdefault(s.name, {})[tuple(s.labels.values())] = s.value
    return found


def test_the_scraper_has_a_token_of_its_own_that_opens_nothing_else(client: TestClient[Any], program: Program) -> None:
    token = {"Authorization": f"Bearer {Path(program.settings.api.metrics_token_file).read_text().strip()}"}
    assert client.get("/metrics", headers=token).status_code == 200
    assert client.get("/v1/servers", headers=token).status_code == 401


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (MEMBER, 403), (READER, 403), (SYSTEM_READER, 200), (ADMIN, 200)])
def test_tenants_may_not_and_whoever_reads_all_of_the_cloud_may(client: TestClient[Any], headers: dict[str, str], status: int) -> None:
    assert client.get("/metrics", headers=headers).status_code == status


def test_a_wrong_token_is_told_which_file_holds_the_right_one(client: TestClient[Any]) -> None:
    answer = client.get("/metrics", headers={"Authorization": "Bearer wrong-wrong-wrong"})
    assert answer.status_code == 401
    assert "metrics_token_file" in answer.json()["detail"]


def test_openmetrics_is_spoken_where_it_is_asked_for(client: TestClient[Any], program: Program) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client.get("/metrics", headers={**operator(program), **accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert any(f.name == "foreshape_reports" for f in openmetrics(answer.text))


def test_plain_text_is_spoken_otherwise(client: TestClient[Any], program: Program) -> None:
    assert client.get("/metrics", headers=operator(program)).headers["content-type"].startswith("text/plain; version=")


def test_promtool_finds_nothing_to_complain_about(text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (devstack/packages.txt: prometheus)")
    told = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_figures_are_those_of_the_fleet(text: str) -> None:
    v = values(text)
    assert v["foreshape_hosts"][()] == 2
    assert v["foreshape_servers"][()] == 4
    assert v["foreshape_servers_coverage_ratio"][()] == 1.0
    assert v["foreshape_cpu_entitled_cores"][()] == 8.0
    assert v["foreshape_memory_entitled_bytes"][()] == 4 * 2048 * 2**20
    assert v["foreshape_host_servers"] == {("hv1",): 2, ("hv2",): 2}
    assert v["foreshape_mode"] == {("observe",): 0, ("advise",): 1, ("act",): 0}
    assert v["foreshape_plans_total"][()] == 1
    assert sum(v["foreshape_choices_total"].values()) == 8
    assert v["foreshape_store_size_bytes"][("database",)] > 0
    assert v["foreshape_store_write_wait_seconds_count"][()] > 0


def test_every_part_was_made(text: str) -> None:
    failed = values(text)["foreshape_scrape_part_failed"]
    assert len(failed) == len(door.PARTS)
    assert {part for part, v in failed.items() if v} == set()


def test_requests_are_counted_by_their_route_and_never_by_what_somebody_wrote(client: TestClient[Any], program: Program) -> None:
    for name in ("nobody", "somebody-else"):
        client.get(f"/v1/servers/{name}", headers=operator(program))
    rows = values(client.get("/metrics", headers=operator(program)).text)["foreshape_http_requests_total"]
    routes = {route for _, route, _ in rows}
    assert "/v1/servers/{name}" in routes
    assert not any("nobody" in r for r in routes)


def test_one_part_that_fails_is_named_and_hides_no_other(
    client: TestClient[Any], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(_services: object) -> Iterator[Any]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(door, "PARTS", (*door.PARTS, odd))
    v = values(client.get("/metrics", headers=operator(program)).text)
    assert [part for part, value in v["foreshape_scrape_part_failed"].items() if value] == [("metrics.odd",)]
    assert v["foreshape_hosts"][()] == 2


def test_servers_are_told_one_by_one_only_up_to_the_cap(tmp_path: Path) -> None:
    base = settings(tmp_path)
    made = filled(tmp_path, replace(base, api=replace(base.api, metrics_servers=3, metrics_hosts=False)))
    try:
        with TestClient(made.app) as c:
            v = values(c.get("/metrics", headers=operator(made)).text)
    finally:
        made.store.close()
    assert len(v["foreshape_server_cpu_allocated_cores"]) == 3
    assert "foreshape_host_servers" not in v


def test_the_fill_is_of_now(program: Program) -> None:
    assert program.clock() == pytest.approx(T0 + 3600, abs=7200)
