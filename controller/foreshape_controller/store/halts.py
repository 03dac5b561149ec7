"""Halts, and what the journal knows for sure: which orders ended well, and which changes were ours."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, case, delete, exists, func, select

from foreshape_controller.model.brakes import Halt
from foreshape_controller.store.engine import Database
from foreshape_controller.store.journal import Silence
from foreshape_controller.store.orders import Status
from foreshape_controller.store.schema import halts, orders, outcomes
from foreshape_controller.store.telling import owner_of, tell
from foreshape_wire.order import Order, Outcome, Verdict

LATE_S = 120.0
"""An outcome may be dated so long before the sample that shows it."""
SLOW_S = 1800.0
"""So long after an order its change may still come (a balloon that the guest is slow to fill)."""
BATCH = 500
EXCUSED = frozenset({"domain_gone", "domain_busy", "restarted", "superseded"})
"""Codes of failures that belong to a server's own life."""

_halt = msgspec.json.Decoder(Halt)
_order = msgspec.json.Decoder(Order)
_outcome = msgspec.json.Decoder(Outcome)

_told = exists().where(outcomes.c.order == orders.c.order, outcomes.c.stray.is_(False))
_BAD = (Status.FAILED.value, Status.EXPIRED.value)


class Result(NamedTuple):
    """An order of which something is known for sure."""

    server: str
    host: str
    issued_at: float
    good: bool


class Range(NamedTuple):
    """Sizes that something of ours explains."""

    low: float
    high: float


_Asked = Mapping[tuple[str, str], tuple[float, float]]
_Found = dict[tuple[str, str], list[Range]]


class Halts:
    """``all`` and ``save`` for the guard; ``ended``, ``under_way``, ``ours`` and ``proven`` tell it what happened."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._silence = Silence()
        self._put = db.upsert(halts, ["scope", "kind"])

    def all(self) -> tuple[Halt, ...]:
        """Every halt that is remembered, closed ones too; the cloud's first, then the newest."""
        query = select(halts.c.data).order_by(halts.c.scope != "cloud", halts.c.since.desc(), halts.c.scope)
        with self._db.read() as conn:
            return tuple(map(_halt.decode, conn.execute(query).scalars()))

    def save(self, changed: Sequence[Halt], gone: Sequence[Halt] = ()) -> None:
        """Write these, forget those."""
        with self._db.write() as conn:
            for h in gone:
                conn.execute(delete(halts).where(halts.c.scope == h.scope, halts.c.kind == h.kind))
            for h in changed:
                _tell(conn, h)
            self._put.run(conn, [(h.scope, h.kind, h.since, h.until, h.reason, msgspec.json.encode(h)) for h in changed])

    def ended(self, since: float, now: float) -> tuple[Result, ...]:
        """Orders issued since then that were applied (good), or failed or ran out of time untold (bad).

        Until its own deadline, and the word of its agent after that, an order is under way, whatever replaced it. What was refused or
        withdrawn, or replaced before any agent saw it, says nothing, nor what failed because the server is gone or has other work.
        """
        over = (orders.c.expires_at <= now) & self._silence.over(now)
        untold = over & ~_told & (orders.c.status.in_((Status.SUPERSEDED.value, Status.OPEN.value)))
        good = case((orders.c.status == Status.APPLIED.value, 1), (orders.c.status.in_(_BAD), 0), (untold, 0), else_=None)
        query = select(orders.c.order, orders.c.server, orders.c.host, orders.c.issued_at, good.label("good"))
        with self._db.read() as conn:
            rows = conn.execute(query.where(orders.c.issued_at > since)).all()
            excused = _excused(conn, [r.order for r in rows if r.good == 0])
        return tuple(Result(r.server, r.host, r.issued_at, bool(r.good)) for r in rows if r.good is not None and r.order not in excused)

    def under_way(self) -> tuple[tuple[str, str, float], ...]:
        """Server, host and time of every order whose outcome is awaited: until it is closed, when nobody can tell of it any more."""
        query = select(orders.c.server, orders.c.host, orders.c.issued_at)
        with self._db.read() as conn:
            rows = conn.execute(query.where(orders.c.status == Status.OPEN.value)).all()
        return tuple((r.server, r.host, r.issued_at) for r in rows)

    def ours(self, asked: Mapping[tuple[str, str], tuple[float, float]]) -> dict[tuple[str, str], list[Range]]:
        """By server and resource: what of ours explains a size. ``asked``: what it had then, and when that was seen."""
        found: dict[tuple[str, str], list[Range]] = {key: [] for key in asked}
        with self._db.read() as conn:
            for batch in _batches({server for server, _ in asked}):
                _add_outcomes(conn, batch, asked, found)
                _add_orders(conn, batch, asked, found)
        return found

    def proven(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By server and resource: the size that our newest proven change left, and when. Read once, at start."""
        newest = (
            select(func.max(outcomes.c.id))
            .where(outcomes.c.verdict == Verdict.APPLIED.value, outcomes.c.stray.is_(False))
            .group_by(outcomes.c.server, outcomes.c.resource)
        )
        with self._db.read() as conn:
            told = map(_outcome.decode, conn.execute(select(outcomes.c.data).where(outcomes.c.id.in_(newest))).scalars())
            return {(o.server, o.resource): (o.after, o.at) for o in told}


def _tell(conn: Connection, h: Halt) -> None:
    """Only of a new state: an open halt is written with every look."""
    before = conn.execute(select(halts.c.data).where(halts.c.scope == h.scope, halts.c.kind == h.kind)).scalar()
    if before is None or _halt.decode(before).state != h.state:
        told = {"scope": h.scope, "kind": h.kind, "state": h.state, "since": h.since, "until": h.until}
        tell(conn, "stop", owner_of(conn, h.scope), told, {"reason": h.reason})


def _excused(conn: Connection, failed: Sequence[str]) -> set[str]:
    """Of these orders, those that failed for a reason that says nothing of hosts and levers."""
    found: set[str] = set()
    for batch in _batches(failed):
        query = select(outcomes.c.data).where(outcomes.c.order.in_(batch), outcomes.c.verdict == Verdict.FAILED.value)
        found |= {o.order for o in map(_outcome.decode, conn.execute(query).scalars()) if o.code in EXCUSED}
    return found


def _add_outcomes(conn: Connection, servers: Sequence[str], asked: _Asked, found: _Found) -> None:
    """An applied change explains what it left; one that is pending or failed, everything on its way."""
    oldest = min(at for _, at in asked.values()) - SLOW_S
    query = select(outcomes.c.data).where(outcomes.c.server.in_(servers), outcomes.c.at > oldest, outcomes.c.stray.is_(False))
    for o in map(_outcome.decode, conn.execute(query).scalars()):
        had = asked.get((o.server, o.resource))
        if had is None or o.verdict is Verdict.REFUSED:
            continue
        done = o.verdict is Verdict.APPLIED
        if o.at > had[1] - (LATE_S if done else SLOW_S):
            sizes = (o.target, o.after) if done else (o.before, o.target, o.after)
            found[o.server, o.resource].append(Range(min(sizes), max(sizes)))


def _add_orders(conn: Connection, servers: Sequence[str], asked: _Asked, found: _Found) -> None:
    """An order explains everything between what the server had and what it asks for, as long as nobody told how it ended."""
    oldest = min(at for _, at in asked.values()) - SLOW_S
    query = select(orders.c.data).where(orders.c.server.in_(servers), orders.c.issued_at > oldest, orders.c.status != Status.APPLIED.value)
    for o in map(_order.decode, conn.execute(query).scalars()):
        for resource, target in (("cpu", o.cpu.cores if o.cpu else None), ("memory", o.memory.mib if o.memory else None)):
            had = asked.get((o.server, resource))
            if had is not None and target is not None and o.issued_at > had[1] - SLOW_S:
                found[o.server, resource].append(Range(min(target, had[0]), max(target, had[0])))


def _batches(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, BATCH)):
        yield batch
