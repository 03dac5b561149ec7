"""Forecasts of groups of servers: hosts, projects, segments, zones; what segments have and pass on."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
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
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.group import Groups, Member, group_series
from foreshape_controller.model.history import RESOURCES, WATCHED
from foreshape_controller.model.kinds import GROUPS, kind_of
from foreshape_controller.model.server import ClusterView

Since = Annotated[float, QueryParameter(gt=0, le=365 * 86400, description="seconds back from now")]
MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)


@get("/forecasts/{series:str}", rule="forecasts:show", sync_to_thread=True)
def forecast(services: NamedDependency[Services], caller: NamedDependency[Caller], series: FromPath[str]) -> SeriesForecastAnswer:
    """What a group is expected to want, and how many servers it is expected to have. A server's is at ``/servers/{name}/forecast``.

    A tenant may ask about his own project.
    """
    kind = kind_of(series)
    if kind is None:
        raise Invalid(f"{series!r} names no group: write {', '.join(f'{k}:NAME' for k in GROUPS)}, or ask /v1/servers/NAME/forecast")
    his = caller.everywhere or (kind == "project" and caller.sees(series.removeprefix("project:")))
    latest = [services.store.forecasts.latest(r, series) for r in (*WATCHED, "servers")] if his else []
    fans = [f for f in latest if f is not None]
    if not fans:
        raise NotFound(f"there is no forecast of {series}: nobody belongs to it, or the next plan makes one")
    return SeriesForecastAnswer(
        series=series,
        kind=kind,
        name=series.removeprefix(f"{kind}:"),
        servers=len(_grouped(services, visible.glance(services, caller)).members.get(series, ())),
        origin=float(fans[0].origin),
        fans=tuple(present.fan(f, series, visible.words(services, caller)) for f in fans),
    )


@get("/segments", sync_to_thread=True)
def segments(services: NamedDependency[Services]) -> list[SegmentAnswer]:
    """What the servers of each want, have and were sold together, and what is expected."""
    return _segments(services, tuple(services.segments.segments))[1]


@get("/segments/{name:str}", sync_to_thread=True)
def segment(services: NamedDependency[Services], name: FromPath[str]) -> SegmentAnswer:
    """The same of one, and who is in it."""
    known = services.segments.segments
    if name not in known:
        raise NotFound(f"there is no segment {name[:80]!r}; known are {', '.join(known) or 'none: [plan] segments_file names their file'}")
    groups, (answer,) = _segments(services, (name,))
    answer.members = tuple(groups.members.get(group_series("segment", name), ()))
    return answer


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


def _segments(services: Services, names: Sequence[str]) -> tuple[Groups, list[SegmentAnswer]]:
    view = services.store.inventory.lately(services.clock(), visible.GLANCE_S)
    groups = _grouped(services, view)
    floors, rooms = _floors(services, view, groups), _rooms(services, view)
    return groups, [_segment(services, n, standing(view, groups, group_series("segment", n), floors, rooms)) for n in names]


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


def _grouped(services: Services, view: ClusterView) -> Groups:
    return grouped([Member.of(s) for s in view.servers], services.segments, services.store.profiles.names())


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[forecast, segments, segment, report], tags=["operators"])
