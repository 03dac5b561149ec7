"""Forecasts of groups of servers: hosts, projects, segments, zones. Every route needs the admin token."""

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from foreshape_controller.api import present
from foreshape_controller.api.auth import operator
from foreshape_controller.api.services import Services
from foreshape_controller.decide.segments import grouped
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import SegmentAnswer, SeriesForecastAnswer
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.group import Groups, Member, group_series, kind_of
from foreshape_controller.model.history import GROUPS, WATCHED

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
    members = _groups(services).members
    return [_segment(services, name, len(members.get(group_series("segment", name), ()))) for name in services.segments.segments]


def _segment(services: Services, name: str, servers: int) -> SegmentAnswer:
    cpu, memory = (services.store.forecasts.latest(r, group_series("segment", name)) for r in ("cpu", "memory"))
    return SegmentAnswer(
        name=name,
        servers=servers,
        cpu_cores=_median(cpu),
        cpu_peak24h_q95_cores=_peak(cpu),
        memory_mib=_median(memory),
        memory_peak24h_q95_mib=_peak(memory),
        origin=float(cpu.origin) if cpu else None,
    )


def _median(f: Forecast | None) -> float | None:
    return None if f is None else float(f.steps[0, :, MEDIAN].mean())


def _peak(f: Forecast | None) -> float | None:
    return None if f is None else float(f.peak24h[0, HIGH])


def _groups(services: Services) -> Groups:
    view = services.store.inventory.view(services.clock())
    return grouped([Member.of(s) for s in view.servers], services.segments, services.store.profiles.names())


ROUTER = Router("/v1", guards=[operator], route_handlers=[forecast, segments], tags=["operators"])
