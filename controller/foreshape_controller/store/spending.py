"""What was ordered lately, as budgets count it: read from the journal, so that a restart gives nothing back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select

from foreshape_controller.model.brakes import Spent
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import orders

MINUTE_S = 55.0
"""A minute: two plans a minute apart are never so to the millisecond, and the second must not pay for the first."""
HOUR_S = 3600.0

_recent = select(orders.c.host, orders.c.cpu_change, orders.c.memory_change)
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


def _sum(rows: Sequence[Any], name: str, sign: float) -> float:
    """Of the changes in one direction."""
    return sum(max(0.0, sign * (getattr(row, name) or 0.0)) for row in rows)
