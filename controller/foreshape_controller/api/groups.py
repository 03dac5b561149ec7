"""Forecasts of groups of servers: hosts, projects, segments, zones. Every route needs the admin token."""

from typing import Annotated

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from foreshape_controller.api import present
from foreshape_controller.api.auth import operator
from foreshape_controller.api.services import Services
from foreshape_controller.decide.reclaim import tier_floor
from foreshape_controller.decide.segment_sums import Floors, Passed, Rooms, Standing, Sums, balances, passed, standing
from foreshape_controller.decide.segments import grouped
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import (
    BalanceAnswer,
    SegmentAmounts,
    SegmentAnswer,
    SegmentReportAnswer,
    SeriesForecastAnswer,
    TransferAnswer,
)
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.group import Groups, Member, group_series, kind_of
from foreshape_controller.model.history import GROUPS, RESOURCES, WATCHED
from foreshape_controller.model.server import ClusterView

Since = Annotated[float, QueryParameter(gt=0, le=365 * 86400, description="seconds back from now")]
MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)


@get("/forecasts/{series:str}", sync_to_thread=True)
def forecast(services: NamedDependency[Services], series: FromPath[str]) -> SeriesForecastAnswer:
    """What a group is expected to want, and how many servers it is expected to have. A server's is at ``/servers/{name}/forecast``."""
    kind = kind_of(series)
    if kind is None:
        raise Invalid(f"{series!r} names no group: write {', '.join(f'{k}:NAME' for k in GROUPS)}, or ask /v1/servers/NAME/forecast")
    latest = [services.store.forecasts.latest(r, series) for r in (*WATCHED, "servers")]
    fans = [f for f in latest if f is not None]
    if not fans:
        raise NotFound(f"there is no forecast of {series}: nobody belongs to it, or the next plan makes one")
    return SeriesForecastAnswer(
        series=series,
        kind=kind,
        name=series.removeprefix(f"{kind}:"),
        servers=len(_groups(services).members.get(series, ())),
        origin=float(fans[0].origin),
        fans=tuple(present.fan(f, series) for f in fans),
    )


@get("/segments", sync_to_thread=True)
def segments(services: NamedDependency[Services]) -> list[SegmentAnswer]:
    """What the servers of each want, have and were sold together, and what is expected."""
    view = services.store.inventory.view(services.clock())
    groups = _grouped(services, view)
    floors, rooms = _floors(services, view, groups), _rooms(services, view)
    return [_segment(services, n, standing(view, groups, group_series("segment", n), floors, rooms)) for n in services.segments.segments]


@get("/segments/report", sync_to_thread=True)
def report(services: NamedDependency[Services], since_s: Since = 86400.0) -> SegmentReportAnswer:
    """Who gave and who got on hosts that were short, in the last ``since_s`` seconds."""
    now = services.clock()
    moved = passed(services.store.transfers.since(now - since_s))
    return SegmentReportAnswer(
        since=now - since_s,
        until=now,
        transfers=tuple(_transfer(*of, p) for of, p in sorted(moved.items(), key=lambda m: (m[0][2], -m[1].amount, m[0]))),
        balances=tuple(
            BalanceAnswer(party=party, resource=r, unit=present.UNITS[r], gave=b.gave, got=b.got)
            for (party, r), b in sorted(balances(moved).items(), key=lambda m: (m[0][1], m[1].got - m[1].gave, m[0]))
        ),
    )


def _transfer(giver: str, taker: str, resource: str, p: Passed) -> TransferAnswer:
    return TransferAnswer(
        giver=giver,
        taker=taker,
        resource=resource,
        unit=present.UNITS[resource],
        amount=p.amount,
        times=p.times,
        hosts=len(p.hosts),
        last_at=p.last_at,
    )


def _segment(services: Services, name: str, now: Standing) -> SegmentAnswer:
    cpu, memory = (services.store.forecasts.latest(r, group_series("segment", name)) for r in RESOURCES)
    return SegmentAnswer(
        name=name,
        servers=now.servers,
        hosts=now.hosts,
        cpu=_amounts(now.sums["cpu"], cpu),
        memory=_amounts(now.sums["memory"], memory),
        origin=float(cpu.origin) if cpu else None,
    )


def _amounts(s: Sums, f: Forecast | None) -> SegmentAmounts:
    return SegmentAmounts(
        demand=s.demand,
        allocated=s.allocated,
        floor=s.floor,
        entitled=s.entitled,
        capacity=s.capacity,
        room=s.room,
        slack=s.slack,
        ahead=None if f is None else float(f.steps[0, :, MEDIAN].mean()),
        peak24h_q95=None if f is None else float(f.peak24h[0, HIGH]),
    )


def _floors(services: Services, view: ClusterView, groups: Groups) -> Floors:
    """In force: the tier's, or less where a server is being reclaimed."""
    tiers = services.policy.current()
    lowered = services.store.reclaims.floors(view.at)
    of = {s.id: tiers.of(s, groups.of.get(s.id, ())) for s in view.servers}
    return {r: {s.id: lowered.get(r, {}).get(s.id, tier_floor(s, of[s.id], r)) for s in view.servers} for r in RESOURCES}


def _rooms(services: Services, view: ClusterView) -> Rooms:
    plan = services.settings.plan
    return {
        "cpu": {h.name: h.cpus * plan.cpu_ratio for h in view.hosts},
        "memory": {h.name: max(0.0, h.memory_total.mib - plan.memory_reserved_mib) for h in view.hosts},
    }


def _groups(services: Services) -> Groups:
    return _grouped(services, services.store.inventory.view(services.clock()))


def _grouped(services: Services, view: ClusterView) -> Groups:
    return grouped([Member.of(s) for s in view.servers], services.segments, services.store.profiles.names())


ROUTER = Router("/v1", guards=[operator], route_handlers=[forecast, segments, report], tags=["operators"])
