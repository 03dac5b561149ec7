"""Requests on a simulated fleet, answered first come, first served or as Foreshape does, from the same arrivals.

Everything is drawn from one seed: hosts whose own demand goes with the day, people who ask mostly by day, how much they really use. What
Foreshape decides by is a forecast that errs: each host's day is off by a factor of its own, and its quantiles are as wide as the noise is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from foreshape_controller.decide import request_life as life
from foreshape_controller.decide.request_order import advanced, share, tag
from foreshape_controller.decide.request_room import SLOT_S, Ledger, Supply, Want
from foreshape_controller.decide.requests import RequestRule, decide, want
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.cloud import CLASSES
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.request import Criticality, Placed, Request, RequestAsk, RequestState

Numbers = npt.NDArray[np.float64]
T0 = 1_800_000_000.0
MIX = ((Criticality.CRITICAL, 0.15), (Criticality.NORMAL, 0.35), (Criticality.FLEXIBLE, 0.5))
PATIENCE = {Criticality.CRITICAL: 3600.0, Criticality.NORMAL: 12 * 3600.0, Criticality.FLEXIBLE: 24 * 3600.0}
"""Seconds after which who asked has no use for it any more."""
VCPUS = (2, 4, 8)


@dataclass(frozen=True)
class Town:
    """One simulated world's size."""

    hosts: int = 8
    cores: float = 32.0
    ratio: float = 1.5
    """Placement's, of VCPU: what first come, first served goes by."""
    sold: float = 0.35
    """Of that, what others hold all the time."""
    days: int = 3
    load: float = 1.0
    """Of what is left of Placement's capacity: what is asked for on average, in VCPU-hours."""
    error: float = 0.15
    """Standard deviation of the factor by which each host's forecast is off."""


@dataclass(frozen=True)
class Arrival:
    """Somebody asks."""

    at: float
    request: Request
    uses: float
    """Cores that each really uses."""


@dataclass
class Outcome:
    """What came of one way to answer."""

    name: str
    load: Numbers
    """[slots, hosts] real demand as a share of the cores."""
    starts: dict[str, float] = field(default_factory=dict)
    arrivals: Sequence[Arrival] = ()

    @property
    def peak(self) -> float:
        """The fleet's highest demand, as a share of its cores."""
        return float(self.load.mean(axis=1).max())

    @property
    def short(self) -> float:
        """Share of the hosts' half-hours in which more was wanted than they have."""
        return float((self.load > 1.0).mean())

    def unserved(self, of: Criticality | None = None) -> float:
        """Share of those who asked and got nothing in time."""
        asked = [a for a in self.arrivals if of in (None, a.request.ask.criticality)]
        return sum(a.request.id not in self.starts for a in asked) / max(1, len(asked))

    def waits(self, of: Criticality | None = None) -> Numbers:
        """Hours until they started, of those who did."""
        found = [
            (self.starts[a.request.id] - a.at) / 3600.0
            for a in self.arrivals
            if a.request.id in self.starts and of in (None, a.request.ask.criticality)
        ]
        return np.array(found or [0.0])


class Fleet:
    """The world: its hosts' own demand, as it is and as it is forecast."""

    def __init__(self, town: Town, seed: int) -> None:
        rng = np.random.default_rng([seed, 11])
        self.town, self.slots = town, town.days * HALF_HOURS + HALF_HOURS
        hour = np.arange(HALF_HOURS) / 2.0
        shape = 0.20 + 0.25 * np.clip(np.sin((hour - 7.0) / 12.0 * np.pi), 0.0, None)
        day = shape[:, None] * rng.uniform(0.8, 1.2, town.hosts)
        noise = 0.03
        self.real = np.clip(np.tile(day, (self.slots // HALF_HOURS, 1)) + rng.normal(0, noise, (self.slots, town.hosts)), 0.0, None)
        self._told = day * np.clip(rng.normal(1.0, town.error, town.hosts), 0.5, 1.5)
        self._spread = noise * np.array([NormalDist().inv_cdf(q) for q in LEVELS])

    def supply(self, slot: int) -> Supply:
        """What Foreshape sees at the start of a half-hour of the simulation."""
        t, n = self.town, self.town.hosts
        told = np.roll(self._told, -slot, axis=0).T[:, :, None] + self._spread
        fans = np.zeros((n, HALF_HOURS, 2, len(LEVELS)))
        fans[:, :, 0] = np.clip(told, 0.0, None) * t.cores
        size = np.array([t.cores * t.ratio, 1e9, np.inf])
        return Supply(
            start=T0 + slot * SLOT_S,
            slots=2 * HALF_HOURS,
            names=tuple(f"h{i:02d}" for i in range(n)),
            zones=("",) * n,
            closed=("",) * n,
            capacity=np.tile(size, (n, 1)),
            most=np.tile([t.cores, 1e9, 1e9], (n, 1)),
            step=np.ones((n, 3)),
            used=np.tile([t.sold * t.cores * t.ratio, 0.0, 0.0], (n, 1)),
            physical=np.tile([t.cores, 1e9], (n, 1)),
            fans=fans,
        )


def arrivals(town: Town, seed: int) -> tuple[Arrival, ...]:
    """People ask mostly by day; sizes, counts and durations are drawn so that ``load`` is what they ask for on average."""
    rng = np.random.default_rng([seed, 13])
    span_h, each_h = 4.0, float(np.mean(VCPUS)) * 1.5
    room = town.hosts * town.cores * town.ratio * (1.0 - town.sold)
    per_hour = town.load * room / (each_h * span_h)
    return tuple(_asked(rng, i, at) for i, at in enumerate(_moments(rng, town, per_hour)))


def _moments(rng: np.random.Generator, town: Town, per_hour: float) -> Iterator[float]:
    """Poisson, three times as many at the height of the day as on average, hardly any by night."""
    hour = np.arange(HALF_HOURS) / 2.0
    shape = 0.1 + np.clip(np.sin((hour - 7.0) / 12.0 * np.pi), 0.0, None) ** 2
    for slot in range(town.days * HALF_HOURS):
        many = rng.poisson(per_hour / 2.0 * shape[slot % HALF_HOURS] / shape.mean())
        yield from T0 + SLOT_S * (slot + np.sort(rng.uniform(0.0, 1.0, many)))


def _asked(rng: np.random.Generator, number: int, at: float) -> Arrival:
    kind = Criticality(rng.choice([m[0].value for m in MIX], p=[m[1] for m in MIX]))
    vcpus, count = int(rng.choice(VCPUS)), int(rng.integers(1, 3))
    hours = float(np.clip(rng.exponential(4.0), 0.5, 12.0))
    latest = at + PATIENCE[kind]
    ask = RequestAsk(vcpus=vcpus, ram=1, count=count, criticality=kind, for_s=hours * 3600.0, latest=latest)
    name = f"r{number:05d}"
    project = f"p{int(rng.integers(0, 6))}"
    made = Request(id=name, project=project, ask=ask, each={"VCPU": vcpus}, earliest=at, latest=latest, tag=at, created=at, changed=at)
    return Arrival(at, made, vcpus * float(rng.beta(4.0, 4.0)))


Start = tuple[Request, tuple[Placed, ...], float]
"""Who starts, where, and when."""


class Shaped:
    """As Foreshape answers: every half-hour those who came, and those who wait."""

    name = "shaped"

    def __init__(self, fleet: Fleet, rule: RequestRule) -> None:
        self._fleet, self._rule = fleet, rule
        self._known: dict[str, Request] = {}
        self._clocks: dict[str, float] = {}

    def look(self, slot: int, came: Sequence[Arrival], now: float) -> Iterator[Start]:
        """One half-hour."""
        supply, rule = self._fleet.supply(slot), self._rule
        for a in came:
            self._known[a.request.id] = _tagged(a.request, self._clocks, supply, rule)
        self._known = {name: r for name, r in self._known.items() if _lives(r, now)}
        ledger = Ledger(supply, full=rule.full, share=rule.share, spare=rule.spare)
        for r in self._known.values():
            span = life.counts(r, now, 0.0)
            if span:
                ledger.promise(_want(r, rule), r.placed, *span)
        waiting = [(r, _want(r, rule)) for r in self._known.values() if r.state is RequestState.QUEUED]
        for name, verdict in decide(waiting, ledger, rule, now).items():
            self._known[name] = life.answered(self._known[name], verdict, (), now, acts=True, look_s=60.0)
            if verdict.placed:
                yield self._known[name], verdict.placed, verdict.start


def _lives(request: Request, now: float) -> bool:
    """It waits and may still, or it runs."""
    return request.end > now if request.state is RequestState.SCHEDULED else request.latest >= now


def _tagged(request: Request, clocks: dict[str, float], supply: Supply, rule: RequestRule) -> Request:
    clock = clocks.get(request.project, 0.0)
    part = share([float(request.each.get(c, 0)) for c in CLASSES], request.ask.count, supply.capacity.sum(axis=0).tolist())
    clocks[request.project] = advanced(clock, request.created, part, rule.pace_s)
    return replace(request, tag=tag(request.ask.criticality, request.created, clock))


def _want(request: Request, rule: RequestRule) -> Want:
    return want(request, DEFAULTS["standard"], rule)


class FirstCome:
    """As a cloud without requests does: whoever comes first gets what Placement has. ``waits``: the others try again until they give up."""

    def __init__(self, fleet: Fleet, *, waits: bool) -> None:
        t = fleet.town
        self.name = "first come, waits" if waits else "first come"
        self._waits = waits
        self._free = np.full(t.hosts, t.cores * t.ratio * (1.0 - t.sold))
        self._ends: list[tuple[float, int, float]] = []
        self._queue: list[Request] = []

    def look(self, slot: int, came: Sequence[Arrival], now: float) -> Iterator[Start]:  # noqa: ARG002  the others need it
        """One half-hour."""
        for _, host, vcpus in (e for e in self._ends if e[0] <= now):
            self._free[host] += vcpus
        self._ends = [e for e in self._ends if e[0] > now]
        asked, self._queue = [*self._queue, *(a.request for a in came)], []
        for r in asked:
            got = _greedy(r, self._free)
            if got:
                self._ends += [(now + r.ask.for_s, h, r.each["VCPU"]) for h in got]
                yield r, tuple(Placed(f"h{h:02d}", 1) for h in got), now
            elif self._waits and r.latest > now:
                self._queue.append(r)


def _greedy(request: Request, free: Numbers) -> list[int]:
    """The emptiest host for each; none where not all fit. Takes them from ``free``."""
    got, vcpus = list[int](), request.each["VCPU"]
    for _ in range(request.ask.count):
        host = int(np.argmax(free))
        if free[host] < vcpus:
            np.add.at(free, got, vcpus)
            return []
        free[host] -= vcpus
        got.append(host)
    return got


def run(way: FirstCome | Shaped, fleet: Fleet, asked: Sequence[Arrival]) -> Outcome:
    """Each half-hour looks at who came in the one before; whoever starts adds what he really uses until he leaves."""
    uses = {a.request.id: a.uses for a in asked}
    out = Outcome(way.name, fleet.real.copy(), arrivals=asked)
    for slot in range(fleet.slots):
        begin = T0 + slot * SLOT_S
        came = [a for a in asked if begin - SLOT_S <= a.at < begin]
        for request, placed, start in way.look(slot, came, begin):
            out.starts[request.id] = start
            first, last = round((start - T0) / SLOT_S), int(np.ceil((start + request.ask.for_s - T0) / SLOT_S))
            for p in placed:
                out.load[first:last, int(p.host[1:])] += p.count * uses[request.id] / fleet.town.cores
    return out


def compare(town: Town, seed: int, rule: RequestRule | None = None) -> tuple[Outcome, ...]:
    """Three ways to answer the same people."""
    asked, fleet = arrivals(town, seed), Fleet(town, seed)
    ways = (FirstCome(fleet, waits=False), FirstCome(fleet, waits=True), Shaped(fleet, rule or RequestRule(share=1.0)))
    return tuple(run(way, fleet, asked) for way in ways)
