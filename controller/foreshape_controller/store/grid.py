"""Sums and maxima of many series over a stretch of bins, read from day chunks and open bins, and made into a History."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
from sqlalchemy import Connection, Select, select

from foreshape_controller.model.history import BINS_PER_DAY, Floats, History
from foreshape_controller.store import chunks as packed
from foreshape_controller.store.schema import MAXIMA, bins, chunks


class Columns(NamedTuple):
    """Where a resource's demand stands in bins and day chunks; empty: it has no such column."""

    part: str
    seconds: str
    total: str
    largest: str
    capped: str = ""
    doubt: str = ""
    used: str = ""
    allocated: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self[1:] if name))


COLUMNS: Mapping[str, Columns] = {
    "cpu": Columns("cpu", "cpu_s", "cpu_sum", "cpu_max", "cpu_capped_s", "", "cpu_used_sum"),
    "memory": Columns("memory", "memory_s", "memory_sum", "memory_max", "memory_capped_s", "memory_doubt_s", "memory_alloc_sum"),
    "disk": Columns("io", "io_s", "disk_kib", "disk_max"),
    "net": Columns("io", "io_s", "net_kib", "net_max"),
}
LIVED: Mapping[str, Columns] = {r: COLUMNS[r]._replace(allocated=f"{r}_alloc_sum") for r in ("cpu", "memory")}
"""The same, and what each had."""

LEAN: Mapping[str, Columns] = {r: COLUMNS[r]._replace(doubt="", used="") for r in ("cpu", "memory")}
"""The same without what no size is made from."""

READS = Columns("io", "io_s", "disk_kib", "disk_read_kib")
"""What was read of what disks moved; "largest" is no maximum here, but the sum of reads."""


@dataclass
class Grid:
    """n series over ``count`` bins from ``start``, being filled."""

    names: tuple[str, ...]
    rows: Mapping[int, int]
    """Series number → row."""
    start: int
    count: int
    step: int
    part: str
    columns: dict[str, packed.Floats64]

    @classmethod
    def empty(cls, names: Sequence[str], rows: Mapping[int, int], span: tuple[int, int], step: int, wanted: Columns) -> Self:
        start, count = span
        return cls(tuple(names), rows, start, count, step, wanted.part, {n: np.zeros((len(names), count)) for n in wanted.names})

    @property
    def end(self) -> int:
        return self.start + self.count * self.step

    def add_chunks(self, conn: Connection, numbers: Sequence[int]) -> None:
        """Fold in the day chunks of these series."""
        day_s = self.step * BINS_PER_DAY
        query = select(chunks.c.series, chunks.c.day, chunks.c.data).where(
            chunks.c.series.in_(numbers), chunks.c.part == self.part, chunks.c.day.between(self.start // day_s, (self.end - 1) // day_s)
        )
        days: dict[int, list[tuple[int, bytes]]] = {}
        for number, day, data in conn.execute(query).all():
            days.setdefault(day, []).append((self.rows[number], data))
        for day, told in days.items():
            self._add_day((day * day_s - self.start) // self.step, told)

    def add_bins(self, conn: Connection, numbers: Sequence[int]) -> None:
        """Fold in their bins that are not packed yet."""
        self._add_rows(conn, self._bins().where(bins.c.series.in_(numbers)))

    def add_open(self, conn: Connection) -> None:
        """The same of every series, in one scan in the order of the table."""
        self._add_rows(conn, self._bins())

    def _bins(self) -> Select[Any]:
        columns = (bins.c.series, bins.c.bin, *(bins.c[n] for n in self.columns))
        return select(*columns).where(bins.c.bin >= self.start, bins.c.bin < self.end)

    def _add_rows(self, conn: Connection, query: Select[Any]) -> None:
        names = list(self.columns)
        found = [row for row in conn.execute(query).all() if row[0] in self.rows]
        if not found:
            return
        flat = np.fromiter(chain.from_iterable(found), np.float64, len(found) * (2 + len(names)))
        numbered, at, *values = flat.reshape(len(found), -1).T
        rows = np.array([self.rows[int(n)] for n in numbered], np.intp)
        slots = ((at - self.start) // self.step).astype(np.intp)
        for name, told in zip(names, values, strict=True):  # a series has a bin once, so that no cell is met twice
            column = self.columns[name]
            column[rows, slots] = np.maximum(column[rows, slots], told) if name in MAXIMA else column[rows, slots] + told

    def _add_day(self, first: int, told: Sequence[tuple[int, bytes]]) -> None:
        """Fold in one day of some rows, that begins at bin ``first``; what lies outside is cut off."""
        low, high = max(0, first), min(self.count, first + BINS_PER_DAY)
        rows = np.array([row for row, _ in told], np.intp)
        found = packed.unpack_many(self.part, [data for _, data in told], self.columns, slice(low - first, high - first))
        for name, values in found.items():
            column, old = self.columns[name], self.columns[name][rows, low:high]
            column[rows, low:high] = np.maximum(old, values) if name in MAXIMA else old + values

    def history(self, resource: str, entitlement: Floats, first_seen: Any) -> History:
        """Sums as means: a bin without seconds is a gap."""
        at, columns = COLUMNS[resource], self.columns
        seconds = columns[at.seconds]
        told = seconds > 0

        def per_second(name: str, where_none: float) -> Floats:
            out = np.full_like(seconds, where_none)
            return np.divide(columns[name], seconds, out=out, where=told).astype(np.float32)

        mean = per_second(at.total, np.nan)
        return History(
            resource=resource,
            series=self.names,
            start=self.start,
            mean=mean,
            max=np.fmax(np.where(told, columns[at.largest], np.nan).astype(np.float32), mean),  # I/O of old chunks has no maxima
            coverage=np.minimum(1.0, seconds / self.step).astype(np.float32),
            censored=per_second(at.capped, 0.0) if at.capped else np.zeros(seconds.shape, np.float32),
            entitlement=entitlement,
            first_seen=first_seen,
            step_s=self.step,
            doubtful=per_second(at.doubt, 0.0) if at.doubt in columns else None,
            used=per_second(at.used, np.nan) if at.used in columns else None,
            allocated=per_second(LIVED[resource].allocated, np.nan) if resource in LIVED and LIVED[resource].allocated in columns else None,
        )
