"""One server as it is now, in one answer; and what servers and hosts used over time, for charts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from litestar import Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter
from msgspec.structs import replace

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.api.tiers import tier_names
from foreshape_controller.decide import caps as cap_rules
from foreshape_controller.decide import discreet
from foreshape_controller.decide.coarse import Coarse, fitting
from foreshape_controller.errors import Invalid
from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.cap import UNITS
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import RESOURCES, WATCHED, Floats
from foreshape_controller.model.live import LiveAnswer, LiveCap, LiveMode, LiveNotice, LiveResource, SeriesAnswer, SeriesResource
from foreshape_controller.model.matching import accuracy
from foreshape_controller.model.moment import read_moment
from foreshape_controller.model.plan import Decision, Sizing
from foreshape_controller.model.server import ClusterView, Server

TOLD = (0.5, 0.9, 0.99)
"""Quantiles of peaks."""
STEPS_MOST, STEPS_USUAL = 10_000, 1000
DAYS_MOST = 400
DAY_S = 86400.0
Since = Annotated[str, QueryParameter(name="from", max_length=60, description="epoch seconds, ISO 8601, or '2h ago'; empty: days back")]
Until = Annotated[str, QueryParameter(name="to", max_length=60, description="the same; empty: now")]
Days = Annotated[float, QueryParameter(gt=0, le=DAYS_MOST, description="how far back, where 'from' is empty")]
Step = Annotated[int | None, QueryParameter(ge=1, le=86400, description="seconds, a multiple of a bin; empty: at most 1000 steps")]
Bounds = tuple[float | None, float | None, float | None]
"""What was sold, floor, ceiling: as they are now."""

Wanted = Annotated[str, QueryParameter(name="resource", max_length=100, description="some of cpu, memory, disk, net; comma separated")]


@get("/servers/{name:str}/live", rule="servers:show", sync_to_thread=True)
def live(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> LiveAnswer:
    """Allocation, demand, floor, ceiling, mode and who set it, the pending order, the next peaks, caps, notices, levers."""
    view = visible.view(services, caller)
    found, words = present.find(view, name), visible.words(services, caller)
    decision, order = next(iter(services.store.journal.decisions(found.id, limit=1)), None), _pending(services, found)
    if not caller.everywhere:
        decision = decision and discreet.decision(decision, "", words)
        order = order and discreet.order(order, words)
    told = services.store.notices.list(found.project, server=found.id, limit=10)
    one = ClusterView(at=view.at, hosts=(), servers=(found,))
    return LiveAnswer(
        at=view.at,
        server=visible.told(caller, found, present.server(found, view.at, tier_names(services, one)[found.id])),
        resources=tuple(_resource(services, found, r, decision) for r in RESOURCES),
        mode=_mode(services, found),
        order=order,
        caps=tuple(replace(c, reason=words(c.reason)) for c in _caps(services, one)),
        notices=tuple(LiveNotice(at=n.at, kind=n.kind, resource=n.resource, text=words(n.text)) for n in told),
        profile_accuracy=accuracy(services.store.profiles.tally(found.id)),
    )


@dataclass(frozen=True)
class Asked:
    """What is wanted of a history: the query of both routes."""

    resources: tuple[str, ...]
    since: float
    until: float
    step_s: int | None


def asked(
    services: NamedDependency[Services], resource: Wanted = "", since: Since = "", until: Until = "", days: Days = 3.0, step: Step = None
) -> Asked:
    """Raises Invalid."""
    return Asked(_resources(resource), *_span(services, since, until, days), step)


@get("/servers/{name:str}/history", rule="servers:show", sync_to_thread=True)
def server_history(
    services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str], wanted: NamedDependency[Asked]
) -> SeriesAnswer:
    """What it wanted and had, in steps: mean and maximum of each."""
    found = visible.server(services, caller, name)
    decision = next(iter(services.store.journal.decisions(found.id, limit=1)), None)
    bounds = {r: (_sold(found, r), _floor(decision, r), _ceiling(found, r)) for r in RESOURCES}
    return _series(services, (found.id, found.name), wanted, bounds)


@get("/hosts/{name:str}/history", opt=OPERATORS, sync_to_thread=True)
def host_history(services: NamedDependency[Services], name: FromPath[str], wanted: NamedDependency[Asked]) -> SeriesAnswer:
    """The same of a host."""
    found = present.find_host(services.store.inventory.view(services.clock()), name)
    bounds = {"cpu": (float(found.cpus), None, None), "memory": (found.memory_total.mib, None, None)}
    return _series(services, (f"host:{found.name}", str(found.name)), wanted, bounds)


ROUTER = Router(
    "/v1",
    route_handlers=[live, server_history, host_history],
    dependencies={"wanted": Provide(asked, sync_to_thread=False)},
    tags=["live"],
)


# -- now --------------------------------------------------------------------------------------------------------------


def _resource(services: Services, s: Server, resource: str, decision: Decision | None) -> LiveResource:
    allocated = s.allocation.cpu.cores if resource == "cpu" else s.allocation.memory.mib
    demand, sizing = _demand(s, resource), _sizing(decision, resource)
    forecast = services.store.forecasts.latest(resource, s.id)
    return LiveResource(
        resource=resource,
        unit=present.UNITS[resource],
        demand=demand,
        allocated=allocated,
        entitled=_sold(s, resource),
        floor=_floor(decision, resource),
        ceiling=_ceiling(s, resource),
        slack=None if demand is None or allocated <= 0 else (allocated - demand) / allocated,
        target=sizing.target if sizing else None,
        reason=sizing.reason if sizing else "",
        peak30m=_peaks(forecast.peak30m[0]) if forecast else {},
        peak24h=_peaks(forecast.peak24h[0]) if forecast else {},
        forecast_source=forecast.source[0] if forecast else "",
        forecast_age_s=_age(services, forecast),
    )


def _mode(services: Services, s: Server) -> LiveMode:
    levels = services.store.modes.now()
    operators, owner = levels.operators(s.host, s.project, s.id), levels.owner(s.project, s.id)
    chosen = services.store.choices.of(s.id)
    by = "; ".join(f"{c.scope}: {c.mode.value} by {c.by or 'its owner'}" + (f" ({c.reason})" if c.reason else "") for c in chosen)
    said = f"operators: {operators.value}; owner: {by or f'nothing chosen, {owner.value}'}"
    return LiveMode(in_force=min(operators, owner, key=lambda m: m.rank).value, operators=operators.value, owner=owner.value, said=said)


def _pending(services: Services, s: Server) -> OrderAnswer | None:
    return next((o for o in services.store.journal.orders(s.id, 1) if o.status == "open"), None)


def _caps(services: Services, one: ClusterView) -> Iterator[LiveCap]:
    """The strictest of each resource."""
    now, server = services.clock(), one.servers[0]
    for resource, by_server in services.guarding.bounds(one, now).items():
        cap = by_server.get(server.id)
        if cap is not None:
            amount = cap_rules.effective(cap, services.guarding.floor(server, resource))
            yield LiveCap(id=cap.id, resource=resource, amount=amount, unit=UNITS[resource], until=cap.until, reason=cap.reason)


def _demand(s: Server, resource: str) -> float | None:
    cpu, memory = (s.last.cpu, s.last.memory) if s.last else (None, None)
    if resource == "cpu":
        return cpu.demand.cores if cpu else None
    return memory.demand.mib if memory else None


def _sizing(decision: Decision | None, resource: str) -> Sizing | None:
    return None if decision is None else decision.cpu if resource == "cpu" else decision.memory


def _floor(decision: Decision | None, resource: str) -> float | None:
    sizing = _sizing(decision, resource)
    return None if sizing is None else sizing.floor


def _sold(s: Server, resource: str) -> float:
    return s.entitlement.cpu.cores if resource == "cpu" else s.entitlement.memory.mib


def _ceiling(s: Server, resource: str) -> float:
    return s.ceiling.cpu.cores if resource == "cpu" else s.ceiling.memory.mib


def _peaks(row: Floats) -> Mapping[str, float]:
    return {f"{q:g}": round(float(row[LEVELS.index(q)]), 4) for q in TOLD}


def _age(services: Services, forecast: Forecast | None) -> float | None:
    return None if forecast is None else max(0.0, services.clock() - float(forecast.origin))


# -- over time --------------------------------------------------------------------------------------------------------


def _resources(said: str) -> tuple[str, ...]:
    wanted = tuple(r.strip() for r in said.split(",") if r.strip())
    if odd := [r for r in wanted if r not in WATCHED]:
        raise Invalid(f"resource: there is no {odd[0][:40]!r}; known are {', '.join(WATCHED)}")
    return wanted or WATCHED


def _span(services: Services, since: str, until: str, days: float) -> tuple[float, float]:
    """Epoch seconds. Raises Invalid."""
    now = services.clock()
    end = min(now, _moment("to", until, now)) if until else now
    begin = _moment("from", since, now) if since else end - days * DAY_S
    if not end - DAYS_MOST * DAY_S <= begin < end:
        raise Invalid(f"from: at most {DAYS_MOST} days before 'to', and not after it")
    return begin, end


def _moment(field: str, text: str, now: float) -> float:
    try:
        at = read_moment(text, now)
    except ValueError as e:
        raise Invalid(f"{field}: {e}") from e
    if not 0 <= at <= 1e11:
        raise Invalid(f"{field}: {at:g} is no time that anything was measured at")
    return at


def _series(services: Services, of: tuple[str, str], wanted: Asked, bounds: Mapping[str, Bounds]) -> SeriesAnswer:
    history, bin_s = services.store.history, services.store.history.step_s
    bins = int(np.ceil(wanted.until / bin_s)) - int(np.floor(wanted.since / bin_s))
    step = fitting(bins, STEPS_USUAL) if wanted.step_s is None else _step(wanted.step_s, bin_s, bins)
    bins = -(-bins // step) * step
    found = {r: (history.read_lived if r in RESOURCES else history.read)(r, (of[0],), wanted.until, bins) for r in wanted.resources}
    start = next(iter(found.values())).start
    return SeriesAnswer(
        series=of[0],
        name=of[1],
        step_s=step * bin_s,
        at=tuple(float(start + k * step * bin_s) for k in range(bins // step)),
        resources=tuple(_told(r, Coarse(h, step), bounds.get(r, (None, None, None))) for r, h in found.items()),
    )


def _step(step_s: int, bin_s: int, bins: int) -> int:
    if step_s % bin_s:
        raise Invalid(f"step: {step_s} is not a multiple of {bin_s} seconds, the width of a bin")
    if bins * bin_s // step_s > STEPS_MOST:
        raise Invalid(f"step: more than {STEPS_MOST} steps would be told: make them wider, or the span shorter")
    return step_s // bin_s


def _told(resource: str, c: Coarse, bounds: Bounds) -> SeriesResource:
    entitled, floor, ceiling = ((value,) * len(c.mean) for value in bounds)
    return SeriesResource(
        resource=resource,
        unit=present.UNITS[resource],
        demand=_row(c.mean),
        max=_row(c.max),
        allocated=_row(c.allocated),
        coverage=tuple(round(float(v), 4) for v in c.coverage),
        censored=_row(c.censored),
        entitled=entitled,
        floor=floor,
        ceiling=ceiling,
    )


def _row(values: Floats) -> tuple[float | None, ...]:
    """NaN is not JSON."""
    return tuple(None if v != v else round(v, 4) for v in values.tolist())  # noqa: PLR0124 - NaN
