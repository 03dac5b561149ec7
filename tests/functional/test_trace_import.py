"""``foreshape trace import``: other people's files become canonical traces with the right numbers in them, or a sentence."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import trace_support as made
from cli_support import foreshape
from foreshape_controller.replay.importers import blocks as importing
from foreshape_controller.replay.trace_file import load_trace
from trace_support import START, STEP

pytestmark = pytest.mark.functional

MONDAY = 1478476800  # what time 0 of Azure's traces is taken as


def run(*words: object) -> int:
    return foreshape("trace", "import", *words)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "t.parquet"


def test_bitbrains_months_are_joined_and_units_are_ours(tmp_path: Path, out: Path, capsys) -> None:
    assert run("--format", "bitbrains", made.bitbrains(tmp_path / "rnd"), "--out", out) == 0
    rows = made.rows(out)
    assert len(rows) == 9  # VM 1: 3 bins in each of two months, VM 2: 3 bins
    first = rows["bb-1", START]
    assert first["cpu_cores"] == pytest.approx(2 * 1300 / 5200)  # a quarter of two cores
    assert first["cpu_cap_cores"] == 2
    assert (first["mem_mib"], first["mem_cap_mib"]) == (1024, 4096)  # KiB / 1024
    assert (first["disk_kib_s"], first["net_kib_s"]) == (30.5, 3.0)
    assert rows["bb-1", START + 31 * 86400]["cpu_cores"] == pytest.approx(1.0)
    assert rows["bb-2", START + 31 * 86400]["cpu_cores"] == 0
    said = capsys.readouterr().out
    assert "2 VMs, 9 bins of 5 minutes from 2013-06-30 to 2013-07-31" in said
    assert "has CPU, memory, disk, network; lacks CPU maxima" in said


def test_bitbrains_times_in_milliseconds_as_their_header_says_work_too(tmp_path: Path, out: Path) -> None:
    folder = made.bitbrains(tmp_path / "rnd")
    for path in folder.rglob("*.csv"):
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head, *(line.replace(";", "000;", 1) for line in lines)]))
    assert run("--format", "bitbrains", folder, "--out", out, "--vms", "bb-2") == 0
    assert set(made.rows(out)) == {("bb-2", START + 31 * 86400 + STEP * i) for i in range(3)}


@pytest.mark.parametrize(("kind", "cores", "gb"), [("azure-v1", 8, 16), ("azure-v2", 30, 70)])
def test_azure_percent_of_a_vm_becomes_cores(tmp_path: Path, out: Path, capsys, kind: str, cores: int, gb: int) -> None:
    folder = made.azure(tmp_path / "az", buckets=kind == "azure-v2")
    assert run("--format", kind, folder, "--out", out) == 0
    rows = made.rows(out)
    assert len(rows) == 8  # two VMs, two files of two readings each
    small, big = rows["aa==", MONDAY], rows["bb==", MONDAY + 900]
    assert (small["cpu_cores"], small["cpu_cores_max"], small["cpu_cap_cores"]) == (0.5, 1.0, 2.0)  # 25 % and 50 % of two cores
    assert big["cpu_cores"] == pytest.approx(0.1 * cores)
    assert (big["cpu_cap_cores"], big["mem_cap_mib"]) == (cores, gb * 1024)
    assert "its time 0 is taken as 1478476800" in capsys.readouterr().out
    assert run("--format", kind, folder, "--out", out, "--vms", "1", "--start", "2020-01-01") == 0
    assert {vm for vm, _ in made.rows(out)} == {"aa=="}
    assert min(t for _, t in made.rows(out)) == 1577836800


def test_google_windows_weigh_by_their_length(tmp_path: Path, out: Path) -> None:
    words = (
        "--format",
        "google2019",
        made.google(tmp_path / "g"),
        "--out",
        out,
        "--machine-cores",
        64,
        "--machine-mib",
        1000,
        "--start",
        0,
    )
    assert run(*words) == 0
    rows = made.rows(out)
    first = rows["380000000001-7", 600]
    assert first["cpu_cores"] == pytest.approx(64 * (200 * 0.5 + 100 * 0.2) / 300)
    assert first["cpu_cores_max"] == pytest.approx(64 * 0.6)
    assert (first["mem_mib"], first["mem_cap_mib"]) == (250, 500)
    assert rows["380000000001-7", 900]["cpu_cores"] == pytest.approx(6.4)


def test_google_as_flattened_csv_gives_the_same(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "usage.csv.gz"
    with gzip.open(path, "wt") as f:
        f.write("start_time,end_time,collection_id,instance_index,average_usage_cpus,average_usage.memory,assigned_memory\n")
        f.write("600000000,900000000,380000000001,7,0.5,0.25,0.5\n")
    assert run("--format", "google2019", path, "--out", out, "--machine-cores", 64, "--machine-mib", 1000, "--start", 0) == 0
    row = made.rows(out)["380000000001-7", 600]
    assert (row["cpu_cores"], row["cpu_cores_max"], row["mem_mib"]) == (32, None, 250)


def test_google_in_shares_needs_the_machine_s_size(tmp_path: Path, out: Path, capsys) -> None:
    assert run("--format", "google2019", made.google(tmp_path / "g"), "--out", out) == 2
    assert "--machine-cores and --machine-mib" in capsys.readouterr().err


TIMES = {
    "seconds": lambda i: str(START + STEP * i),
    "milliseconds": lambda i: str((START + STEP * i) * 1000),
    "iso with zone": lambda i: str(np.datetime64(START + STEP * i, "s")) + "Z",
    "iso without zone": lambda i: str(np.datetime64(START + STEP * i, "s")),
    "iso with a blank": lambda i: str(np.datetime64(START + STEP * i, "s")).replace("T", " "),
}


@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
def test_a_long_csv_with_its_own_names_and_units(tmp_path: Path, out: Path, time: Callable[[int], str]) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("when,server,load,used_kib\n" + "".join(f"{time(i)},web-{v},{i + v},{1024 * v}\n" for i in range(3) for v in (1, 2)))
    names = ("t=when", "vm=server", "cpu_cores=load", "mem_mib=used_kib")
    assert run("--format", "csv", path, "--out", out, "--column", *names, "--scale", f"mem_mib={1 / 1024}", "--cores", 4, "--mib", 64) == 0
    rows = made.rows(out)
    assert len(rows) == 6
    assert rows["web-2", START + STEP] | {"vm": 0} == {
        "vm": 0, "t": START + STEP, "cpu_cores": 3, "cpu_cores_max": None, "cpu_cap_cores": 4, "mem_mib": 2, "mem_cap_mib": 64,
        "disk_kib_s": None, "net_kib_s": None,
    }  # fmt: skip


def test_a_wide_csv_has_a_column_for_each_vm(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(f"time;a;b\n{START};1;2\n{START + STEP};;4\n")
    assert run("--format", "csv", path, "--out", out, "--wide", "cpu_cores", "--delimiter", ";") == 0
    rows = made.rows(out)
    assert [rows[k]["cpu_cores"] for k in sorted(rows)] == [1, None, 2, 4]


def test_samples_off_the_grid_meet_in_their_bin(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "fine.csv"
    path.write_text("vm,t,cpu_cores,cpu_cores_max\n" + "".join(f"a,{START + 60 * i},{i},{i * 2}\n" for i in range(5)))
    assert run("--format", "csv", path, "--out", out) == 0
    (row,) = made.rows(out).values()
    assert (row["t"], row["cpu_cores"], row["cpu_cores_max"]) == (START, (0 + 1 + 2 + 3 + 4) / 5, 8)


def test_an_imported_trace_is_one_that_everything_else_reads(tmp_path: Path, out: Path) -> None:
    assert run("--format", "azure-v1", made.azure(tmp_path / "az"), "--out", out) == 0
    told: list[str] = []
    cpu = load_trace(out, peaks="inside", tell=told.append)["cpu"]
    np.testing.assert_allclose(cpu.max[0], [1.0] * 4)
    assert told == ["cpu: 2 of 2 VMs never change: constant"]


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _half(path: Path) -> Path:
    data = gzip.compress(b"vm,t,cpu_cores\n" + b"".join(b"a,%d,%d\n" % (START + STEP * i, i * 7919 % 1009) for i in range(5000)))
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "make", "said"),
    [
        ("bitbrains", lambda d: d / "nowhere", "no such file or folder"),
        ("bitbrains", lambda d: d, "holds no VM files"),
        ("bitbrains", lambda d: _file(d / "1.csv", "a,b\n1,2\n"), "no file of GWA-T-12"),
        ("bitbrains", lambda d: _file(d / "1.csv", ""), "is empty"),
        ("azure-v1", lambda d: _file(d / "vmtable.csv", "aa,s,d,0,1,2,3,4,x,2,4\n"), "CPU readings"),
        ("azure-v1", lambda d: _file(d / "vmtable.csv", "aa,2\n"), "vmtable.csv: cannot be read as this format"),
        ("google2019", lambda d: _file(d / "u.json", "{}\n{half"), "line 2: no row of instance_usage"),
        ("google2019", lambda d: _file(d / "u.csv", "x,y\n1,2\n"), "no export of instance_usage"),
        ("csv", lambda d: _file(d / "m.csv", "a,b\n1,2\n"), "column 'vm' is missing .it has a, b.; say which it is with --column vm=NAME"),
        ("csv", lambda d: _file(d / "m.csv", "vm,t\na,1\n"), "holds none of cpu_cores"),
        ("csv", lambda d: _file(d / "m.csv", "vm,t,cpu_cores\n"), "holds no rows"),
        ("csv", lambda d: _file(d / "m.csv", "vm,t,cpu_cores\na,soon,1\n"), "'soon' is no time"),
        ("csv", lambda d: _file(d / "m.csv", f"vm,t,cpu_cores\na,{START},much\n"), "cannot be read as this format.*much"),
        (
            "csv",
            lambda d: _file(d / "m.csv", f"vm,t,cpu_cores\na,{START},1,9\n"),
            "cannot be read as this format.*Expected 3 columns, got 4",
        ),
        ("csv", lambda d: _file(d / "m.csv", f"vm,t,cpu_cores\na,0,1\na,{START},1\n"), "at least one is wrong"),
        ("csv", lambda d: _file(d / "m.csv", f"vm,t,cpu_cores\na,{START},-1\n"), "no usable value"),
        ("csv", lambda d: _half(d / "m.csv.gz"), "cannot be read"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_be_imported_is_refused_in_words_and_leaves_nothing(
    tmp_path: Path, out: Path, capsys, kind: str, make, said: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    assert run("--format", kind, make(folder), "--out", out, "--machine-cores", 1, "--machine-mib", 1) == 1
    err = capsys.readouterr().err
    assert err.startswith("foreshape: ")
    assert "Traceback" not in err
    assert re.search(said, err), err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys) -> None:
    assert run("--format", "azure-v1", made.azure(tmp_path / "az"), "--out", tmp_path / "no" / "t.parquet") == 1
    assert "cannot write" in capsys.readouterr().err


def test_more_than_fits_into_memory_is_refused_with_what_to_do(tmp_path: Path, out: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(importing, "MOST_ROWS", 7)
    assert run("--format", "azure-v1", made.azure(tmp_path / "az"), "--out", out) == 1  # two VMs of four readings are eight
    assert "more than 7 rows: choose some VMs with --vms" in capsys.readouterr().err
    assert run("--format", "azure-v1", tmp_path / "az", "--out", out, "--vms", "aa==") == 0


FULL = """
import resource, sys
from foreshape_controller.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as a full disk: no file grows further
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(tmp_path: Path, out: Path) -> None:
    out.write_text("the trace of last week")
    path = _file(tmp_path / "m.csv", "vm,t,cpu_cores\n" + "".join(f"a,{START + STEP * i},{i * 7919 % 1009}\n" for i in range(20_000)))
    words = ["trace", "import", "--format", "csv", str(path), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", FULL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, f"cannot write {out}" in done.stderr) == (1, True), done.stderr
    assert out.read_text() == "the trace of last week"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.csv", "t.parquet"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--column", "cpu=x"), "--column cpu: not one of vm, t, cpu_cores"),
        (("--scale", "cpu_cores=-1"), "write a number above 0"),
        (("--column", "cpu_cores"), "OURS=THEIRS is wanted"),
        (("--wide", "cpu"), "--wide cpu: not one of"),
        (("--delimiter", "ab"), "one character is wanted"),
        (("--vms", "5"), "--vms takes names or patterns with a long CSV file"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_words_that_make_no_sense_are_refused(tmp_path: Path, out: Path, capsys, words, said: str) -> None:
    path = _file(tmp_path / "m.csv", f"vm,t,cpu_cores\na,{START},1\n")
    assert run("--format", "csv", path, "--out", out, *words) in (1, 2)
    assert said in capsys.readouterr().err


def test_json_lines_of_google_may_be_large_numbers_as_text(tmp_path: Path, out: Path) -> None:
    line = {"start_time": 600000000, "end_time": 900000000, "collection_id": 7, "instance_index": 0, "average_usage": {"cpus": 0.5}}
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "u.json").write_text(json.dumps(line) + "\n\n")
    assert run("--format", "google2019", tmp_path / "g", "--out", out, "--machine-cores", 10, "--machine-mib", 10, "--start", 0) == 0
    assert made.rows(out)["7-0", 600]["cpu_cores"] == 5
