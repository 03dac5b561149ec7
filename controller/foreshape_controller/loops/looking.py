"""Who is idle or over-sized now: everybody's history looked through, some hundred servers at a time."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from foreshape_controller.config import ReclaimSettings
from foreshape_controller.decide.idle import CODES, WHY_NOT, FindRule, Found, Standing, Use, find, finding, use_of
from foreshape_controller.decide.reclaim import Rule
from foreshape_controller.decide.segments import Segments
from foreshape_controller.loops.calendar import Calendar, inside
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import BINS_PER_DAY, History
from foreshape_controller.model.reclaim import Finding
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.model.workload import WorkClass

BATCH = 500
"""Servers whose history is looked through at once: 8 MiB a column and week."""
ODD_S = 86400.0
"""An anomaly counts until this long after its end."""
MOST = 1_000_000
HIGH = LEVELS.index(0.95)


class Histories(Protocol):
    step_s: int

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


class LookStore(Protocol):
    """The part of the store that looking needs."""

    @property
    def history(self) -> Histories: ...

    forecasts: Any
    anomalies: Any
    profiles: Any


@dataclass(frozen=True)
class Terms:
    """What reclamation is told beside its own options."""

    options: ReclaimSettings = field(default_factory=ReclaimSettings)
    segments: Segments = field(default_factory=Segments)
    plan_s: float = 60.0
    """Time between two plans: a give-back waits for the next."""
    stale_after_s: float = 60.0
    shadows: Callable[[float], frozenset[str]] = lambda _now: frozenset()
    """Servers that wait in a pool: they are idle on purpose, and nobody is told so."""

    def find_rule(self, step_s: float) -> FindRule:
        o = self.options
        return FindRule(
            days=o.days,
            day_s=BINS_PER_DAY * step_s,
            covered=o.covered,
            idle_share=o.idle_share,
            oversized_share=o.oversized_share,
            margin=o.margin,
            least={"cpu": o.least_cpu, "memory": o.least_memory},
        )

    @property
    def rule(self) -> Rule:
        o = self.options
        return Rule(o.notice_s, o.step_share, o.step_s, o.worth_share, o.rest_days * 86400.0, o.objection_days * 86400.0)


@dataclass(frozen=True)
class World:
    """One instant."""

    now: float
    view: ClusterView
    groups: Groups
    tiers: Mapping[str, Tier]
    servers: Mapping[str, Server]
    granules: Mapping[str, float]
    leads: Mapping[str, Mapping[str, float]]


@dataclass
class Look:
    """What one look at one resource found, and why not of the others."""

    found: dict[str, Finding] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, servers: Sequence[Server], found: Found, use: Use, standing: Standing, days: float) -> None:
        names = [str(s.id) for s in servers]
        self.codes.update(zip(names, found.code.tolist(), strict=True))
        self.found.update({names[i]: finding(int(i), found, use, standing, days) for i in np.flatnonzero(found.code <= 1)})

    def why(self, server: str) -> str:
        return WHY_NOT.get(CODES[self.codes[server]], "") if server in self.codes else "it was not there when history was looked through"


class Looking:
    """``look`` at one resource of everybody."""

    def __init__(self, store: LookStore, calendar: Calendar, terms: Terms) -> None:
        self._store, self._calendar, self._terms = store, calendar, terms

    def look(self, resource: str, world: World) -> Look:
        """Everybody, some hundred at a time."""
        rule = self._terms.find_rule(self._store.history.step_s)
        peaks = self._store.forecasts.peaks(resource)
        day = {s: float(peaks.peak24h[i, HIGH]) for s, i in peaks.rows.items() if s in world.servers}
        speaks = self._against(resource, world)
        servers, look = list(world.servers.values()), Look()
        for first in range(0, len(servers), BATCH):
            some = servers[first : first + BATCH]
            history = self._store.history.read(resource, [s.id for s in some], world.now, round(rule.days * BINS_PER_DAY))
            use, standing = use_of(history, world.now), _standing(resource, some, world, day, speaks)
            look.add(some, find(resource, use, standing, rule), use, standing, rule.days)
        return look

    def _against(self, resource: str, world: World) -> Mapping[str, Collection[str]]:
        """Servers that are left alone because of an anomaly, an event to come or what people declared."""
        odd = self._store.anomalies.list(since=world.now - ODD_S, limit=MOST)
        ahead = world.now + self._terms.options.ahead_days * 86400.0
        coming = self._calendar.influences(self._calendar.known(), world.now, ahead)
        needed = [inside(i.scope, world.groups) for i in coming if i.factors.get(resource, 1.0) > 1]
        declared = self._store.profiles.declared()
        return {
            "odd": {f.series for f in odd if f.resource == resource},
            "event": set().union(*needed),
            "declared": {s for s, known in declared.items() if known.workload.work is not WorkClass.IDLE},
        }


def _standing(
    resource: str, servers: Sequence[Server], world: World, day: Mapping[str, float], speaks: Mapping[str, Collection[str]]
) -> Standing:
    cpu = resource == "cpu"
    memory = [None if cpu or s.last is None else s.last.memory for s in servers]
    return Standing(
        entitlement=_column(s.entitlement.cpu.cores if cpu else s.entitlement.memory.mib for s in servers),
        day_peak=_column(day.get(s.id, np.nan) for s in servers),
        overhead=_column(0.0 if m is None else (m.in_use - m.demand).mib for m in memory),
        in_use=_column(0.0 if m is None else m.in_use.mib for m in memory),
        margin_share=_column(world.tiers[s.id].memory.margin_share for s in servers),
        **{name: np.array([s.id in speaks[name] for s in servers], bool) for name in ("odd", "event", "declared")},
    )


def _column(values: Iterable[float]) -> Any:
    return np.array(list(values), np.float64)
