"""The factor on each server's distance from the median to its tier's quantile; one row per server and resource."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import headroom


class Headroom:
    """``all`` for the planner, ``save`` for the learning loop, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(headroom, ["server", "resource"])

    def all(self, resource: str) -> dict[str, float]:
        """Factors that differ from nothing known; a server that is not here has 1."""
        with self._db.read() as conn:
            rows = conn.execute(select(headroom.c.server, headroom.c.factor).where(headroom.c.resource == resource)).all()
        return {server: float(factor) for server, factor in rows}

    def save(self, resource: str, factors: Mapping[str, float], at: float) -> None:
        """Replace the factors of these servers."""
        with self._db.write() as conn:
            self.save_in(conn, resource, factors, at)

    def save_in(self, conn: Connection, resource: str, factors: Mapping[str, float], at: float) -> None:
        """The same, inside a transaction under way."""
        self._put.run(conn, [(server, resource, float(factor), at) for server, factor in factors.items()])

    def tidy(self, before: float) -> int:
        """Forget servers whose factor nothing has touched since; returns how many rows went."""
        with self._db.write() as conn:
            return int(conn.execute(delete(headroom).where(headroom.c.at < before)).rowcount)
