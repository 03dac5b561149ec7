"""Classes of work by server: declared by people, or inferred from history. Declared wins; both are kept."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Table, delete, select

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.matching import accuracy, looked
from foreshape_controller.model.workload import Profile, ReadWrite, Tally, WorkClass, Workload
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import classes, profiles, tallies

NOTE_LENGTH = 1000
ASKED_MOST = 500
"""Servers that are asked for one by one; of more all are read."""
SURE = 0.6
"""Confidence from which on an inferred class that contradicts a declared one is pointed out."""


class Known(NamedTuple):
    """What is known of one server's work, and since when."""

    workload: Workload
    at: float


class Profiles:
    """``declare`` and ``clear`` for people, ``infer`` for the loop that looks, ``effective`` for who wants to know."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = {t.name: db.upsert(t, ["server"]) for t in (profiles, classes, tallies)}

    def declare(self, server: str, profile: Profile, now: float) -> None:
        """Say what a server does. Raises Invalid for a class or a read_write that there is not."""
        said = _checked(profile)
        with self._db.write() as conn:
            before = _all(conn, profiles, [server]).get(server)
            if before is None or before.workload.work is not said.work:
                conn.execute(delete(tallies).where(tallies.c.server == server))
            self._put["profiles"].run(conn, [(server, now, msgspec.json.encode(said))])

    def clear(self, server: str) -> None:
        """Let its history speak again. Raises NotFound where nothing was declared."""
        with self._db.write() as conn:
            if not conn.execute(delete(profiles).where(profiles.c.server == server)).rowcount:
                raise NotFound(f"nothing is declared for {server}: its class is inferred")
            conn.execute(delete(tallies).where(tallies.c.server == server))

    def infer(self, found: Mapping[str, Workload], now: float) -> None:
        """Keep what history says of these servers."""
        rows = [(server, now, msgspec.json.encode(w)) for server, w in found.items()]
        with self._db.write() as conn:
            self._put["classes"].run(conn, rows)
            told = {server: known.workload.work for server, known in _all(conn, profiles).items() if server in found}
            before = _tallies(conn, told)
            after = {server: looked(before.get(server, Tally()), work, found[server]) for server, work in told.items()}
            self._put["tallies"].run(conn, [(server, now, msgspec.json.encode(t)) for server, t in after.items()])

    def tally(self, server: str) -> Tally | None:
        """How well what is declared of a server matched; None: nothing is declared, or nothing was looked at since."""
        with self._db.read() as conn:
            return _tallies(conn, [server]).get(server)

    def accuracies(self) -> dict[str, float]:
        """0..1, of every server whose declared profile was looked at often enough."""
        with self._db.read() as conn:
            return {server: share for server, tally in _tallies(conn).items() if (share := accuracy(tally)) is not None}

    def declared(self) -> dict[str, Known]:
        with self._db.read() as conn:
            return _all(conn, profiles)

    def inferred(self) -> dict[str, Known]:
        with self._db.read() as conn:
            return _all(conn, classes)

    def effective(self, now: float) -> dict[str, Workload]:  # noqa: ARG002  a class does not age yet; callers say when they ask
        """The class in force of every server that has one; a note where people and history disagree."""
        return {server: known.workload for server, known in self.known().items()}

    def known(self, of: Sequence[str] | None = None) -> dict[str, Known]:
        """As ``effective``, with the time; ``of``: of these servers at least."""
        asked = of if of is not None and len(of) <= ASKED_MOST else None
        with self._db.read() as conn:
            said, seen = _all(conn, profiles, asked), _all(conn, classes, asked)
        return seen | {server: Known(agreed(k.workload, _workload(seen.get(server))), k.at) for server, k in said.items()}

    def names(self, of: Sequence[str] | None = None) -> dict[str, str]:
        """Class by server, for the rules of segments; "unknown" is left out. ``of``: of these servers at least."""
        return {s: k.workload.work.value for s, k in self.known(of).items() if k.workload.work is not WorkClass.UNKNOWN}

    def tidy(self, before: float) -> int:
        """Forget what was inferred of servers that nobody has looked at since; returns how many rows went."""
        with self._db.write() as conn:
            conn.execute(delete(tallies).where(tallies.c.at < before))
            return int(conn.execute(delete(classes).where(classes.c.at < before)).rowcount)


def agreed(said: Workload, seen: Workload | None) -> Workload:
    """What is declared, its gaps filled from what is seen; a note where the two disagree."""
    if seen is None:
        return said
    filled = msgspec.structs.replace(said, read_write=said.read_write or seen.read_write)
    if seen.work in (said.work, WorkClass.UNKNOWN) or seen.confidence < SURE:
        return filled
    doubt = f"its history looks {seen.work.value} (confidence {seen.confidence:.2f})"
    return msgspec.structs.replace(filled, note=f"{said.note}; {doubt}" if said.note else doubt)


def _checked(profile: Profile) -> Workload:
    works = [w.value for w in WorkClass if w is not WorkClass.UNKNOWN]
    disks = [r.value for r in ReadWrite if r]
    if profile.work not in works:
        raise Invalid(f"$.class is {profile.work!r}: write one of {', '.join(works)}")
    if profile.read_write and profile.read_write not in disks:
        raise Invalid(f"$.read_write is {profile.read_write!r}: write one of {', '.join(disks)}, or leave it out")
    if len(profile.note) > NOTE_LENGTH:
        raise Invalid(f"$.note has {len(profile.note)} characters: at most {NOTE_LENGTH}")
    return Workload(work=WorkClass(profile.work), read_write=ReadWrite(profile.read_write), declared=True, note=profile.note)


def _workload(known: Known | None) -> Workload | None:
    return known.workload if known else None


def _tallies(conn: Connection, servers: Collection[str] | None = None) -> dict[str, Tally]:
    query = select(tallies.c.server, tallies.c.data)
    query = query.where(tallies.c.server == next(iter(servers))) if servers is not None and len(servers) == 1 else query
    return {r.server: msgspec.json.decode(r.data, type=Tally) for r in conn.execute(query)}


def _all(conn: Connection, table: Table, servers: Collection[str] | None = None) -> dict[str, Known]:
    query = select(table.c.server, table.c.at, table.c.data)
    rows = conn.execute(query if servers is None else query.where(table.c.server.in_(servers)))
    return {r.server: Known(msgspec.json.decode(r.data, type=Workload), r.at) for r in rows}
