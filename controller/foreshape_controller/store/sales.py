"""Moved allocation ratios: where each host stands, every write before it is sent, and operators' stops."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from foreshape_controller.model.sale import Sale, SaleMove, SaleStop
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import sale_moves, sale_stops, sales

_encode = msgspec.msgpack.Encoder().encode
_sale = msgspec.msgpack.Decoder(Sale).decode


class Sales:
    """``all``, ``keep``, ``begin`` and ``settle`` for the loop; the rest for people."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(sales, ["host", "resource"])
        self._put_stop = db.upsert(sale_stops, ["scope"])

    def all(self) -> tuple[Sale, ...]:
        """By host, then resource."""
        with self._db.read() as conn:
            return tuple(_sale(data) for data in conn.execute(select(sales.c.data).order_by(sales.c.host, sales.c.resource)).scalars())

    def keep(self, seen: Iterable[Sale]) -> None:
        """What a round of looks found."""
        with self._db.write() as conn:
            self._save(conn, seen)

    def begin(self, sale: Sale, move: SaleMove) -> None:
        """In one transaction, before the write is sent: what is intended, and the sale that says so."""
        with self._db.write() as conn:
            conn.execute(insert(sale_moves), {f: getattr(move, f) for f in SaleMove.__struct_fields__})
            self._save(conn, [sale])

    def settle(self, sale: Sale, move: str, result: str, now: float) -> None:
        """What became of a write: nobody else's row is touched."""
        with self._db.write() as conn:
            conn.execute(update(sale_moves).where(sale_moves.c.id == move).values(result=result, settled_at=now))
            self._save(conn, [sale])

    def unsettled(self, host: str, resource: str) -> SaleMove | None:
        """The write whose outcome nobody knows, of a sale that is ``writing``."""
        query = select(sale_moves).where(sale_moves.c.host == host, sale_moves.c.resource == resource, sale_moves.c.settled_at.is_(None))
        with self._db.read() as conn:
            row = conn.execute(query.order_by(sale_moves.c.at.desc()).limit(1)).one_or_none()
        return SaleMove(**row._mapping) if row else None

    def moves(self, host: str, limit: int = 50) -> tuple[SaleMove, ...]:
        """Writes of a host's ratios, the newest first."""
        query = select(sale_moves).where(sale_moves.c.host == host).order_by(sale_moves.c.at.desc(), sale_moves.c.id).limit(limit)
        with self._db.read() as conn:
            return tuple(SaleMove(**row._mapping) for row in conn.execute(query))

    def forget(self, host: str, resource: str) -> None:
        """Begin anew with what is there: the next look takes it as the original."""
        with self._db.write() as conn:
            conn.execute(delete(sales).where(sales.c.host == host, sales.c.resource == resource))

    def tidy(self, before: float) -> None:
        """Delete writes of long ago, and hosts that nobody has looked at since and nothing of ours is on."""
        with self._db.write() as conn:
            conn.execute(delete(sale_moves).where(sale_moves.c.settled_at < before))
            rows = [_sale(data) for data in conn.execute(select(sales.c.data)).scalars()]
            for old in (s for s in rows if s.looked_at < before and not s.ours):
                conn.execute(delete(sales).where(sales.c.host == old.host, sales.c.resource == old.resource))

    # -- stops

    def stops(self) -> tuple[SaleStop, ...]:
        """Where operators stopped selling."""
        with self._db.read() as conn:
            return tuple(SaleStop(**row._mapping) for row in conn.execute(select(sale_stops).order_by(sale_stops.c.scope)))

    def stop(self, stop: SaleStop) -> None:
        """Keep an operator's word; the last one counts."""
        with self._db.write() as conn:
            self._put_stop.run(conn, [(stop.scope, stop.since, stop.reason)])

    def start(self, scope: str) -> bool:
        """Whether it was stopped."""
        with self._db.write() as conn:
            return bool(conn.execute(delete(sale_stops).where(sale_stops.c.scope == scope)).rowcount)

    def _save(self, conn: Connection, seen: Iterable[Sale]) -> None:
        rows = [(s.host, s.resource, _encode(s)) for s in seen]
        if rows:
            self._put.run(conn, rows)
