"""What owners of servers are told: kept until it is old, shown by project, answered once."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from foreshape_controller.model.reclaim import Notice
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import notices
from foreshape_controller.store.telling import tell

_notice = msgspec.json.Decoder(Notice)


NEWS = ("reclaim", "cap", "cap_lifted")
"""Kinds that answer nothing that was announced before."""


class Notices:
    """``list`` for owners and operators, ``put`` for whoever tells them something, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, told: Sequence[Notice]) -> None:
        with self._db.write() as conn:
            write(conn, told)

    def list(self, project: str | None = None, *, server: str | None = None, limit: int = 1000) -> tuple[Notice, ...]:
        """The newest first."""
        query = select(notices).order_by(notices.c.at.desc(), notices.c.id.desc()).limit(limit)
        if project is not None:
            query = query.where(notices.c.project == project)
        if server is not None:
            query = query.where(notices.c.server == server)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        return tuple(msgspec.structs.replace(_notice.decode(r.data), id=r.id, answered_at=r.answered_at) for r in rows)

    def tidy(self, before: float) -> int:
        """Forget older ones; returns how many went."""
        with self._db.write() as conn:
            return int(conn.execute(delete(notices).where(notices.c.at < before)).rowcount)


# --- inside another's transaction ---


def write(conn: Connection, told: Sequence[Notice]) -> None:
    """Keep notices. One that takes back or ends what was announced before answers it."""
    for n in told:
        if n.kind not in NEWS:
            answer(conn, n.server, n.resource, n.at)
    rows = [
        {"at": n.at, "project": n.project, "server": n.server, "kind": n.kind, "data": msgspec.json.encode(n), "answered_at": n.answered_at}
        for n in told
    ]
    if rows:
        conn.execute(insert(notices), rows)
    for n in told:
        said = {
            "server": n.server,
            "name": n.name,
            "kind": n.kind,
            "resource": n.resource,
            "text": n.text,
            "at": n.at,
            "begins_at": n.begins_at,
        }
        tell(conn, "notice", n.project, said, {"cause": n.cause})


def answer(conn: Connection, server: str, resource: str, at: float) -> None:
    """Its open announcements of a resource are answered."""
    query = select(notices.c.id, notices.c.data).where(
        notices.c.server == server, notices.c.kind == "reclaim", notices.c.answered_at.is_(None)
    )
    ids = [r.id for r in conn.execute(query) if _notice.decode(r.data).resource == resource]
    if ids:
        conn.execute(update(notices).where(notices.c.id.in_(ids)).values(answered_at=at))
