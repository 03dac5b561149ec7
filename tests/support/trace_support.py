"""Traces and other people's formats in miniature, all generated here: nobody's data."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foreshape_controller.model.history import History

START = 1372629600
"""On the grid, a Monday in 2013."""

STEP = 300


def write(path: Path, **changes: object) -> Path:
    """Two VMs of four bins each: ``a`` uses 1, 2, 3, 4 of 8 cores and 100 … 400 of 1024 MiB; ``b`` 0.5 all the time, no memory."""
    columns: dict[str, object] = {
        "vm": ["a"] * 4 + ["b"] * 4,
        "t": [START + STEP * i for i in range(4)] * 2,
        "cpu_cores": [1.0, 2.0, 3.0, 4.0] + [0.5] * 4,
        "cpu_cores_max": [1.5, 2.5, 3.5, 4.5] + [None] * 4,
        "cpu_cap_cores": [8.0] * 4 + [1.0] * 4,
        "mem_mib": [100.0, 200.0, 300.0, 400.0] + [None] * 4,
        "mem_cap_mib": [1024.0] * 4 + [None] * 4,
    }
    table = {k: v for k, v in (columns | changes).items() if v is not None}
    pq.write_table(pa.table(table), path)
    return path


def days(path: Path, vms: int = 4, length: int = 4, seed: int = 1) -> Path:
    """A canonical trace of some days: a daily wave with noise, CPU and memory, 5 % gaps."""
    rng = np.random.default_rng(seed)
    bins = length * 288
    wave = 1 + np.sin(np.arange(bins) * 2 * np.pi / 288)
    cpu = (rng.uniform(0.2, 1, (vms, 1)) * wave + rng.gamma(2, 0.05, (vms, bins))).astype(np.float32)
    keep = (rng.random((vms, bins)) > 0.05).ravel()
    names = np.repeat([f"vm{i}" for i in range(vms)], bins)[keep]
    t = np.tile(START + STEP * np.arange(bins), vms)[keep]
    flat = cpu.ravel()[keep]
    table = {
        "vm": names.tolist(),
        "t": t,
        "cpu_cores": flat,
        "cpu_cap_cores": np.full(len(flat), 4, np.float32),
        "mem_mib": 200 + 100 * flat,
        "mem_cap_mib": np.full(len(flat), 1024, np.float32),
    }
    pq.write_table(pa.table(table), path)
    return path


def history(values: Sequence[Sequence[float]], resource: str = "cpu", entitlement: float = 4.0) -> History:
    """A history of rows of values, from START on; NaN is a gap."""
    mean = np.array(values, np.float32)
    n = len(mean)
    names = tuple(f"vm{i}" for i in range(n))
    known = np.isfinite(mean).astype(np.float32)
    return History(
        resource, names, START, mean, mean, known, np.zeros_like(mean), np.full(n, entitlement, np.float32), np.full(n, float(START))
    )


def rows(path: Path) -> Mapping[tuple[str, int], Mapping[str, float]]:
    """A canonical file by VM and time."""
    return {(str(r["vm"]), r["t"]): r for r in pq.read_table(path).to_pylist()}


# -- other people's formats ----------------------------------------------------------------------------------------------

BITBRAINS_HEADER = (
    "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\tCPU usage [%];\tMemory capacity provisioned [KB];\t"
    "Memory usage [KB];\tDisk read throughput [KB/s];\tDisk write throughput [KB/s];\tNetwork received throughput [KB/s];\t"
    "Network transmitted throughput [KB/s]"
)


def bitbrains(folder: Path) -> Path:
    """VM 1 in two months, VM 2 in one: 2 cores of 2600 MHz, of which it uses a quarter, then a half; 4 GiB, of which 1 GiB."""
    for month, name, usage in (("2013-7", "1", 1300.0), ("2013-8", "1", 2600.0), ("2013-8", "2", 0.0)):
        begin = START + (31 * 86400 if month == "2013-8" else 0)
        lines = [
            f"{begin + STEP * i};\t2;\t5200.0;\t{usage};\t{usage / 52};\t4194304.0;\t1048576.0;\t10.0;\t20.5;\t1.0;\t2.0" for i in range(3)
        ]
        (folder / month).mkdir(parents=True, exist_ok=True)
        (folder / month / f"{name}.csv").write_text("\n".join([BITBRAINS_HEADER, *lines]) + "\n")
    return folder


def azure(folder: Path, *, buckets: bool = False) -> Path:
    """Two VMs: ``aa==`` of 2 cores at 25 % (at most 50 %), ``bb==`` of 8 cores or the largest bucket at 10 %. Gzipped, no header."""
    folder.mkdir(parents=True, exist_ok=True)
    big, most = (">24", ">64") if buckets else ("8", "16")
    table = [f"aa==,s,d,0,2591700,50,25,48,Interactive,2,4", f"bb==,s,d,0,2591700,10,10,10,Unknown,{big},{most}"]  # noqa: F541 - alike
    with gzip.open(folder / "vmtable.csv.gz", "wt") as out:
        out.write("\n".join(table) + "\n")
    for part in (1, 2):
        with gzip.open(folder / f"vm_cpu_readings-file-{part}-of-2.csv.gz", "wt") as out:
            for t in (600 * (part - 1), 600 * (part - 1) + 300):
                out.write(f"{t},aa==,1.5,50,25\n{t},bb==,9,10,10\n")
    return folder


def google(folder: Path) -> Path:
    """One instance: a window of 200 s at a half and one of 100 s at a fifth of the largest machine, in one bin; then one of 300 s."""
    folder.mkdir(parents=True, exist_ok=True)
    windows = [(600, 800, 0.5), (800, 900, 0.2), (900, 1200, 0.1)]
    lines = [
        {
            "start_time": str(begin * 1_000_000),
            "end_time": str(end * 1_000_000),
            "collection_id": "380000000001",
            "instance_index": "7",
            "average_usage": {"cpus": used, "memory": 0.25},
            "maximum_usage": {"cpus": used + 0.1},
            "assigned_memory": 0.5,
        }
        for begin, end, used in windows
    ]
    (folder / "instance_usage-000000000000.json").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return folder
