"""GWA-T-12, Bitbrains: a folder of one CSV file per VM and month, ``2013-7/1.csv``; a file's stem is the VM.

Columns, separated by semicolons (and tabs): Timestamp [ms] (which is in seconds), CPU cores, CPU capacity provisioned [MHZ], CPU
usage [MHZ], CPU usage [%], Memory capacity provisioned [KB], Memory usage [KB], Disk read and write throughput [KB/s], Network
received and transmitted throughput [KB/s].
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.importers.blocks import Block, of_one
from foreshape_controller.replay.importers.tables import Shape, blocks, files, header, numbers, seconds, wide
from foreshape_controller.replay.trace_file import pick

OURS = {
    "timestamp": "t",
    "cpu cores": "cores",
    "cpu capacity provisioned": "mhz_cap",
    "cpu usage [mhz]": "mhz",
    "cpu usage [%]": "percent",
    "memory capacity provisioned": "kb_cap",
    "memory usage": "kb",
    "disk read": "read",
    "disk write": "write",
    "network received": "rx",
    "network transmitted": "tx",
}
"""Beginnings of their names, in small letters."""


def read(sources: Sequence[Path], vms: Sequence[str] | None) -> Iterator[Block]:
    """Blocks of every VM, or of those chosen (``bb-1``, patterns, or a number)."""
    found = files(sources, "*.csv*", "VM files")
    by_name: dict[str, list[Path]] = {}
    for path in found:
        by_name.setdefault(f"bb-{path.name.split('.')[0]}", []).append(path)
    for name in pick(list(by_name), vms):
        for path in by_name[name]:
            yield from _vm(name, path)


def _vm(name: str, path: Path) -> Iterator[Block]:
    names = tuple(_ours(word, path) for word in header(path, ";"))
    missing = [n for n in ("t", "cores", "mhz_cap", "mhz") if n not in names]
    if missing:
        raise TraceError(f"{path}: no file of GWA-T-12: its first line names no {missing[0]!r} (semicolons between columns)")
    for batch in blocks(path, Shape(delimiter=";", names=names, numbers=names, skip=1)):
        yield of_one(name, seconds(wide(batch, "t")), _values(batch))


def _ours(theirs: str, path: Path) -> str:
    word = " ".join(theirs.lower().split())
    for begin, name in OURS.items():
        if word.startswith(begin):
            return name
    raise TraceError(f"{path}: no file of GWA-T-12: column {theirs.strip()!r} is not one of its")


def _values(batch: Any) -> dict[str, Any]:
    cores, cap, used = numbers(batch, "cores"), numbers(batch, "mhz_cap"), numbers(batch, "mhz")
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(cap > 0, used / cap, numbers(batch, "percent") / 100)
    return {
        "cpu_cores": (share * cores).astype(np.float32),
        "cpu_cap_cores": cores,
        "mem_mib": numbers(batch, "kb") / 1024,
        "mem_cap_mib": numbers(batch, "kb_cap") / 1024,
        "disk_kib_s": numbers(batch, "read") + numbers(batch, "write"),
        "net_kib_s": numbers(batch, "rx") + numbers(batch, "tx"),
    }
