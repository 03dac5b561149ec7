"""What Nova and the target's agent say of a migration that was ordered, as events.

Arrival needs both. Where the target has no agent, Nova's word holds once it has stood for ``ALONE_S``; where its agent is silent, or the
server was stopped on arrival (an agent takes over running servers only), for ``SILENT_S``. An agent that reports and does not have a
server that Nova calls ACTIVE there is a contradiction: nothing is believed then, and it says so.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from foreshape_controller.decide.movable import immovable
from foreshape_controller.decide.moves import learn
from foreshape_controller.decide.permit import changed
from foreshape_controller.loops.scout import ANY_LINK
from foreshape_controller.model.cloud import CloudMigration, CloudServer
from foreshape_controller.model.migration import Event, Happened
from foreshape_controller.model.moving import Moving
from foreshape_wire.reading import DomainState

ALONE_S = 10.0
SILENT_S = 600.0

HERE = frozenset({DomainState.RUNNING, DomainState.PAUSED, DomainState.BUSY})
"""Not one that is just coming in."""

SAMPLE_S = 1.0
"""Between two looks at a migration's bytes, at least."""

DIRTY_RATE = 0.5
"""Weight of a new dirty rate beside what was known."""

MIB = 1 << 20


class Seen(Protocol):
    """A server in its host's newest report."""

    @property
    def host(self) -> str: ...

    @property
    def at(self) -> float: ...

    @property
    def state(self) -> DomainState: ...


class Sightings(Protocol):
    """What agents see."""

    def of(self, wanted: Collection[str]) -> Mapping[str, Seen]: ...

    def hosts(self) -> Mapping[str, float]: ...


class Learnt(Protocol):
    """What migrations teach."""

    def of(self, kind: str) -> Mapping[str, float]: ...

    def put(self, kind: str, name: str, value: float, now: float) -> None: ...


class Asked(Protocol):
    """The part of Nova that tells."""

    def server(self, server: str) -> CloudServer: ...

    def migrations(self, *, server: str = "") -> list[CloudMigration]: ...

    def progress(self, server: str) -> tuple[CloudMigration, ...]: ...


@dataclass(frozen=True)
class _Bytes:
    """How far a migration was at an instant, MiB."""

    at: float
    processed: float
    remaining: float


class Witness:
    """``look`` while it is under way, ``unfit`` just before. Its memory of bytes may be lost at any time."""

    def __init__(self, nova: Asked, sightings: Sightings, learnt: Learnt) -> None:
        self._nova, self._sightings, self._learnt = nova, sightings, learnt
        self._bytes: dict[str, _Bytes] = {}

    def unfit(self, row: Moving) -> str:
        """Why Nova itself says now that it must not be moved as planned. Raises Gone, Temporary."""
        server = self._nova.server(row.migration.server)
        return changed(row, server) or immovable(server)

    def look(self, row: Moving, now: float) -> tuple[Moving, tuple[Event, ...]]:
        """Ask Nova, then the agents. Raises Gone, Temporary."""
        server = self._nova.server(row.migration.server)
        record = self._ours(row)
        status = _status(row, server, record, now)
        there = server.host == row.migration.target and _sound(server) and status in ("completed", "")
        row = self._noted(row, record, now, there=there)
        said = Event(Happened.NOVA, host=server.host, status=status, sound=_sound(server), nova_id=record.uuid if record else "")
        agent = self._agent(row, server, now)
        if record is not None and record.status == "running":
            self._sample(row, record, now)
        return row, (said, agent) if agent else (said,)

    # -- Nova

    def _ours(self, row: Moving) -> CloudMigration | None:
        """Our record: by its id, else the newest on our way that was not there before the order."""
        m = row.migration
        found = [r for r in self._nova.migrations(server=m.server) if r.kind in ("live-migration", "")]
        if m.nova_id:
            return next((r for r in found if r.uuid == m.nova_id), None)
        return next((r for r in found if r.target == m.target and r.source in (m.source, "") and r.uuid not in row.known), None)

    def _noted(self, row: Moving, record: CloudMigration | None, now: float, *, there: bool) -> Moving:
        """What is kept of it: its number, since when it is there, how long it took."""
        if record is not None:
            row = replace(row, number=record.id)
        if not there:
            return replace(row, there_since=None)
        if row.there_since is None:
            row = replace(row, there_since=now)
            if record is not None and 0 < record.started < record.updated:
                row = replace(row, took_s=record.updated - record.started)
                self._learn(row, now)
        return row

    def _learn(self, row: Moving, now: float) -> None:
        """The factor of its link, and of all links together."""
        known = self._learnt.of("link")
        for name in (row.link, ANY_LINK):
            if name and row.took_s is not None and row.predicted_s > 0:
                before = known.get(name, known.get(ANY_LINK, 1.0))
                self._learnt.put("link", name, learn(before, row.predicted_s, row.took_s), now)

    def _sample(self, row: Moving, record: CloudMigration, now: float) -> None:
        """The dirty rate, from two looks: what was sent and what is left grew together by what was written meanwhile."""
        before = self._bytes.get(row.id)
        if before is not None and now - before.at < SAMPLE_S:
            return
        told = next((p for p in self._nova.progress(row.migration.server) if p.uuid == record.uuid), None)
        if told is None or told.memory_processed is None or told.memory_remaining is None:
            return
        seen = self._bytes[row.id] = _Bytes(now, told.memory_processed / MIB, told.memory_remaining / MIB)
        if before is not None and seen.processed > before.processed:
            written = (seen.processed - before.processed) + (seen.remaining - before.remaining)
            self._dirty(row.migration.server, max(0.0, written) / (seen.at - before.at), now)

    def _dirty(self, server: str, rate: float, now: float) -> None:
        known = self._learnt.of("dirty").get(server)
        self._learnt.put("dirty", server, rate if known is None else known + DIRTY_RATE * (rate - known), now)

    # -- agents

    def _agent(self, row: Moving, server: CloudServer, now: float) -> Event | None:
        target = row.migration.target
        seen = self._sightings.of([row.migration.server]).get(row.migration.server)
        if seen is not None and seen.host == target and seen.state in HERE:
            return Event(Happened.AGENT, at=seen.at, host=target)
        if row.there_since is None:
            return None
        waited, heard = now - row.there_since, self._sightings.hosts().get(target)
        silent = heard is None or heard < row.there_since
        if (heard is None and waited >= ALONE_S) or (waited >= SILENT_S and (silent or server.status != "ACTIVE")):
            word = f"{target} has no agent" if heard is None else f"the agent of {target} says nothing"
            return Event(Happened.AGENT, at=now, host=target, text=f"{word}: Nova's word alone, for {waited:.0f} s")
        return None


def _status(row: Moving, server: CloudServer, record: CloudMigration | None, now: float) -> str:
    """Nova's word. A record that says it runs while the server rests, long after its limit, was left behind by a nova-compute that died."""
    if record is None:
        return ""
    m = row.migration
    late = m.ordered_at is not None and now - m.ordered_at > m.limit_s
    if record.moving and late and _sound(server):
        return "completed" if server.host == m.target else "error"
    return record.status


def _sound(server: CloudServer) -> bool:
    return server.status not in ("MIGRATING", "ERROR", "") and not server.task_state
