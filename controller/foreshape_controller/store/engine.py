"""The door to the database: one writer at a time, many readers, and errors in our own words.

SQLite runs in WAL mode. ``synchronous=FULL`` by default: an agent forgets a report once it is acknowledged, so
"acknowledged" has to survive a power cut, not only kill -9. It costs one fsync per report: 0.2 ms on a virtual
disk with a write cache, 5 ms on a bare SSD, where it bounds ingest to 200 reports/s (2000 hosts at 10 s).
PostgreSQL means the same in its own words (``postgres.py``).
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction, StaticPool, Table, create_engine, event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.sql import ColumnElement, case

from foreshape_controller.bus import Bus
from foreshape_controller.errors import ConfigError, Unavailable
from foreshape_controller.model.tally import Tally
from foreshape_controller.store import postgres
from foreshape_controller.store.turns import Turns

Row = tuple[Any, ...]

TRIES = 2
"""To get a connection on which a transaction begins."""

TELLING = "foreshape_telling"
"""Where a transaction keeps what is told once it is committed (``store/telling.py``)."""


@dataclass(frozen=True)
class Upsert:
    """A prepared statement: insert rows, or fold them into those that are there."""

    sql: str
    names: tuple[str, ...]
    positional: bool

    def run(self, conn: Connection, rows: Sequence[Row]) -> None:
        """Rows in the order of the table's columns. Straight to the driver: per-row work in Python would cost more than SQLite."""
        if not rows:
            return
        parameters: Any = list(rows) if self.positional else [dict(zip(self.names, r, strict=True)) for r in rows]
        conn.exec_driver_sql(self.sql, parameters)


class Database:
    """Transactions on one database. ``write`` holds the single writer's lock; memory databases have one connection for all."""

    def __init__(self, url: str, *, synchronous: str = "full", busy_s: float = 5.0, read_only: bool = False) -> None:
        self._lock = threading.RLock()
        self.waited, self.wrote = Tally(), Tally()
        """For the single writer's lock, and how long transactions held it: under that lock."""
        self.bus = Bus()
        """Told of what was committed; nobody listens until somebody watches."""
        self._memory = url in ("sqlite://", "sqlite:///:memory:")
        if read_only:
            _must_exist(url)
        self.engine = _engine(url, self._memory, synchronous, busy_s, read_only=read_only)
        if read_only:
            _forbid_writing(self.engine)
        self._reads: dict[str, Any] = postgres.READS if self.engine.dialect.name == "postgresql" else {}
        self._writer: Connection | None = None
        self._turns = None if read_only else _turns(self.engine, self._memory, busy_s)
        self._turn = self._turns or nullcontext

    def close(self) -> None:
        with self._lock:
            self._drop_writer()
            self.engine.dispose()
            if self._turns is not None:
                self._turns.close()

    @contextmanager
    def write(self, wait_s: float | None = None) -> Iterator[Connection]:
        """One transaction, all or nothing: durable when the block has ended without an error.

        ``wait_s``: how long to wait for other processes that write, where it is not as configured; SQLite waits as configured.
        """
        asked = time.monotonic()
        with self._lock, self._turn(), self._translated():
            began = time.monotonic()
            self.waited.add(began - asked)
            try:
                writer, transaction = self._begun(wait_s)
                telling = writer.info[TELLING] = []
                with transaction:
                    yield writer
                for told in telling:
                    self.bus.publish(*told)
            except exc.DBAPIError:
                self._drop_writer()
                raise
            finally:
                self.wrote.add(time.monotonic() - began)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot."""
        if self._memory:
            with self.write() as conn:
                yield conn
            return
        with self._translated(), self.engine.connect() as conn:
            conn.execution_options(**self._reads)
            with conn.begin():
                yield conn

    def _begun(self, wait_s: float | None) -> tuple[Connection, RootTransaction]:
        """The writer's connection, and its transaction. One that was lost meanwhile, as by a server's restart, is made again."""
        for _ in range(TRIES):
            self._writer = self._writer or self.engine.connect()
            self._writer.execution_options(**{postgres.WRITES: True, postgres.WAITS: wait_s})
            try:
                return self._writer, self._writer.begin()
            except exc.DBAPIError as e:
                if not e.connection_invalidated or self._memory:
                    raise
                self._drop_writer()
                lost = e
        raise lost

    def upsert(self, table: Table, keys: Sequence[str], *, add: Sequence[str] = (), most: Sequence[str] = ()) -> Upsert:
        """Insert; where the keys exist, add or take the larger of the named columns and replace the others.

        The only place that speaks a dialect: SQLite's and PostgreSQL's ON CONFLICT are the same but for their import.
        """
        return _upsert(self.engine.dialect.name, table, tuple(keys), tuple(add), tuple(most))

    def _drop_writer(self) -> None:
        """Close it for good: after an error nobody knows what state it is in. A memory database lives in it."""
        if self._writer is not None and not self._memory:
            if not self._writer.invalidated:
                self._writer.invalidate()
            self._writer.close()
            self._writer = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise
        except exc.DatabaseError as e:
            raise Unavailable(_explain(" ".join(str(e.orig or e).split()))) from e
        except exc.TimeoutError as e:
            raise Unavailable(f"too much is asked of the controller's database at once: {e}; nothing was taken, try again") from e


@cache
def _upsert(kind: str, table: Table, keys: tuple[str, ...], add: tuple[str, ...], most: tuple[str, ...]) -> Upsert:
    """Written once for a kind of database: forty of them are a third of what opening a store costs."""
    dialect: Any = {"sqlite": sqlite.dialect, "postgresql": psycopg.dialect}[kind]()
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[kind](table)
    fold: dict[str, ColumnElement[Any]] = {}
    for column in table.columns:
        new = insert.excluded[column.name]
        if column.name in add:
            fold[column.name] = column + new
        elif column.name in most:
            fold[column.name] = case((new > column, new), else_=column)
        elif column.name not in keys:
            fold[column.name] = new
    names = tuple(c.name for c in table.columns)
    compiled = insert.on_conflict_do_update(index_elements=list(keys), set_=fold).compile(dialect=dialect, column_keys=list(names))
    return Upsert(str(compiled), names, bool(compiled.positional))


def _turns(engine: Engine, memory: bool, wait_s: float) -> Turns | None:
    """Only SQLite's files need them."""
    file = engine.url.database
    return Turns(Path(file).absolute(), wait_s) if engine.dialect.name == "sqlite" and file and not memory else None


def _explain(reason: str) -> str:
    advice = {
        "lock timeout": "somebody else holds the controller's database; see pg_stat_activity",
        "locked": "another process holds the controller's database; stop it",
        "No space": "the disk of the controller's database is full; free some space",
        "read-only": "the controller's database takes no writes: is it a standby?",
        "refused": "PostgreSQL does not run, or not there",
        "authentication": "check user and password of [store] url",
        "permission denied": "the user of [store] url needs to own the database's tables",
        "terminating": "PostgreSQL is stopping",
        "full": "the disk of the controller's database is full; free some space",
        "readonly": "the controller's database cannot be written; check its owner and mount",
        "unable to open": "the controller's database cannot be opened; check its folder",
        "malformed": "the controller's database is damaged; restore it from a copy",
    }
    hint = next((a for word, a in advice.items() if word in reason), "see the controller's log")
    return f"{reason}: {hint}; nothing was taken, try again"


def _engine(url: str, memory: bool, synchronous: str, busy_s: float, *, read_only: bool) -> Engine:
    try:
        parsed = make_url(url)
    except exc.ArgumentError as e:
        raise ConfigError(f"[store] url: {e}") from e
    if parsed.get_backend_name() == "postgresql":
        return postgres.connect(parsed, synchronous=synchronous, busy_s=busy_s, read_only=read_only)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"[store] url: {parsed.drivername} is not kept here: write sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME")
    if not memory and parsed.database:
        _make_private(Path(parsed.database))
    pool: dict[str, Any] = {"poolclass": StaticPool} if memory else {}
    engine = create_engine(parsed, connect_args={"check_same_thread": False, "timeout": busy_s}, **pool)
    _teach_sqlite(engine, synchronous)
    return engine


def _must_exist(url: str) -> None:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise ConfigError(f"[store] url: there is no database {parsed.database} to read from")


def _forbid_writing(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connect(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA query_only=ON").close()


def _make_private(database: Path) -> None:
    """An empty file that only this user can read, if there is none: it tells what customers do. SQLite's other files follow."""
    folder = database.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"[store] url: there is no folder {folder}: create it, owned by the controller's user")
    try:
        database.touch(mode=0o600)
    except OSError as e:
        raise ConfigError(f"[store] url: {database} cannot be written: {e.strerror}") from e


def _teach_sqlite(engine: Engine, synchronous: str) -> None:
    """Per connection: WAL, foreign keys, our own BEGIN (the driver's would begin too late to be a snapshot)."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            "cache_size=-65536",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("foreshape_write") else "BEGIN")
