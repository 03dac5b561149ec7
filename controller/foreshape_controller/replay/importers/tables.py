"""CSV files, plain or compressed, block by block: a file larger than memory is no problem, a damaged one is a sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.columns import Column

UNKNOWN = ["", "NULL", "null", "NaN", "nan", "NA", "None"]
BLOCK_BYTES = 8 << 20
MILLI, MICRO = 1e11, 1e14
"""A time above is in milliseconds, or in microseconds."""


@dataclass(frozen=True)
class Shape:
    """How a CSV file is written. names: of its columns, where it has no header. words, numbers: columns by type; others are guessed."""

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    skip: int = 0
    """Lines before the first row, where ``names`` replaces a header."""


def blocks(path: Path, shape: Shape) -> Iterator[Any]:
    """Record batches of a file, a dozen megabytes each."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time
    import pyarrow.csv as pc  # noqa: PLC0415

    types = dict.fromkeys(shape.words, pa.string()) | dict.fromkeys(shape.numbers, pa.float64())
    read = pc.ReadOptions(
        column_names=list(shape.names) if shape.names else None, skip_rows=shape.skip, block_size=BLOCK_BYTES, use_threads=False
    )
    convert = pc.ConvertOptions(
        column_types=types,
        null_values=UNKNOWN,
        strings_can_be_null=True,
        include_columns=list(shape.only) if shape.only else None,
    )
    parse = pc.ParseOptions(delimiter=shape.delimiter)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            yield from pc.open_csv(stream, read_options=read, convert_options=convert, parse_options=parse)
    except FileNotFoundError as e:
        raise TraceError(f"{path}: no such file") from e
    except (OSError, EOFError, KeyError, ValueError, pa.ArrowException) as e:
        raise TraceError(f"{path}: cannot be read as this format: {_short(e)}") from e


def header(path: Path, delimiter: str = ",") -> list[str]:
    """The names in the first line, as they are written. TraceError for an empty file."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time

    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            start = stream.read(1 << 16)
    except FileNotFoundError as e:
        raise TraceError(f"{path}: no such file") from e
    except (OSError, EOFError, pa.ArrowException) as e:
        raise TraceError(f"{path}: cannot be read: {_short(e)}") from e
    line: str = start.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    if not line.strip():
        raise TraceError(f"{path}: is empty")
    return line.split(delimiter)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def numbers(batch: Any, name: str) -> Column:
    """A column as float32, null as NaN; NaN throughout where it is absent."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan, np.float32)
    return wide(batch, name).astype(np.float32)


def wide(batch: Any, name: str) -> npt.NDArray[np.float64]:
    """A column as float64, null as NaN."""
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.float64)


def words(batch: Any, name: str) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """A column of names: those there are, and the place of each row's; -1 for none."""
    coded = batch.column(name).cast("string").dictionary_encode()
    return tuple(coded.dictionary.to_pylist()), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def seconds(raw: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Epoch seconds of times that may be in milli- or microseconds. -1 where there is none."""
    top = float(np.nanmax(raw, initial=0.0))
    unit = 1e6 if top > MICRO else 1e3 if top > MILLI else 1.0
    return np.where(np.isfinite(raw), raw // unit, -1).astype(np.int64)


def files(sources: Sequence[Path], pattern: str, what: str) -> list[Path]:
    """Files that are named, or that lie below named folders and fit the pattern. TraceError for none."""
    found: list[Path] = []
    for source in sources:
        if not source.exists():
            raise TraceError(f"{source}: no such file or folder")
        found += sorted(p for p in source.rglob(pattern) if p.is_file()) if source.is_dir() else [source]
    if not found:
        raise TraceError(f"{', '.join(map(str, sources))}: holds no {what} ({pattern})")
    return found
