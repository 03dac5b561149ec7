"""Hard caps: which requests make one, which one is in force for whom, and what it means for a server. Pure.

Where several caps meet on a server, the smallest amount wins. One that is over or lifted never counts. A cap is per server,
and never goes below the server's floor: what was promised is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite

from foreshape_controller.errors import Invalid
from foreshape_controller.model.cap import KINDS, UNITS, Cap, CapRequest
from foreshape_controller.model.reclaim import Notice
from foreshape_controller.model.server import Server
from foreshape_wire.order import Mode
from foreshape_wire.quantity import MAX_CORES, MAX_MIB
from foreshape_wire.reading import THROTTLES, Capability

MOST_S = 30 * 86400.0
"""A cap that is wanted for longer is a smaller flavor."""
REASON_MOST, SCOPE_MOST = 1000, 300
"""Characters."""

LEAST: Mapping[str, float] = {"cpu": 0.05, "memory": 64.0, "disk_iops": 10.0, "disk_kib_s": 64.0, "net_kib_s": 8.0}
"""Below these a guest stops being one: its watchdogs fire, its file systems and its logins time out."""
MOST: Mapping[str, float] = {"cpu": MAX_CORES}
"""Above this an amount is a unit mistake; MAX_MIB where none is named."""

Groups = Mapping[str, Sequence[str]]
"""By server: names of the series of its groups, ``segment:web`` …"""


def compose(request: CapRequest, ids: Callable[[str], str], now: float) -> tuple[Cap, ...]:
    """The caps that a request asks for. Raises Invalid naming the field, and what to write instead."""
    scope, until = check_scope(request.scope), _until(request, now)
    reason = request.reason.strip()
    if not reason or len(reason) > REASON_MOST:
        raise Invalid(f"reason: say why, in 1 to {REASON_MOST} characters: the owner is told")
    if len(request.by) > SCOPE_MOST:
        raise Invalid(f"by: at most {SCOPE_MOST} characters")
    if not request.amounts:
        raise Invalid(f"amounts: name at least one of {', '.join(UNITS)}")
    return tuple(
        Cap(id=ids("cap"), scope=scope, resource=resource, amount=amount, since=now, until=until, reason=reason, by=request.by)
        for resource, amount in ((r, _amount(r, a)) for r, a in request.amounts.items())
    )


def check_scope(text: str) -> str:
    """The same text. Raises Invalid for what is no scope."""
    kind, colon, name = text.partition(":")
    if kind not in KINDS or not colon or not name.strip() or name != name.strip() or len(text) > SCOPE_MOST or not text.isprintable():
        raise Invalid(f"scope {text[:80]!r} is none: write {', '.join(f'{k}:{_named(k)}' for k in KINDS)}")
    return text


def _named(kind: str) -> str:
    return "ID" if kind in {"server", "project"} else "NAME"


def _until(request: CapRequest, now: float) -> float:
    if (request.for_s is None) == (request.until is None):
        raise Invalid("give either for_s or until: every cap ends by itself")
    left = request.for_s if request.for_s is not None else (request.until or 0.0) - now
    if not 0 < left <= MOST_S:  # NaN fails every comparison
        raise Invalid(f"it would last {left:g} s: more than 0 and at most {MOST_S / 86400:g} days are possible; set it again when it ends")
    return now + left


def _amount(resource: str, amount: float) -> float:
    if resource not in UNITS:
        raise Invalid(f"amounts: there is no {resource[:40]!r} to cap; known are {', '.join(UNITS)}")
    least, most = LEAST[resource], MOST.get(resource, MAX_MIB)
    if not isfinite(amount) or not least <= amount <= most:
        raise Invalid(f"amounts: {resource} is {amount:g}: {least:g} to {most:g} {UNITS[resource]} are possible")
    return float(amount)


# -- who is capped ------------------------------------------------------------------------------------------------------


def in_force(caps: Iterable[Cap], now: float) -> tuple[Cap, ...]:
    """Those that count now."""
    return tuple(c for c in caps if c.since <= now < c.ends)


def strictest(caps: Iterable[Cap], servers: Iterable[Server], groups: Groups, now: float) -> dict[str, dict[str, Cap]]:
    """By resource and server: the cap in force. Servers without one are not named."""
    by_scope = _by_scope(in_force(caps, now))
    found: dict[str, dict[str, Cap]] = {}
    if not by_scope:
        return found
    for server in servers:
        for resource, cap in _least(by_scope, scopes(server, groups)).items():
            found.setdefault(resource, {})[server.id] = cap
    return found


def scopes(server: Server, groups: Groups) -> Iterator[str]:
    """Every scope that a server is in."""
    yield f"server:{server.id}"
    yield f"host:{server.host}"
    if server.project:
        yield f"project:{server.project}"
    yield from (g for g in groups.get(server.id, ()) if g.startswith("segment:"))


def _by_scope(caps: Iterable[Cap]) -> dict[str, dict[str, Cap]]:
    """Per scope and resource the one that wins."""
    found: dict[str, dict[str, Cap]] = {}
    for cap in caps:
        of_scope = found.setdefault(cap.scope, {})
        of_scope[cap.resource] = min(of_scope.get(cap.resource, cap), cap, key=_rank)
    return found


def _least(by_scope: Mapping[str, Mapping[str, Cap]], named: Iterable[str]) -> dict[str, Cap]:
    best: dict[str, Cap] = {}
    for name in named:
        for resource, cap in by_scope.get(name, {}).items():
            best[resource] = min(best.get(resource, cap), cap, key=_rank)
    return best


def _rank(cap: Cap) -> tuple[float, float, str]:
    """The smallest amount; of equal ones the longest."""
    return cap.amount, -cap.ends, cap.id


def needs_segments(caps: Iterable[Cap]) -> bool:
    """Whether anybody has to look up who is in which segment."""
    return any(c.scope.startswith("segment:") for c in caps)


def notices(cap: Cap, servers: Iterable[Server], groups: Groups, now: float) -> tuple[Notice, ...]:
    """What owners are told when a cap is set or lifted: each project once, whatever it has in the scope."""
    mine = [s for s in servers if s.project and cap.scope in set(scopes(s, groups))]
    lifted = cap.state(now) == "lifted"
    until = datetime.fromtimestamp(cap.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
    what = f"at most {cap.amount:g} {UNITS[cap.resource]} of {cap.resource} for {_whose(cap.scope)} until {until}: {cap.reason}"
    text = f"lifted before its time: {cap.lifted_why or 'no reason given'} ({what})" if lifted else what
    one = mine[0] if len(mine) == 1 else None
    return tuple(
        Notice(
            at=now,
            project=project,
            server=one.id if one else "",
            name=one.name if one else "",
            kind="cap_lifted" if lifted else "cap",
            text=text,
            resource=cap.resource,
            cause=cap.id,
        )
        for project in sorted({s.project for s in mine})
    )


def _whose(scope: str) -> str:
    """For owners: which host, and what operators call a group of servers, is nobody else's business."""
    kind, _, _ = scope.partition(":")
    return {"host": "each of your servers on one host", "segment": "each of your servers in one group"}.get(kind, f"each server of {scope}")


# -- what it means ------------------------------------------------------------------------------------------------------


def effective(cap: Cap, floor: float) -> float:
    """What a server may have under a cap. ``floor``: what was promised, in the cap's unit; of disks and network nothing is."""
    return max(cap.amount, floor)


def notes(cap: Cap, strict: Cap, server: Server, floor: float) -> tuple[str, ...]:
    """Sentences for people: what each device gets, and what keeps the cap from being just what was asked for."""
    return tuple(_notes(cap, strict, server, floor))


def _notes(cap: Cap, strict: Cap, server: Server, floor: float) -> Iterator[str]:
    unit = UNITS[cap.resource]
    if strict.id != cap.id:
        yield f"{strict.id} on {strict.scope} is stricter: {strict.amount:g} {unit}"
    if floor > strict.amount:
        yield f"its floor is {floor:g} {unit}: no cap goes below what was promised"
    if server.mode is not Mode.ACT:
        yield f"mode {server.mode.value}: it does not begin until the mode is act; where it holds already it stays to its end"
    if cap.resource == "memory":
        yield "taken step by step, and never what the guest has in use"
    yield from _devices(cap.resource, strict.amount, server.throttles)


def _devices(resource: str, amount: float, throttles: Sequence[Capability]) -> Iterator[str]:
    lever = next((name for name in THROTTLES if name.resource == resource), None)
    if lever is None:
        return
    told = next((c for c in throttles if c.lever is lever), None)
    if told is None:
        yield "its agent does not say whether it can be throttled: an agent of this version can"
    elif told.reason:
        yield f"cannot be throttled: {told.reason}"
    else:
        count, way = max(1, round(told.lowest)), " each way" if resource == "net_kib_s" else ""
        device = "interfaces" if resource == "net_kib_s" else "disks"
        share = f"each of its {count} {device} gets an equal share: {amount / count:g}" if count > 1 else f"{amount:g}"
        yield f"{share} {UNITS[resource]}{way}"
