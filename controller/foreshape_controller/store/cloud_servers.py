"""The cloud's word on every server. It is kept because it has to hold from the first moment of a start: modes are set for projects."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, select

from foreshape_controller.model.cloud_word import CloudWord
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import cloud_servers

BATCH = 1000
"""Names in one statement: engines have a limit of parameters."""


class CloudServers:
    """All words, by server. ``Inventory`` reads them beside what agents report."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(cloud_servers, ["server"])

    def all(self) -> dict[str, CloudWord]:
        """By server."""
        with self._db.read() as conn:
            return {row.server: _word(row) for row in conn.execute(select(cloud_servers))}

    def save(self, changed: Sequence[CloudWord]) -> None:
        """All of them or none."""
        if not changed:
            return
        with self._db.write() as conn:
            self._put.run(conn, [_row(w) for w in changed])

    def forget(self, servers: Sequence[str]) -> None:
        """These leave: nobody reports them, and Nova never had them."""
        if not servers:
            return
        with self._db.write() as conn:
            for first in range(0, len(servers), BATCH):
                conn.execute(delete(cloud_servers).where(cloud_servers.c.server.in_(list(servers[first : first + BATCH]))))

    def clear(self) -> None:
        """No cloud is configured: from now on agents' words hold."""
        with self._db.write() as conn:
            conn.execute(delete(cloud_servers))

    def tidy(self, before: float) -> None:
        """Forget what Nova deleted long ago."""
        with self._db.write() as conn:
            conn.execute(delete(cloud_servers).where(cloud_servers.c.gone_at < before))


def _row(word: CloudWord) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    values = {name: getattr(word, name) for name in word.__struct_fields__}
    values["aggregates"] = msgspec.json.encode(word.aggregates).decode()
    return tuple(values[c.name] for c in cloud_servers.columns)


def _word(row: Any) -> CloudWord:
    values = {name: getattr(row, name) for name in CloudWord.__struct_fields__ if name != "aggregates"}
    return CloudWord(**values, aggregates=aggregates(row.aggregates))


def aggregates(text: str) -> tuple[str, ...]:
    """Of the column."""
    return msgspec.json.decode(text, type=tuple[str, ...]) if text != "[]" else ()
