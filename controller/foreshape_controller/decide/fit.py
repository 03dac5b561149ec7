"""Growth that does not fit its host is cut, by weighted fairness. What shrinks counts as still there until it is proven gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from foreshape_controller.decide import reach
from foreshape_controller.decide.share import Claim, share
from foreshape_controller.model.plan import Choice, Decision, Gate, Sizing
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Granules
from foreshape_wire.ids import HostName


@dataclass(frozen=True)
class Room:
    """What one host may hand out."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Terms:
    """How the room is shared."""

    weights: Mapping[str, float]
    """By server."""
    granules: Granules


def fit(servers: Sequence[Server], decided: Sequence[Decision], rooms: Mapping[HostName, Room], terms: Terms) -> tuple[Decision, ...]:
    """The decisions in their order, none of which makes its host hand out more than it has. Unknown hosts are left alone."""
    by_id: dict[str, Server] = {s.id: s for s in servers}
    names = {d.server for d in decided}
    fitted: dict[str, Decision] = {}
    for host, room in rooms.items():
        mine = [d for d in decided if d.host == host]
        others = [s for s in servers if s.host == host and s.id not in names]
        cpu = _cut("cpu", room.cpu - sum(s.allocation.cpu.cores for s in others), mine, by_id, terms)
        memory = _cut("memory", room.memory - sum(s.allocation.memory.mib for s in others), mine, by_id, terms)
        fitted |= {d.server: msgspec.structs.replace(d, cpu=cpu[d.server], memory=memory[d.server]) for d in mine}
    return tuple(fitted.get(d.server, d) for d in decided)


def _cut(
    resource: str, capacity: float, decisions: Sequence[Decision], servers: Mapping[str, Server], terms: Terms
) -> Mapping[str, Sizing]:
    """The sizings of one resource on one host, growth cut to what fits."""
    sizings = {d.server: d.cpu if resource == "cpu" else d.memory for d in decisions}
    granted = share(capacity, [_claim(name, s, terms.weights.get(name, 1.0)) for name, s in sizings.items()])
    granule = terms.granules.cpu.cores if resource == "cpu" else terms.granules.memory.mib
    return {name: _within(s, granted[name], servers[name], granule) for name, s in sizings.items()}


def _claim(name: str, sizing: Sizing, weight: float) -> Claim:
    """Nobody is pushed below what it has, or is promised; only growth competes."""
    kept = max(sizing.allocation, min(sizing.floor, sizing.target))
    return Claim(name, kept, max(kept, sizing.target), weight)


def _within(sizing: Sizing, grant: float, server: Server, granule: float) -> Sizing:
    """A growth cut to the grant, in steps that a lever can do; or held, when nothing useful is left of it."""
    if sizing.choice is not Choice.GROW or grant >= sizing.target - reach.EPSILON:
        return sizing
    target = reach.at_most(server.usable(sizing.resource), grant, granule)
    detail = f"{grant:.2f} of {sizing.target:.2f} fit host {server.host}"
    gates = (*sizing.gates, Gate(name="host_capacity", passed=False, detail=detail))
    if target <= sizing.allocation:
        return _changed(sizing, gates, Choice.HOLD, sizing.allocation, "host_full", f"wants to grow, but {detail}")
    return _changed(sizing, gates, Choice.GROW, target, "host_short", f"{sizing.reason}; only {detail}")


def _changed(sizing: Sizing, gates: tuple[Gate, ...], choice: Choice, target: float, code: str, reason: str) -> Sizing:
    """A cut sizing. A rule without forecasts would have been cut as well: the cut is not the forecast's doing."""
    reactive = None if sizing.reactive_target is None else min(sizing.reactive_target, target)
    return msgspec.structs.replace(sizing, choice=choice, target=target, code=code, reason=reason, gates=gates, reactive_target=reactive)
