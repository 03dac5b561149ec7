"""What agents are told to hold: each server's guard with the terms of its tier and the hard caps in force.

Nothing is kept here that is not in the store or made anew by the next plan: which tier a server is in, and its groups.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from foreshape_controller.decide import caps as rules
from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.group import Groups, Member
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_wire.ids import CauseId, ServerId
from foreshape_wire.order import Guard, HardCap, Order

NOBODY = Groups()


LOOK_EVERY_S = 5.0
"""A server that nobody knows yet is looked for no more often than this."""


class _Caps(Protocol):
    def told(self, now: float) -> Sequence[Cap]:
        """In force, or ended lately."""


class _Inventory(Protocol):
    def view(self, now: float) -> ClusterView: ...

    def lately(self, now: float, within_s: float) -> ClusterView: ...


class GuardStore(Protocol):
    """The part of the store that is needed here."""

    @property
    def caps(self) -> _Caps: ...

    @property
    def inventory(self) -> _Inventory: ...


class Guarding:
    """``caps`` for the plan, ``guards`` for replies to agents; a listener of the plan loop. Safe from any thread."""

    def __init__(
        self,
        store: GuardStore,
        tiers: Callable[[], Tiers],
        segments: Segments,
        classes: Callable[[], Mapping[str, str]] = dict,
        waiting: Callable[[float], Sequence[Cap]] = lambda _now: (),
    ) -> None:
        """``waiting``: caps that no person set, of servers that wait in a pool."""
        self._store, self._tiers, self._segments, self._classes = store, tiers, segments, classes
        self._waiting = waiting
        self._tier_of: Mapping[str, str] = {}
        self._servers: Mapping[str, Server] = {}
        self._grouped: Groups | None = None
        self._looked_at = float("-inf")
        self._glanced: tuple[ClusterView, Mapping[str, tuple[str, ...]]] | None = None

    def __call__(self, plan: Plan, orders: tuple[Order, ...], view: ClusterView) -> None:  # noqa: ARG002  a listener's shape
        """Remember who is in which tier by the newest plan."""
        self._tier_of = dict(zip(plan.table.servers, plan.table.tiers, strict=True))

    def caps(self, view: ClusterView, now: float) -> Mapping[str, Mapping[str, Cap]]:
        """By resource and server: the cap in force."""
        self._see(view)
        return self.bounds(view, now)

    def bounds(self, view: ClusterView, now: float) -> Mapping[str, Mapping[str, Cap]]:
        """The same of some servers only: who is in the view is not remembered."""
        told = rules.in_force((*self._store.caps.told(now), *self._waiting(now)), now)
        return rules.strictest(told, view.servers, self.groups(told).of, now)

    def _see(self, view: ClusterView) -> None:
        self._servers, self._grouped, self._looked_at = {s.id: s for s in view.servers}, None, view.at

    def groups(self, told: Sequence[Cap]) -> Groups:
        """Of the servers of the newest view; nobody's where no cap asks for segments."""
        if not rules.needs_segments(told):
            return NOBODY
        if self._grouped is None:
            members = [Member.of(s) for s in self._servers.values()]
            self._grouped = grouped(members, self._segments, self._classes())
        return self._grouped

    def scope(self, now: float) -> "Scope":
        """Everything that a person's question about caps is answered from, as it is now."""
        view, told = self._store.inventory.view(now), self._store.caps.told(now)
        return Scope(view.servers, self._groups_of(view), told)

    def glance(self, now: float, within_s: float) -> "Scope":
        """The same for lists, of servers as they were at most so long ago: to see all of a large cloud takes a second."""
        view, told, kept = self._store.inventory.lately(now, within_s), self._store.caps.told(now), self._glanced
        if kept is None or kept[0] is not view:
            kept = self._glanced = (view, self._groups_of(view))
        return Scope(view.servers, kept[1], told)

    def _groups_of(self, view: ClusterView) -> Mapping[str, tuple[str, ...]]:
        return grouped([Member.of(s) for s in view.servers], self._segments, self._classes()).of

    def floor(self, server: Server, resource: str) -> float:
        """What its tier promises, in the resource's unit; of disks and network nothing is promised."""
        tiers = self._tiers()
        tier = tiers.tiers.get(self._tier_of.get(server.id, "")) or tiers.of(server)
        if resource == "cpu":
            return _promised(tier.cpu, server.entitlement.cpu.cores)
        return _promised(tier.memory, server.entitlement.memory.mib) if resource == "memory" else 0.0

    def guards(self, plain: Sequence[Guard], acting: frozenset[ServerId], now: float) -> tuple[Guard, ...]:
        """The guards of one host, completed. Caps begin only on servers where Foreshape may act.

        Of who waits only the CPU is held here: the plan takes its memory, and its agent gives back what it turns out to need.
        """
        told = (*self._store.caps.told(now), *(c for c in self._waiting(now) if c.resource == "cpu"))
        if told and any(g.server not in self._servers for g in plain) and now >= self._looked_at + LOOK_EVERY_S:
            self._see(self._store.inventory.view(now))  # after a start, or new here: a reply without its cap would lift it
        groups, tiers = self.groups(told), self._tiers()
        scene = _Scene(told, groups, now)
        return tuple(self._guard(g, tiers, scene, acts=g.server in acting) for g in plain)

    def _guard(self, plain: Guard, tiers: Tiers, scene: "_Scene", *, acts: bool) -> Guard:
        tier = tiers.tiers.get(self._tier_of.get(plain.server, ""))
        server = self._servers.get(plain.server)
        found = () if server is None or not scene.told else _hard(server, scene, begins=acts)
        return _completed(plain, tier, found)


class Scope(msgspec.Struct, frozen=True):
    """Servers, their groups, and caps that are in force or ended lately."""

    servers: tuple[Server, ...]
    groups: Mapping[str, tuple[str, ...]]
    caps: Sequence[Cap]


class _Scene(msgspec.Struct, frozen=True):
    """What caps are looked up by."""

    told: Sequence[Cap]
    groups: Groups
    now: float


def _promised(of: ResourceRules, sold: float) -> float:
    return max(of.floor_share * sold, min(of.floor_least, sold))


@lru_cache(maxsize=65536)
def _completed(plain: Guard, tier: Tier | None, caps: tuple[HardCap, ...]) -> Guard:
    """Cached by its values, which seldom change: every reply to an agent has one for each server."""
    return plain if tier is None and not caps else msgspec.structs.replace(plain, **_terms(tier), caps=caps)


def _terms(tier: Tier | None) -> dict[str, object]:
    """How the agent answers pressure for a server of this tier."""
    if tier is None:
        return {}
    return {
        "tier": tier.name,
        "reflex_growth": tier.reflex_growth,
        "reflex_headroom": tier.reflex_headroom,
        "memory_margin_share": tier.memory.margin_share,
    }


def _hard(server: Server, scene: _Scene, *, begins: bool) -> tuple[HardCap, ...]:
    """Those in force, one of each resource; and what ended lately where none is."""
    live = rules.strictest(scene.told, [server], scene.groups.of, scene.now)
    mine = set(rules.scopes(server, scene.groups.of))
    over = [c for c in scene.told if c.ends <= scene.now and c.scope in mine and c.resource not in live]
    newest = {c.resource: c for c in sorted(over, key=lambda c: c.ends)}
    chosen = [by_server[server.id] for by_server in live.values() if server.id in by_server]
    return tuple(_told(c, begins=begins) for c in (*chosen, *newest.values()))


def _told(cap: Cap, *, begins: bool) -> HardCap:
    return HardCap(cause=CauseId(cap.id), resource=cap.resource, amount=cap.amount, until=cap.ends, reason=cap.reason, begins=begins)
