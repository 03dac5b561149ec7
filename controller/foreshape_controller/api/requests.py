"""Requests for servers and growth, and webhooks that are told what becomes of them. A tenant sees and touches his own project's."""

from typing import Annotated

import msgspec
from litestar import Response, Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import visible
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Forbidden, Invalid
from foreshape_controller.loops.requests import RequestWork
from foreshape_controller.loops.webhooks import Webhooks
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.request import (
    Delivery,
    DeliveryAnswer,
    Request,
    RequestAcceptance,
    RequestAnswer,
    RequestApproval,
    RequestAsk,
    RequestState,
    Webhook,
    WebhookAnswer,
    WebhookAsk,
)

REASON_MOST = 500
STEPS = 50
OWN = "operators"
"""Project of what operators ask for themselves."""
Only = Annotated[RequestState | None, QueryParameter(name="state", description="only those in this state")]
Because = Annotated[str, QueryParameter(max_length=REASON_MOST, description="why; kept with it")]


@get("/requests", rule="requests:list", sync_to_thread=True)
def requests(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    only: Only = None,
    project: FromQuery[str] = "",
    all: FromQuery[bool] = False,  # noqa: A002  the query's own word
) -> list[RequestAnswer]:
    """Those that are not over, in the order of the queue; with ``all=true`` then the newest that are."""
    work(services)
    if project and not caller.sees(project):
        return []
    whose = project or caller.only
    store = services.store.requests
    ended = all or (only is not None and only.over)
    found = [*store.open(whose), *(store.over(whose) if ended else ())]
    places = _places(services)
    return [answer(services, caller, r, places.get(r.id, 0)) for r in found if only in (None, r.state)]


@get("/requests/{request_id:str}", rule="requests:list", sync_to_thread=True)
def show(services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str]) -> RequestAnswer:
    """One request: what was answered, its place in the queue, its alternatives, and its history."""
    work(services)
    return _shown(services, caller, services.store.requests.find(request_id, caller.only))


_DRY = ResponseSpec(RequestAnswer, description="A dry run: what would be answered", generate_examples=False)


@post("/requests", rule="requests:create", status_code=201, responses={200: _DRY}, sync_to_thread=True)
def create(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    data: JSONBody[RequestAsk],
    dry_run: FromQuery[bool] = False,
) -> Response[RequestAnswer]:
    """Ask for servers, or for growth of one. It is answered at once: now, at a time, or in the queue, with what could be had instead.

    With ``dry_run=true`` nothing is kept or promised, and the status is 200.
    """
    project, now = _project(services, caller, data.project, "requests:create"), services.clock()
    ask = msgspec.structs.replace(data, project="", name=one_line(data.name), note=one_line(data.note))
    server = visible.server(services, caller, ask.server) if ask.server else None
    by = caller.name or caller.user
    with services.seats():
        if dry_run:
            return Response(answer(services, caller, work(services).preview(ask, project, by, now, server), 0), status_code=200)
        made = work(services).create(ask, project, by, now, server)
    return Response(_shown(services, caller, made), status_code=201)


@delete("/requests/{request_id:str}", rule="requests:change", status_code=200, sync_to_thread=True)
def cancel(
    services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str], reason: Because = ""
) -> RequestAnswer:
    """Cancel it; what is held for it is given back. One that is over stays as it is."""
    found = _own(services, caller, request_id)
    with services.seats():
        return _shown(services, caller, work(services).cancel(found.id, one_line(reason), services.clock()))


@post("/requests/{request_id:str}/decline", rule="requests:change", status_code=200, sync_to_thread=True)
def decline(
    services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str], reason: Because = ""
) -> RequestAnswer:
    """Say no to what was offered: it ends, and what is held for it is given back."""
    found = _own(services, caller, request_id)
    with services.seats():
        return _shown(services, caller, work(services).decline(found.id, one_line(reason), services.clock()))


@put("/requests/{request_id:str}/accept", rule="requests:change", status_code=200, sync_to_thread=True)
def accept(
    services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str], data: JSONBody[RequestAcceptance]
) -> RequestAnswer:
    """Take one of its alternatives: it is asked for instead, from the same place in the queue, and answered anew."""
    found = _own(services, caller, request_id)
    with services.seats():
        return _shown(services, caller, work(services).accept(found.id, data.alternative, services.clock()))


@post("/requests/{request_id:str}/take", rule="requests:change", status_code=200, sync_to_thread=True)
def take(services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str]) -> RequestAnswer:
    """Come for what has started: the room is given up for you, so boot or resize right after."""
    found = _own(services, caller, request_id)
    with services.seats():
        return _shown(services, caller, work(services).take(found.id, services.clock()))


@post("/requests/{request_id:str}/approve", rule="requests:approve", status_code=200, sync_to_thread=True)
def approve(
    services: NamedDependency[Services], caller: NamedDependency[Caller], request_id: FromPath[str], data: JSONBody[RequestApproval]
) -> RequestAnswer:
    """Operators: let a proposal be carried out in mode advise."""
    by = f"operator:{one_line(data.by)[:100] or caller.name or 'admin'}"
    with services.seats():
        return _shown(services, caller, work(services).approve(request_id, by, services.clock()))


# -- webhooks ------------------------------------------------------------------------------------------------------------


@get("/webhooks", rule="webhooks:list", sync_to_thread=True)
def webhooks(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[WebhookAnswer]:
    """Where the project is told; without their secrets."""
    return [_hook(h) for h in services.store.requests.hooks(caller.only)]


@post("/webhooks", rule="webhooks:change", status_code=201, sync_to_thread=True)
def hook(services: NamedDependency[Services], caller: NamedDependency[Caller], data: JSONBody[WebhookAsk]) -> WebhookAnswer:
    """Be told at a URL of what becomes of the project's requests. The answer has the secret that signs it, this once."""
    made = _webhooks(services).create(_project(services, caller, data.project, "webhooks:change"), data.url, services.clock())
    return msgspec.structs.replace(_hook(made), secret=made.secret)


@delete("/webhooks/{webhook:str}", rule="webhooks:change", status_code=200, sync_to_thread=True)
def unhook(services: NamedDependency[Services], caller: NamedDependency[Caller], webhook: FromPath[str]) -> WebhookAnswer:
    """Be told no more; what waits is forgotten."""
    found = services.store.requests.find_hook(webhook, caller.only)
    visible.ask(services, caller, found.project, "webhooks:change")
    services.store.requests.unhook(found.id)
    return _hook(found)


@get("/webhooks/{webhook:str}/deliveries", rule="webhooks:list", sync_to_thread=True)
def deliveries(services: NamedDependency[Services], caller: NamedDependency[Caller], webhook: FromPath[str]) -> list[DeliveryAnswer]:
    """What it was told, and what waits: the newest first."""
    found = services.store.requests.find_hook(webhook, caller.only)
    return [_delivery(d) for d in services.store.requests.deliveries(found.id)]


ROUTER = Router(
    "/v1",
    route_handlers=[requests, show, create, cancel, decline, accept, take, approve, webhooks, hook, unhook, deliveries],
    tags=["requests"],
)


def work(services: Services) -> RequestWork:
    """Raises Invalid where requests are switched off."""
    if services.requests is None:
        raise Invalid("requests are switched off here: see [requests] enabled in controller.conf")
    return services.requests


def _webhooks(services: Services) -> Webhooks:
    if services.webhooks is None:
        raise Invalid("requests are switched off here: see [requests] enabled in controller.conf")
    return services.webhooks


def _project(services: Services, caller: Caller, said: str, rule: str) -> str:
    """Whose a new thing is: a tenant's own; operators may name one. Raises Forbidden for another's."""
    if caller.project and said in ("", caller.project):
        return caller.project
    whose = one_line(said) or OWN
    if not caller.everywhere or not services.identity.policy.may(rule, caller, whose):
        raise Forbidden("project: this is for the project of your token; leave it out")
    return whose


def _own(services: Services, caller: Caller, wanted: str) -> Request:
    """Raises NotFound for another project's, Forbidden."""
    work(services)
    found = services.store.requests.find(wanted, caller.only)
    visible.ask(services, caller, found.project, "requests:change")
    return found


def _places(services: Services) -> dict[str, int]:
    waiting = [r.id for r in services.store.requests.open() if r.state is RequestState.QUEUED]
    return {name: i for i, name in enumerate(waiting, 1)}


def _shown(services: Services, caller: Caller, request: Request) -> RequestAnswer:
    told = answer(services, caller, request, _places(services).get(request.id, 0))
    words = visible.words(services, caller)
    steps = services.store.requests.steps(request.id, STEPS)
    return msgspec.structs.replace(told, history=tuple(msgspec.structs.replace(s, said=words(s.said)) for s in steps))


def answer(services: Services, caller: Caller, request: Request, position: int) -> RequestAnswer:
    """A request as its owner, or an operator, is told of it. Hosts are the operators'."""
    r, has = request, bool(request.placed)
    return RequestAnswer(
        id=r.id,
        project=r.project,
        name=r.ask.name,
        state=r.state.value,
        ask=r.ask,
        each=dict(r.each),
        count=r.ask.count,
        start=r.start if has else None,
        end=r.end if has else None,
        take_by=r.take_by if r.state is RequestState.STARTED else None,
        hosts=r.placed if caller.everywhere else (),
        said=r.said,
        reason_code=r.code,
        assumed=r.assumed,
        alternatives=r.alternatives,
        position=position,
        expected=r.start if has and r.state.promised else None,
        next_look=r.next_look or None,
        created=r.created,
        changed=r.changed,
        bookkeeping=work(services).bookkeeping,
        approved=r.approved,
        by=r.by,
        price=work(services).doors.quote(r.each, r.ask.count, r.ask.tier, r.ask.for_s),
    )


def _hook(found: Webhook) -> WebhookAnswer:
    return WebhookAnswer(id=found.id, project=found.project, url=found.url, created=found.created)


def _delivery(found: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=found.id,
        request=found.request,
        event=found.event,
        created=found.created,
        tries=found.tries,
        next_try=found.next_try if found.state == "waiting" else None,
        state=found.state,
        status=found.status,
        said=found.said,
    )
