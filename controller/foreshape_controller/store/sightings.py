"""Where agents see a few servers now, and as what: less than the whole view, for those who look every two seconds."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import func, select

from foreshape_controller.model.moving import Shape
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import hosts, outcomes, servers
from foreshape_wire.order import Outcome, Verdict
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import VmSample


class _Came(msgspec.Struct):
    """The part of a card that tells how the server came."""

    stopped_s: float | None = None


_came = msgspec.json.Decoder(_Came)
_samples = msgspec.json.Decoder(tuple[VmSample, ...])
_outcome = msgspec.json.Decoder(Outcome)


class Sighting(NamedTuple):
    """A server as the newest report of its host has it."""

    host: str
    at: float
    """When that report was taken."""
    state: DomainState
    cpu: float | None
    """Cores it may use; None: the report does not say."""
    memory: float | None
    """MiB."""
    stopped_s: float | None = None
    """How long its guest was stopped to come there, as that host's hypervisor measured; None: nobody did."""


class Sightings:
    """Reads only."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, wanted: Collection[str]) -> Mapping[str, Sighting]:
        """By server; one that its host's newest report no longer has is not among them."""
        query = select(servers.c.id, servers.c.host, servers.c.card, servers.c.card_host, hosts.c.last_seen, hosts.c.samples).join(
            hosts, hosts.c.name == servers.c.host
        )
        with self._db.read() as conn:
            rows = conn.execute(query.where(servers.c.id.in_(list(wanted)), servers.c.released_at.is_(None))).all()
        told = {row.host: _by_server(row.samples) for row in rows}
        return {row.id: _seen(row, told[row.host][row.id]) for row in rows if row.id in told[row.host]}

    def left(self, server: str) -> tuple[str, float] | None:
        """Host whose agent was the last to report it, and when a report no longer had it; None: one has it now, or none ever had."""
        query = select(servers.c.host, servers.c.released_at).where(servers.c.id == server, servers.c.released_at.is_not(None))
        with self._db.read() as conn:
            row = conn.execute(query).one_or_none()
        return (row.host, row.released_at) if row is not None else None

    def proven(self, server: str) -> Shape:
        """What our newest proven actions left it with, whoever of us wanted them."""
        mine = (outcomes.c.server == server, outcomes.c.verdict == Verdict.APPLIED.value, outcomes.c.stray.is_(False))
        newest = select(func.max(outcomes.c.id)).where(*mine).group_by(outcomes.c.resource)
        with self._db.read() as conn:
            told = map(_outcome.decode, conn.execute(select(outcomes.c.data).where(outcomes.c.id.in_(newest))).scalars())
            after = {o.resource: o.after for o in told}
        return Shape(cpu=after.get("cpu"), memory=after.get("memory"))

    def hosts(self) -> Mapping[str, float]:
        """By host that has an agent: when its newest report was taken."""
        with self._db.read() as conn:
            return {row.name: row.last_seen for row in conn.execute(select(hosts.c.name, hosts.c.last_seen))}


def _by_server(samples: bytes | None) -> dict[str, VmSample]:
    return {str(s.server): s for s in _samples.decode(samples)} if samples else {}


def _seen(row: Any, sample: VmSample) -> Sighting:
    cpu = sample.cpu.allocation.cores if sample.cpu else None
    memory = sample.memory.allocation.mib if sample.memory else None
    return Sighting(row.host, row.last_seen, sample.state, cpu, memory, _stopped(row))


def _stopped(row: Any) -> float | None:
    """By the card of the host that it is on: until the new one comes, the card is of the host before."""
    return _came.decode(row.card).stopped_s if row.card is not None and row.card_host == row.host else None
