"""What was ordered lately, as budgets count it: read from the journal, so that a restart gives nothing back."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import or_, select

from foreshape_controller.model.brakes import Spent
from foreshape_controller.store.engine import Database
from foreshape_controller.store.orders import FINAL
from foreshape_controller.store.schema import orders, servers
from foreshape_wire.order import Order

MINUTE_S = 55.0
"""A minute: two plans a minute apart are never so to the millisecond, and the second must not pay for the first."""
HOUR_S = 3600.0

_recent = select(orders.c.host, orders.c.cpu_change, orders.c.memory_change)
_begun = (
    select(orders.c.data, orders.c.cpu_verdict, orders.c.memory_verdict)
    .join(servers, (servers.c.id == orders.c.server) & (servers.c.host == orders.c.host))
    .order_by(orders.c.issued_at)
)
_order = msgspec.json.Decoder(Order)
_shrinks = or_(orders.c.cpu_change < 0, orders.c.memory_change < 0)


class Spending:
    """``lately`` for whoever decides what may be ordered."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def lately(self, now: float) -> Spent:
        """What was ordered in the last minute, and who was shrunk in the last hour."""
        with self._db.read() as conn:
            rows = conn.execute(_recent.where(orders.c.issued_at > now - MINUTE_S)).all()
            query = select(orders.c.server).where(orders.c.issued_at > now - HOUR_S, _shrinks).distinct()
            shrunk = frozenset(conn.execute(query).scalars())
        by_host: dict[str, int] = {}
        for row in rows:
            by_host[row.host] = by_host.get(row.host, 0) + 1
        return Spent(
            orders=len(rows),
            by_host=by_host,
            grow_cores=_sum(rows, "cpu_change", 1.0),
            grow_mib=_sum(rows, "memory_change", 1.0),
            shrink_cores=_sum(rows, "cpu_change", -1.0),
            shrink_mib=_sum(rows, "memory_change", -1.0),
            shrunk=shrunk,
        )

    def under_way(self, now: float, ttl_s: float) -> dict[str, dict[str, float]]:
        """By resource and server: what it was ordered to have where it is now, of which nobody told yet what came of it.

        What replaced an order may have asked for the other resource only: the agent goes on with this one. Of an order that was
        replaced nothing is noted any more, so that it counts until its time is over.
        """
        found: dict[str, dict[str, float]] = {"cpu": {}, "memory": {}}
        with self._db.read() as conn:
            rows = conn.execute(_begun.where(orders.c.issued_at > now - ttl_s, orders.c.expires_at > now)).all()
        for row in rows:
            o = _order.decode(row.data)
            if o.cpu is not None:
                _note(found["cpu"], o.server, o.cpu.cores, row.cpu_verdict)
            if o.memory is not None:
                _note(found["memory"], o.server, o.memory.mib, row.memory_verdict)
        return found


def _note(found: dict[str, float], server: str, amount: float, verdict: str | None) -> None:
    """The newest word counts; one that came to its end leaves nothing under way."""
    if verdict in FINAL:
        found.pop(server, None)
    else:
        found[server] = amount


def _sum(rows: Sequence[Any], name: str, sign: float) -> float:
    """Of the changes in one direction."""
    return sum(max(0.0, sign * (getattr(row, name) or 0.0)) for row in rows)
