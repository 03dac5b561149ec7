"""Workloads from a canonical trace file: Parquet, long form, one row per VM and 5-minute bin.

Columns: vm (string), t (int64, bin start, epoch s), cpu_cores, cpu_cores_max (null where unknown), cpu_cap_cores,
mem_mib, mem_cap_mib (null where unknown), disk_kib_s, net_kib_s. Rows of missing bins are absent: the last value holds.
The trace is played from its first bin at the simulation's start, and over again when it ends.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError
from foreshape_controller.sim.demand import TICK_S, Wish

STEP_S = 300
NEEDED = ("vm", "t", "cpu_cores", "cpu_cap_cores")
OPTIONAL = ("cpu_cores_max", "mem_mib", "mem_cap_mib")
USUAL_MIB_PER_CORE = 4096.0
"""For a trace without memory."""

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TraceVm:
    """One VM of a trace on a full grid."""

    name: str
    cores: float
    mib: float
    cpu: Column
    peak: Column
    """Largest use inside each bin; the mean where the source has none."""
    memory: Column

    @property
    def days(self) -> float:
        return len(self.cpu) * STEP_S / 86400


class TraceWorkload:
    """One traced VM played from ``start`` on: one tick of each bin shows the bin's maximum, the others keep its mean."""

    def __init__(self, vm: TraceVm, start: float) -> None:
        self._vm = vm
        self._start = start

    def at(self, t: float) -> Wish:
        bin_, second = divmod(int(max(0.0, t - self._start)), STEP_S)
        i = bin_ % len(self._vm.cpu)
        tick, ticks = second // TICK_S, STEP_S // TICK_S
        mean, peak = self._vm.cpu[i], self._vm.peak[i]
        at_peak = tick == (i * 7) % ticks
        cpu = peak if at_peak else max(0.0, (mean * ticks - peak) / (ticks - 1))
        return Wish(min(float(cpu), self._vm.cores), min(float(self._vm.memory[i]), 0.97 * self._vm.mib))


def read_trace(path: Path, count: int, seed: int) -> tuple[TraceVm, ...]:
    """``count`` VMs of the file, drawn by ``seed``. Raises TraceError."""
    import pyarrow as pa  # noqa: PLC0415 - only a simulation that plays a trace needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        wanted = _columns(set(pq.read_schema(path).names), path)
        chosen = _choose(_names(pq.read_table(path, columns=["vm"]), path), count, seed)
        table = pq.read_table(path, columns=wanted, filters=[("vm", "in", chosen)])
    except FileNotFoundError as e:
        raise TraceError(f"{path}: no such file") from e
    except (OSError, pa.ArrowException) as e:
        raise TraceError(f"{path}: not a Parquet trace: {e}") from e
    return tuple(_vm(table, name) for name in chosen)


def _columns(has: set[str], path: Path) -> list[str]:
    missing = [c for c in NEEDED if c not in has]
    if missing:
        raise TraceError(f"{path}: not a canonical trace, column {missing[0]!r} is missing")
    return [*NEEDED, *(c for c in OPTIONAL if c in has)]


def _names(table: Any, path: Path) -> list[str]:
    names = sorted(str(n) for n in table["vm"].unique().to_pylist())
    if not names:
        raise TraceError(f"{path}: holds no VM")
    return names


def _choose(names: list[str], count: int, seed: int) -> list[str]:
    if count > len(names):
        raise TraceError(f"the trace has {len(names)} VMs, {count} are wanted: lower --servers")
    picks = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in sorted(picks)]


def _vm(table: Any, name: str) -> TraceVm:
    import pyarrow.compute as pc  # noqa: PLC0415

    rows = table.filter(pc.equal(pc.cast(table["vm"], "string"), name))
    t = rows["t"].to_numpy().astype(np.int64)
    index = (t - t.min()) // STEP_S
    n = int(index.max()) + 1
    cpu = _grid(rows, "cpu_cores", index, n)
    peak = np.fmax(cpu, _grid(rows, "cpu_cores_max", index, n))
    cores = float(np.nanmax(_grid(rows, "cpu_cap_cores", index, n)))
    mib = float(np.nanmax(_grid(rows, "mem_cap_mib", index, n), initial=0.0)) or cores * USUAL_MIB_PER_CORE
    memory = _grid(rows, "mem_mib", index, n)
    memory = np.full(n, 0.3 * mib) if np.isnan(memory).all() else memory
    return TraceVm(name=name, cores=max(1.0, cores), mib=max(512.0, mib), cpu=_hold(cpu), peak=_hold(peak), memory=_hold(memory))


def _grid(rows: Any, column: str, index: npt.NDArray[np.int64], n: int) -> Column:
    out = np.full(n, np.nan)
    if column in rows.column_names:
        out[index] = rows[column].to_numpy(zero_copy_only=False).astype(np.float64)
    return out


def _hold(values: Column) -> Column:
    """Missing bins repeat the last value; before the first there is nothing."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    filled = values[np.maximum.accumulate(known)]
    return np.nan_to_num(filled, nan=0.0)
