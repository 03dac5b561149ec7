"""What stands out, kept from when it is noticed: one row per series, resource and beginning; ``until`` is empty while it lasts."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, or_, select, update

from foreshape_controller.model.anomaly import Finding, Findings, Kind
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import anomalies

NEWS_S = 86400.0
"""What was noticed longer ago than this, and is not here, was let go: thresholds move with the record they are made from."""
SAME_S = 2 * 3600.0
"""Two findings of one kind that begin closer than this are one."""
BATCH = 500

Key = tuple[str, int]


class Anomalies:
    """``save`` for the loop that notices, ``list`` for people, ``tidy`` for housekeeping."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(anomalies, ["series", "resource", "since"])

    def save(self, findings: Findings, now: float) -> None:
        """Keep what is new, update what is known, and end what is not found any more. Only series of these findings are touched."""
        found = {(f.series, f.since): f for f in findings.found}
        with self._db.write() as conn:
            known = self._known(conn, findings, now)
            going = {key for key, until in known.items() if until is None}
            fresh = [f for key, f in found.items() if key in known or (f.noticed > now - NEWS_S and not _near(f, known))]
            self._put.run(conn, [_row(f) for f in fresh])
            over = [{"of": series, "at": since} for series, since in going - found.keys()]
            if over:
                conn.execute(_end, [{**o, "what": findings.resource, "now": int(now)} for o in over])

    def _known(self, conn: Connection, findings: Findings, now: float) -> dict[Key, int | None]:
        """Rows of these series that are open or young."""
        recent = or_(anomalies.c.until.is_(None), anomalies.c.since > now - 2 * NEWS_S)
        query = select(anomalies.c.series, anomalies.c.since, anomalies.c.until).where(anomalies.c.resource == findings.resource, recent)
        mine = set(findings.series)
        return {(r.series, r.since): r.until for r in conn.execute(query) if r.series in mine}

    def list(
        self,
        series: str | None = None,
        *,
        among: Collection[str] | None = None,
        going: bool = False,
        since: float = 0.0,
        limit: int = 1000,
    ) -> tuple[Finding, ...]:
        """The newest first. ``going``: only those that last. ``since``: only those that last or ended after it. ``among``: of these."""
        query = select(anomalies).order_by(anomalies.c.since.desc(), anomalies.c.series).limit(limit)
        query = query.where(anomalies.c.until.is_(None) if going else or_(anomalies.c.until.is_(None), anomalies.c.until >= since))
        if series is not None:
            query = query.where(anomalies.c.series == series)
        if among is not None:
            query = query.where(anomalies.c.series.in_(among))
        with self._db.read() as conn:
            return tuple(_finding(row) for row in conn.execute(query))

    def close(self, series: Sequence[str], now: float) -> None:
        """End what lasts for series that are gone."""
        with self._db.write() as conn:
            for first in range(0, len(series), BATCH):
                gone = anomalies.c.series.in_(series[first : first + BATCH])
                conn.execute(update(anomalies).where(gone, anomalies.c.until.is_(None)).values(until=int(now)))

    def tidy(self, before: float) -> int:
        """Forget what ended before this; returns how many rows went."""
        with self._db.write() as conn:
            return int(conn.execute(delete(anomalies).where(anomalies.c.until < before)).rowcount)


_end = (
    update(anomalies)
    .where(anomalies.c.series == bindparam("of"), anomalies.c.since == bindparam("at"), anomalies.c.resource == bindparam("what"))
    .values(until=bindparam("now"))
)


class _Data(msgspec.Struct, frozen=True):
    """The part of a finding that has no column of its own."""

    kind: Kind
    noticed: int
    strength: float
    confidence: float
    before: float


def _near(f: Finding, known: dict[Key, int | None]) -> bool:
    return any(series == f.series and abs(since - f.since) < SAME_S for series, since in known)


def _row(f: Finding) -> tuple[Any, ...]:
    data = _Data(f.kind, f.noticed, round(f.strength, 3), round(f.confidence, 3), round(f.before, 4))
    return f.series, f.resource, f.since, f.until, msgspec.json.encode(data)


def _finding(row: Any) -> Finding:
    d = msgspec.json.decode(row.data, type=_Data)
    return Finding(row.series, row.resource, d.kind, row.since, row.until, d.noticed, d.strength, d.confidence, d.before)
