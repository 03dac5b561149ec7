"""How many shadow VMs a pool should have, and what is to be done about it now (domain.md §9). Pure.

Newsvendor: a window is as long as it takes until a shadow VM that is ordered now can be claimed (boot and refill). With stock S a claim
more costs ``miss_cost``, one idle over the window ``idle_cost_h`` times its hours, so that the cheapest S is the quantile of the claims of
that window at the critical fractile miss/(miss + idle).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite

from foreshape_controller.decide.claims import Demand
from foreshape_controller.errors import Invalid
from foreshape_controller.model.pool import Claim, Fallback, Pool, PoolReport, Shadow, Slot, State

HOUR_S = 3600.0
FAILED_S, FAILED_MOST_S = 60.0, 3600.0
"""Pause after a boot that failed; doubled for each further one."""
LEARN_BOOTS = 20
NAME_MOST = 100
MOST_SERVERS = 1000


@dataclass(frozen=True)
class Sized:
    """How many there should be."""

    wanted: int
    cap: int
    """Most that bounds, budget and threshold allow."""
    fractile: float
    why: str


def fractile(miss_cost: float, idle_cost: float) -> float:
    """The critical fractile; where neither costs anything, half."""
    total = miss_cost + idle_cost
    return miss_cost / total if total > 0 else 0.5


def size(pool: Pool, demand: Demand, window_s: float) -> Sized:
    """The newsvendor's answer within bounds, budget and threshold. Budget and threshold win over ``least``: what costs more is not made."""
    share = fractile(pool.miss_cost, pool.idle_cost_h * window_s / HOUR_S)
    asked = demand.quantile(share)
    bounded = min(max(asked, pool.least), pool.most)
    text = f"{demand.law} of mean {demand.mean:.3g} in {window_s:.0f} s at {share:.3f}: {asked}"
    if bounded != asked:
        text += f"; bounds {pool.least} to {pool.most}: {bounded}"
    cap, rules = pool.most, []
    if pool.budget_h is not None and (afford := _afford(pool)) < bounded:
        cap, rules = min(cap, afford), [f"budget of {pool.budget_h:g} an hour: {afford}"]
    if pool.threshold is not None and (cheap := _cheap(pool, demand, window_s)) < min(bounded, cap):
        cap = cheap if pool.fallback is Fallback.SMALLER else 0
        rules += [f"one more costs above the threshold of {pool.threshold:g}; fallback {pool.fallback}: {cap}"]
    return Sized(min(bounded, cap), cap, share, "; ".join([text, *rules]))


def _afford(pool: Pool) -> int:
    if pool.budget_h is None or pool.idle_cost_h <= 0:
        return pool.most
    return min(pool.most, floor(pool.budget_h / pool.idle_cost_h + 1e-9))


def creation_cost(pool: Pool, demand: Demand, window_s: float, place: int) -> float:
    """Of the shadow VM that is claimed as the ``place``-th from now on: its boot, and its wait, until it would be too old at the latest."""
    per_h = demand.mean / (window_s / HOUR_S)
    waits_h = pool.max_age_s / HOUR_S if per_h <= 0 else min(place / per_h, pool.max_age_s / HOUR_S)
    return pool.boot_cost + pool.idle_cost_h * waits_h


def _cheap(pool: Pool, demand: Demand, window_s: float) -> int:
    """How many cost no more than the threshold each: cost grows with the place in the queue."""
    limit = pool.threshold if pool.threshold is not None else float("inf")
    return next((k for k in range(pool.most) if creation_cost(pool, demand, window_s, k + 1) > limit), pool.most)


def lead(pool: Pool, shadows: Iterable[Shadow]) -> float:
    """Seconds from an order to a claimable guest: the slowest but a tenth of the last ones; as stated until there are three."""
    took = sorted((s.ready_at, s.ready_at - s.asked_at) for s in shadows if s.ready_at is not None and s.asked_at is not None)[
        -LEARN_BOOTS:
    ]
    if len(took) < 3:
        return pool.lead_s
    return sorted(t for _, t in took)[min(len(took) - 1, int(0.9 * len(took)))]


# -- what to do now -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """What would be done now."""

    boot: int
    retire: tuple[str, ...]
    why: str


def steps(pool: Pool, shadows: Sequence[Shadow], sized: Sized, image: str, now: float, last_claim: float) -> Steps:
    """Boots and retirements towards the size.

    image: id that the pool's image means now; empty: it is gone or not known, so that nothing is booted. Growth comes at once. Replacement
    (another image, or too old) comes one at a time, the new one first where there is room for it. One too many goes after ``idle_s``
    without a claim, then the next after as long again.
    """
    mine = [s for s in shadows if not s.cold]
    stock = [s for s in mine if s.state.stock]
    if pool.deleted_at is not None:
        return Steps(0, tuple(s.id for s in stock), "the pool was deleted")
    old = [s for s in stock if outdated(pool, s, image, now)]
    fresh = [s for s in stock if s not in old]
    boot = _boots(sized, len(stock), len(fresh)) if image else 0
    gone = _replaced(sized, fresh, old, boot=boot) if image else ()
    if not gone and _quiet(pool, mine, now, last_claim) and len(stock) > max(sized.wanted, 0) and len(fresh) >= sized.wanted:
        gone = _oldest(old or stock, 1)
    why = "" if image else "its image is not there: nothing is booted"
    return Steps(boot, gone, why or sized.why)


def outdated(pool: Pool, shadow: Shadow, image: str, now: float) -> bool:
    """From another image than the pool's now, or too old."""
    return bool(image and shadow.image != image) or now - shadow.created > pool.max_age_s


def _boots(sized: Sized, stock: int, fresh: int) -> int:
    """What is missing, with one more than wanted at a time while old ones are replaced, where the cap allows it."""
    limit = max(sized.wanted, min(sized.wanted + 1, sized.cap))
    return max(0, min(sized.wanted - fresh, limit - stock))


def _replaced(sized: Sized, fresh: Sequence[Shadow], old: Sequence[Shadow], *, boot: int) -> tuple[str, ...]:
    """Old ones for which a new one is ready; one of them ahead of it, where there is no room for both."""
    ready = sum(s.state is State.READY for s in fresh)
    kept = max(0, sized.wanted - ready)
    cramped = bool(old) and boot == 0 and len(fresh) == ready and len(fresh) < sized.wanted
    return _oldest(old, len(old) - kept if not cramped else max(1, len(old) - kept))


def _oldest(among: Sequence[Shadow], count: int) -> tuple[str, ...]:
    return tuple(s.id for s in sorted(among, key=lambda s: (s.created, s.id))[: max(0, count)])


def _quiet(pool: Pool, mine: Iterable[Shadow], now: float, last_claim: float) -> bool:
    """No claim, no boot and no farewell for long enough."""
    changed = max((s.since if s.state in (State.RETIRING, State.GONE) else s.created for s in mine), default=0.0)
    return now - max(last_claim, changed) >= pool.idle_s


def pause_until(shadows: Iterable[Shadow]) -> float:
    """When the next boot may be tried, after boots that failed since the last good one."""
    ends = sorted((s.since, s.ready_at is None) for s in shadows if s.asked_at is not None and s.state is not State.BOOTING)
    failed: list[float] = []
    for at, bad in ends:
        failed = [*failed, at] if bad else []
    return failed[-1] + min(FAILED_MOST_S, FAILED_S * 2 ** (len(failed) - 1)) if failed else 0.0


# -- claims ---------------------------------------------------------------------------------------------------------------


def pick(shadows: Iterable[Shadow], room_mib: Mapping[str, float], image: str) -> tuple[Shadow, ...]:
    """Those that can be claimed, the best first: of the newest image, on a host with room to grow, then the oldest."""
    ready = [s for s in shadows if s.state is State.READY and not s.cold]

    def rank(s: Shadow) -> tuple[bool, bool, float, str]:
        short = room_mib.get(s.host, 0.0) < s.sold_mib
        return bool(image) and s.image != image, short, s.created, s.id

    return tuple(sorted(ready, key=rank))


def after_miss(pool: Pool) -> str:
    """Why a claim that found nothing is refused; empty: a server is booted cold for it."""
    return "its fallback is none: no server is booted for a claim" if pool.fallback is Fallback.NONE else ""


# -- figures --------------------------------------------------------------------------------------------------------------


def report(pool: Pool, shadows: Sequence[Shadow], claims: Sequence[Claim], since: float, now: float) -> PoolReport:
    """How the pool did since then."""
    told = [c for c in claims if since <= c.at <= now]
    hits = [c for c in told if c.hit]
    waiting = [now - s.ready_at for s in shadows if s.state is State.READY and s.ready_at is not None]
    boots = [s for s in shadows if s.asked_at is not None and s.asked_at >= since]
    waited = sum(_waited(s, since, now) for s in shadows) / HOUR_S
    cost = waited * pool.idle_cost_h + len(boots) * pool.boot_cost
    return PoolReport(
        pool=pool.name,
        since=since,
        until=now,
        claims=len(told),
        hits=len(hits),
        misses=len(told) - len(hits),
        hit_rate=len(hits) / len(told) if told else None,
        age_s=_mean(waiting),
        oldest_s=max(waiting, default=None),
        hit_age_s=_mean([c.age_s for c in hits]),
        boots=len(boots),
        failures=sum(s.ready_at is None and s.state in (State.FAILED, State.RETIRING, State.GONE, State.LOST) for s in boots),
        waited_h=waited,
        cost=cost,
        cost_per_hit=cost / len(hits) if hits else None,
        boot_s=_mean([s.ready_at - s.asked_at for s in boots if s.ready_at is not None and s.asked_at is not None]),
        claim_s=_mean(
            [s.handed_at - s.claimed_at for s in shadows if s.handed_at and s.claimed_at and not s.cold and s.handed_at >= since]
        ),
    )


def _waited(s: Shadow, since: float, now: float) -> float:
    """Seconds for which it held something and was nobody's."""
    if s.asked_at is None or s.cold:
        return 0.0
    ended = s.claimed_at if s.claimed_at is not None else s.since if s.state.over else now
    return max(0.0, min(ended, now) - max(s.asked_at, since))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def slot(pool: Pool, demand: Demand, start: float, window_s: float, length_s: float) -> Slot:
    """What one part of the schedule asks for."""
    count = size(pool, demand, window_s).wanted
    return Slot(
        start=start,
        end=start + length_s,
        claims=demand.mean * length_s / window_s,
        servers=count,
        cores=count * pool.wait_cores,
        mib=count * pool.wait_mib,
        cost=count * pool.idle_cost_h * length_s / HOUR_S,
    )


# -- bad input ------------------------------------------------------------------------------------------------------------

_LIMITS: Mapping[str, tuple[float, float]] = {
    "least": (0, MOST_SERVERS),
    "most": (1, MOST_SERVERS),
    "miss_cost": (0, 1e9),
    "idle_cost_h": (0, 1e9),
    "boot_cost": (0, 1e9),
    "threshold": (0, 1e9),
    "budget_h": (0, 1e9),
    "expected_h": (0, 1e5),
    "lead_s": (1, 86400),
    "max_age_s": (60, 90 * 86400),
    "idle_s": (1, 30 * 86400),
    "wait_cores": (0.01, 1024),
    "wait_mib": (64, 16 * 1024 * 1024),
}


def check(pool: Pool) -> Pool:
    """The same pool. Raises Invalid naming the field, and what is possible."""
    check_name("name", pool.name)
    for field in ("image", "flavor"):
        check_name(field, getattr(pool, field), most=255)
    for field, (low, high) in _LIMITS.items():
        value = getattr(pool, field)
        if value is not None and not (isfinite(value) and low <= value <= high):
            raise Invalid(f"{field} is {value:g}: {low:g} to {high:g} are possible")
    if pool.least > pool.most:
        raise Invalid(f"least is {pool.least}, more than most ({pool.most})")
    if len(pool.networks) > 8 or any(not n.strip() for n in pool.networks):
        raise Invalid("networks: name up to 8 by their ids; none at all is possible")
    return pool


def check_name(field: str, text: str, most: int = NAME_MOST) -> str:
    """The same text. Raises Invalid for one that Nova would not take as a name, or nobody could type."""
    if not text.strip() or text != text.strip() or len(text) > most or not text.isprintable() or "/" in text:
        raise Invalid(f"{field} {text[:40]!r}: 1 to {most} printable characters, none of them a slash, no blanks around")
    return text
