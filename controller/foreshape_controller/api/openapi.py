"""The API's description, completed: what the framework cannot know of it, said once for all routes.

Which errors a route can answer follows from what it is: whether it asks for a token, has names in its path, takes a body, writes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import JsonRenderPlugin

from foreshape_controller.api import lists, problems, repeat
from foreshape_controller.api.agents import enrol, report

Schema = dict[str, Any]

WORDS = {
    400: "What was asked makes no sense; the detail names the field",
    401: "No token, or one that is not known (any more)",
    403: "Known, and not permitted",
    404: "There is no such thing, or it is another project's",
    409: "Not as things are now",
    412: "Not (any more) as If-Match says",
    413: "The body is too large",
    415: "The body is of another kind than the route takes",
    422: "This Idempotency-Key was used for another request",
    429: "Too many requests: wait as Retry-After says",
    503: "Not now: wait as Retry-After says",
}
SCHEMES = {
    "admin": {"type": "http", "scheme": "bearer", "description": "The controller's own admin token ([api] admin_token_file): operators."},
    "keystone": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token of Keystone's, scoped to a project."},
    "session": {"type": "apiKey", "in": "cookie", "name": "foreshape_session", "description": "Browsers: POST /v1/session makes it."},
    "agent": {"type": "http", "scheme": "bearer", "description": "An agent's own token."},
}
EXAMPLES: Mapping[tuple[str, str], Any] = {
    ("post", "/v1/events"): {"name": "Black Friday", "start": "2026-11-27T09:00", "duration_s": 28800, "factors": {"cpu": 3}},
    ("put", "/v1/choices/{of}"): {"mode": "observe", "reason": "a demo for a customer"},
    ("post", "/v1/stop"): {"scope": "cloud", "reason": "something is odd"},
    ("put", "/v1/mode"): {"scope": "cloud", "mode": "advise", "reason": "the first week"},
    ("post", "/v1/caps"): {"scope": "server:web-1", "amounts": {"cpu": 1.0}, "for_s": 3600, "reason": "it runs away"},
    ("put", "/v1/servers/{name}/profile"): {"class": "diurnal", "note": "a shop"},
    ("post", "/v1/requests"): {"flavor": "m1.small", "count": 2, "for_s": 14400},
    ("post", "/v1/pools/{pool}/claims"): {"name": "shop-7"},
}
NAME_MOST = 300


class Described(JsonRenderPlugin):
    """Serves it; made once."""

    def __init__(self) -> None:
        super().__init__()
        self._made: bytes = b""

    def render(self, request: "Request[Any, Any, Any]", openapi_schema: dict[str, Any]) -> bytes:
        self._made = self._made or msgspec.json.encode(completed(request.app, openapi_schema))
        return self._made


def described(app: Litestar) -> Schema:
    """The whole description."""
    return completed(app, app.openapi_schema.to_schema())


def completed(app: Litestar, schema: Schema) -> Schema:
    """The framework's description, and what it does not know."""
    made: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    components = made.setdefault("components", {})
    components["securitySchemes"] = SCHEMES
    components.setdefault("schemas", {})["Problem"] = _problem()
    made["x-errors"] = [{"status": s, "code": c, "title": t, "meaning": m} for s, c, t, m in problems.codes()]
    handlers = dict(_handlers(app))
    for path, item in list(made["paths"].items()):
        if path.startswith(("/schema", "/dashboard")):
            del made["paths"][path]
            continue
        for method, operation in item.items():
            handler = handlers.get((method, path))
            if handler is not None:
                _complete(operation, handler, (method, path))
    return made


def _handlers(app: Litestar) -> Iterator[tuple[tuple[str, str], HTTPRouteHandler]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler):
                for method in handler.http_methods:
                    yield (method.lower(), str(route.path_format)), handler


def _complete(operation: Schema, handler: HTTPRouteHandler, of: tuple[str, str]) -> None:
    method, path = of
    public = handler.opt.get("rule") == "public" and handler.fn is not report.fn and path != "/v1/headroom"
    operation["security"] = [] if public else _security(handler)
    parameters = operation.setdefault("parameters", [])
    for p in parameters:
        if p["in"] == "path":
            p["schema"] = {"type": "string", "minLength": 1, "maxLength": NAME_MOST}
    parameters += _parameters(method, path, handler)
    if of in EXAMPLES:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[of]
    responses = operation["responses"]
    for status in _statuses(method, path, public=public):
        responses[str(status)] = _refusal(status)
    if method == "get" and "application/json" in responses.get("200", {}).get("content", {}):
        responses["200"].setdefault("headers", {})["ETag"] = {"schema": {"type": "string"}, "description": "of single things, for If-Match"}


def _security(handler: HTTPRouteHandler) -> list[Schema]:
    if handler.fn in (report.fn, enrol.fn):
        return [{"agent": []}]
    if handler.opt.get("rule") == "login":
        return [{}, {"admin": []}, {"keystone": []}]
    return [{"admin": []}, {"keystone": []}, {"session": []}]


def _parameters(method: str, path: str, handler: HTTPRouteHandler) -> Iterator[Schema]:
    if method == "post" and handler.opt.get("rule") != "public" and path not in repeat.SECRET:
        said = "The same key with the same request is the same answer again, for a day; the work is done once."
        yield _parameter(
            "Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": repeat.LONGEST, "pattern": "^[ -~]+$"}, said
        )
    if method in ("put", "delete"):
        yield _parameter("If-Match", "header", {"type": "string"}, "Only where the thing still has this ETag.")
    if method == "get" and lists.item(handler) is not None:
        if "limit" not in lists.own(handler):
            yield _parameter(
                "limit", "query", {"type": "integer", "minimum": 1, "maximum": lists.LIMIT_MOST}, "So many; more: header Link."
            )
        said = "Only what comes after this item (its id, as the header Link names it)."
        yield _parameter("marker", "query", {"type": "string", "maxLength": lists.MARKER_MOST}, said)
        for name in lists.filters(handler):
            yield _parameter(name, "query", {"type": "string"}, f"Only those whose {name} is this.")


def _parameter(name: str, where: str, schema: Schema, said: str) -> Schema:
    return {"name": name, "in": where, "required": False, "schema": schema, "description": said}


def _statuses(method: str, path: str, *, public: bool) -> Iterator[int]:
    """What it may answer beside its success."""
    if path in ("/healthz", "/readyz", "/metrics"):
        yield from (503, *(() if public else (401, 403)))
        return
    yield from (400, 404, 409, 429, 503)
    if not public or path == "/v1/agents/enrol":
        yield from (401, 403)
    if method in ("put", "delete"):
        yield 412
    if method in ("put", "post", "patch"):
        yield from (413, 415)
    if method == "post":
        yield 422


def _refusal(status: int) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = {"Retry-After": {"schema": {"type": "string"}, "description": "seconds"}} if status in (429, 503) else {}
    return {"description": WORDS[status], "content": content, **({"headers": headers} if headers else {})}


def _problem() -> Schema:
    return {
        "type": "object",
        "description": "Every error of the API (RFC 9457): code is stable, detail says what to do.",
        "properties": {
            "code": {"type": "string", "enum": sorted({c for _, c, _, _ in problems.codes()})},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
        },
        "required": ["code", "title", "status", "detail"],
    }
