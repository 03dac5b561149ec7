"""One shadow VM carried on: each step is written down, then done, then found again by whoever comes next.

Whatever was asked without an answer is looked for by its name, which has our id in it, before it is asked again or believed not to be.
A server is deleted only where our record, its tag in Nova and its project agree that it is this shadow VM, and that nobody claimed it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.cloud.nova import NewServer
from foreshape_controller.decide import shadow as life
from foreshape_controller.errors import CloudError, Gone, Invalid, Temporary
from foreshape_controller.model.cloud import CloudServer
from foreshape_controller.model.pool import CLAIMED_KEY, POOL_KEY, SHADOW_KEY, Happened, Pool, Shadow, State
from foreshape_controller.model.server import Server

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud

_log = structlog.get_logger("foreshape.pool")

DEAD = frozenset({"ERROR", "SHUTOFF", "DELETED", "SOFT_DELETED", "SHELVED", "SHELVED_OFFLOADED"})
"""What a server that nobody uses must not be."""
CONFIDENT = 0.5
"""From here on what an agent says of memory comes from the guest itself: its kernel is up."""
SETTLED_S = 60.0
"""A guest without a balloon driver never says so: it counts as up when it ran for so long."""
NEAR = 1.02
MOST_MARGIN = 0.5
"""Share of what is in use; tiers ask for less."""
CLAIMING_S = 60.0
"""So long a cold boot is its claim's own business."""


class ShadowStore(Protocol):
    """The part of ``store.pools`` that is needed here."""

    def change(self, shadow: str, by: Callable[[Shadow], Shadow], now: float) -> Shadow: ...


@dataclass(frozen=True)
class ShadowTerms:
    """Seconds."""

    boot_limit_s: float = 900.0
    """Not up after so long: it failed."""
    unknown_s: float = 180.0
    """So long a boot without an answer may still show up."""
    claim_limit_s: float = 300.0
    """A claimed one that did not get all of what was sold by then is handed over as it is."""


@dataclass(frozen=True)
class Scene:
    """What one step is decided by."""

    pool: Pool
    door: "Cloud"
    seen: "Server | None"
    """As its agent reports it."""
    may: str
    """Why nothing may be asked of the cloud now; empty: it may."""
    now: float
    listed: CloudServer | None = None
    """As the newest reading of the cloud has it; None: not there, or the reading is no ground to act on."""


class Shadowing:
    """``carry_on`` is safe to call at any time, from any thread, and after any crash."""

    def __init__(self, store: ShadowStore, terms: ShadowTerms) -> None:
        self._store, self._terms = store, terms

    def carry_on(self, shadow: Shadow, scene: Scene) -> Shadow:
        """The next step, if there is one. Raises CloudError; what was written before stays true."""
        steps = {
            State.BOOTING: self._watch_boot,
            State.READY: self._watch_ready,
            State.CLAIMED: self.finish,
            State.FAILED: self._clean,
            State.RETIRING: self._remove,
        }
        if shadow.state is State.PLANNED:
            alone = shadow.cold and scene.now - shadow.created > CLAIMING_S and not scene.may
            return self.boot(shadow, scene) if alone else shadow
        step = steps.get(shadow.state)
        return step(shadow, scene) if step else shadow

    def happen(self, shadow: Shadow, event: Happened, why: str, now: float, **more: object) -> Shadow:
        """Write an event down. Raises Invalid where it cannot happen any more."""
        after = self._store.change(shadow.id, lambda s: life.advance(s, event, why, now, **more), now)
        _log.info("shadow VM", shadow=after.id, state=after.state.value, server=after.server, why=why, cause=after.cause)
        return after

    def _keep(self, shadow: Shadow, now: float, **more: object) -> Shadow:
        """Other fields, in the state that it has now."""
        if all(getattr(shadow, k) == v for k, v in more.items()):
            return shadow
        return self._store.change(shadow.id, lambda s: replace(s, **more), now)

    # -- boot

    def boot(self, shadow: Shadow, scene: Scene) -> Shadow:
        """Ports first, then the order to boot, written before Nova hears of it."""
        now = scene.now
        try:
            planned = self._ports(shadow, scene)
            asked = self.happen(planned, Happened.BOOT, "ordered", now)
            server = scene.door.nova.create(_new(asked, scene.pool))
        except Temporary as e:
            if e.maybe_done:
                raise
            return self._broken(shadow, str(e), now)
        except CloudError as e:
            return self._broken(shadow, str(e), now)
        return self._keep(asked, now, server=server)

    def _broken(self, shadow: Shadow, why: str, now: float) -> Shadow:
        """Failed before Nova took it. One that was not asked for at all goes straight away; its ports may exist."""
        fresh = self._store.change(shadow.id, lambda s: s, now)
        event = Happened.RETIRE if fresh.state is State.PLANNED else Happened.BROKEN
        return self.happen(fresh, event, why, now)

    def _ports(self, shadow: Shadow, scene: Scene) -> Shadow:
        """One on each network; those that an interrupted try made are taken."""
        if not scene.pool.networks:
            return shadow
        neutron = scene.door.neutron
        there = {p.network: p.id for p in neutron.ports(shadow.name)}
        for network in scene.pool.networks:
            if network not in there:
                there[network] = neutron.create_port(network, shadow.name).id
        return self._keep(shadow, scene.now, ports=tuple(there[n] for n in scene.pool.networks))

    def _watch_boot(self, shadow: Shadow, scene: Scene) -> Shadow:
        now, asked = scene.now, shadow.asked_at or shadow.since
        found = self._look(shadow, scene)
        if found is None:
            if shadow.server:
                return self.happen(shadow, Happened.VANISHED, "Nova has it no more", now)
            late = now - asked > self._terms.unknown_s
            return self.happen(shadow, Happened.BROKEN, f"Nova has no server {shadow.name}", now) if late else shadow
        shadow = self._keep(shadow, now, server=found.id, host=found.host or shadow.host)
        if found.status in DEAD:
            return self.happen(shadow, Happened.BROKEN, f"Nova says {found.status}", now)
        if found.status == "ACTIVE" and up(scene.seen, now):
            sold = scene.seen.entitlement if scene.seen else None
            size = {"sold_cores": sold.cpu.cores, "sold_mib": sold.memory.mib} if sold else {}
            return self.happen(shadow, Happened.UP, "its agent reports it", now, host=found.host, **size)
        if now - asked > self._terms.boot_limit_s:
            missing = "no agent reports it" if found.status == "ACTIVE" else f"Nova says {found.status}"
            return self.happen(shadow, Happened.BROKEN, f"not up after {now - asked:.0f} s: {missing}", now)
        return shadow

    def _look(self, shadow: Shadow, scene: Scene) -> CloudServer | None:
        """Its server, by id, or by name where no id is known: of that name the one with its tag."""
        nova = scene.door.nova
        if shadow.server:
            try:
                return nova.server(shadow.server)
            except Gone:
                return None
        return next((s for s in nova.named(shadow.name) if s.metadata.get(SHADOW_KEY) == shadow.id), None)

    # -- wait

    def _watch_ready(self, shadow: Shadow, scene: Scene) -> Shadow:
        now, found = scene.now, scene.listed or self._look(shadow, scene)
        if found is None:
            return self.happen(shadow, Happened.VANISHED, "Nova has it no more", now)
        if strange := _strange(shadow, scene.pool, found):
            return self.happen(shadow, Happened.VANISHED, f"it is not ours any more: {strange}", now)
        if found.status in DEAD:
            return self.happen(shadow, Happened.BROKEN, f"Nova says {found.status}", now)
        shadow = self._keep(shadow, now, host=found.host or shadow.host)
        if shadow.deflated_at is None and deflated(scene.seen, scene.pool):
            shadow = self._keep(shadow, now, deflated_at=now)
        return shadow

    # -- hand over

    def finish(self, shadow: Shadow, scene: Scene) -> Shadow:
        """Name and tag of its owner, then handed over once it has what was sold. May be interrupted anywhere."""
        if scene.may:
            return shadow
        try:
            if not shadow.tagged:
                scene.door.nova.tag(shadow.server, {CLAIMED_KEY: shadow.owner or shadow.claim_name})
                scene.door.nova.rename(shadow.server, shadow.claim_name)
                shadow = self._keep(shadow, scene.now, tagged=True)
        except Gone as e:
            return self.happen(shadow, Happened.VANISHED, str(e), scene.now)
        waited = scene.now - (shadow.claimed_at or shadow.since)
        if whole(scene.seen, shadow.claimed_at or shadow.since):
            return self.happen(shadow, Happened.HANDED, "it has what was sold", scene.now)
        if waited > self._terms.claim_limit_s:
            return self.happen(shadow, Happened.HANDED, f"as it is: it did not get all of what was sold in {waited:.0f} s", scene.now)
        return shadow

    # -- farewell

    def _clean(self, shadow: Shadow, scene: Scene) -> Shadow:
        return shadow if scene.may else self.happen(shadow, Happened.CLEAN, shadow.why, scene.now)

    def _remove(self, shadow: Shadow, scene: Scene) -> Shadow:
        """Server, then ports; gone when Nova has neither. What is not provably ours stays, and is told."""
        if scene.may:
            return shadow
        found = self._look(shadow, scene)
        if found is not None and found.status not in ("DELETED", "SOFT_DELETED"):
            return self._delete(shadow, found, scene)
        if not shadow.server and shadow.asked_at and scene.now - shadow.asked_at <= self._terms.unknown_s:
            return shadow  # the order to boot may still be under way
        self._delete_ports(shadow, scene)
        return self.happen(shadow, Happened.GONE, shadow.why, scene.now)

    def _delete(self, shadow: Shadow, found: CloudServer, scene: Scene) -> Shadow:
        fresh = self._keep(shadow, scene.now, server=found.id)
        refused = life.deletable(fresh) or _strange(fresh, scene.pool, found) or ("it is locked in Nova" if found.locked else "")
        if refused:
            raise Invalid(f"server {found.id} of shadow VM {fresh.id} is not deleted: {refused}")
        scene.door.nova.delete(found.id)
        return fresh

    def _delete_ports(self, shadow: Shadow, scene: Scene) -> None:
        """Those that we made; by name as well, where an interrupted try did not say their ids."""
        if scene.pool.networks or shadow.ports:
            named = {p.id for p in scene.door.neutron.ports(shadow.name)}
            for port in sorted(named | set(shadow.ports)):
                scene.door.neutron.delete_port(port)


def _new(shadow: Shadow, pool: Pool) -> NewServer:
    tags = {SHADOW_KEY: shadow.id, POOL_KEY: pool.id}
    return NewServer(shadow.name, shadow.image, shadow.flavor, shadow.ports, pool.az, tags)


def _strange(shadow: Shadow, pool: Pool, found: CloudServer) -> str:
    return life.proven_ours(shadow, pool.project, found.metadata, (SHADOW_KEY, CLAIMED_KEY), found.project)


# -- what agents say ------------------------------------------------------------------------------------------------------


def up(seen: Server | None, now: float) -> bool:
    """Whether the guest itself runs: its kernel answers for its memory, or it has run for a while."""
    if seen is None or seen.state.value != "running" or seen.last is None:
        return False
    memory = seen.last.memory
    return (memory is not None and memory.confidence >= CONFIDENT) or now - seen.first_seen >= SETTLED_S


def whole(seen: Server | None, since: float) -> bool:
    """Whether it has what was sold, as its agent measured it since then: what was measured before may have been taken meanwhile."""
    if seen is None or seen.last_seen <= since:
        return False
    has, sold = seen.allocation, seen.entitlement
    return has.cpu.cores * NEAR >= sold.cpu.cores and has.memory.mib * NEAR >= sold.memory.mib


def deflated(seen: Server | None, pool: Pool) -> bool:
    """Whether it has no more than a waiting one shall have, or than its guest needs."""
    if seen is None or seen.allocation.cpu.cores > pool.wait_cores * NEAR:
        return False
    return seen.allocation.memory.mib <= max(pool.wait_mib, _needed(seen)) * NEAR


def _needed(seen: Server) -> float:
    """MiB below which its agent may refuse to take more."""
    memory = seen.last.memory if seen.last is not None else None
    if memory is None:
        return seen.entitlement.memory.mib
    used, margin = memory.in_use.mib, seen.memory_margin.mib if seen.memory_margin is not None else 0.0
    return used + max(margin, MOST_MARGIN * used)
