"""The rows of a canonical Parquet file: checked, in numpy, VM names as numbers. No repair beyond rows that say nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError

Column: TypeAlias = npt.NDArray[np.float32]

NEEDED = ("vm", "t")
NUMBERS = ("cpu_cores", "cpu_cores_max", "cpu_cap_cores", "mem_mib", "mem_cap_mib", "disk_kib_s", "net_kib_s")
CANONICAL = (*NEEDED, *NUMBERS)

LATEST_S = 4_102_444_800
"""1 January 2100: a later time is not in seconds."""

MAKE_ONE = "make a canonical trace with: foreshape trace import"


@dataclass(frozen=True, eq=False)
class Rows:
    """vm: row of each line in ``names``; t: epoch s. Number columns are read when asked for."""

    path: Path
    names: tuple[str, ...]
    vm: npt.NDArray[np.int32]
    t: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_] | None
    """Which lines of the file these are; None: all."""
    columns: frozenset[str]

    def has(self, column: str) -> bool:
        """Whether the column is there and not all null."""
        return column in self.columns

    def column(self, name: str) -> Column:
        """Values of the lines, null as NaN."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - see read_rows

        with _sentences(self.path):
            values = _numbers(pq.read_table(self.path, columns=[name])[name], name, self.path)
        return values if self.kept is None else values[self.kept]

    def only(self, names: Sequence[str]) -> "Rows":
        """The lines of these VMs."""
        place = {name: i for i, name in enumerate(names)}
        new = np.array([place.get(n, -1) for n in self.names], np.int32)[self.vm]
        keep = new >= 0
        kept = keep if self.kept is None else _within(self.kept, keep)
        return replace(self, names=tuple(names), vm=new[keep], t=self.t[keep], kept=kept)


def _within(outer: npt.NDArray[np.bool_], inner: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    out = outer.copy()
    out[outer] = inner
    return out


def read_rows(path: Path, tell: Callable[[str], None]) -> Rows:
    """Names and times of a file, and which columns hold anything. Raises TraceError."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - only what touches a trace needs it: start-up time

    with _sentences(path):
        file = pq.ParquetFile(path)
        has = _checked_columns(file.schema_arrow, path)
        filled = frozenset(c for c in has if not _all_null(file.metadata, c))
        table = pq.read_table(path, columns=list(NEEDED))
    names, vm = _names(table["vm"], path)
    t, dated = _times(table["t"], path)
    kept = (vm >= 0) & dated
    if not kept.any():
        raise TraceError(f"{path}: holds no row with a VM and a time")
    if kept.all():
        return Rows(path, names, vm, t, None, filled)
    tell(f"{int((~kept).sum())} rows have no VM or no time: left out")
    return Rows(path, names, vm[kept], t[kept], kept, filled)


class _sentences:  # noqa: N801 - reads as a word after ``with``
    """What pyarrow and the system say of a file, as one TraceError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        if not self._path.exists():
            raise TraceError(f"{self._path}: no such file")
        if self._path.is_file() and self._path.stat().st_size == 0:
            raise TraceError(f"{self._path}: is empty (0 bytes)")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        import pyarrow as pa  # noqa: PLC0415 - see read_rows

        if isinstance(error, pa.ArrowException | OSError | ValueError):
            said = " ".join(str(error).split())[:200]
            raise TraceError(f"{self._path}: not a Parquet file, or only part of one ({said}); copy it again, or {MAKE_ONE}") from error


def _checked_columns(schema: Any, path: Path) -> list[str]:
    import pyarrow.types as kind  # noqa: PLC0415 - see read_rows

    missing = [c for c in NEEDED if c not in schema.names]
    if missing:
        raise TraceError(
            f"{path}: not a canonical trace, column {missing[0]!r} is missing (it has {', '.join(schema.names[:8])}); {MAKE_ONE}"
        )
    has = [c for c in NUMBERS if c in schema.names]
    for name in has:
        given = schema.field(name).type
        if not (kind.is_floating(given) or kind.is_integer(given) or kind.is_decimal(given) or kind.is_null(given)):
            raise TraceError(f"{path}: column {name!r} holds {given}, numbers are wanted; {MAKE_ONE}")
    return has


def _all_null(metadata: Any, name: str) -> bool:
    """From the file's own statistics; a file without them is taken to have values."""
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for c in range(group.num_columns):
            column = group.column(c)
            if column.path_in_schema == name:
                s = column.statistics
                if s is None or not s.has_null_count or s.null_count < group.num_rows:
                    return False
    return True


def _names(column: Any, path: Path) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Sorted names, and the place of each line's; -1 for null."""
    import pyarrow as pa  # noqa: PLC0415 - see read_rows
    import pyarrow.types as kind  # noqa: PLC0415

    given = column.type.value_type if kind.is_dictionary(column.type) else column.type
    if not (kind.is_string(given) or kind.is_large_string(given) or kind.is_integer(given)):
        raise TraceError(f"{path}: column 'vm' holds {given}, names are wanted; {MAKE_ONE}")
    whole = column.combine_chunks()
    coded = whole if kind.is_dictionary(whole.type) else whole.dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    given_names = [str(n) for n in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = sorted({given_names[c] for c in np.unique(codes) if c >= 0})
    place = {n: i for i, n in enumerate(names)}
    lookup = np.array([*(place.get(n, -1) for n in given_names), -1], np.int32)
    return tuple(names), lookup[codes]


def _times(column: Any, path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Epoch seconds of each line, and which lines have a time."""
    import pyarrow as pa  # noqa: PLC0415 - see read_rows
    import pyarrow.types as kind  # noqa: PLC0415

    given = column.type
    if kind.is_timestamp(given):
        column = column.cast(pa.timestamp("s", tz=given.tz), safe=False).cast(pa.int64())
    elif not (kind.is_integer(given) or kind.is_floating(given)):
        raise TraceError(f"{path}: column 't' holds {given}, seconds since the epoch are wanted; {MAKE_ONE}")
    raw = column.to_numpy().astype(np.float64) if column.null_count or kind.is_floating(given) else column.to_numpy()
    known = np.isfinite(raw)
    t = np.where(known, raw, 0).astype(np.int64)
    if known.any() and int(t[known].max()) > LATEST_S:
        raise TraceError(f"{path}: column 't' holds {int(t.max())}: seconds since the epoch are wanted, not milliseconds; {MAKE_ONE}")
    if known.any() and int(t[known].min()) < 0:
        raise TraceError(f"{path}: column 't' holds {int(t[known].min())}: no time before 1970 is known; {MAKE_ONE}")
    return t, known


def _numbers(column: Any, name: str, path: Path) -> Column:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and then a gap
            return np.asarray(column.to_numpy(), dtype=np.float32)
    except (TypeError, ValueError) as e:
        raise TraceError(f"{path}: column {name!r} does not hold numbers; {MAKE_ONE}") from e
