"""Plain CSV: long (one row per VM and time) or wide (one row per time, one column per VM).

Times are epoch seconds, milli- or microseconds, or ISO 8601 (UTC unless they say otherwise).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.columns import NUMBERS, Column
from foreshape_controller.replay.importers.blocks import Block
from foreshape_controller.replay.importers.tables import Shape, blocks, files, header, numbers, seconds, words
from foreshape_controller.replay.trace_file import pick


@dataclass(frozen=True)
class Layout:
    """How the file is to be read.

    columns: canonical name -> the file's. scale: canonical name -> factor. wide: the canonical column that a wide file holds, else
    None. cores, mib: provisioned size of every VM where the file does not say it.
    """

    delimiter: str = ","
    columns: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    wide: str | None = None
    cores: float | None = None
    mib: float | None = None

    def theirs(self, ours: str) -> str:
        return self.columns.get(ours, ours)


def read(sources: Sequence[Path], vms: Sequence[str] | None, layout: Layout) -> Iterator[Block]:
    """Blocks of every file. Raises TraceError."""
    for path in files(sources, "*.csv*", "CSV files"):
        names = [n.strip().strip('"') for n in header(path, layout.delimiter)]
        yield from _wide(path, names, vms, layout) if layout.wide else _long(path, names, vms, layout)


def _long(path: Path, names: Sequence[str], vms: Sequence[str] | None, layout: Layout) -> Iterator[Block]:
    for ours in ("vm", "t"):
        if layout.theirs(ours) not in names:
            what = f"column {layout.theirs(ours)!r} is missing (it has {', '.join(names[:8])})"
            raise TraceError(f"{path}: {what}; say which it is with --column {ours}=NAME, or --wide COLUMN for one column per VM")
    has = {ours: layout.theirs(ours) for ours in NUMBERS if layout.theirs(ours) in names}
    if not has:
        raise TraceError(f"{path}: holds none of {', '.join(NUMBERS)}; say which column is which with --column cpu_cores=NAME")
    shape = Shape(
        delimiter=layout.delimiter, names=tuple(names), skip=1, words=(layout.theirs("vm"),), numbers=tuple(has.values()),
        only=(layout.theirs("vm"), layout.theirs("t"), *has.values()),
    )  # fmt: skip
    for batch in blocks(path, shape):
        vm, code = words(batch, layout.theirs("vm"))
        t = times(batch.column(layout.theirs("t")), path)
        chosen = set(_picked(vm, vms))
        keep = np.array([n in chosen for n in vm] + [False])[code] & (t >= 0)
        values = {ours: numbers(batch, theirs)[keep] * np.float32(layout.scale.get(ours, 1)) for ours, theirs in has.items()}
        yield Block(vm, code[keep], t[keep], _sized(values, int(keep.sum()), layout))


def _wide(path: Path, names: Sequence[str], vms: Sequence[str] | None, layout: Layout) -> Iterator[Block]:
    wide = layout.wide or ""
    clock, machines = names[0], list(names[1:])
    if not machines:
        raise TraceError(f"{path}: a wide file has the time first and then a column for each VM; this one has {clock!r} only")
    chosen = pick(machines, vms)
    for batch in blocks(path, Shape(delimiter=layout.delimiter, names=tuple(names), skip=1, numbers=tuple(chosen), only=(clock, *chosen))):
        t = times(batch.column(clock), path)
        keep = t >= 0
        values = np.stack([numbers(batch, n)[keep] for n in chosen]) * np.float32(layout.scale.get(wide, 1))
        code = np.repeat(np.arange(len(chosen), dtype=np.int32), int(keep.sum()))
        yield Block(tuple(chosen), code, np.tile(t[keep], len(chosen)), _sized({wide: values.ravel()}, values.size, layout))


def _picked(names: Sequence[str], vms: Sequence[str] | None) -> Sequence[str]:
    """Of a block's names those that are wanted; none is no error, another block may have them."""
    if vms is None:
        return names
    if len(vms) == 1 and vms[0].isdecimal():
        raise TraceError("--vms takes names or patterns with a long CSV file: its VMs are not known before its end")
    from fnmatch import fnmatchcase  # noqa: PLC0415 - only here

    return [n for n in names if any(n == v or fnmatchcase(n, v) for v in vms)]


def _sized(values: dict[str, Column], count: int, layout: Layout) -> dict[str, Column]:
    """The values with the sizes that were given for all."""
    for name, size in (("cpu_cap_cores", layout.cores), ("mem_cap_mib", layout.mib)):
        if size is not None and name not in values:
            values[name] = np.full(count, size, np.float32)
    return values


def times(column: Any, path: Path) -> npt.NDArray[np.int64]:
    """Epoch seconds of a column of times; -1 where there is none."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time
    import pyarrow.types as kind  # noqa: PLC0415

    if kind.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if kind.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False).cast(pa.int64())
    elif not (kind.is_integer(column.type) or kind.is_floating(column.type)):
        known = column.drop_null()
        example = str(known[0]) if len(known) else "nothing"
        raise TraceError(f"{path}: {example!r} is no time: epoch seconds or ISO 8601, such as 2026-01-31T06:05:00Z, are wanted")
    return seconds(np.asarray(column.to_numpy(zero_copy_only=False), np.float64))
