"""A canonical trace becomes histories on one grid; what is wrong with it is repaired and told, or refused in words."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.trace_file import load_trace, pick
from trace_support import START, STEP, write

pytestmark = pytest.mark.unit

NAN = float("nan")
ALL = ("vm", "t", "cpu_cores", "cpu_cores_max", "cpu_cap_cores", "mem_mib", "mem_cap_mib")


def test_every_resource_that_is_there_comes_on_one_grid(tmp_path: Path) -> None:
    loaded = load_trace(write(tmp_path / "t.parquet"))
    assert set(loaded) == {"cpu", "memory"}
    cpu, memory = loaded["cpu"], loaded["memory"]
    assert cpu.series == memory.series == ("a", "b")
    assert (cpu.start, cpu.step_s, cpu.bins) == (START, STEP, 4)
    assert cpu.mean.dtype == np.float32
    np.testing.assert_array_equal(cpu.mean, [[1, 2, 3, 4], [0.5] * 4])
    np.testing.assert_array_equal(memory.mean, [[100, 200, 300, 400], [NAN] * 4])
    np.testing.assert_array_equal(cpu.entitlement, [8, 1])
    np.testing.assert_array_equal(memory.coverage, [[1] * 4, [0] * 4])


def test_peaks_are_means_unless_the_inside_of_bins_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet")
    np.testing.assert_array_equal(load_trace(path)["cpu"].max[0], [1, 2, 3, 4])
    inside = load_trace(path, peaks="inside")["cpu"].max
    np.testing.assert_array_equal(inside, [[1.5, 2.5, 3.5, 4.5], [0.5] * 4])  # b's are unknown: its means stand in


def test_a_missing_row_is_a_gap(tmp_path: Path) -> None:
    t = [START, START + 300, START + 900, START + 1200] * 2
    cpu = load_trace(write(tmp_path / "t.parquet", t=t))["cpu"]
    np.testing.assert_array_equal(cpu.mean[0], [1, 2, NAN, 3, 4])
    np.testing.assert_array_equal(cpu.coverage[0], [1, 1, 0, 1, 1])


def test_rows_in_any_order_are_the_same_trace_and_it_is_said(tmp_path: Path) -> None:
    order = [5, 0, 7, 3, 1, 6, 2, 4]
    base = write(tmp_path / "t.parquet")
    pq.write_table(pq.read_table(base).take(order), tmp_path / "u.parquet")
    told: list[str] = []
    mixed = load_trace(tmp_path / "u.parquet", tell=told.append)
    np.testing.assert_array_equal(mixed["cpu"].mean, load_trace(base)["cpu"].mean)
    assert "rows are not sorted by VM and time: sorted" in told


def test_of_rows_that_repeat_a_vm_and_time_the_last_one_counts(tmp_path: Path) -> None:
    told: list[str] = []
    t = [START, START, START, START + 300] + [START + 300 * i for i in range(4)]
    cpu = load_trace(write(tmp_path / "t.parquet", t=t), tell=told.append)["cpu"]
    np.testing.assert_array_equal(cpu.mean[0, :2], [3, 4])  # of 1, 2, 3 at the same time the 3
    assert "2 rows repeat a VM and time: the last one counts" in told


def test_times_off_the_grid_are_averaged_into_their_bins(tmp_path: Path) -> None:
    told: list[str] = []
    t = [START + 7, START + 120, START + 299, START + 301] + [START + 300 * i for i in range(4)]
    cpu = load_trace(write(tmp_path / "t.parquet", t=t), tell=told.append)["cpu"]
    np.testing.assert_allclose(cpu.mean[0, :2], [(1 + 2 + 3) / 3, 4])
    assert "4 rows lie off the 5-minute grid: averaged into their bins" in told


def test_off_the_grid_a_repeated_time_still_counts_once(tmp_path: Path) -> None:
    told: list[str] = []
    t = [START + 7, START + 7, START + 100, START + 301] + [START + 300 * i for i in range(4)]
    cpu = load_trace(write(tmp_path / "t.parquet", t=t), tell=told.append)["cpu"]
    np.testing.assert_allclose(cpu.mean[0, 0], (2 + 3) / 2)
    assert "1 rows repeat a VM and time: the last one counts" in told


@pytest.mark.parametrize(
    ("bad", "said"),
    [(-1.0, "negative"), (float("inf"), "infinite"), (float("-inf"), "infinite"), (2e9, "above 1e+09"), (1e300, "infinite")],
)
def test_values_that_nothing_measures_are_gaps_and_are_counted(tmp_path: Path, bad: float, said: str) -> None:
    told: list[str] = []
    path = write(tmp_path / "t.parquet", cpu_cores=[1.0, bad, 3.0, 4.0] + [0.5] * 4)
    cpu = load_trace(path, resources=["cpu"], tell=told.append)["cpu"]
    np.testing.assert_array_equal(cpu.mean[0], [1, NAN, 3, 4])
    assert f"column 'cpu_cores': 1 values are {said}: taken as gaps" in told


def test_nan_and_null_are_gaps_without_a_word(tmp_path: Path) -> None:
    told: list[str] = []
    cpu = load_trace(write(tmp_path / "t.parquet", cpu_cores=[NAN, None, 3.0, 4.0] + [0.5] * 4), resources=["cpu"], tell=told.append)["cpu"]
    np.testing.assert_array_equal(cpu.mean[0], [NAN, NAN, 3, 4])
    assert [t for t in told if "gap" in t] == []


def test_all_zero_and_constant_and_short_series_are_kept_and_told(tmp_path: Path) -> None:
    bins = 300
    t = np.concatenate([START + 300 * np.arange(bins), START + 300 * np.arange(bins), [START]])
    cpu = np.concatenate([np.zeros(bins), np.full(bins, 2.0), [1.0]])
    path = write(
        tmp_path / "t.parquet", vm=["zero"] * bins + ["flat"] * bins + ["short"], t=t, cpu_cores=cpu, cpu_cap_cores=np.full(len(t), 4.0),
        cpu_cores_max=None, mem_mib=None, mem_cap_mib=None,
    )  # fmt: skip
    told: list[str] = []
    assert load_trace(path, tell=told.append)["cpu"].series == ("flat", "short", "zero")
    assert told == [
        "cpu: 1 of 3 VMs have less than a day of data",
        "cpu: 1 of 3 VMs never use any: all zero",
        "cpu: 1 of 3 VMs never change: constant",
    ]


def test_an_unknown_size_is_the_largest_use_and_it_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    cpu = load_trace(write(tmp_path / "t.parquet", cpu_cap_cores=[0.0] * 4 + [1.0] * 4), tell=told.append)["cpu"]
    np.testing.assert_array_equal(cpu.entitlement, [4, 1])
    assert "cpu: the provisioned size of 1 VMs is unknown: their largest use stands in for it" in told


def test_only_what_is_asked_for_is_built(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet")
    assert set(load_trace(path, resources=["memory"])) == {"memory"}
    assert load_trace(path, vms=["b"])["cpu"].series == ("b",)
    np.testing.assert_array_equal(load_trace(path, vms=["b"])["cpu"].mean, [[0.5] * 4])


def test_vms_are_chosen_by_name_by_pattern_or_so_many_spread_over_all() -> None:
    names = [f"web-{i}" for i in range(8)] + ["db-1"]
    assert pick(names, None) == sorted(names)
    assert pick(names, ["db-*", "web-3"]) == ["db-1", "web-3"]
    assert pick(names, ["3"]) == ["db-1", "web-2", "web-5"]  # sorted: every third of nine
    with pytest.raises(TraceError, match="no VM is called 'app'"):
        pick(names, ["app"])
    with pytest.raises(TraceError, match="9 VMs, 10 are wanted"):
        pick(names, ["10"])


def _cut(path: Path) -> Path:
    data = write(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p, "no such file"),
        (lambda p: p.parent, "not a Parquet file"),
        (lambda p: _bytes(p, b""), r"is empty \(0 bytes\)"),
        (lambda p: _bytes(p, b"vm,t,cpu_cores\n"), "not a Parquet file.*foreshape trace import"),
        (_cut, "only part of one"),
        (lambda p: write(p, vm=None), "column 'vm' is missing"),
        (lambda p: write(p, t=None), "column 't' is missing"),
        (lambda p: write(p, t=["now"] * 8), "column 't' holds string, seconds since the epoch are wanted"),
        (lambda p: write(p, t=[START * 1000] * 8), "not milliseconds"),
        (lambda p: write(p, t=[-300] * 8), "no time before 1970"),
        (lambda p: write(p, t=[0] * 4 + [START] * 4), "at least one time in column 't' is wrong"),
        (lambda p: write(p, cpu_cores=["much"] * 8), "column 'cpu_cores' holds string, numbers are wanted"),
        (lambda p: write(p, vm=[1.5] * 8), "column 'vm' holds double, names are wanted"),
        (lambda p: write(p, vm=[None] * 8), "column 'vm' holds null|no row with a VM"),
        (lambda p: write(p, cpu_cores=None, mem_mib=None), "holds no values"),
        (lambda p: write(p, cpu_cores=[-1.0] * 8, mem_mib=None), "not one usable value"),
        (lambda p: write(p, **{key: [] for key in ALL}), "column 'vm' holds null|holds no row"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_in_words(tmp_path: Path, spoil, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        load_trace(spoil(tmp_path / "t.parquet"))


def test_a_resource_that_is_asked_for_and_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no disk: column 'disk_kib_s' is missing or empty"):
        load_trace(write(tmp_path / "t.parquet"), resources=["disk"])
    with pytest.raises(TraceError, match="'gpu' is no resource"):
        load_trace(write(tmp_path / "t.parquet"), resources=["gpu"])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1500), st.floats(0, 100, width=32)), min_size=1, max_size=40))
def test_each_bin_is_the_mean_of_its_distinct_times_whatever_the_order(tmp_path_factory: pytest.TempPathFactory, lines) -> None:
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    vm, t, cpu = ([line[i] for line in lines] for i in range(3))
    empty = dict.fromkeys(("cpu_cores_max", "mem_mib", "mem_cap_mib"))
    write(path, vm=vm, t=[START + x for x in t], cpu_cores=cpu, cpu_cap_cores=[100.0] * len(lines), **empty)
    last = {(v, x): y for v, x, y in lines}  # a repeated time: the last one
    loaded = load_trace(path)["cpu"]
    for row, name in enumerate(loaded.series):
        for b in range(loaded.bins):
            at = loaded.start + 300 * b - START
            want = [y for (v, x), y in last.items() if v == name and at <= x < at + 300]
            got = loaded.mean[row, b]
            assert np.isnan(got) if not want else got == pytest.approx(np.mean(want), rel=1e-4, abs=1e-4)
