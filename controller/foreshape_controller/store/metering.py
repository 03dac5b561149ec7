"""Usage and statements. An hour is counted in one transaction with the note that it is done: a restart neither loses nor repeats one."""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, insert, select

from foreshape_controller.bus import EVERYBODY
from foreshape_controller.model.metering import Kind, Published, Since, Terms, UsageDay
from foreshape_controller.model.statement import Line, Statement, StatementRow
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import meta, meter_terms, outcomes, published, statements, usage
from foreshape_controller.store.telling import tell
from foreshape_wire.order import Outcome, Verdict

SEEN, UNTIL = "meter_seen", "metered_until"
"""In ``meta``: when terms were looked at last; end of the last hour that was metered."""

PAIRS_MOST = 5000
"""Of projects and tiers that collectors are told; the rest is added up as project ``other``."""

BATCH = 200

_terms = msgspec.msgpack.Decoder(Terms)
_day = msgspec.msgpack.Decoder(UsageDay)
_outcome = msgspec.json.Decoder(Outcome)
_amounts = msgspec.json.Decoder(dict[str, float])
_row = msgspec.json.Decoder(StatementRow)
_encode = msgspec.json.encode


class Booking(NamedTuple):
    """Where usage stands."""

    day: int
    project: str
    booked: str


class Frozen(msgspec.Struct, frozen=True):
    """A closed statement, line by line and day by day."""

    statement: Statement
    days: tuple[Line, ...]


_frozen = msgspec.json.Decoder(Frozen)


class Metering:
    """Methods are transactions of their own, safe from any thread; one job meters."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(usage, ["day", "project", "booked"])
        self._keep = db.upsert(meta, ["name"])
        self._tell = db.upsert(published, ["project", "tier"])
        self._freeze = db.upsert(statements, ["period", "project"])

    # --- terms

    def note(self, rows: Sequence[Since], seen: float) -> None:
        """Keep changed terms, and that all were looked at."""
        with self._db.write() as conn:
            if rows:
                conn.execute(insert(meter_terms), [{"server": r.server, "at": r.at, "data": msgspec.msgpack.encode(r.terms)} for r in rows])
            self._keep.run(conn, [(SEEN, repr(seen))])

    def forget_terms(self, after: float) -> None:
        """Of a future that a wrong clock made up."""
        with self._db.write() as conn:
            conn.execute(delete(meter_terms).where(meter_terms.c.at > after))

    def seen(self) -> float | None:
        """When terms were looked at last; None: never."""
        return self._meta(SEEN)

    def terms(self, at: float) -> dict[str, Terms]:
        """In force at an instant, by server."""
        return {r.server: r.terms for r in self.between(at, at)}

    def between(self, start: float, end: float) -> list[Since]:
        """By server and time: those in force at ``start``, and those that came until ``end``."""
        query = select(meter_terms.c.server, meter_terms.c.at, meter_terms.c.data).where(meter_terms.c.at <= end)
        found: list[Since] = []
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(meter_terms.c.server, meter_terms.c.at, meter_terms.c.id)).all()
        for server, of in groupby(rows, key=lambda r: r.server):
            mine = list(of)
            first = max((i for i, r in enumerate(mine) if r.at <= start), default=0)
            found.extend(Since(server, r.at, _terms.decode(r.data)) for r in mine[first:])
        return found

    # --- usage

    def cursor(self, name: str = UNTIL) -> float | None:
        return self._meta(name)

    def until(self) -> float | None:
        """How far metering has come; None: nothing was metered yet."""
        return self._meta(UNTIL)

    def of_day(self, day: int) -> dict[Booking, UsageDay]:
        """All projects, all bookings."""
        with self._db.read() as conn:
            rows = conn.execute(select(usage).where(usage.c.day == day)).all()
        return {Booking(r.day, r.project, r.booked): _unpack(r.data) for r in rows}

    def settle(self, days: Mapping[Booking, UsageDay], done: tuple[str, float], told: Iterable[Published] | None = None) -> None:
        """Keep what an hour came to, and how far metering is now. ``told``: what collectors see from now on."""
        with self._db.write() as conn:
            self._put.run(conn, [(b.day, b.project, b.booked, _pack(d)) for b, d in days.items()])
            self._keep.run(conn, [(done[0], repr(done[1]))])
            if told is not None:
                conn.execute(delete(published))
                self._tell.run(conn, [(p.project, p.tier, _encode(p.amounts)) for p in bounded(told)])
                tell(conn, "statement", EVERYBODY, {"state": "open", "until": done[1]})

    def days(self, project: str, period: str) -> list[UsageDay]:
        """What was booked into a project's period."""
        query = select(usage.c.data).where(usage.c.booked == period, usage.c.project == project).order_by(usage.c.day)
        with self._db.read() as conn:
            return [_unpack(data) for data in conn.execute(query).scalars()]

    def projects(self, period: str) -> tuple[str, ...]:
        """Those with usage in a period."""
        with self._db.read() as conn:
            query = select(usage.c.project).where(usage.c.booked == period).distinct().order_by(usage.c.project)
            return tuple(conn.execute(query).scalars())

    def periods(self) -> tuple[str, ...]:
        """All that anything was booked into, or that were closed; ascending."""
        with self._db.read() as conn:
            return tuple(sorted(conn.execute(select(usage.c.booked).union(select(statements.c.period))).scalars()))

    def published(self) -> tuple[Published, ...]:
        """What was metered last, for collectors."""
        with self._db.read() as conn:
            rows = conn.execute(select(published).order_by(published.c.project, published.c.tier)).all()
        return tuple(Published(project=r.project, tier=r.tier, amounts=_amounts.decode(r.data)) for r in rows)

    def causes(self, servers: Sequence[str], since: float, until: float) -> dict[tuple[str, str], tuple[str, ...]]:
        """By server and resource: ids of the decisions that changed its size then, the newest first."""
        found: dict[tuple[str, str], list[str]] = {}
        with self._db.read() as conn:
            for i in range(0, len(servers), BATCH):
                for told in _applied(conn, servers[i : i + BATCH], since, until):
                    mine = found.setdefault((told.server, told.resource), [])
                    if told.cause not in mine:
                        mine.append(told.cause)
        return {key: tuple(ids) for key, ids in found.items()}

    # --- statements

    def close(self, statement: Statement, days: Sequence[Line], row: StatementRow, at: float) -> None:
        """Freeze a statement; one that is frozen already stays as it is."""
        with self._db.write() as conn:
            if _closed(conn, statement.project, statement.period) is None:
                data = zlib.compress(_encode(Frozen(statement, tuple(days))))
                self._freeze.run(conn, [(statement.period, statement.project, at, _encode(row), data)])
                said = {"state": "closed", "period": statement.period, "total": str(statement.total), "currency": statement.currency}
                tell(conn, "statement", statement.project, said)

    def closed(self, project: str, period: str) -> Frozen | None:
        with self._db.read() as conn:
            data = _closed(conn, project, period)
        return None if data is None else _frozen.decode(zlib.decompress(data))

    def closed_rows(self, period: str) -> dict[str, StatementRow]:
        """By project."""
        with self._db.read() as conn:
            rows = conn.execute(select(statements.c.project, statements.c.summary).where(statements.c.period == period)).all()
        return {r.project: _row.decode(r.summary) for r in rows}

    def closed_projects(self, period: str) -> frozenset[str]:
        with self._db.read() as conn:
            return frozenset(conn.execute(select(statements.c.project).where(statements.c.period == period)).scalars())

    def tidy(self, before: float, terms_before: float) -> None:
        """Forget usage of long ago, and terms that others followed. Closed statements stay."""
        later = meter_terms.alias()
        followed = select(later.c.id).where(
            later.c.server == meter_terms.c.server, later.c.at > meter_terms.c.at, later.c.at <= terms_before
        )
        with self._db.write() as conn:
            conn.execute(delete(usage).where(usage.c.day < before))
            conn.execute(delete(meter_terms).where(meter_terms.c.at < terms_before, followed.exists()))
            self._forget_gone(conn, terms_before)

    def _forget_gone(self, conn: Connection, before: float) -> None:
        rows = conn.execute(select(meter_terms.c.id, meter_terms.c.data).where(meter_terms.c.at < before)).all()
        gone = [r.id for r in rows if _terms.decode(r.data).kind == Kind.GONE]
        for i in range(0, len(gone), BATCH):
            conn.execute(delete(meter_terms).where(meter_terms.c.id.in_(gone[i : i + BATCH])))

    def _meta(self, name: str) -> float | None:
        with self._db.read() as conn:
            value = conn.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
        return None if value is None else float(value)


def bounded(told: Iterable[Published], most: int = PAIRS_MOST) -> list[Published]:
    """At most so many pairs of project and tier: the others are added up as one project."""
    pairs = sorted(told, key=lambda p: (p.project, p.tier))
    if len(pairs) <= most:
        return pairs
    rest: dict[str, dict[str, float]] = {}
    for p in pairs[most:]:
        sums = rest.setdefault(p.tier, {})
        for name, value in p.amounts.items():
            sums[name] = sums.get(name, 0.0) + value
    return [*pairs[:most], *(Published(project="other", tier=tier, amounts=sums) for tier, sums in rest.items())]


def _pack(day: UsageDay) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(day), 6)


def _unpack(data: bytes) -> UsageDay:
    return _day.decode(zlib.decompress(data))


def _closed(conn: Connection, project: str, period: str) -> bytes | None:
    query = select(statements.c.data).where(statements.c.period == period, statements.c.project == project)
    return conn.execute(query).scalar_one_or_none()


def _applied(conn: Connection, servers: Collection[str], since: float, until: float) -> Iterable[Outcome]:
    query = select(outcomes.c.data).where(
        outcomes.c.server.in_(list(servers)),
        outcomes.c.at >= since,
        outcomes.c.at < until,
        outcomes.c.verdict == Verdict.APPLIED.value,
        outcomes.c.stray.is_(False),
    )
    return [_outcome.decode(data) for data in conn.execute(query.order_by(outcomes.c.at.desc(), outcomes.c.id.desc())).scalars()]
