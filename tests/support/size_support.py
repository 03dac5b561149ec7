"""One server's facts in words that read well, and as the columns that the size rule takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, nan
from random import Random
from typing import Any

import msgspec
import numpy as np

from foreshape_controller.decide import size as rule
from foreshape_controller.decide.facts import FORECAST_OLD_S, LEVERS, Facts, Levers, Peaks, Rules, Seen
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.columns import CODES, Sizes
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.plan import PeakRange, Sizing
from foreshape_controller.model.tier import Tier
from foreshape_controller.model.told import sizing
from foreshape_wire.reading import Capability, LeverName


@dataclass(frozen=True)
class OneSeen:
    """What was measured of one resource lately. None: not measured."""

    window_peak: float | None = None
    hold_peak: float | None = None
    hold_max: float | None = None
    latest: float | None = None
    censored: bool = False
    confidence: float = 1.0
    age_s: float = 0.0
    overhead: float = 0.0


@dataclass(frozen=True)
class One:
    """One resource of one server. None: nothing is said of it."""

    resource: str
    allocation: float
    entitlement: float
    ceiling: float
    granule: float
    levers: tuple[Capability, ...]
    peak: PeakRange | None
    seen: OneSeen = field(default_factory=OneSeen)
    held: float | None = None
    raised_floor: float = 0.0
    no_lever: str = ""
    frozen: tuple[str, str] | None = None
    agreed: float | None = None
    cap: float | None = None
    cap_until: float = 0.0
    cap_reason: str = ""
    since_shrink_s: float | None = None
    anomalous: bool = False
    made_s: float = 0.0
    """Seconds since the forecast was made."""


def size(one: One, tier: Tier) -> Sizing:
    """Sized alone, and told."""
    return sizing(sizes([one], [tier]), 0, tier.name, "hv1")


def bounds(one: One, tier: Tier) -> tuple[float, float]:
    facts, rules = columns([one], [tier])
    floor, ceiling = rule.bounds(facts, rules)
    return float(floor[0]), float(ceiling[0])


def sizes(ones: Sequence[One], tiers: Sequence[Tier]) -> Sizes:
    """Sized together; all of one resource."""
    return rule.decide_sizes(*columns(ones, tiers))


def columns(ones: Sequence[One], tiers: Sequence[Tier]) -> tuple[Facts, Rules]:
    resource = ones[0].resource
    codes = tuple(dict.fromkeys((*CODES, *(o.frozen[0] for o in ones if o.frozen))))
    count = range(len(ones))
    amounts = {name: _column([getattr(o, name) for o in ones]) for name in _AMOUNTS}
    facts = Facts.plain(
        resource,
        ones[0].granule,
        amounts.pop("allocation"),
        levers=levers_of(resource, [o.levers for o in ones]),
        peak=_peaks([o.peak for o in ones], [o.made_s for o in ones]),
        seen=_seen([o.seen for o in ones]),
        anomalous=np.array([o.anomalous for o in ones]),
        stop=np.array([codes.index(o.frozen[0]) if o.frozen else -1 for o in ones], np.int32),
        forecast_old_s=FORECAST_OLD_S,
        said={name: np.array(count, float) for name in ("stop", "no_lever", "cap_reason")},
        words={
            "code": codes,
            "stop": tuple(o.frozen[1] if o.frozen else "" for o in ones),
            "no_lever": tuple(o.no_lever for o in ones),
            "cap_reason": tuple(o.cap_reason for o in ones),
        },
        **amounts,
    )
    return facts, Rules.of(list(tiers), list(count), resource)


_AMOUNTS = ("allocation", "entitlement", "ceiling", "held", "raised_floor", "agreed", "cap", "cap_until", "since_shrink_s")


def _column(values: Sequence[float | None]) -> np.ndarray:
    return np.array([nan if v is None else v for v in values], float)


def _seen(all_seen: Sequence[OneSeen]) -> Seen:
    told = {name: [getattr(s, name) for s in all_seen] for name in OneSeen.__dataclass_fields__}
    return Seen(**{name: np.array(v, bool) if name == "censored" else _column(v) for name, v in told.items()})


def _peaks(found: Sequence[PeakRange | None], made_s: Sequence[float]) -> Peaks:
    def told(name: str, otherwise: float = nan) -> np.ndarray:
        return _column([otherwise if p is None else getattr(p, name) for p in found])

    index = np.arange(len(found), dtype=np.int32)
    sources = [p.source if p else "" for p in found]
    reasons = tuple(p.reason if p else "" for p in found)
    return Peaks(
        median=told("median"),
        wanted=told("wanted"),
        quantile=told("quantile"),
        headroom=told("headroom", 1.0),
        age_s=told("age_s"),
        there=np.array([p is not None for p in found]),
        made_s=np.array(made_s, float),
        half_hours=told("half_hours", 0),
        source=_first(sources),
        reason=index,
        words={"peak_source": _different(sources), "peak_reason": reasons},
    )


def _different(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _first(texts: Sequence[str]) -> np.ndarray:
    return np.array([_different(texts).index(t) for t in texts], np.int32)


def levers_of(resource: str, each: Sequence[tuple[Capability, ...]]) -> Levers:
    names, n = LEVERS[resource], len(each)
    usable, ranges = np.zeros((len(names), n), bool), np.zeros((3, len(names), n))
    for i, levers in enumerate(each):
        for c in levers:
            k = names.index(c.lever)
            usable[k, i], ranges[:, k, i] = c.usable, (c.lowest, c.highest, c.granule)
    return Levers(usable, *ranges)


# -- servers of every kind --------------------------------------------------------------------------------------------

HOUR = 3600.0


@dataclass(frozen=True)
class Dice:
    """Draws facts with many ties, edges and gaps, from a seed: hundreds of servers in the time that one strategy draws ten."""

    random: Random
    resource: str

    @property
    def unit(self) -> float:
        return 1.0 if self.resource == "cpu" else 1024.0

    def maybe(self, share: float, value: Any) -> Any:
        return value if self.random.random() < share else None

    def amount(self, most: float = 6.0) -> float:
        """On a lever's grid as often as anywhere."""
        r = self.random
        return self.unit * r.choice([r.uniform(0.0, most), round(r.uniform(0.05, most), 1), float(r.randint(0, int(most)))])

    def levers(self, sold: float) -> tuple[Capability, ...]:
        more = self.random.randint(0, 4) * self.unit
        if self.resource == "cpu":
            kinds = (
                Capability(lever=LeverName.CPU_QUOTA, lowest=0.1, highest=sold, granule=0.01),
                Capability(lever=LeverName.CPU_HOTPLUG, lowest=1.0, highest=sold + more, granule=1.0),
                Capability(lever=LeverName.CPU_GUEST, lowest=1.0, highest=sold, granule=1.0),
            )
        else:
            kinds = (
                Capability(lever=LeverName.MEM_BALLOON, lowest=256.0, highest=sold, granule=1.0),
                Capability(lever=LeverName.MEM_VIRTIO, lowest=sold, highest=sold + more, granule=128.0),
            )
        return tuple(c for c in kinds if self.random.random() < 0.7)

    def seen(self) -> OneSeen:
        r = self.random
        return OneSeen(
            window_peak=self.maybe(0.9, self.amount(4)),
            hold_peak=self.maybe(0.9, self.amount(3)),
            hold_max=self.maybe(0.9, self.amount(4)),
            latest=self.maybe(0.9, self.amount(3)),
            censored=r.random() < 0.15,
            confidence=r.choice([0.9, 0.9, 1.0, 0.5, 0.4]),
            age_s=r.choice([0.0, 6 * HOUR, r.uniform(0, 48 * HOUR), 100 * HOUR, 100 * HOUR]),
            overhead=0.0 if self.resource == "cpu" else r.choice([0.0, r.uniform(0, 300)]),
        )

    def one(self) -> One:
        r = self.random
        sold = r.randint(1, 8) * self.unit
        levers = self.levers(sold)
        high = max([sold, *(c.highest for c in levers)])
        wanted = self.amount()
        return One(
            resource=self.resource,
            allocation=r.choice([sold, r.uniform(0.05, 1) * high, r.randint(1, 20) / 20 * high]),
            entitlement=sold,
            ceiling=r.choice([high, sold, high * 0.75]),
            granule=0.05 if self.resource == "cpu" else 16.0,
            levers=levers,
            peak=self.maybe(0.95, _drawn_peak(wanted, r)),
            seen=self.seen(),
            held=self.maybe(0.6, self.amount(4)),
            raised_floor=0.0 if self.resource == "cpu" else r.choice([0.0, 0.0, self.amount(4)]),
            no_lever="mem.balloon: no driver",
            frozen=self.maybe(0.05, r.choice([("stale", "silent"), ("breaker", "too many failures")])),
            agreed=self.maybe(0.1, self.amount(1)),
            cap=self.maybe(0.15, self.amount(4)),
            cap_until=1.7e9,
            cap_reason="a noisy neighbour",
            since_shrink_s=self.maybe(0.3, r.uniform(0, 2 * HOUR)),
            anomalous=r.random() < 0.05,
            made_s=r.choice([0.0, 300.0, 300.0, 2 * HOUR]),
        )

    def tier(self) -> Tier:
        r = self.random
        named = r.choice(list(DEFAULTS.values()))
        rules = {
            "shrink_step_share": r.choice([0.05, 0.25, 0.5, 1.0]),
            "ceiling_share": r.choice([0.0, 0.0, 0.8, 1.5]),
            "step_s": r.choice([0.0, 0.0, HOUR]),
            "shrink_band": r.choice([0.0, 0.2]),
            "margin_share": named.memory.margin_share if self.resource == "memory" else r.choice([0.0, 0.15]),
        }
        part = msgspec.structs.replace(named.cpu if self.resource == "cpu" else named.memory, **rules)
        return msgspec.structs.replace(
            named, may_shrink=r.random() < 0.9, dead_band=r.choice([0.0, 0.1, 0.1, 0.3]), **{self.resource: part}
        )


def _drawn_peak(wanted: float, random: Random) -> PeakRange:
    source = random.choice(["baseline", "net", NO_FORECAST])
    return PeakRange(median=0.6 * wanted, wanted=wanted, quantile=0.95, source=source, reason="own history", age_s=72 * HOUR)


def drawn(seed: int, resource: str, count: int) -> tuple[list[One], list[Tier]]:
    """Servers of every kind and their tiers."""
    dice = Dice(Random(seed), resource)
    return [dice.one() for _ in range(count)], [dice.tier() for _ in range(count)]


def spoilt(one: One, random: Random) -> One:
    """The same with a number that is none."""
    bad = random.choice([nan, inf, -inf, -1.0])
    broken = [msgspec.structs.replace(c, **{random.choice(["lowest", "highest", "granule"]): bad}) for c in one.levers[:1]]
    cases = [
        {"allocation": bad},
        {"entitlement": random.choice([bad, 0.0, 2.0**40])},
        {"ceiling": bad},
        {"peak": msgspec.structs.replace(_drawn_peak(1.0, random), wanted=bad)},
        *([{"levers": (*broken, *one.levers[1:])}] if broken else []),
    ]
    return replace(one, **random.choice(cases))
