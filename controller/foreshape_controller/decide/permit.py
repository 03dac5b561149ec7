"""Whether a migration that was decided some time ago may still begin, or be ordered: every rule once more, by what is known now.

``force`` makes Nova skip its own filters, so nothing here is left to Nova but the claim in Placement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from foreshape_controller.decide.ground import claim
from foreshape_controller.decide.movable import immovable
from foreshape_controller.decide.room import Ground, Ledger, Rule
from foreshape_controller.model.cloud import LOCKED_OUT, CloudServer, CloudView
from foreshape_controller.model.migration import Migration
from foreshape_controller.model.moving import Goal, Moving
from foreshape_wire.order import Mode

MANY = 10**9
"""Limits are kept by those who let migrations begin (``decide/moves.py: admit``)."""


@dataclass(frozen=True)
class Stop:
    """Why it may not go on. ``final``: waiting does not help, it ends here and may be planned anew."""

    why: str
    final: bool = False


@dataclass(frozen=True, eq=False)
class World:
    """Everything that is known now."""

    cloud: CloudView
    ground: Ground
    """Its pending migrations are all but the one that is looked at."""
    blind: str = ""
    """Why the view is no ground to act on; empty: it is."""
    modes: Mapping[str, Mode] = field(default_factory=dict)
    """In force: by server (``server:ID``) and host (``host:NAME``)."""
    halts: Mapping[str, str] = field(default_factory=dict)
    """By scope (``cloud``, ``host:NAME``, ``server:ID``): why nothing is done there."""
    balancer: str = ""
    """Why nothing is moved without a person's word: somebody else balances."""
    short: frozenset[str] = frozenset()
    """Hosts with an open need."""
    draining: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    """Hosts that we ourselves lock for the scheduler just now."""
    held: frozenset[str] = frozenset()
    """Hosts on which room is held for this very server already."""
    full: float = 0.9


def look(row: Moving, world: World) -> Stop | None:
    """The first thing in its way; None: nothing is."""
    if world.blind:
        return Stop(world.blind)
    return _forbidden(row, world) or _server(row, world) or _aim(row, world) or _target(row, world)


def _forbidden(row: Moving, world: World) -> Stop | None:
    """Modes, stops, halts."""
    m = row.migration
    for scope in (f"server:{m.server}", f"host:{m.source}", f"host:{m.target}"):
        mode = world.modes.get(scope, Mode.OBSERVE)
        if mode is Mode.OBSERVE or (row.automatic and mode is not Mode.ACT):
            return Stop(f"the mode of {scope} is {mode.value}", final=True)
    for scope in ("cloud", f"server:{m.server}", f"host:{m.source}", f"host:{m.target}"):
        if scope in world.halts:
            return Stop(f"{scope} is halted: {world.halts[scope]}")
    return Stop(world.balancer) if world.balancer and row.automatic else None


def _server(row: Moving, world: World) -> Stop | None:
    """It is where it was, as large as it was, and nobody does anything to it."""
    server = world.cloud.servers.get(row.migration.server)
    if server is None:
        return Stop("Nova does not list it any more", final=world.cloud.complete("servers"))
    why = changed(row, server) or immovable(server)
    if why:
        return Stop(why, final=True)
    other = next((x for x in world.cloud.migrations if x.server == server.id and x.moving), None)
    return Stop(f"somebody else moves it: Nova's {other.kind} {other.uuid} is {other.status}", final=True) if other else None


def changed(row: Moving, server: CloudServer) -> str:
    """What is other than when this was decided."""
    if server.host != row.migration.source:
        return f"it is on {server.host or 'no host'}, and no longer on {row.migration.source}"
    size = {name: amount for name, amount in claim(server).items() if amount}
    return "it was resized meanwhile" if size != dict(row.size) else ""


def _aim(row: Moving, world: World) -> Stop | None:
    """Whether it is still wanted."""
    source = row.migration.source
    if row.goal is Goal.NEED and source not in world.short:
        return Stop(f"{source} is not expected to run short any more", final=True)
    if row.goal is Goal.DRAIN and source not in world.draining:
        return Stop(f"{source} is not being drained any more", final=True)
    return None


def _target(row: Moving, world: World) -> Stop | None:
    """Both hosts are there; the target is open, suits it, and has room by Placement and by forecast, after all promises."""
    m, hosts = row.migration, world.cloud.hosts
    source, target = hosts.get(m.source), hosts.get(m.target)
    if target is None:
        return Stop(f"there is no host {m.target}", final=True)
    if source is None or not source.up or source.forced_down:
        return Stop(f"nova-compute on {m.source} is down: nothing can leave it alive", final=True)
    if LOCKED_OUT in target.traits and target.enabled and m.target in world.ours:
        target_ground = _unlocked(world.ground, m.target)
    elif LOCKED_OUT in target.traits and target.enabled:
        return Stop(f"{m.target} is locked for the scheduler")
    else:
        target_ground = world.ground
    return _room(m, replace(world, ground=target_ground))


def _room(m: Migration, world: World) -> Stop | None:
    ground = world.ground
    if m.server not in ground.servers.ids:
        return Stop("Nova does not list it")
    server, target = ground.servers.ids.index(m.server), ground.host_index[m.target]
    ledger = Ledger(ground, Rule(full=world.full, out=MANY, into=MANY, moves=MANY))
    if m.room.owed or m.target in world.held:
        ledger.held[target] -= ground.servers.size[server]  # what is held there is for this one
    why = ledger.obstacle(server, target)
    return Stop(f"{m.target} is no target for it any more: {why}", final=True) if why else None


def _unlocked(ground: Ground, name: str) -> Ground:
    """Our own lock of a hand-over is no obstacle to us."""
    closed = tuple("" if h == name else c for h, c in zip(ground.hosts.names, ground.hosts.closed, strict=True))
    return replace(ground, hosts=replace(ground.hosts, closed=closed))
