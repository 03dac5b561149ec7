"""``foreshape replay`` as an operator types it: the table, the allocations, the page, and sentences for what goes wrong."""

import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import learn_support as learnt
import trace_support as made
from cli_support import foreshape
from foreshape_controller.cli import replay as replay_command
from foreshape_controller.replay.report import HEADERS
from foreshape_controller.replay.trace_file import load_trace
from trace_support import START, STEP

pytestmark = pytest.mark.functional

DAY = 86400
BEGIN, END = START + 2 * DAY, START + 2 * DAY + 6 * 3600
SPAN = ("--from", BEGIN, "--to", END, "--warm-up", "2h")
POLICIES = ["Foreshape", "static flavor", "moving max 1 h", "moving max 6 h", "moving max 24 h", "VPA-like p95", "oracle, next 30 min"]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.days(tmp_path_factory.mktemp("t") / "t.parquet", vms=4, length=3)


def replayed(trace: Path, *words: object) -> int:
    return foreshape("replay", "--trace", trace, *SPAN, *words)


def test_the_table_the_file_and_the_page_say_the_same(trace: Path, tmp_path: Path, capsys) -> None:
    out, report = tmp_path / "a.parquet", tmp_path / "r.html"
    assert replayed(trace, "--out", out, "--report", report, "--show", "vm2", "-f", "json") == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert [re.sub(r" ×.*", "", r["Policy"]) for r in rows] == POLICIES * 2
    assert "forecasts: the baseline (no --model was given)" in said.err
    assert "server-days decided in" in said.err
    _the_file_violates_as_often(out, trace, rows)
    _the_page_holds(report.read_text(), rows)


def _the_file_violates_as_often(out: Path, trace: Path, rows: list[dict[str, str]]) -> None:
    """The table's arithmetic once more, from the files: a row holds until the next one."""
    table = pq.read_table(out)
    assert table.column_names == ["vm", "resource", "t", "allocation"]
    given = [(r["vm"], r["resource"], r["t"], r["allocation"]) for r in table.to_pylist()]
    for resource, name in (("cpu", "cpu"), ("memory", "mem")):
        truth = load_trace(trace, resources=[resource])[resource]
        first, last = (BEGIN - START) // STEP, (END - START) // STEP
        over = known = 0
        for i, vm in enumerate(truth.series):
            mine = sorted((t, a) for v, r, t, a in given if (v, r) == (vm, name))
            assert mine[0][0] == BEGIN, "what was in force when counting began"
            for b in range(first, last):
                want = min(float(truth.mean[i, b]), float(truth.entitlement[i]))
                has = [a for t, a in mine if t <= START + b * STEP][-1]
                if np.isfinite(want):
                    known, over = known + 1, over + (want > has * (1 + 1e-6))
        assert next(r for r in rows if r["Resource"] == resource)["Violations"] == f"{over / known:.2%}"


def _the_page_holds(page: str, rows: list[dict[str, str]]) -> None:
    assert page.startswith("<!DOCTYPE html>\n")
    tree = ET.fromstring(page.split("\n", 1)[1])  # every element closed, every text escaped
    cells = [["".join(td.itertext()) for td in tr.iter("td")] for tr in tree.iter("tr")]
    for row in rows:
        assert [row[h] for h in HEADERS] in cells
    assert len(list(tree.iter("svg"))) >= 2 * 5, "sums, violations, slack, frontier and vm2, of each resource"
    text = " ".join(tree.itertext())
    for word in (
        "Simulated: these sizes were never given",
        "t.parquet",
        "the baseline (no --model was given)",
        "vm2 (asked for",
        "2013-07-03",
    ):
        assert word in text
    assert not re.search(r"https?://|src=|@import|<script|<link", page), "nothing comes from elsewhere"
    assert len(page) < 400_000


def test_hosts_that_are_short_hold_servers_back_and_say_whom(trace: Path, tmp_path: Path, capsys) -> None:
    rates = tmp_path / "rates.yaml"
    prices = "{cpu: {entitlement: 0.5}, memory: {entitlement: 0.1}}"
    rates.write_text(f"currency: EUR\ncards: [{{valid_from: 2020-01-01, tiers: {{standard: {prices}}}}}]\n")
    report = tmp_path / "r.html"
    words = ("--hosts", 1, "--host-cpus", 3, "--host-memory", 4096, "--rates", rates, "--report", report, "-f", "json")
    assert replayed(trace, *words, "--warm-up", "12h") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["Saved"] for r in rows if r["Policy"] == "static flavor"} == {"0.00"}
    assert float(rows[0]["Saved"].replace(",", "")) > 0
    text = " ".join(ET.fromstring(report.read_text().split("\n", 1)[1]).itertext())
    assert "Hosts, and who was held back" in text
    assert "host1, the tightest for cpu" in text
    assert "Bins that wanted more" in text or "nobody was held back" in text
    assert "Worth of what was not allocated" in text


def test_a_model_without_torch_leaves_the_word_to_the_baseline(trace: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    model = learnt.a_model(tmp_path / "models", "m1")
    monkeypatch.setattr("foreshape_controller.cli.replay._voice", _without_torch())
    assert replayed(trace, "--model", model, "--resource", "cpu") == 0
    assert "forecasts: the baseline (torch is not installed" in capsys.readouterr().err


def _without_torch():
    """As the command asks, where importing torch fails."""
    asked = replay_command._voice

    def voice(folder):
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("foreshape_controller.forecast.net")}
        before, sys.modules["torch"] = sys.modules.get("torch"), None
        try:
            return asked(folder)
        finally:
            sys.modules.pop("torch")
            sys.modules.update(hidden | ({"torch": before} if before else {}))

    return voice


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trace", "/nowhere.parquet"), "/nowhere.parquet: no such file"),
        (("--from", END, "--to", BEGIN), "is not before --to"),
        (("--to", START + 30 * DAY), "is not inside: choose a part"),
        (("--from", START + 3600), "a day is needed to look back on: choose --from"),
        (("--hosts", 2), "belong together"),
        (("--hosts", 1, "--host-cpus", 1, "--host-memory", 4096), "give --host-cpus or --hosts more"),
        (("--tiers", "/nowhere.yaml"), "--tiers /nowhere.yaml: No such file"),
        (("--model", "/nowhere"), "/nowhere holds no model"),
        (("--out", "/nowhere/a.parquet"), "there is no folder /nowhere"),
        (("--vms", "nobody"), "no VM is called 'nobody'"),
        (("--show", "nobody"), "--show nobody: not among the 4 VMs"),
    ],
    ids=["trace", "order", "outside", "past", "half a host", "floors", "tiers", "model", "folder", "vms", "show"],
)
def test_what_cannot_be_replayed_is_said_in_a_sentence_with_exit_2(trace: Path, words, said: str, capsys) -> None:
    assert replayed(trace, *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_neither_a_folder_nor_the_trace_itself_is_written_over(trace: Path, tmp_path: Path, option: str, capsys) -> None:
    before = trace.read_bytes()
    assert replayed(trace, option, tmp_path) == 2
    assert f"{option} {tmp_path} is a folder" in capsys.readouterr().err
    assert replayed(trace, option, trace) == 2
    assert "is the trace itself and would be lost" in capsys.readouterr().err
    assert trace.read_bytes() == before


def test_tiers_that_contradict_themselves_are_refused_before_anything_is_done(trace: Path, tmp_path: Path, capsys) -> None:
    bad = tmp_path / "tiers.yaml"
    bad.write_text("tiers: {standard: {cpu: {quantile: 7}}}\n")
    assert replayed(trace, "--tiers", bad) == 2
    assert "quantile is 7: it must lie between 0.5 and 0.99" in capsys.readouterr().err


def test_a_file_that_is_no_trace_is_refused(trace: Path, tmp_path: Path, capsys) -> None:
    half = tmp_path / "half.parquet"
    shutil.copy(trace, half)
    half.write_bytes(half.read_bytes()[:500])
    assert replayed(half) == 2
    assert "not a Parquet file, or only part of one" in capsys.readouterr().err
