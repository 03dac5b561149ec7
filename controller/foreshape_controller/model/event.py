"""Events that people know of before they happen: a sale, a backup, a school's first day.

An event multiplies the demand of everything in its scope by a factor while an occurrence of it lasts. What was declared
counts until an occurrence was seen; from then on what was measured does (``forecast.events.in_force``).
"""

import math
from collections.abc import Mapping

import msgspec

from foreshape_controller.errors import Invalid
from foreshape_controller.model.history import WATCHED

FACTOR_MOST = 20.0
"""No demand is multiplied by more than this, by one event or by several together."""

SCOPES = ("zone", "segment", "project", "server")
"""Kinds of scope that have a name; the fifth scope is ``cloud``."""

NAME_MOST, NOTE_MOST = 200, 2000
"""Characters."""

RAMP_MOST_S = 7 * 86400.0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event with all its occurrences. Instants are seconds since the epoch (UTC)."""

    id: str
    name: str
    scope: str
    """``cloud``, ``zone:NAME``, ``segment:NAME``, ``project:ID`` or ``server:ID``."""
    factors: Mapping[str, float]
    """Declared, by resource; a resource that is not named has 1: no effect expected."""
    start: float
    end: float
    """Of the first occurrence."""
    time_zone: str
    """IANA name: what local times of the calendar without a zone of their own mean."""
    calendar: str
    """Its VEVENTs as a whole iCalendar text: what occurrences are expanded from."""
    recurrence: str = ""
    """Its RRULE, as written; empty for a one-off event."""
    lead_s: float = 0.0
    tail_s: float = 0.0
    """Seconds before the start and after the end over which the factor grows from 1 and falls back to it, linearly."""
    note: str = ""
    source: str = "api"
    """``api``, or the name of the calendar it was imported from."""
    created_at: float = 0.0
    project: str = ""
    """Whose it is; empty: the operators'."""


class Occurrence(msgspec.Struct, frozen=True, order=True):
    """One time that an event happens."""

    start: float
    end: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one occurrence did to one resource."""

    event: str
    resource: str
    start: int
    """Of the occurrence."""
    factor: float
    weight: float
    """0..1, the share of the occurrence that measurements spoke for; 0: nothing can be said of it."""


class Influence(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence with the factors in force: what forecasts are multiplied by, and histories divided by."""

    event: str
    name: str
    scope: str
    start: float
    end: float
    lead_s: float
    tail_s: float
    factors: Mapping[str, float]
    said: Mapping[str, str]
    """By resource: the sentence that goes into a forecast's reason."""

    @property
    def begins(self) -> float:
        return self.start - self.lead_s

    @property
    def ends(self) -> float:
        return self.end + self.tail_s


def check(event: Event) -> Event:
    """The same event. Raises Invalid naming the field that makes no sense."""
    check_text("name", event.name, NAME_MOST, needed=True)
    if "\n" in event.name or "\t" in event.name:
        raise Invalid("name: one line without tabs is wanted")
    check_text("source", event.source, NAME_MOST, needed=True)
    check_text("note", event.note, NOTE_MOST)
    check_scope(event.scope)
    check_factors(event.factors)
    for name, ramp in (("lead_s", event.lead_s), ("tail_s", event.tail_s)):
        if not 0 <= ramp <= RAMP_MOST_S:
            raise Invalid(f"{name} is {ramp:g}: seconds between 0 and a week ({RAMP_MOST_S:.0f}) are wanted")
    if not event.start < event.end:
        raise Invalid("end: an event must end after it starts; give a later end, or a duration above 0")
    return event


def check_text(field: str, text: str, most: int, *, needed: bool = False) -> None:
    """Raises Invalid for a text that is too long, missing, or would break a terminal or a database."""
    if needed and not text.strip():
        raise Invalid(f"{field}: a text is wanted here")
    if len(text) > most:
        raise Invalid(f"{field} has {len(text)} characters: at most {most} are kept")
    if any(not c.isprintable() and c not in "\n\t" for c in text):
        raise Invalid(f"{field} has characters that cannot be printed: leave them out")


def check_scope(scope: str) -> None:
    """Raises Invalid for anything that is not a scope."""
    kind, colon, name = scope.partition(":")
    if scope != "cloud" and not (kind in SCOPES and colon and name.strip()):
        raise Invalid(f"scope {scope[:80]!r}: write cloud, zone:NAME, segment:NAME, project:ID or server:ID")
    check_text("scope", scope, 300)


def check_factors(factors: Mapping[str, float]) -> None:
    """Raises Invalid for an unknown resource, or a factor that no demand is multiplied by."""
    for resource, factor in factors.items():
        if resource not in WATCHED:
            raise Invalid(f"factors: there is no resource {resource[:40]!r}; known are {', '.join(WATCHED)}")
        if not (math.isfinite(factor) and 0 <= factor <= FACTOR_MOST):
            raise Invalid(f"factors: {resource} is {factor:g}: a number from 0 to {FACTOR_MOST:g} is wanted; 1 means no effect")


class EventRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/events``: one event in plain words. Local times are of ``time_zone``; with ``end`` or ``duration_s``."""

    name: str
    start: str
    """ISO 8601, as ``2026-11-27T09:00``, or with an offset."""
    scope: str = ""
    """Empty: one's own project."""
    end: str = ""
    duration_s: float | None = None
    time_zone: str = "UTC"
    recurrence: str = ""
    """An RRULE (RFC 5545), as ``FREQ=WEEKLY;BYDAY=MO,TU``."""
    exceptions: tuple[str, ...] = ()
    """Starts of occurrences that do not happen, written as ``start``."""
    factors: Mapping[str, float] = {}
    lead_s: float = 0.0
    tail_s: float = 0.0
    note: str = ""


class ImportTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What an imported calendar does not say of its events: used where an event has no ``X-FORESHAPE-…`` of its own."""

    source: str = ""
    """Name of the calendar; its own (X-WR-CALNAME) if empty."""
    scope: str = ""
    factors: Mapping[str, float] = {}
    time_zone: str = ""
    """For times without a zone; the calendar's own (X-WR-TIMEZONE), else UTC, if empty."""
    lead_s: float = 0.0
    tail_s: float = 0.0
    project: str = ""
    """Whose calendar it is; empty: the operators'."""


class EventAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/events`` and ``/v1/events/{id or name}``."""

    id: str
    name: str
    scope: str
    next_start: float | None
    """Of the occurrence that lasts or comes next, within the coming year; None: none does."""
    next_end: float | None
    declared: Mapping[str, float]
    learned: Mapping[str, float]
    """By resource, the factor in force where occurrences were measured."""
    occurrences_seen: int
    time_zone: str
    start: float
    end: float
    recurrence: str
    lead_s: float
    tail_s: float
    note: str
    source: str
    created_at: float
    project: str = ""
    """Whose it is; empty: the operators'."""


class ImportAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/events/import``: what became of the calendar's events."""

    source: str
    added: int
    updated: int
    unchanged: int
    removed: int
