"""Pools looked after: how many shadow VMs there should be, what is missing or too much, whose claim wants one, and what leaked.

Everything that is done was written down before (``store.pools``), one step at a time: whoever is killed anywhere is continued by the next
run. Nothing is booted or deleted but in mode act, without a halt, and on a fresh and whole reading of the cloud; otherwise it is proposed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.decide import claims as counting
from foreshape_controller.decide import pool as rules
from foreshape_controller.decide import shadow as life
from foreshape_controller.errors import CloudError, ControllerError, Gone, Invalid
from foreshape_controller.loops.shadowing import Scene, Shadowing, ShadowTerms
from foreshape_controller.model.cloud import CloudServer, CloudView
from foreshape_controller.model.pool import (
    CLAIMED_KEY,
    SHADOW_KEY,
    Decided,
    Happened,
    Pool,
    PoolReport,
    PoolRequest,
    Shadow,
    Slot,
    State,
)
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.store import Store
from foreshape_wire.ids import new_id

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud

_log = structlog.get_logger("foreshape.pool")

LEARN_S = 15 * 86400.0
SLOT_S = 1800.0
SLOTS = 48


class _Acting(Protocol):
    def why_not(self, host: str, project: str = "", server: str = "") -> str: ...


class _Watch(Protocol):
    def view(self) -> CloudView | None: ...

    def why_not(self, now: float) -> str: ...


@dataclass(frozen=True)
class PoolTerms:
    """What the configuration says."""

    interval_s: float = 30.0
    boots_at_once: int = 2
    sweep_every_s: float = 300.0
    memory_reserved_mib: float = 512.0
    order_ttl_s: float = 300.0
    shadow: ShadowTerms = field(default_factory=ShadowTerms)


class PoolWork:
    """``run_once`` by the clock, the rest for the API. Safe from any thread."""

    def __init__(self, store: Store, watch: _Watch, doors: "Callable[[str], Cloud]", acting: _Acting, terms: PoolTerms) -> None:
        """``doors``: the cloud with the credentials of an entry of clouds.yaml; empty: the controller's. It raises ConfigError."""
        self.store, self.watch, self.doors, self.acting, self.terms = store, watch, doors, acting, terms
        self.shadowing = Shadowing(store.pools, terms.shadow)
        self._swept_at = float("-inf")
        self._told: set[str] = set()

    # -- by the clock

    def run_once(self, now: float) -> None:
        """Look after every pool; one that fails does not stop the others."""
        pools = self.store.pools.all(closing=True)
        if pools:
            seen = self.store.inventory.view(now)
            for pool in pools:
                self.store.pools.decide(pool.id, self._carefully(pool, seen, now))
        if now - self._swept_at >= self.terms.sweep_every_s:
            self._swept_at = now
            self.sweep(now)

    def _carefully(self, pool: Pool, seen: ClusterView, now: float) -> Decided:
        """One odd pool never stops the others."""
        try:
            return self._looked_after(pool, seen, now)
        except Exception as e:  # noqa: BLE001  the log has everything, and its report says so
            _log.error("pool passed over", pool=pool.id, exc_info=e)
            return Decided(at=now, wanted=0, why="it could not be looked after", not_done=repr(e), problems=(repr(e),))

    def _looked_after(self, pool: Pool, seen: ClusterView, now: float) -> Decided:
        try:
            door = self.doors(pool.cloud)
        except ControllerError as e:
            return Decided(at=now, wanted=0, why="its cloud cannot be asked", not_done=str(e), problems=(str(e),))
        problems = list(self._carried_on(pool, door, seen, now))
        decided, flavor = self._decide(pool, door, now)
        problems += decided.problems
        if decided.act:
            problems += self._done(pool, decided, flavor, door, now)
        return replace(decided, problems=tuple(problems))

    def _carried_on(self, pool: Pool, door: "Cloud", seen: ClusterView, now: float) -> Iterator[str]:
        """Every shadow VM one step on; what went wrong, as sentences."""
        by_id: dict[str, Server] = {s.id: s for s in seen.servers}
        for shadow in self.store.pools.shadows(pool.id, alive=True):
            try:
                self._step(shadow, self._scene(pool, door, by_id.get(shadow.server), shadow, now))
            except ControllerError as e:
                yield f"{shadow.id}: {e}"

    def _step(self, shadow: Shadow, scene: Scene) -> Shadow:
        """One step; a cold one that is ready goes on to whom it was booted for at once."""
        after = self.shadowing.carry_on(shadow, scene)
        if after.cold and after.state is State.READY:
            after = self.shadowing.happen(after, Happened.CLAIM, f"booted for {after.claim_name}", scene.now)
        if after.state is State.CLAIMED and shadow.state is not State.CLAIMED:
            after = self.shadowing.finish(after, scene)
        return after

    def _scene(self, pool: Pool, door: "Cloud", seen: Server | None, shadow: Shadow, now: float) -> Scene:
        may = self.acting.why_not(shadow.host, pool.project, shadow.server)
        blind = self.watch.why_not(now)
        if not may and shadow.state is not State.CLAIMED:
            may = blind
        view = None if blind else self.watch.view()
        return Scene(pool, door, seen, may, now, view.servers.get(shadow.server) if view else None)

    # -- how many

    def _decide(self, pool: Pool, door: "Cloud", now: float) -> tuple[Decided, str]:
        """What there should be, and what it takes; the flavor's id."""
        shadows = self.store.pools.shadows(pool.id)
        window = self.window(pool, shadows)
        known = self._known(pool, now)
        demand, last = counting.forecast(known, window, now, pool.expected_h), known.times[-1] if known.times else pool.created
        sized = rules.size(pool, demand, window)
        image, flavor, problems = _ids(pool, door)
        plan = rules.steps(pool, shadows, sized, image if flavor else "", now, last)
        boot = min(plan.boot, self.terms.boots_at_once - sum(s.state is State.BOOTING for s in shadows))
        held = rules.pause_until(shadows)
        if boot > 0 and now < held:
            boot, problems = 0, [*problems, f"the last boot failed: the next one is tried in {held - now:.0f} s"]
        not_done = self.acting.why_not("", pool.project) or self.watch.why_not(now)
        decided = Decided(
            at=now,
            wanted=sized.wanted,
            why=plan.why,
            boot=max(0, boot),
            retire=plan.retire,
            act=not not_done,
            not_done=not_done,
            image=image,
            mean=demand.mean,
            fractile=sized.fractile,
            window_s=window,
            problems=tuple(problems),
        )
        return decided, flavor

    def window(self, pool: Pool, shadows: Sequence[Shadow]) -> float:
        """From an order until it can be claimed, and until somebody looks."""
        return rules.lead(pool, shadows) + self.terms.interval_s

    def _known(self, pool: Pool, now: float) -> counting.Known:
        """Claims of the last days."""
        told = [c.at for c in self.store.pools.claims(pool.id, now - LEARN_S)]
        return counting.Known(told, max(pool.created, now - LEARN_S), now)

    # -- doing it

    def _done(self, pool: Pool, decided: Decided, flavor: str, door: "Cloud", now: float) -> list[str]:
        problems: list[str] = []
        for one in decided.retire:
            problems += self._tried(self._retire, one, decided.why, now)
        for _ in range(decided.boot):
            shadow = new_shadow(pool, decided.image, flavor, decided.why, now)
            self.store.pools.plan(shadow, now)
            said = self._tried(self._boot, pool, shadow, door, now)
            problems += said
            if said:
                break
        for shadow in self.store.pools.in_state(State.PLANNED):
            if shadow.pool == pool.id and shadow.created < now and not shadow.cold:  # left by a run that was interrupted
                problems += self._tried(self._boot, pool, shadow, door, now)
        return problems

    def _boot(self, pool: Pool, shadow: Shadow, door: "Cloud", now: float) -> None:
        after = self.shadowing.boot(shadow, self._scene(pool, door, None, shadow, now))
        if after.state is not State.BOOTING:
            raise Invalid(f"{after.id} was not booted: {after.why}")

    def _retire(self, one: str, why: str, now: float) -> None:
        self.shadowing.happen(self.store.pools.shadow(one), Happened.RETIRE, why, now)

    @staticmethod
    def _tried(work: Callable[..., object], *about: object) -> list[str]:
        """What went wrong, as sentences."""
        try:
            work(*about)
        except ControllerError as e:
            return [str(e)]
        return []

    # -- leaks

    def sweep(self, now: float) -> tuple[str, ...]:
        """Servers in Nova with our tag whose record is over go; those that nobody here knows are told of, and left alone."""
        view = self.watch.view()
        if view is None or self.watch.why_not(now):
            return ()
        told = tuple(self._leaks(view, now))
        for sentence in set(told) - self._told:
            _log.warning("shadow VM leaked", reason=sentence)
        self._told = set(told)
        return told

    def _leaks(self, view: CloudView, now: float) -> Iterator[str]:
        tagged = [(s.metadata[SHADOW_KEY], s) for s in view.servers.values() if s.metadata.get(SHADOW_KEY)]
        known = {s.id: s for s in self.store.pools.shadows()} if tagged else {}
        for ident, server in tagged:
            record = known.get(ident)
            if record is None:
                yield f"server {server.id} ({server.name}) has the tag of shadow VM {ident}, of which there is no record here: left alone"
            elif record.state in (State.GONE, State.LOST) and not (strange := _foreign(record, server)):
                self._tried(self._found, record, server.id, now)
                yield f"server {server.id} of shadow VM {ident} was left behind: it is deleted"
            elif record.state in (State.GONE, State.LOST) and record.claimed_at is None and not server.metadata.get(CLAIMED_KEY):
                yield f"server {server.id} has the tag of shadow VM {ident}: left alone, for {strange}"

    def _found(self, record: Shadow, server: str, now: float) -> None:
        self.shadowing.happen(record, Happened.FOUND, "it is there after all", now, server=server)

    # -- for people

    def create(self, request: PoolRequest, now: float) -> Pool:
        """Raises Invalid for what cannot be, CloudError and ConfigError where the cloud cannot be asked."""
        fields = {f: getattr(request, f) for f in request.__struct_fields__}
        pool = rules.check(Pool(id=new_id("pool"), created=now, **fields))
        door = self.doors(pool.cloud)
        mine = door.keystone.me().project
        if pool.project and pool.project != mine:
            raise Invalid(
                f"project: the credentials are for project {mine}, and Nova moves no server to another: name with 'cloud' an entry of "
                f"clouds.yaml with credentials of project {pool.project} (an application credential, or a trust)"
            )
        try:
            door.glance.image(pool.image)
            door.nova.flavor(pool.flavor)
        except Gone as e:
            raise Invalid(str(e)) from e
        for network in pool.networks:
            try:
                door.neutron.network(network)
            except Gone as e:
                raise Invalid(f"networks: {e}; ids are in 'openstack network list'") from e
        made = replace(pool, project=mine)
        self.store.pools.add(made)
        return made

    def report(self, pool: Pool, since: float, now: float) -> PoolReport:
        """How it did since then."""
        return rules.report(pool, self.store.pools.shadows(pool.id), self.store.pools.claims(pool.id, since), since, now)

    def schedule(self, pool: Pool, now: float) -> tuple[Slot, ...]:
        """What it would have in each half-hour of the next day."""
        window = self.window(pool, self.store.pools.shadows(pool.id))
        known, first = self._known(pool, now), now - now % SLOT_S
        starts = [first + i * SLOT_S for i in range(SLOTS)]
        return tuple(rules.slot(pool, counting.forecast(known, window, at, pool.expected_h), at, window, SLOT_S) for at in starts)

    def room(self, seen: ClusterView) -> Mapping[str, float]:
        """MiB that each host could still give."""
        return {h.name: h.memory_available.mib - self.terms.memory_reserved_mib for h in seen.hosts}


def new_shadow(pool: Pool, image: str, flavor: str, why: str, now: float, **more: object) -> Shadow:
    """A planned one; its name in Nova has its id in it."""
    ident = new_id("shadow")
    fields = {"id": ident, "pool": pool.id, "project": pool.project, "name": f"foreshape-{ident}", "image": image, "flavor": flavor}
    return Shadow(**{**fields, "created": now, "since": now, "why": why, "cause": new_id("cause"), **more})  # type: ignore[arg-type]


def _ids(pool: Pool, door: "Cloud") -> tuple[str, str, list[str]]:
    """Ids of image and flavor as their names mean now; empty with a sentence where one cannot be had."""
    image, flavor, problems = "", "", []
    try:
        image = door.glance.image(pool.image).id
    except CloudError as e:
        problems.append(str(e))
    try:
        flavor = door.nova.flavor(pool.flavor)[0]
    except CloudError as e:
        problems.append(str(e))
    return image, flavor, problems


def _foreign(record: Shadow, server: CloudServer) -> str:
    """Why a server is not provably ours to delete."""
    return life.proven_ours(record, record.project, server.metadata, (SHADOW_KEY, CLAIMED_KEY), server.project)
