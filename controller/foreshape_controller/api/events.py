"""The events calendar: declared one by one, or imported; by operators for all, by tenants for their own servers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.params import FromPath, JSONBody

from foreshape_controller.api import visible
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops import ical
from foreshape_controller.loops.calendar import Calendar, Known
from foreshape_controller.loops.words import compose
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.event import Event, EventAnswer, EventRequest, ImportAnswer, ImportTerms, Occurrence
from foreshape_controller.model.history import WATCHED
from foreshape_wire.ids import new_id

RULE = "events:create"
LOOKED_FOR_S = (8 * 86400.0, 370 * 86400.0)
"""How far ahead the next occurrence is looked for: most recur within a week."""


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of ``POST /v1/events/import``: what the calendar does not say itself."""

    source: str = ""
    """Name of the calendar: what it is updated by."""
    scope: str = ""
    time_zone: str = ""
    lead_s: float = 0.0
    tail_s: float = 0.0
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None
    net: float | None = None
    keep: bool = False
    """Keep events that vanished from the calendar."""


@get("/events", rule="events:list", sync_to_thread=True)
def events(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[EventAnswer]:
    """All events, the next to happen first; a tenant's own."""
    calendar = Calendar(services.store.events)
    known, now = calendar.known(), services.clock()
    found = [_answer(calendar, known, e, now) for e in services.store.events.all(caller.only)]
    return sorted(found, key=lambda e: (e.next_start is None, e.next_start or 0.0, e.name))


@get("/events/{name:str}", rule="events:list", sync_to_thread=True)
def event(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> EventAnswer:
    """One event, by its id or its name."""
    return _shown(services, services.store.events.find(name, caller.only))


@post("/events", status_code=201, rule=RULE, sync_to_thread=True)
def create(services: NamedDependency[Services], caller: NamedDependency[Caller], data: JSONBody[EventRequest]) -> EventAnswer:
    """Declare an event; a tenant for his own project or one of its servers."""
    said = msgspec.structs.replace(data, scope=_scope(services, caller, data.scope))
    made = msgspec.structs.replace(compose(said, new_id("evt"), services.clock()), project=_owner(services, caller))
    services.store.events.put(made)
    return _shown(services, made)


@delete("/events/{name:str}", rule="events:delete", status_code=204, sync_to_thread=True)
def forget(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> None:
    """Delete an event and what was learned of it."""
    found = services.store.events.find(name, caller.only)
    visible.ask(services, caller, found.project, "events:delete")
    services.store.events.remove(found.id)


@post("/events/import", rule=RULE, status_code=200)
async def take(request: Request[Any, Any, Any], services: NamedDependency[Services], caller: NamedDependency[Caller]) -> ImportAnswer:
    """Body: an iCalendar file; query: the fields of ImportQuery. Events are known again by their UID.

    A tenant's are for his own project, or for one of its servers (``X-FORESHAPE-SCOPE``), and fewer.
    """
    query = _query(request)
    try:
        text = await request.body()
    except InternalServerException as e:  # the framework's word for a sender that went away
        raise Invalid("the connection ended before the calendar did") from e
    return await sync_to_thread(_imported, services, caller, text, query)


ROUTER = Router("/v1", route_handlers=[events, event, create, forget, take], tags=["events"])


def _owner(services: Services, caller: Caller) -> str:
    """Project of what he declares; empty: the operators' own."""
    return "" if caller.everywhere and services.identity.policy.may(RULE, caller, "") else caller.project


def _scope(services: Services, caller: Caller, wanted: str) -> str:
    """The scope, a server by its id. Raises NotFound for what is not his, as for what does not exist; Forbidden, Ambiguous."""
    if not wanted and caller.project:
        return f"project:{caller.project}"
    if not wanted:
        visible.ask(services, caller, "", RULE)
        return ""
    kind, _, name = wanted.partition(":")
    if kind == "server":
        return f"server:{visible.changed(services, caller, name, RULE).id}"
    if kind not in ("project", "cloud", "zone", "segment"):
        return wanted  # what is no scope is refused by name
    if caller.everywhere:
        visible.ask(services, caller, name if kind == "project" else "", RULE)
        return wanted
    if wanted != f"project:{caller.project}":
        raise NotFound(f"there is no {wanted[:80]!r}: write project:{caller.project}, or server:ID of a server of yours")
    return wanted


def _query(request: Request[Any, Any, Any]) -> ImportQuery:
    try:
        return msgspec.convert(dict(request.query_params), ImportQuery, strict=False)
    except msgspec.ValidationError as e:
        raise Invalid(f"query: {e}") from e


def _imported(services: Services, caller: Caller, text: bytes, query: ImportQuery) -> ImportAnswer:
    given, owner = {r: getattr(query, r) for r in WATCHED}, _owner(services, caller)
    bounds = ical.TENANTS if owner or not caller.everywhere else ical.Bounds()
    terms = ImportTerms(
        source=query.source,
        scope=_scope(services, caller, query.scope),
        factors={r: f for r, f in given.items() if f is not None},
        time_zone=query.time_zone,
        lead_s=query.lead_s,
        tail_s=query.tail_s,
        project=owner,
    )
    found = ical.parse(text, terms, services.clock(), bounds)
    scoped = tuple(msgspec.structs.replace(e, scope=_scope(services, caller, e.scope)) for e in found.events)
    done = services.store.events.replace(found.source, scoped, keep=query.keep, project=terms.project)
    return ImportAnswer(source=found.source, added=done.added, updated=done.updated, unchanged=done.unchanged, removed=done.removed)


def _shown(services: Services, shown: Event) -> EventAnswer:
    calendar = Calendar(services.store.events)
    return _answer(calendar, calendar.known(), shown, services.clock())


def _answer(calendar: Calendar, known: Known, e: Event, now: float) -> EventAnswer:
    coming = _next(calendar, e, now)
    return EventAnswer(
        id=e.id,
        name=e.name,
        scope=e.scope,
        next_start=coming.start if coming else None,
        next_end=coming.end if coming else None,
        declared=e.factors,
        learned=_learned(known, e),
        occurrences_seen=known.seen(e),
        time_zone=e.time_zone,
        start=e.start,
        end=e.end,
        recurrence=e.recurrence,
        lead_s=e.lead_s,
        tail_s=e.tail_s,
        note=e.note,
        source=e.source,
        created_at=e.created_at,
        project=e.project,
    )


def _learned(known: Known, e: Event) -> Mapping[str, float]:
    """By resource that was declared or found to change."""
    seen = {r: known.factor(e, r) for r in WATCHED if known.seen(e, r)}
    return {r: round(f, 3) for r, f in seen.items() if r in e.factors or f != 1}


def _next(calendar: Calendar, e: Event, now: float) -> Occurrence | None:
    """The occurrence that lasts, or the first to come."""
    for ahead in LOOKED_FOR_S:
        coming = [o for o in calendar.occurrences(e, now, now + ahead) if o.end > now]
        if coming:
            return coming[0]
    return None
