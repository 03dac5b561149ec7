"""Long lists in parts: ``?limit=&marker=`` with a header ``Link: <…>; rel="next"``, and filters by what items say of themselves.

One place for every route that answers a list: the answer stays a plain list. A route that has such a parameter of its own keeps it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.handlers.base import BaseRouteHandler

from foreshape_controller.errors import Invalid

_T = TypeVar("_T")
LIMIT_MOST = 10_000
MARKER_MOST = 300
KEYS = ("id", "scope", "name", "server", "host", "plan", "series")
"""What an item is known by: the first of these that it has."""
FILTERS = ("project", "host", "name", "server", "state", "status", "tier", "mode", "scope", "kind", "resource")

_asked: ContextVar["Request[Any, Any, Any] | None"] = ContextVar("asked", default=None)


def before(request: "Request[Any, Any, Any]") -> None:
    """Remember who asks: the hook after the handler is not told. Raises Invalid for a limit or a marker that makes no sense."""
    _asked.set(request if request.method == "GET" else None)
    if request.method == "GET" and item(request.route_handler) is not None:
        _limit(request), _marker(request)


async def after(response: "Response[Any]") -> "Response[Any]":
    """The part of a list that was asked for."""
    request = _asked.get()
    if request is None or not isinstance(response.content, list) or not response.content:
        return response
    chosen = [x for x in response.content if _chosen(x, _filters(request))]
    response.content, more = _part(chosen, _limit(request), _marker(request))
    if more:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "marker"] + [("marker", _key(response.content[-1]))]
        response.headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return response


def ahead(
    request: "Request[Any, Any, Any]", items: Sequence[_T], says: Mapping[str, Callable[[_T], str]], key: Callable[[_T], str]
) -> list[_T]:
    """What the part that was asked for can be made of, with the marker's item before it and one more behind it.

    ``says``: what filters ask, of things that are no answers yet: thirty thousand need not become answers where a hundred are shown.
    """
    wanted, limit, marker = _filters(request), _limit(request), _marker(request)
    chosen = [x for x in items if all(_like(says[name](x), value) for name, value in wanted.items() if name in says)]
    if limit is None or not wanted.keys() <= says.keys():
        return chosen
    begin = next((i for i, x in enumerate(chosen) if key(x) == marker), 0) if marker else 0
    return chosen[begin : begin + limit + 2]


@lru_cache(maxsize=2048)
def item(handler: BaseRouteHandler) -> type | None:
    """What a route's list is of; None where it answers no list."""
    told = handler.parsed_fn_signature.return_type.annotation
    (of,) = get_args(told) if get_origin(told) is list else (None,)
    return of if isinstance(of, type) and issubclass(of, msgspec.Struct) else None


@lru_cache(maxsize=2048)
def own(handler: BaseRouteHandler) -> frozenset[str]:
    """Names of the query parameters that a route has itself."""
    found = set()
    for name, parameter in handler.parsed_fn_signature.parameters.items():
        kwarg = parameter.kwarg_definition
        found |= {name, str(getattr(kwarg, "name", None) or getattr(kwarg, "query", None) or name)}
    return frozenset(found)


@lru_cache(maxsize=2048)
def filters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Of a route's list: what may be filtered by."""
    of = item(handler)
    if of is None:
        return ()
    texts = {f.name for f in msgspec.structs.fields(of) if f.type is str}
    return tuple(name for name in FILTERS if name in texts and name not in own(handler))


def _filters(request: "Request[Any, Any, Any]") -> Mapping[str, str]:
    return {name: request.query_params[name] for name in filters(request.route_handler) if name in request.query_params}


def _chosen(x: Any, wanted: Mapping[str, str]) -> bool:
    return all(_like(getattr(x, name), value) for name, value in wanted.items())


def _like(text: str, wanted: str) -> bool:
    """``*`` stands for any characters; where there is none, all of the text is meant."""
    if "*" not in wanted:
        return text == wanted
    first, *middle, last = wanted.split("*")
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    rest = text[len(first) : len(text) - len(last)]
    for part in middle:
        _, found, rest = rest.partition(part) if part else ("", "*", rest)
        if not found:
            return False
    return True


def _limit(request: "Request[Any, Any, Any]") -> int | None:
    said = request.query_params.get("limit")
    if said is None or "limit" in own(request.route_handler):
        return None
    if not (said.isascii() and said.isdigit() and 1 <= int(said[:9]) <= LIMIT_MOST and len(said) < 9):
        raise Invalid(f"limit: a number from 1 to {LIMIT_MOST} is wanted")
    return int(said)


def _marker(request: "Request[Any, Any, Any]") -> str:
    said = "" if "marker" in own(request.route_handler) else str(request.query_params.get("marker", ""))
    if len(said) > MARKER_MOST:
        raise Invalid(f"marker: at most {MARKER_MOST} characters; it is the id of the last item that you have")
    return said


def _part(items: Sequence[Any], limit: int | None, marker: str) -> tuple[list[Any], bool]:
    """What comes after the marker, and whether there is more. Raises Invalid for a marker that is not in the list (any more)."""
    begin = 0
    if marker:
        begin = next((i + 1 for i, x in enumerate(items) if _key(x) == marker), -1)
        if begin < 0:
            raise Invalid(f"marker: there is no {marker[:80]!r} in the list (any more): begin anew without a marker")
    end = len(items) if limit is None else begin + limit
    return list(items[begin:end]), end < len(items)


def _key(x: Any) -> str:
    found = next((getattr(x, name) for name in KEYS if getattr(x, name, "")), "")
    rest = [str(getattr(x, name, "")) for name in ("resource", "kind", "stratum", "head", "at")]
    return "/".join([str(found), *filter(None, rest)])[:MARKER_MOST] if not getattr(x, "id", "") else str(found)
