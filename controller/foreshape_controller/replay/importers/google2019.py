"""Google's cluster trace of 2019 (v3): exports of ``instance_usage`` as JSON lines, or as CSV with nested fields flattened.

start_time and end_time in µs since 600 s before the trace (1 May 2019, Los Angeles); average_usage and maximum_usage {cpus, memory} and
assigned_memory in shares of the largest machine, so that its size must be said. A CSV column is ``average_usage.cpus`` or
``average_usage_cpus``. An instance (collection-index) counts as a VM; its CPU limit is not in this table: its largest use stands in.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.importers.blocks import Block
from foreshape_controller.replay.importers.tables import Shape, blocks, files, header

START = 1556694000 - 600
"""1 May 2019 00:00 in Los Angeles, less the ten minutes that its clock begins earlier."""

LINES = 50_000

FIELDS = ("start_time", "end_time", "collection_id", "instance_index", "cpus", "memory", "top", "assigned")
THEIRS = {
    "average_usage.cpus": "cpus",
    "average_usage.memory": "memory",
    "maximum_usage.cpus": "top",
    "assigned_memory": "assigned",
}
NEEDED = ("start_time", "collection_id", "instance_index", "cpus")


@dataclass(frozen=True)
class Machine:
    """The largest machine: what a share of 1 is."""

    cores: float
    mib: float


def read(sources: Sequence[Path], vms: Sequence[str] | None, machine: Machine, start: int = START) -> Iterator[Block]:
    """Blocks of usage. vms: names (``123-0``), patterns, or a number: the first so many."""
    choice = _Choice(vms)
    for path in files(sources, "*.*", "instance_usage exports"):
        parts = _json_parts(path) if ".json" in path.name else _csv_parts(path)
        for part in parts:
            yield _block(part, machine, start, choice)


class _Choice:
    """Which instances are wanted."""

    def __init__(self, vms: Sequence[str] | None) -> None:
        self._most = int(vms[0]) if vms and len(vms) == 1 and vms[0].isdecimal() else None
        self._patterns = None if self._most is not None else vms
        self._taken: set[str] = set()

    def __call__(self, name: str) -> bool:
        if self._most is not None:
            if len(self._taken) < self._most:
                self._taken.add(name)
            return name in self._taken
        from fnmatch import fnmatchcase  # noqa: PLC0415 - only here

        return self._patterns is None or any(name == p or fnmatchcase(name, p) for p in self._patterns)


Part = Mapping[str, Any]
"""Field -> array; NaN unknown."""


def _block(part: Part, machine: Machine, start: int, choice: _Choice) -> Block:
    ids = np.stack([np.nan_to_num(part[f], nan=-1).astype(np.int64) for f in ("collection_id", "instance_index")], axis=1)
    pairs, code = np.unique(ids, axis=0, return_inverse=True)
    names = tuple(f"{c}-{i}" for c, i in pairs.tolist())
    wanted = np.array([choice(n) for n in names])
    begin = np.asarray(part["start_time"], np.float64)
    keep = wanted[code.ravel()] & np.isfinite(begin) & (ids >= 0).all(axis=1)
    lasted = (np.asarray(part["end_time"], np.float64) - begin) / 1e6
    weight = np.where(np.isfinite(lasted) & (lasted > 0), lasted, 300.0)

    def share(field: str, whole: float) -> Any:
        return (np.asarray(part[field], np.float64)[keep] * whole).astype(np.float32)

    return Block(
        names,
        code.ravel()[keep].astype(np.int32),
        (begin[keep] // 1e6).astype(np.int64) + start,
        {
            "cpu_cores": share("cpus", machine.cores),
            "cpu_cores_max": share("top", machine.cores),
            "mem_mib": share("memory", machine.mib),
            "mem_cap_mib": share("assigned", machine.mib),
        },
        weight[keep].astype(np.float32),
    )


def _csv_parts(path: Path) -> Iterator[Part]:
    names = tuple(_ours(n) for n in header(path))
    missing = [f for f in NEEDED if f not in names]
    if missing:
        raise TraceError(f"{path}: no export of instance_usage: its first line names no {missing[0]!r} (it has {', '.join(names[:6])})")
    wanted = tuple(n for n in names if n in FIELDS)
    for batch in blocks(path, Shape(names=names, numbers=wanted, only=wanted, skip=1)):
        got = {n: batch.column(n).to_numpy(zero_copy_only=False) for n in wanted}
        yield {f: got.get(f, np.full(batch.num_rows, np.nan)) for f in FIELDS}


def _ours(theirs: str) -> str:
    word = theirs.strip().strip('"')
    return next((ours for name, ours in THEIRS.items() if word in (name, name.replace(".", "_"))), word)


def _json_parts(path: Path) -> Iterator[Part]:
    try:
        with _open(path) as lines:
            number = 0
            while chunk := list(islice(lines, LINES)):
                yield _columns(chunk, path, number)
                number += len(chunk)
    except (OSError, EOFError, zlib.error) as e:
        raise TraceError(f"{path}: damaged or cut: {e}") from e


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _columns(chunk: Sequence[str], path: Path, before: int) -> Part:
    rows = []
    for i, line in enumerate(chunk):
        if line.strip():
            try:
                rows.append(_row(json.loads(line)))
            except (ValueError, TypeError, AttributeError) as e:
                raise TraceError(f"{path}, line {before + i + 1}: no row of instance_usage: {e}") from e
    return dict(zip(FIELDS, np.array(rows, np.float64).reshape(-1, len(FIELDS)).T, strict=True))


def _row(said: Any) -> list[float]:
    usage, top = said.get("average_usage") or {}, said.get("maximum_usage") or {}
    plain = [said.get(f) for f in FIELDS[:4]]
    return [_number(v) for v in (*plain, usage.get("cpus"), usage.get("memory"), top.get("cpus"), said.get("assigned_memory"))]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
