"""AzurePublicDataset V1 (2017) and V2 (2019): ``vmtable.csv`` and ``vm_cpu_readings*.csv``, also gzipped, none with a header.

vmtable: vm id, subscription, deployment, created, deleted, max, average and p95-of-max CPU, category, cores, memory in GB; in V2 the
last two are buckets, the largest ``>24`` and ``>64`` (taken as 30 cores and 70 GB, as the data's own notebook does).
Readings: seconds since the start of the trace, vm id, min, max and average CPU in percent of the VM.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreshape_controller.errors import TraceError
from foreshape_controller.replay.importers.blocks import Block
from foreshape_controller.replay.importers.tables import Shape, blocks, files, numbers, wide, words
from foreshape_controller.replay.trace_file import pick

TABLE = ("vm", "subscription", "deployment", "created", "deleted", "top", "average", "p95", "category", "cores", "gb")
READINGS = ("t", "vm", "low", "top", "average")
ABOVE = {">24": 30.0, ">64": 70.0}
START = 1478476800
"""A Monday: the source hides its clock."""


@dataclass(frozen=True)
class Sizes:
    """What was sold to each VM: cores and MiB."""

    cores: Mapping[str, float]
    mib: Mapping[str, float]


def read(sources: Sequence[Path], vms: Sequence[str] | None, start: int = START) -> Iterator[Block]:
    """Blocks of the readings, in the source's order; memory is needed for the chosen VMs only. start: what its time 0 is."""
    sizes = _sizes(files(sources, "vmtable*.csv*", "vmtable")[0] if any(s.is_dir() for s in sources) else _named(sources, "vmtable"))
    chosen = set(pick(list(sizes.cores), vms))
    readings = [p for p in files(sources, "*readings*.csv*", "CPU readings") if "vmtable" not in p.name]
    if not readings:
        raise TraceError("no CPU readings: name vm_cpu_readings*.csv, or the folder that holds them")
    for path in readings:
        yield from _readings(path, sizes, chosen, start)


def _named(sources: Sequence[Path], part: str) -> Path:
    for source in sources:
        if part in source.name:
            return source
    raise TraceError(f"no {part}.csv is named: the cores of the VMs stand there")


def _sizes(path: Path) -> Sizes:
    cores: dict[str, float] = {}
    mib: dict[str, float] = {}
    for batch in blocks(path, Shape(names=TABLE, words=TABLE, only=("vm", "cores", "gb"))):
        rows = zip(*(batch.column(c).to_pylist() for c in ("vm", "cores", "gb")), strict=True)
        for vm, sold, gb in rows:
            if vm and (size := _size(sold, path)):
                cores[vm], mib[vm] = size, _size(gb, path) * 1024
    if not cores:
        raise TraceError(f"{path}: holds no VM with a number of cores")
    return Sizes(cores, mib)


def _size(text: str | None, path: Path) -> float:
    """A number, a bucket, or 0 for nothing; a header's word is nothing."""
    if not text:
        return 0.0
    try:
        return ABOVE.get(text.strip()) or float(text)
    except ValueError:
        if text.strip().lower().startswith("vm"):
            return 0.0
        raise TraceError(f"{path}: {text!r} is no number of cores or GB: 11 columns are wanted, the last two of these") from None


def _readings(path: Path, sizes: Sizes, chosen: set[str], start: int) -> Iterator[Block]:
    for batch in blocks(path, Shape(names=READINGS, words=("vm",), numbers=("t", "low", "top", "average"))):
        names, code = words(batch, "vm")
        keep = np.array([n in chosen for n in names] + [False])[code] & np.isfinite(wide(batch, "t"))
        if not keep.any():
            continue
        cores = np.array([sizes.cores.get(n, np.nan) for n in names], np.float32)[code[keep]]
        mib = np.array([sizes.mib.get(n) or np.nan for n in names], np.float32)[code[keep]]
        yield Block(
            names,
            code[keep],
            wide(batch, "t")[keep].astype(np.int64) + start,
            {
                "cpu_cores": numbers(batch, "average")[keep] / np.float32(100) * cores,
                "cpu_cores_max": numbers(batch, "top")[keep] / np.float32(100) * cores,
                "cpu_cap_cores": cores,
                "mem_cap_mib": mib,
            },
        )
