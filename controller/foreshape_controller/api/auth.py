"""Who asks: an operator, a tenant by his Keystone token, or an agent with its own; and whether the policy lets him.

Every handler names a rule of ``api.policy`` (``rule="servers:list"`` in its decorator, or in its router's ``opt``); one without
is the operators'. A token in a header comes before a cookie.
"""

from typing import Any

from litestar import Request
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from foreshape_controller.api.auditing import begin
from foreshape_controller.api.protocol import take_turn
from foreshape_controller.api.services import Services
from foreshape_controller.api.sessions import COOKIE, CSRF, check_csrf
from foreshape_controller.errors import Forbidden, Unauthenticated
from foreshape_controller.loops.apart import UNKNOWN
from foreshape_controller.model.caller import OPERATOR, Caller
from foreshape_wire.ids import HostName

READS = frozenset({"GET", "HEAD"})
SCHEME = "authorization"
KEYSTONE = "x-auth-token"
Connection = ASGIConnection[Any, Any, Any, Any]
PUBLIC = {"rule": "public"}
"""``opt`` of routes that anybody may ask, or that check a token of another kind themselves."""
LOGIN = {"rule": "login"}
"""``opt`` of the route at which somebody says who he is: it sees to the rest itself."""
OPERATORS = {"rule": "operator"}
"""``opt`` of operators' routes: ``operator:read`` for what only reads, ``operator:write`` for the rest."""


async def authorized(connection: Connection, handler: BaseRouteHandler) -> None:
    """Guard of the whole application. Raises Unauthenticated, Forbidden, Unavailable."""
    rule = str(handler.opt.get("rule", "operator"))
    if rule not in ("public", "login"):
        await permitted(connection, rule)
        await begin(connection, connection.app.state.services)
        await take_turn(connection.scope)


async def permitted(connection: Connection, rule: str) -> None:
    """Raises Unauthenticated, Forbidden, Unavailable, TooMany."""
    services: Services = connection.app.state.services
    limits = services.identity.limits
    try:
        caller = await identified(connection, services)
    except Unauthenticated:
        if SCHEME in connection.headers or KEYSTONE in connection.headers:
            limits.failed(address_of(connection))
        raise
    connection.state.caller = caller
    limits.count(caller, str(connection.scope.get("method")) not in READS)
    if rule == "operator":
        rule = "operator:read" if str(connection.scope.get("method")) in READS else "operator:write"
    if not services.identity.policy.may(rule, caller):
        raise Forbidden(f"the policy does not let you: rule 'foreshape:{rule}' asks for another role than yours")


async def still_permitted(connection: Connection, rule: str) -> Caller:
    """Who it is now whose request goes on for long. Raises Unauthenticated, Forbidden, Unavailable, TooMany."""
    services: Services = connection.app.state.services
    caller = await identified(connection, services)
    if not await sync_to_thread(services.identity.policy.may, rule, caller):
        raise Forbidden(f"the policy does not let you any more: rule 'foreshape:{rule}'")
    return caller


async def identified(connection: Connection, services: Services) -> Caller:
    """Whose request it is. Raises Unauthenticated, Forbidden, Unavailable."""
    keystone = connection.headers.get(KEYSTONE, "").strip()
    if keystone:
        return await services.identity.remote(keystone, address_of(connection))
    cookie = connection.cookies.get(COOKIE, "")
    if cookie and SCHEME not in connection.headers:
        return await _by_cookie(connection, services, cookie)
    return services.identity.local(bearer(connection))


async def _by_cookie(connection: Connection, services: Services, cookie: str) -> Caller:
    """Asks the session's token again: what was revoked ends the session, too."""
    identity = services.identity
    session = identity.sessions.find(cookie, services.clock())
    if str(connection.scope.get("method")) not in READS:
        check_csrf(session, connection.headers.get(CSRF, ""))
    try:
        return await identity.remote(session.token, address_of(connection)) if session.token else OPERATOR
    except Unauthenticated:
        identity.sessions.end(cookie)
        raise


def address_of(connection: Connection) -> str:
    """Who sent it, as far as the network tells; a proxy's own where [api] proxies does not name it."""
    return connection.client.host if connection.client else ""


def caller_of(request: "Request[Any, Any, Any]") -> Caller:
    """The dependency ``caller`` of handlers."""
    found: Caller = request.state.caller
    return found


def agent(request: "Request[Any, Any, Any]", services: Services) -> HostName:
    """The host whose agent asks."""
    host = services.store.agents.authenticate(bearer(request), services.clock())
    if host is None:
        raise Unauthenticated(UNKNOWN)
    return host


def bearer(connection: Connection) -> str:
    """The token of a request. Raises Unauthenticated where there is none."""
    scheme, _, token = connection.headers.get(SCHEME, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("no token: send 'Authorization: Bearer TOKEN'")
    return token.strip()
