"""What importers hand over, block by block, and how it becomes a canonical trace file: binned, sorted, counted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError
from foreshape_controller.model.history import STEP_S
from foreshape_controller.replay.columns import NUMBERS, Column
from foreshape_controller.replay.trace_file import ABSURD, MOST_DAYS

LARGEST = ("cpu_cores_max", "cpu_cap_cores", "mem_cap_mib")
"""Columns of which a bin keeps the largest value; of the others the mean."""

SHOWN = {"cpu_cores": "CPU", "cpu_cores_max": "CPU maxima", "mem_mib": "memory", "disk_kib_s": "disk", "net_kib_s": "network"}

MOST_ROWS = 150_000_000
"""Kept in memory until they are sorted, at some 40 bytes each."""

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Block:
    """m rows of some VMs. code: [m] place of each row's VM in ``names``; t: [m] epoch s; values: canonical column -> [m], NaN unknown.

    weight: [m] how much each row counts in its bin's mean (a shorter sample less); None: all alike.
    """

    names: tuple[str, ...]
    code: npt.NDArray[np.int32]
    t: npt.NDArray[np.int64]
    values: Mapping[str, Column]
    weight: Column | None = None


def of_one(name: str, t: npt.NDArray[np.int64], values: Mapping[str, Column]) -> Block:
    """Rows of a single VM."""
    return Block((name,), np.zeros(len(t), np.int32), t, values)


def write_trace(blocks: Iterable[Block], out: Path, tell: Tell) -> None:
    """Put all blocks into one canonical file; it is there whole or not at all. TraceError: nothing to write, no room."""
    table = _table(_joined(blocks), tell)
    import pyarrow.parquet as pq  # noqa: PLC0415 - start-up time

    part = out.with_name(out.name + ".part")
    try:
        pq.write_table(table, part, compression="zstd")
        part.replace(out)
    except OSError as e:
        raise TraceError(f"cannot write {out}: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)


def _joined(blocks: Iterable[Block]) -> Block:
    """One block of all, names sorted."""
    place: dict[str, int] = {}
    parts: list[Block] = []
    count = 0
    for block in blocks:
        if (count := count + len(block.t)) > MOST_ROWS:
            raise TraceError(f"more than {MOST_ROWS} rows: choose some VMs with --vms")
        lookup = np.array([place.setdefault(n, len(place)) for n in block.names], np.int32)
        parts.append(Block((), lookup[block.code], block.t, block.values, block.weight))
    if not any(len(p.t) for p in parts):
        raise TraceError("the source holds no rows, or none of the VMs asked for")
    names = sorted(place)
    order = np.empty(len(place), np.int32)
    for i, name in enumerate(names):
        order[place[name]] = i
    filled = [c for c in NUMBERS if any(c in p.values for p in parts)]
    values = {c: np.concatenate([p.values.get(c, np.full(len(p.t), np.nan, np.float32)) for p in parts]).astype(np.float32) for c in filled}
    weight = np.concatenate([np.ones(len(p.t), np.float32) if p.weight is None else p.weight for p in parts])
    return Block(tuple(names), order[np.concatenate([p.code for p in parts])], np.concatenate([p.t for p in parts]), values, weight)


def _table(rows: Block, tell: Tell) -> Any:
    """The canonical table: one row per VM and bin, sorted."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    slot = rows.t // STEP_S
    _sane_times(slot)
    order = np.lexsort((slot, rows.code))
    code, slot = rows.code[order], slot[order]
    first = np.flatnonzero(np.append(True, (np.diff(code) != 0) | (np.diff(slot) != 0)))
    assert rows.weight is not None
    weight = rows.weight[order]
    columns = {c: _binned(_clean(v, c, tell)[order], weight, first, c in LARGEST) for c, v in rows.values.items()}
    _told(rows.names, code[first], slot[first], columns, tell)
    vm = pa.DictionaryArray.from_arrays(pa.array(code[first]), pa.array(rows.names))
    numbers = {c: _nullable(columns.get(c), len(first)) for c in NUMBERS}
    return pa.table({"vm": vm, "t": pa.array(slot[first] * STEP_S), **numbers})


def _sane_times(slot: npt.NDArray[np.int64]) -> None:
    low, high = int(slot.min()) * STEP_S, int(slot.max()) * STEP_S
    if low < 0 or high - low > MOST_DAYS * 86400:
        raise TraceError(f"times from {low} to {high} (epoch seconds): at least one is wrong, or in another unit than this format's")


def _binned(values: Column, weight: Column, first: npt.NDArray[np.intp], largest: bool) -> Column:
    known = np.isfinite(values)
    if largest:
        top = np.maximum.reduceat(np.where(known, values, -np.inf), first)
        return np.where(np.isfinite(top), top, np.nan).astype(np.float32)
    share = np.where(known, weight, 0).astype(np.float64)
    total = np.add.reduceat(np.where(known, values, 0) * share, first)
    count = np.add.reduceat(share, first)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan).astype(np.float32)


def _clean(values: Column, name: str, tell: Tell) -> Column:
    with np.errstate(invalid="ignore"):
        odd = np.isinf(values) | (values < 0) | (values > ABSURD)
    if odd.any():
        tell(f"{name}: {int(odd.sum())} values are negative, infinite or above {ABSURD:g}: left out")
    return np.where(odd, np.float32(np.nan), values)


def _nullable(values: Column | None, count: int) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    return pa.nulls(count, pa.float32()) if values is None else pa.array(values, mask=~np.isfinite(values))


def _told(
    names: tuple[str, ...], code: npt.NDArray[np.int32], slot: npt.NDArray[np.int64], columns: Mapping[str, Column], tell: Tell
) -> None:
    """What the file will hold, in two sentences."""
    begin, end = np.full(len(names), np.iinfo(np.int64).max), np.zeros(len(names), np.int64)
    np.minimum.at(begin, code, slot)
    np.maximum.at(end, code, slot)
    missing = 1 - len(slot) / max(1, int((end - begin + 1).sum()))
    days = f"{_day(int(slot.min()))} to {_day(int(slot.max()))}"
    tell(
        f"{len(names)} VMs, {len(slot)} bins of 5 minutes from {days}; {missing:.1%} of the bins between a VM's first and last are missing"
    )
    has = [word for c, word in SHOWN.items() if c in columns and np.isfinite(columns[c]).any()]
    lacks = [word for c, word in SHOWN.items() if word not in has]
    tell(f"has {', '.join(has) or 'nothing'}" + (f"; lacks {', '.join(lacks)}" if lacks else ""))
    if not has:
        raise TraceError("the source holds no usable value of CPU, memory, disk or network")


def _day(slot: int) -> str:
    return datetime.fromtimestamp(slot * STEP_S, UTC).strftime("%Y-%m-%d")
