"""What operators ask. Every route needs the admin token."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import learning, present
from foreshape_controller.api.auth import operator
from foreshape_controller.api.cloud import host_words
from foreshape_controller.api.cloud import summary as cloud_summary
from foreshape_controller.api.scopes import by_id, one_line, set_before
from foreshape_controller.api.services import Services
from foreshape_controller.api.tiers import tier_names
from foreshape_controller.decide.proof import DAY_S, alarm, changed_share
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import (
    ForecastAnswer,
    HostAnswer,
    JoinAnswer,
    ModeAnswer,
    PlanAnswer,
    ServerAnswer,
    SummaryAnswer,
)
from foreshape_controller.model.history import WATCHED
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store.inventory import HostDetail
from foreshape_controller.store.marks import added
from foreshape_controller.store.modes import ModeSet
from foreshape_wire.order import Mode

REASON_MOST = 1000
Scope = Annotated[str, QueryParameter(name="scope", description="cloud, host:NAME, project:ID or server:ID")]


class ModeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``PUT /v1/mode``. An empty mode lets the scope follow the others again."""

    scope: str = "cloud"
    mode: str
    reason: str = ""


@get("/hosts", sync_to_thread=True)
def hosts(services: NamedDependency[Services]) -> list[HostAnswer]:
    view, details = _view(services), services.store.inventory.details()
    halts = _halts(services)
    return [_host(services, view, h.name, details, halts) for h in view.hosts]


@get("/hosts/{name:str}", sync_to_thread=True)
def host(services: NamedDependency[Services], name: FromPath[str]) -> HostAnswer:
    return _host(services, _view(services), name, services.store.inventory.details(), _halts(services))


@get("/servers", sync_to_thread=True)
def servers(services: NamedDependency[Services]) -> list[ServerAnswer]:
    view = _view(services)
    tiers = tier_names(services, view)
    return [present.server(s, view.at, tiers[s.id]) for s in view.servers]


@get("/servers/{name:str}", sync_to_thread=True)
def server(services: NamedDependency[Services], name: FromPath[str]) -> ServerAnswer:
    view = _view(services)
    found = present.find(view, name)
    return present.server(found, view.at, tier_names(services, view)[found.id])


@get("/servers/{name:str}/forecast", sync_to_thread=True)
def forecast(services: NamedDependency[Services], name: FromPath[str]) -> ForecastAnswer:
    found = present.find(_view(services), name)
    latest = [services.store.forecasts.latest(r, found.id) for r in WATCHED]
    fans = [f for f in latest if f is not None]
    if not fans:
        raise NotFound(f"there is no forecast for {found.name} yet: the next plan makes one")
    return ForecastAnswer(
        server=found.id, name=found.name, origin=float(fans[0].origin), fans=tuple(present.fan(f, found.id) for f in fans)
    )


@get("/plan", sync_to_thread=True)
def plan(services: NamedDependency[Services], changes: FromQuery[bool] = False) -> PlanAnswer:
    """The newest plan; with ``changes`` only the servers of which something is to change: 30,000 in words are 70 MB."""
    newest = services.store.journal.latest_plan()
    if newest is None:
        raise NotFound("there is no plan yet: the first is made within [plan] interval_s of the start")
    told = newest.changes if changes else newest.decisions
    return PlanAnswer(plan=newest.plan, at=newest.at, notes=newest.notes, decisions=told)


@get("/summary", sync_to_thread=True)
def summary(services: NamedDependency[Services]) -> SummaryAnswer:
    settings, store, now = services.settings, services.store, services.clock()
    answer = present.summary(_view(services), store.journal.counts(), settings.plan.stale_after_s, simulated=settings.simulated)
    day = added(store.marks.between(now - DAY_S, now))
    answer.changed_share_24h = changed_share(day)
    answer.halts = tuple(_halts(services).values())
    answer.cloud = cloud_summary(services)
    answer.alarm = alarm(day, forecasts_on=settings.plan.forecast != "off")
    return answer


@get("/mode", sync_to_thread=True)
def mode(services: NamedDependency[Services], of: Scope = "cloud") -> ModeAnswer:
    """What is set for a scope; a scope where nothing is set follows the cloud."""
    return mode_of(services, set_before(services, of))


def mode_of(services: Services, scope: str) -> ModeAnswer:
    modes = services.store.modes
    found = modes.get(scope)
    if found is None:
        cloud = modes.get("cloud")
        assert cloud is not None
        return ModeAnswer(scope=scope, mode=cloud.mode.value, since=cloud.since, reason="nothing is set for it: it follows the cloud")
    return _mode(found)


@get("/modes", sync_to_thread=True)
def modes(services: NamedDependency[Services]) -> list[ModeAnswer]:
    return [_mode(m) for m in services.store.modes.all()]


@put("/mode", sync_to_thread=True)
def set_mode(services: NamedDependency[Services], data: JSONBody[ModeRequest]) -> ModeAnswer:
    modes = services.store.modes
    if not data.mode:
        scope = set_before(services, data.scope)
        modes.unset(scope)
    elif data.mode not in tuple(Mode):
        raise Invalid(f"$.mode is {data.mode!r}: write observe, advise or act")
    else:
        scope = by_id(services, data.scope)
        modes.set(scope, Mode(data.mode), one_line(data.reason)[:REASON_MOST], services.clock())
    return mode_of(services, scope)


@post("/agents/{host:str}/join", status_code=200, sync_to_thread=True)
def join(services: NamedDependency[Services], host: FromPath[str]) -> JoinAnswer:
    """A one-time token with which this host's agent can enrol."""
    if len(host) > 255:
        raise Invalid("a host's name has at most 255 characters")
    now, ttl_s = services.clock(), services.settings.agents.join_ttl_s
    return JoinAnswer(host=host, join_token=services.store.agents.join_token(host, now, ttl_s), expires_at=now + ttl_s)


@delete("/agents/{host:str}", status_code=204, sync_to_thread=True)
def revoke(services: NamedDependency[Services], host: FromPath[str]) -> None:
    """Void every token of a host: its agent is heard no more."""
    if not services.store.agents.revoke(host):
        raise NotFound(f"no agent of host {host!r} is enrolled or invited")


ROUTER = Router(
    "/v1",
    guards=[operator],
    route_handlers=[hosts, host, servers, server, forecast, plan, summary, mode, modes, set_mode, join, revoke, *learning.HANDLERS],
    tags=["operators"],
)


def _view(services: Services) -> ClusterView:
    return services.store.inventory.view(services.clock())


def _host(services: Services, view: ClusterView, name: str, details: dict[str, HostDetail], halts: Mapping[str, str]) -> HostAnswer:
    found = present.find_host(view, name)
    answer = present.host(view, found, details.get(name, HostDetail()), services.settings.plan.stale_after_s)
    answer.cloud = host_words(services, name)
    mine = (f"host:{name}", *(f"server:{s.id}" for s in view.on(found.name))) if halts else ()
    answer.halts = tuple(halts[scope] for scope in mine if scope in halts)
    return answer


def _halts(services: Services) -> dict[str, str]:
    """By scope: what is halted now, and why."""
    found: dict[str, str] = {}
    for h in (h for h in services.store.halts.all() if h.active):
        found[h.scope] = "; ".join(filter(None, (found.get(h.scope), f"{h.scope} ({h.kind}): {h.reason}")))
    return found


def _mode(m: ModeSet) -> ModeAnswer:
    return ModeAnswer(scope=m.scope, mode=m.mode.value, since=m.since, reason=m.reason)
