"""Hosts and servers as last reported; the snapshot that a decision cycle works on.

The newest samples are kept whole, one row per host; a server's own row changes only when it moves, is new, or gets
another card. So a report costs the same few statements however many servers it has.
"""

import hashlib
import threading
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, func, insert, or_, select, update

from foreshape_controller.model.cloud_word import Reported
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_controller.store.bins import LIVE
from foreshape_controller.store.cloud_servers import aggregates
from foreshape_controller.store.engine import Database
from foreshape_controller.store.modes import Levels, Modes
from foreshape_controller.store.ownership import Owner, judge
from foreshape_controller.store.schema import cloud_servers, hosts, servers
from foreshape_controller.store.steering import Steering, card_missing, held, steer
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.quantity import Memory, Size
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import DomainCard, Gap, HostReport, HostSample, VmSample

GONE_AFTER_S = 600.0
"""A server that its host no longer reports leaves the view after this long; its history stays."""

HOST_GONE_AFTER_S = 7 * 86400.0
"""A host silent for this long leaves the view with all it had."""

NOBODY = ClusterView(at=float("-inf"), hosts=(), servers=())

_json = msgspec.json.Encoder()
_samples = msgspec.json.Decoder(tuple[VmSample, ...])
_sample = msgspec.json.Decoder(VmSample)
_host_sample = msgspec.json.Decoder(HostSample)
_card = msgspec.json.Decoder(DomainCard)

_host_row = select(hosts.c.last_seen, hosts.c.cards_digest, hosts.c.host_sample, hosts.c.gap).where(hosts.c.name == bindparam("host"))
_owned = select(servers.c.id).where(servers.c.host == bindparam("host"), servers.c.released_at.is_(None))
_word = cloud_servers.c
WORDED = servers.outerjoin(cloud_servers, _word.server == servers.c.id)
"""With the cloud's word beside each server: its columns are called ``nova_…``."""
WORDS = [_word[n].label(f"nova_{n}") for n in ("server", "project", "project_name", "name", "flavor", "image", "az", "aggregates")]
owner: ColumnElement[str] = func.coalesce(_word.project, servers.c.project)
"""Whose a server is: the cloud's word, where it has one, before the agent's."""
_holds = [_word.held_code, _word.held]
_every = select(servers, *WORDS, *_holds).select_from(WORDED).where(servers.c.card.is_not(None))
_set_card = (
    update(servers)
    .where(servers.c.id == bindparam("of"), servers.c.host == bindparam("by"))
    .values({n: bindparam(n) for n in ("name", "project", "entitled_cpu", "entitled_memory", "card", "card_host")})
)


@dataclass(frozen=True)
class HostDetail:
    """What operators want to know of a host, and decisions do not."""

    agent_version: str = ""
    gap: str = ""
    """Samples that its agent's spool had to thin."""
    clock_ahead_s: float = 0.0
    sample: HostSample | None = None
    received_at: float = 0.0
    """When its newest report came."""
    last_seen: float = 0.0
    """When that report's samples were taken."""
    safe_mode: str = ""


class Inventory:
    """``view`` for decisions, ``steering`` for agents, ``take`` for intake."""

    def __init__(self, db: Database, modes: Modes) -> None:
        self._db = db
        self._modes = modes
        self._put_host = db.upsert(hosts, ["name"])
        self._known_cards: dict[str, tuple[bytes, DomainCard]] = {}
        """As last read, by server: a card seldom changes, and to decode it costs more than to compare it."""
        self._seen = NOBODY
        self._forgotten = 0
        """How often somebody said that the newest view is no longer so."""
        self._looking = threading.Lock()
        self.in_cloud = False
        """A cloud is configured: a server on which it has said nothing yet is left alone."""

    def view(self, now: float, project: str | None = None, called: str | None = None) -> ClusterView:
        """All hosts and servers at this instant. Stale ones are in it with their ``last_seen``; whoever decides judges.

        ``project``: only its servers, and no hosts. ``called``: only whose id or name it is, and no hosts.
        """
        whole, known_of = project is None and called is None, self._forgotten
        with self._db.read() as conn:
            recent = select(hosts).where(hosts.c.last_seen > now - HOST_GONE_AFTER_S)
            server_rows = _rows(conn, project, called)
            around = recent if whole else recent.where(hosts.c.name.in_({row.host for row in server_rows}))
            host_rows = conn.execute(around).all()
            known = {row.name: row for row in host_rows}
            levels = self._modes.levels(conn)
        there = _there(server_rows, known, now)
        wanted = None if whole else {row.id for row in there}
        samples = {(row.name, s.server): s for row in host_rows if row.samples for s in _read(row.samples, wanted)}
        cards = self._decoded(there, whole=whole)
        scene = _Scene(levels, now, self.in_cloud)
        found = (_server(row, cards[row.id], known[row.host], samples.get((row.host, row.id)), scene) for row in there)
        made = ClusterView(
            at=now,
            hosts=tuple(h for h in (_host(row, levels) for row in host_rows) if h is not None) if whole else (),
            servers=tuple(sorted(found, key=lambda s: (s.name, s.id))),
        )
        if whole and known_of == self._forgotten:
            self._seen = made
        return made

    def forget(self) -> None:
        """Somebody wrote something: the newest view is not to be shown again."""
        self._forgotten += 1
        self._seen = NOBODY

    def lately(self, now: float, within_s: float) -> ClusterView:
        """The newest whole view, where one was made within that time; another one otherwise. For figures, never for decisions."""
        with self._looking:
            seen = self._seen
            return seen if 0 < now - seen.at <= within_s else self.view(now)

    def reported(self, now: float) -> tuple[Reported, ...]:
        """What agents themselves say of the servers that they report now, whatever the cloud's word on them is."""
        with self._db.read() as conn:
            known = set(conn.execute(select(hosts.c.name).where(hosts.c.last_seen > now - HOST_GONE_AFTER_S)).scalars())
            rows = conn.execute(select(servers).where(servers.c.card.is_not(None), servers.c.released_at.is_(None))).all()
        there = [row for row in rows if row.host in known]
        return tuple(_reported(row, _card.decode(row.card)) for row in there)

    def heard(self, now: float) -> tuple[str, ...]:
        """Names of the hosts in the view."""
        with self._db.read() as conn:
            return tuple(conn.execute(select(hosts.c.name).where(hosts.c.last_seen > now - HOST_GONE_AFTER_S)).scalars())

    def _decoded(self, rows: Sequence[Any], *, whole: bool) -> Mapping[str, DomainCard]:
        """Cards of these servers; those that are as they were are not decoded again. ``whole``: others are forgotten."""
        before, after = self._known_cards, dict[str, tuple[bytes, DomainCard]]()
        for row in rows:
            kept = before.get(row.id)
            after[row.id] = kept if kept is not None and kept[0] == row.card else (row.card, _card.decode(row.card))
        if whole:
            self._known_cards = after
        return {server: card for server, (_, card) in after.items()}

    def details(self) -> dict[str, HostDetail]:
        """What is known of every host beside the view."""
        with self._db.read() as conn:
            rows = conn.execute(select(*(c for c in hosts.c if c.name not in ("samples", "cards_digest")))).all()
        return {row.name: _detail(row) for row in rows}

    def steering(self, host: HostName, now: float) -> Steering:
        """What the host's agent is to do and to hold: the content of a reply."""
        with self._db.read() as conn:
            return steer(conn, self._modes.levels(conn), host, now, in_cloud=self.in_cloud)

    def remembered(self, wanted: str, project: str | None = None) -> tuple[tuple[str, str], ...]:
        """Ids and names of servers that have this id or name, also of those that left the view: the newest first.

        ``project``: only its servers.
        """
        name = func.coalesce(_word.name, servers.c.name).label("name")
        query = select(servers.c.id, name).select_from(WORDED).order_by(servers.c.last_seen.desc())
        query = query if project is None else query.where(_of(project))
        with self._db.read() as conn:
            rows = conn.execute(query.where(_called(wanted))).all()
        return tuple((row.id, row.name) for row in rows if wanted in (row.id, row.name))

    def owner(self, server: str) -> str:
        """Whose it is; empty where nobody knows it."""
        with self._db.read() as conn:
            found = conn.execute(select(owner).select_from(WORDED).where(servers.c.id == server)).scalar()
        return str(found or "")

    def owned(self, project: str) -> frozenset[str]:
        """Ids of a project's servers, also of those that left the view."""
        with self._db.read() as conn:
            return frozenset(conn.execute(select(servers.c.id).select_from(WORDED).where(_of(project))).scalars())

    def set_tier(self, server: str, tier: str) -> bool:
        """Put a server into a tier; False: no such server."""
        with self._db.write() as conn:
            return conn.execute(update(servers).where(servers.c.id == server).values(tier=tier)).rowcount == 1

    @staticmethod
    def capacities(conn: Connection, resource: str) -> dict[str, float]:
        """What each host has, cores or MiB: the entitlement of its own series."""
        rows = conn.execute(select(hosts.c.name, hosts.c.host_sample).where(hosts.c.host_sample.is_not(None)))
        samples = {name: _host_sample.decode(data) for name, data in rows}
        return {name: float(s.cpus) if resource == "cpu" else s.memory_total.mib for name, s in samples.items()}

    # --- inside the transaction of a report ---

    def take(self, conn: Connection, report: HostReport, taken_at: float, received_at: float) -> Sequence[VmSample]:
        """Fold one report in; returns the samples that count for history."""
        old = conn.execute(_host_row, {"host": report.host}).one_or_none()
        newest = old is None or taken_at >= old.last_seen
        mine = set(conn.execute(_owned, {"host": report.host}).scalars())
        counted = self._judged(conn, report, mine, (taken_at, received_at))
        if newest:
            self._release(conn, report, mine, taken_at)
            self._put(conn, report, old, taken_at, received_at)
        elif report.gap:
            conn.execute(update(hosts).where(hosts.c.name == report.host).values(gap=_gap(report.gap)))
        return counted

    def _judged(self, conn: Connection, report: HostReport, mine: set[str], times: tuple[float, float]) -> Sequence[VmSample]:
        """Samples that count; servers that are new here or were another's are taken over on the way."""
        others = [s for s in report.samples if s.server not in mine]
        if not others:
            return [s for s in report.samples if s.state in LIVE]
        owners = _owners(conn, [s.server for s in others])
        dropped = set()
        for s in others:
            verdict = judge(owners.get(s.server), report.host, *times, live=s.state in LIVE)
            if verdict.takes:
                _take_over(conn, s.server, report.host, times[0], new=s.server not in owners)
            if not verdict.counts:
                dropped.add(s.server)
        return [s for s in report.samples if s.state in LIVE and s.server not in dropped]

    def _release(self, conn: Connection, report: HostReport, mine: set[str], taken_at: float) -> None:
        """Servers that the newest report no longer has: keep their last words in their own rows."""
        gone = mine - {s.server for s in report.samples}
        if not gone:
            return
        row = conn.execute(select(hosts.c.last_seen, hosts.c.samples).where(hosts.c.name == report.host)).one_or_none()
        last = {s.server: s for s in _samples.decode(row.samples)} if row is not None and row.samples else {}
        for server in gone:
            sample = last.get(ServerId(server))
            words = {"last_seen": row.last_seen, "last_sample": _json.encode(sample)} if row is not None and sample else {}
            conn.execute(update(servers).where(servers.c.id == server).values(released_at=taken_at, **words))

    def _put(self, conn: Connection, report: HostReport, old: Any, taken_at: float, received_at: float) -> None:
        digest = self._cards(conn, report, old.cards_digest if old is not None else "")
        row = (
            report.host,
            taken_at,
            received_at,
            report.agent_version,
            report.safe_mode,
            _gap(report.gap) if report.gap else old.gap if old is not None else "",
            max(0.0, report.taken_at - received_at),
            _json.encode(report.host_sample) if report.host_sample else old.host_sample if old is not None else None,
            _json.encode(report.samples),
            digest,
        )
        self._put_host.run(conn, [row])

    def _cards(self, conn: Connection, report: HostReport, known: str) -> str:
        """Store cards that differ from those known; returns the digest of what is known now."""
        if report.cards is None:
            return known
        encoded = [_json.encode(c) for c in report.cards]
        digest = hashlib.sha256(b"\n".join(encoded)).hexdigest()
        if digest == known and not card_missing(conn, report.host):
            return known
        rows = [_card_row(c, data, report.host) for c, data in zip(report.cards, encoded, strict=True)]
        if rows:
            conn.execute(_set_card, rows)
        return digest


def _of(project: str) -> ColumnElement[bool]:
    """As ``owner == project``, in words for which there is an index: 30,000 servers in a tenth of the time."""
    told = select(_word.server).where(_word.project == project)
    spoken = exists().where(_word.server == servers.c.id, _word.project.is_not(None))
    return or_(servers.c.id.in_(told), and_(servers.c.project == project, ~spoken.correlate(servers)))


def _called(wanted: str) -> ColumnElement[bool]:
    """Whose id it is, or whose name in the cloud's words or the agent's; for each of these there is an index."""
    named = select(_word.server).where(_word.name == wanted)
    return servers.c.id.in_(select(servers.c.id).where(or_(servers.c.id == wanted, servers.c.name == wanted)).union(named))


def _read(data: bytes, wanted: Collection[str] | None) -> Iterable[VmSample]:
    """A host's samples; ``wanted``: of these servers alone, and the others are not decoded."""
    if wanted is None:
        return _samples.decode(data)
    return [_sample.decode(raw) for raw in _raws.decode(data) if _whose.decode(raw).server in wanted]


class _Whose(msgspec.Struct):
    """The part of a sample that says whose it is."""

    server: str


_raws = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_whose = msgspec.json.Decoder(_Whose)


def _gap(gap: Gap) -> str:
    since, until = (datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for t in (gap.since, gap.until))
    return f"{gap.reports} reports between {since} and {until}"


def _card_row(card: DomainCard, data: bytes, host: str) -> dict[str, Any]:
    identity = card.identity
    return {
        "of": identity.server,
        "by": host,
        "name": identity.display_name or identity.name,
        "project": identity.project,
        "entitled_cpu": card.entitlement.cpu.cores,
        "entitled_memory": card.entitlement.memory.mib,
        "card": data,
        "card_host": host,
    }


def _owners(conn: Connection, ids: Iterable[str]) -> dict[str, Owner]:
    query = (
        select(servers.c.id, servers.c.host, servers.c.owned_since, servers.c.released_at, hosts.c.received_at)
        .outerjoin(hosts, hosts.c.name == servers.c.host)
        .where(servers.c.id.in_(list(ids)))
    )
    return {r.id: Owner(r.host, r.owned_since, r.released_at, r.received_at or 0.0) for r in conn.execute(query)}


def _take_over(conn: Connection, server: str, host: str, taken_at: float, *, new: bool) -> None:
    if new:
        row = {"id": server, "host": host, "owned_since": taken_at, "first_seen": taken_at, "last_seen": taken_at, "tier": ""}
        conn.execute(insert(servers), row)
    else:
        change = {"host": host, "owned_since": taken_at, "released_at": None}
        conn.execute(update(servers).where(servers.c.id == server).values(change))


def _detail(row: Any) -> HostDetail:
    sample = _host_sample.decode(row.host_sample) if row.host_sample else None
    return HostDetail(row.agent_version, row.gap, row.clock_ahead_s, sample, row.received_at, row.last_seen, row.safe_mode)


def _host(row: Any, levels: Levels) -> Host | None:
    if row.host_sample is None:
        return None
    sample = _host_sample.decode(row.host_sample)
    return Host(
        name=HostName(row.name),
        cpus=sample.cpus,
        memory_total=sample.memory_total,
        memory_available=sample.memory_available,
        last_seen=row.last_seen,
        safe_mode=row.safe_mode,
        mode=levels.effective(row.name),
    )


def _rows(conn: Connection, project: str | None, called: str | None) -> Sequence[Any]:
    """Servers of a project, or of all, by their id, and by their name where nobody has that id."""
    mine = _every if project is None else _every.where(_of(project))
    if called is None:
        return conn.execute(mine).all()
    return conn.execute(mine.where(_called(called))).all()


def _there(rows: Iterable[Any], known: Container[str], now: float) -> list[Any]:
    """Servers of hosts that are known, but for those that their host ceased to report long ago."""
    return [row for row in rows if row.host in known and not (row.released_at is not None and row.released_at < now - GONE_AFTER_S)]


def _reported(row: Any, card: DomainCard) -> Reported:
    of, sold = card.identity, card.entitlement
    return Reported(
        server=row.id,
        host=row.host,
        name=of.display_name,
        project=of.project,
        flavor=of.flavor,
        image=of.image,
        cores=sold.cpu.cores,
        mib=sold.memory.mib,
    )


class _Scene(NamedTuple):
    """What all servers of a view have in common."""

    levels: Levels
    now: float
    in_cloud: bool


def _server(row: Any, card: DomainCard, host: Any, sample: VmSample | None, scene: _Scene) -> Server:
    identity, (levels, now, in_cloud) = card.identity, scene
    project = identity.project if row.nova_project is None else row.nova_project
    if sample is None and row.last_sample is not None:
        sample = _sample.decode(row.last_sample)
    raised = row.raised_floor is not None and row.raised_until > now
    return Server(
        id=ServerId(row.id),
        host=HostName(row.host),
        name=row.nova_name or row.name,
        project=project,
        flavor=row.nova_flavor or identity.flavor,
        image=identity.image if row.nova_image is None else row.nova_image,
        tier=row.tier,
        mode=levels.effective(row.host, project, row.id),
        entitlement=card.entitlement,
        ceiling=card.ceiling,
        allocation=_allocation(card, sample),
        capabilities=card.capabilities,
        state=sample.state if sample else DomainState.SHUTOFF,
        first_seen=row.first_seen,
        last_seen=row.last_seen if row.released_at is not None else host.last_seen,
        last=sample,
        raised_floor=Memory(row.raised_floor) if raised else None,
        throttles=card.throttles,
        memory_margin=card.memory_margin,
        project_name=row.nova_project_name or "",
        zone=row.nova_az or "",
        aggregates=aggregates(row.nova_aggregates or "[]"),
        held=held(row, in_cloud=in_cloud),
    )


def _allocation(card: DomainCard, sample: VmSample | None) -> Size:
    """The newest measurement of each resource; the card's where a sample is silent."""
    cpu = sample.cpu.allocation if sample and sample.cpu else card.allocation.cpu
    memory = sample.memory.allocation if sample and sample.memory else card.allocation.memory
    return Size(cpu, memory)
