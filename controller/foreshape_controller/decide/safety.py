"""Circuit breakers: where orders fail or nobody tells what came of them, fewer are made, for a time that doubles. Pure.

    closed ──bad enough──▶ open ──its time is over──▶ half_open ──a good trial, or a day without any──▶ closed
                            ▲                            │
                            └────────a bad trial─────────┘   (twice as long, up to a most)

From every state a person's word leads to closed, its trips forgotten. Halts that no order can try (``foreign``, ``outage``) go from
open to closed when their time is over. A closed one is remembered for a day: what opens again meanwhile opens for longer.

While a scope is halted nothing is shrunk there and nothing grows beyond what was sold; growth back to what was sold is the safe
direction and goes on. Held (asserted after every step): open ends after it began and lasts no longer than the most; trips count
from 1 unless a person cleared it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from foreshape_controller.model.brakes import Halt

REMEMBERED_S = 86400.0
LEAST_HOSTS = 3
"""Trouble of the cloud is trouble on so many hosts; on fewer it is theirs."""
TRIED = frozenset({"failures"})
"""Kinds that end by a trial."""


class Trial(Enum):
    """What came of the orders that a half-open scope tried."""

    NONE = "none"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Ended:
    """An order of which something is known for sure."""

    server: str
    host: str
    issued_at: float
    good: bool
    """False: it failed, or its time ran out and nobody told what came of it."""


@dataclass(frozen=True)
class BreakerRule:
    """When it opens, and for how long."""

    server_failures: int = 3
    host_failures: int = 6
    host_share: float = 0.5
    cloud_failures: int = 20
    cloud_share: float = 0.3
    base_s: float = 300.0
    most_s: float = 21600.0


def opened(before: Halt | None, scope: str, kind: str, reason: str, now: float, rule: BreakerRule) -> Halt:
    """A scope is halted; ``before``: what is remembered of it."""
    trips = (before.trips if before else 0) + 1
    lasts = min(rule.most_s, rule.base_s * 2.0 ** min(trips - 1, 30))
    return checked(Halt(scope=scope, kind=kind, state="open", since=now, until=now + lasts, reason=reason, trips=trips), rule)


def step(halt: Halt, trial: Trial, now: float, rule: BreakerRule) -> Halt | None:
    """What becomes of a halt; None: it is forgotten."""
    if halt.state == "closed":
        return halt if now < halt.until else None
    if halt.state == "open":
        return halt if now < halt.until else _over(halt, now)
    if trial is Trial.BAD:
        return opened(halt, halt.scope, halt.kind, f"{halt.reason}; the order that was tried after it came to nothing, too", now, rule)
    if trial is Trial.GOOD or now - halt.since >= REMEMBERED_S:  # a day without anything to try there: it may be gone
        return closed(halt, now)
    return halt


def _over(halt: Halt, now: float) -> Halt:
    if halt.kind not in TRIED:
        return closed(halt, now)
    return msgspec.structs.replace(halt, state="half_open", since=now)


def closed(halt: Halt, now: float) -> Halt:
    """Over; its trips stay remembered."""
    return msgspec.structs.replace(halt, state="closed", since=now, until=now + REMEMBERED_S)


def cleared(halt: Halt, reason: str, now: float) -> Halt:
    """A person says that it is over: what was before does not count any more."""
    return msgspec.structs.replace(halt, state="closed", since=now, until=now + REMEMBERED_S, reason=reason, trips=0)


def checked(halt: Halt, rule: BreakerRule) -> Halt:
    """The same halt. The invariant of one that is open."""
    assert halt.since < halt.until <= halt.since + rule.most_s + 1e-6, halt
    assert halt.trips >= 1, halt
    return halt


# -- what is bad enough -----------------------------------------------------------------------------------------------


def failing(ended: Sequence[Ended], since: Mapping[str, float], rule: BreakerRule) -> Iterator[tuple[str, str]]:
    """Scopes that should be halted, and why. ``since``: by scope, what was before does not count (a good trial, a person's word)."""
    yield from _cloud([e for e in ended if e.issued_at >= since.get("cloud", 0.0)], rule)
    for host, mine in _by(ended, "host").items():
        yield from _host(host, [e for e in mine if e.issued_at >= since.get(f"host:{host}", 0.0)], rule)
    for server, mine in _by(ended, "server").items():
        last = sorted((e for e in mine if e.issued_at >= since.get(f"server:{server}", 0.0)), key=lambda e: e.issued_at)
        last = last[-rule.server_failures :]
        if len(last) == rule.server_failures and not any(e.good for e in last):
            yield f"server:{server}", f"its last {len(last)} orders failed, or nobody told what came of them"


def _host(host: str, mine: Sequence[Ended], rule: BreakerRule) -> Iterator[tuple[str, str]]:
    bad = sum(not e.good for e in mine)
    if bad >= rule.host_failures and bad >= rule.host_share * len(mine):
        yield f"host:{host}", f"{bad} of {len(mine)} orders lately failed there, or nobody told what came of them"


def _cloud(ended: Sequence[Ended], rule: BreakerRule) -> Iterator[tuple[str, str]]:
    bad = [e for e in ended if not e.good]
    hosts = len({e.host for e in bad})
    if len(bad) >= rule.cloud_failures and len(bad) >= rule.cloud_share * len(ended) and hosts >= LEAST_HOSTS:
        yield "cloud", f"{len(bad)} of {len(ended)} orders lately failed on {hosts} hosts, or nobody told what came of them"


def _by(ended: Iterable[Ended], key: str) -> Mapping[str, list[Ended]]:
    found: dict[str, list[Ended]] = {}
    for e in ended:
        found.setdefault(getattr(e, key), []).append(e)
    return found


def tried(halt: Halt, ended: Sequence[Ended]) -> Trial:
    """What the orders say that were made since the scope is half-open; one bad one outweighs all good ones."""
    told = [e.good for e in ended if e.issued_at >= halt.since and inside(halt.scope, e.server, e.host)]
    if not told:
        return Trial.NONE
    return Trial.GOOD if all(told) else Trial.BAD


def inside(scope: str, server: str, host: str) -> bool:
    """Whether a server on a host is in a scope."""
    return scope in ("cloud", f"host:{host}", f"server:{server}")


# -- measurements that are missing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Total:
    """Measured demand of the whole cloud at one instant."""

    at: float
    servers: int
    cpu: float
    memory: float


FALL_S = 300.0
LEAST_SERVERS = 20
"""The sum over fewer is no evidence: one server's end would be a fall."""


def silence(silent: int, hosts: int, share: float) -> str:
    """Why the silence of hosts looks like an outage of measurements; empty where it does not."""
    if silent < LEAST_HOSTS or silent <= share * hosts:
        return ""
    return f"{silent} of {hosts} hosts are silent: measurements are missing, so that nothing is taken from anybody"


def fall(totals: Sequence[Total], share: float) -> str:
    """Why a fall of all demand, to the last total, is not believed; empty where there is none."""
    if not totals:
        return ""
    now = totals[-1]
    lately = [t for t in totals if now.at - FALL_S <= t.at and t.servers >= LEAST_SERVERS]
    for name, unit in (("cpu", "cores"), ("memory", "MiB")):
        most, left = max((getattr(t, name) for t in lately), default=0.0), getattr(now, name)
        if most > 0 and left < (1 - share) * most:
            return f"all measured {name} demand fell from {most:.0f} to {left:.0f} {unit} within five minutes: it is not believed yet"
    return ""
