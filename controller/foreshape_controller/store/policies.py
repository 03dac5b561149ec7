"""Every text of tiers.yaml and rates.yaml that was in force: a restart with a broken file goes on with the last good one."""

from typing import NamedTuple

from sqlalchemy import Table, insert, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import policies


class Kept(NamedTuple):
    """A text that was in force."""

    at: float
    """From when on."""
    hash: str
    text: str


class Policies:
    """``keep`` and ``newest`` for the loop that reads the file."""

    def __init__(self, db: Database, table: Table = policies) -> None:
        self._db, self._table = db, table

    def newest(self) -> Kept | None:
        """The text that was in force last; None before the first."""
        of = self._table.c
        query = select(of.at, of.hash, of.text).order_by(of.id.desc()).limit(1)
        with self._db.read() as conn:
            row = conn.execute(query).one_or_none()
        return Kept(*row) if row is not None else None

    def keep(self, new: Kept) -> None:
        """Write down that a text is in force from now on."""
        with self._db.write() as conn:
            conn.execute(insert(self._table), {"at": new.at, "hash": new.hash, "text": new.text})
