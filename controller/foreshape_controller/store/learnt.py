"""What migrations teach: how far off a link's predicted durations and downtimes are, how fast a server writes its memory."""

from collections.abc import Mapping

from sqlalchemy import delete, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import learnt


class Learnt:
    """Values by kind and name: ``link`` and ``downtime`` (factors by link), ``dirty`` (MiB/s by server)."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(learnt, ["kind", "name"], add=["count"])

    def of(self, kind: str) -> Mapping[str, float]:
        """All of a kind, by name."""
        with self._db.read() as conn:
            return {r.name: r.value for r in conn.execute(select(learnt.c.name, learnt.c.value).where(learnt.c.kind == kind))}

    def put(self, kind: str, name: str, value: float, now: float) -> None:
        """Replace one; it was learnt once more."""
        with self._db.write() as conn:
            self._put.run(conn, [(kind, name, value, 1, now)])

    def tidy(self, before: float) -> None:
        """Forget what nobody learnt anew since."""
        with self._db.write() as conn:
            conn.execute(delete(learnt).where(learnt.c.at < before))
