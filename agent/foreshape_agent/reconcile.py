"""Carries orders, reflexes and returns to entitlement out, and settles what was only asked for.

Each action is one intent in the spool, written before its first lever is pulled and ended by one final outcome. A killed
agent finds its intents again: what a reading shows as done is applied, what it does not is failed, never pulled twice.
One lease per VM; one VM's trouble is a failed outcome of that VM.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple, Protocol

import msgspec
import structlog

from foreshape_agent import admit
from foreshape_agent.choose import NoWay, Step, steps
from foreshape_agent.config import Settings
from foreshape_agent.errors import DomainBusy, DomainGone, HypervisorLost
from foreshape_agent.levers.base import Clock, Hypervisor, Lever, Pull
from foreshape_agent.records import Action
from foreshape_agent.spool import Spool
from foreshape_agent.watch import Sight, Watch, allocation
from foreshape_wire.ids import CauseId, OrderId, ServerId, clip, new_id
from foreshape_wire.order import Guard, HardCap, Mode, Order, Origin, Outcome, Verdict
from foreshape_wire.reading import DomainReading, DomainState, LeverName

log = structlog.get_logger()

CLOSE_CORES, CLOSE_MIB, CLOSE_SHARE = 0.02, 8.0, 0.02
"""A target is reached within this: QEMU's pages and the cap's granule."""
AGAIN_S = 30.0
"""A give-back that failed is tried again after this."""
NO_LEVER_S = 600.0
"""… and one that nothing can carry out, after this."""


class Authority(NamedTuple):
    """How far the agent may go in this cycle."""

    now: float
    """The controller's clock."""
    mode: Mode
    safe_mode: str
    guards: Mapping[ServerId, Guard]

    held: frozenset[str] = frozenset()
    """``server/resource`` that a hard cap holds."""
    room: float | None = None
    """MiB that the host could spare when it was read; None: it was not."""

    def cap(self, server: ServerId, resource: str) -> HardCap | None:
        """The hard cap in force: one that may begin, or one that holds already."""
        guard = self.guards.get(server)
        found = None if guard is None else guard.cap(resource, self.now)
        return found if found is not None and (self.acts(found) or f"{server}/{resource}" in self.held) else None

    def acts(self, cap: HardCap) -> bool:
        """Whether it may be begun, or mended. A stop freezes what is: who is throttled is not let loose by it."""
        return cap.begins and self.mode is Mode.ACT

    def share(self, server: ServerId) -> float | None:
        """Cores that a server may have on a host that is short; None: no such bound."""
        guard = self.guards.get(server)
        if guard is None or guard.share is None or self.mode is not Mode.ACT or guard.share.until <= self.now:
            return None
        return guard.share.amount.cores


class Doors(Protocol):
    """What a reconciler acts through."""

    @property
    def hypervisor(self) -> Hypervisor: ...

    @property
    def spool(self) -> Spool: ...

    @property
    def clock(self) -> Clock: ...


class Reconciler:
    """The only hand on the levers."""

    def __init__(self, doors: Doors, watch: Watch, settings: Settings, levers: Sequence[Lever]) -> None:
        self._door, self._spool, self._clock = doors.hypervisor, doors.spool, doors.clock
        self._watch, self._settings = watch, settings
        self._levers = {lever.name: lever for lever in levers}
        self._asked_at: dict[str, float] = {}
        self._rest: dict[tuple[str, str], float] = {}
        self._say_again: dict[tuple[str, str, str], float] = {}
        self._gave_at: dict[tuple[str, str], float] = {}
        self._until = 0.0
        self._promised = 0.0
        """MiB of growth that the reading of the host does not show yet."""

    def start_cycle(self, budget_s: float | None = None) -> None:
        """Begin a new time budget."""
        self._until = self._clock.monotonic() + (self._settings.action_budget_s if budget_s is None else budget_s)

    @property
    def spent(self) -> bool:
        """Whether this cycle's time for actions is over."""
        return self._clock.monotonic() > self._until

    # -- settling --------------------------------------------------------------------------------------------

    def settle(self, sights: Mapping[ServerId, Sight]) -> None:
        """Judge every unsettled intent by what is seen now. ``sights`` holds all domains of the host."""
        for action in self._spool.actions():
            try:
                self._settle(action, sights.get(action.server))
            except HypervisorLost:
                raise
            except Exception as e:  # noqa: BLE001  one odd VM never stops the others
                self._broken(action, e)

    def _settle(self, action: Action, sight: Sight | None) -> None:
        if sight is None:
            return self._finish(action, Verdict.FAILED, "domain_gone", "the domain is not on this host any more")
        if action.instance != sight.reading.instance:
            return self._finish(action, Verdict.FAILED, "restarted", "the domain was started anew meanwhile", sight.reading, retry=True)
        domain = self._look(action, sight)
        if self._done(action, domain):
            return self._finish(action, Verdict.APPLIED, "seen_later", "", domain, proof=_seen(action, domain))
        if not action.asked:
            return self._give_up(action, domain, "interrupted", "the agent was stopped in the middle")
        asked_at = self._asked_at.setdefault(action.key, self._clock.monotonic())
        if self._clock.monotonic() - asked_at > self._settings.action_deadline_s:
            self._give_up(action, domain, "short", "not reached in time")
        return None

    def _look(self, action: Action, sight: Sight) -> DomainReading:
        """The guest has to be asked for the vCPUs it has on line."""
        if LeverName.CPU_GUEST in {s.lever for s in action.steps} or LeverName.CPU_HOTPLUG in {s.lever for s in action.steps}:
            return self._watch.ask(sight.reading)
        return sight.reading

    def _done(self, action: Action, domain: DomainReading) -> bool:
        """Every lever stands where it should, and together they give what was wanted."""
        if not all(self._levers[s.lever].reached(domain, s.target) for s in action.steps):
            return False
        return self._enough(action, domain)

    def _give_up(self, action: Action, domain: DomainReading, code: str, why: str) -> None:
        after = _after(domain, action.resource) or 0.0
        lever = action.steps[-1].lever if action.steps else None
        word = f"{lever.value.split('.')[1]}_{code}" if lever and code == "short" else code
        reason = f"{why}: {lever or action.resource} stopped at {after:g} of {action.target:g} {_unit(action.resource)}"
        if action.target < action.before:
            reason += "; taken back" if self._take_back(action, domain) else "; not taken back"
        self._finish(action, Verdict.FAILED, word, reason, domain, retry=True)

    def _take_back(self, action: Action, domain: DomainReading) -> bool:
        """A shrink that stopped short still pulls at the guest: let go. A grow may stay asked for."""
        log.info("take back", server=action.server, resource=action.resource, cause=action.cause, to=action.before)
        pulls = [self._levers[s.lever].apply(self._door, domain, _before(s, action, domain), self._clock) for s in reversed(action.steps)]
        return all(p.verdict is not Verdict.FAILED for p in pulls)

    # -- acting ----------------------------------------------------------------------------------------------

    def carry_out(self, orders: Iterable[Order], sights: Mapping[ServerId, Sight], authority: Authority) -> int:
        """Follow orders; the number that had to wait (lease held, time over, domain not measured yet) and stays open."""
        waiting = 0
        self._promised = sum(max(0.0, a.target - a.before) for a in self._spool.actions() if a.resource == admit.MEMORY)
        for order in orders:
            for resource in admit.RESOURCES:
                if admit.wanted(order, resource) is None or self._spool.settled(order, resource):
                    continue
                if self.spent or self._leased(order, resource) or _first_sight(sights.get(order.server)):
                    waiting += 1
                elif not self._under_way(order, resource):
                    self._order(order, resource, sights.get(order.server), authority)
        return waiting

    def _under_way(self, order: Order, resource: str) -> bool:
        return any(a.order == order.order and a.resource == resource for a in self._spool.actions())

    def _leased(self, order: Order, resource: str) -> bool:
        """Another intent on this VM is not settled yet: any give-back, or another order's on another resource."""
        others = (a for a in self._spool.actions() if a.server == order.server and a.order != order.order)
        return any(a.resource != resource or a.origin is not Origin.ORDER for a in others)

    def _order(self, order: Order, resource: str, sight: Sight | None, authority: Authority) -> None:
        has = None if sight is None else sight.allocation(resource)
        scene = scene_of(sight, resource, authority, authority.guards.get(order.server), self._promised)
        answer = admit.admit(order, resource, scene, self._settings)
        if isinstance(answer, admit.Admitted):
            answer = self._overtaken(order, resource, scene) or answer
        if isinstance(answer, admit.Admitted) and resource == admit.MEMORY:
            self._promised += max(0.0, answer.target - scene.allocation)
        action = Action(
            order=order.order,
            cause=order.cause,
            server=order.server,
            resource=resource,
            origin=Origin.ORDER,
            before=has or 0.0,
            target=admit.wanted(order, resource) or 0.0,
            steps=(),
            at=self._clock.now(),
            reason=order.reason,
        )
        if isinstance(answer, admit.Refused):
            self._finish(action, Verdict.REFUSED, answer.code, answer.reason, None if sight is None else sight.reading)
        elif sight is not None:
            self._begin(action, sight)

    def _overtaken(self, order: Order, resource: str, scene: admit.Scene) -> admit.Refused | None:
        """A shrink decided before pressure was answered here knew nothing of it: a second later it would take the same away again."""
        gave_at = self._gave_at.get((order.server, resource))
        shrinks = (admit.wanted(order, resource) or 0.0) < scene.allocation
        if resource == admit.CPU and admit.bounded(admit.wanted(order, resource) or 0.0, scene):
            return None  # the pressure is meant
        if gave_at is None or not shrinks or self._clock.monotonic() - gave_at > scene.now - order.issued_at:
            return None
        return admit.Refused("pressure_since", "the agent gave back under pressure after this order was decided")

    def give(self, sight: Sight, resource: str, target: float, origin: Origin, reason: str, cause: str = "") -> bool:
        """Give back up to ``target``: grows only, waits for nobody. Whether something was done."""
        has = sight.allocation(resource)
        if has is None or has >= target or self._asked(sight.server, resource, target) or not self._free(sight, resource):
            return False
        self._gave_at[sight.server, resource] = self._clock.monotonic()
        self._begin(self._own(sight, resource, (has, target), origin, reason, cause), sight)
        return True

    def take(self, sight: Sight, resource: str, target: float, origin: Origin, reason: str, cause: str = "") -> bool:
        """Take down to ``target``: a hard cap, or growth beyond what was sold. Whether something was done. The caller knows that it may."""
        has = sight.allocation(resource)
        if has is None or has <= target + admit.TOLERANCE or not self._free(sight, resource):
            return False
        if any((a.server, a.resource, a.origin, a.target) == (sight.server, resource, origin, target) for a in self._spool.actions()):
            return False
        self._begin(self._own(sight, resource, (has, target), origin, reason, cause), sight)
        return True

    def refuse(self, sight: Sight, resource: str, target: float, origin: Origin, no: admit.Refused, cause: str = "") -> None:
        """Say why something that is our own duty is not done now; once in a while, and pressure is answered all the same."""
        key = (sight.server, resource, no.code)
        if self._clock.monotonic() >= self._say_again.get(key, 0.0):
            self._say_again[key] = self._clock.monotonic() + NO_LEVER_S
            action = self._own(sight, resource, (sight.allocation(resource) or 0.0, target), origin, no.reason, cause)
            self._say(action, Verdict.REFUSED, no.code, no.reason, sight.reading)

    def _free(self, sight: Sight, resource: str) -> bool:
        """Whether something may be tried on it now: the last try did not fail only lately."""
        running = sight.reading.state is DomainState.RUNNING
        return running and self._clock.monotonic() >= self._rest.get((sight.server, resource), 0.0)

    def _own(self, sight: Sight, resource: str, way: tuple[float, float], origin: Origin, reason: str, cause: str) -> Action:
        """An action that no order is behind. ``way``: from, to."""
        return Action(
            order=OrderId(""),
            cause=CauseId(cause or new_id(origin.value)),
            server=sight.server,
            resource=resource,
            origin=origin,
            before=way[0],
            target=way[1],
            steps=(),
            at=self._clock.now(),
            reason=reason,
        )

    def _asked(self, server: str, resource: str, target: float) -> bool:
        """Whether at least as much is on its way already."""
        return any(a.server == server and a.resource == resource and a.target >= target > a.before for a in self._spool.actions())

    def _begin(self, action: Action, sight: Sight) -> None:
        """Choose the levers, write the intent, pull."""
        way = steps(sight.reading, action.resource, action.target, sight.guest_vcpus)
        if isinstance(way, NoWay):
            return self._finish(action, Verdict.REFUSED, "no_lever", way.reason, sight.reading)
        action = msgspec.structs.replace(action, steps=way, instance=sight.reading.instance)
        self._supersede(action)
        if not way:
            return self._finish(action, Verdict.APPLIED, "already", "", sight.reading, proof=_seen(action, sight.reading))
        sold = admit.amount(sight.reading.entitlement, action.resource)
        if action.target < sold and action.target < action.before:
            self._spool.take(action.server, action.resource, action.at)
        if action.target > sold + admit.TOLERANCE and action.target > action.before:
            self._spool.lend(action.server, action.resource, action.at)
        self._spool.intend(action)
        log.info("intent", **_words(action), levers=[f"{s.lever}={s.target:g}" for s in way], reason=action.reason)
        try:
            self._pull(action, sight.reading)
        except HypervisorLost:
            raise
        except Exception as e:  # noqa: BLE001  one odd VM never stops the others
            self._broken(action, e)
        return None

    def _supersede(self, action: Action) -> None:
        """What was asked before for the same resource is over: the newer word counts."""
        for old in self._spool.actions():
            if (old.server, old.resource) == (action.server, action.resource) and old.key != action.key:
                self._finish(old, Verdict.FAILED, "superseded", f"a newer action wants {action.target:g} {_unit(action.resource)}")

    def _pull(self, action: Action, domain: DomainReading) -> None:
        started, pulls = self._clock.monotonic(), list[Pull]()
        for number, step in enumerate(action.steps):
            if number:
                domain = self._watch.ask(domain)  # the step before changed the ranges
            pulls.append(self._levers[step.lever].apply(self._door, domain, step.target, self._clock))
            if pulls[-1].verdict in {Verdict.FAILED, Verdict.REFUSED}:
                break
        self._judge(action, domain, pulls, self._clock.monotonic() - started)

    def _judge(self, action: Action, domain: DomainReading, pulls: Sequence[Pull], took: float) -> None:
        """The combined effect, from a new reading."""
        last = pulls[-1]
        domain = self._watch.ask(domain) if action.resource == admit.CPU else self._door.read_domain(action.server)
        if last.verdict in {Verdict.FAILED, Verdict.REFUSED}:
            return self._finish(action, last.verdict, last.code, last.reason, domain, retry=last.retry, took=took)
        proof = "; ".join(p.proof for p in pulls if p.proof)
        if self._done(action, domain) or (all(p.verdict is Verdict.APPLIED for p in pulls) and self._enough(action, domain)):
            return self._finish(action, Verdict.APPLIED, last.code, last.reason, domain, proof=proof or _seen(action, domain), took=took)
        self._asked_at[action.key] = self._clock.monotonic()
        asked = msgspec.structs.replace(action, asked=True)
        self._spool.intend(asked)
        open_pull = next((p for p in pulls if p.verdict is Verdict.PENDING), last)
        self._say(asked, Verdict.PENDING, open_pull.code, open_pull.reason or "not seen yet", domain, took=took)
        return None

    def _enough(self, action: Action, domain: DomainReading) -> bool:
        """The sum is on the right side: as much as was wanted, or less than before."""
        after = _after(domain, action.resource)
        if after is None:
            return False
        return after >= action.target - _close(action) if action.target > action.before else after < action.before

    # -- answering -------------------------------------------------------------------------------------------

    def _broken(self, action: Action, error: Exception) -> None:
        if isinstance(error, DomainGone):
            return self._finish(action, Verdict.FAILED, "domain_gone", str(error) or "the domain is gone")
        if isinstance(error, DomainBusy):
            return self._finish(action, Verdict.FAILED, "domain_busy", str(error) or "another job holds the domain", retry=True)
        log.error("unexpected error", **_words(action), exc_info=error)
        return self._finish(action, Verdict.FAILED, "internal_error", f"{type(error).__name__}: {error}", retry=True)

    def _finish(
        self, action: Action, verdict: Verdict, code: str, reason: str, domain: DomainReading | None = None, **more: object
    ) -> None:
        self._asked_at.pop(action.key, None)
        if action.origin is not Origin.ORDER and verdict is not Verdict.APPLIED and code != "superseded":
            pause = NO_LEVER_S if code == "no_lever" else AGAIN_S
            self._rest[action.server, action.resource] = self._clock.monotonic() + pause
        self._say(action, verdict, code, reason, domain, **more)

    def _say(self, action: Action, verdict: Verdict, code: str, reason: str, domain: DomainReading | None, **more: object) -> None:
        after = None if domain is None else _after(domain, action.resource)
        outcome = Outcome(
            order=action.order,
            cause=action.cause,
            server=action.server,
            resource=action.resource,
            verdict=verdict,
            origin=action.origin,
            at=self._clock.now(),
            before=action.before,
            target=action.target,
            after=action.before if after is None else after,
            code=code,
            reason=clip(reason or action.reason),
            lever=action.steps[-1].lever if action.steps else None,
            proof=clip(str(more.get("proof", ""))),
            took_s=max(0.0, float(more.get("took", 0.0))),  # type: ignore[arg-type]
            retry=bool(more.get("retry", False)),
        )
        self._spool.answer(outcome, final=verdict is not Verdict.PENDING)
        words = {"verdict": verdict.value, "code": code, "after": outcome.after, "reason": outcome.reason, "proof": outcome.proof}
        log.info("outcome", **_words(action), **words)


def scene_of(sight: Sight | None, resource: str, authority: Authority, guard: Guard | None, promised: float = 0.0) -> admit.Scene:
    """What bears on one resource of one domain now. ``promised``: MiB of the host's room that others are given already."""
    return admit.Scene(
        domain=None if sight is None else sight.reading,
        sample=None if sight is None else sight.sample,
        allocation=0.0 if sight is None else sight.allocation(resource) or 0.0,
        now=authority.now,
        mode=authority.mode,
        safe_mode=authority.safe_mode,
        guard=guard,
        room=None if authority.room is None else authority.room - promised,
    )


def _first_sight(sight: Sight | None) -> bool:
    """Whether the next cycle will know more: after a start no rate is known yet, and an order is not refused for that."""
    return sight is not None and sight.reading.state is DomainState.RUNNING and sight.sample.window_s == 0


def _after(domain: DomainReading, resource: str) -> float | None:
    return allocation(domain, resource, None if domain.cpu is None else domain.cpu.guest_online)


def _before(step: Step, action: Action, domain: DomainReading) -> float:
    """Where a lever stood before the action."""
    base = domain.memory.maximum.mib if domain.memory else action.before
    return {
        LeverName.CPU_QUOTA: action.before,
        LeverName.CPU_GUEST: float(ceil(action.before)),
        LeverName.CPU_HOTPLUG: float(ceil(action.before)),
        LeverName.MEM_BALLOON: min(action.before, base),
        LeverName.MEM_VIRTIO: max(0.0, action.before - base),
    }[step.lever]


def _close(action: Action) -> float:
    return max(CLOSE_SHARE * action.target, CLOSE_CORES if action.resource == admit.CPU else CLOSE_MIB)


def _seen(action: Action, domain: DomainReading) -> str:
    return f"a reading shows {_after(domain, action.resource) or 0.0:g} {_unit(action.resource)}"


def _unit(resource: str) -> str:
    return "cores" if resource == admit.CPU else "MiB"


def _words(action: Action) -> dict[str, object]:
    """An action in a log line."""
    return {
        "server": action.server,
        "resource": action.resource,
        "origin": action.origin.value,
        "order": action.order,
        "cause": action.cause,
        "before": action.before,
        "target": action.target,
    }
