"""How far Foreshape may go, per cloud, host, project and server; the lowest of those that are set wins."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from foreshape_controller.errors import Invalid
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import modes
from foreshape_wire.order import Mode

KINDS = ("host", "project", "server")


@dataclass(frozen=True)
class ModeSet:
    """What somebody set for a scope, when and why."""

    scope: str
    mode: Mode
    since: float
    reason: str


@dataclass(frozen=True)
class Levels:
    """All modes at one instant."""

    by_scope: Mapping[str, Mode]
    default: Mode

    def effective(self, host: str, project: str = "", server: str = "") -> Mode:
        """The lowest of the scopes that a server (or a host alone) is in."""
        inside = (f"{kind}:{name}" for kind, name in zip(KINDS, (host, project, server), strict=True) if name)
        found = [self.by_scope[s] for s in inside if s in self.by_scope]
        return min([self.by_scope.get("cloud", self.default), *found], key=lambda m: m.rank)


class Modes:
    """Scopes are ``cloud``, ``host:NAME``, ``project:ID``, ``server:ID``."""

    def __init__(self, db: Database, default: Mode) -> None:
        self._db = db
        self._default = default
        self._put = db.upsert(modes, ["scope"])

    def get(self, scope: str) -> ModeSet | None:
        """What is set for exactly this scope; None if nothing is. The cloud always has a mode."""
        check_scope(scope)
        with self._db.read() as conn:
            row = conn.execute(select(modes).where(modes.c.scope == scope)).one_or_none()
        if row is not None:
            return ModeSet(row.scope, Mode(row.mode), row.since, row.reason)
        return ModeSet(scope, self._default, 0.0, "the configured default") if scope == "cloud" else None

    def all(self) -> tuple[ModeSet, ...]:
        """Everything that is set, the cloud first."""
        with self._db.read() as conn:
            rows = conn.execute(select(modes).where(modes.c.scope != "cloud").order_by(modes.c.scope)).all()
        cloud = self.get("cloud")
        assert cloud is not None
        return (cloud, *(ModeSet(r.scope, Mode(r.mode), r.since, r.reason) for r in rows))

    def set(self, scope: str, mode: Mode, reason: str, now: float) -> None:
        """Set a scope's mode."""
        check_scope(scope)
        with self._db.write() as conn:
            self._put.run(conn, [(scope, mode.value, reason, now, None)])

    def unset(self, scope: str) -> None:
        """Let a scope follow the others again."""
        check_scope(scope)
        with self._db.write() as conn:
            conn.execute(delete(modes).where(modes.c.scope == scope))

    def effective(self, host: str, project: str = "", server: str = "") -> Mode:
        """The mode in force for a server, or for a host alone."""
        with self._db.read() as conn:
            return self.levels(conn).effective(host, project, server)

    def levels(self, conn: Connection) -> Levels:
        """All modes, inside the caller's snapshot."""
        return Levels({r.scope: Mode(r.mode) for r in conn.execute(select(modes.c.scope, modes.c.mode))}, self._default)


def check_scope(scope: str) -> None:
    """Raises Invalid for anything that is not a scope."""
    kind, colon, name = scope.partition(":")
    if scope != "cloud" and not (kind in KINDS and colon and name):
        raise Invalid(f"{scope!r} is not a scope: write cloud, host:NAME, project:ID or server:ID")
