"""What becomes of requests: now, at a time, or not yet, each with a reason and what could be had instead (domain.md §10). Pure.

A round looks at those who wait in their order (``request_order``), each against the room that is left after all promises, those of the
round included (``request_room``). Who gets a start gets it for good: a promise is not taken back for somebody else. For the first one
who is overdue and fits nowhere, the hosts that come nearest are kept: nobody behind it gets room there, so that what is freed adds up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide.request_order import ordered, overdue
from foreshape_controller.decide.request_room import SLOT_S, Flags, Ledger, Numbers, Want, total
from foreshape_controller.model.cloud import CLASSES
from foreshape_controller.model.request import Criticality, Placed, Request, Together
from foreshape_controller.model.tier import Tier


@dataclass(frozen=True)
class RequestRule:
    """The operator's bounds."""

    full: float = 0.9
    """Share of a host's real amount that its demand by forecast may reach."""
    fleet_peak: float = 0.7
    """Share of the fleet's real amount that non-critical starts are spread out below, where that can be."""
    share: float = 0.5
    """Of all capacity, the most that one project is promised at any time."""
    newcomer_cpu: float = 0.5
    """Demand that a sold core is expected to bring."""
    newcomer_memory: float = 1.0
    spare: float = 0.1
    """Of each host's capacity, what only critical ones are promised."""
    horizon_s: float = 7 * 86400.0
    """Starts are looked for so far ahead."""
    normal_wait_s: float = 6 * 3600.0
    """A normal request is delayed at most so long for the fleet's peak; for want of room longer."""
    flexible_wait_s: float = 24 * 3600.0
    pace_s: float = 6 * 3600.0
    """Seconds that a request for the whole fleet puts its project's next one back in the queue."""
    look_s: float = 60.0
    """Between two looks at those who wait."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one request."""

    code: str
    """``now``, ``smoothed``, ``later``, or why there is no start: ``no_room``, ``forecast``, ``share``, ``kept``, ``never``."""
    said: str
    start: float = 0.0
    placed: tuple[Placed, ...] = ()

    @property
    def placed_at_all(self) -> bool:
        return bool(self.placed)


def want(request: Request, tier: Tier, rule: RequestRule, barred: frozenset[str] = frozenset()) -> Want:
    """A request in numbers; ``barred``: hosts that it may not have."""
    ask, each = request.ask, tuple(float(request.each.get(name, 0)) for name in CLASSES)
    return Want(
        project=request.project,
        each=(each[0], each[1], each[2]),
        use=(each[0] * rule.newcomer_cpu, each[1] * rule.newcomer_memory),
        count=ask.count,
        for_s=ask.for_s,
        quantiles=(tier.cpu.quantile, tier.memory.quantile),
        critical=ask.criticality is Criticality.CRITICAL,
        az=ask.az,
        together=ask.together,
        only_host=request.only_host,
        barred=barred,
    )


def decide(waiting: Iterable[tuple[Request, Want]], ledger: Ledger, rule: RequestRule, now: float) -> Mapping[str, Verdict]:
    """By request's id. The ledger has the promises of the round afterwards."""
    wants = {r.id: (r, w) for r, w in waiting}
    found: dict[str, Verdict] = {}
    kept = False
    for request in ordered(r for r, _ in wants.values()):
        asked = wants[request.id][1]
        verdict = judge(request, asked, ledger, rule, now)
        if verdict.placed:
            ledger.promise(asked, verdict.placed, verdict.start, verdict.start + asked.for_s)
        elif not kept and overdue(request, now) and verdict.code in ("no_room", "forecast", "kept"):
            kept = True
            ledger.block(keep(asked, ledger))
        found[request.id] = verdict
    return found


def judge(request: Request, asked: Want, ledger: Ledger, rule: RequestRule, now: float) -> Verdict:
    """One request against the room that is left."""
    times = _Times(ledger, max(request.earliest, now), min(request.latest, now + rule.horizon_s))
    if not times.open.any():
        return Verdict("no_room", "its latest start is over")
    copies = ledger.copies(asked, times.between)
    roomy = total(asked, copies) >= asked.count
    allowed = roomy & (ledger.allowance(asked, times.between) >= asked.count)
    fits = np.flatnonzero(allowed & times.open)
    if not fits.size:
        return _nowhere(asked, ledger, roomy, times.open, rule)
    slot, why = _chosen(request, asked, ledger, rule, fits)
    start = times.at(slot)
    code = "now" if start <= now else "smoothed" if why else "later"
    return Verdict(code, _said(code, why), start, ledger.place(asked, copies[:, slot], slot))


class _Times:
    """The starts that are possible: the earliest itself, and each half-hour after it, up to the latest."""

    def __init__(self, ledger: Ledger, earliest: float, latest: float) -> None:
        self._ledger, self._earliest = ledger, earliest
        first = ledger.supply.slot(earliest)
        starts = ledger.supply.start + SLOT_S * np.arange(ledger.supply.slots)
        self.open: Flags = (np.arange(ledger.supply.slots) >= first) & (np.maximum(starts, earliest) <= latest)
        self.between = first if earliest > ledger.supply.start + SLOT_S * first else -1
        """The half-hour that the earliest start is in the middle of; -1: it is a whole one."""

    def at(self, slot: int) -> float:
        return max(self._earliest, self._ledger.supply.start + SLOT_S * slot)


def _chosen(
    request: Request, asked: Want, ledger: Ledger, rule: RequestRule, fits: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> tuple[int, str]:
    """The half-hour to start in, and why it is not the first one that fits; empty: it is."""
    first = int(fits[0])
    if asked.critical:
        return first, ""
    flexible = request.ask.criticality is Criticality.FLEXIBLE
    wait = rule.flexible_wait_s if flexible else rule.normal_wait_s
    since = ledger.supply.slot(max(request.created, request.earliest))
    near = fits[fits <= max(first, since + int(wait / SLOT_S))]
    peak = np.round(ledger.peak(asked)[near], 2)
    low = near[peak <= rule.fleet_peak]
    best = int(low[0]) if low.size and not flexible else int(near[int(np.argmin(peak))])
    if best == first:
        return first, ""
    was, becomes = float(peak[0]), float(peak[near == best][0])
    return best, f"the fleet would reach {100 * was:.0f} % with it at once, {100 * becomes:.0f} % then"


def _said(code: str, why: str) -> str:
    if code == "now":
        return "there is room now"
    return f"it fits now, but {why}" if why else "the first time at which there is room for it"


def _nowhere(asked: Want, ledger: Ledger, roomy: Flags, window: Flags, rule: RequestRule) -> Verdict:
    if (roomy & window).any():
        return Verdict("share", f"its project would be promised more than {100 * rule.share:.0f} % of all capacity: it waits for its own")
    possible = _possible(asked, ledger)
    if possible < asked.count:
        why = _obstacles(asked, ledger, "there is no more")
        return Verdict("never", f"even if all were free, {int(min(possible, 10**6))} of {asked.count} would fit: {why}")
    if ledger.blocked.any():
        return Verdict("kept", "there is no room for it in its window beside what is kept for somebody who has waited longer")
    if total(asked, ledger.copies(replace(asked, critical=True), -1))[window].max(initial=0.0) >= asked.count:
        full = f"by forecast more than {100 * rule.full:.0f} % of what hosts have would be wanted, or it is kept for critical ones"
        return Verdict("forecast", f"there is room that could be sold in its window, but {full}")
    return Verdict("no_room", f"there is no room for it in its window: {_obstacles(asked, ledger, 'all are full')}")


def _possible(asked: Want, ledger: Ledger) -> float:
    """How many would fit if nobody were there."""
    empty = _empty(asked, ledger)
    return float(total(asked, empty[:, None])[0]) if empty.size else 0.0


def _empty(asked: Want, ledger: Ledger) -> Numbers:
    """[n] how many each host could take if nobody were on it."""
    blocked, ledger.blocked = ledger.blocked, np.zeros_like(ledger.blocked)
    suits = ledger.suits(asked)
    ledger.blocked = blocked
    each = np.array(asked.each)
    with np.errstate(invalid="ignore", divide="ignore"):
        times = np.where(each > 0, ledger.capacity(asked) / np.where(each > 0, each, 1.0), np.inf).min(axis=1, initial=np.inf)
    found: Numbers = np.where(suits, np.floor(np.nan_to_num(times, nan=0.0, posinf=1e9)), 0.0)
    return found


def _obstacles(asked: Want, ledger: Ledger, otherwise: str) -> str:
    """Why each host is none, counted."""
    s = ledger.supply
    if not s.names:
        return "no host is known"
    zone = sum(bool(asked.az) and z != asked.az for z in s.zones)
    closed = sum(map(bool, s.closed)) + sum(name in asked.barred for name in s.names)
    small = int((np.array(asked.each) > ledger.capacity(asked)).any(axis=1).sum())
    told = [
        (zone, f"not in {asked.az}"),
        (closed, "closed to it"),
        (int((~ledger.known).sum()) - sum(map(bool, s.closed)), "not fully known"),
        (small, "smaller than one of them"),
    ]
    said = ", ".join(f"{n} {words}" for n, words in told if n > 0)
    return f"of {len(s.names)} hosts {said or otherwise}"


def keep(asked: Want, ledger: Ledger) -> Flags:
    """[n] hosts that are kept for it: those where most of it would fit already, as few as could take all of it."""
    empty = _empty(asked, ledger)
    span = ledger.span(ledger.supply.start, ledger.supply.start + asked.for_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        free = (ledger.capacity(asked)[:, None] - ledger.held)[:, span] / np.maximum(np.array(asked.each), 1e-9)
    near = np.nan_to_num(free.min(axis=(1, 2)), nan=-np.inf)
    need = asked.count if asked.together is Together.SAME_HOST else 1
    chosen, left = np.zeros(len(empty), dtype=bool), float(asked.count)
    for i in sorted(np.flatnonzero(empty >= need).tolist(), key=lambda i: (-near[i], ledger.supply.names[i])):
        if left <= 0:
            break
        chosen[i] = True
        left -= min(empty[i], 1.0) if asked.together is Together.SPREAD else empty[i]
    return chosen


def peaks(ledger: Ledger) -> Sequence[float]:
    """[slots] the fleet's expected share of what it can use, all promises included: for people and tests."""
    there = ledger.known
    physical = np.maximum(ledger.supply.physical[there].sum(axis=0), 1e-9)
    found: list[float] = ((ledger.supply.demand(0.5, 0.5)[there] + ledger.coming[there]).sum(axis=0) / physical).max(axis=1).tolist()
    return found
