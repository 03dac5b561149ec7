"""The agent's figures in a file for node_exporter: whole or not at all, readable by Prometheus' tool, and never in a cycle's way."""

import shutil
import subprocess
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families as parsed

from foreshape_agent.textfile import Textfile

pytestmark = [pytest.mark.functional, pytest.mark.usefixtures("every_line")]

FACTS: dict[str, object] = {
    "domains": 3,
    "gave_back": 2,
    "restored": 0,
    "unsettled": 1,
    "orders_waiting": 0,
    "reports_waiting": 7,
    "safe_mode": "",
}


def values(file: Path) -> dict[str, float]:
    return {s.name: s.value for f in parsed(file.read_text()) for s in f.samples if not s.labels}


def test_each_cycle_leaves_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "foreshape.prom"
    text = Textfile(str(file))
    text.write(FACTS, 0.02)
    text.write({**FACTS, "safe_mode": "no controller"}, 0.03)
    v = values(file)
    assert v["foreshape_agent_domains"] == 3
    assert v["foreshape_agent_reflexes_total"] == 4
    assert v["foreshape_agent_cycles_total"] == 2
    assert v["foreshape_agent_reports_waiting"] == 7
    assert v["foreshape_agent_safe_mode"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["foreshape.prom"]


def test_domains_that_nobody_could_count_are_no_number(tmp_path: Path) -> None:
    text = Textfile(str(tmp_path / "f.prom"))
    text.write({**FACTS, "domains": "unknown"}, 0.02)
    assert values(tmp_path / "f.prom")["foreshape_agent_domains"] != values(tmp_path / "f.prom")["foreshape_agent_domains"]


def test_promtool_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (devstack/packages.txt: prometheus)")
    text = Textfile(str(tmp_path / "f.prom"))
    text.write(FACTS, 0.02)
    told = subprocess.run(
        ["promtool", "check", "metrics"], input=(tmp_path / "f.prom").read_bytes(), capture_output=True, timeout=30, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_a_folder_that_is_gone_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    text = Textfile(str(tmp_path / "gone" / "f.prom"))
    with structlog.testing.capture_logs() as lines:
        text.write(FACTS, 0.02)
        text.write(FACTS, 0.02)
    assert [x["event"] for x in lines] == ["metrics file cannot be written"]
    (tmp_path / "gone").mkdir()
    text.write(FACTS, 0.02)
    assert values(tmp_path / "gone" / "f.prom")["foreshape_agent_cycles_total"] == 3
