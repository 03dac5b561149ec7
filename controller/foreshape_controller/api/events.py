"""The events calendar: declared one by one, or imported. Every route needs the admin token."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.params import FromPath, JSONBody

from foreshape_controller.api.auth import operator
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid
from foreshape_controller.loops import ical
from foreshape_controller.loops.calendar import Calendar, Known
from foreshape_controller.loops.words import compose
from foreshape_controller.model.event import Event, EventAnswer, EventRequest, ImportAnswer, ImportTerms, Occurrence
from foreshape_controller.model.history import WATCHED
from foreshape_wire.ids import new_id

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


@get("/events", sync_to_thread=True)
def events(services: NamedDependency[Services]) -> list[EventAnswer]:
    """All events, the next to happen first."""
    calendar = Calendar(services.store.events)
    known, now = calendar.known(), services.clock()
    found = [_answer(calendar, known, e, now) for e in known.events]
    return sorted(found, key=lambda e: (e.next_start is None, e.next_start or 0.0, e.name))


@get("/events/{name:str}", sync_to_thread=True)
def event(services: NamedDependency[Services], name: FromPath[str]) -> EventAnswer:
    return _shown(services, services.store.events.find(name))


@post("/events", status_code=201, sync_to_thread=True)
def create(services: NamedDependency[Services], data: JSONBody[EventRequest]) -> EventAnswer:
    """Declare an event."""
    made = compose(data, new_id("evt"), services.clock())
    services.store.events.put(made)
    return _shown(services, made)


@delete("/events/{name:str}", status_code=204, sync_to_thread=True)
def forget(services: NamedDependency[Services], name: FromPath[str]) -> None:
    """Delete an event and what was learned of it."""
    services.store.events.remove(services.store.events.find(name).id)


@post("/events/import", status_code=200)
async def take(request: Request[Any, Any, Any], services: NamedDependency[Services]) -> ImportAnswer:
    """Body: an iCalendar file; query: the fields of ImportQuery. Events are known again by their UID."""
    query = _query(request)
    try:
        text = await request.body()
    except InternalServerException as e:  # the framework's word for a sender that went away
        raise Invalid("the connection ended before the calendar did") from e
    return await sync_to_thread(_imported, services, text, query)


ROUTER = Router("/v1", guards=[operator], route_handlers=[events, event, create, forget, take], tags=["events"])


def _query(request: Request[Any, Any, Any]) -> ImportQuery:
    try:
        return msgspec.convert(dict(request.query_params), ImportQuery, strict=False)
    except msgspec.ValidationError as e:
        raise Invalid(f"query: {e}") from e


def _imported(services: Services, text: bytes, query: ImportQuery) -> ImportAnswer:
    given = {r: getattr(query, r) for r in WATCHED}
    terms = ImportTerms(
        source=query.source,
        scope=query.scope,
        factors={r: f for r, f in given.items() if f is not None},
        time_zone=query.time_zone,
        lead_s=query.lead_s,
        tail_s=query.tail_s,
    )
    found = ical.parse(text, terms, services.clock())
    done = services.store.events.replace(found.source, found.events, keep=query.keep)
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
