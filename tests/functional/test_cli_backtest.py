"""``foreshape backtest`` and ``foreshape train`` as an operator types them: tables, files, and sentences for what goes wrong."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import trace_support as made
from cli_support import foreshape
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.replay.trace_file import load_trace
from trace_support import START

pytestmark = pytest.mark.functional

DAY = 86400
QUANTILES = [f"q{round(level * 100):02d}" for level in LEVELS]
SPAN = ("--from", START + 3 * DAY, "--to", START + 4 * DAY)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.days(tmp_path_factory.mktemp("t") / "t.parquet", vms=4, length=5)


def backtest(trace: Path, *words: object) -> int:
    return foreshape("backtest", "--trace", trace, *SPAN, *words)


# -- files and tables ------------------------------------------------------------------------------------------------------


def test_the_file_holds_every_quantile_of_every_bin_ahead(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    assert backtest(trace, "--method", "window-48h", "--every", "12h", "--out", out) == 0
    table = pq.read_table(out)
    assert table.column_names == ["vm", "resource", "kind", "origin", "t", *QUANTILES]
    assert table.num_rows == 4 * 2 * 2 * (288 + 2)  # VMs, resources, origins, bins of a day and two peaks
    one = [r for r in table.to_pylist() if (r["vm"], r["resource"]) == ("vm0", "cpu")]
    first = min(r["origin"] for r in one)
    steps = sorted(r["t"] for r in one if r["kind"] == "step" and r["origin"] == first)
    assert steps == [first + 300 * i for i in range(288)]
    assert {r["t"] - r["origin"] for r in one if r["kind"] != "step"} == {0}
    assert {r["resource"] for r in table.select(["resource"]).to_pylist()} == {"cpu", "mem"}
    assert first % (12 * 3600) == 0


def test_what_is_printed_is_what_the_file_says(trace: Path, tmp_path: Path, capsys) -> None:
    """The judge's own arithmetic, done here once more from the file: 2·Σ pinball / Σ y over the levels from .1 on, and coverage."""
    out = tmp_path / "f.parquet"
    assert backtest(trace, "--method", "naive-residual", "--every", "8h", "--resource", "cpu", "--out", out, "-f", "json") == 0
    printed = {row["Horizon"]: row for row in json.loads(capsys.readouterr().out)}
    truth = load_trace(trace, resources=["cpu"])["cpu"]
    place = {name: i for i, name in enumerate(truth.series)}
    rows = [r for r in pq.read_table(out).to_pylist() if r["kind"] == "step"]
    for horizon, bins in (("30min", 6), ("24h", 288)):
        near = [r for r in rows if r["t"] - r["origin"] < bins * 300 and r["t"] < truth.until]
        y = np.array([truth.mean[place[r["vm"]], (r["t"] - truth.start) // 300] for r in near], np.float64)
        q = np.array([[r[name] for name in QUANTILES] for r in near])
        known = np.isfinite(y)
        y, q = y[known], q[known]
        losses = [2 * np.maximum(level * (y - q[:, k]), (level - 1) * (y - q[:, k])).sum() / y.sum() for k, level in enumerate(LEVELS)]
        room = 1e-4 * 4  # of four cores
        inside = ((y >= q[:, 2] - room) & (y <= q[:, 10] + room)).mean()
        assert printed[horizon]["N"] == len(y)
        assert printed[horizon]["wQL"] == pytest.approx(np.mean(losses[2:]), abs=2e-4)
        assert printed[horizon]["cov80"] == pytest.approx(inside, abs=1e-3)


def test_several_methods_get_a_file_each_and_one_table(trace: Path, tmp_path: Path, capsys) -> None:
    assert backtest(trace, "--method", "baseline", "ewma", "--out", tmp_path / "f.parquet", "-f", "csv") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f-baseline.parquet", "f-ewma-0.1.parquet", "f-ewma-0.3.parquet"]
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {r["Method"] for r in rows} == {"baseline", "ewma-0.1", "ewma-0.3"}
    assert {(r["Resource"], r["Horizon"]) for r in rows} == {
        (a, b) for a in ("cpu", "memory") for b in ("30min", "24h", "peak30m", "peak24h")
    }
    near = [r for r in rows if (r["Resource"], r["Horizon"]) == ("cpu", "30min")]
    simple = [float(r["wQL"]) for r in near if r["Method"] != "baseline"]
    for r in near:
        assert float(r["to best simple"]) == pytest.approx(float(r["wQL"]) / min(simple), abs=0.02)


def test_with_nothing_said_the_baseline_meets_every_simple_method_over_the_last_days(trace: Path, capsys) -> None:
    assert foreshape("backtest", "--trace", trace, "--vms", "2", "--origins", "2", "-f", "json", "--from", START + 2 * DAY) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({r["Method"] for r in rows}) == 11


def test_times_may_be_written_as_people_do(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    words = ("--from", "2013-07-03T12:00", "--to", "2013-07-04T12:00+02:00", "--every", "6h", "--phase", "1h", "--vms", "vm0")
    assert foreshape("backtest", "--trace", trace, *words, "--method", "window-2h", "--out", out) == 0
    begin = 1372852800  # 3 July 2013, 12:00 UTC; seven o'clock is the first hour of a quarter of a day, plus one
    found = sorted(set(pq.read_table(out)["origin"].to_pylist()))
    assert found == [begin + 3600 * h for h in (1, 7, 13, 19)]


def test_slow_models_take_part_on_few_origins_for_all_alike(trace: Path, capsys) -> None:
    pytest.importorskip("statsforecast", reason="the extra foreshape[compare] is not installed")
    assert (
        backtest(
            trace, "--method", "ets", "naive-residual", "--every", "1h", "--origins", "1", "--vms", "1", "--resource", "cpu", "-f", "json"
        )
        == 0
    )
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert "1 of 24 origins, for all methods alike" in said.err
    assert {r["N"] for r in rows if r["Horizon"] == "peak24h"} <= {1}
    assert {r["Method"] for r in rows} == {"ets", "naive-residual"}


def test_boosters_learn_from_the_vms_that_are_left_out(trace: Path, capsys) -> None:
    pytest.importorskip("lightgbm", reason="the extra foreshape[compare] is not installed")
    long = made.days(trace.with_name("long.parquet"), vms=4, length=9)
    words = ("--from", START + 7 * DAY, "--to", START + 8 * DAY, "--method", "lightgbm", "--vms", "vm0", "--resource", "cpu", "-f", "json")
    assert foreshape("backtest", "--trace", long, *words) == 0
    rows = {r["Horizon"]: r for r in json.loads(capsys.readouterr().out)}
    assert rows["30min"]["wQL"] < 0.5
    assert rows["30min"]["N"] > 0


def test_without_the_extra_the_comparison_is_refused_in_words(trace: Path, capsys, monkeypatch) -> None:
    for library in ("statsforecast.models", "statsforecast", "lightgbm"):
        monkeypatch.setitem(sys.modules, library, None)
    assert backtest(trace, "--method", "arima") == 1
    assert "statsforecast.models is not installed: it is only for comparison; pip install 'foreshape[compare]'" in capsys.readouterr().err
    assert backtest(trace, "--method", "lightgbm") == 1
    assert "lightgbm is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--method", "prophet"), 1, "'prophet' is no method: one of baseline"),
        (("--method", "model"), 1, "add --model DIR"),
        (("--model", "/nowhere"), 1, "/nowhere holds no model"),
        (("--every", "7s"), 1, "multiples of 300 s"),
        (("--every", "soon"), 2, "'soon' is no duration: 30m, 6h or 1d"),
        (("--from", "tomorrow"), 2, "'tomorrow' is no time"),
        (("--from", START + 4 * DAY, "--to", START + 3 * DAY), 2, "is not before"),
        (("--from", 10, "--to", 20), 2, "the trace lasts from"),
        (("--from", START), 2, "nothing is known before"),
        (("--vms", "nobody"), 1, "no VM is called 'nobody'"),
        (("--resource", "gpu"), 1, "'gpu' is no resource"),
        (("--resource", "disk"), 1, "holds no disk"),
        (("--method", "window-2h", "--out", "/nowhere/f.parquet"), 1, "cannot write /nowhere/f.parquet"),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, tuple) else "",
)
def test_what_makes_no_sense_is_refused_in_words(trace: Path, capsys, words, code: int, said: str) -> None:
    assert backtest(trace, *words) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_trace_that_is_none_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.parquet").write_text("vm,t\n")
    assert backtest(tmp_path / "t.parquet") == 1
    assert "not a Parquet file" in capsys.readouterr().err


# -- training ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a second's training: it works, it is no good."""
    pytest.importorskip("torch", reason="the extra foreshape[learn] is not installed")
    folder = tmp_path_factory.mktemp("m")
    trace = made.days(folder / "t.parquet", vms=14, length=7)
    words = ("--trace", trace, "--until", START + 6 * DAY, "--except-vms", "vm1*", "--out", folder / "m1")
    assert foreshape("train", *words, "--cpu-minutes", "0.01", "--seed", "3", "--resource", "cpu") == 0
    return folder / "m1"


def test_a_trained_model_takes_part_in_a_backtest(model: Path, trace: Path, capsys) -> None:
    assert backtest(trace, "--model", model, "--method", "baseline", "--resource", "cpu", "-f", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["Method"] for r in rows} == {"baseline", "model"}
    assert len({r["N"] for r in rows if r["Horizon"] == "24h"}) == 1


def test_the_model_says_what_it_was_made_of(model: Path) -> None:
    papers = json.loads((model / "manifest.json").read_text())
    assert papers["until"] == START + 6 * DAY
    assert papers["series"] == {"cpu": 9}  # fourteen, without vm1 and vm10 to vm13
    assert papers["seed"] == 3


def _cut(folder: Path) -> None:
    weights = folder / "net.npz"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def _other_version(folder: Path) -> None:
    papers = folder / "manifest.json"
    papers.write_text(re.sub(r'"format": *\d+', '"format": 99', papers.read_text()))


@pytest.mark.parametrize(
    ("spoil", "said"), [(_cut, "is damaged"), (_other_version, "is of format 99")], ids=["cut in half", "another version"]
)
def test_a_damaged_model_or_one_of_another_version_is_refused(model: Path, trace: Path, tmp_path: Path, capsys, spoil, said: str) -> None:
    shutil.copytree(model, tmp_path / "m")
    spoil(tmp_path / "m")
    assert backtest(trace, "--model", tmp_path / "m", "--method", "model") == 1
    assert said in capsys.readouterr().err


def test_training_where_something_is_refuses_before_it_begins(trace: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("mine")
    assert foreshape("train", "--trace", trace, "--out", tmp_path / "full") == 1
    assert "exists already" in capsys.readouterr().err
    assert foreshape("train", "--trace", trace, "--out", tmp_path / "no" / "m") == 1
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--until", START + DAY), 1, "days of 8 series are needed|series are needed"),
        (("--until", 1000), 1, "nothing of it lies before --until 1000"),
        (("--until", START + DAY, "--until", START + DAY), 2, "2 times --until for 1 traces"),
        (("--except-vms", "*"), 1, "leaves no VM to train on"),
        (("--cpu-minutes", "0"), 2, "write a number above 0"),
        (("--encoder", "gru"), 2, "invalid choice"),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, tuple) else "",
)
def test_training_that_cannot_work_says_why(trace: Path, tmp_path: Path, capsys, words, code: int, said: str) -> None:
    assert foreshape("train", "--trace", trace, "--out", tmp_path / "m", *words) == code
    err = capsys.readouterr().err
    assert re.search(said, err), err
    assert not (tmp_path / "m").exists()
