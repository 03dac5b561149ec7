"""Moves that wait for somebody's word."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, select

from foreshape_controller.errors import NotFound
from foreshape_controller.model.moving import Proposal
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import proposals
from foreshape_controller.store.telling import tell

WAITING = ("open", "approved")

_json = msgspec.json.Encoder()
_row = msgspec.json.Decoder(Proposal)


def write(conn: Connection, db: Database, changed: Sequence[Proposal]) -> None:
    """Inside a transaction of somebody else."""
    db.upsert(proposals, ["id"]).run(conn, [(p.id, p.server, p.state, p.made, _json.encode(p)) for p in changed])


def waits(conn: Connection, wanted: str) -> bool:
    """Whether it still waits, inside a transaction of somebody else: nobody changes it before that ends."""
    state = conn.execute(select(proposals.c.state).where(proposals.c.id == wanted).with_for_update()).scalar()
    return state in WAITING


class Proposals:
    """``put`` for the coordinator, ``approve`` and ``withdraw`` for people."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def waiting(self) -> tuple[Proposal, ...]:
        """Open and approved ones, the oldest first."""
        return self._read(WAITING)

    def list(self, since: float, limit: int = 1000) -> tuple[Proposal, ...]:
        """Those that wait, and the withdrawn ones made after an instant; the newest first. What became a migration is told as one."""
        gone = self._read(("withdrawn",), since)
        return tuple(sorted((*self.waiting(), *gone), key=lambda p: (-p.made, p.id))[:limit])

    def find(self, wanted: str) -> Proposal:
        """Raises NotFound."""
        with self._db.read() as conn:
            data = conn.execute(select(proposals.c.data).where(proposals.c.id == wanted)).scalar()
        if data is None:
            raise NotFound(f"there is no proposal or migration {wanted[:80]!r}: see 'foreshape migration list'")
        return _row.decode(data)

    def put(self, changed: Sequence[Proposal]) -> None:
        """Keep these as they are now. One that somebody decided about meanwhile keeps that word, unless it is withdrawn or taken."""
        with self._db.write() as conn:
            known = {p.id: p for p in map(_row.decode, conn.execute(select(proposals.c.data).where(_waits)).scalars())}
            kept = [_respected(p, known.get(p.id)) for p in changed]
            write(conn, self._db, kept)
            _tell(conn, [p for p in kept if p.id not in known or known[p.id].state != p.state])

    def approve(self, wanted: Sequence[str], by: str) -> tuple[Proposal, ...]:
        """Those of these that are open are approved; all the asked for as they are now, all or none. Raises NotFound."""
        found = [self.find(w) for w in dict.fromkeys(wanted)]
        with self._db.write() as conn:
            now = [_row.decode(conn.execute(select(proposals.c.data).where(proposals.c.id == p.id)).scalar_one()) for p in found]
            after = [msgspec.structs.replace(p, state="approved", by=by, why="") if p.state == "open" else p for p in now]
            write(conn, self._db, after)
            _tell(conn, [p for p in after if p not in now])
        return tuple(after)

    def withdraw(self, wanted: str, why: str) -> Proposal:
        """One that waits does no more; another stays as it is. Raises NotFound."""
        self.find(wanted)
        with self._db.write() as conn:
            waiting = waits(conn, wanted)
            found = _row.decode(conn.execute(select(proposals.c.data).where(proposals.c.id == wanted)).scalar_one())
            if waiting:
                found = msgspec.structs.replace(found, state="withdrawn", why=why)
                write(conn, self._db, [found])
                _tell(conn, [found])
        return found

    def tidy(self, before: float) -> None:
        """Forget what does not wait any more."""
        with self._db.write() as conn:
            conn.execute(delete(proposals).where(proposals.c.made < before, proposals.c.state.not_in(WAITING)))

    def _read(self, states: Sequence[str], since: float = 0.0) -> tuple[Proposal, ...]:
        query = select(proposals.c.data).where(proposals.c.state.in_(states), proposals.c.made >= since)
        with self._db.read() as conn:
            return tuple(map(_row.decode, conn.execute(query.order_by(proposals.c.made, proposals.c.id)).scalars()))


_waits = proposals.c.state.in_(WAITING)


def _tell(conn: Connection, changed: Sequence[Proposal]) -> None:
    """Operators, whose word it waits for."""
    for p in changed:
        tell(conn, "migration", "", {"migration": p.id, "server": p.server, "name": p.name, "state": p.state, "what": "proposal"})


def _respected(new: Proposal, known: Proposal | None) -> Proposal:
    if known is not None and new.state == "open" and known.state == "approved":
        return msgspec.structs.replace(new, state=known.state, by=known.by)
    return new
