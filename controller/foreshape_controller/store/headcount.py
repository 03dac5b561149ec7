"""How many there are of what, by state: one statement each, for whoever watches from outside."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Column, func, select
from sqlalchemy.engine import make_url

from foreshape_controller.store.engine import Database
from foreshape_controller.store.migrate import newest
from foreshape_controller.store.schema import migrations, modes, needs, requests, reservations, servers, shadows


class Headcount:
    """Each answer is one small query over an index or a small table."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def reservations(self) -> Mapping[str, int]:
        """By state; those that are over as long as they are kept."""
        return self._by(reservations.c.state)

    def migrations(self) -> Mapping[str, int]:
        """By state; those that ended as long as they are kept."""
        return self._by(migrations.c.state)

    def requests(self) -> Mapping[str, int]:
        """Tenants' requests by state, those that are over as long as they are kept."""
        return self._by(requests.c.state)

    def needs(self) -> Mapping[str, int]:
        """Open ones, by resource."""
        query = select(needs.c.resource, func.count()).where(needs.c.closed_at.is_(None)).group_by(needs.c.resource)
        with self._db.read() as conn:
            return {resource: int(n) for resource, n in conn.execute(query)}

    def shadows(self) -> Mapping[tuple[str, str], int]:
        """Shadow VMs by pool and state."""
        query = select(shadows.c.pool, shadows.c.state, func.count()).group_by(shadows.c.pool, shadows.c.state)
        with self._db.read() as conn:
            return {(pool, state): int(n) for pool, state, n in conn.execute(query)}

    def stopped(self) -> int:
        """Scopes that somebody stopped and did not resume."""
        with self._db.read() as conn:
            return int(conn.execute(select(func.count()).where(modes.c.before.is_not(None)).select_from(modes)).scalar_one())

    def cards_missing(self) -> int:
        """Servers that nothing can be decided about: their host never told what they are."""
        query = select(func.count()).select_from(servers).where(servers.c.card.is_(None), servers.c.released_at.is_(None))
        with self._db.read() as conn:
            return int(conn.execute(query).scalar_one())

    def schema_differs(self) -> str:
        """How the database's schema differs from this program's; empty: it does not."""
        with self._db.read() as conn:
            there = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return "" if there == newest() else f"{there} there, {newest()} here"

    def store_bytes(self) -> Mapping[str, int]:
        """Size of the database's files, and what is free on their disk; nothing where the database is no file."""
        url = make_url(str(self._db.engine.url))
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return {}
        file = Path(url.database)
        parts = (file, file.with_name(f"{file.name}-wal"))
        return dict(zip(("database", "wal"), map(_size, parts), strict=True))

    def folder(self) -> Path | None:
        """Where the database's file lies; None where it is no file."""
        url = make_url(str(self._db.engine.url))
        return Path(url.database).parent if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:") else None

    def _by(self, state: "Column[str]") -> Mapping[str, int]:
        with self._db.read() as conn:
            return {value: int(n) for value, n in conn.execute(select(state, func.count()).group_by(state))}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
