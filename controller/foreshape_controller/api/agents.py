"""What agents ask: enrol once, then report for ever."""

from typing import Any

from litestar import Request, Response, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.params import JSONBody

from foreshape_controller.api.auth import agent
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid
from foreshape_controller.model.answers import EnrolAnswer, EnrolRequest


@post("/v1/reports", status_code=200, summary="An agent's report; answered with the desired state of its host")
async def report(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Response[bytes]:
    """Body: HostReport, reply: Desired (the wire's words). 200 means that the report is durable."""
    host = await sync_to_thread(agent, request, services)
    data = await _whole_body(request)
    reply = await sync_to_thread(services.intake.accept, host, data, services.clock())
    return Response(reply, media_type="application/json")


@post("/v1/agents/enrol", status_code=200, sync_to_thread=True, summary="Trade a join token for an agent's own token")
def enrol(data: JSONBody[EnrolRequest], services: NamedDependency[Services]) -> EnrolAnswer:
    """The token is shown this once."""
    token = services.store.agents.enrol(data.host, data.join_token, services.clock())
    return EnrolAnswer(host=data.host, token=token)


async def _whole_body(request: Request[Any, Any, Any]) -> bytes:
    try:
        return await request.body()
    except InternalServerException as e:  # the framework's word for a sender that went away
        raise Invalid("the connection ended before the message did") from e
