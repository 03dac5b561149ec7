"""Pools, their shadow VMs and claims. Every change is written here, with its reason, before anything is asked of the cloud.

A shadow VM changes only by an event that may happen to it now, read and written in one transaction: of two who want the same one, the
second finds it taken.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.pool import Claim, Decided, Pool, Shadow, State
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import pool_claims, pool_steps, pools, shadows

POOLS_MOST = 200

_json = msgspec.json.Encoder()
_pool = msgspec.json.Decoder(Pool)
_shadow = msgspec.json.Decoder(Shadow)
_claim = msgspec.json.Decoder(Claim)
_decided = msgspec.json.Decoder(Decided)

ALIVE = tuple(s.value for s in State if not s.over)

UNDO = {
    State.PLANNED: "forget it",
    State.BOOTING: "delete the server with its tag, and its ports",
    State.CLAIMED: "its owner deletes the server, or keeps it",
    State.RETIRING: "none: it goes",
}
"""How a step is taken back, for people."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal."""

    at: float
    shadow: str
    state: str
    cause: str
    why: str
    undo: str


def missing(wanted: str) -> str:
    """What is said of a pool that is not there."""
    return f"there is no pool {wanted[:80]!r}: see 'foreshape pool list'"


class Pools:
    """Methods are transactions of their own, safe from any thread."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.written = 0
        """Grows with every change made through this object: what was read before may be something else now."""

    # -- pools

    def add(self, pool: Pool) -> None:
        """Keep a new pool. Raises Invalid where its name is taken, or there are too many."""
        if len(self.all()) >= POOLS_MOST:
            raise Invalid(f"there are {POOLS_MOST} pools already: delete one first")
        row = {"id": pool.id, "name": pool.name, "created": pool.created, "deleted_at": None, "data": _json.encode(pool)}
        try:
            with self._db.write() as conn:
                conn.execute(insert(pools), row)
        except IntegrityError as e:
            raise Invalid(f"name: there is a pool {pool.name!r} already") from e

    def all(self, *, closing: bool = False) -> tuple[Pool, ...]:
        """By name; ``closing``: also deleted ones that still have shadow VMs."""
        query = select(pools.c.data, pools.c.deleted_at).order_by(pools.c.name, pools.c.created)
        busy = select(shadows.c.pool).where(shadows.c.state.in_(ALIVE))
        query = query.where(pools.c.deleted_at.is_(None) | pools.c.id.in_(busy)) if closing else query.where(pools.c.deleted_at.is_(None))
        with self._db.read() as conn:
            return tuple(_dated(_pool.decode(r.data), r.deleted_at) for r in conn.execute(query))

    def find(self, wanted: str) -> Pool:
        """By name or id. Raises NotFound."""
        query = select(pools.c.data, pools.c.deleted_at).where((pools.c.id == wanted) | (pools.c.name == wanted))
        with self._db.read() as conn:
            row = conn.execute(query.order_by(pools.c.deleted_at.is_not(None), pools.c.created.desc()).limit(1)).one_or_none()
        if row is None or row.deleted_at is not None:
            raise NotFound(missing(wanted))
        return _dated(_pool.decode(row.data), row.deleted_at)

    def delete(self, pool: str, now: float) -> None:
        """Close a pool: its shadow VMs are retired from now on; what was claimed stays."""
        with self._db.write() as conn:
            conn.execute(update(pools).where(pools.c.id == pool, pools.c.deleted_at.is_(None)).values(deleted_at=now))
        self.written += 1

    def decide(self, pool: str, decided: Decided) -> None:
        """Keep what the newest look found."""
        with self._db.write() as conn:
            conn.execute(update(pools).where(pools.c.id == pool).values(decided=_json.encode(decided)))

    def decided(self, pool: str) -> Decided | None:
        with self._db.read() as conn:
            data = conn.execute(select(pools.c.decided).where(pools.c.id == pool)).scalar_one_or_none()
        return _decided.decode(data) if data else None

    # -- shadow VMs

    def plan(self, shadow: Shadow, now: float) -> None:
        """Write a new one down."""
        with self._db.write() as conn:
            conn.execute(insert(shadows), _row(shadow))
            _note(conn, shadow, now)

    def change(self, shadow: str, by: Callable[[Shadow], Shadow], now: float) -> Shadow:
        """Change one as a function of what is there now; a change of state is journalled. ``by`` raises Invalid to leave it. NotFound."""
        with self._db.write() as conn:
            before = _locked(conn, shadow)
            after = by(before)
            if after != before:
                _write(conn, after)
            if after.state is not before.state:
                _note(conn, after, now)
        self.written += 1
        return after

    def claim(self, candidates: Sequence[str], by: Callable[[Shadow], Shadow], now: float) -> Shadow | None:
        """Change the first of these to which it can happen, and write the hit; None: all were taken meanwhile."""
        taken = self._claimed(candidates, by, now)
        self.written += 1
        return taken

    def _claimed(self, candidates: Sequence[str], by: Callable[[Shadow], Shadow], now: float) -> Shadow | None:
        with self._db.write() as conn:
            for one in candidates:
                try:
                    before = _locked(conn, one)
                    after = by(before)
                except (Invalid, NotFound):
                    continue
                age = 0.0 if before.ready_at is None else now - before.ready_at
                _write(conn, after)
                _note(conn, after, now)
                _count(conn, Claim(pool=after.pool, at=now, hit=True, shadow=after.id, age_s=age))
                return after
        return None

    def missed(self, pool: str, why: str, now: float, shadow: Shadow | None = None) -> None:
        """Write a miss down, and the shadow VM that is booted for it, if one is."""
        with self._db.write() as conn:
            _count(conn, Claim(pool=pool, at=now, hit=False, why=why, shadow=shadow.id if shadow else ""))
            if shadow is not None:
                conn.execute(insert(shadows), _row(shadow))
                _note(conn, shadow, now)

    def shadow(self, wanted: str) -> Shadow:
        """By id. Raises NotFound."""
        with self._db.read() as conn:
            data = conn.execute(select(shadows.c.data).where(shadows.c.id == wanted)).scalar_one_or_none()
        if data is None:
            raise NotFound(f"there is no shadow VM {wanted[:80]!r}")
        return _shadow.decode(data)

    def shadows(self, pool: str = "", *, alive: bool = False) -> tuple[Shadow, ...]:
        """Of one pool or of all; ``alive``: only those that are not over."""
        query = select(shadows.c.data).order_by(shadows.c.since, shadows.c.id)
        query = query.where(shadows.c.pool == pool) if pool else query
        query = query.where(shadows.c.state.in_(ALIVE)) if alive else query
        with self._db.read() as conn:
            return tuple(map(_shadow.decode, conn.execute(query).scalars()))

    def in_state(self, *states: State, since: float = 0.0) -> tuple[Shadow, ...]:
        """Those in some of these states that came into it since then."""
        query = select(shadows.c.data).where(shadows.c.state.in_([s.value for s in states]), shadows.c.since >= since)
        with self._db.read() as conn:
            return tuple(map(_shadow.decode, conn.execute(query).scalars()))

    # -- what happened

    def claims(self, pool: str, since: float) -> tuple[Claim, ...]:
        """Hits and misses since then, oldest first."""
        query = select(pool_claims.c.data).where(pool_claims.c.pool == pool, pool_claims.c.at >= since)
        with self._db.read() as conn:
            return tuple(map(_claim.decode, conn.execute(query.order_by(pool_claims.c.at, pool_claims.c.id)).scalars()))

    def steps(self, pool: str, limit: int = 50) -> tuple[Step, ...]:
        """The journal of a pool, newest first."""
        query = select(pool_steps).where(pool_steps.c.pool == pool).order_by(pool_steps.c.id.desc()).limit(limit)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        return tuple(Step(at=r.at, shadow=r.shadow, state=r.state, cause=r.cause, why=r.why, undo=r.undo) for r in rows)

    def tidy(self, before: float) -> None:
        """Forget what ended before then. A record that ended lately is kept: it proves that a server that turns up late is ours."""
        over = [s.value for s in State if s.over]
        with self._db.write() as conn:
            conn.execute(delete(shadows).where(shadows.c.state.in_(over), shadows.c.since < before))
            conn.execute(delete(pools).where(pools.c.deleted_at < before, pools.c.id.not_in(select(shadows.c.pool))))
            conn.execute(delete(pool_claims).where(pool_claims.c.at < before))
            conn.execute(delete(pool_steps).where(pool_steps.c.at < before))


def _dated(pool: Pool, deleted_at: float | None) -> Pool:
    return pool if deleted_at is None else msgspec.structs.replace(pool, deleted_at=deleted_at)


def _row(shadow: Shadow) -> dict[str, Any]:
    return {
        "id": shadow.id,
        "pool": shadow.pool,
        "state": shadow.state.value,
        "server": shadow.server,
        "since": shadow.since,
        "data": _json.encode(shadow),
    }


def _locked(conn: Connection, wanted: str) -> Shadow:
    """Its record, for this transaction alone. Raises NotFound."""
    data = conn.execute(select(shadows.c.data).where(shadows.c.id == wanted).with_for_update()).scalar_one_or_none()
    if data is None:
        raise NotFound(f"there is no shadow VM {wanted[:80]!r}")
    return _shadow.decode(data)


def _write(conn: Connection, shadow: Shadow) -> None:
    conn.execute(update(shadows).where(shadows.c.id == shadow.id).values(**_row(shadow)))


def _note(conn: Connection, shadow: Shadow, now: float) -> None:
    row = {"at": now, "pool": shadow.pool, "shadow": shadow.id, "state": shadow.state.value, "cause": shadow.cause, "why": shadow.why}
    conn.execute(insert(pool_steps), {**row, "undo": UNDO.get(shadow.state, "")})


def _count(conn: Connection, claim: Claim) -> None:
    conn.execute(insert(pool_claims), {"pool": claim.pool, "at": claim.at, "data": _json.encode(claim)})
