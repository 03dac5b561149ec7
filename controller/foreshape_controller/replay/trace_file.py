"""A canonical trace file (Parquet, long form, one row per VM and 5-minute bin) as histories on one common grid.

Columns: vm (string), t (bin start, epoch s, UTC), cpu_cores, cpu_cores_max, cpu_cap_cores, mem_mib, mem_cap_mib, disk_kib_s,
net_kib_s; a resource whose column is absent or empty is simply not there. What can be repaired is repaired and told
(``tell`` gets one sentence for each kind of repair); what cannot be understood is a TraceError that says what to do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, WATCHED, Floats, History
from foreshape_controller.replay.columns import Column, Rows, read_rows

Peaks: TypeAlias = Literal["means", "inside"]
Tell: TypeAlias = Callable[[str], None]

VALUE = {"cpu": "cpu_cores", "memory": "mem_mib", "disk": "disk_kib_s", "net": "net_kib_s"}
CAP = {"cpu": "cpu_cap_cores", "memory": "mem_cap_mib"}
PEAK = "cpu_cores_max"

ABSURD = 1e9
"""No VM uses so many cores, MiB or KiB/s: a value above is a gap."""

MOST_CELLS = 1_000_000_000
"""VMs times bins of one array (4 GB): more is a wrong time, or wants --vms."""

MOST_DAYS = 3660
"""A trace of more than ten years holds a wrong time."""


def _silent(_: str) -> None:
    """Nobody listens."""


def load_trace(
    path: Path,
    *,
    peaks: Peaks = "means",
    resources: Iterable[str] | None = None,
    vms: Sequence[str] | None = None,
    tell: Tell = _silent,
    usual: Sequence[str] = WATCHED,
) -> Mapping[str, History]:
    """Histories by resource (``cpu``, ``memory``, ``disk``, ``net``, those the file has), all on one 5-minute grid; gaps are NaN.

    peaks: ``means`` makes History.max the bin's mean (as ``score.py`` judges), ``inside`` the largest use inside the bin where
    the file knows it (CPU only). resources: build only these; one that is asked for and absent is a TraceError (default:
    those of ``usual`` that are there). vms: names or
    patterns (``web-*``), one number N for N VMs spread over the sorted names, default all.
    """
    asked = _checked(resources)
    rows = _chosen(read_rows(path, tell), vms, path)
    grid = _Grid.of(rows, path, tell)
    wanted = [r for r in asked or usual if _present(rows, r, path, must=asked is not None)]
    if not wanted:
        raise TraceError(f"{path}: holds no values: none of {', '.join(VALUE.values())}")
    made = {resource: _history(rows, grid, resource, peaks, tell) for resource in wanted}
    usable = {resource: h for resource, h in made.items() if np.isfinite(h.mean).any()}
    for resource in made.keys() - usable.keys() if usable and asked is None else ():
        tell(f"{resource}: not one usable value: left out")
    if not usable or (asked and len(usable) < len(made)):
        nothing = next(r for r in made if r not in usable)
        raise TraceError(f"{path}: column {VALUE[nothing]!r} holds not one usable value")
    return usable


def pick(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Names chosen by names, patterns or one number (that many, spread over the sorted names). TraceError for one that fits none."""
    names = sorted(names)
    if not wanted:
        return names
    if len(wanted) == 1 and wanted[0].isdecimal() and wanted[0] not in names:
        return _spread(names, int(wanted[0]))
    chosen = {w: [n for n in names if n == w or fnmatchcase(n, w)] for w in wanted}
    none = [w for w, fit in chosen.items() if not fit]
    if none:
        raise TraceError(f"no VM is called {none[0]!r}; the trace has {len(names)}, for example {', '.join(names[:3])}")
    return sorted({n for fit in chosen.values() for n in fit})


def _spread(names: list[str], count: int) -> list[str]:
    if not 0 < count <= len(names):
        raise TraceError(f"the trace has {len(names)} VMs, {count} are wanted")
    return [names[i * len(names) // count] for i in range(count)]


def _checked(resources: Iterable[str] | None) -> list[str] | None:
    if resources is None:
        return None
    asked = list(dict.fromkeys(resources))
    unknown = [r for r in asked if r not in WATCHED]
    if unknown:
        raise TraceError(f"{unknown[0]!r} is no resource: one of {', '.join(WATCHED)}")
    return asked


def _chosen(rows: Rows, vms: Sequence[str] | None, path: Path) -> Rows:
    if vms is None:
        return rows
    try:
        return rows.only(pick(rows.names, vms))
    except TraceError as e:
        raise TraceError(f"{path}: {e}") from e


def _present(rows: Rows, resource: str, path: Path, *, must: bool) -> bool:
    there = rows.has(VALUE[resource])
    if must and not there:
        raise TraceError(f"{path}: holds no {resource}: column {VALUE[resource]!r} is missing or empty")
    return there


@dataclass(frozen=True, eq=False)
class _Grid:
    """Where each row of the file goes: cell = row of the VM × bins + bin."""

    names: tuple[str, ...]
    start: int
    bins: int
    cell: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64] | None
    """None: one row a cell. Else the rows to average, duplicates gone, sorted by cell."""
    first_seen: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Rows, path: Path, tell: Tell) -> "_Grid":
        start = int(rows.t.min()) // STEP_S * STEP_S
        bins = (int(rows.t.max()) - start) // STEP_S + 1
        _sane_span(path, start, bins, len(rows.names))
        cell = rows.vm.astype(np.int64) * bins + (rows.t - start) // STEP_S
        _told_order(rows, tell)
        first = np.full(len(rows.names), np.iinfo(np.int64).max)
        np.minimum.at(first, rows.vm, rows.t)
        return cls(rows.names, start, bins, cell, _order(rows, cell, tell), first.astype(np.float64))

    def laid(self, values: Column) -> Floats:
        """[n, bins] of one value per row; several rows of a bin give their mean."""
        out = np.full(len(self.names) * self.bins, np.nan, np.float32)
        if self.order is None:
            out[self.cell] = values  # of rows that say the same bin, the last one stays
        else:
            cells, first = np.unique(self.cell[self.order], return_index=True)
            picked = values[self.order]
            known = np.isfinite(picked)
            count = np.add.reduceat(known.astype(np.float64), first)
            total = np.add.reduceat(np.where(known, picked, 0).astype(np.float64), first)
            out[cells] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return out.reshape(len(self.names), self.bins)

    def largest(self, values: Column, rows: Rows) -> Floats:
        """[n]: the largest value of each VM; NaN where it has none."""
        out = np.full(len(self.names), -np.inf, np.float32)
        known = np.isfinite(values)
        np.maximum.at(out, rows.vm[known], values[known])
        return np.where(np.isfinite(out), out, np.float32(np.nan))


def _sane_span(path: Path, start: int, bins: int, count: int) -> None:
    if bins * STEP_S > MOST_DAYS * 86400:
        end = start + bins * STEP_S
        raise TraceError(f"{path}: spans {_day(start)} to {_day(end)}: at least one time in column 't' is wrong")
    if count * bins > MOST_CELLS:
        raise TraceError(f"{path}: {count} VMs over {bins / BINS_PER_DAY:.0f} days do not fit into memory: choose some with --vms")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _told_order(rows: Rows, tell: Tell) -> None:
    """Say it when a VM's rows are not together, or not in the order of time."""
    other = np.diff(rows.vm) != 0
    if int(other.sum()) >= len(rows.names) or (np.diff(rows.t)[~other] < 0).any():
        tell("rows are not sorted by VM and time: sorted")


def _order(rows: Rows, cell: npt.NDArray[np.int64], tell: Tell) -> npt.NDArray[np.int64] | None:
    """What to average when rows share a bin; None when the last row of each bin is its value."""
    off = rows.t % STEP_S != 0
    shared = len(cell) - int(np.count_nonzero(np.bincount(cell)))
    if off.any():
        tell(f"{int(off.sum())} rows lie off the 5-minute grid: averaged into their bins")
    if not shared:
        return None
    if not off.any():
        tell(f"{shared} rows repeat a VM and time: the last one counts")
        return None
    order = np.lexsort((rows.t, cell))  # stable: of equal times, the later row comes later
    same = (np.diff(cell[order]) == 0) & (np.diff(rows.t[order]) == 0)
    if same.any():
        tell(f"{int(same.sum())} rows repeat a VM and time: the last one counts")
    kept: npt.NDArray[np.int64] = order[np.append(~same, True)]
    return kept


def _history(rows: Rows, grid: _Grid, resource: str, peaks: Peaks, tell: Tell) -> History:
    mean = grid.laid(_clean(rows.column(VALUE[resource]), VALUE[resource], tell))
    top = mean
    if peaks == "inside" and resource == "cpu" and rows.has(PEAK):
        top = np.fmax(mean, grid.laid(_clean(rows.column(PEAK), PEAK, tell)))
    _tell_odd(mean, resource, tell)
    return History(
        resource=resource,
        series=grid.names,
        start=grid.start,
        mean=mean,
        max=top,
        coverage=np.isfinite(mean).astype(np.float32),
        censored=np.broadcast_to(np.float32(0), mean.shape),
        entitlement=_entitlement(rows, grid, resource, mean, tell),
        first_seen=grid.first_seen,
    )


def _clean(values: Column, name: str, tell: Tell) -> Column:
    """Values that nothing measures become gaps, and are counted. A null is a gap without a word."""
    infinite, negative, absurd = np.isinf(values), values < 0, values > ABSURD
    for what, bad in (("infinite", infinite), ("negative", negative), (f"above {ABSURD:g}", absurd & ~infinite)):
        if bad.any():
            tell(f"column {name!r}: {int(bad.sum())} values are {what}: taken as gaps")
    odd = infinite | negative | absurd
    return np.where(odd, np.float32(np.nan), values) if odd.any() else values


def _tell_odd(mean: Floats, resource: str, tell: Tell) -> None:
    known = np.isfinite(mean)
    count = known.sum(axis=1)
    if (short := int((count < BINS_PER_DAY).sum())) and mean.shape[1] >= BINS_PER_DAY:
        tell(f"{resource}: {short} of {len(mean)} VMs have less than a day of data")
    top, low = np.fmax.reduce(mean, axis=1, initial=-np.inf), np.fmin.reduce(mean, axis=1, initial=np.inf)
    if zero := int(((top == 0) & (count > 0)).sum()):
        tell(f"{resource}: {zero} of {len(mean)} VMs never use any: all zero")
    if flat := int(((top == low) & (top > 0) & (count > 1)).sum()):
        tell(f"{resource}: {flat} of {len(mean)} VMs never change: constant")


def _entitlement(rows: Rows, grid: _Grid, resource: str, mean: Floats, tell: Tell) -> Floats:
    """[n]: what was sold, the largest the file says; the largest use where it says nothing. NaN for disk and network."""
    if resource not in CAP:
        return np.full(len(mean), np.nan, np.float32)
    name = CAP[resource]
    sold = grid.largest(_clean(rows.column(name), name, tell), rows) if rows.has(name) else np.full(len(mean), np.nan, np.float32)
    unknown = ~(sold > 0)
    if unknown.any():
        tell(f"{resource}: the provisioned size of {int(unknown.sum())} VMs is unknown: their largest use stands in for it")
    seen = np.fmax.reduce(mean, axis=1, initial=0)
    return np.where(unknown, seen, sold).astype(np.float32)
