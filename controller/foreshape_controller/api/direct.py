"""Agents' reports past the framework: a hundred a second come, and its way through a request costs three times what taking one does.

Around the whole application, like ``protocol``. Status, words and headers are those of the route in ``api.agents``, which answers where
reports are not taken apart (and is what the published description tells of).
"""

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from litestar import Request, Response
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from foreshape_controller.api import headers, problems
from foreshape_controller.api.agents import take
from foreshape_controller.api.auth import SCHEME, address_of
from foreshape_controller.api.services import Services
from foreshape_controller.api.traffic import REPORTS, App
from foreshape_controller.errors import ControllerError, Invalid, Unauthenticated
from foreshape_controller.loops.apart import Apart
from foreshape_wire.codec import MAX_MESSAGE_BYTES, WireError

JSON = b"application/json"


class Direct:
    """The application, with a shorter way for reports while a process of their own takes them."""

    def __init__(self, app: App, services: Services, extra: Iterable[tuple[str, str]] = ()) -> None:
        """``extra``: headers of every answer."""
        self._app, self._services = app, services
        self._headers = {s: _raw([*headers.told(REPORTS, s).items(), *extra]) for s in ("http", "https")}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        door = self._services.door
        ours = scope["type"] == "http" and scope["path"] == REPORTS and scope["method"] == "POST"
        if not ours or door is None or not door.open:
            await self._app(scope, receive, send)
            return
        began, traffic = time.monotonic(), self._services.traffic
        scope["path_template"], status = REPORTS, 500
        traffic.under_way += 1
        try:
            status, kind, more, body = await self._answer(scope, receive, door)
            length = (b"content-length", str(len(body)).encode())
            told = [(b"content-type", kind), length, *more, *self._headers[scope["scheme"]]]
            await send({"type": "http.response.start", "status": status, "headers": told})
            await send({"type": "http.response.body", "body": body})
        finally:
            traffic.under_way -= 1
            traffic.told(scope, REPORTS, status, time.monotonic() - began)

    async def _answer(self, scope: Any, receive: Any, door: Apart) -> tuple[int, bytes, list[tuple[bytes, bytes]], bytes]:
        """Status, kind, further headers, body. Nothing of the body is read before the token is known to be an agent's."""
        request: Request[Any, Any, Any] = Request(scope)
        try:
            return 200, JSON, [], await self._taken(request, receive, door)
        except Exception as e:  # noqa: BLE001  each becomes what the framework would answer
            told = self._problem(request, e)
            return told.status_code or 500, str(told.media_type).encode(), _raw(told.headers.items()), told.content

    async def _taken(self, request: "Request[Any, Any, Any]", receive: Any, door: Apart) -> bytes:
        return await take(request, partial(_body, receive), self._services, door)

    def _problem(self, request: "Request[Any, Any, Any]", e: Exception) -> "Response[bytes]":
        if isinstance(e, Unauthenticated) and SCHEME in request.headers:
            try:
                self._services.identity.limits.failed(address_of(request))
            except ControllerError as many:
                e = many
        if isinstance(e, ControllerError):
            return problems.own(request, e)
        if isinstance(e, WireError):
            return problems.wire(request, e)
        return problems.http(request, e) if isinstance(e, RequestEntityTooLarge) else problems.unexpected(request, e)


async def _body(receive: Any) -> bytes:
    """Raises Invalid, RequestEntityTooLarge."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the connection ended before the message did")
        body += message.get("body", b"")
        if len(body) > MAX_MESSAGE_BYTES:
            raise RequestEntityTooLarge
        more = message.get("more_body", False)
    return bytes(body)


def _raw(told: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in told]
