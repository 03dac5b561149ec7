"""By which terms everything is metered now: servers by their tier, shadow VMs while they wait, reservations while they are held."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foreshape_controller.model.metering import Kind, Terms
from foreshape_controller.model.pool import Pool, Shadow
from foreshape_controller.model.pool import State as ShadowState
from foreshape_controller.model.reservation import Reservation
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_wire.order import Mode

OURS = ("migration:", "need:", "pool:", "elsewhere:")
"""Owners of reservations that nobody asked for: our own cost."""

MOST = 1_000_000_000
"""Millicores or MiB of anything: more is a mistake of measurement."""


class _Reservations(Protocol):
    def open(self) -> tuple[Reservation, ...]: ...


class _Pools(Protocol):
    def all(self, *, closing: bool = False) -> tuple[Pool, ...]: ...

    def shadows(self, pool: str = "", *, alive: bool = False) -> tuple[Shadow, ...]: ...


@dataclass(frozen=True)
class TermSources:
    """Who knows what terms are made from."""

    tiers: Callable[[ClusterView], Mapping[str, Tier]]
    """By server."""
    default_tier: Callable[[], str]
    floors: Callable[[float], Mapping[str, Mapping[str, float]]]
    """Cores or MiB by resource and server, where an owner agreed to less than the tier's floor."""
    accuracy: Callable[[], Mapping[str, float]]
    """Of declared profiles, by server, 0..1."""
    pools: _Pools
    reservations: _Reservations


def terms_now(view: ClusterView, sources: TermSources, now: float) -> dict[str, Terms]:
    """By server, or ``reservation:ID``. What cannot be put into terms (no project, no size) is left out: it is not metered."""
    tiers, agreed, accuracy = sources.tiers(view), sources.floors(now), sources.accuracy()
    waiting = {s.server: s for s in sources.pools.shadows(alive=True) if s.server and not s.state.customers}
    found = {}
    for server in view.servers:
        tier = tiers.get(server.id)
        shadow = waiting.get(server.id)
        if tier is None or not server.project:
            continue
        if shadow is None:
            found[str(server.id)] = _server(server, tier, agreed, accuracy.get(server.id))
        elif shadow.state is ShadowState.READY:
            found[str(server.id)] = _shadow(server, tier, shadow)
    return {**found, **dict(_held(sources.reservations.open(), tiers, sources.default_tier()))}


def promised(rules: ResourceRules, entitlement: float) -> float:
    """A tier's floor."""
    return max(rules.floor_share * entitlement, min(rules.floor_least, entitlement))


def _server(server: Server, tier: Tier, agreed: Mapping[str, Mapping[str, float]], accuracy: float | None) -> Terms:
    sold, most = server.entitlement, server.ceiling
    floors = {"cpu": promised(tier.cpu, sold.cpu.cores), "memory": promised(tier.memory, sold.memory.mib)}
    floors = {r: min(floor, agreed.get(r, {}).get(server.id, floor)) for r, floor in floors.items()}
    return Terms(
        kind=Kind.SERVER,
        project=server.project,
        name=server.name,
        tier=tier.name,
        act=server.mode is Mode.ACT,
        accuracy=-1 if accuracy is None else int(max(0.0, min(1.0, accuracy)) * 10 + 1e-9),
        mcores=whole(sold.cpu.cores * 1000),
        mib=whole(sold.memory.mib),
        floor_mcores=whole(floors["cpu"] * 1000),
        floor_mib=whole(floors["memory"]),
        most_mcores=whole(max(sold.cpu.cores, most.cpu.cores) * 1000),
        most_mib=whole(max(sold.memory.mib, most.memory.mib)),
    )


def _shadow(server: Server, tier: Tier, shadow: Shadow) -> Terms:
    sold = server.entitlement
    mcores, mib = whole(sold.cpu.cores * 1000), whole(sold.memory.mib)
    return Terms(kind=Kind.POOL, project=shadow.project, name=server.name, tier=tier.name, mcores=mcores, mib=mib)


def _held(open_ones: Sequence[Reservation], tiers: Mapping[str, Tier], default: str) -> Iterator[tuple[str, Terms]]:
    """Reservations that somebody asked for, as far as Placement is known to hold them."""
    for r in open_ones:
        wish = r.wish
        if not r.held or not wish.project or wish.owner.startswith(OURS):
            continue
        tier = tiers[wish.server].name if wish.server in tiers else default
        mcores, mib = wish.resources.get("VCPU", 0) * 1000 * r.held, wish.resources.get("MEMORY_MB", 0) * r.held
        yield f"reservation:{r.id}", Terms(Kind.RESERVATION, wish.project, wish.owner, tier, mcores=whole(mcores), mib=whole(mib))


def whole(amount: float) -> int:
    """0 for what is no amount."""
    return round(amount) if 0 <= amount <= MOST else 0
