"""A canonical trace file becomes servers of the simulated cloud; a bad one is refused in words."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreshape_controller.errors import TraceError
from foreshape_controller.sim.trace import TraceWorkload, read_trace
from foreshape_controller.sim.world import MONDAY, World

pytestmark = pytest.mark.unit

START = 1372629600


def write(path: Path, **changes) -> Path:
    """Two VMs of four bins; the second bin of ``b`` is missing, and ``b`` has no memory."""
    columns = {
        "vm": ["a"] * 4 + ["b"] * 3,
        "t": [START, START + 300, START + 600, START + 900, START, START + 600, START + 900],
        "cpu_cores": [0.5, 1.0, 1.5, 2.0, 0.1, 0.3, 0.4],
        "cpu_cores_max": [0.9, 1.9, 1.5, 2.0, None, None, None],
        "cpu_cap_cores": [2.0] * 4 + [1.0] * 3,
        "mem_mib": [100.0, 200.0, 300.0, 400.0, None, None, None],
        "mem_cap_mib": [1024.0] * 4 + [None] * 3,
    }
    table = {k: v for k, v in (columns | changes).items() if v is not None}
    pq.write_table(pa.table(table), path)
    return path


def test_a_traced_server_plays_the_trace_s_means_and_maxima(tmp_path):
    a, _ = read_trace(write(tmp_path / "t.parquet"), 2, seed=1)
    load = TraceWorkload(a, MONDAY)
    ticks = [load.at(MONDAY + 30 * i) for i in range(10)]
    assert sum(w.cpu for w in ticks) / 10 == pytest.approx(0.5)
    assert max(w.cpu for w in ticks) == pytest.approx(0.9)
    assert ticks[0].memory == 100.0


def test_a_missing_bin_holds_the_last_value(tmp_path):
    _, b = read_trace(write(tmp_path / "t.parquet"), 2, seed=1)
    assert b.cpu.tolist() == pytest.approx([0.1, 0.1, 0.3, 0.4])


def test_a_trace_without_memory_gets_a_usual_size(tmp_path):
    _, b = read_trace(write(tmp_path / "t.parquet"), 2, seed=1)
    assert b.mib == 4096.0
    assert 0 < b.memory[0] < b.mib


def test_a_trace_begins_again_when_it_ends(tmp_path):
    a, _ = read_trace(write(tmp_path / "t.parquet"), 2, seed=1)
    load = TraceWorkload(a, MONDAY)
    assert load.at(MONDAY + 1200 + 95) == load.at(MONDAY + 95)


def test_a_world_plays_a_trace(tmp_path):
    path = write(tmp_path / "t.parquet")
    world = World.traced(path, servers=2, hosts=1)
    world.clock.sleep(1300)
    world.advance()
    assert sorted(vm.spec.name for vm in world.vms()) == ["a", "b"]
    assert world.truth.record("cpu").need[0, :4].max() <= 2.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p, "no such file"),
        (lambda p: (p.write_bytes(b"not a parquet file") and p) or p, "not a Parquet trace"),
        (lambda p: write(p, cpu_cap_cores=None), "column 'cpu_cap_cores' is missing"),
        (lambda p: write(p, vm=None), "not a Parquet trace|column 'vm' is missing"),
        (write, "2 VMs, 5 are wanted: lower --servers"),
    ],
    ids=["absent", "garbage", "column", "names", "too few"],
)
def test_a_trace_that_cannot_be_used_is_refused_in_words(tmp_path, spoil, said):
    with pytest.raises(TraceError, match=said):
        read_trace(spoil(tmp_path / "t.parquet"), 5, seed=1)
