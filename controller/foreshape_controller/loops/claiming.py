"""A claim: take a shadow VM that waits, let it grow to what was sold, give it its owner's name; or boot one cold, or say no.

Whoever comes first has it: the record changes in one transaction. What Nova could not be told at once is told by the pools' loop.
"""

from typing import TYPE_CHECKING

import structlog

from foreshape_controller.decide import pool as rules
from foreshape_controller.decide import shadow as life
from foreshape_controller.errors import CloudError, ControllerError, Gone, Invalid, NotFound
from foreshape_controller.loops.pool import PoolWork, new_shadow
from foreshape_controller.loops.shadowing import Scene
from foreshape_controller.model.decision import Choice, Decision, Sizing
from foreshape_controller.model.plan import Plan
from foreshape_controller.model.pool import CLAIMED_KEY, SHADOW_KEY, ClaimAnswer, ClaimRequest, Happened, Pool, Shadow, State
from foreshape_controller.model.server import Server
from foreshape_wire.ids import CauseId, OrderId, PlanId
from foreshape_wire.order import Mode, Order
from foreshape_wire.quantity import Memory, Size

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud

_log = structlog.get_logger("foreshape.pool")


class Claiming:
    """For the API. Safe from any thread."""

    def __init__(self, work: PoolWork) -> None:
        self._work, self._pools = work, work.store.pools

    def claim(self, pool: Pool, request: ClaimRequest, now: float) -> ClaimAnswer:
        """Raises Invalid for what cannot be, NotFound where none is ready and none is booted for it, CloudError."""
        rules.check_name("name", request.name)
        self._allowed(pool, request)
        door, seen = self._work.doors(pool.cloud), self._work.store.inventory.view(now)
        servers: dict[str, Server] = {s.id: s for s in seen.servers}
        room = self._work.room(seen)
        for shadow in rules.pick(self._pools.shadows(pool.id, alive=True), room, self._image(pool)):
            if not self._sound(pool, shadow, door):
                continue
            why = f"claimed as {request.name}" + (f" by {request.owner}" if request.owner else "")
            words = {"claim_name": request.name, "owner": request.owner}
            taken = self._pools.claim([shadow.id], lambda s: life.advance(s, Happened.CLAIM, why, now, **words), now)  # noqa: B023
            if taken is None:
                continue
            got = self._handed(pool, taken, door, servers.get(taken.server), room.get(taken.host, 0.0), now)
            if got.state != State.LOST.value:  # it vanished while it was claimed: the next one
                return got
        return self._missed(pool, request, door, now)

    def _allowed(self, pool: Pool, request: ClaimRequest) -> None:
        if request.project and request.project != pool.project:
            raise Invalid(
                f"project: pool {pool.name} is of project {pool.project}, and Nova moves no server to another: make a pool with "
                f"credentials of project {request.project}"
            )
        if len(request.owner) > rules.NAME_MOST or (request.owner and not request.owner.isprintable()):
            raise Invalid(f"owner: at most {rules.NAME_MOST} printable characters")
        if pool.deleted_at is not None:
            raise NotFound(f"pool {pool.name} is closed")
        if why := self._work.acting.why_not("", pool.project):
            raise Invalid(f"nothing can be claimed now: {why}")

    def _image(self, pool: Pool) -> str:
        """As the last look found it: a claim asks Glance nothing."""
        decided = self._pools.decided(pool.id)
        return decided.image if decided else ""

    def _sound(self, pool: Pool, shadow: Shadow, door: "Cloud") -> bool:
        """Whether Nova has it running, and provably as ours; what does not is left to the loop."""
        try:
            found = door.nova.server(shadow.server)
        except Gone:
            return False
        strange = life.proven_ours(shadow, pool.project, found.metadata, (SHADOW_KEY, CLAIMED_KEY), found.project)
        stopped = self._work.acting.why_not(found.host, pool.project, shadow.server)
        return found.status == "ACTIVE" and not strange and not found.locked and not stopped

    # -- a hit

    def _handed(self, pool: Pool, taken: Shadow, door: "Cloud", seen: Server | None, room_mib: float, now: float) -> ClaimAnswer:
        """Order it to grow first: its agent hears of it while Nova is told the rest."""
        notes = [self._inflate(taken, seen, room_mib, now)]
        try:
            taken = self._work.shadowing.finish(taken, Scene(pool, door, seen, "", now))
        except CloudError as e:
            notes.append(f"Nova will be told the rest later: {e}")
        return _answer(pool, taken, hit=True, note="; ".join(n for n in notes if n))

    def _inflate(self, taken: Shadow, seen: Server | None, room_mib: float, now: float) -> str:
        """An order to its agent, in the journal first, also where it seems to have everything: an order to shrink may be under way, which
        this one replaces. What does not fit now follows from plans: its floor is what was sold.
        """
        if seen is None:
            return "its agent is not heard: it grows as soon as plans see it"
        sold, has = seen.entitlement, seen.allocation
        memory = min(sold.memory.mib, has.memory.mib + max(0.0, room_mib))
        order, plan = grown(taken, seen, Size(sold.cpu, Memory(memory)), now, self._work.terms.order_ttl_s)
        self._work.store.journal.record(plan, (order,))
        short = sold.memory.mib - memory
        return f"its host lacks {short:.0f} MiB of what was sold now: plans give them when others have given" if short > 1 else ""

    # -- a miss

    def _missed(self, pool: Pool, request: ClaimRequest, door: "Cloud", now: float) -> ClaimAnswer:
        if refused := rules.after_miss(pool):
            self._pools.missed(pool.id, refused, now)
            raise NotFound(f"pool {pool.name} has no shadow VM ready, and {refused}")
        if why := self._work.watch.why_not(now):
            self._pools.missed(pool.id, why, now)
            raise NotFound(f"pool {pool.name} has no shadow VM ready, and none can be booted now: {why}")
        try:
            image, flavor = door.glance.image(pool.image).id, door.nova.flavor(pool.flavor)[0]
        except CloudError as e:
            self._pools.missed(pool.id, str(e), now)
            raise
        words = {"cold": True, "claim_name": request.name, "owner": request.owner}
        shadow = new_shadow(pool, image, flavor, f"nothing was ready for {request.name}: booted cold", now, **words)
        self._pools.missed(pool.id, "nothing was ready: booted cold", now, shadow)
        note = "no shadow VM was ready: a server is booted cold"
        try:
            shadow = self._work.shadowing.boot(shadow, Scene(pool, door, None, "", now))
        except ControllerError as e:
            note = f"{note}; Nova has not answered yet: {e}"
        if shadow.state is not State.BOOTING and shadow.state is not State.PLANNED:
            raise NotFound(f"pool {pool.name} has no shadow VM ready, and the cold boot failed: {shadow.why}")
        return _answer(pool, shadow, hit=False, note=note)


def _answer(pool: Pool, shadow: Shadow, *, hit: bool, note: str) -> ClaimAnswer:
    return ClaimAnswer(
        shadow=shadow.id,
        pool=pool.name,
        state=shadow.state.value,
        hit=hit,
        server=shadow.server,
        name=shadow.claim_name if shadow.tagged else shadow.name,
        host=shadow.host,
        project=shadow.project,
        took_s=0.0,
        note=note,
    )


def grown(taken: Shadow, seen: Server, to: Size, now: float, ttl_s: float) -> tuple[Order, Plan]:
    """The order that gives a claimed one its size, and the decision that it follows from: a plan of its own."""
    cause, plan = CauseId(f"cause-claim-{taken.id}-0"), PlanId(f"claim-{taken.id}")
    why = f"{taken.why}: it gets what was sold"
    decision = Decision(
        server=seen.id,
        host=seen.host,
        cause=cause,
        at=now,
        tier=seen.tier,
        mode=Mode.ACT,
        cpu=_sizing("cpu", seen.allocation.cpu.cores, to.cpu.cores, why),
        memory=_sizing("memory", seen.allocation.memory.mib, to.memory.mib, why),
        floor=to,
        ceiling=seen.entitlement,
    )
    order = Order(
        order=OrderId(f"order-claim-{taken.id}"),
        cause=cause,
        plan=plan,
        server=seen.id,
        cpu=to.cpu,
        memory=to.memory,
        floor=to,
        ceiling=seen.entitlement,
        issued_at=now,
        expires_at=now + ttl_s,
        reason=why[:500],
    )
    return order, Plan(plan=plan, at=now, written=(decision,))


def _sizing(resource: str, has: float, to: float, why: str) -> Sizing:
    choice = Choice.GROW if to > has else Choice.HOLD
    return Sizing(
        resource=resource, choice=choice, allocation=has, target=max(has, to), wanted=to, floor=to, ceiling=to, code="claimed", reason=why
    )
