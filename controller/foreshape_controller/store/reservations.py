"""Reservations, the write-ahead journal of what is asked of Placement for them, and the locks that are ours to lift.

One transaction keeps a reservation together with the writes that follow from its new state: whoever dies after it finds both.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from foreshape_controller.errors import NotFound
from foreshape_controller.model.reservation import Lock, Reservation, Write
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import reservation_locks, reservation_writes, reservations
from foreshape_controller.store.telling import tell

_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(Reservation)


class Reservations:
    """Everything about reservations that survives us."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(reservations, ["id"])
        self._put_lock = db.upsert(reservation_locks, ["provider"])

    # -- reservations

    def save(self, reservation: Reservation, writes: Sequence[Write] = ()) -> tuple[int, ...]:
        """Keep it, and the writes that are asked for now; their numbers."""
        with self._db.write() as conn:
            self._tell(conn, reservation)
            self._put.run(conn, [_row(reservation)])
            return tuple(_insert(conn, w) for w in writes)

    @staticmethod
    def _tell(conn: Connection, r: Reservation) -> None:
        """Only of a new state: the slots of one are written many times."""
        if conn.execute(select(reservations.c.state).where(reservations.c.id == r.id)).scalar() != r.state.value:
            told = {"reservation": r.id, "state": r.state.value, "at": r.changed, "until": r.wish.until, "server": r.wish.server}
            more = {"host": r.wish.host, "owner": r.wish.owner, "said": r.said, "cause": r.wish.cause}
            tell(conn, "reservation", r.wish.project, told, more)

    def find(self, wanted: str) -> Reservation:
        """Raises NotFound."""
        with self._db.read() as conn:
            data = conn.execute(select(reservations.c.data).where(reservations.c.id == wanted)).scalar()
        if data is None:
            raise NotFound(f"there is no reservation {wanted[:80]!r}: see 'foreshape reservation list'")
        return _decoder.decode(data)

    def open(self) -> tuple[Reservation, ...]:
        """Those that are not over, the oldest change first."""
        return self._select(reservations.c.open.is_(True))

    def of_host(self, host: str) -> tuple[Reservation, ...]:
        """Those of one host that are not over."""
        return self._select(reservations.c.open.is_(True), reservations.c.host == host)

    def of_owner(self, owner: str) -> tuple[Reservation, ...]:
        """Those of one owner that are not over."""
        return self._select(reservations.c.open.is_(True), reservations.c.owner == owner)

    def over(self, limit: int = 200) -> tuple[Reservation, ...]:
        """Those that are over, the newest first."""
        query = select(reservations.c.data).where(reservations.c.open.is_(False)).order_by(reservations.c.changed.desc()).limit(limit)
        return self._decoded(query)

    def _select(self, *conditions: ColumnElement[bool]) -> tuple[Reservation, ...]:
        return self._decoded(select(reservations.c.data).where(*conditions).order_by(reservations.c.changed, reservations.c.id))

    def _decoded(self, query: Any) -> tuple[Reservation, ...]:
        with self._db.read() as conn:
            return tuple(map(_decoder.decode, conn.execute(query).scalars()))

    # -- the journal

    def ask(self, write: Write) -> int:
        """Write down a write of its own, such as a lock's or an orphan's; its number."""
        with self._db.write() as conn:
            return _insert(conn, write)

    def known(self, numbers: Iterable[int], outcome: str, now: float, said: str = "") -> None:
        """How writes ended."""
        with self._db.write() as conn:
            for number in numbers:
                told = {"outcome": outcome, "known_at": now, "said": said[:500]}
                conn.execute(update(reservation_writes).where(reservation_writes.c.id == number).values(**told))

    def writes(self, reservation: str = "", limit: int = 50) -> tuple[Write, ...]:
        """The newest first; of one reservation, or of all."""
        query = select(reservation_writes).order_by(reservation_writes.c.id.desc()).limit(limit)
        if reservation:
            query = query.where(reservation_writes.c.reservation == reservation)
        with self._db.read() as conn:
            return tuple(Write(**row._mapping) for row in conn.execute(query))

    def written(self, subjects: Collection[str]) -> frozenset[str]:
        """Those of these consumers that were written for some reservation, whatever became of it."""
        mine = reservation_writes.c.subject.in_(list(subjects))
        with self._db.read() as conn:
            found = conn.execute(select(reservation_writes.c.subject).where(mine, reservation_writes.c.reservation != "")).scalars()
            return frozenset(found)

    # -- locks

    def lock(self, lock: Lock, write: Write) -> int:
        """Note a lock before it is set; the number of its write."""
        with self._db.write() as conn:
            self._put_lock.run(conn, [(lock.provider, lock.host, lock.reservation, lock.at)])
            return _insert(conn, write)

    def unlock(self, provider: str) -> None:
        """It is not on any more, or not ours."""
        with self._db.write() as conn:
            conn.execute(delete(reservation_locks).where(reservation_locks.c.provider == provider))

    def locks(self) -> Mapping[str, Lock]:
        """By provider: those that were set, or were about to be."""
        with self._db.read() as conn:
            return {row.provider: Lock(**row._mapping) for row in conn.execute(select(reservation_locks))}

    def locked_since(self, since: float) -> frozenset[str]:
        """Providers that we locked at some time since then, or have locked still."""
        lately = select(reservation_writes.c.provider).where(reservation_writes.c.at >= since, reservation_writes.c.what == "lock")
        with self._db.read() as conn:
            return frozenset(conn.execute(lately.union(select(reservation_locks.c.provider))).scalars())

    def tidy(self, before: float) -> None:
        """Forget what was over long ago, and its journal."""
        old = select(reservations.c.id).where(reservations.c.open.is_(False), reservations.c.changed < before)
        with self._db.write() as conn:
            conn.execute(delete(reservation_writes).where(reservation_writes.c.reservation.in_(old)))
            conn.execute(delete(reservations).where(reservations.c.open.is_(False), reservations.c.changed < before))
            conn.execute(delete(reservation_writes).where(reservation_writes.c.reservation == "", reservation_writes.c.at < before))


def _row(r: Reservation) -> tuple[Any, ...]:
    return (r.id, r.wish.owner, r.wish.host, r.state.value, not r.state.over, r.changed, _encode(r))


def _insert(conn: Connection, write: Write) -> int:
    row = {f: getattr(write, f) for f in write.__struct_fields__ if f != "id"}
    number = conn.execute(insert(reservation_writes).values(**row)).inserted_primary_key
    assert number is not None
    return int(number[0])
