"""Shares of CPU on hosts that are short, as the newest plan says: what agents are told to keep to until a plan says otherwise."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import shares
from foreshape_wire.order import Share
from foreshape_wire.quantity import Cores

_of_host = select(shares.c.server, shares.c.cores, shares.c.until).where(
    shares.c.host == bindparam("host"), shares.c.until > bindparam("now")
)


class Shares:
    """``put`` for the plan's listener; the reply to a report reads them in its own transaction (``of_host``)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, found: Sequence[tuple[str, str, float, float]]) -> None:
        """Server, host, cores, until: all there are; what is not among them is over."""
        with self._db.write() as conn:
            conn.execute(delete(shares))
            if found:
                conn.execute(insert(shares), [dict(zip(("server", "host", "cores", "until"), row, strict=True)) for row in found])

    def any(self) -> bool:
        with self._db.read() as conn:
            return conn.execute(select(shares.c.server).limit(1)).first() is not None


def of_host(conn: Connection, host: str, now: float) -> dict[str, Share]:
    """By server: those that are in force."""
    return {r.server: Share(amount=Cores(r.cores), until=r.until) for r in conn.execute(_of_host, {"host": host, "now": now})}
