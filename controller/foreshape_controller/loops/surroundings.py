"""Everything around migrations at one instant, put together for plans and for checks: the cloud, the agents, promises, modes, halts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Protocol

import msgspec

from foreshape_controller.decide.moves import Past, Queued, cooldown_s, rests
from foreshape_controller.decide.permit import World
from foreshape_controller.decide.place import Need
from foreshape_controller.decide.room import Ground, Pending, Servers
from foreshape_controller.loops.acting import BALANCER
from foreshape_controller.loops.clouding import CORE
from foreshape_controller.loops.scout import Outlook, Scout, Terms, claim, link_of
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.cloud import CloudMigration, CloudView
from foreshape_controller.model.migration import State
from foreshape_controller.model.moving import Drain, Moving, Proposal
from foreshape_controller.model.need import Known
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode

ROW_S = 86400.0
"""Migrations of a server are in a row when each ended within a day of the next."""

SHORTAGE_S = 1800.0
"""A shortage is taken to last a half-hour: what needs tell is when it begins, and how likely it is."""

WAY = frozenset({State.QUEUED, State.RESERVED, State.ORDERED, State.RUNNING})
"""On its way: the server is not on its target yet, as far as is known."""


class Levels(Protocol):
    """Modes at one instant."""

    def effective(self, host: str, project: str = "", server: str = "") -> Mode: ...


class Watch(Protocol):
    """The cloud as it was read last (``loops/clouding.py``)."""

    def view(self) -> CloudView | None: ...

    def why_not(self, now: float, parts: Sequence[str] = CORE) -> str: ...


@dataclass(frozen=True, eq=False)
class Facts:
    """What the store and the doors say now."""

    now: float
    cloud: CloudView
    blind: str
    agents: ClusterView
    rows: Sequence[Moving]
    """Open migrations."""
    proposals: Sequence[Proposal]
    """Open and approved ones."""
    drains: Sequence[Drain]
    needs: Sequence[Known]
    halts: Sequence[Halt]
    levels: Levels
    past: Sequence[Moving]
    """Of the last day, ended."""
    arrived: Mapping[str, float]
    """By server: when somebody else moved it last."""
    dirty: Mapping[str, float]
    factors: Mapping[str, float]
    weights: Mapping[str, float]
    stops: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By server: hosts on which room is held for it already."""


class Surroundings:
    """Facts as grounds, worlds and queues. Made anew for each round."""

    def __init__(self, facts: Facts, scout: Scout, base: Ground, *, full: float, hold_s: float) -> None:
        """``base``: the ground without promises, of the same facts."""
        self.facts, self._scout, self._base = facts, scout, base
        self._full, self._hold_s = full, hold_s

    # -- who moves

    @cached_property
    def foreign(self) -> tuple[CloudMigration, ...]:
        """Migrations of Nova's that may still change something and are not ours."""
        mine = {(r.migration.server, r.migration.target) for r in self.facts.rows if r.migration.ordered_at is not None}
        ids = {r.migration.nova_id for r in self.facts.rows if r.migration.nova_id}
        return tuple(m for m in self.facts.cloud.migrations if m.moving and m.uuid not in ids and (m.server, m.target) not in mine)

    def under_way(self) -> list[Queued]:
        """What takes up limits: ours that began and that Nova does not call completed yet, and everybody else's."""
        ours = [queued(r) for r in self.facts.rows if r.begun and r.migration.state in WAY and not r.migration.moved]
        others = [Queued(m.uuid, m.server, m.source, m.target, self.link(m.source, m.target), 0.0, 0.0, 0.0) for m in self.foreign]
        return ours + others

    def link(self, source: str, target: str) -> str:
        return link_of(self.facts.cloud, source, target)

    def pending(self, row: Moving | None = None) -> list[Pending]:
        """Promises: everybody else's, and ours; for one of ours, those that began or were made before it.

        Those that are on their target already are seen there.
        """
        where = {s.id: s.host for s in self.facts.cloud.servers.values()}
        ours = [
            Pending(r.migration.server, r.migration.target, r.migration.room.owed or self.holds(r.migration.server, r.migration.target))
            for r in self.facts.rows
            if r.migration.state in WAY and where.get(r.migration.server) != r.migration.target and _before(r, row)
        ]
        known = {p.server for p in ours} | ({row.migration.server} if row else set())
        return ours + [
            Pending(m.server, m.target, reserved=True)
            for m in self.foreign
            if m.target and m.server not in known and where.get(m.server) != m.target
        ]

    def holds(self, server: str, host: str) -> bool:
        """Whether room is held there for this very server: Placement counts it already."""
        return host in self.facts.held.get(server, frozenset())

    # -- grounds and worlds

    def ground(self, pending: Sequence[Pending], *, resting: bool, failed: bool = False) -> Ground:
        """``resting``: servers that were moved lately are left alone, and with ``failed`` alone those that could not be moved lately.
        Hosts that are drained take nobody.
        """
        servers = self._resting if resting else self._failed if failed else self._base.servers
        return replace(self._base, servers=servers, pending=tuple(pending))

    @cached_property
    def _resting(self) -> Servers:
        """The servers, and why some stay for now."""
        past, f = pasts(self.facts.past), self.facts
        found = {s: rests(past.get(s), f.now, self._hold_s, f.arrived.get(s, float("-inf"))) for s in past.keys() | f.arrived.keys()}
        return _fixed(self._failed, found)

    @cached_property
    def _failed(self) -> Servers:
        """The servers, and whose order came to nothing lately: what went wrong would do so again each minute."""
        return _fixed(self._base.servers, {s: failed(past, self.facts.now) for s, past in failures(_over(self.facts)).items()})

    def world(self, row: Moving) -> World:
        """What one migration is checked against."""
        f, m = self.facts, row.migration
        scopes = {f"host:{h}": f.levels.effective(h) for h in (m.source, m.target)}
        scopes[f"server:{m.server}"] = f.levels.effective(m.source, row.project, m.server)
        return World(
            cloud=f.cloud,
            ground=self.ground(self.pending(row), resting=False),
            blind=f.blind,
            modes=scopes,
            halts={h.scope: h.reason for h in f.halts if h.active and h.kind != BALANCER},
            balancer=self.balancer,
            short=frozenset(k.need.host for k in f.needs),
            draining=frozenset(d.host for d in f.drains),
            ours=frozenset(r.migration.target for r in f.rows if r.migration.state in (State.ORDERED, State.RUNNING, State.ARRIVED)),
            held=f.held.get(m.server, frozenset()),
            full=self._full,
        )

    @cached_property
    def balancer(self) -> str:
        """Why nothing is moved without a person's word; empty: nobody else balances."""
        found = next((h for h in self.facts.halts if h.active and h.kind == BALANCER and h.until > self.facts.now), None)
        return found.reason if found else ""

    def outlook(self, server: str, source: str, target: str) -> Outlook:
        """What moving it is predicted to take."""
        seen = next((s for s in self.facts.agents.servers if s.id == server), None)
        return self._scout.outlook(self.facts.cloud.servers[server], seen, self.link(source, target), terms_of(self.facts))

    def size(self, server: str) -> dict[str, int]:
        return claim(self.facts.cloud.servers[server])

    def needs(self) -> list[Need]:
        """Open needs as plans want them: what is avoided is the shortage's likely length, for the mean weight on the host."""
        weights: dict[str, list[float]] = {}
        for s in self.facts.cloud.servers.values():
            weights.setdefault(s.host, []).append(self.facts.weights.get(s.id, 1.0))
        return [_need(k, fmean(weights.get(k.need.host, [1.0])), self.facts.now) for k in self.facts.needs]


def terms_of(facts: Facts) -> Terms:
    """What a ground is made with."""
    closed = {d.host: f"it is being drained: {d.reason}" for d in facts.drains}
    return Terms(weights=facts.weights, closed=closed, dirty=facts.dirty, factors=facts.factors, stops=facts.stops)


def _before(row: Moving, other: Moving | None) -> bool:
    """Whether ``other`` has to respect what was promised to ``row``: of two that wait, the older one comes first."""
    if other is None:
        return True
    if row.id == other.id:
        return False
    return row.begun or (row.migration.created, row.id) < (other.migration.created, other.id)


def queued(row: Moving) -> Queued:
    """A migration as limits count it."""
    m = row.migration
    ends = float("inf") if row.deadline is None else row.deadline
    return Queued(m.id, m.server, m.source, m.target, row.link, row.worth, row.predicted_s, ends)


def _fixed(servers: Servers, why: Mapping[str, str]) -> Servers:
    return replace(servers, fixed=tuple(had or why.get(s, "") for had, s in zip(servers.fixed, servers.ids, strict=True)))


def _over(facts: Facts) -> list[Moving]:
    """What ended, and what is known to have failed and is looked after yet."""
    looked_after = [msgspec.structs.replace(r, ended=r.failed_at) for r in facts.rows if r.failed_at is not None and r.ended is None]
    return [*facts.past, *looked_after]


def failures(ended: Iterable[Moving]) -> dict[str, Past]:
    """By server: the orders in a row that came to nothing since it was moved last, counted back from the last."""
    found: dict[str, list[Moving]] = {}
    for row in sorted((r for r in ended if r.ended is not None), key=lambda r: r.ended or 0.0):
        if row.migration.state is State.SETTLED:
            found.pop(row.migration.server, None)
        elif row.migration.ordered_at is not None and not row.migration.gone:
            found.setdefault(row.migration.server, []).insert(0, row)
    return {server: _in_a_row(rows) for server, rows in found.items()}


def failed(past: Past, now: float) -> str:
    """Why it is not tried again for now; empty: it may be."""
    left = past.ended + cooldown_s(0.0, past.moves) - now
    return f"its migration failed {past.moves} times in a row: tried again in {left / 60:.0f} minutes" if left > 0 else ""


def pasts(ended: Iterable[Moving]) -> dict[str, Past]:
    """By server: its arrivals in a row, counted back from the last."""
    times: dict[str, list[Moving]] = {}
    for row in ended:
        if row.migration.state is State.SETTLED and row.ended is not None and not row.migration.gone:
            times.setdefault(row.migration.server, []).append(row)
    return {server: _in_a_row(sorted(rows, key=lambda r: r.ended or 0.0, reverse=True)) for server, rows in times.items()}


def _in_a_row(rows: Sequence[Moving]) -> Past:
    count, last = 0, rows[0].ended or 0.0
    for row in rows:
        if last - (row.ended or 0.0) > ROW_S:
            break
        count, last = count + 1, row.ended or 0.0
    newest = rows[0]
    return Past(newest.ended or 0.0, newest.took_s or newest.predicted_s, count)


def _need(known: Known, weight: float, now: float) -> Need:
    n = known.need
    likely = 1.0 if n.starts <= now else max(n.probability, 0.0)
    return Need(n.host, n.resource, n.amount, n.deadline, SHORTAGE_S * likely * weight)


Gather = Callable[[float], Surroundings | None]
"""Everything as it is now; None: the cloud was not read yet."""
