"""What repeated writes were answered (``Idempotency-Key``): claimed before the work, kept with its answer for a day."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import replies

KEPT_S = 86400.0
LOST_MOST = 10_000
MOST = 1000
"""Of one owner; beyond them his oldest are forgotten."""
OWNER = 16
"""Characters at the beginning of a key that say whose it is."""


class Reply(NamedTuple):
    """One claim, and its answer once there is one."""

    asked: str
    """Of what was asked: another request with the same key is another one."""
    process: str
    """Whose work it is, or was."""
    status: int | None
    headers: Mapping[str, str]
    body: bytes


class Replies:
    """``claim`` before the work, ``keep`` its answer, or ``drop`` the claim where another try may do better."""

    def __init__(self, db: Database, most: int = MOST) -> None:
        self._db, self._most = db, most
        self._lost: OrderedDict[str, None] = OrderedDict()
        """Keys of this process's claims whose answers could not be kept: a restart makes them another process's, which says the same."""

    def claim(self, key: str, asked: str, process: str, now: float) -> Reply | None:
        """None: it is ours to do. Else what is known of whoever was first."""
        row = {"key": key, "asked": asked, "process": process, "at": now}
        try:
            with self._db.write() as conn:
                conn.execute(delete(replies).where(replies.c.key == key, replies.c.at < now - KEPT_S))
                conn.execute(insert(replies), row)
                self._forget(conn, key[:OWNER])
        except IntegrityError:
            return self.get(key) or self.claim(key, asked, process, now)
        self._lost.pop(key, None)
        return None

    def _forget(self, conn: Connection, owner: str) -> None:
        """What is beyond an owner's bound."""
        his = (replies.c.key >= owner) & (replies.c.key < owner + "g")  # keys are hexadecimal
        beyond = select(replies.c.key).where(his).order_by(replies.c.at.desc(), replies.c.key).offset(self._most)
        for key in conn.execute(beyond).scalars().all():
            conn.execute(delete(replies).where(replies.c.key == key))

    def get(self, key: str) -> Reply | None:
        with self._db.read() as conn:
            row = conn.execute(select(replies).where(replies.c.key == key)).one_or_none()
        process = "" if row is None or key in self._lost else row.process
        return None if row is None else Reply(row.asked, process, row.status, msgspec.json.decode(row.headers), row.body)

    def keep(self, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """The answer, before anybody sees it."""
        told = {"status": status, "headers": msgspec.json.encode(headers).decode(), "body": body}
        with self._db.write() as conn:
            conn.execute(update(replies).where(replies.c.key == key).values(**told))

    def lose(self, key: str) -> None:
        """The answer could not be kept: from now on the claim is nobody's, as if its process had died. Needs no store."""
        self._lost[key] = None
        while len(self._lost) > LOST_MOST:
            self._lost.popitem(last=False)

    def drop(self, key: str) -> None:
        """Nothing was done."""
        with self._db.write() as conn:
            conn.execute(delete(replies).where(replies.c.key == key, replies.c.status.is_(None)))

    def tidy(self, before: float) -> None:
        with self._db.write() as conn:
            conn.execute(delete(replies).where(replies.c.at < before))
