"""Dashboards and alert rules name only metrics that are there, in words that Prometheus reads; files are what Grafana's types make."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar.testing import TestClient

from cloud_emulator import Emulator, running
from filled_support import NOW, SERVERS, filled
from foreshape_agent.textfile import Textfile
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.model.brakes import Halt
from foreshape_controller.store.models import BASELINE, Event
from store_support import settings

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "etc/grafana").glob("*.json"))
RULES = ROOT / "etc/prometheus/foreshape.rules.yaml"
NAME = re.compile(r"\b((?:foreshape|process)_[a-z0-9_]+)")
OUTSIDE = {"up"}


def expressions(file: Path) -> list[str]:
    def within(thing: Any) -> Iterator[str]:
        if isinstance(thing, dict):
            yield from (v for k, v in thing.items() if k == "expr" and v)
            for v in thing.values():
                yield from within(v)
        elif isinstance(thing, list):
            for v in thing:
                yield from within(v)

    return list(within(json.loads(file.read_text())))


def whole(thing: Any) -> Any:
    """Without what is not said."""
    if isinstance(thing, dict):
        return {k: whole(v) for k, v in thing.items() if v is not None}
    return [whole(v) for v in thing] if isinstance(thing, list) else thing


def named() -> set[str]:
    asked = [r["expr"] for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]]
    asked += [e for f in FILES for e in expressions(f)]
    asked.append("foreshape_host_servers")  # the variable of the hosts' dashboard
    return {re.sub(r"_(bucket|sum|count)$", "", n) for e in asked for n in NAME.findall(e)}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Metrics of a filled controller with a cloud, and of an agent: how many rows each has."""
    folder = tmp_path_factory.mktemp("exposed")
    with running(Emulator()) as emulator:
        for host in SERVERS:
            emulator.add_host(host, vcpus=100, ram=524288, ratio=1.0)
        base = settings(folder)
        door = connect(Access(timeout_s=5.0, options=emulator.options()), Ways(Patience(tries=2, first_s=0.01)))
        program = filled(folder, replace(base, cloud=replace(base.cloud, enabled=True)), door=door)
        program.pulse.expect("plan", 60.0)
        halt = Halt(scope="host:hv1", kind="failures", state="open", since=NOW - 60, until=NOW + 60, reason="a test")
        program.store.halts.save([halt])
        assert program.learn is not None
        program.learn.office.models.note(Event(NOW, "promoted", BASELINE, "a test"))
        with TestClient(program.app) as client:
            text = [client.get("/metrics", headers={"Authorization": f"Bearer {program.admin_token}"}).text for _ in range(2)][-1]
        program.store.close()
    file = folder / "agent.prom"
    Textfile(str(file)).write({"domains": 1}, 0.1)
    text += file.read_text()
    rows = re.findall(r"^([a-z_0-9]+)(?:\{| )", text, re.MULTILINE)
    found = dict.fromkeys(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE), 0)
    for row in rows:
        name = row if row in found else re.sub(r"_(bucket|sum|count)$", "", row)
        found[name] = found.get(name, 0) + 1
    return found


def test_every_metric_that_is_asked_for_is_exposed(exposed: dict[str, int]) -> None:
    assert named() - exposed.keys() - OUTSIDE == set()


def test_most_of_them_have_rows_even_in_a_small_cloud(exposed: dict[str, int]) -> None:
    empty = {n for n in named() - OUTSIDE if not exposed.get(n)}
    later = {n for n in empty if re.match(r"foreshape_(pool|tier|forecast_(skill|inside80)|host_sold)", n)}
    assert empty == later, "these have no row, and it is not for a day's history or a pool that is missing"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (devstack/packages.txt: prometheus)")
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_expression_can_be_read_by_prometheus(file: Path, tmp_path: Path) -> None:
    asked = [e.replace("$host", ".*") for e in expressions(file)]
    assert asked
    rules = [{"record": f"test:{n}", "expr": e} for n, e in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": rules}]}))
    told = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, timeout=30, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_each_file_says_what_grafana_needs(file: Path) -> None:
    board = json.loads(file.read_text())
    assert board["uid"] == f"foreshape-{file.stem}"
    assert board["title"].startswith("Foreshape: ")
    panels = [p for p in board["panels"] if p["type"] != "row"]
    assert panels
    for p in panels:
        assert p["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({t["refId"] for t in p["targets"]}) == len(p["targets"])
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len(places), "panels lie on each other"


def test_files_are_what_grafanas_own_types_make_of_the_tables() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    made: dict[str, Any] = {"__file__": str(ROOT / "devstack/dashboards.py"), "__name__": "dashboards"}
    exec(compile((ROOT / "devstack/dashboards.py").read_text(), str(ROOT / "devstack/dashboards.py"), "exec"), made)
    assert {f.name for f in FILES} == {b.file for b in made["BOARDS"]}
    for board in made["BOARDS"]:
        assert (ROOT / "etc/grafana" / board.file).read_text() == made["build"](board)


def test_grafanas_own_types_lose_nothing_of_the_files() -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    for file in FILES:
        told = json.loads(file.read_text())
        again = json.loads(encoder.JSONEncoder(sort_keys=True).encode(models.Dashboard.from_json(told)))
        assert whole(again) == told
