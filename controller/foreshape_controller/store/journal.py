"""What was decided, ordered and done. Written before it is done: an order is in the journal before any agent can see it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, exists, func, insert, or_, select, update

from foreshape_controller.config import TOLD_S
from foreshape_controller.errors import Invalid
from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.migration import State
from foreshape_controller.model.plan import Decision, Plan
from foreshape_controller.model.pool import State as PoolState
from foreshape_controller.store import steering
from foreshape_controller.store.engine import Database
from foreshape_controller.store.orders import OrderState, Status, begin, tell
from foreshape_controller.store.plans import Plans
from foreshape_controller.store.schema import counters, hosts, migrations, orders, outcomes, servers, shadows
from foreshape_controller.store.telling import owner
from foreshape_controller.store.telling import tell as publish
from foreshape_controller.store.wishes import AHEAD, GIVEN, PLANNED, SLOT_S, Slot, Wishes
from foreshape_wire.ids import HostName
from foreshape_wire.order import Order, Origin, Outcome, Verdict

_CUSTOMERS = tuple(s.value for s in PoolState if s.customers)

FETCHED = exists().where(hosts.c.name == orders.c.host, hosts.c.received_at >= orders.c.issued_at)
"""The host's agent has reported since the order was made, so it may have it."""
HEARD = exists().where(hosts.c.name == orders.c.host, hosts.c.received_at > orders.c.expires_at)
"""The host's agent has reported since the order ran out, so it has told all that it will tell."""

_json = msgspec.json.Encoder()
_order = msgspec.json.Decoder(Order)
_outcome = msgspec.json.Decoder(Outcome)


class Silence:
    """When nothing more is told of an order whose time is over: its agent has spoken since, or for long enough nobody has.

    A controller that was away gives agents as long again: what they did meanwhile they tell when they reach it.
    """

    def __init__(self) -> None:
        self._asked_first: float | None = None

    def over(self, now: float) -> ColumnElement[bool]:
        """Of the rows of ``orders``."""
        if self._asked_first is None:
            self._asked_first = now
        return or_(HEARD, orders.c.expires_at <= now - TOLD_S) if now - self._asked_first >= TOLD_S else HEARD


class Journal:
    """Plans, decisions, orders, outcomes and the counts over them."""

    def __init__(self, db: Database, step_s: int = SLOT_S, raised_floor_s: float = 86400.0) -> None:
        self._db = db
        self._raised_floor_s = raised_floor_s
        self._plans = Plans(db)
        self._wishes = Wishes(db, step_s)
        self._silence = Silence()
        self._count = db.upsert(counters, ["name"], add=["value"])

    # --- writing ---

    def record(self, plan: Plan, new: Sequence[Order]) -> None:
        """Write a plan and its orders in one transaction; orders supersede their servers' open ones.

        What takes long is done before: reports wait for the writer, too (0.6 s for 30,000 servers when it was done inside).
        A server that began to migrate, or was claimed from a pool, while the plan was made gets no order from it.
        Raises Invalid for an order without a decision in the plan: nothing is ordered that nobody decided.
        """
        decided = _decided(plan, new)
        for order in new:
            if order.server not in decided:
                raise Invalid(f"order {order.order} is for server {order.server}, of which plan {plan.plan} decided nothing")
        rows = self._plans.prepare(plan, list(decided.values()))
        wanted = [self._wishes.prepare(plan.at, kind, slot) for kind, slot in ((PLANNED, _wished(plan)), (AHEAD, _made_ahead(plan)))]
        floors = self._other_floors(plan)
        with self._db.write() as conn:
            taken = _taken_meanwhile(conn, plan.at) if new else frozenset()
            new = [o for o in new if o.server not in taken]
            self._plans.write(conn, rows)
            for ready in wanted:
                self._wishes.fold_prepared(conn, ready)
            if floors:
                conn.execute(_set_floor, floors)
            replaced = sum(_write_order(conn, o, decided[o.server].host, _changes(o, decided[o.server]), plan.at) for o in new)
            self._add(conn, {"orders": len(new), "orders_superseded": replaced, **_counted(plan)})

    def again(self, order: Order, host: str, has: tuple[float, float], now: float) -> None:
        """Write an order that repeats what was proven before: no plan decided it. ``has``: cores and MiB that the server has now."""
        changes = (order.cpu.cores - has[0] if order.cpu else None, order.memory.mib - has[1] if order.memory else None)
        with self._db.write() as conn:
            replaced = _write_order(conn, order, host, changes, now)
            self._add(conn, {"orders": 1, "orders_superseded": replaced})

    def settle(self, told: Iterable[Outcome], now: float, host: str | None = None) -> None:
        """Fold outcomes into their orders (``settle_in``), in a transaction of its own."""
        with self._db.write() as conn:
            self.settle_in(conn, told, now, host)

    def settle_in(self, conn: Connection, told: Iterable[Outcome], now: float, host: str | None = None) -> tuple[Outcome, ...]:
        """Fold outcomes into orders and the record of local actions. Returns the strays.

        Stray: of an order that is unknown, another host's or another server's, or of a server that is not the host's.
        A stray is kept for people to see and changes nothing. ``host`` None trusts the sender (tests, replay).
        """
        strays = []
        for outcome in told:
            known = self._settle_order if outcome.origin is Origin.ORDER else self._note_local
            if not known(conn, outcome, now, host):
                strays.append(outcome)
                _write_outcome(conn, outcome, host or "", stray=True)
                self._add(conn, {"strays": 1})
        return tuple(strays)

    def expire(self, now: float) -> int:
        """Close open orders whose time is over, once nothing more is told of them; returns how many."""
        with self._db.write() as conn:
            over = or_(~FETCHED, self._silence.over(now))
            overdue = (orders.c.status == Status.OPEN.value, orders.c.expires_at <= now, over)
            count = conn.execute(update(orders).where(*overdue).values(status=_seen(Status.EXPIRED), closed_at=now)).rowcount
            self._add(conn, {"orders_expired": count})
            return count

    def tidy(self, now: float, hold_s: float, acting_s: float) -> None:
        """Delete what is older than its retention. The newest plan stays whole; open orders stay."""
        with self._db.write() as conn:
            self._plans.tidy(conn, now, hold_s, acting_s)
            self._wishes.tidy(conn, now)
            conn.execute(delete(orders).where(orders.c.issued_at < now - acting_s, orders.c.status != Status.OPEN.value))
            conn.execute(delete(outcomes).where(outcomes.c.at < now - acting_s))

    def _other_floors(self, plan: Plan) -> list[dict[str, Any]]:
        """Floors in force, for the replies to agents; only those that are others than before: few are. Only plans write them."""
        table = plan.table
        told: dict[str, tuple[float, float]] = {d.server: (d.floor.cpu.cores, d.floor.memory.mib) for d in plan.written}
        told |= zip(table.servers, zip(table.cpu.floor.tolist(), table.memory.floor.tolist(), strict=True), strict=True)
        with self._db.read() as conn:
            known = {server: (cpu, memory) for server, cpu, memory in conn.execute(_floors).all()}
        return [{"of": s, "c": c, "m": m} for s, (c, m) in told.items() if s in known and known[s] != (c, m)]

    # --- reading ---

    def open_orders(self, host: HostName, now: float) -> tuple[Order, ...]:
        """Orders that the host should carry out, oldest first."""
        with self._db.read() as conn:
            return steering.open_orders(conn, host, now)

    def latest_plan(self) -> Plan | None:
        """The newest plan, whole."""
        return self._plans.latest()

    def decisions(self, server: str, *, at: float | None = None, limit: int = 5) -> tuple[Decision, ...]:
        """A server's decisions, newest first; with ``at``, those up to that instant."""
        return self._plans.about(server, at, limit)

    def caused(self, cause: str) -> Decision | None:
        """The decision with this cause id; None where none is kept."""
        return self._plans.caused(cause)

    def orders(self, server: str, limit: int = 5, *, at: float | None = None) -> tuple[OrderAnswer, ...]:
        """A server's orders with what came of them, newest first."""
        query = select(orders).where(orders.c.server == server)
        if at is not None:
            query = query.where(orders.c.issued_at <= at)
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(orders.c.issued_at.desc(), orders.c.order).limit(limit)).all()
            told = _outcomes_of(conn, [r.order for r in rows])
        return tuple(OrderAnswer(order=_order.decode(r.data), status=r.status, outcomes=tuple(told.get(r.order, ()))) for r in rows)

    def local_actions(self, server: str, limit: int = 5, *, at: float | None = None) -> tuple[Outcome, ...]:
        """What the agent did to a server by itself, newest first."""
        query = select(outcomes.c.data).where(
            outcomes.c.server == server, outcomes.c.origin != Origin.ORDER.value, outcomes.c.stray.is_(False)
        )
        if at is not None:
            query = query.where(outcomes.c.at <= at)
        with self._db.read() as conn:
            found = conn.execute(query.order_by(outcomes.c.at.desc(), outcomes.c.id.desc()).limit(limit)).scalars().all()
        return tuple(map(_outcome.decode, found))

    def recent_wanted(self, resource: str, since: float) -> dict[str, float]:
        """The largest wish of each server since then: the hold time survives a restart. Exact to one slot, on the safe side."""
        return self._wishes.largest(resource, since)

    def wished(self, since: float) -> tuple[tuple[float, str, Slot], ...]:
        """All that was wanted since then: start and kind of each slot, and what was wanted in it."""
        return self._wishes.slots(since)

    def count(self, amounts: Mapping[str, int]) -> None:
        """Add to the totals that ``counts`` tells."""
        with self._db.write() as conn:
            self._add(conn, amounts)

    def wanted_since(self) -> float:
        """From when on wishes are known: an upgrade forgets earlier ones, and nobody can say then what was wanted before."""
        return self._wishes.known_since()

    def counts(self) -> dict[str, int]:
        """Totals since the database was made: decisions, orders, orders_applied, orders_refused, orders_failed, orders_expired,
        orders_superseded, reflexes, statics, cap_actions, strays, changed_by_forecast; orders_open as of now.
        """
        with self._db.read() as conn:
            totals = {name: int(value) for name, value in conn.execute(select(counters))}
            open_now = conn.execute(select(func.count()).select_from(orders).where(orders.c.status == Status.OPEN.value)).scalar_one()
        return {**dict.fromkeys(_COUNTED, 0), **totals, "orders_open": open_now}

    # --- steps ---

    def _settle_order(self, conn: Connection, outcome: Outcome, now: float, host: str | None) -> bool:
        row = conn.execute(select(orders).where(orders.c.order == outcome.order)).one_or_none()
        if row is None or row.server != outcome.server or host not in (None, row.host):
            return False
        before = _state(row)
        if outcome.resource not in before.told:
            return False
        if _known(conn, outcome):
            return True
        _write_outcome(conn, outcome, row.host, stray=False)
        after = tell(before, outcome.resource, outcome.verdict)
        if after != before:
            _write_state(conn, outcome.order, after, now)
            if after.status is not Status.OPEN:
                self._add(conn, {f"orders_{after.status}": 1})
        return True

    def _note_local(self, conn: Connection, outcome: Outcome, now: float, host: str | None) -> bool:
        row = conn.execute(
            select(servers.c.host, servers.c.raised_floor, servers.c.raised_until).where(servers.c.id == outcome.server)
        ).one_or_none()
        if row is None or host not in (None, row.host):
            return False
        if _known(conn, outcome):
            return True
        _write_outcome(conn, outcome, row.host, stray=False)
        self._add(conn, {_LOCAL[outcome.origin]: 1})
        if outcome.origin is not Origin.REFLEX:
            return True
        if outcome.resource == "cpu" and outcome.verdict is Verdict.APPLIED:
            # as much as if a plan had wanted it: the next plan, which sees means over minutes, must not take it back at once
            given = Slot((outcome.server,), np.array([outcome.after]), np.array([np.nan]))
            self._wishes.fold(conn, min(outcome.at, now), GIVEN, given)
        if outcome.resource == "memory" and outcome.verdict in (Verdict.APPLIED, Verdict.PENDING):
            in_force, until = (row.raised_floor, row.raised_until) if row.raised_until and row.raised_until > now else (0.0, 0.0)
            # an agent whose clock is ahead must not bind the floor for as much longer; a late outcome not shorten it
            ends = max(until, min(outcome.at, now) + self._raised_floor_s)
            change = {"raised_floor": max(in_force, outcome.target), "raised_until": ends}
            conn.execute(update(servers).where(servers.c.id == outcome.server).values(change))
        return True

    def _add(self, conn: Connection, amounts: Mapping[str, int]) -> None:
        self._count.run(conn, [(name, n) for name, n in amounts.items() if n])


_COUNTED = (
    "decisions",
    "orders",
    "orders_applied",
    "orders_refused",
    "orders_failed",
    "orders_expired",
    "orders_superseded",
    "reflexes",
    "statics",
    "cap_actions",
    "strays",
    "changed_by_forecast",
    "ahead_unused_mcore_s",
    "ahead_unused_mib_s",
)

_LOCAL = {Origin.REFLEX: "reflexes", Origin.STATIC: "statics", Origin.CAP: "cap_actions"}

_set_floor = update(servers).where(servers.c.id == bindparam("of")).values(floor_cpu=bindparam("c"), floor_memory=bindparam("m"))
_floors = select(servers.c.id, servers.c.floor_cpu, servers.c.floor_memory)


def _decided(plan: Plan, new: Sequence[Order]) -> Mapping[str, Decision]:
    """Decisions about the servers that are ordered to change, in words."""
    written: dict[str, Decision] = {d.server: d for d in plan.written}
    found = {o.server: written.get(o.server) or plan.decision(o.server) for o in new}
    return {server: d for server, d in found.items() if d is not None}


def _made_ahead(plan: Plan) -> Slot:
    """What was wanted of those for whom only a forecast explains it; NaN for their other resource."""
    table = plan.table
    wanted = [np.where(s.ahead, s.wanted, np.nan) for s in (table.cpu, table.memory)]
    rows = np.flatnonzero(np.isfinite(wanted[0]) | np.isfinite(wanted[1]))
    return Slot(tuple(table.servers[i] for i in rows.tolist()), wanted[0][rows], wanted[1][rows])


def _wished(plan: Plan) -> Slot:
    """What was wanted of everybody."""
    table, written = plan.table, plan.written
    cpu = np.append(table.cpu.wanted, [d.cpu.wanted for d in written])
    memory = np.append(table.memory.wanted, [d.memory.wanted for d in written])
    return Slot((*table.servers, *(d.server for d in written)), cpu, memory)


def _counted(plan: Plan) -> Mapping[str, int]:
    written, table = plan.written, plan.table
    changed = sum(d.cpu.changed_by_forecast + d.memory.changed_by_forecast for d in written)
    changed += int(np.count_nonzero(table.cpu.changed_by_forecast)) + int(np.count_nonzero(table.memory.changed_by_forecast))
    return {"decisions": len(written) + len(table), "changed_by_forecast": changed}


def _changes(order: Order, decision: Decision) -> tuple[float | None, float | None]:
    """Cores and MiB more than it has; None where nothing is asked."""
    cpu = None if order.cpu is None else order.cpu.cores - decision.cpu.allocation
    return cpu, None if order.memory is None else order.memory.mib - decision.memory.allocation


def _taken_meanwhile(conn: Connection, since: float) -> frozenset[str]:
    """Servers with a migration that is beyond its queue, and those claimed after an instant: plans of before knew it otherwise."""
    moving = select(migrations.c.server).where(migrations.c.ended_at.is_(None), migrations.c.state != State.QUEUED.value)
    claimed = select(shadows.c.server).where(shadows.c.state.in_(_CUSTOMERS), shadows.c.since > since)
    return frozenset(conn.execute(moving.union(claimed)).scalars())


def _write_order(conn: Connection, order: Order, host: str, changes: tuple[float | None, float | None], now: float) -> int:
    """Open an order; returns how many it superseded (none or one). ``changes``: cores and MiB more than the server has."""
    open_one = (orders.c.server == order.server, orders.c.status == Status.OPEN.value)
    replaced = conn.execute(update(orders).where(*open_one).values(status=_seen(Status.SUPERSEDED), closed_at=now)).rowcount
    row = {
        "order": order.order,
        "plan": order.plan,
        "server": order.server,
        "host": host,
        "status": begin(order).status.value,
        "issued_at": order.issued_at,
        "expires_at": order.expires_at,
        "cpu_change": changes[0],
        "memory_change": changes[1],
        "data": _json.encode(order),
    }
    conn.execute(insert(orders), row)
    return replaced


def _seen(status: Status) -> Any:
    """The status of an order that is closed; one that no agent can have seen says nothing of agents."""
    return case((FETCHED, status.value), else_=Status.UNSEEN.value)


def _write_outcome(conn: Connection, outcome: Outcome, host: str, *, stray: bool) -> None:
    row = {
        "order": outcome.order,
        "server": outcome.server,
        "host": host,
        "origin": outcome.origin.value,
        "resource": outcome.resource,
        "verdict": outcome.verdict.value,
        "at": outcome.at,
        "stray": stray,
        "data": _json.encode(outcome),
    }
    conn.execute(insert(outcomes), row)
    if not stray:
        _publish(conn, outcome, host)


def _publish(conn: Connection, o: Outcome, host: str) -> None:
    told = {f: getattr(o, f) for f in ("order", "server", "resource", "before", "target", "after", "at", "code", "reason")}
    told |= {"origin": o.origin.value, "verdict": o.verdict.value}
    publish(conn, "outcome", owner(conn, o.server), told, {"host": host, "cause": o.cause})


def _known(conn: Connection, o: Outcome) -> bool:
    """Whether this very outcome was told before: agents repeat themselves until they are acknowledged."""
    same = (outcomes.c.order == o.order, outcomes.c.server == o.server, outcomes.c.resource == o.resource)
    query = select(outcomes.c.id).where(*same, outcomes.c.verdict == o.verdict.value, outcomes.c.at == o.at, outcomes.c.stray.is_(False))
    return conn.execute(query.limit(1)).first() is not None


def _state(row: Any) -> OrderState:
    asked = begin(_order.decode(row.data)).told
    told = {"cpu": row.cpu_verdict, "memory": row.memory_verdict}
    return OrderState(Status(row.status), {r: Verdict(told[r]) if told[r] else None for r in asked})


def _write_state(conn: Connection, order: str, state: OrderState, now: float) -> None:
    verdicts = {f"{r}_verdict": v.value if v else None for r, v in state.told.items()}
    closed = {} if state.status is Status.OPEN else {"closed_at": now}
    conn.execute(update(orders).where(orders.c.order == order).values(status=state.status.value, **verdicts, **closed))


def _outcomes_of(conn: Connection, ids: Sequence[str]) -> dict[str, list[Outcome]]:
    query = select(outcomes.c.order, outcomes.c.data).where(outcomes.c.order.in_(ids), outcomes.c.stray.is_(False)).order_by(outcomes.c.id)
    told: dict[str, list[Outcome]] = {}
    for order, data in conn.execute(query):
        told.setdefault(order, []).append(_outcome.decode(data))
    return told
