"""Making room for the largest flavor that is sold, out of the room that lies about in pieces (domain.md §9).

What is free on a host but too small for one more server of that flavor is stranded. A host is tried on its own: its servers move, the one
that closes most of the gap first, to the hosts that lose least by it, until one more of the flavor fits; that stands only if the cloud
as a whole then takes more of them than before. Fewest moves first, so that a bound on moves cuts the poorest off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.place import Kept, Move, Plan
from foreshape_controller.decide.room import Ground, Ints, Ledger, Numbers, Rule

TRIES = 4
"""Servers that may leave one host for one more of the flavor: what needs more moves costs more than it brings."""


@dataclass(frozen=True)
class Fragments:
    """How broken up the free room is."""

    fits: int
    """How many more servers of the flavor the cloud takes, one host at a time."""
    stranded: float
    """Share of the free VCPU, 0..1, that would be left over then; 0 if nothing is free."""


def fragments(ground: Ground, flavor: Numbers, moves: Sequence[Move] = ()) -> Fragments:
    """For a flavor [3] as VCPU, MEMORY_MB, DISK_GB; with ``moves``: once those are done."""
    ledger = Ledger(ground, Rule())
    ids = {name: i for i, name in enumerate(ground.servers.ids)} if moves else {}
    for move in moves:
        ledger.promise(ids[move.server], ground.host_index[move.target])
    fits = _fits(ledger, flavor)
    hosts = ground.hosts
    free = np.maximum(hosts.capacity[:, 0] - ledger.held[:, 0] + ledger.freed[:, 0], 0.0)[ground.open]
    total = float(free.sum())
    return Fragments(int(fits.sum()), (total - float(fits.sum()) * float(flavor[0])) / total if total > 0 else 0.0)


def consolidate(ground: Ground, flavor: Numbers, rule: Rule) -> Plan:
    """Moves after which more servers of the flavor fit than before; none if that cannot be had. Forecasts stay under ``rule.full``."""
    ledger = Ledger(ground, rule)
    if not (np.isfinite(flavor).all() and (flavor >= 0).all() and flavor[0] > 0):
        return Plan(kept=(Kept("flavor", "its VCPU must be above 0, its memory and disk numbers"),))
    moves: list[Move] = []
    kept: list[Kept] = []
    for host in _nearest_first(ledger, flavor):
        if ledger.full:
            kept.append(Kept(ground.hosts.names[host], f"the plan has its {rule.moves} moves"))
            break
        found = _Opening(ledger, host, flavor).moves()
        moves += found
        if not found:
            kept.append(Kept(ground.hosts.names[host], "no few moves make room for one more here without losing as much elsewhere"))
    return Plan(tuple(moves), tuple(kept))


def _free(ledger: Ledger) -> Numbers:
    """[n, 3] once the promised moves are done."""
    free: Numbers = ledger.ground.hosts.capacity - ledger.held + ledger.freed
    return free


def _fits(ledger: Ledger, flavor: Numbers) -> Numbers:
    """[n] how many of the flavor each host takes; none where it is no target or allows none of that size."""
    hosts, wanted = ledger.ground.hosts, flavor > 0
    each = np.floor(_free(ledger)[:, wanted] / flavor[wanted]).min(axis=1)
    usable = ledger.ground.open & (flavor <= hosts.most).all(axis=1)
    fits: Numbers = np.where(usable, np.maximum(each, 0.0), 0.0)
    return fits


def _gap(ledger: Ledger, flavor: Numbers, host: int) -> Numbers:
    """[3] what is missing on one host for one more of the flavor."""
    gap: Numbers = np.maximum((_fits(ledger, flavor)[host] + 1) * flavor - _free(ledger)[host], 0.0)
    return gap


def _nearest_first(ledger: Ledger, flavor: Numbers) -> list[int]:
    """Hosts that could take one more, the smallest gap first (in flavors, of the resource that lacks most)."""
    wanted = flavor > 0
    pieces = _free(ledger)[:, wanted] / flavor[wanted]
    gap = (np.floor(pieces.min(axis=1, keepdims=True)) + 1 - pieces).max(axis=1)
    usable = ledger.ground.open & (flavor <= ledger.ground.hosts.most).all(axis=1)
    found = np.flatnonzero(usable)
    return [int(i) for i in found[np.lexsort((ledger.ground.rank[found], np.round(gap[found], 9)))]]


class _Opening:
    """Making room for one more of the flavor on one host."""

    def __init__(self, ledger: Ledger, host: int, flavor: Numbers) -> None:
        self._ledger, self._host, self._flavor = ledger, host, flavor
        ground = ledger.ground
        self._left = [int(v) for v in ground.on(host) if not ground.held_back[v]]
        self._before = _fits(ledger, flavor)

    def moves(self) -> list[Move]:
        """The promised moves, or none: what does not pay is taken back."""
        made: list[tuple[int, int]] = []
        for _ in range(TRIES):
            if self._ledger.full or self._ledger.out[self._host] >= self._ledger.rule.out:
                break
            step = self._one()
            if step is None:
                break
            made.append(step)
            gained = int((_fits(self._ledger, self._flavor) - self._before).sum())
            if gained > 0:
                return [self._move(server, target, gained, len(made)) for server, target in made]
        for server, target in made:
            self._ledger.promise(server, target, -1)
        return []

    def _one(self) -> tuple[int, int] | None:
        """Promise the move of one server; the ones that find no target are passed over. None: no one can move, or nothing is missing."""
        gap = _gap(self._ledger, self._flavor, self._host)
        for server in self._by_help(gap):
            self._left.remove(server)
            allowed, _ = self._ledger.targets(server)
            allowed[self._host] = False
            if allowed.any():
                target = self._ledger.first(allowed, self._loss(server), self._slack(server))
                self._ledger.promise(server, target)
                return server, target
        return None

    def _by_help(self, gap: Numbers) -> list[int]:
        """The servers that close most of the gap, of equals the smaller, then by id; at most TRIES of them are looked at."""
        lacking = gap > 0
        if not lacking.any() or not self._left:
            return []
        servers = self._ledger.ground.servers
        left: Ints = np.array(self._left, np.int64)
        closed = np.minimum(servers.size[left][:, lacking] / gap[lacking], 1.0).min(axis=1)
        order = np.lexsort((np.arange(left.size), servers.size[left, 0], -np.round(closed, 9)))
        return [int(left[i]) for i in order[:TRIES] if closed[i] > 0]

    def _loss(self, server: int) -> Numbers:
        """[n] how many of the flavor fewer each host takes with the server on it."""
        wanted = self._flavor > 0
        with_it = _free(self._ledger) - self._ledger.ground.servers.size[server]
        after = np.maximum(np.floor(with_it[:, wanted] / self._flavor[wanted]).min(axis=1), 0.0)
        loss: Numbers = _fits(self._ledger, self._flavor) - after
        return loss

    def _slack(self, server: int) -> Numbers:
        """[n] VCPU left beyond whole flavors: the least is the best fit."""
        with_it = _free(self._ledger)[:, 0] - self._ledger.ground.servers.size[server, 0]
        slack: Numbers = np.mod(with_it, self._flavor[0])
        return slack

    def _move(self, server: int, target: int, gained: int, count: int) -> Move:
        names, servers = self._ledger.ground.hosts.names, self._ledger.ground.servers
        reason = (
            f"{count} moves out of {names[self._host]} make room for {gained} more of the largest flavor; "
            f"{names[target]} loses least by taking this one"
        )
        return Move(servers.ids[server], names[self._host], names[target], reason, -float(servers.price[server]))
