"""The fleet at one glance, and over days with the day ahead: what a page would otherwise need many requests for.

A tenant sees the same of his own project; hosts and their capacity are not his business.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.cloud import summary as cloud_summary
from foreshape_controller.api.operators import mode_answer
from foreshape_controller.api.services import Services
from foreshape_controller.api.stops import halt_answer
from foreshape_controller.decide.proof import DAY_S, alarm, changed_share, tier_figures
from foreshape_controller.decide.segments import grouped
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.model.answers import SummaryAnswer
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES, Floats, History
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.mark import Mark
from foreshape_controller.model.overview import (
    AmountsNow,
    FleetHistoryAnswer,
    FleetResource,
    HappeningAnswer,
    OverviewAnswer,
    ProjectAnswer,
)
from foreshape_controller.model.report import TierFigures
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_controller.store.marks import MarkKey, added
from foreshape_wire.ids import HostName

BINS = 6
"""Of a half-hour."""
SERVER_DAYS = 3500
"""Most days of servers' history that are read for one tenant's chart; of more servers fewer days are shown."""
CALENDAR_MOST_S, CALENDAR_MOST = 400 * 86400.0, 2000

Days = Annotated[int, QueryParameter(ge=1, le=31, description="days back from now")]
Series = tuple[tuple[float, ...], dict[str, tuple[Floats, Floats, Floats]]]
"""Starts of half-hours; by resource: demand, allocated, entitled."""


@get("/overview", rule="overview:read", sync_to_thread=True)
def overview(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> OverviewAnswer:
    """How things are now."""
    store, now = services.store, services.clock()
    answer = _now(services, caller, visible.glance(services, caller))
    if caller.everywhere:
        marks = added(store.marks.between(now - DAY_S, now))
        figures = tier_figures(marks, services.at_prices(services.policy.current()), store.tier_factors.all(), store.history.step_s)
        for resource, amounts in (("cpu", answer.cpu), ("memory", answer.memory)):
            _judged(amounts, resource, marks, figures)
        answer.changed_share_24h = changed_share(marks)
        answer.alarm = alarm(marks, forecasts_on=services.settings.plan.forecast != "off")
        answer.cloud = cloud_summary(services)
        answer.needs = len(store.needs.list(None))
    return answer


@get("/overview/history", rule="overview:read", sync_to_thread=True)
def history(
    services: NamedDependency[Services], caller: NamedDependency[Caller], days: Days = 7, of: FromQuery[str] = ""
) -> FleetHistoryAnswer:
    """Demand, allocation and what was sold in the last days, and demand's forecast for the next.

    ``of``: a group (``host:NAME``, ``segment:NAME``, ``zone:NAME``, ``project:ID``); without one the fleet, or the caller's project.
    """
    view = visible.glance(services, caller)
    scope = of or _scope(caller)
    if scope == "cloud":
        at, sums = _marked(services, days)
        return _told(services, view, scope, (at, sums))
    mine = _members(services, caller, view, scope)
    read = max(1, min(days, SERVER_DAYS // max(1, len(mine))))
    answer = _told(services, view, scope, _added(services, mine, read))
    answer.note = f"{len(mine)} servers: the last {read} days are added up" if read < days else ""
    return answer


@get("/overview/projects", opt=OPERATORS, sync_to_thread=True)
def projects(services: NamedDependency[Services]) -> list[ProjectAnswer]:
    """Every project that has servers here; who was sold the most cores is first."""
    view = visible.fleet(services)
    of: dict[str, list[Server]] = {}
    for s in view.servers:
        of.setdefault(s.project, []).append(s)
    found = [_project(name, servers, view.at) for name, servers in of.items()]
    return sorted(found, key=lambda p: -p.cpu.entitled)


@get("/overview/calendar", rule="events:list", sync_to_thread=True)
def calendar(
    services: NamedDependency[Services], caller: NamedDependency[Caller], since: FromQuery[float], until: FromQuery[float]
) -> list[HappeningAnswer]:
    """When events happen in a span of time (epoch seconds, at most 400 days), the earliest first."""
    if not 0 < until - since <= CALENDAR_MOST_S:
        raise Invalid("until: a time after since is wanted, at most 400 days later")
    his = visible.scopes(services, caller)
    events = [e for e in services.store.events.all() if e.scope in his]
    found = [
        HappeningAnswer(event=e.id, name=e.name, scope=e.scope, start=o.start, end=o.end)
        for e in events
        for o in Calendar.occurrences(e, since, until)[:CALENDAR_MOST]
    ]
    return sorted(found, key=lambda h: (h.start, h.name))[:CALENDAR_MOST]


ROUTER = Router("/v1", route_handlers=[overview, history, projects, calendar], tags=["overview"])


# -- now --------------------------------------------------------------------------------------------------------------


def _now(services: Services, caller: Caller, view: ClusterView) -> OverviewAnswer:
    stale_after_s, modes = services.settings.plan.stale_after_s, services.store.modes
    fleet = present.summary(view, Counter(), stale_after_s, simulated=services.settings.simulated)
    his, words = visible.scopes(services, caller), visible.words(services, caller)
    cloud = modes.get("cloud")
    assert cloud is not None
    stops = [mode_answer(m) for m in modes.all() if m.stopped and (m.scope == "cloud" or m.scope in his)]
    halts = [halt_answer(h) for h in services.store.halts.all() if h.active and (h.scope == "cloud" or h.scope in his)]
    for stop in stops:
        stop.reason = words(stop.reason) if stop.scope in his else ""  # of the cloud as a whole: the operators' own words
    for halt in halts:
        halt.reason = words(halt.reason) if halt.scope in his else ""
    return OverviewAnswer(
        at=view.at,
        scope=_scope(caller),
        simulated=fleet.simulated,
        openstack=services.cloud is not None,
        hosts=fleet.hosts,
        hosts_fresh=fleet.hosts_fresh,
        servers=fleet.servers,
        servers_unmeasured=fleet.servers_unmeasured,
        data_age_s=max(0.0, view.at - max(s.last_seen for s in view.servers)) if view.servers else None,
        stale_after_s=stale_after_s,
        cpu=_amounts(fleet, "cpu", view.hosts),
        memory=_amounts(fleet, "memory", view.hosts),
        modes=dict(Counter(s.mode.value for s in view.servers)),
        mode=cloud.mode.value,
        stops=tuple(stops),
        halts=tuple(halts),
    )


def _amounts(fleet: SummaryAnswer, resource: str, hosts: Sequence[Host] = ()) -> AmountsNow:
    """``hosts``: whose capacity is told; none: it is not."""
    unit = "cores" if resource == "cpu" else "mib"
    demand, allocated, entitled = (float(getattr(fleet, f"{resource}_{word}_{unit}")) for word in ("demand", "allocated", "entitled"))
    return AmountsNow(demand=demand, allocated=allocated, entitled=entitled, capacity=_capacity(hosts, resource) if hosts else None)


def _project(name: str, servers: Sequence[Server], at: float) -> ProjectAnswer:
    fleet = present.summary(ClusterView(at=at, hosts=(), servers=tuple(servers)), Counter(), 0.0, simulated=False)
    called = next((s.project_name for s in servers if s.project_name), "")
    return ProjectAnswer(project=name, name=called, servers=len(servers), cpu=_amounts(fleet, "cpu"), memory=_amounts(fleet, "memory"))


def _scope(caller: Caller) -> str:
    return "cloud" if caller.everywhere else f"project:{caller.project}"


def _capacity(hosts: Sequence[Host], resource: str) -> float:
    return float(sum(h.cpus if resource == "cpu" else h.memory_total.mib for h in hosts))


def _judged(amounts: AmountsNow, resource: str, marks: dict[tuple[str, str], Mark], figures: Sequence[TierFigures]) -> None:
    """What the last day's half-hours say."""
    total = sum((m for (_, r), m in marks.items() if r == resource), Mark())
    rows = [f for f in figures if f.resource == resource]
    money = [f.price_freed for f in rows if f.price_freed is not None]
    amounts.violation_share_24h = total.violation_share
    amounts.violation_target = min((f.violation_target for f in rows if f.bins), default=None)
    amounts.money_freed_24h = sum(money) if money else None


# -- over days --------------------------------------------------------------------------------------------------------


def _marked(services: Services, days: int) -> Series:
    """The whole fleet's, from the half-hours that are judged: nothing has to be read of each server."""
    found = services.store.marks.between(services.clock() - days * DAY_S, services.clock())
    slots = sorted({k.slot for k, _ in found})
    row = {slot: i for i, slot in enumerate(slots)}
    return tuple(map(float, slots)), {r: _columns([f for f in found if f[0].resource == r], row) for r in RESOURCES}


def _columns(found: Sequence[tuple[MarkKey, Mark]], row: dict[int, int]) -> tuple[Floats, Floats, Floats]:
    """Sums of bins become means of a half-hour."""
    sums = np.zeros((3, len(row)), np.float32)
    for key, mark in found:
        sums[:, row[key.slot]] += (mark.demand / BINS, mark.allocation / BINS, mark.entitlement / BINS)
    return sums[0], sums[1], sums[2]


def _added(services: Services, servers: Sequence[Server], days: int) -> Series:
    """A tenant's: his servers' own histories, added up."""
    store, names = services.store.history, [s.id for s in servers]
    bins = days * BINS_PER_DAY
    start, _ = store.span(services.clock(), bins)
    skip = -(start // store.step_s) % BINS  # begin at a whole half-hour
    count = (bins - skip) // BINS
    at = tuple(float(start + (skip + i * BINS) * store.step_s) for i in range(count))
    read = {r: store.read_lived(r, names, services.clock(), bins) for r in RESOURCES}
    return at, {r: _halved(h, skip, count) for r, h in read.items()}


def _halved(h: History, skip: int, count: int) -> tuple[Floats, Floats, Floats]:
    """[n, T] bins become half-hours, all servers together: each adds the mean of its bins with data. NaN where nobody has any."""
    assert h.allocated is not None
    there = np.isfinite(h.mean)
    columns = (h.mean, h.allocated, np.where(there, h.entitlement[:, None], np.nan))
    demand, allocated, entitled = (_summed(c[:, skip : skip + count * BINS].reshape(len(h.series), count, BINS)) for c in columns)
    return demand, allocated, entitled


def _summed(values: Floats) -> Floats:
    """[n, count, bins] to [count]."""
    told = np.isfinite(values)
    means = np.nansum(values, axis=2) / np.maximum(told.sum(axis=2), 1)
    return np.where(told.any(axis=(0, 2)), means.sum(axis=0), np.nan).astype(np.float32)


def _told(services: Services, view: ClusterView, scope: str, found: Series) -> FleetHistoryAnswer:
    at, sums = found
    return FleetHistoryAnswer(
        scope=scope,
        step_s=BINS * services.store.history.step_s,
        at=at,
        resources=tuple(_resource(services, view, scope, r, sums[r]) for r in RESOURCES),
    )


def _members(services: Services, caller: Caller, view: ClusterView, scope: str) -> list[Server]:
    """Servers of a group. Raises Invalid for what is no group, NotFound for one that is another's or has nobody in it."""
    kind = kind_of(scope)
    if kind is None:
        raise Invalid(f"of: {scope[:80]!r} names no group: write host:NAME, project:ID, segment:NAME or zone:NAME")
    if not caller.everywhere and not (kind == "project" and caller.sees(scope.removeprefix("project:"))):
        raise NotFound(f"of: there is no {scope[:80]!r}, or it is not yours")
    near = view.on(HostName(scope.removeprefix("host:"))) if kind == "host" else view.servers
    groups = grouped([Member.of(s) for s in near], services.segments, services.store.profiles.names())
    found = {str(name) for name in groups.members.get(scope, ())}
    if not found and scope != _scope(caller) and _of_nobody(view, scope):
        raise NotFound(f"of: there is no {scope[:80]!r}, or nobody is in it")
    return [s for s in near if s.id in found]


def _of_nobody(view: ClusterView, scope: str) -> bool:
    """An empty host is a host all the same."""
    return scope not in {f"host:{h.name}" for h in view.hosts}


def _resource(services: Services, view: ClusterView, scope: str, resource: str, columns: tuple[Floats, Floats, Floats]) -> FleetResource:
    demand, allocated, entitled = (tuple(map(_number, c.tolist())) for c in columns)
    found, note = _ahead(services, scope, resource)
    hosts = [h for h in view.hosts if scope in ("cloud", f"host:{h.name}")]
    return FleetResource(
        resource=resource,
        unit=present.UNITS[resource],
        demand=demand,
        allocated=allocated,
        entitled=entitled,
        capacity=_capacity(hosts, resource) if hosts else None,
        levels=LEVELS,
        half_hours=() if found is None else tuple(tuple(map(float, row)) for row in found.half_hours.sum(axis=0)),
        origin=None if found is None else float(found.origin),
        note=note,
    )


def _ahead(services: Services, scope: str, resource: str) -> tuple[Forecast | None, str]:
    """A group has a forecast of its own. The fleet's is its zones' added up: servers' would be far too wide (domain.md §3)."""
    forecasts, since = services.store.forecasts, services.clock() - DAY_S
    if scope != "cloud":
        found = forecasts.latest(resource, scope)
        return (found, "its own forecast") if found is not None and found.origin >= since else (None, "")
    zones = forecasts.kind(resource, "zone", since)
    if zones is None:
        return None, ""
    many = len(zones.series) > 1
    return zones, f"{len(zones.series)} zones' ranges added up: a little wider than the fleet's own" if many else "the zone's own forecast"


def _number(value: float) -> float | None:
    return round(value, 4) if value == value else None  # noqa: PLR0124 - NaN
