"""Hard caps: written here before any agent can hear of them, and kept after they ended: the record of who was throttled, and why."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.cap import Cap
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import caps

MOST = 1000
"""Caps in force at once: each is looked up for every server."""

TOLD_S = 86400.0
"""So long after its end a cap is still told to agents: one that forgot it knows its limit by it, and takes it off."""


READ_EVERY_S = 2.0


class Caps:
    """All caps, by id."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: tuple[float, tuple[Cap, ...]] | None = None
        """When they were read, and what there was: every reply to an agent asks."""

    def add(self, new: Sequence[Cap], now: float) -> None:
        """Keep caps, all of them or none. Raises Invalid when there are too many."""
        with self._db.write() as conn:
            alive = select(func.count()).select_from(caps).where(caps.c.until > now, caps.c.lifted_at.is_(None))
            if (conn.execute(alive).scalar() or 0) + len(new) > MOST:
                raise Invalid(f"there would be more than {MOST} caps: lift some, or set one on a project or segment instead")
            conn.execute(insert(caps), [_row(c) for c in new])
        self._known = None

    def all(self, limit: int = 200) -> tuple[Cap, ...]:
        """The newest first; those that ended, too."""
        with self._db.read() as conn:
            return tuple(map(_cap, conn.execute(select(caps).order_by(caps.c.since.desc(), caps.c.id).limit(limit))))

    def told(self, now: float) -> tuple[Cap, ...]:
        """Those in force, and those that ended lately. Read again after a change, and now and then: others may write, too."""
        known = self._known
        if known is None or not known[0] <= now < known[0] + READ_EVERY_S:
            known = self._known = (now, self._read(now))
        return known[1]

    def _read(self, now: float) -> tuple[Cap, ...]:
        lately = or_(caps.c.lifted_at.is_(None), caps.c.lifted_at > now - TOLD_S)
        query = select(caps).where(caps.c.until > now - TOLD_S, lately).order_by(caps.c.since, caps.c.id)
        with self._db.read() as conn:
            return tuple(map(_cap, conn.execute(query)))

    def find(self, wanted: str) -> Cap:
        """Raises NotFound."""
        with self._db.read() as conn:
            row = conn.execute(select(caps).where(caps.c.id == wanted)).one_or_none()
        if row is None:
            raise missing(wanted)
        return _cap(row)

    def lift(self, wanted: str, why: str, now: float) -> Cap:
        """End a cap before its time; one that is over stays as it is. Raises NotFound."""
        with self._db.write() as conn:
            alive = (caps.c.id == wanted, caps.c.until > now, caps.c.lifted_at.is_(None))
            conn.execute(update(caps).where(*alive).values(lifted_at=now, lifted_why=why))
        self._known = None
        return self.find(wanted)

    def tidy(self, before: float) -> None:
        """Forget what ended long ago."""
        with self._db.write() as conn:
            conn.execute(delete(caps).where(caps.c.until < before))


def missing(wanted: str) -> NotFound:
    """What is said of a cap that is not there."""
    return NotFound(f"there is no cap {wanted[:80]!r}: see 'foreshape cap list'")


def _row(cap: Cap) -> dict[str, Any]:
    return {f: getattr(cap, f) for f in cap.__struct_fields__}


def _cap(row: Any) -> Cap:
    return Cap(**{f: getattr(row, f) for f in Cap.__struct_fields__})
