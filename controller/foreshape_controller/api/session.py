"""Logging in with a browser: a token, or a password that Keystone has to like, is traded for a cookie; who am I; logging out."""

from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from foreshape_controller.api import auditing
from foreshape_controller.api.auth import KEYSTONE, LOGIN, PUBLIC, SCHEME, address_of, permitted
from foreshape_controller.api.policy import RULES
from foreshape_controller.api.services import Services
from foreshape_controller.api.sessions import COOKIE
from foreshape_controller.errors import Forbidden, Invalid, NotFound
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.login import Login

RULE = "session:show"
BODY_MOST = 16 * 1024
"""Bytes of a login: anybody may send one."""


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``/v1/session``: who asks, and what he may."""

    user: str
    name: str
    project: str
    project_name: str
    roles: tuple[str, ...]
    everywhere: bool
    """Sees every project."""
    local: bool
    rules: tuple[str, ...]
    """Names of the policy's rules that let him, on things of his own project."""
    expires: float | None
    """When the token or the session ends, epoch seconds; null: never."""
    csrf: str = ""
    """What ``X-Foreshape-CSRF`` has to say in writes by cookie; empty: no cookie is used."""


class WaysAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``/v1/session/ways``."""

    keystone: bool
    """A password or a token of Keystone's; without, only the controller's own token."""


@get("/session/ways", opt=PUBLIC, sync_to_thread=False)
def ways(services: NamedDependency[Services]) -> WaysAnswer:
    """How one can log in here: for whoever has not yet."""
    return WaysAnswer(keystone=services.identity.keystone is not None)


@post("/session", opt=LOGIN, status_code=201, request_max_body_size=BODY_MOST)
async def begin(
    request: Request[Any, Any, Any], services: NamedDependency[Services], data: JSONBody[Login | None] = None
) -> Response[SessionAnswer]:
    """Log in, for a cookie that no script can read: with the token of this request (X-Auth-Token, or the admin token as a bearer), or
    with a body that names a user of Keystone's. His password goes on to Keystone, once, and is kept nowhere.
    """
    token, caller = await _who(request, services, data)
    await auditing.begin(request, services)
    now = services.clock()
    cookie, session = services.identity.sessions.begin(token, now, caller.expires, caller.user)
    answer = Response(_answer(services, caller, session.until, session.csrf), status_code=201)
    answer.set_cookie(
        COOKIE, cookie, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https", max_age=int(session.until - now)
    )
    return answer


@get("/session", rule=RULE, sync_to_thread=False)
def show(request: Request[Any, Any, Any], services: NamedDependency[Services], caller: NamedDependency[Caller]) -> SessionAnswer:
    """Who I am, and what I may."""
    if KEYSTONE in request.headers or SCHEME in request.headers:
        return _answer(services, caller, caller.expires or None, "")
    session = services.identity.sessions.find(request.cookies.get(COOKIE, ""), services.clock())
    return _answer(services, caller, session.until, session.csrf)


@delete("/session", rule=RULE, status_code=204, sync_to_thread=False)
def end(request: Request[Any, Any, Any], services: NamedDependency[Services], caller: NamedDependency[Caller]) -> Response[None]:  # noqa: ARG001
    """Log out: the cookie is worth nothing from now on."""
    cookie = request.cookies.get(COOKIE, "")
    if not cookie:
        raise NotFound("there is no session: this request brought a token, and no cookie")
    services.identity.sessions.end(cookie)
    answer: Response[None] = Response(None, status_code=204)
    answer.delete_cookie(COOKIE, path="/")
    return answer


ROUTER = Router("/v1", route_handlers=[begin, show, end, ways], tags=["session"])


async def _who(request: Request[Any, Any, Any], services: Services, data: Login | None) -> tuple[str, Caller]:
    """His token, empty for the admin token, and who he is. Raises Invalid, Unauthenticated, Forbidden, Unavailable, TooMany."""
    brought = KEYSTONE in request.headers or SCHEME in request.headers
    if data is None:
        await permitted(request, RULE)
        if not brought:
            raise Invalid("log in with a token (X-Auth-Token, or Authorization: Bearer TOKEN), or with a user and his password")
        return request.headers.get(KEYSTONE, "").strip(), request.state.caller
    if brought:
        raise Invalid("log in with a token, or with a user and his password: not with both")
    token, caller = await services.identity.login(data, address_of(request))
    request.state.caller = caller
    services.identity.limits.count(caller, writes=True)
    if not services.identity.policy.may(RULE, caller):
        raise Forbidden(f"the policy does not let you: rule 'foreshape:{RULE}' asks for another role than yours")
    return token, caller


def _answer(services: Services, caller: Caller, expires: float | None, csrf: str) -> SessionAnswer:
    policy = services.identity.policy
    return SessionAnswer(
        user=caller.user,
        name=caller.name,
        project=caller.project,
        project_name=caller.project_name,
        roles=tuple(sorted(caller.roles)),
        everywhere=caller.everywhere,
        local=caller.local,
        rules=tuple(r for r in RULES if policy.may(r, caller)),
        expires=expires,
        csrf=csrf,
    )
