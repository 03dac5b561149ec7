"""Pools of shadow VMs: made, listed, claimed from, closed; how they do and what they will have."""

from typing import Annotated, Any

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from foreshape_controller.api import visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.decide import heat
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops import ical
from foreshape_controller.loops.claiming import Claiming
from foreshape_controller.loops.pool import PoolWork
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.pool import ClaimAnswer, ClaimRequest, Pool, PoolAnswer, PoolReport, PoolRequest, Slot, State
from foreshape_controller.store.pools import Step, missing

DAY_S = 86400.0
DAYS_MOST = 365
Days = Annotated[float, QueryParameter(description=f"above 0, {DAYS_MOST} at most")]


@get("/pools", rule="pools:list", sync_to_thread=True)
def pools(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[PoolAnswer]:
    """Every pool, closing ones too, without its shadow VMs; a tenant's own."""
    work(services)
    mine = (p for p in services.store.pools.all(closing=True) if caller.sees(p.project))
    return [msgspec.structs.replace(_told(services, caller, p), shadows=()) for p in mine]


@get("/pools/{pool:str}", rule="pools:list", sync_to_thread=True)
def show(services: NamedDependency[Services], caller: NamedDependency[Caller], pool: FromPath[str]) -> PoolAnswer:
    """One pool; for operators with its shadow VMs."""
    work(services)
    return _told(services, caller, _found(services, caller, pool))


@post("/pools", status_code=201, sync_to_thread=True)
def create(services: NamedDependency[Services], data: JSONBody[PoolRequest]) -> PoolAnswer:
    """Make a pool; it is filled from the next look on, in mode act."""
    with services.seats():
        return _answer(services, work(services).create(data, services.clock()))


@delete("/pools/{pool:str}", status_code=200, sync_to_thread=True)
def close(services: NamedDependency[Services], pool: FromPath[str]) -> PoolAnswer:
    """Close a pool: what waits is deleted, what was claimed stays."""
    work(services)
    found = services.store.pools.find(pool)
    now = services.clock()
    services.store.pools.delete(found.id, now)
    return _answer(services, msgspec.structs.replace(found, deleted_at=now))


@post("/pools/{pool:str}/claims", status_code=201, rule="pools:claim", sync_to_thread=True)
def claim(
    services: NamedDependency[Services], caller: NamedDependency[Caller], pool: FromPath[str], data: JSONBody[ClaimRequest]
) -> ClaimAnswer:
    """Take a shadow VM. It is its owner's when the answer is there; ``state`` says what is still done to it."""
    begun = services.clock()
    owner = one_line(data.owner) if caller.everywhere else caller.name or caller.user
    with services.seats():
        pools, found = work(services), _found(services, caller, pool)
        visible.ask(services, caller, found.project, "pools:claim")
        got = Claiming(pools).claim(found, msgspec.structs.replace(data, owner=owner), begun)
    note = visible.words(services, caller)(got.note)
    return msgspec.structs.replace(got, took_s=services.clock() - begun, host=visible.host(caller, got.host), note=note)


@get("/pools/{pool:str}/steps", sync_to_thread=True)
def steps(services: NamedDependency[Services], pool: FromPath[str]) -> list[Step]:
    """What was done to its shadow VMs and why, the newest first."""
    work(services)
    return list(services.store.pools.steps(services.store.pools.find(pool).id))


@get("/pools/{pool:str}/report", sync_to_thread=True)
def report(services: NamedDependency[Services], pool: FromPath[str], days: Days = 7.0) -> PoolReport:
    """Hits, misses, ages and costs of the last days."""
    if not 0 < days <= DAYS_MOST:
        raise Invalid(f"days: write a number above 0, {DAYS_MOST} at most")
    now = services.clock()
    return work(services).report(services.store.pools.find(pool), now - days * DAY_S, now)


@get("/pools/{pool:str}/schedule", sync_to_thread=True)
def schedule(services: NamedDependency[Services], pool: FromPath[str]) -> list[Slot]:
    """What it would have in each half-hour of the next day, as claims are forecast now."""
    return list(work(services).schedule(services.store.pools.find(pool), services.clock()))


@get("/pools/{pool:str}/schedule.ics", sync_to_thread=True)
def calendar(services: NamedDependency[Services], pool: FromPath[str]) -> Response[str]:
    """The schedule as a calendar."""
    found, now = services.store.pools.find(pool), services.clock()
    slots = work(services).schedule(found, now)
    spans = [(s.start, s.end, f"{s.servers} shadow VMs of pool {found.name}") for s in slots]
    return Response(ical.spans(f"pool {found.name}", spans, now), media_type="text/calendar; charset=utf-8")


@get("/pools/{pool:str}/template", sync_to_thread=True)
def template(services: NamedDependency[Services], pool: FromPath[str]) -> dict[str, Any]:
    """The pool as a Heat template, with as many servers as it wants now."""
    work(services)
    found = services.store.pools.find(pool)
    decided = services.store.pools.decided(found.id)
    return heat.template(found, decided.wanted if decided else found.least)


ROUTER = Router(
    "/v1",
    opt=OPERATORS,
    route_handlers=[pools, show, create, close, claim, steps, report, schedule, calendar, template],
    tags=["pools"],
)


def work(services: Services) -> PoolWork:
    """Raises Invalid where no cloud is configured."""
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: nothing can be booted ahead; see [cloud] enabled in controller.conf")
    return services.cloud.pools


def _found(services: Services, caller: Caller, wanted: str) -> Pool:
    """Raises NotFound: of another's in the same words as of what does not exist."""
    found = services.store.pools.find(wanted)
    if not caller.sees(found.project):
        raise NotFound(missing(wanted))
    return found


def _told(services: Services, caller: Caller, pool: Pool) -> PoolAnswer:
    """A tenant is told neither hosts nor credentials."""
    answer = _answer(services, pool)
    if caller.everywhere:
        return answer
    return msgspec.structs.replace(answer, pool=msgspec.structs.replace(pool, cloud=""), decided=None, shadows=())


def _answer(services: Services, pool: Pool) -> PoolAnswer:
    shadows = services.store.pools.shadows(pool.id, alive=True)
    decided = services.store.pools.decided(pool.id)
    return PoolAnswer(
        pool=pool,
        state="open" if pool.deleted_at is None else "closing",
        ready=sum(s.state is State.READY for s in shadows),
        booting=sum(s.state in (State.PLANNED, State.BOOTING) for s in shadows),
        wanted=decided.wanted if decided and pool.deleted_at is None else 0,
        decided=decided,
        shadows=shadows,
    )
