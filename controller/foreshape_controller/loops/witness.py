"""What Nova and the target's agent say of a migration that was ordered, as events.

Arrival needs both. Where the target has no agent, Nova's word holds once it has stood for ``ALONE_S``; where its agent is silent, or the
server was stopped on arrival (an agent takes over running servers only), for ``SILENT_S``. An agent that reports and does not have a
server that Nova calls ACTIVE there is a contradiction: nothing is believed then, and it says so.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from foreshape_controller.decide.movable import immovable
from foreshape_controller.decide.moves import learn, learn_downtime
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

QUIET_S, NO_WORD = 60.0, "no word from the agent of"
"""Agents report every ten seconds."""

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

    @property
    def stopped_s(self) -> float | None: ...


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

    def forget(self, migration: str) -> None:
        """It is over."""
        self._bytes.pop(migration, None)

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

    def silence(self, row: Moving, now: float) -> str:
        """Why nobody may ever tell its end, while it is under way: a source that died takes Nova's word on it along. Empty: it speaks."""
        source, ordered = row.migration.source, row.migration.ordered_at
        heard = self._sightings.hosts().get(source)
        if row.there_since is not None or ordered is None or heard is None or now - max(heard, ordered) < QUIET_S:
            return ""
        return (
            f"{NO_WORD} {source} for {now - heard:.0f} s; if that host is dead, Nova cannot end this before its nova-compute is back or "
            f"the server was evacuated"
        )

    def stopped(self, row: Moving, now: float) -> Moving:
        """After the arrival: how long its guest was stopped, once the target's agent has told it; learnt from once. Never guessed."""
        ordered, target = row.migration.ordered_at, row.migration.target
        seen = self._sightings.of([row.migration.server]).get(row.migration.server)
        if row.stopped_s is not None or ordered is None or seen is None or seen.host != target or seen.at < ordered:
            return row
        if seen.stopped_s is None:
            return row
        if row.downtime_s > 0:
            better = partial(learn_downtime, predicted_s=row.downtime_s, measured_s=seen.stopped_s, used=row.factors[1])
            self._nearer("downtime", row, better, now)
        return replace(row, stopped_s=seen.stopped_s)

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
        """The factor of its link's durations."""
        if row.took_s is not None and row.predicted_s > 0:
            self._nearer("link", row, partial(learn, predicted_s=row.predicted_s, measured_s=row.took_s, used=row.factors[0]), now)

    def _nearer(self, kind: str, row: Moving, better: Callable[[float], float], now: float) -> None:
        """A factor of its link, and of all links together."""
        known = self._learnt.of(kind)
        for name in (row.link, ANY_LINK):
            if name:
                self._learnt.put(kind, name, better(known.get(name, known.get(ANY_LINK, 1.0))), now)

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
