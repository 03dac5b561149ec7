"""The calendar: events that people declared or imported, and what their occurrences did."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select

from foreshape_controller.errors import Ambiguous, Invalid, NotFound
from foreshape_controller.model.event import Event, Measured
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import effects, events

MOST = 5000
"""Events altogether: each is expanded for every forecast."""

PROJECT_MOST = 200
"""Events of one project."""

REMEMBERED = 400
"""Occurrences of an event whose effects are kept: the newest."""

_json = msgspec.json.Decoder(Event)


@dataclass(frozen=True)
class Replaced:
    """What an import changed."""

    added: int
    updated: int
    unchanged: int
    removed: int


class Events:
    """Events by id; effects by event, resource and start of the occurrence."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(events, ["id"])
        self._put_effect = db.upsert(effects, ["event", "resource", "start"])

    def all(self, project: str | None = None) -> tuple[Event, ...]:
        """Every event, or a project's, the oldest first."""
        with self._db.read() as conn:
            found = map(_json.decode, conn.execute(select(events.c.data).order_by(events.c.at, events.c.id)).scalars())
            return tuple(e for e in found if project is None or e.project == project)

    def find(self, wanted: str, project: str | None = None) -> Event:
        """The event with this id, or the only one with this name; ``project``: among its own. Raises NotFound, Ambiguous."""
        known = self.all(project)
        found = [e for e in known if e.id == wanted] or [e for e in known if e.name == wanted]
        if not found:
            raise NotFound(f"there is no event {wanted[:80]!r}: see 'foreshape event list'")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} events are called {wanted[:80]!r}: name one by its id", [e.id for e in found])
        return found[0]

    def put(self, event: Event) -> None:
        """Keep an event, new or changed. Raises Invalid when there are too many."""
        with self._db.write() as conn:
            self._write(conn, [event])

    def replace(self, source: str, found: Sequence[Event], *, keep: bool, project: str = "") -> Replaced:
        """Make the calendar ``source`` (of a project; empty: the operators') what was found in it now.

        What vanished goes, unless it is kept.
        What was learned of an event stays with it as long as the event does. One transaction.
        """
        with self._db.write() as conn:
            old = {e.id: e for e in self._of(conn, source) if e.project == project}
            news = [e for e in found if e.id not in old]
            same = [e for e in found if e.id in old and _said(old[e.id]) == _said(e)]
            changed = [msgspec.structs.replace(e, created_at=old[e.id].created_at) for e in found if e.id in old and e not in same]
            gone = [] if keep else sorted(old.keys() - {e.id for e in found})
            self._write(conn, [*news, *changed])
            for event in gone:
                _remove(conn, event)
        return Replaced(len(news), len(changed), len(same), len(gone))

    def remove(self, event: str) -> None:
        """Forget an event and what was learned of it."""
        with self._db.write() as conn:
            _remove(conn, event)

    def effects(self) -> Mapping[str, Sequence[Measured]]:
        """All that was measured, by event, the oldest occurrence first."""
        found: dict[str, list[Measured]] = defaultdict(list)
        with self._db.read() as conn:
            for r in conn.execute(select(effects).order_by(effects.c.start, effects.c.resource)):
                found[r.event].append(Measured(event=r.event, resource=r.resource, start=r.start, factor=r.factor, weight=r.weight))
        return found

    def learn(self, measured: Sequence[Measured]) -> None:
        """Keep what was measured; the same occurrence measured again replaces its row."""
        with self._db.write() as conn:
            alive = set(conn.execute(select(events.c.id)).scalars())
            rows = [(m.event, m.resource, m.start, m.factor, m.weight) for m in measured if m.event in alive]
            self._put_effect.run(conn, rows)
            for event in {m.event for m in measured}:
                _forget(conn, event)

    def _of(self, conn: Connection, source: str) -> Sequence[Event]:
        return [_json.decode(data) for data in conn.execute(select(events.c.data).where(events.c.source == source)).scalars()]

    def _write(self, conn: Connection, told: Sequence[Event]) -> None:
        self._put.run(conn, [(e.id, e.scope, e.source, e.created_at, msgspec.json.encode(e)) for e in told])
        if (conn.execute(select(func.count()).select_from(events)).scalar() or 0) > MOST:
            raise Invalid(f"there would be more than {MOST} events: delete some, or import a smaller calendar")
        self._bound(conn, {e.project for e in told if e.project})

    @staticmethod
    def _bound(conn: Connection, projects: Collection[str]) -> None:
        if projects:
            counts = Counter(_json.decode(data).project for data in conn.execute(select(events.c.data)).scalars())
            if any(counts[p] > PROJECT_MOST for p in projects):
                raise Invalid(f"the project would have more than {PROJECT_MOST} events: delete some, or import a smaller calendar")


def _said(event: Event) -> Event:
    return msgspec.structs.replace(event, created_at=0.0)


def _remove(conn: Connection, event: str) -> None:
    conn.execute(delete(events).where(events.c.id == event))
    conn.execute(delete(effects).where(effects.c.event == event))


def _forget(conn: Connection, event: str) -> None:
    starts = select(effects.c.start).distinct().where(effects.c.event == event).order_by(effects.c.start.desc()).offset(REMEMBERED).limit(1)
    last = conn.execute(starts).scalar()
    if last is not None:
        conn.execute(delete(effects).where(effects.c.event == event, effects.c.start <= last))
