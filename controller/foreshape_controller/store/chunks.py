"""One day of one series, packed: columns of float16 or float32, deflated. Pure.

A day is 288 bins, whatever a bin lasts. Inside this module amounts are sums again, so that late data simply adds up.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import BINS_PER_DAY

Floats64 = npt.NDArray[np.float64]
Columns = dict[str, Floats64]

HALF, SINGLE = "<f2", "<f4"
"""Half precision keeps 1 part in 2048: enough for cores and seconds. Memory and I/O outgrow its 65504."""

PARTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cpu": MappingProxyType(
            {
                "cpu_s": HALF,
                "cpu_sum": HALF,
                "cpu_used_sum": HALF,
                "cpu_alloc_sum": HALF,
                "cpu_capped_s": HALF,
                "cpu_max": HALF,
                "cpu_used_max": HALF,
            }
        ),
        "memory": MappingProxyType(
            {
                "memory_s": HALF,
                "memory_sum": SINGLE,
                "memory_alloc_sum": SINGLE,
                "memory_capped_s": HALF,
                "memory_doubt_s": HALF,
                "memory_max": SINGLE,
            }
        ),
        "io": MappingProxyType(
            {
                "io_s": HALF,
                "disk_kib": SINGLE,
                "disk_ops": SINGLE,
                "net_kib": SINGLE,
                "disk_read_kib": SINGLE,
                "disk_max": SINGLE,
                "net_max": SINGLE,
            }
        ),
    }
)
_PER_SECOND = frozenset(
    {"cpu_sum", "cpu_used_sum", "cpu_alloc_sum", "memory_sum", "memory_alloc_sum", "disk_kib", "disk_ops", "net_kib", "disk_read_kib"}
)
"""Sums are stored as means (sum / seconds): a mean fits half precision where a sum would not."""


def empty(part: str) -> Columns:
    """A day without data: zero seconds everywhere."""
    return {name: np.zeros(BINS_PER_DAY) for name in PARTS[part]}


def add(columns: Columns, slot: int, row: Mapping[str, Any]) -> None:
    """Fold one bin's row into the day."""
    for name, column in columns.items():
        column[slot] = max(column[slot], row[name]) if name.endswith("_max") else column[slot] + row[name]


def pack(part: str, columns: Columns) -> bytes:
    """The day as bytes."""
    seconds = columns[f"{part}_s"]
    raw = b"".join(_stored(name, columns[name], seconds).astype(kind).tobytes() for name, kind in PARTS[part].items())
    return zlib.compress(raw, 6)


def unpack(part: str, data: bytes, only: Collection[str] | None = None) -> Columns:
    """Bytes as a day: sums, seconds and maxima; ``only`` some columns (the part's seconds among them), where named."""
    columns = unpack_many(part, [data], PARTS[part] if only is None else only, slice(0, BINS_PER_DAY))
    return {name: values[0] for name, values in columns.items()}


def unpack_many(part: str, days: Sequence[bytes], only: Collection[str], bins: slice) -> Columns:
    """Some bins of many days at once: [days, bins] by column. The part's seconds have to be among the columns."""
    width = BINS_PER_DAY * sum(int(kind[-1]) for kind in PARTS[part].values())
    raw = b"".join(zlib.decompress(data).ljust(width, b"\0") for data in days)  # packed before a column was added: zeros
    rows = np.frombuffer(raw, np.uint8).reshape(len(days), width)
    columns: Columns = {}
    at = 0
    for name, kind in PARTS[part].items():
        size = int(kind[-1])
        if name in only:
            cells = rows[:, at + bins.start * size : at + bins.stop * size]
            columns[name] = np.ascontiguousarray(cells).view(kind).astype(np.float64)
        at += BINS_PER_DAY * size
    for name in _PER_SECOND & columns.keys():
        columns[name] *= columns[f"{part}_s"]
    return columns


def _stored(name: str, column: Floats64, seconds: Floats64) -> Floats64:
    if name not in _PER_SECOND:
        return column
    return np.divide(column, seconds, out=np.zeros_like(column), where=seconds > 0)
