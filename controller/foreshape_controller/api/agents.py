"""What agents ask: enrol once, then report for ever."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from litestar import Request, Response, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.params import JSONBody

from foreshape_controller.api.auth import PUBLIC, SCHEME, address_of, agent, bearer
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, Unauthenticated
from foreshape_controller.loops.apart import UNKNOWN, Apart
from foreshape_controller.model.answers import EnrolAnswer, EnrolRequest
from foreshape_wire.codec import MAX_MESSAGE_BYTES

ENROL_MOST = 16 * 1024
"""Bytes: anybody may send some."""


@post("/v1/reports", opt=PUBLIC, status_code=200, summary="An agent's report; answered with the desired state of its host")
async def report(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[bytes]:
    """Body: HostReport, reply: Desired (the wire's words). 200 means that the report is durable.

    Nothing of the body is read before the token is known to be an agent's.
    """
    door = services.door if services.door is not None and services.door.open else None
    try:
        body = partial(_whole_body, request)
        reply = await (take(request, body, services, door) if door else _here(request, services))
    except Unauthenticated:
        if SCHEME in request.headers:
            services.identity.limits.failed(address_of(request))
        raise
    return Response(reply, media_type="application/json")


@post(
    "/v1/agents/enrol",
    opt=PUBLIC,
    status_code=200,
    sync_to_thread=True,
    request_max_body_size=ENROL_MOST,
    summary="Trade a join token for an agent's own token",
)
def enrol(data: JSONBody[EnrolRequest], services: NamedDependency[Services]) -> EnrolAnswer:
    """The token is shown this once."""
    token = services.store.agents.enrol(data.host, data.join_token, services.clock())
    return EnrolAnswer(host=data.host, token=token)


async def take(request: Request[Any, Any, Any], body: Callable[[], Awaitable[bytes]], services: Services, door: Apart) -> bytes:
    """By the process that takes reports. Raises Unauthenticated, Invalid, Forged, Unavailable, WireError."""
    token = bearer(request)
    if not await door.knows(token):
        raise Unauthenticated(UNKNOWN)
    with door.room(token, _announced(request)):
        return await door.accept(token, await body(), services.clock())


async def _here(request: Request[Any, Any, Any], services: Services) -> bytes:
    host = await sync_to_thread(agent, request, services)
    data = await _whole_body(request)
    return await sync_to_thread(services.intake.accept, host, data, services.clock())


def _announced(request: Request[Any, Any, Any]) -> int:
    """Bytes of the body; the most there may be where that is not said."""
    said = request.headers.get("content-length", "")
    return min(int(said), MAX_MESSAGE_BYTES) if said.isascii() and said.isdigit() and len(said) < 12 else MAX_MESSAGE_BYTES


async def _whole_body(request: Request[Any, Any, Any]) -> bytes:
    try:
        return await request.body()
    except InternalServerException as e:  # the framework's word for a sender that went away
        raise Invalid("the connection ended before the message did") from e
