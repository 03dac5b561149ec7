"""What came of orders, lever by lever: the experience that lead times are learned from."""

import msgspec
from sqlalchemy import select

from foreshape_controller.model.pull import Pull
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import orders, outcomes
from foreshape_wire.order import Origin, Verdict
from foreshape_wire.reading import LeverName

MOST = 20_000
"""Newest outcomes that are looked at: a day of 30,000 servers has a few times as many, and the newest say most."""

KEPT_S = 30 * 86400.0
"""Older ones are another cloud's."""


class _Asked(msgspec.Struct):
    """Where an order began, and where it went."""

    before: float
    target: float


class _Told(msgspec.Struct):
    """The part of an outcome that is wanted here."""

    before: float
    target: float
    lever: LeverName | None = None
    took_s: float = 0.0


_asked = msgspec.json.Decoder(_Asked)
_told = msgspec.json.Decoder(_Told)


class Levers:
    """``pulls`` for the planner's lead times and for ``foreshape lever list``; ``shrunk`` for the time between two shrinks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def pulls(self, now: float, most: int = MOST) -> tuple[Pull, ...]:
        """The newest pulls that came to an end, applied or failed, the newest first. Agents' own actions are not orders."""
        query = (
            select(outcomes.c.host, outcomes.c.verdict, outcomes.c.at, outcomes.c.data, orders.c.issued_at)
            .join(orders, orders.c.order == outcomes.c.order)
            .where(
                outcomes.c.origin == Origin.ORDER.value,
                outcomes.c.stray.is_(False),
                outcomes.c.verdict.in_([Verdict.APPLIED.value, Verdict.FAILED.value]),
                outcomes.c.at > now - KEPT_S,
            )
            .order_by(outcomes.c.id.desc())
            .limit(most)
        )
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        told = ((row, _told.decode(row.data)) for row in rows)
        return tuple(
            Pull(
                lever=t.lever,
                host=row.host,
                grew=t.target > t.before,
                applied=row.verdict == Verdict.APPLIED.value,
                took_s=t.took_s,
                waited_s=max(t.took_s, row.at - row.issued_at),  # an agent's clock may be behind
                at=row.at,
            )
            for row, t in told
            if t.lever is not None
        )

    def shrunk(self, since: float) -> dict[str, dict[str, float]]:
        """By resource and server: when an order last took something from it, of those shrunk since then."""
        query = select(outcomes.c.server, outcomes.c.resource, outcomes.c.at, outcomes.c.data).where(
            outcomes.c.origin == Origin.ORDER.value,
            outcomes.c.stray.is_(False),
            outcomes.c.verdict.in_([Verdict.APPLIED.value, Verdict.PENDING.value]),
            outcomes.c.at > since,
        )
        found: dict[str, dict[str, float]] = {}
        with self._db.read() as conn:
            for row in conn.execute(query.order_by(outcomes.c.at)):
                asked = _asked.decode(row.data)
                if asked.target < asked.before:
                    found.setdefault(row.resource, {})[row.server] = float(row.at)
        return found
