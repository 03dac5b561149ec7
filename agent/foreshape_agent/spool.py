"""What must outlive the agent: reports until they are acknowledged, intents until they are settled, guards, what was taken.

Everything small is held in memory and written through; reports stay on disk. A disk that cannot be written does not stop
the cycle: the small things go on in memory, reports into a bounded buffer, and both are written when the disk takes them
again. A file that cannot be read is moved aside, kept, and a new one begun: a new epoch.

Commits use synchronous=NORMAL: a killed process loses nothing; a host that loses its power may lose the last moments,
and with them go the very guests they spoke of.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from foreshape_agent.disk import Disk, Statement, Unreadable, move_aside
from foreshape_agent.errors import SpoolFull
from foreshape_agent.records import Action, Memo, Row, key_of, packed
from foreshape_agent.throttle import Held
from foreshape_wire.ids import ServerId, new_id
from foreshape_wire.order import Guard, Mode, Order, Outcome
from foreshape_wire.sample import HostReport

IN_MEMORY = "in memory"
SETTLED_KEPT = 20_000
QUARANTINED_KEPT = 100
OUTCOMES_PER_REPORT = 500
AHEAD_CLOSE_S = 5.0


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
        self.disk: Disk | None = None
        self.ledger = Ledger(Memo(new_id("epoch")))
        self._open()

    # -- opening, failing, recovering ------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self.disk = Disk(self.path)
            self._load(self.disk)
        except SpoolFull as e:
            self._fail(str(e))
        except (Unreadable, msgspec.MsgspecError) as e:
            self.ledger.memo.lost = True
            self._replace(str(e))

    def _load(self, disk: Disk) -> None:
        memo = [msgspec.json.decode(body, type=Memo) for (body,) in disk.read("SELECT body FROM state WHERE key = 'memo'")]
        actions = [msgspec.json.decode(body, type=Action) for (body,) in disk.read("SELECT body FROM actions ORDER BY rowid")]
        self.ledger = Ledger(
            memo[0] if memo else self.ledger.memo,
            {a.key: a for a in actions},
            [msgspec.json.decode(body, type=Outcome) for (body,) in disk.read("SELECT body FROM outcomes ORDER BY id")],
            dict.fromkeys(key for (key,) in disk.read("SELECT key FROM settled ORDER BY id")),
        )
        self._ids = disk.read("SELECT coalesce(max(id), 0) FROM reports")[0][0]
        if not memo:
            disk.write([self._memo()])

    def _replace(self, why: str) -> None:
        """Move an unreadable file aside and begin anew, with what memory still knows."""
        try:
            aside = move_aside(self.path)
            self.notice = f"spool was unreadable ({why}): kept as {aside}, a new one begun"
            self.ledger.memo.epoch, self.ledger.memo.next_sequence = new_id("epoch"), 1
            self.disk = Disk(self.path)
            self._rewrite(self.disk)
        except (SpoolFull, Unreadable, OSError) as e:
            self._fail(str(e))

    def _fail(self, why: str) -> None:
        """From now on in memory; numbers get an epoch of their own, since the disk no longer counts them."""
        if not self.in_memory:
            self.ledger.memo.epoch, self.ledger.memo.next_sequence = new_id("epoch"), 1
        self.notice = f"{IN_MEMORY}, at most {self._buffer.maxlen} reports: {why}"

    @property
    def in_memory(self) -> bool:
        """Whether the disk takes nothing at present."""
        return self.notice.startswith(IN_MEMORY)

    def recover(self) -> None:
        """Try the disk again, if it failed; called once a cycle."""
        if not self.in_memory and not self._buffer:
            return
        try:
            self.disk = self.disk or Disk(self.path)
            self._rewrite(self.disk)
        except (SpoolFull, Unreadable) as e:
            self._fail(str(e))
        else:
            self._buffer.clear()
            self.notice = "" if self.in_memory else self.notice

    def _rewrite(self, disk: Disk) -> None:
        """Bring the disk to what memory knows."""
        statements: list[Statement] = [(_INSERT, row.columns()) for row in self._buffer]
        statements += [(f"DELETE FROM {table}", ()) for table in ("actions", "outcomes", "settled")]  # noqa: S608  constant names
        statements += [("INSERT INTO actions VALUES (?, ?)", (a.key, packed(a))) for a in self.ledger.actions.values()]
        statements += [("INSERT INTO outcomes (body) VALUES (?)", (packed(o),)) for o in self.ledger.outcomes]
        statements += [("INSERT INTO settled (key) VALUES (?)", (key,)) for key in self.ledger.settled]
        disk.write([*statements, self._memo()])

    def _memo(self) -> Statement:
        return "INSERT OR REPLACE INTO state (key, body) VALUES ('memo', ?)", (packed(self.ledger.memo),)

    def _write(self, *statements: Statement) -> bool:
        """One transaction with the memo in it; False when the disk did not take it (memory goes on)."""
        if self.disk is None or self.in_memory:
            return False
        try:
            self.disk.write([*statements, self._memo()])
        except SpoolFull as e:
            self._fail(str(e))
            return False
        except Unreadable as e:
            self._replace(str(e))
            return False
        return True

    def close(self) -> None:
        if self.disk is not None:
            self.disk.close()
            self.disk = None

    # -- reports ---------------------------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """Whether state was lost with an unreadable file: what Foreshape took before is not known."""
        return self.ledger.memo.lost

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
        self._ids += 1
        row = Row.of(self._ids, report)
        carried, self.ledger.outcomes = self.ledger.outcomes[: len(report.outcomes)], self.ledger.outcomes[len(report.outcomes) :]
        self.ledger.memo.next_sequence = report.sequence + 1
        drop = ("DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes ORDER BY id LIMIT ?)", (len(carried),))
        if not self._write((_INSERT, row.columns()), drop):
            row = self._buffered(row)
        elif self._ids % 16 == 0 or self._most < 100:
            self._thin()
        return row

    def _buffered(self, row: Row) -> Row:
        """Keep a report in memory, under the number that memory gives; the oldest one's outcomes are not lost with it."""
        if row.epoch != self.epoch:
            row.renumber(self.epoch, self.number)
            self.ledger.memo.next_sequence += 1
        if len(self._buffer) == self._buffer.maxlen:
            oldest = self._buffer.popleft()
            (self._buffer[0] if self._buffer else row).heir_of(oldest)
        row.whole = b""  # memory is what this buffer is short of
        self._buffer.append(row)
        return row

    def backlog(self, limit: int, but: Row | None = None) -> tuple[Row, ...]:
        """The oldest waiting reports, oldest first."""
        rows = (*self._stored(limit + 1), *self._buffer)
        return tuple(r for r in rows if but is None or (r.epoch, r.sequence) != (but.epoch, but.sequence))[:limit]

    def _stored(self, limit: int) -> tuple[Row, ...]:
        try:
            found = self._read(f"SELECT {_NAMES} FROM reports WHERE poison = '' ORDER BY id LIMIT ?", limit)  # noqa: S608  constant names
            return tuple(Row.read(columns) for columns in found)
        except msgspec.MsgspecError as e:
            self.notice = self.notice or f"spool cannot be read: {e}"
            return ()

    def _read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows; none while the disk cannot be read."""
        try:
            return [] if self.disk is None else self.disk.read(sql, *values)
        except (SpoolFull, Unreadable) as e:
            self.notice = self.notice or f"spool cannot be read: {e}"
            return []

    def waiting(self) -> int:
        """Reports not yet acknowledged."""
        return self._count("poison = ''") + len(self._buffer)

    def quarantined(self) -> int:
        """Reports the controller will never take."""
        return self._count("poison <> ''")

    def _count(self, where: str) -> int:
        counted = self._read(f"SELECT count(*) FROM reports WHERE {where}")  # noqa: S608  constant words
        return int(counted[0][0]) if counted else 0

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
        statements: list[Statement] = []
        for kept, gone in zip(rows[0::2], rows[1::2], strict=False):
            kept.heir_of(gone)
            statements.append(("UPDATE reports SET outcomes = ?, gap = ? WHERE id = ?", (packed(kept.outcomes), packed(kept.gap), kept.id)))
            statements.append(("DELETE FROM reports WHERE id = ?", (gone.id,)))
        self._write(*statements)

    # -- intents and outcomes --------------------------------------------------------------------------------

    def intend(self, action: Action) -> None:
        """Write an intent (or its next stage) before anything is done about it."""
        self.ledger.actions[action.key] = action
        self._write(("INSERT OR REPLACE INTO actions (key, body) VALUES (?, ?)", (action.key, packed(action))))

    def answer(self, outcome: Outcome, *, final: bool) -> None:
        """Keep an outcome for the next report; a final one ends its intent and is remembered, all in one transaction."""
        key = key_of(outcome, outcome.resource)
        self.ledger.outcomes.append(outcome)
        statements: list[Statement] = [("INSERT INTO outcomes (body) VALUES (?)", (packed(outcome),))]
        if final:
            self.ledger.actions.pop(key, None)
            self.ledger.settled[key] = None
            statements += [("DELETE FROM actions WHERE key = ?", (key,)), ("INSERT INTO settled (key) VALUES (?)", (key,)), *self._prune()]
        self._write(*statements)

    def _prune(self) -> Iterator[Statement]:
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

    def remember(self, mode: Mode, guards: Iterable[Guard], ahead_s: float = 0.0) -> None:
        """The last word of the controller; written only when it changes."""
        new = {g.server: g for g in guards}
        memo = self.ledger.memo
        if memo.mode is not mode or memo.guards != new or abs(memo.ahead_s - ahead_s) > AHEAD_CLOSE_S:
            memo.mode, memo.guards, memo.ahead_s = mode, new, ahead_s
            self._write()

    def take(self, server: str, resource: str, at: float) -> None:
        """Foreshape holds this below its entitlement, or is about to."""
        if self.ledger.memo.taken.setdefault(f"{server}/{resource}", at) == at:
            self._write()

    def gave(self, server: str, resource: str) -> None:
        """It has its entitlement again."""
        if self.ledger.memo.taken.pop(f"{server}/{resource}", None) is not None:
            self._write()

    def taken(self) -> tuple[tuple[ServerId, str], ...]:
        """Every server and resource that Foreshape holds below its entitlement."""
        pairs = (key.rsplit("/", 1) for key in self.ledger.memo.taken)
        return tuple((ServerId(server), resource) for server, resource in pairs)

    def took(self, server: str, resource: str) -> bool:
        return f"{server}/{resource}" in self.ledger.memo.taken

    def lend(self, server: str, resource: str, at: float) -> None:
        """Foreshape holds this above its entitlement, or is about to."""
        if self.ledger.memo.lent.setdefault(f"{server}/{resource}", at) == at:
            self._write()

    def got_back(self, server: str, resource: str) -> None:
        """It has no more than its entitlement again."""
        if self.ledger.memo.lent.pop(f"{server}/{resource}", None) is not None:
            self._write()

    def has_lent(self, server: str, resource: str) -> bool:
        return f"{server}/{resource}" in self.ledger.memo.lent

    def lent(self) -> tuple[tuple[ServerId, str], ...]:
        """Every server and resource that Foreshape holds above its entitlement."""
        pairs = (key.rsplit("/", 1) for key in self.ledger.memo.lent)
        return tuple((ServerId(server), resource) for server, resource in pairs)

    def hold(self, held: Held) -> None:
        """A hard cap holds this back, or is about to."""
        if self.ledger.memo.held.get(held.key) != held:
            self.ledger.memo.held[held.key] = held
            self._write()

    def let_go(self, held: Held) -> None:
        """It is as it was before the cap."""
        if self.ledger.memo.held.pop(held.key, None) is not None:
            self._write()

    def held(self) -> tuple[Held, ...]:
        return tuple(self.ledger.memo.held.values())


_NAMES = "id, epoch, sequence, taken_at, body, outcomes, gap"
_INSERT = f"INSERT OR IGNORE INTO reports ({_NAMES}, poison) VALUES (?, ?, ?, ?, ?, ?, ?, '')"  # noqa: S608  constant names
