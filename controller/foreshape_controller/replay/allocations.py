"""Allocations as a file: columns vm, resource, t, allocation; a row at each change, valid until the next one. Cores or MiB."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foreshape_controller.model.history import STEP_S
from foreshape_controller.replay.backtest import IN_FILE
from foreshape_controller.replay.engine import Replayed
from foreshape_controller.replay.measure import TOLERANCE


def write_allocations(replayed: Replayed, out: Path) -> int:
    """Write a Parquet file, replaced if it is there; how many rows it has."""
    import pyarrow as pa  # noqa: PLC0415 - start-up time
    import pyarrow.parquet as pq  # noqa: PLC0415

    tables = [pa.table(_columns(replayed, resource)) for resource in replayed.tracks]
    whole = pa.concat_tables(tables)
    pq.write_table(whole, out)
    return int(whole.num_rows)


def _columns(replayed: Replayed, resource: str) -> Mapping[str, Any]:
    rows = list(_changes(replayed, resource))
    at = np.concatenate([np.full(len(bins), i, np.int64) for i, (bins, _) in enumerate(rows)])
    bins = np.concatenate([bins for bins, _ in rows])
    return {
        "vm": [replayed.names[i] for i in at.tolist()],
        "resource": [IN_FILE[resource]] * len(at),
        "t": replayed.setup.begin + STEP_S * bins,
        "allocation": np.concatenate([values for _, values in rows]).astype(np.float64),
    }


def _changes(replayed: Replayed, resource: str) -> Iterator[tuple[Any, Any]]:
    """Of each VM: the bins at which it changed, the first one among them, and what it had from then on."""
    track = replayed.tracks[resource]
    for given, sold in zip(track.given, track.sold.tolist(), strict=True):
        changed = np.flatnonzero(np.abs(np.diff(given)) > TOLERANCE * sold) + 1
        bins = np.concatenate([[0], changed]).astype(np.int64)
        yield bins, given[bins]
