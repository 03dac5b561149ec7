"""What was wanted lately, so that the hold time survives a restart: a row per slot of five minutes for all that plans wanted, a small
one for those of them that were made ahead, and one for what agents gave back under pressure, which counts as wanted. Rows are
folded, never shortened: the largest stays.
"""

import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, select

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import meta, wishes

SLOT_S = 300
"""Grid of remembered wishes; finer where history's own grid is."""

KEPT_S = 3 * 86400.0
"""Longer than any hold time."""

PLANNED, AHEAD, GIVEN = "plan", "ahead", "reflex"
"""Kinds of rows."""

BEGUN = "wishes_since"
"""In ``meta``, of a database that is older than this table: from when on wishes are known."""

Wanted = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slot:
    """The largest that was wanted of each server in one slot: [n] cores and MiB."""

    servers: tuple[str, ...]
    cpu: Wanted
    memory: Wanted

    def of(self, resource: str) -> Wanted:
        return self.cpu if resource == "cpu" else self.memory

    def folded(self, other: "Slot") -> "Slot":
        """The larger of both, for everybody in either."""
        if self.servers == other.servers:
            return Slot(self.servers, np.fmax(self.cpu, other.cpu), np.fmax(self.memory, other.memory))
        cpu, memory = (_largest([self, other], r) for r in ("cpu", "memory"))
        return Slot(tuple(cpu), np.array(list(cpu.values())), np.array([memory[s] for s in cpu]))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A slot made ready beside the transaction that writes it."""

    at: float
    kind: str
    new: Slot
    old: bytes | None
    """What the row was folded with."""
    data: bytes
    """The row; empty: none was made."""


class Wishes:
    """``fold`` inside the transactions of plans and reports, ``largest`` for the next plan."""

    def __init__(self, db: Database, step_s: int) -> None:
        self._db = db
        self._slot_s = min(SLOT_S, step_s)
        self._put = db.upsert(wishes, ["slot", "kind"])
        self._settled: dict[int, Slot] = {}
        """Slots of plans that are over: nobody writes to them any more."""
        self._begun: float | None = None

    def prepare(self, at: float, kind: str, new: Slot) -> "Prepared":
        """What ``fold`` would write now: for tens of thousands of servers that takes longer than others should wait for the writer."""
        slot = self._slot(at)
        with self._db.read() as conn:
            old = _data(conn, slot, kind)
        return Prepared(at, kind, new, old, _folded(old, new))

    def fold(self, conn: Connection, at: float, kind: str, new: Slot) -> None:
        """Note what was wanted at an instant."""
        self.fold_prepared(conn, Prepared(at, kind, new, None, b""))

    def fold_prepared(self, conn: Connection, ready: "Prepared") -> None:
        """The same, of what was made ready; made anew where somebody else wrote meanwhile."""
        if not ready.new.servers:
            return
        slot = self._slot(ready.at)
        old = _data(conn, slot, ready.kind)
        data = ready.data if ready.data and old == ready.old else _folded(old, ready.new)
        self._put.run(conn, [(slot, ready.kind, data)])
        if ready.kind == PLANNED:
            self._settled.pop(slot, None)

    def _slot(self, at: float) -> int:
        return int(at // self._slot_s) * self._slot_s

    def largest(self, resource: str, since: float) -> dict[str, float]:
        """The largest wish of each server since then. Exact to one slot, on the safe side."""
        with self._db.read() as conn:
            found = [slot for _, _, slot in self._slots(conn, since - self._slot_s)]
        return {server: value for server, value in _largest(found, resource).items() if np.isfinite(value)}

    def slots(self, since: float) -> tuple[tuple[float, str, Slot], ...]:
        """What was wanted since then, each slot with its start and kind."""
        with self._db.read() as conn:
            return tuple(self._slots(conn, since - self._slot_s))

    def known_since(self) -> float:
        """From when on wishes are known; earlier ones were lost in an upgrade."""
        if self._begun is None:
            with self._db.read() as conn:
                self._begun = float(conn.execute(select(meta.c.value).where(meta.c.name == BEGUN)).scalar() or 0.0)
        return self._begun

    def tidy(self, conn: Connection, now: float) -> None:
        conn.execute(delete(wishes).where(wishes.c.slot < now - KEPT_S))

    def _slots(self, conn: Connection, after: float) -> Iterator[tuple[float, str, Slot]]:
        """Slots that begin after this; those of plans that are over are kept in memory."""
        there = conn.execute(select(wishes.c.slot, wishes.c.kind).where(wishes.c.slot > after)).all()
        newest = max((r.slot for r in there if r.kind == PLANNED), default=0)
        over = {r.slot for r in there if r.kind == PLANNED and r.slot < newest}
        fresh = {k: v for k, v in self._settled.items() if k in over or k <= after}
        rosters = {s.servers: s.servers for s in fresh.values()}
        wanted = [(r.slot, r.kind) for r in there if r.kind != PLANNED or r.slot not in fresh]
        for slot, kind in wanted:
            data = conn.execute(select(wishes.c.data).where(wishes.c.slot == slot, wishes.c.kind == kind)).scalar_one()
            found = unpack(data)
            found = replace(found, servers=rosters.setdefault(found.servers, found.servers))
            if slot in over and kind == PLANNED:
                fresh[slot] = found
            else:
                yield float(slot), kind, found
        self._settled = fresh
        yield from ((float(slot), PLANNED, fresh[slot]) for slot in over)


def _data(conn: Connection, slot: int, kind: str) -> bytes | None:
    found: bytes | None = conn.execute(select(wishes.c.data).where(wishes.c.slot == slot, wishes.c.kind == kind)).scalar()
    return found


def _folded(old: bytes | None, new: Slot) -> bytes:
    if not new.servers:
        return b""
    return pack(unpack(old).folded(new) if old is not None else new)


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    servers: tuple[str, ...]
    amounts: bytes
    """float64, cores and then MiB; bytes of equal rank side by side, for they are alike."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack(slot: Slot) -> bytes:
    """A slot as bytes."""
    amounts = np.concatenate([slot.cpu, slot.memory]).astype("<f8").view(np.uint8).reshape(-1, 8)
    return zlib.compress(_encode(_Packed(slot.servers, amounts.T.tobytes())), 1)


def unpack(data: bytes) -> Slot:
    """What ``pack`` made. Names are interned: days of slots name the same servers."""
    packed = _decode(zlib.decompress(data))
    ranks = np.frombuffer(packed.amounts, np.uint8).reshape(8, -1)
    cpu, memory = np.split(np.frombuffer(ranks.T.tobytes(), "<f8"), 2)
    return Slot(tuple(map(sys.intern, packed.servers)), cpu, memory)


def _largest(slots: Sequence[Slot], resource: str) -> Mapping[str, float]:
    """The largest of each server in any of the slots."""
    place: dict[str, int] = {}
    for servers in {s.servers: None for s in slots}:
        for name in servers:
            place.setdefault(name, len(place))
    most = np.full(len(place), np.nan)
    rows = {servers: np.array([place[n] for n in servers], np.intp) for servers in {s.servers: None for s in slots}}
    for slot in slots:
        at = rows[slot.servers]
        most[at] = np.fmax(most[at], slot.of(resource))
    return dict(zip(place, most.tolist(), strict=True))
