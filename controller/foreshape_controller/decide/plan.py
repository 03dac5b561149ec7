"""One decision for every server that may be decided on: the facts put together, the rules asked, the host's capacity kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.fit import Room, Terms, fit
from foreshape_controller.decide.known import Known
from foreshape_controller.decide.observe import observe
from foreshape_controller.decide.peak import peak_range
from foreshape_controller.decide.size import Facts, Seen, size
from foreshape_controller.model.history import RESOURCES, History
from foreshape_controller.model.plan import Choice, Decision, Gate, PeakRange, Plan, Sizing
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_controller.model.tier import Tier
from foreshape_wire.ids import CauseId, HostName, PlanId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DomainState

IdSource = Callable[[str], str]
"""Gives a new id for a kind ("plan", "cause"). Pure code makes no random ids: it is handed them."""

NOT_RUNNING = {
    DomainState.MIGRATING: ("migrating", "it is being migrated"),
    DomainState.BUSY: ("busy", "another job holds it"),
    DomainState.PAUSED: ("not_running", "it is paused"),
    DomainState.SHUTOFF: ("not_running", "it is switched off"),
    DomainState.CRASHED: ("not_running", "it has crashed"),
}


def make_plan(view: ClusterView, known: Known, now: float, ids: IdSource) -> Plan:
    """Decide on every server that is not only observed. One odd server never stops the others."""
    servers = [s for s in view.servers if s.mode is not Mode.OBSERVE]
    hosts = {h.name: h for h in view.hosts}
    facts = _Gathered.of(servers, hosts, known, now)
    decided, odd = [], []
    for server in servers:
        decision, trouble = _decide(server, facts, now, ids)
        decided.append(decision)
        odd.extend(trouble)
    weights: dict[str, float] = {s.id: facts.tiers[s.id].weight for s in servers}
    rooms = {
        h.name: Room(h.cpus * known.limits.cpu_ratio, max(0.0, h.memory_total.mib - known.limits.memory_reserved_mib)) for h in view.hosts
    }
    fitted = fit(view.servers, decided, rooms, Terms(weights, known.tiers.granules))
    notes = (*_notes(view, known, now, len(servers)), *odd)
    return Plan(plan=PlanId(ids("plan")), at=now, decisions=fitted, notes=notes)


# -- one server -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gathered:
    """Everything about all servers, looked up by server id."""

    known: Known
    now: float
    tiers: Mapping[str, Tier]
    hosts: Mapping[HostName, Host]
    rows: Mapping[str, Mapping[str, int]]
    """By resource and server: the forecast's row."""
    seen: Mapping[str, Mapping[str, Seen]]

    @classmethod
    def of(cls, servers: Sequence[Server], hosts: Mapping[HostName, Host], known: Known, now: float) -> "_Gathered":
        tiers: dict[str, Tier] = {s.id: known.tiers.of(s) for s in servers}
        rows = {r: {name: i for i, name in enumerate(f.series)} for r, f in known.forecasts.items()}
        seen = {r: observe(h, _holds(h, tiers), servers, now) for r, h in known.histories.items()}
        return cls(known, now, tiers, hosts, rows, seen)

    def facts(self, server: Server, resource: str) -> Facts:
        pick: Callable[[Size], float] = (lambda s: s.cpu.cores) if resource == "cpu" else (lambda s: s.memory.mib)
        granules = self.known.tiers.granules
        return Facts(
            resource=resource,
            allocation=pick(server.allocation),
            entitlement=pick(server.entitlement),
            ceiling=pick(server.ceiling),
            granule=granules.cpu.cores if resource == "cpu" else granules.memory.mib,
            levers=server.usable(resource),
            peak=self.peak(server, resource),
            seen=self.seen.get(resource, {}).get(server.id, Seen()),
            held=self.known.held.get(resource, {}).get(server.id),
            raised_floor=server.raised_floor.mib if resource == "memory" and server.raised_floor else 0.0,
            no_lever=_why_no_lever(server, resource),
            frozen=_frozen(server, self.hosts.get(server.host), self.now, self.known.limits.stale_after_s),
        )

    def peak(self, server: Server, resource: str) -> PeakRange | None:
        """The predicted half-hour peak at the tier's quantile, spread by the server's headroom."""
        row = self.rows.get(resource, {}).get(server.id)
        if row is None:
            return None
        tier = self.tiers[server.id]
        rules = tier.cpu if resource == "cpu" else tier.memory
        return peak_range(self.known.forecasts[resource], row, rules.quantile, rules.headroom * self._headroom(server, resource))

    def _headroom(self, server: Server, resource: str) -> float:
        return self.known.headroom.get(resource, {}).get(server.id, 1.0)


def _decide(server: Server, facts: _Gathered, now: float, ids: IdSource) -> tuple[Decision, list[str]]:
    tier = facts.tiers[server.id]
    cause = CauseId(ids("cause"))
    trouble: list[str] = []
    sizings = []
    for resource in RESOURCES:
        try:
            sizings.append(_checked(size(_sound(facts.facts(server, resource)), tier)))
        except (ArithmeticError, ValueError, LookupError, TypeError) as e:
            trouble.append(f"{server.name or server.id}: {resource} cannot be decided: {e}")
            sizings.append(_odd(server, resource, str(e)))
    return _decision(server, tier, cause, now, (sizings[0], sizings[1])), trouble


def _decision(server: Server, tier: Tier, cause: CauseId, now: float, sizings: tuple[Sizing, Sizing]) -> Decision:
    cpu, memory = sizings
    return Decision(
        server=server.id,
        host=server.host,
        cause=cause,
        at=now,
        tier=tier.name,
        mode=server.mode,
        cpu=cpu,
        memory=memory,
        floor=Size(Cores(cpu.floor), Memory(memory.floor)),
        ceiling=Size(Cores(cpu.ceiling), Memory(memory.ceiling)),
    )


def _sound(facts: Facts) -> Facts:
    """The same facts. Raises ValueError where a number is none: comparisons with NaN would decide anything."""
    levers = [x for c in facts.levers for x in (c.lowest, c.highest, c.granule)]
    numbers = [facts.allocation, facts.entitlement, facts.ceiling, *levers, *([facts.peak.median, facts.peak.wanted] if facts.peak else [])]
    if not all(np.isfinite(x) and x >= 0 for x in numbers):
        raise ValueError("a size, a lever's range or a forecast is not a number")
    return facts


def _checked(sizing: Sizing) -> Sizing:
    if not all(np.isfinite(x) and x >= 0 for x in (sizing.target, sizing.wanted, sizing.floor, sizing.ceiling)):
        raise ValueError(f"no amount: target {sizing.target}, wanted {sizing.wanted}")
    return sizing


def _odd(server: Server, resource: str, error: str) -> Sizing:
    """Hold where the numbers make no sense."""
    has = server.allocation.cpu.cores if resource == "cpu" else server.allocation.memory.mib
    reason = f"its numbers make no sense: {error}"
    gate = Gate(name="odd_data", passed=False, detail=reason)
    return Sizing(
        resource=resource,
        choice=Choice.HOLD,
        allocation=has,
        target=has,
        wanted=has,
        floor=has,
        ceiling=has,
        code="odd_data",
        reason=reason,
        gates=(gate,),
    )


def _holds(history: History, tiers: Mapping[str, Tier]) -> Mapping[str, float]:
    return {server: (t.cpu if history.resource == "cpu" else t.memory).hold_s for server, t in tiers.items()}


def _frozen(server: Server, host: Host | None, now: float, stale_after_s: float) -> tuple[str, str] | None:
    """Code and sentence of what forbids any change to a server now."""
    if host is None:
        return "stale", f"nothing is known of its host {server.host}"
    for what, seen in ((f"its host {host.name}", host.last_seen), ("it", server.last_seen)):
        if now - seen > stale_after_s:
            return "stale", f"{what} was last heard of {now - seen:.0f} s ago"
    if host.safe_mode:
        return "safe_mode", f"the agent of {host.name} acts on no order: {host.safe_mode}"
    return NOT_RUNNING.get(server.state)


def _why_no_lever(server: Server, resource: str) -> str:
    return "; ".join(f"{c.lever.value}: {c.reason}" for c in server.capabilities if c.lever.resource == resource and c.reason)


# -- the whole --------------------------------------------------------------------------------------------------------


def _notes(view: ClusterView, known: Known, now: float, deciding: int) -> tuple[str, ...]:
    """Sentences about the cycle as a whole."""
    notes = []
    frozen = [h.name for h in view.hosts if now - h.last_seen > known.limits.stale_after_s]
    if frozen:
        notes.append(f"{len(frozen)} hosts silent, nothing changes there: {', '.join(sorted(frozen)[:5])}")
    if deciding < len(view.servers):
        notes.append(f"{len(view.servers) - deciding} servers in mode observe: measured and forecast, not decided")
    notes.extend(f"no forecast of {r}" for r in RESOURCES if r not in known.forecasts and deciding)
    return tuple(notes)
