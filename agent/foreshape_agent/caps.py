"""Holds hard caps: what guards say in, limits in the hypervisor out, and back to what was when a cap ends.

Desired state: each cycle looks at what is, and does what lacks. A cap ends by its own time, whether the controller can be
asked or not. What is needed to undo it is in the spool before the first lever is pulled, so that a killed agent finds it again.
Memory is not here: no cap takes from a guest what it uses, so the plan takes it step by step; here it only bounds what is given.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog

from foreshape_agent import admit, throttle
from foreshape_agent.errors import HypervisorLost
from foreshape_agent.levers.base import Pull, Throttle
from foreshape_agent.reconcile import AGAIN_S, NO_LEVER_S, Authority, Doors, Reconciler
from foreshape_agent.throttle import Held
from foreshape_agent.watch import Sight
from foreshape_wire.ids import OrderId, ServerId, clip
from foreshape_wire.order import HardCap, Origin, Outcome, Verdict
from foreshape_wire.reading import DeviceLimit, DomainState

log = structlog.get_logger()

BACK_TRIES = 3
"""A cap that failed is taken back so many times at most: the same cycle has other domains to look after."""


class Caps:
    """The only hand on throttles."""

    def __init__(self, doors: Doors, hand: Reconciler, throttles: Sequence[Throttle]) -> None:
        self._door, self._spool, self._clock = doors.hypervisor, doors.spool, doors.clock
        self._hand = hand
        self._levers = {lever.name.resource: lever for lever in throttles}
        self._rest: dict[tuple[str, str], float] = {}
        memo = self._spool.ledger.memo
        self._met: set[ServerId] | None = None if memo.lost or memo.mode is None else set()
        """Domains that ran here before; None: it is not known which."""

    def hold(self, sights: Mapping[ServerId, Sight], authority: Authority) -> int:
        """Bring every domain to what its caps say now; how many changes were tried. Raises HypervisorLost."""
        tried = 0
        held = {h.key: h for h in self._spool.held()}
        for server, resource in self._due(sights, authority, held.values()):
            if self._hand.spent:
                break
            tried += self._safely(sights.get(server), authority, resource, held.get(f"{server}/{resource}"))
        if authority.guards:
            self._met = (self._met or set()) | {s.server for s in sights.values() if s.reading.state is DomainState.RUNNING}
        return tried

    def _due(self, sights: Mapping[ServerId, Sight], authority: Authority, held: Iterable[Held]) -> list[tuple[ServerId, str]]:
        """Who is capped, was capped, or may have been. In a steady order."""
        told = {(g.server, c.resource) for g in authority.guards.values() for c in g.caps if g.server in sights}
        return sorted((told | {(h.server, h.resource) for h in held}) - {(s, admit.MEMORY) for s in sights})

    def _safely(self, sight: Sight | None, authority: Authority, resource: str, held: Held | None) -> bool:
        """One odd VM never stops the others."""
        if held is not None and (sight is None or held.instance != sight.reading.instance):
            self._spool.let_go(held)  # gone, or started anew: it has forgotten its limits
            held = None
        if sight is None or sight.reading.state is not DomainState.RUNNING:
            return False
        try:
            cap = authority.cap(sight.server, resource)
            if cap is not None and not authority.acts(cap):
                return False  # it holds already, and stays as it is to its end
            return self._cpu(sight, authority, cap, held) if resource == admit.CPU else self._devices(sight, authority, resource, held)
        except HypervisorLost:
            raise
        except Exception as e:
            log.exception("cap not held", server=sight.server, resource=resource, error=str(e))
            self._rest[sight.server, resource] = self._clock.monotonic() + AGAIN_S
            return False

    # -- CPU -------------------------------------------------------------------------------------------------

    def _cpu(self, sight: Sight, authority: Authority, cap: HardCap | None, held: Held | None) -> bool:
        """Down to the cap, used or not: that is what a cap is. Once it is over, back to what there was; the plan goes on from there."""
        has = sight.allocation(admit.CPU)
        if has is None:
            return False
        if cap is not None:
            floor = authority.guards[sight.server].floor.cpu.cores
            return self._cap_cpu(sight, cap, max(cap.amount, floor), held)
        if held is None:
            return False
        target = min(held.before, sight.reading.ceiling.cpu.cores)
        if has >= target - admit.TOLERANCE:
            self._spool.let_go(held)
            return False
        return self._hand.give(sight, admit.CPU, target, Origin.CAP, f"the cap is over: {held.reason}", held.cause)

    def _cap_cpu(self, sight: Sight, cap: HardCap, target: float, held: Held | None) -> bool:
        has, before = sight.allocation(admit.CPU) or 0.0, held.before if held else 0.0
        if has <= target + admit.TOLERANCE:
            self._spool.hold(_held(sight, cap, before=before))  # nothing to take, and a stop must not open it
            return False
        self._spool.hold(_held(sight, cap, before=max(has, before)))
        return self._hand.take(sight, admit.CPU, target, Origin.CAP, f"hard cap: {cap.reason}", cap.cause)

    # -- disks and network -----------------------------------------------------------------------------------

    def _devices(self, sight: Sight, authority: Authority, resource: str, held: Held | None) -> bool:
        cap = authority.cap(sight.server, resource)
        now = throttle.of(sight.reading.limits, resource)
        held = held or self._adopted(sight, authority, resource, now)
        lever = self._levers[resource]
        if (cap is None and held is None) or self._clock.monotonic() < self._rest.get((sight.server, resource), 0.0):
            return False
        if cap is not None and (why := sight.reading.capability(lever.name).reason):
            self._say(sight, cap, lever, (0.0, 0.0), Pull(verdict=Verdict.REFUSED, after=0.0, code="no_lever", reason=why))
            return False
        todo = throttle.change(held, now, None if cap is None else cap.amount)
        if not todo.todo:
            self._settled(sight, cap, held, todo)
            return False
        return self._change(sight, lever, cap, held, todo)

    def _settled(self, sight: Sight, cap: HardCap | None, held: Held | None, done: throttle.Change) -> None:
        """All is as it should be: remember for whom, or that it is over."""
        if cap is None:
            if held is not None:
                self._spool.let_go(held)
            return
        strict = held is None
        ours = tuple(g for g, b in zip(done.goal, done.base, strict=True) if not throttle.same(g, b))
        self._spool.hold(_held(sight, cap, was=done.base, ours=ours))
        if strict:
            amount = throttle.together(done.base, cap.resource)
            reason = "what somebody else set is stricter: it is left alone"
            pull = Pull(
                verdict=Verdict.APPLIED, after=amount, code="stricter_already", reason=reason, proof=throttle.said(done.base, cap.resource)
            )
            self._say(sight, cap, self._levers[cap.resource], (amount, cap.amount), pull)

    def _change(self, sight: Sight, lever: Throttle, cap: HardCap | None, held: Held | None, change: throttle.Change) -> bool:
        """Write down how to undo it, then pull. An undo is written down by what it undoes."""
        known = throttle.of(sight.reading.limits, lever.name.resource)
        if cap is not None:
            before = tuple(n for n in known if held is not None and any(throttle.same(n, o) for o in held.ours))
            held = _held(sight, cap, was=change.base, ours=(*change.goal, *before))
            self._spool.hold(held)
        assert held is not None
        pull = lever.apply(self._door, sight.reading, change.todo, self._clock)
        if pull.verdict is Verdict.FAILED and cap is not None:
            pull = self._taken_back(sight, lever, change, pull)
        goal = throttle.together(change.goal, lever.name.resource)
        self._say(sight, cap or held, lever, (throttle.together(known, lever.name.resource), goal), pull)
        if pull.verdict is Verdict.APPLIED:
            self._settled(sight, cap, held, change)
        return True

    def _taken_back(self, sight: Sight, lever: Throttle, change: throttle.Change, failed: Pull) -> Pull:
        """A cap that failed leaves nothing half done. What the hypervisor was too busy for is asked for again."""
        touched = {limit.device for limit in change.todo}
        base = tuple(b for b in change.base if b.device in touched)
        for _ in range(BACK_TRIES):
            back = lever.apply(self._door, sight.reading, base, self._clock)
            if back.verdict is Verdict.APPLIED:
                return msgspec.structs.replace(failed, reason=f"{failed.reason}; taken back")
            if not back.retry:
                break
        return msgspec.structs.replace(failed, reason=f"{failed.reason}; not taken back: {back.reason}")

    def _adopted(self, sight: Sight, authority: Authority, resource: str, now: Sequence[DeviceLimit]) -> Held | None:
        """A limit exactly as a cap says, on a domain that came here with it or that a lost spool knew of, is ours."""
        if self._met is not None and (sight.server in self._met or not self._met):
            return None
        for cap in authority.guards[sight.server].caps if sight.server in authority.guards else ():
            free = tuple(DeviceLimit(device=n.device, resource=n.resource) for n in now)
            ours = throttle.change(None, free, cap.amount).goal
            if cap.resource == resource and now and all(throttle.same(n, o) for n, o in zip(now, ours, strict=True)):
                held = _held(sight, cap, was=free, ours=ours)
                self._spool.hold(held)
                return held
        return None

    def _say(self, sight: Sight, why: HardCap | Held, lever: Throttle, way: tuple[float, float], pull: Pull) -> None:
        """One outcome; what was not reached is tried again after a while."""
        over = "" if isinstance(why, HardCap) else "the cap is over: "
        if pull.verdict is not Verdict.APPLIED:
            pause = NO_LEVER_S if pull.verdict is Verdict.REFUSED else AGAIN_S
            self._rest[sight.server, lever.name.resource] = self._clock.monotonic() + pause
        outcome = Outcome(
            order=OrderId(""),
            cause=why.cause,
            server=sight.server,
            resource=lever.name.resource,
            verdict=pull.verdict,
            origin=Origin.CAP,
            at=self._clock.now(),
            before=way[0],
            target=way[1],
            after=pull.after,
            code=pull.code,
            reason=clip(pull.reason or over + why.reason),
            lever=lever.name,
            proof=clip(pull.proof),
            retry=pull.retry,
        )
        self._spool.answer(outcome, final=True)
        words = {"verdict": pull.verdict.value, "code": pull.code, "after": pull.after, "reason": outcome.reason, "proof": pull.proof}
        log.info("cap", server=sight.server, resource=lever.name.resource, cause=why.cause, **words)


def _held(
    sight: Sight,
    cap: HardCap,
    *,
    was: tuple[DeviceLimit, ...] = (),
    ours: tuple[DeviceLimit, ...] = (),
    before: float = 0.0,
) -> Held:
    return Held(
        cause=cap.cause,
        server=sight.server,
        resource=cap.resource,
        amount=cap.amount,
        reason=cap.reason,
        instance=sight.reading.instance,
        was=was,
        ours=ours,
        before=before,
    )
