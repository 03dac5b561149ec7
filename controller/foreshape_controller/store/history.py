"""Demand over time: reports folded into bins, closed bins packed into day chunks, read back as arrays.

A bin can be in both places at once (late data after an outage); reading adds the two up, compacting merges them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, bindparam, delete, exc, insert, select, update

from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, Floats, History
from foreshape_controller.store import chunks as packed
from foreshape_controller.store import seen
from foreshape_controller.store.bins import bin_start, host_row, vm_row
from foreshape_controller.store.engine import Database, Row
from foreshape_controller.store.grid import COLUMNS, LEAN, LIVED, READS, Columns, Grid
from foreshape_controller.store.inventory import Inventory
from foreshape_controller.store.journal import Journal
from foreshape_controller.store.schema import MAXIMA, SUMS, bins, chunks, series, servers
from foreshape_controller.store.touched import Touched
from foreshape_wire.order import Outcome
from foreshape_wire.sample import HostReport, HostSample, VmSample

GRACE_BINS = 2
"""A bin is closed when this many bins have passed since."""

BATCH = 200
"""Series asked for in one statement."""

PACKED_AT_ONCE = 10
"""Series compacted in one transaction: reports wait that long (2 ms for an hour's bins, 60 ms for a whole day's)."""

HOST_PREFIX = "host:"


@dataclass(frozen=True)
class Taken:
    """What came of a report."""

    new: bool
    """False: it had been taken before, and nothing was changed."""
    taken_at: float = 0.0
    """Time it was taken as of: the receipt, where the agent's clock is far ahead."""
    strays: tuple[Outcome, ...] = ()


class _Met(NamedTuple):
    """A series as the database knows it."""

    number: int
    first_seen: float


class _Done(NamedTuple):
    """A report in a transaction that is not committed yet."""

    taken: Taken
    found: "dict[str, _Met]"
    """Series that this process had not met, or met at a later time."""
    rows: list[Row]
    received_at: float


class HistoryStore:
    """``append`` for intake, ``read`` for the forecaster, ``compact`` for housekeeping."""

    def __init__(self, db: Database, inventory: Inventory, journal: Journal, step_s: int, *, clock_skew_s: float = 600.0) -> None:
        self._db = db
        self._inventory = inventory
        self._journal = journal
        self.step_s = step_s
        self.clock_skew_s = clock_skew_s
        self._fold = db.upsert(bins, ["bin", "series"], add=SUMS, most=MAXIMA)
        self._put_chunk = db.upsert(chunks, ["series", "part", "day"])
        self._met: dict[str, _Met] = {}
        self._packed_before = 0
        self.touched = Touched()

    # --- intake ---

    @property
    def fold_sql(self) -> str:
        """The statement that folds rows into bins: the benchmark runs it bare."""
        return self._fold.sql

    def append(self, report: HostReport, received_at: float) -> bool:
        """Take a report whole, in one transaction. False: it was taken before; nothing changes."""
        return self.take(report, received_at).new

    def take(self, report: HostReport, received_at: float) -> Taken:
        """``append``, telling more. Samples dated further ahead than ``clock_skew_s`` are taken as of their receipt."""
        with self._db.write() as conn:
            done = self._take_in(conn, report, received_at)
        return self._committed(done)

    def take_all(self, reports: Sequence[tuple[HostReport, float]]) -> list[Taken | Exception]:
        """``take`` of several reports with one force to disk. One that cannot be taken leaves the others alone: its error stands in its
        place. What the database itself refuses (a full disk) is raised, and nothing of any was taken.
        """
        done = list[_Done | Exception]()
        with self._db.write() as conn:
            for report, received_at in reports:
                done.append(self._apart(conn, report, received_at))
        return [d if isinstance(d, Exception) else self._committed(d) for d in done]

    def _apart(self, conn: Connection, report: HostReport, received_at: float) -> "_Done | Exception":
        """In a savepoint of its own."""
        try:
            with conn.begin_nested():
                return self._take_in(conn, report, received_at)
        except exc.OperationalError:
            raise
        except Exception as e:  # noqa: BLE001  it is its sender's; the others' are taken
            return e

    def _take_in(self, conn: Connection, report: HostReport, received_at: float) -> "_Done":
        ahead = report.taken_at - received_at > self.clock_skew_s
        taken_at = received_at if ahead else report.taken_at
        if not seen.mark(conn, report.host, report.epoch, report.sequence, received_at):
            return _Done(Taken(new=False), {}, [], received_at)
        counted = self._inventory.take(conn, report, taken_at, received_at)
        found, rows = self._store(conn, report, counted, taken_at)
        strays = self._journal.settle_in(conn, report.outcomes, received_at, report.host) if report.outcomes else ()
        return _Done(Taken(new=True, taken_at=taken_at, strays=strays), found, rows, received_at)

    def _committed(self, done: "_Done") -> Taken:
        """What this process remembers of it, now that it is durable."""
        if done.taken.new:
            self._met.update(done.found)  # only now: before the commit these numbers did not exist
            self.touched.note(((row[0], row[1]) for row in done.rows), self.oldest_open(done.received_at) + self.step_s)
        return done.taken

    def _store(
        self, conn: Connection, report: HostReport, counted: Sequence[VmSample], taken_at: float
    ) -> tuple[dict[str, _Met], list[Row]]:
        """Fold the samples into bins; returns the series that this process had not met, or met at a later time, and the rows."""
        step = self.step_s
        told = [s for s in counted if s.window_s > 0]
        host = HOST_PREFIX + report.host
        names: list[str] = [s.server for s in told]
        if report.host_sample:
            names.append(host)
        new = self._meet(conn, names, taken_at)
        met = {**self._met, **new} if new else self._met
        rows = [vm_row(s, bin_start(taken_at, s.window_s, step), met[s.server].number, step) for s in told]
        if report.host_sample:
            rows.append(self._host_row(report.host_sample, told, taken_at, met[host].number))
        self._fold.run(conn, rows)
        return new, rows

    def _host_row(self, host: HostSample, told: Sequence[VmSample], taken_at: float, number: int) -> Row:
        window = min(max((s.window_s for s in told), default=10.0), float(self.step_s))
        return host_row(host, bin_start(taken_at, window, self.step_s), number, window)

    def _meet(self, conn: Connection, names: Sequence[str], at: float) -> dict[str, _Met]:
        """Number series that are new; a backlog moves the beginning of those it is older than."""
        unmet = [n for n in names if n not in self._met or at < self._met[n].first_seen]
        if not unmet:
            return {}
        found = _series(conn, unmet)
        missing = [n for n in dict.fromkeys(unmet) if n not in found]
        if missing:
            conn.execute(insert(series), [{"name": n, "first_seen": at} for n in missing])
            found |= _series(conn, missing)
        for name, met in found.items():
            if at < met.first_seen:
                conn.execute(_begin_series, {"of": met.number, "at": at})
                conn.execute(_begin_server, {"of": name, "at": at})
                found[name] = _Met(met.number, at)
        return found

    # --- reading ---

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History:
        """``count`` bins of a watched resource up to ``until`` (rounded up to the grid, so that the open bin is included).

        Names are servers' ids or ``host:NAME``; one that is not known has no data, no entitlement and age nothing.
        """
        return self._read(resource, names, self.span(until, count), COLUMNS[resource])

    def read_lived(self, resource: str, names: Sequence[str], until: float, count: int) -> History:
        """The same of CPU or memory, and what each had (``allocated``)."""
        return self._read(resource, names, self.span(until, count), LIVED[resource])

    def read_lean(self, resource: str, names: Sequence[str], until: float, count: int) -> History:
        """The same of CPU or memory, without ``doubtful`` and ``used``."""
        return self._read(resource, names, self.span(until, count), LEAN[resource])

    def _read(self, resource: str, names: Sequence[str], span: tuple[int, int], wanted: Columns) -> History:
        with self._db.read() as conn:
            known = _series(conn, names)
            grid = self._filled(conn, wanted, span, names, known)
            entitled = self._sold(conn, resource, names)
        first_seen = np.array([known[n].first_seen if n in known else float(grid.end) for n in names])
        return grid.history(resource, np.array([entitled.get(n, np.nan) for n in names], dtype=np.float32), first_seen)

    def read_share(self, names: Sequence[str], until: float, count: int) -> Floats:
        """[n, T] share of each bin's disk throughput that was read, 0..1; NaN where nothing was moved, or nothing is known."""
        with self._db.read() as conn:
            grid = self._filled(conn, READS, self.span(until, count), names, _series(conn, names))
        moved, was_read = (grid.columns[n] for n in (READS.total, READS.largest))
        share = np.divide(was_read, moved, out=np.full_like(moved, np.nan), where=moved > 0)
        return np.minimum(share, 1.0).astype(np.float32)

    def span(self, until: float, count: int) -> tuple[int, int]:
        """Start of the first of ``count`` bins that end with the one that ``until`` lies in, and the count."""
        return -int(-until // self.step_s) * self.step_s - count * self.step_s, count

    def oldest_open(self, now: float) -> int:
        """Bins from here on are in no chunk; older ones may be."""
        return max(self._packed_before, int(now // self.step_s - GRACE_BINS) * self.step_s)

    def numbers(self, names: Sequence[str]) -> dict[str, int]:
        """Numbers of series; one that is not known is left out."""
        unmet = [n for n in names if n not in self._met]
        if unmet:
            with self._db.read() as conn:
                self._met.update(_series(conn, unmet))
        return {n: self._met[n].number for n in names if n in self._met}

    def read_open(self, resource: str, names: Sequence[str], start: int, until: float) -> History:
        """As ``read`` of servers, of bins from ``start`` on, none of which is packed yet: one ordered scan for all of them."""
        count, numbers = -int(-until // self.step_s) - start // self.step_s, self.numbers(names)
        grid = Grid.empty(
            names, {numbers[n]: i for i, n in enumerate(names) if n in numbers}, (start, count), self.step_s, COLUMNS[resource]
        )
        with self._db.read() as conn:
            grid.add_open(conn)
            entitled = _entitled(conn, resource)
        first_seen = np.array([self._met[n].first_seen if n in numbers else float(grid.end) for n in names])
        return grid.history(resource, np.array([entitled.get(n, np.nan) for n in names], dtype=np.float32), first_seen)

    def _filled(self, conn: Connection, wanted: Columns, span: tuple[int, int], names: Sequence[str], known: Mapping[str, _Met]) -> Grid:
        """Sums and maxima of these series from ``span``'s start, so many bins."""
        grid = Grid.empty(names, {known[n].number: i for i, n in enumerate(names) if n in known}, span, self.step_s, wanted)
        for batch in _batches(list(grid.rows)):
            grid.add_chunks(conn, batch)
            grid.add_bins(conn, batch)
        return grid

    def _sold(self, conn: Connection, resource: str, names: Sequence[str]) -> dict[str, float]:
        """Entitlements of servers and capacities of hosts, where the resource is one that is sold."""
        if resource not in RESOURCES:
            return {}
        entitled = {n: e for batch in _batches(names) for n, e in _entitled(conn, resource, batch).items()}
        if any(n.startswith(HOST_PREFIX) for n in names):
            entitled |= {HOST_PREFIX + n: c for n, c in self._inventory.capacities(conn, resource).items()}
        return entitled

    # --- housekeeping ---

    def compact(self, now: float, retention_s: float = float("inf")) -> int:
        """Pack closed bins into day chunks and delete chunks that are over their retention. Returns bins packed."""
        cutoff = int(now // self.step_s - GRACE_BINS) * self.step_s
        self._packed_before = max(self._packed_before, cutoff)
        with self._db.read() as conn:
            closed = conn.execute(select(bins.c.series).where(bins.c.bin < cutoff).distinct()).scalars().all()
        count = sum(self._compact_batch(batch, cutoff) for batch in _batches(closed, PACKED_AT_ONCE))
        if retention_s < now:
            self._forget(now - retention_s)
        return count

    def _compact_batch(self, numbers: Sequence[int], cutoff: int) -> int:
        with self._db.write() as conn:
            rows = conn.execute(select(bins).where(bins.c.bin < cutoff, bins.c.series.in_(numbers))).mappings().all()
            days: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
            for row in rows:
                days.setdefault((row["series"], row["bin"] // (self.step_s * BINS_PER_DAY)), []).append(dict(row))
            old = self._packed(conn, {n for n, _ in days}, {d for _, d in days})
            self._put_chunk.run(conn, [new for (n, d), found in days.items() for new in self._merged(old, n, d, found)])
            conn.execute(delete(bins).where(bins.c.bin < cutoff, bins.c.series.in_(numbers)))
        return len(rows)

    def _packed(self, conn: Connection, numbers: Iterable[int], days: Iterable[int]) -> dict[tuple[int, str, int], bytes]:
        query = select(chunks).where(chunks.c.series.in_(list(numbers)), chunks.c.day.in_(list(days)))
        return {(r.series, r.part, r.day): r.data for r in conn.execute(query)}

    def _merged(self, old: Mapping[tuple[int, str, int], bytes], number: int, day: int, rows: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
        first = day * BINS_PER_DAY * self.step_s
        for part in packed.PARTS:
            before = old.get((number, part, day))
            columns = packed.unpack(part, before) if before else packed.empty(part)
            for row in rows:
                packed.add(columns, (row["bin"] - first) // self.step_s, row)
            yield (number, part, day, packed.pack(part, columns))

    def _forget(self, before: float) -> None:
        oldest = int(before // (self.step_s * BINS_PER_DAY))
        with self._db.write() as conn:
            conn.execute(delete(chunks).where(chunks.c.day < oldest))
            seen.tidy(conn, before)


_begin_series = update(series).where(series.c.id == bindparam("of")).values(first_seen=bindparam("at"))
_begin_server = update(servers).where(servers.c.id == bindparam("of")).values(first_seen=bindparam("at"))


def _series(conn: Connection, names: Sequence[str]) -> dict[str, _Met]:
    query = select(series.c.name, series.c.id, series.c.first_seen)
    rows = (r for batch in _batches(names) for r in conn.execute(query.where(series.c.name.in_(batch))))
    return {r.name: _Met(r.id, r.first_seen) for r in rows}


def _entitled(conn: Connection, resource: str, names: Sequence[str] | None = None) -> dict[str, float]:
    """What was sold of a resource, to these servers or to all."""
    column = {"cpu": servers.c.entitled_cpu, "memory": servers.c.entitled_memory}[resource]
    query = select(servers.c.id, column).where(column.is_not(None))
    if names is not None:
        query = query.where(servers.c.id.in_(names))
    return {name: float(amount) for name, amount in conn.execute(query).all()}


def _batches(items: Sequence[Any], size: int = BATCH) -> Iterator[list[Any]]:
    for i in range(0, len(items), size):
        yield list(items[i : i + size])
