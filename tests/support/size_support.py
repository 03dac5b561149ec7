"""One server's facts in words that read well, and as the columns that the size rule takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from foreshape_controller.decide import size as rule
from foreshape_controller.decide.facts import FORECAST_OLD_S, LEAST_MARGIN_MIB, LEVERS, Facts, Levers, Peaks, Rules, Seen
from foreshape_controller.model.columns import CODES, Sizes
from foreshape_controller.model.plan import PeakRange, Sizing
from foreshape_controller.model.tier import Tier
from foreshape_controller.model.told import sizing
from foreshape_wire.reading import Capability


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
    facts = Facts(
        resource=resource,
        granule=ones[0].granule,
        levers=levers_of(resource, [o.levers for o in ones]),
        peak=_peaks([o.peak for o in ones], [o.made_s for o in ones]),
        seen=_seen([o.seen for o in ones]),
        margin=np.full(len(ones), LEAST_MARGIN_MIB if resource == "memory" else 0.0),
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
        **{name: _column([getattr(o, name) for o in ones]) for name in _AMOUNTS},
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
