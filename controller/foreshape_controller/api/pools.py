"""Pools of shadow VMs: made, listed, claimed from, closed; how they do and what they will have. Every route needs the admin token."""

from typing import Annotated, Any

import msgspec
from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from foreshape_controller.api.auth import operator
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.decide import heat
from foreshape_controller.errors import Invalid
from foreshape_controller.loops import ical
from foreshape_controller.loops.claiming import Claiming
from foreshape_controller.loops.pool import PoolWork
from foreshape_controller.model.pool import ClaimAnswer, ClaimRequest, Pool, PoolAnswer, PoolReport, PoolRequest, Slot, State
from foreshape_controller.store.pools import Step

DAY_S = 86400.0
Days = Annotated[float, QueryParameter(gt=0, le=365)]


@get("/pools", sync_to_thread=True)
def pools(services: NamedDependency[Services]) -> list[PoolAnswer]:
    """Every pool, closing ones too, without its shadow VMs."""
    work(services)
    return [msgspec.structs.replace(_answer(services, p), shadows=()) for p in services.store.pools.all(closing=True)]


@get("/pools/{pool:str}", sync_to_thread=True)
def show(services: NamedDependency[Services], pool: FromPath[str]) -> PoolAnswer:
    """One pool with its shadow VMs."""
    work(services)
    return _answer(services, services.store.pools.find(pool))


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


@post("/pools/{pool:str}/claims", status_code=201, sync_to_thread=True)
def claim(services: NamedDependency[Services], pool: FromPath[str], data: JSONBody[ClaimRequest]) -> ClaimAnswer:
    """Take a shadow VM. It is its owner's when the answer is there; ``state`` says what is still done to it."""
    begun = services.clock()
    asked = msgspec.structs.replace(data, owner=one_line(data.owner))
    with services.seats():
        got = Claiming(work(services)).claim(services.store.pools.find(pool), asked, begun)
    return msgspec.structs.replace(got, took_s=services.clock() - begun)


@get("/pools/{pool:str}/steps", sync_to_thread=True)
def steps(services: NamedDependency[Services], pool: FromPath[str]) -> list[Step]:
    """What was done to its shadow VMs and why, the newest first."""
    work(services)
    return list(services.store.pools.steps(services.store.pools.find(pool).id))


@get("/pools/{pool:str}/report", sync_to_thread=True)
def report(services: NamedDependency[Services], pool: FromPath[str], days: Days = 7.0) -> PoolReport:
    """Hits, misses, ages and costs of the last days."""
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
    guards=[operator],
    route_handlers=[pools, show, create, close, claim, steps, report, schedule, calendar, template],
    tags=["pools"],
)


def work(services: Services) -> PoolWork:
    """Raises Invalid where no cloud is configured."""
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: nothing can be booted ahead; see [cloud] enabled in controller.conf")
    return services.cloud.pools


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
