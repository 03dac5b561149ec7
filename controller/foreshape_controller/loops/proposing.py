"""Who should move where, as proposals: planned again and again, each kept as long as it holds, so that an operator can review it.

What was proposed before counts as promised, as long as every rule still holds for it; plans only add what is missing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import structlog
from msgspec.structs import replace

from foreshape_controller.decide.consolidate import consolidate
from foreshape_controller.decide.place import Kept, Move, Plan, drain, rebalance
from foreshape_controller.decide.room import Ground, Ledger, Numbers, Pending, Rule
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.surroundings import Surroundings
from foreshape_controller.model.cloud import CloudFlavor
from foreshape_controller.model.moving import Drain, Goal, Proposal
from foreshape_wire.ids import new_id

_log = structlog.get_logger("foreshape.migrate")


class Proposals(Protocol):
    """The part of the store that proposals are in."""

    def put(self, changed: Sequence[Proposal]) -> None: ...


class Drains(Protocol):
    """The part of the store that drains are in."""

    def save(self, drain: Drain) -> Drain: ...


@dataclass(frozen=True)
class Found:
    """What one goal led to."""

    proposals: tuple[Proposal, ...]
    kept: tuple[Kept, ...]


class Proposing:
    """``run_once`` for the coordinator; ``plan``, ``drain`` and ``single`` for people's questions, which write nothing."""

    def __init__(self, proposals: Proposals, drains: Drains, rule: Rule, *, consolidates: bool, ids: Callable[[str], str] = new_id) -> None:
        self._proposals, self._drains = proposals, drains
        self._rule, self._consolidates, self._ids = rule, consolidates, ids

    def run_once(self, around: Surroundings) -> None:
        """Check what was proposed → plan on top of it → keep it all."""
        if around.facts.blind:
            return
        standing, fallen = self._standing(around)
        new: list[Proposal] = []
        for found in self._goals(around, [*standing]):
            new += found.proposals
        if fallen or new:
            self._proposals.put([*fallen, *new])
        for p in new:
            _log.info("migration proposed", id=p.id, server=p.server, source=p.source, target=p.target, goal=p.goal.value, why=p.reason)

    def _goals(self, around: Surroundings, standing: list[Proposal]) -> Iterator[Found]:
        """Each goal on top of what the ones before propose."""
        for goal in self._wanted(around):
            found = goal(standing)
            standing += found.proposals
            yield found

    def _wanted(self, around: Surroundings) -> Iterator[Callable[[Sequence[Proposal]], Found]]:
        for one in around.facts.drains:
            yield partial(self._emptied, around, one)
        if around.facts.needs:
            yield partial(self.plan, Goal.NEED, around)
        if self._consolidates:
            yield partial(self.plan, Goal.CONSOLIDATE, around)

    # -- plans

    def plan(self, goal: Goal, around: Surroundings, standing: Sequence[Proposal] = (), *, host: str = "", flavor: str = "") -> Found:
        """What would be proposed for a goal. Raises NotFound, Invalid."""
        pending = _promised(around, standing)
        if goal is Goal.DRAIN:
            return self.drain(host, math.inf, around, standing)
        ground = around.ground(pending, resting=True)
        if goal is Goal.NEED:
            return self._found(goal, rebalance(ground, around.needs(), self._rule), around)
        if goal is Goal.CONSOLIDATE:
            return self._found(goal, consolidate(ground, largest(around, flavor), self._rule), around)
        raise Invalid(f"goal {goal.value!r}: write need, drain or consolidate")

    def drain(self, host: str, until: float, around: Surroundings, standing: Sequence[Proposal] = ()) -> Found:
        """How one host could be emptied. Raises NotFound."""
        if host not in around.facts.cloud.hosts:
            raise NotFound(f"there is no host {host[:80]!r} in Nova: see 'openstack compute service list'")
        ground = around.ground(_promised(around, standing), resting=False, failed=True)
        return self._found(Goal.DRAIN, drain(ground, host, until, self._rule), around)

    def _emptied(self, around: Surroundings, one: Drain, standing: Sequence[Proposal]) -> Found:
        """One step of a drain: what is to move, and, kept with it, what cannot."""
        until = math.inf if one.until is None else one.until
        try:
            found = self.drain(one.host, until, around, standing)
        except NotFound as e:
            self._drains.save(replace(one, kept={one.host: str(e)}))
            return Found((), ())
        waiting = {p.server for p in standing} | {r.migration.server for r in around.facts.rows}
        kept = {k.name: k.reason for k in found.kept if k.name not in waiting}
        on = sum(s.host == one.host for s in around.facts.cloud.servers.values())
        empty = one.empty_at if on == 0 and one.empty_at is not None else around.facts.now if on == 0 else None
        after = replace(one, kept=kept, total=on if one.total is None else one.total, empty_at=empty)
        if after != one:
            self._drains.save(after)
        return found

    def single(self, server: str, target: str, reason: str, around: Surroundings) -> Proposal:
        """One move that somebody wants. Raises NotFound, Invalid where no rule allows it."""
        cloud = around.facts.cloud
        if server not in cloud.servers:
            raise NotFound(f"there is no server {server[:80]!r} in Nova")
        if target and target == cloud.servers[server].host:
            raise Invalid(f"server {server} is on {target} already")
        if target and target not in cloud.hosts:
            raise NotFound(f"there is no host {target[:80]!r} in Nova: see 'openstack compute service list'")
        ground = around.ground(around.pending(), resting=False)
        if server not in ground.servers.ids:
            raise Invalid(f"server {server} is on no host")
        index = ground.servers.ids.index(server)
        if ground.held_back[index]:
            raise Invalid(f"server {server} cannot be moved: {ground.held_back[index]}")
        to = self._chosen(ground, index, target)
        move = Move(server, cloud.servers[server].host, to, reason, -float(ground.servers.price[index]))
        return self._proposal(Goal.OPERATOR, move, around)

    def _chosen(self, ground: Ground, server: int, target: str) -> str:
        """The target that was named, or the emptiest possible one. Raises Invalid."""
        ledger = Ledger(ground, self._rule)
        if target:
            why = ledger.obstacle(server, ground.host_index[target])
            if why:
                raise Invalid(f"{target} cannot take it: {why}")
            return target
        allowed, why = ledger.targets(server)
        if not allowed.any():
            raise Invalid(why)
        return ground.hosts.names[ledger.first(allowed, ledger.after(server))]

    # -- proposals

    def _standing(self, around: Surroundings) -> tuple[list[Proposal], list[Proposal]]:
        """Earlier proposals that still hold, and those that do not, withdrawn with the reason."""
        ground = around.ground(around.pending(), resting=False)
        ledger = Ledger(ground, unbounded(self._rule))
        index = {name: i for i, name in enumerate(ground.servers.ids)}
        short, draining = {k.need.host for k in around.facts.needs}, {d.host for d in around.facts.drains}
        holds, falls = [], []
        for p in around.facts.proposals:
            if around.holds(p.server, p.target) and p.server in index and p.target in ground.host_index:
                ledger.held[ground.host_index[p.target]] -= ground.servers.size[index[p.server]]  # that room is for this one
            why = _fallen(p, ground, ledger, index) or _aimless(p, short, draining)
            if why:
                falls.append(replace(p, state="withdrawn", why=why))
                continue
            ledger.promise(index[p.server], ground.host_index[p.target])
            holds.append(p)
        return holds, falls

    def _found(self, goal: Goal, plan: Plan, around: Surroundings) -> Found:
        return Found(tuple(self._proposal(goal, m, around) for m in plan.moves), plan.kept)

    def _proposal(self, goal: Goal, move: Move, around: Surroundings) -> Proposal:
        expected = around.outlook(move.server, move.source, move.target)
        return Proposal(
            id=self._ids("mig"),
            server=move.server,
            name=around.facts.cloud.servers[move.server].name,
            source=move.source,
            target=move.target,
            goal=goal,
            reason=move.reason,
            made=around.facts.now,
            worth=move.worth if math.isfinite(move.worth) else 0.0,
            deadline=move.deadline if math.isfinite(move.deadline) else None,
            predicted_s=expected.duration_s if math.isfinite(expected.duration_s) else 0.0,
            downtime_s=expected.downtime_s if math.isfinite(expected.downtime_s) else 0.0,
            factors=expected.factors,
        )


def largest(around: Surroundings, wanted: str = "") -> Numbers:
    """The flavor to make room for: the named one, else the largest that is in use. Raises NotFound."""
    sold: dict[str, CloudFlavor] = {s.flavor.name: s.flavor for s in around.facts.cloud.servers.values()}
    if wanted and wanted not in sold:
        raise NotFound(f"no server has flavor {wanted[:80]!r}: those that are in use are {', '.join(sorted(sold)[:10]) or 'none'}")
    chosen = sold.get(wanted) or max(sold.values(), key=lambda f: (f.vcpus, f.ram, f.name), default=None)
    return np.array([chosen.vcpus, chosen.ram, chosen.disk] if chosen else [0, 0, 0], np.float64)


def unbounded(rule: Rule) -> Rule:
    """Bounds of one plan are none for what earlier plans proposed."""
    many = 10**9
    return Rule(rule.full, rule.gain, rule.worth, many, many, many)


def _promised(around: Surroundings, standing: Sequence[Proposal]) -> list[Pending]:
    known = around.pending()
    moving = {p.server for p in known}
    return known + [Pending(p.server, p.target, around.holds(p.server, p.target)) for p in standing if p.server not in moving]


def _fallen(p: Proposal, ground: Ground, ledger: Ledger, index: dict[str, int]) -> str:
    """The rule by which a proposal does not hold any more."""
    if p.server not in index:
        return "the server is gone"
    server = index[p.server]
    if int(ground.servers.host[server]) != ground.host_index.get(p.source, -2):
        return f"it is no longer on {p.source}"
    if ground.held_back[server]:
        return ground.held_back[server]
    if p.target not in ground.host_index:
        return f"there is no host {p.target} any more"
    return ledger.obstacle(server, ground.host_index[p.target])


def _aimless(p: Proposal, short: set[str], draining: set[str]) -> str:
    if p.goal is Goal.NEED and p.source not in short:
        return f"{p.source} is not expected to run short any more"
    if p.goal is Goal.DRAIN and p.source not in draining:
        return f"{p.source} is not being drained any more"
    return ""
