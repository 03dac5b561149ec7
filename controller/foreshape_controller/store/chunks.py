"""One day of one series, packed: columns of float16 or float32, deflated. Pure.

A day is 288 bins, whatever a bin lasts. Inside this module amounts are sums again, so that late data simply adds up.
"""

import zlib
from collections.abc import Collection, Mapping
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
    raw = zlib.decompress(data)
    columns: Columns = {}
    at = 0
    for name, kind in PARTS[part].items():
        told = at < len(raw)  # a day packed before a column was added does not have it
        if only is None or name in only:
            columns[name] = np.frombuffer(raw, kind, BINS_PER_DAY, at).astype(np.float64) if told else np.zeros(BINS_PER_DAY)
        at += BINS_PER_DAY * int(kind[-1])
    for name in _PER_SECOND & columns.keys():
        columns[name] *= columns[f"{part}_s"]
    return columns


def _stored(name: str, column: Floats64, seconds: Floats64) -> Floats64:
    if name not in _PER_SECOND:
        return column
    return np.divide(column, seconds, out=np.zeros_like(column), where=seconds > 0)
