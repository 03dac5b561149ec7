"""Which server moves where: to relieve a host that will run short, or to empty one (domain.md §8). Greedy, on ``decide/room.py``.

Every move says why it was chosen, every server that was looked at and stays says why not. Nothing depends on the order in which hosts
and servers are told. Planning again on top of the plan finds nothing more to do: promises only ever take room away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide.room import WATCHED, Ground, Ints, Ledger, Rule

MOVE_PRICE = 1.0
"""Weighted seconds that every move costs beside its own price: of two equal ways the one with fewer moves."""

_UNITS = {"cpu": "cores", "memory": "MiB"}


@dataclass(frozen=True)
class Need:
    """A host that will run short."""

    host: str
    resource: str
    """``cpu`` (cores) or ``memory`` (MiB)."""
    amount: float
    """By which its forecast must fall."""
    deadline: float
    avoided: float
    """Weighted seconds of violation that the whole amount avoids: seconds times the tiers' weights."""


@dataclass(frozen=True)
class Move:
    """One server's planned migration."""

    server: str
    source: str
    target: str
    reason: str
    worth: float
    """Weighted seconds, its price deducted."""
    deadline: float = math.inf


@dataclass(frozen=True)
class Kept:
    """Something that was looked at and is not moved, or not relieved."""

    name: str
    """A server's id, or a host's name."""
    reason: str


@dataclass(frozen=True)
class Plan:
    """Moves in the order in which they were chosen."""

    moves: tuple[Move, ...] = ()
    kept: tuple[Kept, ...] = ()


def rebalance(ground: Ground, needs: Sequence[Need], rule: Rule) -> Plan:
    """Relieve the hosts that will run short, the nearest deadline first, each by its cheapest servers.

    No target ends fuller (by forecast) than the host it relieves was, less the least gain: the worst host never gets worse.
    """
    ledger = Ledger(ground, rule)
    moves: list[Move] = []
    kept: list[Kept] = []
    for need in sorted(needs, key=lambda n: (n.deadline, -n.avoided, n.host, n.resource)):
        problem = _problem(ground, need)
        if problem:
            kept.append(Kept(need.host, problem))
            continue
        relief = _Relief(ledger, need)
        moves += relief.moves()
        kept += relief.kept
    return Plan(tuple(moves), tuple(kept))


def drain(ground: Ground, host: str, deadline: float, rule: Rule) -> Plan:
    """Empty one host, its largest servers first: the small ones find a place later too. No target exceeds ``rule.full``."""
    index = ground.host_index.get(host)
    if index is None:
        return Plan(kept=(Kept(host, "no such host"),))
    ledger = Ledger(ground, replace(rule, moves=max(rule.moves, len(ground.servers.ids) + len(ground.pending))))
    moves: list[Move] = []
    kept: list[Kept] = []
    for server in _largest_first(ground, ground.on(index)):
        name, back = ground.servers.ids[server], ground.held_back[server]
        allowed, why = ledger.targets(server) if not back else (np.zeros(0, dtype=bool), back)
        if not allowed.any():
            kept.append(Kept(name, why))
            continue
        target = ledger.best(server, allowed)
        load = ledger.after(server)[target]
        ledger.promise(server, target)
        to = ground.hosts.names[target]
        reason = f"{host} is emptied; {to} is {ledger.how(server)} of {int(allowed.sum())} possible hosts: {100 * load:.0f} % with it"
        moves.append(Move(name, host, to, reason, -float(ground.servers.price[server]), deadline))
    return Plan(tuple(moves), tuple(kept))


def _largest_first(ground: Ground, servers: Ints) -> list[int]:
    """By the larger of its shares of an average host; what is not known comes last."""
    shares = np.nan_to_num(ground.servers.size[servers] / np.maximum(np.nanmean(ground.hosts.capacity, axis=0), 1e-9)).max(
        axis=1, initial=0
    )
    order = sorted(range(len(servers)), key=lambda i: (-round(float(shares[i]), 9), ground.servers.ids[servers[i]]))
    return [int(servers[i]) for i in order]


def _problem(ground: Ground, need: Need) -> str:
    """Why a need cannot be planned for at all."""
    if need.host not in ground.host_index:
        return "no such host"
    if need.resource not in WATCHED:
        return f"nothing can be planned for {need.resource}: only {' and '.join(WATCHED)}"
    if not (math.isfinite(need.amount) and need.amount > 0 and need.avoided >= 0):
        return "the amount to relieve it by must be above 0, and what that avoids a number"
    if not math.isfinite(ground.load[ground.host_index[need.host]]):
        return "its own load is not known"
    return ""


class _Relief:
    """Relieving one host of one resource."""

    def __init__(self, ledger: Ledger, need: Need) -> None:
        ground = ledger.ground
        self._ledger, self._ground, self._need = ledger, ground, need
        self._host, self._column = ground.host_index[need.host], WATCHED.index(need.resource)
        self._below = float(ground.load[self._host]) - ledger.rule.gain
        self.kept: list[Kept] = []
        mine = [int(v) for v in ground.on(self._host) if v not in ledger.moving]
        self._left = [v for v in mine if not ground.held_back[v]]
        self.kept += [Kept(ground.servers.ids[v], ground.held_back[v]) for v in mine if ground.held_back[v]]

    @property
    def _remaining(self) -> float:
        return self._need.amount - float(self._ledger.relieved[self._host, self._column])

    def moves(self) -> list[Move]:
        """What relieves it, until the amount is reached or nothing more can be moved."""
        found: list[Move] = []
        while self._remaining > 1e-9 and not self._stopped() and self._left:
            server = self._cheapest()
            self._left.remove(server)
            move = self._move(server)
            found += [move] if move else []
        if self._remaining > 1e-9:
            unit, why = _UNITS[self._need.resource], self._stopped() or "no other server of it can be moved"
            self.kept.append(Kept(self._need.host, f"stays {self._remaining:.2f} {unit} short of {self._need.amount:.2f}: {why}"))
        return found

    def _stopped(self) -> str:
        if self._ledger.full:
            return f"the plan has its {self._ledger.rule.moves} moves"
        if self._ledger.out[self._host] >= self._ledger.rule.out:
            return f"{self._ledger.rule.out} servers leave it already"
        return ""

    def _cheapest(self) -> int:
        """The server that costs least for what it relieves; of equals the one with the smaller id (they come in that order).

        Only so many may leave: as long as some do, those are looked at that relieve their part of what remains, so that many small ones
        do not use up the places; otherwise the largest goes.
        """
        servers, rule = self._ground.servers, self._ledger.rule
        helps = np.minimum(servers.peak[self._left, self._column], self._remaining)
        part = self._remaining / max(1, rule.out - int(self._ledger.out[self._host]))
        enough = helps >= part - 1e-9
        if not enough.any():
            return self._left[int(np.argmax(np.round(helps, 9)))]
        with np.errstate(divide="ignore"):
            per_unit = (servers.price[self._left] + MOVE_PRICE) / helps
        return self._left[int(np.argmin(np.round(np.where(enough, per_unit, np.inf), 9)))]

    def _move(self, server: int) -> Move | None:
        name, ledger = self._ground.servers.ids[server], self._ledger
        helps = min(float(self._ground.servers.peak[server, self._column]), self._remaining)
        price = float(self._ground.servers.price[server]) + MOVE_PRICE
        worth = self._need.avoided * helps / self._need.amount - price
        if helps <= 0 or worth <= ledger.rule.worth:
            self.kept.append(Kept(name, f"moving it costs {price:.1f} and avoids {worth + price:.1f} weighted seconds: not worth it"))
            return None
        allowed, why = ledger.targets(server, self._below)
        if not allowed.any():
            self.kept.append(Kept(name, why))
            return None
        target = ledger.best(server, allowed)
        return self._promised(server, target, helps, worth)

    def _promised(self, server: int, target: int, helps: float, worth: float) -> Move:
        need, to = self._need, self._ground.hosts.names[target]
        load = 100 * self._ledger.after(server)[target]
        reason = (
            f"{need.host} will be short of {need.amount:.2f} {_UNITS[need.resource]}: this takes {helps:.2f} away most cheaply; "
            f"{to} is {self._ledger.how(server)} of those that may take it: {load:.0f} % with it"
        )
        self._ledger.promise(server, target)
        return Move(self._ground.servers.ids[server], need.host, to, reason, worth, need.deadline)
