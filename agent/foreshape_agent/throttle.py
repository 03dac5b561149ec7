"""Hard caps on disks and network: what each device may do, whose limit is whose, what has to change. Pure.

A cap is the server's; its devices share it in equal parts, so that together they never exceed it. What somebody else set
before is kept where it is stricter, and put back when the cap ends. A limit that is not what we set is somebody else's word.
"""

from collections.abc import Iterable, Sequence

import msgspec

from foreshape_wire.ids import CauseId, ServerId
from foreshape_wire.quantity import MAX_MIB
from foreshape_wire.reading import DeviceLimit

CLOSE_SHARE = 0.01
"""Hypervisors count in whole requests, bytes, or thousands of bytes."""
CLOSE = 1.0


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A cap that holds a server, or is about to, written before anything is done: enough to undo it, whoever asks."""

    cause: CauseId
    server: ServerId
    resource: str
    amount: float
    reason: str
    instance: str
    """The domain's run: one started anew has forgotten the limits."""
    was: tuple[DeviceLimit, ...] = ()
    """What devices could do before."""
    ours: tuple[DeviceLimit, ...] = ()
    """Every limit that is ours if it is found: the newest, and the one before until the newest is proven."""
    before: float = 0.0
    """CPU: cores it had."""

    @property
    def key(self) -> str:
        return f"{self.server}/{self.resource}"


class Change(msgspec.Struct, frozen=True):
    """From what is to what should be, for the devices of one resource."""

    base: tuple[DeviceLimit, ...]
    """Without our cap."""
    goal: tuple[DeviceLimit, ...]
    todo: tuple[DeviceLimit, ...]
    """The part of the goal that is not so now."""


def change(held: Held | None, now: Sequence[DeviceLimit], amount: float | None) -> Change:
    """What to do. ``now``: limits of all devices of the resource; ``amount`` None: the cap is over."""
    base = tuple(_base(held, limit) for limit in now)
    goal = base if amount is None else tuple(capped(limit, amount / len(base)) for limit in base)
    todo = tuple(g for g, n in zip(goal, now, strict=True) if not same(g, n))
    return Change(base, goal, todo)


def _base(held: Held | None, limit: DeviceLimit) -> DeviceLimit:
    """What the device may do without us: what was before us where the limit is ours, else what it is."""
    if held is None or not any(same(limit, ours) for ours in held.ours):
        return limit
    return next((was for was in held.was if was.device == limit.device), limit)


def capped(limit: DeviceLimit, share: float) -> DeviceLimit:
    """At most ``share``, and nowhere looser than before. A limit that is strict enough is left as it is, bursts included."""
    if limit.resource == "net_kib_s":  # a line carries as much in as out at once: each way has the share
        return _changed(limit, 0.0, _least(limit.inward, share), _least(limit.outward, share))
    if limit.inward or limit.outward:
        return _changed(limit, 0.0, *_parts(limit.inward, limit.outward, share))
    return _changed(limit, _least(limit.total, share), 0.0, 0.0)


def _parts(inward: float, outward: float, share: float) -> tuple[float, float]:
    """Separate limits stay separate, each no looser, together at most the share."""
    if inward and outward:
        scale = min(1.0, share / (inward + outward))
        return inward * scale, outward * scale
    one = min(inward or outward, share / 2)
    return (one, share - one) if inward else (share - one, one)


def _least(limit: float, share: float) -> float:
    return min(limit, share) if limit else share


def _changed(limit: DeviceLimit, total: float, inward: float, outward: float) -> DeviceLimit:
    """Bursts above a cap would not be one: they go, unless nothing changes."""
    if (total, inward, outward) == (limit.total, limit.inward, limit.outward):
        return limit
    return DeviceLimit(device=limit.device, resource=limit.resource, total=total, inward=inward, outward=outward)


def same(a: DeviceLimit, b: DeviceLimit) -> bool:
    """Whether two limits of one device mean the same."""
    if (a.device, a.resource, a.bursts) != (b.device, b.resource, b.bursts):
        return False
    return all(_near(x, y) for x, y in ((a.total, b.total), (a.inward, b.inward), (a.outward, b.outward)))


def _near(a: float, b: float) -> bool:
    """0 is no limit, and near to none."""
    return a == b or (a > 0 and b > 0 and abs(a - b) <= max(CLOSE, CLOSE_SHARE * max(a, b)))


def seen(now: Iterable[DeviceLimit], wanted: Sequence[DeviceLimit]) -> bool:
    """Whether all that was wanted is in force."""
    found = tuple(now)
    return all(any(same(limit, w) for limit in found) for w in wanted)


def of(limits: Iterable[DeviceLimit], resource: str) -> tuple[DeviceLimit, ...]:
    """The limits of one resource."""
    return tuple(limit for limit in limits if limit.resource == resource)


def together(limits: Iterable[DeviceLimit], resource: str) -> float:
    """What all devices may do together, the busier way; 0 where one of them has no limit."""
    each = [max(x.total, x.inward, x.outward) if resource == "net_kib_s" else _whole(x) for x in of(limits, resource)]
    return min(sum(each), MAX_MIB) if each and all(each) else 0.0


def _whole(limit: DeviceLimit) -> float:
    if limit.total:
        return limit.total
    return limit.inward + limit.outward if limit.inward and limit.outward else 0.0


def said(limits: Iterable[DeviceLimit], resource: str) -> str:
    """Limits in words: ``vda 100, vdb 50 in + 50 out``."""
    return ", ".join(f"{x.device} {_words(x)}" for x in of(limits, resource)) or "no device"


def _words(limit: DeviceLimit) -> str:
    if not (limit.total or limit.inward or limit.outward):
        return "without limit"
    return f"{limit.total:g}" if limit.total else f"{limit.inward:g} in, {limit.outward:g} out"
