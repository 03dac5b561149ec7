"""How tiers did, half-hour by half-hour, and how far feedback has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select

from foreshape_controller.model.mark import Mark
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import marks, meta, outcomes
from foreshape_wire.order import Verdict

CURSOR = "feedback_until"
"""In ``meta``: end of the last half-hour that was marked. In the same transaction as its marks, so that none is counted twice."""

_mark = msgspec.json.Decoder(Mark)


@dataclass(frozen=True, order=True)
class MarkKey:
    """One row."""

    slot: int
    """Start of the half-hour."""
    tier: str
    resource: str


class Marks:
    """``settle`` for feedback, ``between`` for reports."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(marks, ["slot", "tier", "resource"])
        self._keep = db.upsert(meta, ["name"])

    def until(self) -> int | None:
        """End of the last half-hour that was marked; None before the first."""
        with self._db.read() as conn:
            value = conn.execute(select(meta.c.value).where(meta.c.name == CURSOR)).scalar()
        return None if value is None else int(value)

    def settle(self, found: Mapping[MarkKey, Mark], until: int) -> None:
        """Keep the marks of a half-hour, and that it is done: all or nothing. The same half-hour again replaces its rows."""
        with self._db.write() as conn:
            self._put.run(conn, [(k.slot, k.tier, k.resource, msgspec.json.encode(m)) for k, m in found.items()])
            self._keep.run(conn, [(CURSOR, str(until))])

    def between(self, since: float, until: float) -> list[tuple[MarkKey, Mark]]:
        """Marks of half-hours that began in [since, until), the oldest first."""
        query = select(marks).where(marks.c.slot >= since, marks.c.slot < until).order_by(marks.c.slot, marks.c.tier, marks.c.resource)
        with self._db.read() as conn:
            return [(MarkKey(r.slot, r.tier, r.resource), _mark.decode(r.data)) for r in conn.execute(query)]

    def resizes(self, since: float, until: float) -> dict[tuple[str, str], int]:
        """Resizes carried out in [since, until) by server and resource, whoever asked for them."""
        query = (
            select(outcomes.c.server, outcomes.c.resource, func.count())
            .where(outcomes.c.at >= since, outcomes.c.at < until, outcomes.c.verdict == Verdict.APPLIED.value, outcomes.c.stray.is_(False))
            .group_by(outcomes.c.server, outcomes.c.resource)
        )
        with self._db.read() as conn:
            return {(server, resource): int(n) for server, resource, n in conn.execute(query)}

    def tidy(self, before: float) -> None:
        """Delete marks that are over their retention."""
        with self._db.write() as conn:
            _forget(conn, before)


def _forget(conn: Connection, before: float) -> None:
    conn.execute(delete(marks).where(marks.c.slot < before))


def added(found: Sequence[tuple[MarkKey, Mark]]) -> dict[tuple[str, str], Mark]:
    """Added up by tier and resource."""
    total: dict[tuple[str, str], Mark] = {}
    for key, mark in found:
        at = (key.tier, key.resource)
        total[at] = total[at] + mark if at in total else mark
    return total
