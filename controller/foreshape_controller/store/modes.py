"""How far Foreshape may go, per cloud, host, project and server; the lowest of those that are set wins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from foreshape_controller.errors import Invalid
from foreshape_controller.model.choice import Terms, word
from foreshape_controller.store.engine import Database
from foreshape_controller.store.orders import Status
from foreshape_controller.store.schema import choices, cloud_servers, hosts, modes, orders, servers
from foreshape_controller.store.telling import owner_of, tell
from foreshape_wire.order import Mode, Verdict

KINDS = ("host", "project", "server")


@dataclass(frozen=True)
class ModeSet:
    """What somebody set for a scope, when and why."""

    scope: str
    mode: Mode
    since: float
    reason: str
    stopped: bool = False
    """By a stop, which kept the mode before it."""


@dataclass(frozen=True)
class Stopped:
    """What a stop did to the orders that were open."""

    withdrawn: int
    with_agents: int
    """Of those: an agent has them already, and may carry them out; it is handed none again."""


@dataclass(frozen=True)
class Levels:
    """All modes at one instant."""

    by_scope: Mapping[str, Mode]
    default: Mode
    chosen: Mapping[str, Mode] = field(default_factory=dict)
    """By tenants, for their own projects and servers."""
    terms: Terms = field(default_factory=Terms)

    def effective(self, host: str, project: str = "", server: str = "") -> Mode:
        """The lowest of the scopes that a server (or a host alone) is in, and of what its owner chose."""
        operators = self.operators(host, project, server)
        return min(operators, self.owner(project, server), key=lambda m: m.rank) if project or server else operators

    def owner(self, project: str, server: str) -> Mode:
        """What the owner of a server lets us do."""
        if not self.chosen and self.terms.default is Mode.ACT:
            return self.terms.most
        return word(self.chosen, self.terms, project, server)

    def operators(self, host: str, project: str = "", server: str = "") -> Mode:
        """The same without what its owner chose."""
        own = self._by_kind
        found = [m for kind, name in zip(KINDS, (host, project, server), strict=True) if name and (m := own[kind].get(name))]
        return min([self._cloud, *found], key=lambda m: m.rank) if found else self._cloud

    @cached_property
    def _cloud(self) -> Mode:
        return self.by_scope.get("cloud", self.default)

    @cached_property
    def _by_kind(self) -> Mapping[str, Mapping[str, Mode]]:
        """Few have a mode of their own: 30,000 servers are asked about in each plan."""
        split = [(*scope.partition(":")[::2], mode) for scope, mode in self.by_scope.items()]
        return {kind: {name: mode for of, name, mode in split if of == kind} for kind in KINDS}


class Modes:
    """Scopes are ``cloud``, ``host:NAME``, ``project:ID``, ``server:ID``."""

    def __init__(self, db: Database, default: Mode) -> None:
        self._db = db
        self._default = default
        self.terms = Terms()
        """What tenants may choose; set once, at the start."""
        self._put = db.upsert(modes, ["scope"])

    def get(self, scope: str) -> ModeSet | None:
        """What is set for exactly this scope; None if nothing is. The cloud always has a mode."""
        check_scope(scope)
        with self._db.read() as conn:
            row = conn.execute(select(modes).where(modes.c.scope == scope)).one_or_none()
        if row is not None:
            return _set(row)
        return ModeSet(scope, self._default, 0.0, "the configured default") if scope == "cloud" else None

    def all(self) -> tuple[ModeSet, ...]:
        """Everything that is set, the cloud first."""
        with self._db.read() as conn:
            rows = conn.execute(select(modes).where(modes.c.scope != "cloud").order_by(modes.c.scope)).all()
        cloud = self.get("cloud")
        assert cloud is not None
        return (cloud, *map(_set, rows))

    def set(self, scope: str, mode: Mode, reason: str, now: float) -> None:
        """Set a scope's mode."""
        check_scope(scope)
        with self._db.write() as conn:
            self._put.run(conn, [(scope, mode.value, reason, now, None)])
            _tell(conn, scope, mode.value, reason, now)

    def unset(self, scope: str) -> None:
        """Let a scope follow the others again."""
        check_scope(scope)
        with self._db.write() as conn:
            if conn.execute(delete(modes).where(modes.c.scope == scope)).rowcount:
                _tell(conn, scope, "", "it follows the others again")

    def stop(self, scope: str, reason: str, now: float) -> Stopped:
        """Mode observe, and the scope's open orders withdrawn, in one transaction: no agent can fetch one after it."""
        check_scope(scope)
        with self._db.write() as conn:
            row = conn.execute(select(modes).where(modes.c.scope == scope)).one_or_none()
            before = "" if row is None else row.mode if row.before is None else row.before
            self._put.run(conn, [(scope, Mode.OBSERVE.value, reason, now, before)])
            _tell(conn, scope, Mode.OBSERVE.value, reason, now)
            return withdraw(conn, scope, now)

    def resume(self, scope: str, reason: str, now: float) -> None:
        """Put back the mode that a stop replaced. Orders that a plan under way left meanwhile are withdrawn: they are of before.

        Raises Invalid where nothing is stopped.
        """
        check_scope(scope)
        with self._db.write() as conn:
            row = conn.execute(select(modes).where(modes.c.scope == scope)).one_or_none()
            if row is None or row.before is None:
                raise Invalid(f"{scope} is not stopped: 'foreshape mode list' shows what is set")
            if row.before:
                self._put.run(conn, [(scope, row.before, reason, now, None)])
            else:
                conn.execute(delete(modes).where(modes.c.scope == scope))
            _tell(conn, scope, row.before, reason, now)
            withdraw(conn, scope, now)

    def effective(self, host: str, project: str = "", server: str = "") -> Mode:
        """The mode in force for a server, or for a host alone."""
        with self._db.read() as conn:
            return self.levels(conn).effective(host, project, server)

    def now(self) -> Levels:
        """All modes, for whoever asks about many servers."""
        with self._db.read() as conn:
            return self.levels(conn)

    def levels(self, conn: Connection) -> Levels:
        """All modes, inside the caller's snapshot."""
        set_, chosen = ({r.scope: Mode(r.mode) for r in conn.execute(select(table.c.scope, table.c.mode))} for table in (modes, choices))
        return Levels(set_, self._default, chosen, self.terms)


def _set(row: Any) -> ModeSet:
    return ModeSet(row.scope, Mode(row.mode), row.since, row.reason, row.before is not None)


def _tell(conn: Connection, scope: str, mode: str, reason: str, at: float | None = None) -> None:
    told = {"scope": scope, "mode": mode, "at": at}
    tell(conn, "mode", owner_of(conn, scope), told if scope == "cloud" else {**told, "reason": reason}, {"reason": reason})


def withdraw(conn: Connection, scope: str, now: float) -> Stopped:
    """The open orders of a scope, inside another's transaction."""
    mine = [orders.c.status == Status.OPEN.value, *_inside(scope)]
    fetched = or_(
        hosts.c.received_at > orders.c.issued_at, *(v == Verdict.PENDING.value for v in (orders.c.cpu_verdict, orders.c.memory_verdict))
    )
    counted = select(func.count()).select_from(orders.outerjoin(hosts, hosts.c.name == orders.c.host)).where(*mine, fetched)
    with_agents = conn.execute(counted).scalar_one()
    done = conn.execute(update(orders).where(*mine).values(status=Status.WITHDRAWN.value, closed_at=now))
    return Stopped(done.rowcount, with_agents)


def _inside(scope: str) -> tuple[ColumnElement[bool], ...]:
    """What says that an order is in a scope."""
    kind, _, name = scope.partition(":")
    if kind == "project":
        project = func.coalesce(cloud_servers.c.project, servers.c.project)
        worded = servers.outerjoin(cloud_servers, cloud_servers.c.server == servers.c.id)
        return (orders.c.server.in_(select(servers.c.id).select_from(worded).where(project == name)),)
    return {"host": (orders.c.host == name,), "server": (orders.c.server == name,)}.get(kind, ())


def check_scope(scope: str) -> None:
    """Raises Invalid for anything that is not a scope."""
    kind, colon, name = scope.partition(":")
    if scope != "cloud" and not (kind in KINDS and colon and name):
        raise Invalid(f"{scope!r} is not a scope: write cloud, host:NAME, project:ID or server:ID")
