"""What PostgreSQL needs to be told so that the store means the same on it as on SQLite.

- One writer at a time, over all controllers on one database: each writing transaction begins with an advisory lock, as each of SQLite's
  begins with the file's. What reads, decides and writes in one transaction therefore needs no row locks, and ours neither deadlock with
  each other nor fail to serialise.
- A reading is one snapshot (REPEATABLE READ, read only), as in SQLite's WAL.
- Lengths of names are not the database's business, and a NUL in one is no reason to refuse a report.
"""

from typing import Any

from sqlalchemy import Connection, Engine, String, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.compiler import compiles

from foreshape_controller.errors import ConfigError

WRITER = 0x666F726573686170
"""The advisory lock's key: "foreshap"."""
IDLE_S = 60
"""A transaction of ours whose process says nothing for so long is ended by the server: others wait for it."""
CONNECTIONS = 20
READS = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
WRITES, WAITS = "foreshape_write", "foreshape_wait_s"
"""Options of a connection: it writes; how long it may wait for the others, where that is not as configured."""


@compiles(String, "postgresql")
def _unlimited(_type: String, _compiler: Any, **_words: Any) -> str:
    return "VARCHAR"


def connect(url: URL, *, synchronous: str, busy_s: float, read_only: bool) -> Engine:
    """Nothing is asked of the server yet. Raises ConfigError where the driver is not installed or not the one that is tested."""
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(f"[store] url: {url.drivername} is not a driver that works here: write postgresql+psycopg://")
    told = {"lock_timeout": round(busy_s * 1000), "idle_in_transaction_session_timeout": IDLE_S * 1000, "application_name": "foreshape"}
    told |= {"default_transaction_read_only": "on"} if read_only else {}
    told |= {"synchronous_commit": "off"} if synchronous != "full" else {}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=max(1.0, busy_s),
            connect_args={"options": " ".join(f"-c {k}={v}" for k, v in told.items()), "connect_timeout": max(2, round(busy_s))},
        )
    except ModuleNotFoundError as e:
        raise ConfigError(f"[store] url: PostgreSQL needs psycopg ({e}): pip install 'foreshape[postgresql]'") from e
    event.listen(engine, "connect", _adapt)
    event.listen(engine, "begin", _begin)
    return engine


def _adapt(connection: Any, _record: Any) -> None:
    """PostgreSQL keeps no NUL in a text; it is replaced by what Unicode has for what cannot be shown."""
    from psycopg.types.string import StrDumper  # noqa: PLC0415  only where PostgreSQL is configured

    class Clean(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\x00", "\ufffd"))

    connection.adapters.register_dumper(str, Clean)


def _begin(conn: Connection) -> None:
    options = conn.get_execution_options()
    if not options.get(WRITES):
        return
    if (wait_s := options.get(WAITS)) is not None:
        conn.exec_driver_sql(f"SET LOCAL lock_timeout = {round(wait_s * 1000)}")
    conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")


def check(conn: Connection) -> None:
    """Raises ConfigError for a database that cannot keep what we write."""
    encoding = conn.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigError(f"[store] url: the database's encoding is {encoding}: make it with ENCODING 'UTF8'")
