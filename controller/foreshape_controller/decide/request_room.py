"""Room over time: what each host can still promise, half-hour by half-hour, after all that is promised already (domain.md §10). Pure.

Two gates for a newcomer on a host, both for as long as it is to stay:

    Placement's      held(t) + size  <=  int((total - reserved) * ratio)        always; ``max_unit`` and ``step_size`` of one consumer
                     a part ``spare`` of the right side is kept for critical ones
    the forecast's   demand_q(t) + use of those promised + use  <=  full * physical        unless it is critical

``demand_q`` is the host's own forecast at the tier's quantile. It reaches a day; after that the same day is taken again, and said. What is
on a host now stays there for ever, as nobody knows better; what is promised ends when it was said to end. Half-hours count whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.request import Placed, Together

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SLOT_S = 1800.0
TINY = 1e-6
_LEVELS = np.asarray(LEVELS, np.float64)


@dataclass(frozen=True, eq=False)
class Supply:
    """n hosts. NaN: not known; nothing is promised on such a host."""

    start: float
    """Epoch seconds: where the first half-hour begins, at or before now."""
    slots: int
    names: tuple[str, ...]
    zones: tuple[str, ...]
    closed: tuple[str, ...]
    """Why nothing may come; empty: it may."""
    capacity: Numbers
    """[n, 3] Placement's, of VCPU, MEMORY_MB, DISK_GB; infinite: nobody counts it."""
    most: Numbers
    """[n, 3] ``max_unit``."""
    step: Numbers
    """[n, 3] ``step_size``."""
    used: Numbers
    """[n, 3] what is held there without a known end."""
    physical: Numbers
    """[n, 2] cores and MiB that guests can really use."""
    fans: Numbers
    """[n, 48, 2, 13] demand of the next half-hours, quantiles."""
    _known: dict[tuple[float, float], Numbers] = field(default_factory=dict)

    @classmethod
    def begin(cls, now: float) -> float:
        """Where the half-hour of an instant begins."""
        return floor(now / SLOT_S) * SLOT_S

    def demand(self, cpu: float, memory: float) -> Numbers:
        """[n, slots, 2] each host's demand at these quantiles; the day repeats."""
        if (cpu, memory) not in self._known:
            day = np.stack([_at(self.fans[:, :, r], q) for r, q in enumerate((cpu, memory))], axis=2)
            self._known[cpu, memory] = day[:, np.arange(self.slots) % HALF_HOURS]
        return self._known[cpu, memory]

    def slot(self, at: float) -> int:
        """The half-hour that an instant lies in."""
        return floor((at - self.start) / SLOT_S + TINY)

    @property
    def known(self) -> Flags:
        """[n] hosts of which everything is known, and that are open."""
        numbers = np.concatenate([self.most, self.step, self.used, self.physical, self.fans.reshape(len(self.names), -1)], axis=1)
        told: Flags = np.isfinite(numbers).all(axis=1) & ~np.isnan(self.capacity).any(axis=1) & (self.physical > 0).all(axis=1)
        told &= np.array([not c for c in self.closed], dtype=bool)
        return told


def _at(fans: Numbers, quantile: float) -> Numbers:
    """[n, 48] out of [n, 48, 13], linear between the levels."""
    q = float(np.clip(quantile, _LEVELS[0], _LEVELS[-1]))
    above = int(np.clip(np.searchsorted(_LEVELS, q), 1, len(_LEVELS) - 1))
    share = (q - _LEVELS[above - 1]) / (_LEVELS[above] - _LEVELS[above - 1])
    found: Numbers = fans[..., above - 1] + share * (fans[..., above] - fans[..., above - 1])
    return found


@dataclass(frozen=True)
class Want:
    """What is to be placed: a request in numbers."""

    project: str
    each: tuple[float, float, float]
    """Sold size of one: VCPU, MEMORY_MB, DISK_GB."""
    use: tuple[float, float]
    """Demand of one that is expected: cores, MiB."""
    count: int
    for_s: float
    quantiles: tuple[float, float] = (0.95, 0.95)
    critical: bool = False
    """The forecast's gate is not asked."""
    az: str = ""
    together: Together = Together.ANY
    only_host: str = ""
    barred: frozenset[str] = frozenset()
    """Hosts that its flavor or its project may not have: traits, aggregates."""


class Ledger:
    """Room after all promises; one for each round of decisions."""

    def __init__(self, supply: Supply, *, full: float, share: float, spare: float = 0.0) -> None:
        """``full``: the forecast gate's; ``share``: of all capacity, the most that one project is promised at any time.

        ``spare``: of each host's capacity, what only critical ones are promised.
        """
        self.supply, self.full, self.share, self.spare = supply, full, share, spare
        n, s = len(supply.names), supply.slots
        self.index = {name: i for i, name in enumerate(supply.names)}
        self.held: Numbers = np.repeat(supply.used[:, None, :], s, axis=1)
        self.coming: Numbers = np.zeros((n, s, 2))
        """[n, slots, 2] use of those who are promised to come."""
        self.blocked: Flags = np.zeros(n, dtype=bool)
        """Hosts that are kept for somebody who has waited too long."""
        self.known = supply.known
        self._of: dict[str, Numbers] = {}
        self._seen: dict[tuple[Want, int], Numbers] = {}
        """Answers of ``copies`` since the last promise: those who wait in vain are many, and of few kinds."""

    # -- promises

    def span(self, start: float, end: float) -> slice:
        """The half-hours that a promise touches, whole."""
        first = max(0, self.supply.slot(start))
        last = ceil((end - self.supply.start) / SLOT_S - TINY)
        return slice(min(first, self.supply.slots), max(0, min(last, self.supply.slots)))

    def promise(self, want: Want, placed: Sequence[Placed], start: float, end: float, sign: int = 1) -> None:
        """Count it everywhere; with -1 take it back. Hosts that are not there any more promise nothing."""
        self._seen.clear()
        span = self.span(start, end)
        for p in placed:
            host = self.index.get(p.host)
            if host is not None:
                self.held[host, span] += sign * p.count * np.array(want.each)
                self.coming[host, span] += sign * p.count * np.array(want.use)
        if want.project:
            self._project(want.project)[span] += sign * sum(p.count for p in placed) * np.array(want.each)

    def hold(self, host: str, amounts: Sequence[float], start: float, end: float) -> None:
        """Count room that somebody else was promised."""
        self._seen.clear()
        i = self.index.get(host)
        if i is not None:
            self.held[i, self.span(start, end)] += np.array(amounts, np.float64)

    def block(self, hosts: Flags) -> None:
        """Keep hosts for somebody: nobody else gets room there."""
        self._seen.clear()
        self.blocked = self.blocked | hosts

    def _project(self, name: str) -> Numbers:
        return self._of.setdefault(name, np.zeros((self.supply.slots, 3)))

    # -- what fits

    def copies(self, want: Want, first: int) -> Numbers:
        """[n, slots] how many each host could take from each half-hour on, for as long as they stay.

        ``first``: a half-hour in the middle of which a start may be: one more is looked at there. -1: there is none.
        """
        kind = replace(want, project="", count=1, together=Together.ANY), first
        if kind not in self._seen:
            self._seen[kind] = self._copies(want, first)
        return self._seen[kind]

    def _copies(self, want: Want, first: int) -> Numbers:
        span = max(1, ceil(want.for_s / SLOT_S - TINY))
        found = self._sold(want)
        if not want.critical:
            found = np.minimum(found, self._by_forecast(want))
        windows = lowest(found[:, :, None], span)[:, :, 0]
        if 0 <= first < self.supply.slots and first + span < self.supply.slots:
            windows[:, first] = np.minimum(windows[:, first], found[:, first + span])
        windows[~self.suits(want)] = 0.0
        return windows

    def suits(self, want: Want) -> Flags:
        """[n] hosts that may take it, room apart."""
        s, each = self.supply, np.array(want.each)
        zone = np.array([not want.az or z == want.az for z in s.zones], dtype=bool)
        one = np.array([name not in want.barred and want.only_host in ("", name) for name in s.names], dtype=bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            unit = ((each <= s.most) & (np.mod(each, np.where(s.step > 0, s.step, 1.0)) == 0)).all(axis=1)
        allowed: Flags = self.known & zone & one & unit & ~self.blocked
        return allowed

    def _sold(self, want: Want) -> Numbers:
        return _whole(self.capacity(want)[:, None, :] - self.held, np.array(want.each))

    def capacity(self, want: Want) -> Numbers:
        """[n, 3] what may be allocated in all for such a one."""
        found: Numbers = self.supply.capacity if want.critical else np.floor((1.0 - self.spare) * self.supply.capacity)
        return found

    def _by_forecast(self, want: Want) -> Numbers:
        left = self.full * self.supply.physical[:, None, :] - self.supply.demand(*want.quantiles) - self.coming
        return _whole(left, np.array(want.use))

    def allowance(self, want: Want, first: int) -> Numbers:
        """[slots] how many its project's share of all capacity leaves from each half-hour on."""
        total = np.where(np.isfinite(self.supply.capacity), self.supply.capacity, 0.0)[self.known].sum(axis=0)
        total = np.where(np.isfinite(self.supply.capacity[self.known]).any(axis=0), total, np.inf)
        left = self.share * total - self._project(want.project)
        found = _whole(left[None], np.array(want.each))
        span = max(1, ceil(want.for_s / SLOT_S - TINY)) + (1 if first >= 0 else 0)
        allowed: Numbers = lowest(found[:, :, None], span)[0, :, 0]
        return allowed

    def peak(self, want: Want) -> Numbers:
        """[slots] the fleet's highest expected share of what it can use, with this on it, from each half-hour on."""
        there = self.known
        physical = self.supply.physical[there].sum(axis=0)
        demand = (self.supply.demand(0.5, 0.5)[there] + self.coming[there]).sum(axis=0) + want.count * np.array(want.use)
        share = (demand / np.maximum(physical, TINY)).max(axis=1)
        span = max(1, ceil(want.for_s / SLOT_S - TINY))
        highest: Numbers = -lowest(-share[None, :, None], span)[0, :, 0]
        return highest

    def place(self, want: Want, copies: Numbers, slot: int) -> tuple[Placed, ...]:
        """Hosts for a start in this half-hour, the emptiest by forecast first; ``copies`` [n] must suffice."""
        span = slice(slot, min(self.supply.slots, slot + max(1, ceil(want.for_s / SLOT_S))))
        physical = np.where(self.known[:, None], self.supply.physical, 1.0)
        load = self.supply.demand(*want.quantiles)[:, span] + self.coming[:, span]
        share = np.nan_to_num((load / physical[:, None]).max(axis=(1, 2)), nan=np.inf)
        one = np.nan_to_num((np.array(want.use) / physical).max(axis=1), nan=np.inf)
        return _dealt(want, copies, share, one, self.supply.names)


def _dealt(want: Want, copies: Numbers, share: Numbers, one: Numbers, names: Sequence[str]) -> tuple[Placed, ...]:
    """One after the other, each on the host that is the emptiest then; equal hosts by their names."""
    if want.together is Together.SAME_HOST:
        able = [i for i in range(len(names)) if copies[i] >= want.count]
        best = min(able, key=lambda i: (round(float(share[i]), 9), names[i]))
        return (Placed(names[best], want.count),)
    left = np.minimum(copies, 1.0) if want.together is Together.SPREAD else copies.copy()
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    share, dealt = share.copy(), np.zeros(len(names), np.int64)
    for _ in range(want.count):
        open_ones = np.flatnonzero(left >= 1)
        best = int(open_ones[np.lexsort((rank[open_ones], np.round(share[open_ones], 9)))[0]])
        left[best] -= 1
        dealt[best] += 1
        share[best] += one[best]
    return tuple(Placed(names[i], int(dealt[i])) for i in np.flatnonzero(dealt).tolist())


def _whole(left: Numbers, each: Numbers) -> Numbers:
    """How many whole times ``each`` [k] goes into ``left`` [..., k], by the scarcest; never below 0."""
    asked = each > 0
    if not asked.any():
        return np.full(left.shape[:-1], np.inf)
    with np.errstate(invalid="ignore"):
        times = np.floor(left[..., asked] / each[asked] + TINY).min(axis=-1)
    found: Numbers = np.maximum(np.nan_to_num(times, nan=0.0, posinf=np.inf), 0.0)
    return found


def lowest(values: Numbers, span: int) -> Numbers:
    """[n, slots, k]: the least of each half-hour and the ``span - 1`` after it; beyond the last there is nothing. By doubling."""
    found, done = values.copy(), 1
    while done < span:
        step = min(done, span - done)
        moved = np.full_like(found, np.inf)
        if step < found.shape[1]:
            moved[:, :-step] = found[:, step:]
        found = np.minimum(found, moved)
        done += step
    return found


def total(want: Want, copies: Numbers) -> Numbers:
    """[slots] how many of them all hosts together could take, as they want to stand."""
    if want.together is Together.SAME_HOST:
        found: Numbers = copies.max(axis=0, initial=0.0)
        return found
    each = np.minimum(copies, 1.0) if want.together is Together.SPREAD else copies
    added: Numbers = each.sum(axis=0)
    return added
