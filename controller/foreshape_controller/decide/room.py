"""What stands where, who may go where, and what is promised: the ground that plans of migrations are made on (domain.md §8).

Hosts and servers come as columns; a plan asks the ledger for targets and promises moves to it. Two gates for each target: Placement's
(``int((total - reserved) * ratio) - used``, one consumer's most and step) and the forecast at the agreed quantile. A server that moves
counts on both its hosts until somebody reads the cloud again, so a plan on top of a plan never finds room that is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

WATCHED = ("cpu", "memory")
"""Columns of ``physical``, ``forecast`` and ``peak``: cores, MiB. ``capacity`` and ``size`` have VCPU, MEMORY_MB, DISK_GB."""


@dataclass(frozen=True, eq=False)
class Hosts:
    """n hosts. NaN: not known; such a host is no target."""

    names: tuple[str, ...]
    capacity: Numbers
    """[n, 3] Placement's: ``int((total - reserved) * ratio)``."""
    held: Numbers
    """[n, 3] what all consumers hold there, reservations included."""
    most: Numbers
    """[n, 3] ``max_unit``: the most that one consumer may hold."""
    step: Numbers
    """[n, 3] ``step_size``."""
    physical: Numbers
    """[n, 2] what guests can really use."""
    forecast: Numbers
    """[n, 2] the host's peak over the horizon, at the agreed quantile."""
    zones: tuple[str, ...]
    labels: tuple[frozenset[str], ...]
    """Traits and aggregates of each, as ``trait:NAME`` and ``aggregate:NAME``."""
    closed: tuple[str, ...]
    """Why it is no target; empty: it may be one."""


@dataclass(frozen=True, eq=False)
class Servers:
    """m servers, all that are on the hosts: those that may not be moved count for groups."""

    ids: tuple[str, ...]
    host: Ints
    """[m] index of its host; -1: unknown."""
    size: Numbers
    """[m, 3] what it was sold as."""
    peak: Numbers
    """[m, 2] its own peak over the horizon, at the agreed quantile."""
    price: Numbers
    """[m] weighted seconds that moving it costs (``decide/moves.py``); infinite: it would never end."""
    zones: tuple[str, ...]
    """The zone that it must not leave; empty: any."""
    needs: tuple[frozenset[str], ...]
    """Labels that its host must have, and, with ``!`` before, must not have."""
    groups: tuple[str, ...]
    """Its server group; empty: none."""
    fixed: tuple[str, ...]
    """Why it is not to be moved (pinned, passthrough, locked, resting ...); empty: it may be."""
    kinds: tuple[str, ...] = ()
    """What aggregates' metadata makes of it, a key of ``Ground.barred``; empty: nothing, of all where there are none."""


@dataclass(frozen=True)
class Group:
    """A server group's rule. The soft policies forbid nothing."""

    policy: str
    most: int = 1
    """Members per host, of ``anti-affinity``."""


@dataclass(frozen=True)
class Pending:
    """A migration that is promised and not over."""

    server: str
    target: str
    reserved: bool
    """Placement counts it on the target already."""


@dataclass(frozen=True)
class Rule:
    """The operator's bounds for one plan."""

    full: float = 0.9
    """Share of the physical amount that a target's forecast may reach."""
    gain: float = 0.05
    """A rebalance's target stays so much (of the physical amount) emptier than its source was: the least gain."""
    worth: float = 0.0
    """Weighted seconds that a move must be worth beyond its price."""
    out: int = 4
    """Moves out of one host, the pending ones included; a drain has no such bound."""
    into: int = 4
    moves: int = 40
    """Altogether, the pending ones included."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What a plan is made on."""

    hosts: Hosts
    servers: Servers
    groups: Mapping[str, Group] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()
    barred: Mapping[str, Flags] = field(default_factory=dict)
    """By kind of server: [n] hosts that are none for it."""

    @cached_property
    def host_index(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.hosts.names)}

    @cached_property
    def rank(self) -> Ints:
        """[n] places of the hosts' names in their order: equal targets are told apart by name, never by position."""
        rank = np.empty(len(self.hosts.names), np.int64)
        rank[sorted(range(rank.size), key=self.hosts.names.__getitem__)] = np.arange(rank.size)
        return rank

    @cached_property
    def load(self) -> Numbers:
        """[n] the forecast's share of the physical amount, of the fuller resource; NaN: not known."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share: Numbers = (self.hosts.forecast / self.hosts.physical).max(axis=1)
        return np.where(np.isfinite(share), share, np.nan)

    @cached_property
    def open(self) -> Flags:
        """[n] hosts that may be targets."""
        told = [self.hosts.capacity, self.hosts.held, self.hosts.most, self.hosts.step, self.hosts.physical, self.hosts.forecast]
        known = np.isfinite(np.concatenate(told, axis=1)).all(axis=1) & (self.hosts.physical > 0).all(axis=1)
        return known & (self.hosts.step > 0).all(axis=1) & np.array([not c for c in self.hosts.closed], dtype=bool)

    @cached_property
    def members(self) -> Mapping[str, list[int]]:
        """Servers of each group."""
        found: dict[str, list[int]] = {}
        for i, group in enumerate(self.servers.groups):
            if group:
                found.setdefault(group, []).append(i)
        return found

    @cached_property
    def held_back(self) -> tuple[str, ...]:
        """[m] why each server stays where it is; empty: it may be moved."""
        s = self.servers
        moving = {p.server: p.target for p in self.pending}
        amounts = np.concatenate([s.size, s.peak], axis=1)
        known: Flags = (np.isfinite(amounts) & (amounts >= 0)).all(axis=1) & (s.size[:, 0] > 0)
        ends: Flags = np.isfinite(s.price)
        return tuple(
            s.fixed[i]
            or (f"it is already being moved to {moving[name]}" if name in moving else "")
            or ("" if s.host[i] >= 0 else "its host is not known")
            or ("" if known[i] else "its size or its forecast is not known")
            or ("" if ends[i] else "its migration would not end: it writes faster than the link copies, or that is not known")
            or self._tied(s.groups[i])
            for i, name in enumerate(s.ids)
        )

    def _tied(self, group: str) -> str:
        rule = self.groups.get(group)
        if rule and rule.policy == "affinity" and len(self.members[group]) > 1:
            return f"its group {group} keeps its members on one host: it cannot move alone"
        return ""

    @cached_property
    def _by_host(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.servers.host, kind="stable")
        return order, np.searchsorted(self.servers.host[order], np.arange(len(self.hosts.names) + 1))

    def on(self, host: int) -> Ints:
        """The servers on one host, by their ids."""
        order, starts = self._by_host
        mine = order[starts[host] : starts[host + 1]]
        return np.array(sorted(mine, key=self.servers.ids.__getitem__), np.int64)


_LIKES = {"soft-affinity": -1.0, "soft-anti-affinity": 1.0}
"""Whether members of a group on a host speak for it or against it: never so much that load comes second."""


class Ledger:
    """Room after all promises. One per plan; it begins with the migrations that are pending."""

    def __init__(self, ground: Ground, rule: Rule) -> None:
        n = len(ground.hosts.names)
        self.ground, self.rule = ground, rule
        self.held = ground.hosts.held.astype(np.float64)
        self.forecast = ground.hosts.forecast.astype(np.float64)
        self.relieved = np.zeros((n, 2))
        """[n, 2] what leaves each host; its own room is not larger before that is seen."""
        self.freed = np.zeros((n, 3))
        self.out, self.into = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.moving: set[int] = set()
        """Servers that are promised to go: each goes once in a plan."""
        self._apart: dict[str, Ints] = {}
        self._labelled: dict[tuple[str, frozenset[str]], Flags] = {}
        self._begin()

    def _begin(self) -> None:
        index = {name: i for i, name in enumerate(self.ground.servers.ids)} if self.ground.pending else {}
        for pending in self.ground.pending:
            server, target = index.get(pending.server), self.ground.host_index.get(pending.target)
            if server is not None and target is not None:
                self.promise(server, target)
                if pending.reserved:
                    self.held[target] -= _known(self.ground.servers.size[server])

    @property
    def full(self) -> bool:
        """No more moves in this plan."""
        return int(self.into.sum()) >= self.rule.moves

    def promise(self, server: int, target: int, sign: int = 1) -> None:
        """Count a move to ``target``; with -1 take it back."""
        s, source = self.ground.servers, int(self.ground.servers.host[server])
        size, peak = sign * _known(s.size[server]), sign * _known(s.peak[server])
        self.held[target] += size
        self.forecast[target] += peak
        self.into[target] += sign
        (self.moving.add if sign > 0 else self.moving.discard)(server)
        if source >= 0:
            self.out[source] += sign
            self.freed[source] += size
            self.relieved[source] += peak
        if s.groups[server]:
            self._members(s.groups[server])[target] += sign

    def targets(self, server: int, below: float = np.inf) -> tuple[Flags, str]:
        """[n] where it may go, and, if nowhere, why: one sentence. ``below``: the share of load that a target may reach at most."""
        allowed = np.ones(len(self.ground.hosts.names), dtype=bool)
        fell = []
        for passed, words in self._gates(server, below):
            left = allowed & passed
            lost = int(allowed.sum() - left.sum())
            if lost:
                fell.append(f"{lost} {words}")
            allowed = left
        return allowed, "" if allowed.any() else "no target: of the other hosts " + ", ".join(fell or ["there is none"])

    def obstacle(self, server: int, host: int) -> str:
        """The first rule by which this very host may not take it; empty: it may."""
        if self.ground.hosts.closed[host]:
            return self.ground.hosts.closed[host]
        return next((_singular(words) for passed, words in self._gates(server, np.inf) if not passed[host]), "")

    def _gates(self, server: int, below: float) -> list[tuple[Flags, str]]:
        s, hosts = self.ground.servers, self.ground.hosts
        size, limit = s.size[server], min(self.rule.full, below)
        elsewhere = np.arange(len(hosts.names)) != s.host[server]
        with np.errstate(invalid="ignore"):
            unit = ((size <= hosts.most) & (np.mod(size, np.where(hosts.step > 0, hosts.step, 1)) == 0)).all(axis=1)
            room = (self.held + size <= hosts.capacity).all(axis=1)
        return [
            (elsewhere, "is its own"),
            (self.ground.open, "are closed or not fully known"),
            (
                self._suits(s.zones[server], s.needs[server]) & ~self._barred(server),
                "are in another zone, or their aggregates or traits do not suit it",
            ),
            (self._ungrouped(s.groups[server]), "hold or are promised a member of its group"),
            (unit, "allow one server no such size"),
            (room, "have no room for it in Placement"),
            (self.after(server) <= limit, f"would exceed {100 * limit:.0f} % by forecast"),
            (self.into < self.rule.into, f"are promised {self.rule.into} arrivals already"),
        ]

    def after(self, server: int) -> Numbers:
        """[n] each host's load by forecast with the server on it; infinite where it is not known."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = ((self.forecast + self.ground.servers.peak[server]) / self.ground.hosts.physical).max(axis=1)
        return np.where(np.isfinite(share), share, np.inf)

    def best(self, server: int, allowed: Flags) -> int:
        """The emptiest allowed host by forecast; of those within ``rule.gain`` of it the one that a soft group likes best."""
        after, likes = self.after(server), self._likes(server)
        if not likes:
            return self.first(allowed, after)
        near = allowed & (after <= float(after[allowed].min()) + self.rule.gain)
        return self.first(near, likes * self._members(self.ground.servers.groups[server]).astype(np.float64), after)

    def how(self, server: int) -> str:
        """What ``best`` is for it, in words."""
        return "among the emptiest the best for its group" if self._likes(server) else "the emptiest"

    def _likes(self, server: int) -> float:
        group = self.ground.groups.get(self.ground.servers.groups[server])
        return _LIKES.get(group.policy, 0.0) if group else 0.0

    def first(self, allowed: Flags, *scores: Numbers) -> int:
        """The allowed host with the least score, then the next score, then by name. Rounded against the last bit."""
        found = np.flatnonzero(allowed)
        keys = [self.ground.rank[found], *(np.round(s[found], 9) for s in reversed(scores))]
        return int(found[np.lexsort(keys)[0]])

    def _suits(self, zone: str, needs: frozenset[str]) -> Flags:
        if (zone, needs) not in self._labelled:
            hosts = self.ground.hosts
            barred, wanted = {n[1:] for n in needs if n.startswith("!")}, {n for n in needs if not n.startswith("!")}
            fits = [
                (not zone or z == zone) and wanted <= labels and not barred & labels
                for z, labels in zip(hosts.zones, hosts.labels, strict=True)
            ]
            self._labelled[zone, needs] = np.array(fits, dtype=bool)
        return self._labelled[zone, needs]

    def _barred(self, server: int) -> Flags:
        kinds = self.ground.servers.kinds
        found = self.ground.barred.get(kinds[server]) if kinds else None
        return np.zeros(len(self.ground.hosts.names), dtype=bool) if found is None else found

    def _ungrouped(self, group: str) -> Flags:
        rule = self.ground.groups.get(group)
        if rule is None or rule.policy != "anti-affinity":
            return np.ones(len(self.ground.hosts.names), dtype=bool)
        return self._members(group) < rule.most

    def _members(self, group: str) -> Ints:
        """[n] members of one group on each host, planned places too; who leaves counts until that is seen."""
        if group not in self._apart:
            where = self.ground.servers.host[self.ground.members[group]]
            self._apart[group] = np.bincount(where[where >= 0], minlength=len(self.ground.hosts.names)).astype(np.int64)
        return self._apart[group]


def _singular(words: str) -> str:
    for many, one in (("are ", "is "), ("have ", "has "), ("hold or are ", "holds or is "), ("allow ", "allows "), ("their ", "its ")):
        words = words.replace(many, one)
    return f"it {words}"


def _known(amounts: Numbers) -> Numbers:
    return np.where(np.isfinite(amounts), amounts, 0.0)
