"""Plans as they were decided. Every plan is kept whole, as columns, for as long as decisions that changed nothing are kept; a
decision that led to an order is kept in words beside it, for as long as orders are.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, exists, insert, select
from sqlalchemy.sql.expression import literal

from foreshape_controller.model import told
from foreshape_controller.model.decision import Decision
from foreshape_controller.model.plan import Choice, Plan
from foreshape_controller.store import tables
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import decisions, plan_tables, plans

CLAIM = "claim-"
"""Names of plans for one server that was claimed from a pool begin so: no plan of the cloud."""
AT_ONCE = 20
"""Parts looked through in one statement."""

_json = msgspec.json.Encoder()
_decision = msgspec.json.Decoder(Decision)
_notes = msgspec.json.Decoder(tuple[str, ...])


class Rows(NamedTuple):
    """A plan as the rows of its tables."""

    plan: dict[str, Any]
    parts: list[dict[str, Any]]
    words: list[dict[str, Any]]


class Plans:
    """``prepare`` before, ``write`` and ``tidy`` inside the journal's transactions, the others for who asks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @staticmethod
    def prepare(plan: Plan, ordered: Sequence[Decision]) -> "Rows":
        """A plan whole, and in words the decisions that led to orders: made ready before anybody waits for the writer."""
        parts = tables.pack(plan.table)
        common = {"plan": plan.plan, "parts": len(parts), "at": plan.at}
        return Rows(
            {"plan": plan.plan, "at": plan.at, "notes": _json.encode(plan.notes)},
            [{**common, "part": p.number, "data": p.data} for p in parts],
            [_row(plan, d) for d in plan.written or ordered],
        )

    def write(self, conn: Connection, ready: "Rows") -> None:
        """What was made ready."""
        conn.execute(insert(plans), ready.plan)
        if ready.parts:
            conn.execute(insert(plan_tables), ready.parts)
        if ready.words:
            conn.execute(insert(decisions), ready.words)

    def latest(self) -> Plan | None:
        """The newest plan, whole."""
        with self._db.read() as conn:
            whole = select(plans).where(plans.c.plan.not_like(f"{CLAIM}%"))
            row = conn.execute(whole.order_by(plans.c.at.desc(), plans.c.plan).limit(1)).one_or_none()
            if row is None:
                return None
            parts = conn.execute(select(plan_tables.c.data).where(plan_tables.c.plan == row.plan)).scalars().all()
            written = [] if parts else _written(conn, row.plan)
        table = tables.unpack(parts, row.plan, row.at)
        return Plan(plan=row.plan, at=row.at, written=tuple(written), notes=_notes.decode(row.notes), table=table)

    def about(self, server: str, at: float | None, limit: int) -> tuple[Decision, ...]:
        """A server's decisions, newest first; with ``at``, those up to that instant."""
        until = at if at is not None else float("inf")
        with self._db.read() as conn:
            found = dict(_in_words(conn, server, until, limit))
            found |= dict(_in_columns(conn, server, until, limit))
        return tuple(sorted(found.values(), key=lambda d: -d.at)[:limit])

    def caused(self, cause: str) -> Decision | None:
        """The decision with this cause; None where none is kept."""
        stem = cause.removeprefix("cause-").rpartition("-")[0]
        names = [f"plan-{stem}", stem]
        with self._db.read() as conn:
            kept = conn.execute(select(decisions.c.data).where(decisions.c.plan.in_(names))).scalars()
            written = next((d for d in map(_read, kept) if d.cause == cause), None)
            rows = [] if written else conn.execute(select(plan_tables).where(plan_tables.c.plan.in_(names))).all()
        for r in rows:
            table = tables.unpack([r.data], r.plan, r.at)
            if cause in table.causes:
                return Plan(plan=r.plan, at=r.at, table=table).told([table.causes.index(cause)])[0]
        return written

    def tidy(self, conn: Connection, now: float, hold_s: float, acting_s: float) -> None:
        """Delete what is older than its retention. The newest plan stays whole."""
        newest = select(plans.c.plan).where(plans.c.plan.not_like(f"{CLAIM}%")).order_by(plans.c.at.desc()).limit(1).scalar_subquery()
        for acting, kept in ((False, hold_s), (True, acting_s)):
            conn.execute(delete(decisions).where(decisions.c.acting == acting, decisions.c.at < now - kept, decisions.c.plan != newest))
        conn.execute(delete(plan_tables).where(plan_tables.c.at < now - hold_s, plan_tables.c.plan != newest))
        orphan = ~exists().where(decisions.c.plan == plans.c.plan)
        conn.execute(delete(plans).where(plans.c.at < now - hold_s, plans.c.plan != newest, orphan))


def _in_words(conn: Connection, server: str, until: float, limit: int) -> Iterator[tuple[str, Decision]]:
    query = select(decisions.c.plan, decisions.c.data).where(decisions.c.server == server, decisions.c.at <= until)
    for plan, data in conn.execute(query.order_by(decisions.c.at.desc(), decisions.c.id.desc()).limit(limit)):
        yield plan, _read(data)


def _in_columns(conn: Connection, server: str, until: float, limit: int) -> Iterator[tuple[str, Decision]]:
    """From the newest on, until so many are found."""
    found = 0
    for plan, at, data in _parts(conn, server, until):
        if (row := tables.alone(data, server, plan, at)) is not None:
            yield plan, told.decision(row, 0)
            found += 1
        if found >= limit:
            return


def _parts(conn: Connection, server: str, until: float) -> Iterator[tuple[Any, float, bytes]]:
    """The part of each plan that the server would be in, newest first, some at a time: a part is 100 KB."""
    mine = literal(tables.key(server)) % plan_tables.c.parts
    query = select(plan_tables.c.plan, plan_tables.c.at, plan_tables.c.data).where(plan_tables.c.part == mine, plan_tables.c.at <= until)
    ordered, first = query.order_by(plan_tables.c.at.desc(), plan_tables.c.plan).limit(AT_ONCE), 0
    while some := conn.execute(ordered.offset(first)).all():
        yield from ((r.plan, r.at, r.data) for r in some)
        first += len(some)


def _written(conn: Connection, plan: str) -> Sequence[Decision]:
    found = conn.execute(select(decisions.c.data).where(decisions.c.plan == plan).order_by(decisions.c.id)).scalars()
    return [_read(data) for data in found]


def _row(plan: Plan, d: Decision) -> dict[str, Any]:
    acting = d.cpu.choice is not Choice.HOLD or d.memory.choice is not Choice.HOLD
    return {"plan": plan.plan, "server": d.server, "at": d.at, "acting": acting, "data": zlib.compress(_json.encode(d), 1)}


def _read(data: bytes) -> Decision:
    return _decision.decode(zlib.decompress(data))
