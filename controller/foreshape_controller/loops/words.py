"""Events from plain words: what an operator or a program declares is written as iCalendar, and read like any calendar."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from foreshape_controller.errors import Invalid
from foreshape_controller.loops import ical
from foreshape_controller.model.event import Event, EventRequest, ImportTerms, check_text

RULE_MOST = 500
"""Characters of a recurrence rule."""


def compose(request: EventRequest, event_id: str, now: float) -> Event:
    """An event from plain words. Raises Invalid naming the field."""
    terms = ImportTerms(
        source="api",
        scope=request.scope,
        factors=request.factors,
        time_zone=request.time_zone,
        lead_s=request.lead_s,
        tail_s=request.tail_s,
    )
    text = "\r\n".join(_lines(request, event_id)) + "\r\n"
    event = ical.of_one(text, event_id, terms, now)
    return ical.sound(msgspec.structs.replace(event, id=event_id, name=request.name, note=request.note))


def _lines(request: EventRequest, event_id: str) -> Iterator[str]:
    zone = ical.zone_of(request.time_zone, "time_zone")
    start = _moment(request.start, zone, "start")
    if len(request.exceptions) > ical.DATES_MOST:
        raise Invalid(f"exceptions: at most {ical.DATES_MOST} are kept")
    yield from ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Foreshape//events//EN", "BEGIN:VEVENT", f"UID:{event_id}")
    yield _line("DTSTART", start, zone)
    yield _line("DTEND", _end(request, start, zone), zone)
    for exception in request.exceptions:
        yield _line("EXDATE", _moment(exception, zone, "exceptions"), zone)
    if request.recurrence:
        yield f"RRULE:{_rule(request.recurrence)}"
    yield from ("END:VEVENT", "END:VCALENDAR")


def _line(name: str, moment: datetime, zone: ZoneInfo) -> str:
    """A property; UTC has a form of its own."""
    written = f"{moment:%Y%m%dT%H%M%S}"
    return f"{name}:{written}Z" if zone.key == "UTC" else f"{name};TZID={zone.key}:{written}"


def _moment(text: str, zone: ZoneInfo, field: str) -> datetime:
    """A local time; one with an offset is turned into local time."""
    try:
        moment = datetime.fromisoformat(text)
        local = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
    except (ValueError, OverflowError) as e:
        raise Invalid(f"{field} {text[:40]!r} is not a time: write it as 2026-11-27T09:00") from e
    if not ical.YEARS[0] <= local.year < ical.YEARS[1]:
        raise Invalid(f"{field}: the year {local.year} is not between {ical.YEARS[0]} and {ical.YEARS[1]}")
    return local


def _end(request: EventRequest, start: datetime, zone: ZoneInfo) -> datetime:
    if bool(request.end) == (request.duration_s is not None):
        raise Invalid("give either end or duration_s")
    if request.duration_s is None:
        return _moment(request.end, zone, "end")
    if not 0 < request.duration_s <= ical.LONGEST.total_seconds():
        raise Invalid(f"duration_s is {request.duration_s:g}: seconds above 0 and up to {ical.LONGEST.days} days are wanted")
    return (start.astimezone(UTC) + timedelta(seconds=request.duration_s)).astimezone(zone)


def _rule(text: str) -> str:
    """An RRULE's value, on one line: whatever it says is checked when it is read."""
    check_text("recurrence", text, RULE_MOST)
    if "\n" in text or "\t" in text:
        raise Invalid("recurrence: one line without tabs is wanted")
    return text.strip().removeprefix("RRULE:")
