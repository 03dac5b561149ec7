"""The door to iCalendar (RFC 5545): events from calendar files, and all the times at which they happen.

An event keeps its own components as iCalendar text; time zones, daylight saving, exceptions and moved occurrences are then
the libraries' business. Everything that a stranger's file can be is refused here as Invalid, naming the component.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as midnight
from functools import lru_cache
from math import ceil, floor
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import icalendar
import recurring_ical_events

from foreshape_controller.errors import Invalid
from foreshape_controller.loops.rrule import check_rule
from foreshape_controller.model.event import (
    NAME_MOST,
    NOTE_MOST,
    Event,
    ImportTerms,
    Occurrence,
    check,
    check_factors,
    check_scope,
    check_text,
)

EVENTS_MOST = 2000


@dataclass(frozen=True)
class Bounds:
    """How large a calendar may be."""

    size: int = 4 * 1024 * 1024
    """Bytes."""
    events: int = EVENTS_MOST
    """VEVENTs."""
    cpu_s: float = 10.0
    """Of work on all of its rules."""


TENANTS = Bounds(256 * 1024, 200, 5.0)

EACH_CPU_S = 0.1
"""Looking up one day of a sound rule costs milliseconds; one that (almost) never happens is looked for until the year 9999."""

DATES_MOST = 1000
"""EXDATEs and RDATEs of an event, and occurrences of it that were moved."""

DAY_S = 86400
LONGEST = timedelta(days=366)
YEARS = (1970, 2200)

BROKEN = (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError, RecursionError)
"""What the libraries raise for content they cannot read."""

_TIMES = ("DTSTART", "DTEND", "RECURRENCE-ID", "EXDATE", "RDATE")
_KEPT = ("UID", *_TIMES, "DURATION", "RRULE", "STATUS", "SEQUENCE")


# -- in ---------------------------------------------------------------------------------------------------------------


def of_one(text: str, uid: str, terms: ImportTerms, now: float) -> Event:
    """The event of a calendar that holds but this one, made by ourselves (``loops.words``). Raises Invalid."""
    component = _read(text.encode()).walk("VEVENT")[0]
    return _event([component], [], terms, _Place(terms.source, terms.time_zone, uid, now))


@dataclass(frozen=True)
class Imported:
    """A calendar's name and its events."""

    source: str
    events: tuple[Event, ...]


def parse(text: bytes, terms: ImportTerms, now: float, bounds: Bounds = Bounds()) -> Imported:
    """All events of a calendar file, cancelled ones left out. Raises Invalid naming the component."""
    check_factors(terms.factors)
    if terms.scope:
        check_scope(terms.scope)
    calendar = _read(text, bounds)
    source = terms.source or str(calendar.get("X-WR-CALNAME", ""))
    check_text("name of the calendar (--name-calendar)", source, NAME_MOST, needed=True)
    if source == "api":
        raise Invalid("a calendar cannot be called 'api': that is where events come from that were created one by one")
    zone = str(terms.time_zone or calendar.get("X-WR-TIMEZONE", "") or "UTC")
    zone_of(zone, "time zone of the calendar")
    groups: dict[str, list[Any]] = defaultdict(list)
    for number, component in enumerate(calendar.walk("VEVENT"), 1):
        groups[_uid(component, number)].append(component)
    if not groups:
        raise Invalid("the calendar holds no VEVENT: there is nothing to import")
    zones = calendar.walk("VTIMEZONE")
    begun, found = time.thread_time(), list[Event | None]()
    for uid, group in groups.items():
        found.append(_one(group, zones, terms, _Place(source, zone, uid, now, terms.project)))
        if time.thread_time() - begun > bounds.cpu_s:
            raise Invalid(f"the calendar's rules take too long to work out (by the {len(found)}th event): import it in parts")
    return Imported(source, tuple(e for e in found if e is not None))


class _Place:
    """Where an event comes from: what its id, its local times and complaints about it need."""

    def __init__(self, source: str, zone: str, uid: str, now: float, project: str = "") -> None:
        self.source, self.zone, self.uid, self.now, self.project = source, zone, uid, now, project
        self.where = f"VEVENT with UID {uid[:80]!r}"


def _one(group: Sequence[Any], zones: Sequence[Any], terms: ImportTerms, place: _Place) -> Event | None:
    try:
        master = _master(group)
        return None if _cancelled(master) else sound(_event(group, zones, terms, place))
    except Invalid as e:
        raise e if str(e).startswith(place.where) else Invalid(f"{place.where}: {e}") from e
    except BROKEN as e:
        raise Invalid(f"{place.where} cannot be read: {_short(e)}") from e


def _event(group: Sequence[Any], zones: Sequence[Any], terms: ImportTerms, place: _Place) -> Event:
    """The event of all VEVENTs of one UID; the one without RECURRENCE-ID speaks for it."""
    for component in group:
        _check_component(component)
    if len(group) > DATES_MOST:
        raise Invalid(f"it has {len(group)} components: at most {DATES_MOST} are kept")
    master = _master(group)
    start, end = _span(master, zone_of(place.zone, "time zone"))
    check_rule(master.get("RRULE"), (place.now - start) / 86400)
    return Event(
        id=uuid5(NAMESPACE_URL, "\n".join(filter(None, (place.project, place.source, place.uid)))).hex,
        name=" ".join(str(master.get("SUMMARY", "") or place.uid).split()),
        scope=_own(master, "X-FORESHAPE-SCOPE") or terms.scope,
        factors=_factors(_own(master, "X-FORESHAPE-FACTOR")) or dict(terms.factors),
        start=start,
        end=end,
        time_zone=_zone_name(master, place.zone),
        calendar=_text(group, zones),
        recurrence=master["RRULE"].to_ical().decode() if "RRULE" in master else "",
        lead_s=terms.lead_s,
        tail_s=terms.tail_s,
        note=str(master.get("DESCRIPTION", ""))[:NOTE_MOST],
        source=place.source,
        project=place.project,
        created_at=place.now,
    )


def sound(event: Event) -> Event:
    """The same event. Raises Invalid when it has a field, or a rule, that makes no sense."""
    check(event)
    begun = time.thread_time()
    try:
        expand(event, event.start - 1, event.start + 86400)
    except BROKEN as e:
        raise Invalid(f"RRULE {event.recurrence[:80]!r} cannot be worked out: one of its parts makes no sense") from e
    if time.thread_time() - begun > EACH_CPU_S:
        raise Invalid(f"RRULE {event.recurrence[:80]!r} takes too long to work out: it (almost) never happens; write its dates one by one")
    return event


# -- parts of a file --------------------------------------------------------------------------------------------------


def _read(text: bytes, bounds: Bounds = Bounds()) -> Any:
    if len(text) > bounds.size:
        raise Invalid(f"the calendar has {len(text)} bytes: at most {bounds.size} are taken; import it in parts")
    if (count := text.upper().count(b"BEGIN:VEVENT")) > bounds.events:
        raise Invalid(f"the calendar has {count} VEVENTs: at most {bounds.events} are taken; import it in parts")
    try:
        calendar = icalendar.Calendar.from_ical(text.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise Invalid("the calendar is not UTF-8 text") from e
    except BROKEN as e:
        raise Invalid(f"this is not a whole iCalendar file (BEGIN:VCALENDAR … END:VCALENDAR): {_short(e)}") from e
    if calendar.name != "VCALENDAR":
        raise Invalid(f"the file begins with {str(calendar.name)[:40]!r}: VCALENDAR is wanted")
    return calendar


def _uid(component: Any, number: int) -> str:
    uid = str(component.get("UID", "")).strip()
    if not uid or len(uid) > 500:
        said = str(component.get("SUMMARY", "without a SUMMARY"))[:80]
        raise Invalid(f"VEVENT number {number} ({said}) has no usable UID: without one it could not be updated later")
    return uid


def _master(group: Sequence[Any]) -> Any:
    return next((c for c in group if "RECURRENCE-ID" not in c), group[0])


def _cancelled(component: Any) -> bool:
    return str(component.get("STATUS", "")).upper() == "CANCELLED"


def _check_component(component: Any) -> None:
    """Raises Invalid for a property that could not be read, or a time zone that nobody knows."""
    if component.errors:
        name, why = component.errors[0]
        raise Invalid(f"{name} cannot be read: {str(why)[:200]}")
    if "DTSTART" not in component:
        raise Invalid("it has no DTSTART")
    for name, value in _times(component):
        zone = value.params.get("TZID")
        for moment in _moments(value):
            if zone and isinstance(moment, datetime) and moment.tzinfo is None:
                raise Invalid(f"{name}: time zone {str(zone)[:80]!r} is not known: add its VTIMEZONE, or use a name like Europe/Amsterdam")
            if not YEARS[0] <= moment.year < YEARS[1]:
                raise Invalid(f"{name}: the year {moment.year} is not between {YEARS[0]} and {YEARS[1]}")
    if sum(len(_moments(v)) for n, v in _times(component) if n in ("EXDATE", "RDATE")) > DATES_MOST:
        raise Invalid(f"it has more than {DATES_MOST} EXDATEs and RDATEs")


def _times(component: Any) -> Iterable[tuple[str, Any]]:
    for name in _TIMES:
        value = component.get(name)
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield name, one


def _moments(value: Any) -> list[date]:
    """The instants or days of a property; a period counts by its start."""
    found = [d.dt for d in value.dts] if hasattr(value, "dts") else [value.dt]
    return [f[0] if isinstance(f, tuple) else f for f in found]


def _span(component: Any, zone: ZoneInfo) -> tuple[float, float]:
    start, end = component["DTSTART"].dt, component.end
    if end - start > LONGEST:
        raise Invalid(f"one occurrence lasts longer than {LONGEST.days} days")
    if not _epoch(start, zone) < _epoch(end, zone):
        raise Invalid("it must end after it starts: give a later DTEND, or a DURATION above 0")
    return _epoch(start, zone), _epoch(end, zone)


def _zone_name(component: Any, default: str) -> str:
    moment = component["DTSTART"].dt
    zone = getattr(moment, "tzinfo", None)
    named: str | None = getattr(zone, "key", None)
    return named or ("UTC" if zone is UTC else default)


def _own(component: Any, name: str) -> str:
    value = component.get(name, "")
    return str(value[0] if isinstance(value, list) else value).strip()


def _factors(said: str) -> Mapping[str, float]:
    """``cpu=3.0;memory=1.5``; commas and blanks divide as well."""
    found: dict[str, float] = {}
    for part in said.replace("\\", "").replace(",", " ").replace(";", " ").split():
        resource, equals, factor = part.partition("=")
        try:
            found[resource.lower()] = float(factor)
        except ValueError:
            raise Invalid(f"X-FORESHAPE-FACTOR: {part[:40]!r}: write it as cpu=3.0;memory=1.5") from None
        if not equals:
            raise Invalid(f"X-FORESHAPE-FACTOR: {part[:40]!r}: write it as cpu=3.0;memory=1.5")
    return found


def _text(group: Sequence[Any], zones: Sequence[Any]) -> str:
    """The components alone, with the time zones they name: who was invited, and what was attached, is nobody's business here."""
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//Foreshape//events//EN")
    calendar.add("version", "2.0")
    named = {str(v.params.get("TZID")) for c in group for _, v in _times(c)}
    for zone in zones:
        if str(zone.get("TZID")) in named:
            calendar.add_component(zone)
    for component in group:
        kept = icalendar.Event()
        for name in _KEPT:
            if name in component:
                kept[name] = component[name]
        calendar.add_component(kept)
    return str(calendar.to_ical().decode())


def zone_of(name: str, field: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises Invalid."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise Invalid(f"{field}: {name[:80]!r} is not a known time zone: write it as Europe/Amsterdam or UTC") from e


def _short(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


# -- out --------------------------------------------------------------------------------------------------------------


def expand(event: Event, since: float, until: float) -> tuple[Occurrence, ...]:
    """Occurrences that overlap [since, until), in order. Worked out by whole days and kept: asking again costs little."""
    found = _expanded(event.calendar, event.time_zone, floor(since / DAY_S), ceil(until / DAY_S))
    return tuple(o for o in found if o.start < until and o.end > since)


@lru_cache(maxsize=4 * EVENTS_MOST)
def _expanded(calendar: str, time_zone: str, first: int, last: int) -> tuple[Occurrence, ...]:
    """Of the days since the epoch [first, last), and of the day around them: the library compares local times as if they were UTC."""
    zone = ZoneInfo(time_zone)
    window = (datetime.fromtimestamp(day * DAY_S, UTC) for day in (first - 1, last + 1))
    found = recurring_ical_events.of(_calendar(calendar)).between(*window)
    told = {Occurrence(_epoch(o["DTSTART"].dt, zone), _epoch(o.end, zone)) for o in found if not _cancelled(o)}
    return tuple(sorted(o for o in told if o.start < o.end))


@lru_cache(maxsize=EVENTS_MOST)
def _calendar(text: str) -> Any:
    return icalendar.Calendar.from_ical(text)


def _epoch(moment: date, zone: ZoneInfo) -> float:
    """A day begins at its local midnight; a time without a zone is local."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, midnight(), zone)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def spans(name: str, planned: Iterable[tuple[float, float, str]], now: float) -> str:
    """A calendar of what is planned: start, end (epoch s), and what it is called. Neighbours that are called the same are one event."""
    calendar = icalendar.Calendar()
    for key, value in (("prodid", "-//Foreshape//"), ("version", "2.0"), ("x-wr-calname", name)):
        calendar.add(key, value)
    for start, end, summary in _joined(planned):
        event = icalendar.Event()
        event.add("uid", f"{uuid5(NAMESPACE_URL, f'{name} {start:.0f} {summary}')}@foreshape")
        event.add("dtstamp", datetime.fromtimestamp(now, UTC))
        event.add("dtstart", datetime.fromtimestamp(start, UTC))
        event.add("dtend", datetime.fromtimestamp(end, UTC))
        event.add("summary", summary)
        calendar.add_component(event)
    return str(calendar.to_ical().decode())


def _joined(planned: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for start, end, summary in planned:
        if found and found[-1][1:] == (start, summary):
            found[-1] = (found[-1][0], end, summary)
        else:
            found.append((start, end, summary))
    return found
