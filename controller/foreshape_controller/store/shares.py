"""Shares of CPU on hosts that are short, as the newest plan says: what agents are told to keep to until a plan says otherwise."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import shares
from foreshape_wire.order import Share
from foreshape_wire.quantity import Cores

_of_host = select(shares.c.server, shares.c.cores, shares.c.until).where(
    shares.c.host == bindparam("host"), shares.c.until > bindparam("now")
)

_forget = delete(shares).where(shares.c.server == bindparam("of"))


class Shares:
    """``put`` and ``bound`` for the plan's listener; the reply to a report reads them in its own transaction (``of_host``)."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(shares, ["server"])

    def put(self, found: Sequence[tuple[str, str, float, float]], over: Collection[str]) -> None:
        """Server, host, cores, until, of each that is bound; ``over``: servers that are bound no more."""
        with self._db.write() as conn:
            if over:
                conn.execute(_forget, [{"of": server} for server in over])
            self._put.run(conn, found)

    def bound(self) -> set[str]:
        """Servers of which a share is kept, in force or not."""
        with self._db.read() as conn:
            return set(conn.execute(select(shares.c.server)).scalars())


def of_host(conn: Connection, host: str, now: float) -> dict[str, Share]:
    """By server: those that are in force."""
    return {r.server: Share(amount=Cores(r.cores), until=r.until) for r in conn.execute(_of_host, {"host": host, "now": now})}
