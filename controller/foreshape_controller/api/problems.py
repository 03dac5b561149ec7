"""Errors as problem documents (RFC 9457): one status per kind, a stable code, words that say what to do."""

import math
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from foreshape_controller import errors
from foreshape_controller.log import get_logger
from foreshape_controller.model.answers import Problem
from foreshape_wire.codec import WireError

log = get_logger("api")


class BodyRequest(Request[Any, Any, Any]):
    """A request whose body may be anything: the decoder's own faults are the sender's, not ours."""

    async def json(self) -> Any:
        try:
            return await super().json()
        except UnicodeDecodeError as e:
            raise errors.Invalid(f"the body is not JSON in UTF-8: {e.reason} at byte {e.start}") from e
        except RecursionError as e:
            raise errors.Invalid("the body is not usable: its lists or objects lie too deep in each other") from e


STATUS: dict[type[Exception], tuple[int, str]] = {
    errors.NotFound: (404, "Not found"),
    errors.Ambiguous: (409, "Ambiguous"),
    errors.Invalid: (400, "Bad request"),
    errors.KeyReused: (422, "Idempotency key reused"),
    errors.RequestUnderWay: (409, "Under way"),
    errors.OutcomeUnknown: (409, "Outcome unknown"),
    errors.WrongMedia: (415, "Unsupported media type"),
    errors.Unauthenticated: (401, "Not authenticated"),
    errors.Forbidden: (403, "Not permitted"),
    errors.TooMany: (429, "Too many requests"),
    errors.Forged: (403, "Not permitted"),
    errors.EnrolRefused: (403, "Not permitted"),
    errors.ModelError: (409, "Model not usable"),
    errors.Unavailable: (503, "Not available now"),
    errors.Temporary: (503, "The cloud does not answer now"),
    errors.Conflict: (409, "The cloud was changed meanwhile"),
    errors.NoRoom: (409, "No room"),
    errors.Gone: (404, "Not in the cloud"),
    errors.Permanent: (409, "The cloud does not allow it"),
}
_HTTP_CODES = {
    404: "no_such_route",
    405: "method_not_allowed",
    413: "too_large",
    401: "unauthenticated",
    403: "forbidden",
    400: "invalid",
    415: "wrong_media_type",
    429: "too_many_requests",
}


_OTHERS = (
    (400, "bad_message", "Bad message", "An agent's message that cannot be accepted; the text names the field."),
    (400, "wrong_version", "Bad message", "An agent that speaks another version of the wire."),
    (404, "no_such_route", "Not Found", "There is no such route."),
    (405, "method_not_allowed", "Method Not Allowed", "The route has no such method."),
    (412, "changed_meanwhile", "Precondition failed", "The thing is not (any more) as If-Match says."),
    (413, "too_large", "Request Entity Too Large", "The body is larger than is taken."),
    (500, "internal", "Internal fault", "A fault of the controller; its log has it under the id that the detail names."),
)


def codes() -> list[tuple[int, str, str, str]]:
    """Every code that an answer can have: status, code, title and meaning."""
    own = [(status, str(getattr(e, "code", "")), title, " ".join((e.__doc__ or "").split())) for e, (status, title) in STATUS.items()]
    return sorted({*own, *_OTHERS})


DETAIL_MOST = 2000
"""Characters of a problem's detail."""


def answer(code: str, title: str, status: int, detail: str, *, wait_s: float = 5.0) -> "Response[bytes]":
    """A problem as a response. ``wait_s``: when to try again, where that helps."""
    told = detail if len(detail) <= DETAIL_MOST else f"{detail[:DETAIL_MOST]} …"  # names in it may be as long as an address may be
    problem = Problem(code=code, title=title, status=status, detail=told)
    later = {"Retry-After": f"{max(1, math.ceil(wait_s))}"} if status in (429, 503) else {}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else later
    return Response(msgspec.json.encode(problem), status_code=status, media_type="application/problem+json", headers=headers)


def own(request: "Request[Any, Any, Any]", e: errors.ControllerError) -> "Response[bytes]":
    """One of our own errors."""
    status, title = STATUS.get(type(e), (500, "Error"))
    if status >= 500:
        log.error("request failed", path=request.url.path, code=e.code, reason=str(e))
    return answer(e.code, title, status, str(e), wait_s=e.delay if isinstance(e, errors.TooMany) else 5.0)


def wire(request: "Request[Any, Any, Any]", e: WireError) -> "Response[bytes]":
    """A message that cannot be accepted: the codec's text names the field."""
    code = "wrong_version" if str(e).startswith("$.version is") else "bad_message"
    log.warning("message refused", path=request.url.path, reason=str(e))
    return answer(code, "Bad message", 400, str(e))


def http(request: "Request[Any, Any, Any]", e: HTTPException) -> "Response[bytes]":
    """An error of the framework: no such route, a wrong method, a body too large, a parameter of a wrong type."""
    details = [f"{x.get('key', '')}: {x.get('message', '')}" for x in e.extra if isinstance(x, dict)] if isinstance(e.extra, list) else []
    if e.status_code >= 500:
        return unexpected(request, e)
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not for {request.url.path}",
    }.get(e.status_code, "; ".join([e.detail, *details]))
    return answer(_HTTP_CODES.get(e.status_code, "invalid"), e.detail.split("\n")[0][:80], e.status_code, detail)


def unexpected(request: "Request[Any, Any, Any]", e: Exception) -> "Response[bytes]":
    """A fault of ours: the caller gets an id, the log everything."""
    fault = uuid4().hex[:12]
    log.error("unexpected fault", fault=fault, path=request.url.path, method=request.method, exc_info=e)
    return answer("internal", "Internal fault", 500, f"a fault of the controller; its log has it under {fault}")
