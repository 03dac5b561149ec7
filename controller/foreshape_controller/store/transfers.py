"""Who gave and who got on hosts that were short, plan by plan."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from foreshape_controller.model.need import Transfer
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import transfers


class Transfers:
    """``add`` for the plan's listener, ``since`` for reports, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, plan: str, at: float, found: Sequence[Transfer]) -> None:
        """Keep what a plan ordered to be taken, and for whom."""
        rows = [
            {"plan": plan, "at": at, "host": t.host, "resource": t.resource, "giver": t.giver, "taker": t.taker, "amount": t.amount}
            for t in found
        ]
        if rows:
            with self._db.write() as conn:
                conn.execute(insert(transfers), rows)

    def since(self, at: float) -> tuple[tuple[float, Transfer], ...]:
        """What plans from then on took, each with its time, the oldest first."""
        query = select(transfers).where(transfers.c.at >= at).order_by(transfers.c.at, transfers.c.id)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        return tuple((r.at, Transfer(host=r.host, resource=r.resource, giver=r.giver, taker=r.taker, amount=r.amount)) for r in rows)

    def tidy(self, before: float) -> None:
        """Delete what is older."""
        with self._db.write() as conn:
            conn.execute(delete(transfers).where(transfers.c.at < before))
