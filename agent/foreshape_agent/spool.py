"""What must outlive the agent: reports until they are acknowledged, intents until they are settled, guards, what was taken.

Everything small is held in memory and written through; reports stay on disk. A disk that cannot be written does not stop
the cycle: the small things go on in memory, reports into a bounded buffer, and both are written when the disk takes them
again. A file that cannot be read is moved aside, kept, and a new one begun: a new epoch.

Commits use synchronous=NORMAL: a killed process loses nothing; a host that loses its power may lose the last moments,
and with them go the very guests they spoke of.
"""

import sqlite3
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import sqlite_utils

from foreshape_agent.choose import Step
from foreshape_agent.errors import SpoolFull
from foreshape_wire.codec import encode
from foreshape_wire.ids import CauseId, OrderId, ServerId, new_id
from foreshape_wire.order import Guard, Mode, Order, Origin, Outcome
from foreshape_wire.sample import Gap, HostReport

SCHEMA = 1
SETTLED_KEPT = 20_000
QUARANTINED_KEPT = 100
OUTCOMES_PER_REPORT = 500

TABLES: dict[str, dict[str, Any]] = {
    "reports": {"id": int, "epoch": str, "sequence": int, "taken_at": float, "body": bytes, "outcomes": bytes, "gap": bytes, "poison": str},
    "outcomes": {"id": int, "body": bytes},
    "actions": {"key": str, "body": bytes},
    "settled": {"id": int, "key": str},
    "state": {"key": str, "body": bytes},
}
KEYS = {"reports": "id", "outcomes": "id", "actions": "key", "settled": "id", "state": "key"}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An intent on one resource of one VM: written before the first lever is pulled, kept until it is settled."""

    order: OrderId
    cause: CauseId
    server: ServerId
    resource: str
    origin: Origin
    before: float
    target: float
    steps: tuple[Step, ...]
    at: float
    reason: str
    asked: bool = False
    """All its levers were pulled: only the proof is missing."""
    instance: str = ""
    """The domain's run it was meant for: a domain started anew has forgotten it."""

    @property
    def key(self) -> str:
        return key_of(self, self.resource)


def key_of(whose: "Action | Outcome | Order", resource: str) -> str:
    """What an action and its outcome are remembered by: the order, or the cause where no order was behind it."""
    return f"{whose.order or whose.cause}/{resource}"


class Memo(msgspec.Struct):
    """Small state that is written as one row."""

    epoch: str
    next_sequence: int = 1
    mode: Mode | None = None
    """The host's mode by the last reply; None: the controller never answered."""
    guards: dict[ServerId, Guard] = {}
    taken: dict[str, float] = {}
    """``server/resource`` that Foreshape holds below its entitlement, and since when."""
    quarantined: int = 0


class Row(msgspec.Struct):
    """One report that waits. ``outcomes`` and ``gap`` are kept beside the body, so that thinning can move them."""

    id: int
    epoch: str
    sequence: int
    taken_at: float
    body: bytes
    outcomes: tuple[Outcome, ...]
    gap: Gap | None

    def message(self) -> bytes:
        """The report as it is sent."""
        report = msgspec.json.decode(zlib.decompress(self.body), type=HostReport)
        return encode(msgspec.structs.replace(report, outcomes=self.outcomes, gap=self.gap))


@dataclass
class Ledger:
    """The small things, as they are now."""

    memo: Memo
    actions: dict[str, Action] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    settled: dict[str, None] = field(default_factory=dict)


class Spool:
    """Numbered reports and unsettled intents. Never raises for a bad disk: ``notice`` says what is wrong."""

    def __init__(self, path: str | Path, *, max_reports: int = 8640, buffer_reports: int = 360) -> None:
        self.path, self._most = str(path), max(2, max_reports)
        self._buffer: deque[Row] = deque(maxlen=buffer_reports)
        self._ids = 0
        self.notice = ""
        self.lost = False
        """State was lost with an unreadable file: what Foreshape took before is not known."""
        self._db: sqlite_utils.Database | None = None
        self.ledger = Ledger(Memo(new_id("epoch")))
        self._open()

    # -- opening, failing, recovering ------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._db = _connect(self.path)
            self._load(self._db)
        except SpoolFull as e:
            self._fail(str(e))
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as e:
            self.lost = True
            self._replace(str(e))

    def _load(self, db: sqlite_utils.Database) -> None:
        with _disk():
            rows = list(db.conn.execute("SELECT body FROM state WHERE key = 'memo'"))
            memo = msgspec.json.decode(rows[0][0], type=Memo) if rows else self.ledger.memo
            self.ledger = Ledger(
                memo,
                {a.key: a for a in _decoded(db, "actions", Action)},
                list(_decoded(db, "outcomes", Outcome)),
                dict.fromkeys(k for (k,) in db.conn.execute("SELECT key FROM settled ORDER BY id")),
            )
            self._ids = db.conn.execute("SELECT coalesce(max(id), 0) FROM reports").fetchone()[0]
        if not rows:
            self._rewrite(db)

    def _replace(self, why: str) -> None:
        """Move an unreadable file aside and begin anew, with what memory still knows."""
        aside = _move_aside(self.path)
        self.notice = f"spool was unreadable ({why}): kept as {aside}, a new one begun"
        self.ledger.memo.epoch, self.ledger.memo.next_sequence = new_id("epoch"), 1
        try:
            self._db = _connect(self.path)
            self._rewrite(self._db)
        except (SpoolFull, sqlite3.DatabaseError) as e:
            self._fail(str(e))

    def _fail(self, why: str) -> None:
        """From now on in memory; numbers get an epoch of their own, since the disk no longer counts them."""
        if not self.notice.startswith("in memory"):
            self.ledger.memo.epoch, self.ledger.memo.next_sequence = new_id("epoch"), 1
        self.notice = f"in memory, at most {self._buffer.maxlen} reports: {why}"

    def recover(self) -> None:
        """Try the disk again, if it failed; called once a cycle."""
        if not self.notice.startswith("in memory") and not self._buffer:
            return
        try:
            self._db = self._db or _connect(self.path)
            self._rewrite(self._db)
        except (SpoolFull, sqlite3.DatabaseError) as e:
            self._fail(str(e))
        else:
            self._buffer.clear()
            self.notice = "" if self.notice.startswith("in memory") else self.notice

    def _rewrite(self, db: sqlite_utils.Database) -> None:
        """Bring the disk to what memory knows."""
        with _disk(), db.conn as c:
            _insert_rows(c, self._buffer)
            c.execute("DELETE FROM actions")
            c.execute("DELETE FROM outcomes")
            c.executemany("INSERT INTO actions VALUES (?, ?)", [(a.key, _json(a)) for a in self.ledger.actions.values()])
            c.executemany("INSERT INTO outcomes (body) VALUES (?)", [(_json(o),) for o in self.ledger.outcomes])
            c.execute("DELETE FROM settled")
            c.executemany("INSERT INTO settled (key) VALUES (?)", [(k,) for k in self.ledger.settled])
            _put_memo(c, self.ledger.memo)

    def _write(self, *statements: tuple[str, Sequence[Any]]) -> bool:
        """One transaction with the memo in it; False when the disk did not take it (memory goes on)."""
        if self._db is None or self.notice.startswith("in memory"):
            return False
        try:
            with _disk(), self._db.conn as c:
                for sql, values in statements:
                    c.execute(sql, values)
                _put_memo(c, self.ledger.memo)
        except SpoolFull as e:
            self._fail(str(e))
            return False
        except sqlite3.DatabaseError as e:
            self._replace(str(e))
            return False
        return True

    def close(self) -> None:
        if self._db is not None:
            self._db.conn.close()
            self._db = None

    # -- reports ---------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self.ledger.memo.epoch

    @property
    def number(self) -> int:
        """The next report's sequence number."""
        return self.ledger.memo.next_sequence

    def unsent(self) -> tuple[Outcome, ...]:
        """Outcomes that no report carries yet."""
        return tuple(self.ledger.outcomes[:OUTCOMES_PER_REPORT])

    def append(self, report: HostReport) -> Row:
        """Keep a report, numbered with ``number``; the outcomes it carries are its own from now on."""
        bare = encode(msgspec.structs.replace(report, outcomes=(), gap=None))
        self._ids += 1
        row = Row(self._ids, report.epoch, report.sequence, report.taken_at, zlib.compress(bare, 1), report.outcomes, report.gap)
        carried, self.ledger.outcomes = self.ledger.outcomes[: len(report.outcomes)], self.ledger.outcomes[len(report.outcomes) :]
        self.ledger.memo.next_sequence = report.sequence + 1
        drop = ("DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes ORDER BY id LIMIT ?)", (len(carried),))
        if not self._write((_INSERT, _columns(row)), drop):
            row = self._buffered(row)
        elif self._ids % 16 == 0 or self._most < 100:
            self._thin()
        return row

    def _buffered(self, row: Row) -> Row:
        """Keep a report in memory, under the number that memory gives; the oldest one's outcomes are not lost with it."""
        if row.epoch != self.epoch:
            row.epoch, row.sequence = self.epoch, self.number
            row.body = _renumbered(row.body, row.epoch, row.sequence)
            self.ledger.memo.next_sequence += 1
        if len(self._buffer) == self._buffer.maxlen:
            oldest = self._buffer.popleft()
            heir = self._buffer[0] if self._buffer else row
            heir.outcomes, heir.gap = oldest.outcomes + heir.outcomes, _joined(oldest, heir.gap)
        self._buffer.append(row)
        return row

    def backlog(self, limit: int, but: Row | None = None) -> tuple[Row, ...]:
        """The oldest waiting reports, oldest first."""
        rows = (*self._stored(limit + 1), *self._buffer)
        return tuple(r for r in rows if but is None or (r.epoch, r.sequence) != (but.epoch, but.sequence))[:limit]

    def _stored(self, limit: int) -> tuple[Row, ...]:
        if self._db is None:
            return ()
        try:
            found = self._db.conn.execute(f"SELECT {_NAMES} FROM reports WHERE poison = '' ORDER BY id LIMIT ?", (limit,)).fetchall()  # noqa: S608  constant names
            return tuple(_row(r) for r in found)
        except (sqlite3.Error, msgspec.MsgspecError) as e:
            self.notice = self.notice or f"spool cannot be read: {e}"
            return ()

    def waiting(self) -> int:
        """Reports not yet acknowledged."""
        return self._count("poison = ''") + len(self._buffer)

    def quarantined(self) -> int:
        """Reports the controller will never take."""
        return self._count("poison <> ''")

    def _count(self, where: str) -> int:
        try:
            return 0 if self._db is None else int(self._db.table("reports").count_where(where))
        except sqlite3.Error:
            return 0

    def forget(self, epoch: str, sequences: Iterable[int]) -> None:
        """The controller has these."""
        gone = set(sequences)
        if not gone:
            return
        self._buffer = deque((r for r in self._buffer if r.epoch != epoch or r.sequence not in gone), self._buffer.maxlen)
        self._write(*(("DELETE FROM reports WHERE epoch = ? AND sequence = ?", (epoch, s)) for s in sorted(gone)))

    def quarantine(self, row: Row, why: str) -> None:
        """A report the controller refuses for what it says: kept for a person, never sent again, never in the way.

        Its outcomes are kept with it; what they settled, the next readings show.
        """
        self.ledger.memo.quarantined += 1
        self._buffer = deque((r for r in self._buffer if r.id != row.id), self._buffer.maxlen)
        self._write(
            ("UPDATE reports SET poison = ? WHERE epoch = ? AND sequence = ?", (why, row.epoch, row.sequence)),
            (
                "DELETE FROM reports WHERE poison <> '' AND id NOT IN (SELECT id FROM reports WHERE poison <> '' ORDER BY id DESC LIMIT ?)",
                (QUARANTINED_KEPT,),
            ),
        )

    def _thin(self) -> None:
        """Over the limit: every second report of the oldest half goes; its outcomes and its time pass to the next older one."""
        if self._count("poison = ''") <= self._most:
            return
        rows = self._stored(self._most // 2)
        statements: list[tuple[str, Sequence[Any]]] = []
        for kept, gone in zip(rows[0::2], rows[1::2], strict=False):
            heir = (_json(kept.outcomes + gone.outcomes), _json(_joined(gone, kept.gap)), kept.id)
            statements.append(("UPDATE reports SET outcomes = ?, gap = ? WHERE id = ?", heir))
            statements.append(("DELETE FROM reports WHERE id = ?", (gone.id,)))
        self._write(*statements)

    # -- intents and outcomes --------------------------------------------------------------------------------

    def intend(self, action: Action) -> None:
        """Write an intent (or its next stage) before anything is done about it."""
        self.ledger.actions[action.key] = action
        self._write(("INSERT OR REPLACE INTO actions (key, body) VALUES (?, ?)", (action.key, _json(action))))

    def answer(self, outcome: Outcome, *, final: bool) -> None:
        """Keep an outcome for the next report; a final one ends its intent and is remembered, all in one transaction."""
        key = key_of(outcome, outcome.resource)
        self.ledger.outcomes.append(outcome)
        statements: list[tuple[str, Sequence[Any]]] = [("INSERT INTO outcomes (body) VALUES (?)", (_json(outcome),))]
        if final:
            self.ledger.actions.pop(key, None)
            self.ledger.settled[key] = None
            statements += [("DELETE FROM actions WHERE key = ?", (key,)), ("INSERT INTO settled (key) VALUES (?)", (key,)), *self._prune()]
        self._write(*statements)

    def _prune(self) -> Iterator[tuple[str, Sequence[Any]]]:
        if len(self.ledger.settled) > SETTLED_KEPT:
            oldest = next(iter(self.ledger.settled))
            del self.ledger.settled[oldest]
            yield "DELETE FROM settled WHERE key = ?", (oldest,)

    def actions(self) -> tuple[Action, ...]:
        """Intents that are not settled."""
        return tuple(self.ledger.actions.values())

    def settled(self, order: Order, resource: str) -> bool:
        """Whether this was answered for good."""
        return key_of(order, resource) in self.ledger.settled

    # -- what a cut-off agent must still honour --------------------------------------------------------------

    def remember(self, mode: Mode, guards: Iterable[Guard]) -> None:
        """The last word of the controller; written only when it changes."""
        new = {g.server: g for g in guards}
        memo = self.ledger.memo
        if memo.mode is not mode or memo.guards != new:
            memo.mode, memo.guards = mode, new
            self._write()

    def take(self, server: str, resource: str, at: float) -> None:
        """Foreshape holds this below its entitlement, or is about to."""
        if self.ledger.memo.taken.setdefault(f"{server}/{resource}", at) == at:
            self._write()

    def gave(self, server: str, resource: str) -> None:
        """It has its entitlement again."""
        if self.ledger.memo.taken.pop(f"{server}/{resource}", None) is not None:
            self._write()

    def took(self, server: str, resource: str) -> bool:
        return f"{server}/{resource}" in self.ledger.memo.taken


_NAMES = "id, epoch, sequence, taken_at, body, outcomes, gap"
_INSERT = f"INSERT OR IGNORE INTO reports ({_NAMES}, poison) VALUES (?, ?, ?, ?, ?, ?, ?, '')"  # noqa: S608  constant names


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that cannot be written now is SpoolFull; a file that is no database stays a DatabaseError."""
    try:
        yield
    except sqlite3.OperationalError as e:
        raise SpoolFull(str(e)) from e
    except OSError as e:
        raise SpoolFull(str(e)) from e


def _connect(path: str) -> sqlite_utils.Database:
    with _disk():
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        conn = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        version = conn.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, SCHEMA}:
            conn.close()
            raise sqlite3.DatabaseError(f"its version is {version}, this agent writes {SCHEMA}")
        db = sqlite_utils.Database(conn)
        for name, columns in TABLES.items():
            db.table(name).create(columns, pk=KEYS[name], if_not_exists=True)
        db.table("reports").create_index(["epoch", "sequence"], unique=True, if_not_exists=True)
        conn.execute(f"PRAGMA user_version = {SCHEMA}")
        conn.commit()
        return db


def _move_aside(path: str) -> str:
    """Rename the file and its WAL; the name it is kept under."""
    for n in range(1, 1000):
        aside = Path(f"{path}.unreadable-{n}")
        if not aside.exists():
            break
    for suffix in ("", "-wal", "-shm"):
        if (old := Path(path + suffix)).exists():
            old.rename(f"{aside}{suffix}")
    return str(aside)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _decoded(db: sqlite_utils.Database, table: str, kind: Any) -> Iterator[Any]:
    for (body,) in db.conn.execute(f"SELECT body FROM {table} ORDER BY rowid"):  # noqa: S608  constant names
        yield msgspec.json.decode(body, type=kind)


def _put_memo(conn: sqlite3.Connection, memo: Memo) -> None:
    conn.execute("INSERT OR REPLACE INTO state (key, body) VALUES ('memo', ?)", (_json(memo),))


def _insert_rows(conn: sqlite3.Connection, rows: Iterable[Row]) -> None:
    conn.executemany(_INSERT, [_columns(r) for r in rows])


def _columns(row: Row) -> tuple[Any, ...]:
    return (row.id, row.epoch, row.sequence, row.taken_at, row.body, _json(row.outcomes), _json(row.gap))


def _row(columns: Sequence[Any]) -> Row:
    outcomes = msgspec.json.decode(columns[5], type=tuple[Outcome, ...])
    number, epoch, sequence, taken_at, body = columns[:5]
    return Row(number, epoch, sequence, taken_at, body, outcomes, msgspec.json.decode(columns[6], type=Gap | None))


def _renumbered(body: bytes, epoch: str, sequence: int) -> bytes:
    report = msgspec.json.decode(zlib.decompress(body), type=HostReport)
    return zlib.compress(encode(msgspec.structs.replace(report, epoch=epoch, sequence=sequence)), 1)


def _joined(gone: Row, gap: Gap | None) -> Gap:
    """The gap that a lost report leaves, joined with those it and its heir had."""
    joined = Gap(since=gone.taken_at, until=gone.taken_at, reports=1)
    for other in (gone.gap, gap):
        if other is not None:
            joined = Gap(since=min(joined.since, other.since), until=max(joined.until, other.until), reports=joined.reports + other.reports)
    return joined
