"""The audit's rows: added, read and, when their time is over, deleted from the old end. The database itself refuses all else.

Every row has a hash over the one before it: who changes or cuts out a row with the database's own means breaks the chain behind it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from foreshape_controller.model.audit import AuditCheck, Entry, Stage, chained
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import audit, meta

FIELDS = Entry.__struct_fields__
SEALED, ANCHOR = "audit_sealed", "audit_anchor"
"""In ``meta``: rows up to this number may be deleted; and the hash of the last that was."""
MOST = 1000
TEXT_MOST = 500
"""Characters of one field: names and paths are the sender's."""


class Kept(NamedTuple):
    """A row and its number."""

    id: int
    entry: Entry


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows; empty fields say nothing."""

    project: str | None = None
    user: str = ""
    method: str = ""
    route: str = ""
    scope: str = ""
    cause: str = ""
    request: str = ""
    since: float = 0.0
    until: float | None = None
    status: int = 0
    """A class of status where it is below 10."""
    before: int | None = None
    """Rows with a lower number."""
    limit: int = 100


class Audit:
    """``add`` before and after a change, ``list`` for people, ``verify`` for those who doubt, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, entry: Entry) -> int:
        """Keep it, chained to the newest row; returns its number. Raises Unavailable: then the change must not be done."""
        short = msgspec.structs.replace(entry, **{f: v[:TEXT_MOST] for f in FIELDS if type(v := getattr(entry, f)) is str})
        with self._db.write() as conn:
            newest = conn.execute(select(audit.c.id, audit.c.hash).order_by(audit.c.id.desc()).limit(1)).one_or_none()
            before, last = (newest.hash, newest.id) if newest else _anchor(conn)
            row = {**{f: getattr(short, f) for f in FIELDS}, "stage": short.stage.value}
            conn.execute(insert(audit), {"id": last + 1, **row, "hash": chained(before, last + 1, short)})
        return int(last + 1)

    def list(self, wanted: Filter) -> tuple[Kept, ...]:
        """The newest first. A request's end, where there is one, and not its beginning."""
        ended = audit.alias("ended")
        over = select(ended.c.id).where(ended.c.request == audit.c.request, ended.c.stage == Stage.ENDED.value)
        query = select(audit).where(*_where(wanted), ~((audit.c.stage == Stage.BEGUN.value) & over.exists()))
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(audit.c.id.desc()).limit(min(wanted.limit, MOST))).all()
        return tuple(Kept(r.id, _entry(r)) for r in rows)

    def verify(self) -> AuditCheck:
        """Every row against the one before it."""
        with self._db.read() as conn:
            before, number = _anchor(conn)
            first, count = number + 1, 0
            for row in _all(conn):
                if row.id != number + 1 or row.hash != chained(before, row.id, _entry(row)):
                    why = f"row {number + 1} is missing" if row.id != number + 1 else "it is not what was written"
                    return AuditCheck(rows=count, first=first, last=number, head=before, broken=row.id, why=why)
                before, number, count = row.hash, row.id, count + 1
        return AuditCheck(rows=count, first=first, last=number, head=before, broken=None)

    def tidy(self, before: float) -> int:
        """Forget the oldest rows, up to the first that is younger; the chain goes on from a note of where it was cut."""
        with self._db.write() as conn:
            young = conn.execute(select(func.min(audit.c.id)).where(audit.c.at >= before)).scalar()
            old = select(audit.c.id, audit.c.hash).order_by(audit.c.id.desc()).limit(1)
            last = conn.execute(old if young is None else old.where(audit.c.id < young)).one_or_none()
            if last is None:
                return 0
            _note(conn, ANCHOR, f"{last.id}:{last.hash}")
            _note(conn, SEALED, str(last.id))
            return int(conn.execute(delete(audit).where(audit.c.id <= last.id)).rowcount)


def _where(f: Filter) -> Iterator[ColumnElement[bool]]:
    for name in ("user", "method", "route", "scope", "cause", "request"):
        if getattr(f, name):
            yield audit.c[name] == getattr(f, name)
    if f.project is not None:
        yield audit.c.project == f.project
    if f.status:
        yield (audit.c.status >= f.status * 100) & (audit.c.status < f.status * 100 + 100) if f.status < 10 else audit.c.status == f.status
    if f.since > 0:
        yield audit.c.at >= f.since
    if f.until is not None:
        yield audit.c.at < f.until
    if f.before is not None:
        yield audit.c.id < f.before


def _all(conn: Connection) -> Iterator[Any]:
    """In their order, some at a time."""
    number = -1
    while rows := conn.execute(select(audit).where(audit.c.id > number).order_by(audit.c.id).limit(MOST)).all():
        yield from rows
        number = rows[-1].id


def _anchor(conn: Connection) -> tuple[str, int]:
    """Hash and number of the last row that was deleted; the beginning of a chain where none was."""
    said = conn.execute(select(meta.c.value).where(meta.c.name == ANCHOR)).scalar()
    if said is None:
        return "", 0
    number, _, digest = str(said).partition(":")
    return digest, int(number)


def _note(conn: Connection, name: str, value: str) -> None:
    if not conn.execute(meta.update().where(meta.c.name == name).values(value=value)).rowcount:
        conn.execute(insert(meta), {"name": name, "value": value})


def _entry(row: Any) -> Entry:
    return Entry(**{**{f: getattr(row, f) for f in FIELDS}, "stage": Stage(row.stage)})
