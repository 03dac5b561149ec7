"""Reclamation and what owners are told of it: a tenant sees what concerns his project, and objects."""

from functools import partial
from typing import Annotated

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide.discreet import Words
from foreshape_controller.decide.idle import sentence
from foreshape_controller.decide.reclaim import allowed, objected, unfound
from foreshape_controller.decide.segments import grouped
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.event import check_text
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.reclaim import Notice, NoticeAnswer, ObjectionRequest, Reclaim, ReclaimAnswer, State
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Tier
from foreshape_wire.ids import new_id

Limit = Annotated[int, QueryParameter(ge=1, le=10000)]
Stands = Annotated[str | None, QueryParameter(name="state", description="only those in this state")]
REASON_MOST = 500


@get("/reclaims", rule="reclaims:list", sync_to_thread=True)
def reclaims(
    services: NamedDependency[Services], caller: NamedDependency[Caller], project: FromQuery[str | None] = None, stands: Stands = None
) -> list[ReclaimAnswer]:
    """What was found and what is under way; what is gone only where it is asked for. The largest saving first."""
    rows = services.store.reclaims.all(_states(stands)).values()
    mine = [r for r in rows if project in (None, r.project) and caller.sees(r.project)]
    return [_reclaim(r) for r in sorted(mine, key=lambda r: (r.resource, -r.saves, r.name))]


@post("/reclaims/{name:str}/object", rule="reclaims:object", status_code=200, sync_to_thread=True)
def object_(
    services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str], data: JSONBody[ObjectionRequest]
) -> list[ReclaimAnswer]:
    """An owner says no, before anything was found, after a notice or later: what was taken is given back at once."""
    check_text("reason", data.reason, REASON_MOST, needed=True)
    now = services.clock()
    server = visible.changed(services, caller, name, "reclaims:object")
    tier = _tier(services, server)

    def no(resource: str, row: Reclaim | None) -> Reclaim:
        known = row if row is not None else unfound(server, resource, tier, new_id("cause"), now)
        return objected(known, data.reason.strip(), now)

    store = services.store.reclaims
    return [_reclaim(store.alter(server.id, r, partial(no, r), notice_answered=now)) for r in _resources(data.resource)]


@delete("/reclaims/{name:str}/objection", rule="reclaims:object", status_code=204, sync_to_thread=True)
def allow(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> None:
    """Take an objection back: the server may be found again."""
    now = services.clock()
    server = visible.changed(services, caller, name, "reclaims:object")
    rows = [r for r in services.store.reclaims.of(server.id).values() if r.objection]
    if not rows:
        raise NotFound(f"nobody objected to a reclaim of {server.name}")

    def yes(known: Reclaim, row: Reclaim | None) -> Reclaim:
        return allowed(row or known, now)

    for known in rows:
        services.store.reclaims.alter(server.id, known.resource, partial(yes, known))


@get("/notices", rule="notices:list", sync_to_thread=True)
def notices(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    project: FromQuery[str | None] = None,
    server: FromQuery[str | None] = None,
    limit: Limit = 1000,
) -> list[NoticeAnswer]:
    """What owners were told, the newest first. ``server``: id or name."""
    of = visible.server(services, caller, server).id if server else None
    if project is not None and not (caller.everywhere or caller.sees(project)):
        return []  # as of a project that does not exist
    words = visible.words(services, caller)
    told = services.store.notices.list(caller.project if project is None and not caller.everywhere else project, server=of, limit=limit)
    return [_notice(n, words) for n in told]


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[reclaims, object_, allow, notices], tags=["reclamation"])


def _states(wanted: str | None) -> tuple[State, ...]:
    if wanted is None:
        return tuple(s for s in State if s is not State.GONE)
    if wanted not in tuple(State):
        raise Invalid(f"state is {wanted[:40]!r}: write one of {', '.join(State)}")
    return (State(wanted),)


def _resources(wanted: str) -> tuple[str, ...]:
    if wanted and wanted not in RESOURCES:
        raise Invalid(f"resource is {wanted[:40]!r}: write {' or '.join(RESOURCES)}, or leave it out for both")
    return (wanted,) if wanted else RESOURCES


def _tier(services: Services, server: Server) -> Tier:
    groups = grouped([Member.of(server)], services.segments, services.store.profiles.names([server.id]))
    return services.policy.of(server, groups.of.get(server.id, ()))


def _reclaim(r: Reclaim) -> ReclaimAnswer:
    f = r.finding
    return ReclaimAnswer(
        server=r.server,
        name=r.name,
        project=r.project,
        tier=r.tier,
        resource=r.resource,
        unit=present.UNITS[r.resource],
        state=r.state.value,
        since=r.at,
        floor_from=r.tier_floor,
        floor_to=r.goal,
        floor_now=r.floor,
        saves=r.saves,
        saved=r.saved,
        spare=max(0.0, f.entitlement - f.needed) if f else 0.0,
        begins_at=r.begins_at,
        give_back_stated_s=r.stated_s,
        give_back_measured_s=r.measured_s,
        kind=f.kind if f else "",
        sentence=sentence(r.resource, f) if f else "",
        why=r.why,
        hindrance=r.hindrance if r.state is State.FOUND else "",
        objection=r.objection,
        cause=r.cause,
    )


def _notice(n: Notice, words: Words) -> NoticeAnswer:
    return NoticeAnswer(
        id=n.id,
        at=n.at,
        project=n.project,
        server=n.server,
        name=n.name,
        kind=n.kind,
        text=words(n.text),
        resource=n.resource,
        begins_at=n.begins_at,
        answered_at=n.answered_at,
        cause=n.cause,
    )
