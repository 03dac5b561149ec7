"""Who gave and who got on hosts that were short, plan by plan."""

from sqlalchemy import select

from foreshape_controller.model.need import Transfer
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import transfers


class Transfers:
    """``since`` for reports."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def since(self, at: float) -> tuple[tuple[float, Transfer], ...]:
        """What plans from then on took, each with its time, the oldest first."""
        query = select(transfers).where(transfers.c.at >= at).order_by(transfers.c.at, transfers.c.id)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        return tuple((r.at, Transfer(host=r.host, resource=r.resource, giver=r.giver, taker=r.taker, amount=r.amount)) for r in rows)
