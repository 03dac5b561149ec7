"""What operators ask. Every route needs the admin token."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import learning, lists, present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.cloud import host_words
from foreshape_controller.api.cloud import summary as cloud_summary
from foreshape_controller.api.scopes import by_id, one_line, set_before
from foreshape_controller.api.services import Services
from foreshape_controller.api.tiers import tier_names
from foreshape_controller.decide.discreet import Words
from foreshape_controller.decide.proof import DAY_S, alarm, changed_share
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.answers import (
    ForecastAnswer,
    HostAnswer,
    ModeAnswer,
    PlanAnswer,
    ServerAnswer,
    SummaryAnswer,
)
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.history import WATCHED
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.store.inventory import HostDetail
from foreshape_controller.store.marks import added
from foreshape_controller.store.modes import ModeSet, check_scope
from foreshape_wire.order import Mode

REASON_MOST = 1000
SAYS: Mapping[str, Callable[[Server], str]] = {
    "project": lambda s: s.project,
    "host": lambda s: s.host,
    "name": lambda s: s.name,
    "mode": lambda s: s.mode.value,
    "state": lambda s: s.state.value,
}
"""What servers are filtered by before they are answers; a tenant's hosts have another name there."""
Scope = Annotated[str, QueryParameter(name="scope", description="cloud, host:NAME, project:ID or server:ID")]


class ModeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``PUT /v1/mode``. An empty mode lets the scope follow the others again."""

    scope: str = "cloud"
    mode: str
    reason: str = ""


@get("/hosts", sync_to_thread=True)
def hosts(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> list[HostAnswer]:
    view, details = visible.fleet(services), services.store.inventory.details()
    halts, shown = _halts(services), lists.ahead(request, view.hosts, {"name": lambda h: h.name}, lambda h: h.name)
    return [_host(services, view, h.name, details, halts) for h in shown]


@get("/hosts/{name:str}", sync_to_thread=True)
def host(services: NamedDependency[Services], name: FromPath[str]) -> HostAnswer:
    return _host(services, visible.fleet(services), name, services.store.inventory.details(), _halts(services))


@get("/servers", rule="servers:list", sync_to_thread=True)
def servers(request: Request[Any, Any, Any], services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[ServerAnswer]:
    """All that the caller may see: an operator every server, a tenant his project's."""
    view = visible.glance(services, caller)
    shown = lists.ahead(request, view.servers, SAYS, lambda s: s.id) if caller.everywhere else view.servers
    tiers = tier_names(services, msgspec.structs.replace(view, servers=tuple(shown)))
    return [visible.told(caller, s, present.server(s, view.at, tiers[s.id])) for s in shown]


@get("/servers/{name:str}", rule="servers:show", sync_to_thread=True)
def server(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> ServerAnswer:
    view = visible.called(services, caller, name)
    found = present.find(view, name)
    return visible.told(caller, found, present.server(found, view.at, tier_names(services, view)[found.id]))


@get("/servers/{name:str}/forecast", rule="forecasts:show", sync_to_thread=True)
def forecast(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> ForecastAnswer:
    found, words = visible.server(services, caller, name), visible.words(services, caller)
    latest = [services.store.forecasts.latest(r, found.id) for r in WATCHED]
    fans = [f for f in latest if f is not None]
    if not fans:
        raise NotFound(f"there is no forecast for {found.name} yet: the next plan makes one")
    return ForecastAnswer(
        server=found.id, name=found.name, origin=float(fans[0].origin), fans=tuple(present.fan(f, found.id, words) for f in fans)
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


@get("/mode", rule="modes:show", sync_to_thread=True)
def mode(services: NamedDependency[Services], caller: NamedDependency[Caller], of: Scope = "cloud") -> ModeAnswer:
    """What is set for a scope; a scope where nothing is set follows the cloud. A tenant asks about the cloud and what is his."""
    if caller.everywhere:
        return mode_of(services, set_before(services, of))
    check_scope(of)
    kind, _, name = of.partition(":")
    scope = f"server:{visible.remembered(services, caller, name)[0]}" if kind == "server" else of
    mine = visible.scopes(services, caller)
    if scope != "cloud" and scope not in mine:
        raise NotFound(f"there is no {kind} {name[:80]!r}")
    return _discreet(mode_of(services, scope), mine, visible.words(services, caller))


def mode_of(services: Services, scope: str) -> ModeAnswer:
    modes = services.store.modes
    found = modes.get(scope)
    if found is None:
        cloud = modes.get("cloud")
        assert cloud is not None
        return ModeAnswer(scope=scope, mode=cloud.mode.value, since=cloud.since, reason="nothing is set for it: it follows the cloud")
    return mode_answer(found)


@get("/modes", rule="modes:show", sync_to_thread=True)
def modes(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[ModeAnswer]:
    """All that is set: a tenant sees the cloud's, without its reason, and those of his project and his servers."""
    told = [mode_answer(m) for m in services.store.modes.all()]
    if caller.everywhere:
        return told
    mine, words = visible.scopes(services, caller), visible.words(services, caller)
    return [_discreet(m, mine, words) for m in told if m.scope == "cloud" or m.scope in mine]


def _discreet(told: ModeAnswer, mine: visible.Scopes, words: Words) -> ModeAnswer:
    """Why the operators set a mode is said to those whom they set it for."""
    return msgspec.structs.replace(told, reason=words(told.reason) if told.scope in mine else "")


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


ROUTER = Router(
    "/v1",
    opt=OPERATORS,
    route_handlers=[hosts, host, servers, server, forecast, plan, summary, mode, modes, set_mode, *learning.HANDLERS],
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


def mode_answer(m: ModeSet) -> ModeAnswer:
    return ModeAnswer(scope=m.scope, mode=m.mode.value, since=m.since, reason=m.reason)
