"""Hosts that are being emptied, and stay closed until somebody ends it."""

import msgspec
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.moving import Drain
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import drains

_json = msgspec.json.Encoder()
_row = msgspec.json.Decoder(Drain)
_open = drains.c.ended_at.is_(None)


class Drains:
    """One open drain per host at most."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open(self) -> tuple[Drain, ...]:
        """Those that nobody ended, the oldest first."""
        with self._db.read() as conn:
            found = conn.execute(select(drains.c.data).where(_open).order_by(drains.c.since, drains.c.id)).scalars()
            return tuple(map(_row.decode, found))

    def list(self, since: float) -> tuple[Drain, ...]:
        """The open ones, and those that ended after an instant; the newest first."""
        query = select(drains.c.data).where(or_(_open, drains.c.ended_at >= since)).order_by(drains.c.since.desc(), drains.c.id)
        with self._db.read() as conn:
            return tuple(map(_row.decode, conn.execute(query).scalars()))

    def of(self, host: str) -> Drain:
        """The open one of a host. Raises NotFound."""
        with self._db.read() as conn:
            data = conn.execute(select(drains.c.data).where(_open, drains.c.host == host)).scalar()
        if data is None:
            raise NotFound(f"host {host[:80]!r} is not being drained: see 'foreshape host drains'")
        return _row.decode(data)

    def add(self, new: Drain) -> None:
        """Keep a new one. Raises Invalid where the host is being drained already."""
        try:
            with self._db.write() as conn:
                conn.execute(insert(drains), {"id": new.id, "host": new.host, "since": new.since, "data": _json.encode(new)})
        except IntegrityError:
            raise Invalid(f"host {new.host} is being drained already: 'foreshape host undrain {new.host}' ends it") from None

    def save(self, drain: Drain) -> Drain:
        """Keep one as it is now. What somebody ended meanwhile stays ended; what is kept is returned."""
        with self._db.write() as conn:
            data = conn.execute(select(drains.c.data).where(drains.c.id == drain.id)).scalar_one()
            known = _row.decode(data)
            if known.ended is not None and drain.ended is None:
                drain = msgspec.structs.replace(drain, ended=known.ended, ended_why=known.ended_why)
            values = {"ended_at": drain.ended, "data": _json.encode(drain)}
            conn.execute(update(drains).where(drains.c.id == drain.id).values(**values))
        return drain

    def tidy(self, before: float) -> None:
        """Forget what ended before."""
        with self._db.write() as conn:
            conn.execute(delete(drains).where(drains.c.ended_at < before))
