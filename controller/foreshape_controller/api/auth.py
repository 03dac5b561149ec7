"""Who asks: an operator with the admin token, or an agent with its own."""

from hmac import compare_digest
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from foreshape_controller.api.services import Services
from foreshape_controller.errors import Unauthenticated
from foreshape_wire.ids import HostName

Connection = ASGIConnection[Any, Any, Any, Any]


def operator(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard of operators' routes."""
    services: Services = connection.app.state.services
    if not compare_digest(bearer(connection).encode(), services.admin_token.encode()):
        raise Unauthenticated("this is not the operators' token: the controller keeps it in [api] admin_token_file")


def agent(request: "Request[Any, Any, Any]", services: Services) -> HostName:
    """The host whose agent asks."""
    host = services.store.agents.authenticate(bearer(request), services.clock())
    if host is None:
        raise Unauthenticated(
            "the agent's token is unknown or revoked: enrol it again with a join token from 'foreshape agent enroll HOST'"
        )
    return host


def bearer(connection: Connection) -> str:
    """The token of a request. Raises Unauthenticated where there is none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("no token: send 'Authorization: Bearer TOKEN'")
    return token.strip()
