"""Migration needs: open while a host is short, closed with a reason, and kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Update, delete, insert, select, update

from foreshape_controller.model.need import Known, Need
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import needs

_json = msgspec.json.Encoder()
_need = msgspec.json.Decoder(Need)

Key = tuple[str, str]
"""Host and resource."""


class Needs:
    """``open`` and ``write`` for the plan's listener, ``list`` for people, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open(self) -> tuple[Known, ...]:
        """Those that are not closed, the most pressing first."""
        return self._read(closed=False)

    def list(self, since: float | None = None, limit: int = 500) -> tuple[Known, ...]:
        """The open ones, the most pressing first; with ``since`` then also those that were closed after it, the newest first."""
        return self._read(closed=False)[:limit] + (() if since is None else self._read(closed=True, since=since, limit=limit))

    def write(self, seen: Sequence[Need], closed: Mapping[Key, str], now: float) -> None:
        """Open or renew what is needed, close what is not, in one transaction. ``closed``: the reason of each."""
        with self._db.write() as conn:
            for (host, resource), why in closed.items():
                conn.execute(_of(host, resource).values(closed_at=now, closed_why=why))
            for need in seen:
                told = {"deadline": need.deadline, "amount": need.amount, "data": _json.encode(need)}
                if not conn.execute(_of(need.host, need.resource).values(**told)).rowcount:
                    conn.execute(insert(needs), {"host": need.host, "resource": need.resource, "since": now, **told})

    def tidy(self, before: float) -> None:
        """Delete what was closed before."""
        with self._db.write() as conn:
            conn.execute(delete(needs).where(needs.c.closed_at < before))

    def _read(self, *, closed: bool, since: float = 0.0, limit: int = 100000) -> tuple[Known, ...]:
        query = select(needs).limit(limit)
        if closed:
            query = query.where(needs.c.closed_at >= since).order_by(needs.c.closed_at.desc(), needs.c.id)
        else:
            query = query.where(needs.c.closed_at.is_(None)).order_by(needs.c.deadline, needs.c.host, needs.c.resource)
        with self._db.read() as conn:
            return tuple(map(_known, conn.execute(query)))


def _of(host: str, resource: str) -> Update:
    return update(needs).where(needs.c.host == host, needs.c.resource == resource, needs.c.closed_at.is_(None))


def _known(row: Row[Any]) -> Known:
    return Known(need=_need.decode(row.data), since=row.since, closed_at=row.closed_at, closed_why=row.closed_why)
