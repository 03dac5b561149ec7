"""May an order be carried out here and now? Pure; "no" is a value with a reason.

Times are the controller's: an order is judged by the clock that issued it, so that a step of the agent's clock makes
no order stale and none eternal. ``follow`` keeps that clock, and notices a reply that was played before.
"""

from math import isfinite

import msgspec

from foreshape_agent.config import Settings
from foreshape_wire.order import OPTED_OUT, Guard, HardCap, Mode, Order
from foreshape_wire.quantity import Size
from foreshape_wire.reading import DomainReading, DomainState
from foreshape_wire.sample import VmSample

CPU, MEMORY = "cpu", "memory"
RESOURCES = (CPU, MEMORY)
TOLERANCE = 1e-6


class Admitted(msgspec.Struct, frozen=True):
    """The order may be carried out for this resource."""

    target: float


class Refused(msgspec.Struct, frozen=True):
    """Not tried: a stable word, and a sentence for people."""

    code: str
    reason: str


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that bears on one order: the domain (None: not here), its sample of this cycle, and how far we may go."""

    domain: DomainReading | None
    sample: VmSample | None
    allocation: float
    """Of the resource asked for, in cores or MiB."""
    now: float
    """The controller's clock."""
    mode: Mode
    safe_mode: str
    guard: Guard | None
    room: float | None = None
    """MiB that the host can spare now; None: not known."""


class Timeline(msgspec.Struct, frozen=True):
    """The controller's clock as the agent follows it: what it said, and when on the clock that never steps."""

    issued_at: float
    heard_at: float

    def now(self, monotonic_s: float) -> float:
        return self.issued_at + (monotonic_s - self.heard_at)


def follow(before: Timeline | None, issued_at: float, monotonic_s: float, slack_s: float) -> tuple[Timeline, bool]:
    """The timeline after a reply, and whether the reply may be acted on.

    A reply that is not newer than the one before, or far behind its time, is one played again, or the controller's
    clock stepped back. It is not acted on; if the next reply moves on from it, it was the clock, and the new time is followed.
    """
    trusted = before is None or (issued_at > before.issued_at and issued_at >= before.now(monotonic_s) - slack_s)
    return Timeline(issued_at, monotonic_s), trusted


def wanted(order: Order, resource: str) -> float | None:
    """What an order asks of a resource; None: leave it."""
    if resource == CPU:
        return None if order.cpu is None else order.cpu.cores
    return None if order.memory is None else order.memory.mib


def admit(order: Order, resource: str, scene: Scene, settings: Settings) -> Admitted | Refused:
    """Judge one resource of an order; the first rule that objects gives its reason."""
    target = wanted(order, resource)
    if target is None or not isfinite(target):
        return Refused("not_a_number", f"{target!r} is no amount of {resource}")
    return (
        _authority(order, resource, target, scene)
        or _time(order, scene, settings)
        or _domain(scene)
        or _bounds(order, resource, target, scene)
        or _opted_out(order, resource, target, scene)
        or (unused(resource, target, scene, settings) if target < scene.allocation - TOLERANCE else None)
        or Admitted(target)
    )


def _authority(order: Order, resource: str, target: float, scene: Scene) -> Refused | None:
    """In advise, too, a server whose owner opted out is given back what it was sold. In observe, which a stop is, nothing is."""
    if scene.safe_mode:
        return Refused("safe_mode", f"the agent follows no order now: {scene.safe_mode}")
    if scene.mode is not Mode.ACT and not (scene.mode is Mode.ADVISE and _gives_back(order, resource, target, scene)):
        return Refused(f"{scene.mode}_mode", f"this host is in mode {scene.mode}: nothing is resized")
    return None


def _gives_back(order: Order, resource: str, target: float, scene: Scene) -> bool:
    sold = None if scene.guard is None else amount(scene.guard.entitlement, resource)
    return order.plan == OPTED_OUT and sold is not None and scene.allocation < target <= sold + TOLERANCE


def _opted_out(order: Order, resource: str, target: float, scene: Scene) -> Refused | None:
    """Such an order takes nothing; and many servers may be given back at once: never more memory than their host has."""
    more = target - scene.allocation
    if order.plan != OPTED_OUT:
        return None
    if more < -TOLERANCE:
        return Refused("has_more", "its owner opted out: it is given back what it was sold, and it has more than this already")
    if resource != MEMORY or scene.room is None or more <= max(0.0, scene.room) + TOLERANCE:
        return None
    return Refused("host_full", f"it asks for {more:.0f} MiB more, and the host has {max(0.0, scene.room):.0f} MiB to spare")


def _time(order: Order, scene: Scene, settings: Settings) -> Refused | None:
    if scene.now > order.expires_at:
        return Refused("stale_order", f"expired {scene.now - order.expires_at:.0f} s ago")
    if order.issued_at > scene.now + settings.clock_slack_s:
        return Refused("stale_order", f"issued {order.issued_at - scene.now:.0f} s in the future: the controller's clock stepped")
    return None


def _domain(scene: Scene) -> Refused | None:
    if scene.domain is None:
        return Refused("unknown_domain", "no such domain on this host")
    state = scene.domain.state
    if state is DomainState.MIGRATING:
        return Refused("migrating", "the domain is being migrated")
    if state is DomainState.BUSY:
        return Refused("domain_busy", "another job holds the domain")
    if state is not DomainState.RUNNING:
        return Refused("not_running", f"the domain is {state}")
    return None


def _bounds(order: Order, resource: str, target: float, scene: Scene) -> Refused | None:
    assert scene.domain is not None
    floor, ceiling = amount(order.floor, resource), amount(order.ceiling, resource)
    if scene.guard is not None:
        floor = max(floor, amount(scene.guard.floor, resource))
    reachable = amount(scene.domain.ceiling, resource)
    if target < floor - TOLERANCE:
        return Refused("below_floor", f"{target:g} is below the floor of {floor:g}")
    if target > min(ceiling, reachable) + TOLERANCE:
        return Refused("above_ceiling", f"{target:g} is above the ceiling of {min(ceiling, reachable):g}")
    cap = _cap(resource, scene)
    if cap is not None and target > max(cap.amount, floor) + TOLERANCE:
        return Refused("above_cap", f"{target:g} is above the hard cap of {cap.amount:g} ({cap.cause}: {cap.reason})")
    return None


def _cap(resource: str, scene: Scene) -> HardCap | None:
    return None if scene.guard is None else scene.guard.cap(resource, scene.now)


def unused(resource: str, target: float, scene: Scene, settings: Settings) -> Refused | None:
    """Only what is seen to be unused is taken; CPU also where a hard cap or the host's shortage says so, for that is what they are."""
    if resource == CPU:
        return None if bounded(target, scene) else _cpu_shrink(scene)
    seen = None if scene.sample is None else scene.sample.memory
    if seen is None or seen.confidence < settings.least_confidence:
        return Refused("low_confidence", "the guest's memory demand is not known well enough to shrink it")
    least = least_memory(seen.in_use.mib, settings, scene.guard)
    if target < least - TOLERANCE:
        return Refused("below_working_set", f"{target:.0f} MiB is below the working set and its margin: {least:.0f} MiB")
    return None


def bounded(target: float, scene: Scene) -> bool:
    """Whether so much CPU is all that a hard cap, or the server's share of a host that is short, leaves it now."""
    guard, cap = scene.guard, _cap(CPU, scene)
    share = guard.share if guard is not None and guard.share is not None and guard.share.until > scene.now else None
    amounts = [*([cap.amount] if cap else []), *([share.amount.cores] if share else [])]
    return bool(amounts) and target >= min(amounts) - TOLERANCE


def _cpu_shrink(scene: Scene) -> Refused | None:
    seen = None if scene.sample is None else scene.sample.cpu
    if seen is None:
        return Refused("low_confidence", "no CPU measurement in this cycle")
    if seen.censored:
        return Refused("censored", f"it uses {seen.used.cores:.2f} of {seen.allocation.cores:.2f} cores: its demand may be higher")
    return None


def least_memory(demand_mib: float, settings: Settings, guard: Guard | None = None) -> float:
    """Working set plus margin, MiB; the tier's share where it is larger."""
    share = max(settings.memory_margin_share, (guard.memory_margin_share or 0.0) if guard else 0.0)
    return demand_mib + max(settings.memory_margin_mib, share * demand_mib)


def amount(size: Size, resource: str) -> float:
    """Cores or MiB of a size."""
    return size.cpu.cores if resource == CPU else size.memory.mib
