"""Migrations: each as it is now, with its history. Written before anything is done for it, so that nobody orders twice."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.moving import Happening, Moving, Proposal
from foreshape_controller.store import proposals as asked
from foreshape_controller.store.engine import Database
from foreshape_controller.store.journal import FETCHED
from foreshape_controller.store.orders import Status
from foreshape_controller.store.schema import hosts, migration_events, migrations, orders, outcomes
from foreshape_controller.store.telling import owner, tell

_json = msgspec.json.Encoder()
_row = msgspec.json.Decoder(Moving)
_open = migrations.c.ended_at.is_(None)


class Moves:
    """``add`` and ``save`` for the coordinator alone; people only ``ask_cancel``: one hand writes each migration."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- reading

    def open(self) -> tuple[Moving, ...]:
        """Those for which something is still to be done, the oldest first."""
        with self._db.read() as conn:
            found = conn.execute(select(migrations.c.data).where(_open).order_by(migrations.c.created, migrations.c.id)).scalars()
            return tuple(map(_row.decode, found))

    def list(self, since: float, limit: int = 1000) -> tuple[Moving, ...]:
        """The open ones, and those that ended after an instant; the newest first."""
        query = select(migrations.c.data).where(or_(_open, migrations.c.ended_at >= since))
        with self._db.read() as conn:
            found = conn.execute(query.order_by(migrations.c.created.desc(), migrations.c.id).limit(limit)).scalars()
            return tuple(map(_row.decode, found))

    def find(self, wanted: str) -> Moving:
        """Raises NotFound."""
        with self._db.read() as conn:
            data = conn.execute(select(migrations.c.data).where(migrations.c.id == wanted)).scalar()
        if data is None:
            raise NotFound(f"there is no migration {wanted[:80]!r}: see 'foreshape migration list --all'")
        return _row.decode(data)

    def history(self, wanted: str) -> tuple[Happening, ...]:
        """What happened to it, the oldest first."""
        query = select(migration_events).where(migration_events.c.migration == wanted).order_by(migration_events.c.id)
        with self._db.read() as conn:
            return tuple(Happening(migration=r.migration, at=r.at, what=r.what, state=r.state, text=r.text) for r in conn.execute(query))

    def ordered_since(self, since: float) -> int:
        """How many were ordered after an instant: what budgets count, also over a restart."""
        with self._db.read() as conn:
            return int(conn.execute(select(func.count()).select_from(migrations).where(migrations.c.ordered_at > since)).scalar_one())

    def cancels(self) -> Mapping[str, str]:
        """Open ones that somebody does not want any more, and why."""
        query = select(migrations.c.id, migrations.c.cancel_why).where(_open, migrations.c.cancel_at.is_not(None))
        with self._db.read() as conn:
            return {row.id: row.cancel_why for row in conn.execute(query)}

    # -- writing

    def add(self, new: Moving, now: float, *, taken: Proposal | None = None) -> bool:
        """Keep a new migration and what became of its proposal, together. False: the server has an open one already, or somebody
        withdrew the proposal meanwhile.
        """
        try:
            with self._db.write() as conn:
                if taken is not None and not asked.waits(conn, taken.id):
                    return False
                conn.execute(insert(migrations), _columns(new))
                _note(conn, new, now, "made", f"{new.goal.value}, {new.by}: {new.migration.reason}")
                if taken is not None:
                    asked.write(conn, self._db, [taken])
        except IntegrityError:
            return False
        return True

    def save(self, row: Moving, now: float, what: str, text: str = "") -> None:
        """Keep a migration as it is now, and the line of its history that says what happened or is about to be done."""
        with self._db.write() as conn:
            conn.execute(update(migrations).where(migrations.c.id == row.id).values(**_columns(row)))
            if what:
                _note(conn, row, now, what, text)

    def ask_cancel(self, wanted: str, why: str, now: float) -> Moving:
        """Note that somebody does not want it any more. Raises NotFound, Invalid where it is over."""
        found = self.find(wanted)
        with self._db.write() as conn:
            mine = (migrations.c.id == wanted, _open)
            if not conn.execute(update(migrations).where(*mine).values(cancel_at=now, cancel_why=why)).rowcount:
                raise Invalid(f"migration {wanted} is over ({found.migration.state}): there is nothing to cancel")
        return found

    def void_orders(self, server: str, now: float) -> str:
        """Withdraw the server's resize orders that no agent fetched; why its size may still change, empty if it may not.

        An order that an agent may have is awaited until its outcome, or until it has expired: the agent refuses it from then on.
        """
        mine = (orders.c.server == server, orders.c.expires_at > now)
        with self._db.write() as conn:
            unseen = and_(*mine, orders.c.status == Status.OPEN.value, ~FETCHED)
            conn.execute(update(orders).where(unseen).values(status=Status.WITHDRAWN.value, closed_at=now))
            told = exists().where(outcomes.c.order == orders.c.order, outcomes.c.stray.is_(False))
            ended = orders.c.status.in_((Status.WITHDRAWN.value, Status.SUPERSEDED.value, Status.UNSEEN.value))
            pending = or_(orders.c.status == Status.OPEN.value, and_(ended, ~told, hosts.c.received_at >= orders.c.issued_at))
            query = select(orders.c.order).join(hosts, hosts.c.name == orders.c.host).where(*mine, pending).limit(1)
            left = conn.execute(query).scalar()
        return f"order {left}, which its agent may have, is not settled" if left else ""

    def tidy(self, before: float) -> None:
        """Forget what ended before, with its history."""
        with self._db.write() as conn:
            old = select(migrations.c.id).where(migrations.c.ended_at < before)
            conn.execute(delete(migration_events).where(migration_events.c.migration.in_(old)))
            conn.execute(delete(migrations).where(migrations.c.ended_at < before))


def _columns(row: Moving) -> dict[str, Any]:
    m = row.migration
    return {
        "id": m.id,
        "server": m.server,
        "state": m.state.value,
        "created": m.created,
        "ordered_at": m.ordered_at,
        "ended_at": row.ended,
        "data": _json.encode(row),
    }


def _note(conn: Connection, row: Moving, now: float, what: str, text: str) -> None:
    m = row.migration
    conn.execute(insert(migration_events), {"migration": row.id, "at": now, "what": what, "state": m.state.value, "text": text})
    told = {"migration": row.id, "server": m.server, "name": row.name, "state": m.state.value, "what": what, "at": now}
    more = {"source": m.source, "target": m.target, "text": text, "goal": row.goal.value, "cause": row.cause}
    tell(conn, "migration", row.project or owner(conn, m.server), told, more)
