"""The audit as people read it: operators all of it, a tenant what concerns his project."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid
from foreshape_controller.model.audit import AuditAnswer, AuditCheck, Entry
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.moment import read_moment
from foreshape_controller.store.audit import MOST, Filter, Kept

Limit = Annotated[int, QueryParameter(ge=1, le=MOST)]
Marker = Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1, description="id of the last entry that was read: older ones follow")]
Status = Annotated[int, QueryParameter(ge=0, le=599, description="a status, or its first digit")]
Moment = Annotated[str, QueryParameter(description='epoch seconds, ISO 8601, or "2h ago"')]


@get("/audit", rule="audit:list", sync_to_thread=True)
def entries(  # noqa: PLR0913, PLR0917  each is one filter
    request: Request[Caller, None, State],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    project: FromQuery[str] = "",
    user: FromQuery[str] = "",
    method: FromQuery[str] = "",
    route: FromQuery[str] = "",
    touched: FromQuery[str] = "",
    cause: FromQuery[str] = "",
    status: Status = 0,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 100,
    marker: Marker = None,
) -> Response[list[AuditAnswer]]:
    """Requests that changed something, or tried to, the newest first. ``touched``: a scope or an id."""
    now = services.clock()
    wanted = Filter(
        project=(project or None) if caller.everywhere else caller.project,
        user=user if caller.everywhere else "",
        method=method.upper(),
        route=route,
        scope=touched,
        cause=cause,
        status=status,
        since=_instant("since", since, now) or 0.0,
        until=_instant("until", until, now),
        before=marker,
        limit=limit,
    )
    if not caller.everywhere and (project not in ("", caller.project) or user):
        return Response([])  # as of a project that does not exist; operators' names are not asked for
    found = services.store.audit.list(wanted)
    return Response([_answer(k, caller) for k in found], headers=_more(request, found) if len(found) == limit else {})


@get("/audit/verify", opt=OPERATORS, sync_to_thread=True)
def verify(services: NamedDependency[Services]) -> AuditCheck:
    """Whether every row still is what was written, and none is missing."""
    return services.store.audit.verify()


ROUTER = Router("/v1", route_handlers=[entries, verify], tags=["audit"])


def _more(request: Request[Caller, None, State], found: Sequence[Kept]) -> dict[str, str]:
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "marker"] + [("marker", str(found[-1].id))]
    return {"Link": f'<{request.url.path}?{urlencode(query)}>; rel="next"'}


def _answer(kept: Kept, caller: Caller) -> AuditAnswer:
    """A tenant is told that it was an operator, and not which, nor from where."""
    entry = kept.entry
    if not caller.everywhere and entry.caller != caller.project:
        entry = msgspec.structs.replace(entry, user="operator", name="operator", address="", detail="")
    return AuditAnswer(id=kept.id, **{f: getattr(entry, f) for f in Entry.__struct_fields__ if f not in ("stage", "caller")})


def _instant(field: str, text: str, now: float) -> float | None:
    if not text:
        return None
    try:
        return read_moment(text, now)
    except ValueError as e:
        raise Invalid(f"{field}: {e}") from e
