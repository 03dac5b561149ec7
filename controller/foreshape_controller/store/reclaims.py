"""Reclaims, one row per server and resource, and the notices that go with them: written together, before they have an effect."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select

from foreshape_controller.model.reclaim import LOWERED, Notice, Reclaim, State
from foreshape_controller.store import notices
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import outcomes, reclaims
from foreshape_wire.order import Outcome, Verdict

AT_ONCE = 500
"""Rows written in one transaction: reports wait that long."""

Key = tuple[str, str]
"""Server, resource."""

_row = msgspec.json.Decoder(Reclaim)
_outcome = msgspec.json.Decoder(Outcome)


class Change(NamedTuple):
    """A row as it was read, as it is to be, and what its owner is told."""

    before: Reclaim | None
    after: Reclaim
    notice: Notice | None = None


class Reclaims:
    """``all`` and ``floors`` to read, ``save`` for the loop, ``alter`` for people."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(reclaims, ["server", "resource"])

    def all(self, states: Sequence[State] = tuple(State)) -> dict[Key, Reclaim]:
        """Rows in these states."""
        query = select(reclaims.c.data).where(reclaims.c.state.in_([s.value for s in states]))
        with self._db.read() as conn:
            return _read(conn.execute(query).scalars())

    def of(self, server: str) -> dict[str, Reclaim]:
        """A server's rows, by resource."""
        with self._db.read() as conn:
            return {r.resource: r for r in _of(conn, [server]).values()}

    def floors(self, now: float) -> Mapping[str, Mapping[str, float]]:  # noqa: ARG002  a source of the plan loop
        """By resource and server: the floor in force instead of the tier's."""
        found: dict[str, dict[str, float]] = {}
        for (server, resource), row in self.all(LOWERED).items():
            found.setdefault(resource, {})[server] = row.floor
        return found

    def save(self, changes: Sequence[Change]) -> int:
        """Write rows and their notices, some hundred in a transaction. One that somebody else changed meanwhile is left as it is.

        Returns how many were written.
        """
        parts = [changes[i : i + AT_ONCE] for i in range(0, len(changes), AT_ONCE)]
        return sum(self._save(part) for part in parts)

    def _save(self, changes: Sequence[Change]) -> int:
        with self._db.write() as conn:
            known = _of(conn, [c.after.server for c in changes])
            mine = [c for c in changes if known.get((c.after.server, c.after.resource)) == c.before]
            self._write(conn, mine)
        return len(mine)

    def alter(self, server: str, resource: str, by: Callable[[Reclaim | None], Reclaim], notice_answered: float | None = None) -> Reclaim:
        """Change one row as a function of what is there; ``notice_answered``: its open notices count as answered then."""
        with self._db.write() as conn:
            after = by(_of(conn, [server]).get((server, resource)))
            self._write(conn, [Change(None, after)])
            if notice_answered is not None:
                notices.answer(conn, server, resource, notice_answered)
        return after

    def had(self, server: str, resource: str, amount: float, since: float) -> float | None:
        """When an action was first proven, since then, that left the guest with so much; None: none was."""
        query = select(outcomes.c.data).where(
            outcomes.c.server == server,
            outcomes.c.resource == resource,
            outcomes.c.verdict == Verdict.APPLIED.value,
            outcomes.c.at >= since,
            outcomes.c.stray.is_(False),
        )
        with self._db.read() as conn:
            told = [_outcome.decode(data) for data in conn.execute(query.order_by(outcomes.c.at)).scalars()]
        return next((o.at for o in told if o.after >= amount), None)

    def tidy(self, before: float) -> int:
        """Forget what is gone since; returns how many rows went."""
        with self._db.write() as conn:
            return int(conn.execute(delete(reclaims).where(reclaims.c.state == State.GONE.value, reclaims.c.at < before)).rowcount)

    def _write(self, conn: Connection, changes: Sequence[Change]) -> None:
        rows = [(a.server, a.resource, a.state.value, a.at, msgspec.json.encode(a)) for _, a, _ in changes]
        self._put.run(conn, rows)
        notices.write(conn, [c.notice for c in changes if c.notice is not None])


def _of(conn: Connection, servers: Sequence[str]) -> dict[Key, Reclaim]:
    return _read(conn.execute(select(reclaims.c.data).where(reclaims.c.server.in_(servers))).scalars())


def _read(found: Iterable[bytes]) -> dict[Key, Reclaim]:
    """Rows by key; one that cannot be read is as if it were not there: its server has its tier's floor, and may be found again."""
    rows = {}
    for data in found:
        with suppress(msgspec.DecodeError):
            row = _row.decode(data)
            rows[row.server, row.resource] = row
    return rows
