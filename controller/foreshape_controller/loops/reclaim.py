"""Reclamation: look through history now and then, look after what is being reclaimed more often, write every transition.

A lowered floor has its effect through ``Reclaims.floors``, which the next plan asks: a row that is not written changes nothing, and
one that is written goes on after a restart. A row that somebody else changed meanwhile (an owner objected) is left to the next run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from foreshape_controller.config import ReclaimSettings
from foreshape_controller.decide.idle import CODES, WHY_NOT, FindRule, Found, Standing, Use, find, finding, say, use_of, with_margin
from foreshape_controller.decide.reclaim import Facts, Rule, advance, notice, tier_floor, unfound
from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.log import get_logger
from foreshape_controller.loops.calendar import Calendar, inside
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.group import Groups, Member
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, History
from foreshape_controller.model.reclaim import LOWERED, Finding, Reclaim, State
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.model.workload import WorkClass
from foreshape_controller.store.reclaims import Change, Key
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode

_log = get_logger("reclaim")

BATCH = 500
"""Servers whose history is looked through at once: 8 MiB a column and week."""
LATELY_BINS = 2
"""In which a demand that came back shows."""
ODD_S = 86400.0
"""An anomaly counts until this long after its end."""
MOST = 1_000_000
MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)
ACTIVE = (State.NOTICED, State.SHRINKING, State.RECLAIMED, State.GIVING_BACK, State.GIVEN_BACK, State.OBJECTED)

Leads: TypeAlias = Callable[[ClusterView, float], Mapping[str, Mapping[str, float]]]


class _Histories(Protocol):
    step_s: int

    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...


class _Rows(Protocol):
    def all(self, states: Sequence[State] = ...) -> Mapping[Key, Reclaim]: ...

    def save(self, changes: Sequence[Change]) -> int: ...

    def had(self, server: str, resource: str, amount: float, since: float) -> float | None: ...


class ReclaimStore(Protocol):
    """The part of the store that is needed."""

    @property
    def reclaims(self) -> _Rows: ...

    @property
    def history(self) -> _Histories: ...

    inventory: Any
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


class ReclaimLoop:
    """``run_once`` is a job of its own. It keeps nothing but when it looked last."""

    def __init__(self, store: ReclaimStore, tiers: Callable[[], Tiers], calendar: Calendar, leads: Leads, terms: Terms) -> None:
        self._store, self._tiers, self._calendar, self._leads, self._terms = store, tiers, calendar, leads, terms
        self._looked_at: float | None = None

    def run_once(self, now: float, ids: Callable[[str], str] = new_id) -> int:
        """Rows → look through history if due → facts → transitions → written. How many rows changed."""
        rows = self._store.reclaims.all()
        due = self._looked_at is None or not 0 <= now - self._looked_at < self._terms.options.find_every_s
        if not due and not any(r.state in ACTIVE for r in rows.values()):
            return 0
        world = self._world(now)
        looks = {r: self._look(r, world) for r in RESOURCES} if due else {}
        lately = {r: self._lately(r, [row for row in rows.values() if row.resource == r], world) for r in RESOURCES}
        changes = [c for key in self._keys(rows, looks) if (c := self._change(key, rows.get(key), world, looks, lately, ids)) is not None]
        written = self._store.reclaims.save(changes)
        self._looked_at = now if due else self._looked_at
        for c in changes:
            _say(c)
        return written

    # -- the world --------------------------------------------------------------------------------------------------

    def _world(self, now: float) -> "_World":
        view: ClusterView = self._store.inventory.view(now)
        groups = grouped([Member.of(s) for s in view.servers], self._terms.segments, self._store.profiles.names())
        policy = self._tiers()
        tiers: dict[str, Tier] = {s.id: policy.of(s, groups.of.get(s.id, ())) for s in view.servers}
        granules = {"cpu": policy.granules.cpu.cores, "memory": policy.granules.memory.mib}
        return _World(now, view, groups, tiers, {s.id: s for s in view.servers}, granules, self._leads(view, now))

    def _keys(self, rows: Mapping[Key, Reclaim], looks: Mapping[str, "_Look"]) -> list[Key]:
        """Rows that may change, and servers that were found now."""
        keys = {k: None for k, r in rows.items() if looks or r.state in ACTIVE}
        return list(keys | {(s, resource): None for resource, look in looks.items() for s in look.found})

    # -- looking through history -------------------------------------------------------------------------------------

    def _look(self, resource: str, world: "_World") -> "_Look":
        """Everybody, some hundred at a time."""
        rule = self._terms.find_rule(self._store.history.step_s)
        peaks = self._store.forecasts.peaks(resource)
        day = {s: float(peaks.peak24h[i, HIGH]) for s, i in peaks.rows.items() if s in world.servers}
        speaks = self._against(resource, world)
        servers, look = list(world.servers.values()), _Look()
        for first in range(0, len(servers), BATCH):
            some = servers[first : first + BATCH]
            history = self._store.history.read(resource, [s.id for s in some], world.now, round(rule.days * BINS_PER_DAY))
            use, standing = use_of(history, world.now), _standing(resource, some, world, day, speaks)
            look.add(some, find(resource, use, standing, rule), use, standing, rule.days)
        return look

    def _against(self, resource: str, world: "_World") -> Mapping[str, Collection[str]]:
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

    # -- looking after what is under way -----------------------------------------------------------------------------

    def _lately(self, resource: str, rows: Sequence[Reclaim], world: "_World") -> Mapping[str, "_Lately"]:
        """Demand of the last minutes and of the next half-hour, of rows where it matters."""
        names = [r.server for r in rows if r.state in (State.NOTICED, *LOWERED) and r.server in world.servers]
        if not names:
            return {}
        history = self._store.history.read(resource, names, world.now, LATELY_BINS)
        seen = np.nan_to_num(np.fmax.reduce(history.mean, axis=1, initial=np.nan))
        peaks = self._store.forecasts.peaks(resource)
        ahead = [float(peaks.peak30m[peaks.rows[n], MEDIAN]) if n in peaks.rows else 0.0 for n in names]
        return {n: _Lately(float(s), a) for n, s, a in zip(names, seen, ahead, strict=True)}

    def _change(
        self,
        key: Key,
        row: Reclaim | None,
        world: "_World",
        looks: Mapping[str, "_Look"],
        lately: Mapping[str, Mapping[str, "_Lately"]],
        ids: Callable[[str], str],
    ) -> Change | None:
        server, resource = key
        found = resource in looks and server in looks[resource].found
        new = found and (row is None or row.state is State.GONE)  # another time, another cause
        before = unfound(world.servers[server], resource, world.tiers[server], ids("cause"), world.now) if new or row is None else row
        facts = self._facts(before, world, looks.get(resource), lately[resource].get(server))
        after = advance(before, facts, self._terms.rule, world.now)
        return None if after in (row, before) else Change(row, after, notice(before, after, world.now))

    def _facts(self, row: Reclaim, world: "_World", look: "_Look | None", lately: "_Lately | None") -> Facts:
        server = world.servers.get(row.server)
        if server is None:
            return Facts(present=False)
        tier, resource = world.tiers[server.id], row.resource
        floor, lead = tier_floor(server, tier, resource), world.leads.get(resource, {}).get(server.id, 0.0)
        return Facts(
            fresh=world.now - server.last_seen <= self._terms.stale_after_s,
            may=self._may_not(server, tier, resource),
            tier_floor=floor,
            least_now=_least_now(server, tier, resource),
            back=_back(row, server, lately),
            looked=look is not None,
            finding=look.found.get(server.id) if look else None,
            not_found=look.why(server.id) if look else "",
            had_at=self._had(row, server, floor, world) if row.state is State.GIVING_BACK else None,
            stated_s=self._terms.plan_s + lead,
            stated_how=f"up to {self._terms.plan_s:.0f} s until the next plan, and {lead:.0f} s as growths were measured",
        )

    def _may_not(self, server: Server, tier: Tier, resource: str) -> str:
        """Why a server is not acted on; empty: it may be."""
        if not self._terms.options.enabled:
            return "[reclaim] enabled is false: this is advice"
        if not tier.may_reclaim:
            return f"tier {tier.name} says may_reclaim: false"
        if server.mode is not Mode.ACT:
            return f"its mode is {server.mode.value}"
        return "" if server.usable(resource) else "it has no usable lever"

    def _had(self, row: Reclaim, server: Server, floor: float, world: "_World") -> float | None:
        """When the guest had its floor again: proven by an action, or it had it all the time."""
        enough = floor - world.granules[row.resource]
        since = row.back_since if row.back_since is not None else world.now
        if _has(server, row.resource) < enough:
            return None
        proven = self._store.reclaims.had(row.server, row.resource, enough, since)
        return since if proven is None else proven


class _Lately(NamedTuple):
    seen: float
    """Largest mean of the last bins."""
    ahead: float
    """Median of the forecast half-hour's peak."""


@dataclass(frozen=True)
class _World:
    """One instant."""

    now: float
    view: ClusterView
    groups: Groups
    tiers: Mapping[str, Tier]
    servers: Mapping[str, Server]
    granules: Mapping[str, float]
    leads: Mapping[str, Mapping[str, float]]


@dataclass
class _Look:
    """What one look at one resource found, and why not of the others."""

    found: dict[str, Finding] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, servers: Sequence[Server], found: Found, use: Use, standing: Standing, days: float) -> None:
        names = [str(s.id) for s in servers]
        self.codes.update(zip(names, found.code.tolist(), strict=True))
        self.found.update({names[i]: finding(int(i), found, use, standing, days) for i in np.flatnonzero(found.code <= 1)})

    def why(self, server: str) -> str:
        return WHY_NOT.get(CODES[self.codes[server]], "") if server in self.codes else "it was not there when history was looked through"


def _standing(
    resource: str, servers: Sequence[Server], world: _World, day: Mapping[str, float], speaks: Mapping[str, Collection[str]]
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


def _has(server: Server, resource: str) -> float:
    return server.allocation.cpu.cores if resource == "cpu" else server.allocation.memory.mib


def _least_now(server: Server, tier: Tier, resource: str) -> float:
    """Memory: the working set and its margin. CPU comes back in a moment: nothing."""
    if resource == "cpu" or server.last is None or server.last.memory is None:
        return 0.0
    return float(with_margin(np.array([server.last.memory.in_use.mib]), np.array([tier.memory.margin_share]))[0])


def _back(row: Reclaim, server: Server, lately: _Lately | None) -> str:
    """A sentence when the demand came back, or is forecast to within the half-hour."""
    raised = server.raised_floor.mib if row.resource == "memory" and server.raised_floor else 0.0
    if row.state in LOWERED and raised > row.floor:
        return "its demand came back: its agent had to give it memory"
    if lately is None:
        return ""
    overhead = _overhead(server) if row.resource == "memory" else 0.0
    for amount, said in (
        (lately.seen, "its demand came back: {0} in the last minutes"),
        (lately.ahead, "{0} are forecast within the half-hour"),
    ):
        if amount + overhead > row.floor:
            return f"{said.format(say(row.resource, amount + overhead))}, above its floor of {say(row.resource, row.floor)}"
    return ""


def _overhead(server: Server) -> float:
    memory = server.last.memory if server.last else None
    return (memory.in_use - memory.demand).mib if memory else 0.0


def _say(c: Change) -> None:
    if c.before is None or c.before.state is not c.after.state or c.before.floor != c.after.floor:
        a = c.after
        _log.info("reclaim", server=a.server, resource=a.resource, state=a.state.value, floor=round(a.floor, 3), why=a.why, cause=a.cause)
