"""The spool's file: SQLite in WAL mode. The only place that opens it.

Python's own sqlite3, not a wrapper: what a wrapper would save here is a few words of SQL, and the agent has 60 MiB in all
(sqlite-utils was measured: 4 MiB, 16 where numpy is installed).
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from foreshape_agent.errors import SpoolFull

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS reports (
  id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, sequence INTEGER NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL,
  outcomes BLOB NOT NULL, gap BLOB NOT NULL, poison TEXT NOT NULL DEFAULT '', UNIQUE (epoch, sequence));
CREATE TABLE IF NOT EXISTS outcomes (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS actions (key TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS settled (id INTEGER PRIMARY KEY, key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, body BLOB NOT NULL);
"""
Statement = tuple[str, Sequence[Any]]
T = TypeVar("T")


class Unreadable(Exception):
    """The file is torn, foreign or of another version."""


class Disk:
    """One open file. Raises SpoolFull where waiting may help, Unreadable where it does not."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection = _guarded(lambda: _connect(path))

    def write(self, statements: Iterable[Statement]) -> None:
        """All or nothing, in one transaction."""

        def all_of_it() -> None:
            with self.connection as c:
                for sql, values in statements:
                    c.execute(sql, values)

        _guarded(all_of_it)

    def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return _guarded(lambda: self.connection.execute(sql, values).fetchall())

    def close(self) -> None:
        self.connection.close()


def move_aside(path: str) -> str:
    """Keep an unreadable file (and its WAL) under another name; that name."""
    aside = next(p for n in range(1, 100_000) if not (p := Path(f"{path}.unreadable-{n}")).exists())
    for suffix in ("", "-wal", "-shm"):
        if (old := Path(path + suffix)).exists():
            old.rename(f"{aside}{suffix}")
    return str(aside)


def _guarded(call: Callable[[], T]) -> T:
    """A disk that is full, read-only or locked is SpoolFull; a file that is no database is Unreadable."""
    try:
        return call()
    except (sqlite3.OperationalError, OSError) as e:
        raise SpoolFull(str(e)) from e
    except sqlite3.DatabaseError as e:
        raise Unreadable(str(e)) from e


def _connect(path: str) -> sqlite3.Connection:
    if path != ":memory:":
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 256")  # 1 MiB beside the file, not 4: small disks are the ones that fill
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, SCHEMA}:
        connection.close()
        raise Unreadable(f"its version is {version}, this agent writes {SCHEMA}")
    connection.executescript(TABLES)
    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    return connection
