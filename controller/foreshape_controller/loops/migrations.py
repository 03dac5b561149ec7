"""Migrations as one part of what is done with a cloud: put together here, asked by the API, run by the scheduler."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from foreshape_controller.config import Settings
from foreshape_controller.decide.moves import Limits
from foreshape_controller.decide.room import Rule
from foreshape_controller.decide.segments import Segments
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.loops.acting import BALANCER
from foreshape_controller.loops.carry import Carrier, Hands
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.loops.draining import Draining
from foreshape_controller.loops.foreigners import Foreigners, ForeignRule
from foreshape_controller.loops.gathering import Gathering
from foreshape_controller.loops.mend import Kit, Mend
from foreshape_controller.loops.migrate import Coordinator, MigrateRule, Parts, leased
from foreshape_controller.loops.proposing import Proposing
from foreshape_controller.loops.reshape import Reshape
from foreshape_controller.loops.rooms import Reservations, Rooms
from foreshape_controller.loops.scout import Scout, ScoutRule
from foreshape_controller.loops.witness import Witness
from foreshape_controller.model.cloud import Allocation
from foreshape_controller.model.moving import Moving
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode

SIDE_BY_SIDE = 8
"""Migrations that are worked on at once: each waits for Nova most of its time."""


class Claims(Protocol):
    """The part of Placement that tells who holds what."""

    def allocation(self, consumer: str) -> Allocation: ...


@dataclass(frozen=True)
class Migrations:
    """The coordinator and what the API asks beside it."""

    coordinator: Coordinator
    gather: Gathering
    proposing: Proposing
    draining: Draining
    shapes: Reshape


def migrations(  # noqa: PLR0913  each is a part of its own
    settings: Settings,
    store: Any,
    nova: Any,
    watch: CloudWatch,
    reservations: Reservations,
    tiers: Callable[[], Tiers],
    *,
    workers: int,
    segments: Segments | None = None,
    placement: Claims | None = None,
) -> Migrations:
    """Put them together. ``workers``: 0 carries one migration after the other, in the caller's thread."""
    s, kept = settings.migrations, store.migrating
    foreigners = Foreigners(
        store.halts, lambda since: nova.migrations(since=since), ForeignRule(s.balancer_moves, s.balancer_window_s, s.balancer_rest_s)
    )
    scout = Scout(
        store.forecasts,
        ScoutRule(s.quantile, settings.plan.migration_mib_s, s.downtime_s, s.dirty_mib_s, settings.plan.memory_reserved_mib),
    )
    gather = Gathering(store, watch, scout, tiers, foreigners, full=s.full, hold_s=s.hold_s, segments=segments)
    rule = Rule(full=s.full, gain=s.gain, worth=s.worth, out=max(4, s.out), into=max(4, s.into))
    proposing = Proposing(kept.proposals, kept.drains, rule, consolidates=s.consolidate)
    witness = Witness(nova, kept.sightings, kept.learnt)
    halted = partial(_halted, store)
    claims = partial(_claims, watch, placement)
    mend = Mend(Kit(nova, kept.moves, kept.sightings, store.journal, store.modes, claims, settings.plan.order_ttl_s, halted))
    rooms = Rooms(reservations, lambda server: _groups(watch, server))
    carrier = Carrier(Hands(kept.moves, kept.sightings, nova, rooms, witness, mend, partial(_stopped, store)))
    draining = Draining(kept.drains, nova, watch.view, store.modes)
    parts = Parts(kept.moves, kept.proposals, gather, carrier, proposing, foreigners, draining, nova.aborts_cleanly)
    limits = Limits(s.out, s.into, s.cluster, s.link)
    coordinator = Coordinator(
        parts,
        MigrateRule(limits, s.plan_every_s, s.per_hour, s.wait_s, s.force, s.consolidate),
        ThreadPoolExecutor(workers, thread_name_prefix="migrate") if workers else None,
    )
    shapes = Reshape(store, partial(_held, store), settings.plan.order_ttl_s, settings.plan.stale_after_s)
    return Migrations(coordinator, gather, proposing, draining, shapes)


def _claims(watch: CloudWatch, placement: Claims | None, server: str) -> tuple[str, ...] | None:
    """Names of the hosts on which Placement has a server's claim; None where nobody can be asked."""
    view = watch.view()
    if placement is None or view is None:
        return None
    held = placement.allocation(server).held
    return tuple(h.name for h in view.hosts.values() if h.provider in held)


def _groups(watch: CloudWatch, server: str) -> tuple[str, ...]:
    view = watch.view()
    found = view.servers.get(server) if view else None
    return found.groups if found else ()


def _halted(store: Any, host: str, server: str) -> str:
    """Why nothing is done to a server on a host now; a second balancer only holds back migrations."""
    scopes = ("cloud", f"host:{host}", f"server:{server}")
    found = next((h for h in store.halts.all() if h.active and h.kind != BALANCER and h.scope in scopes), None)
    return f"{found.scope} is halted: {found.reason}" if found else ""


def _stopped(store: Any, row: Moving) -> str:
    """Why nothing is done to a migration that runs: the rules for beginning one, as far as they are a person's word."""
    m, levels = row.migration, store.modes.now()
    modes = {
        f"server {m.server}": levels.effective(m.source, row.project, m.server),
        f"host {m.source}": levels.effective(m.source),
        f"host {m.target}": levels.effective(m.target),
    }
    least = (Mode.ACT,) if row.automatic else (Mode.ACT, Mode.ADVISE)
    closed = (f"the mode of {of} is {mode.value}" for of, mode in modes.items() if mode not in least)
    return next(closed, "") or _halted(store, m.source, m.server) or _halted(store, m.target, m.server)


def _held(store: Any, view: ClusterView, _now: float) -> dict[str, object]:
    """Servers whose size nobody touches now: those that migrate, and those in a scope that is halted."""
    scopes = {h.scope for h in store.halts.all() if h.active and h.kind != BALANCER}
    halted = {str(s.id): "halted" for s in view.servers if {"cloud", f"host:{s.host}", f"server:{s.id}"} & scopes} if scopes else {}
    return {**halted, **leased(store.migrating.moves.open())}
