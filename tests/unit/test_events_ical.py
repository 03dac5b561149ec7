"""iCalendar in and occurrences out: time zones, daylight saving, exceptions; and everything a stranger's file can be."""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_support import HOUR, HOURLY_SALE, START, ics, request, vevent
from foreshape_controller.errors import Invalid
from foreshape_controller.loops import ical
from foreshape_controller.loops.words import compose
from foreshape_controller.model.event import ImportTerms

pytestmark = pytest.mark.unit

DAY = 86400.0
TERMS = ImportTerms(source="shop", scope="cloud", factors={"cpu": 2.0})
LAB_ZONE = (
    "BEGIN:VTIMEZONE",
    "TZID:Lab",
    "BEGIN:STANDARD",
    "DTSTART:19700101T000000",
    "TZOFFSETFROM:+0300",
    "TZOFFSETTO:+0300",
    "END:STANDARD",
    "END:VTIMEZONE",
)


def one(*lines, head=(), terms=TERMS):
    (event,) = ical.parse(ics(vevent("sale-1", *lines), head=head), terms, START).events
    return event


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def starts(event, since=START, days=5):
    """When it happens, as people write it, UTC."""
    return [datetime.fromtimestamp(o.start, UTC).strftime("%m-%d %H:%M") for o in ical.expand(event, since, since + days * DAY)]


def refused(*lines, head=()):
    with pytest.raises(Invalid) as e:
        one(*lines, head=head)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 600
    return str(e.value)


# -- when it happens --------------------------------------------------------------------------------------------------


def test_nine_o_clock_in_amsterdam_stays_nine_o_clock_when_the_clocks_change():
    # the clocks go forward on 29 March 2026: 09:00 is 08:00 UTC before and 07:00 UTC from then on
    daily = one("DTSTART;TZID=Europe/Amsterdam:20260327T090000", "DURATION:PT1H", "RRULE:FREQ=DAILY")
    assert starts(daily, at("2026-03-27"), 4) == ["03-27 08:00", "03-28 08:00", "03-29 07:00", "03-30 07:00"]
    # and back on 25 October 2026
    assert starts(daily, at("2026-10-24"), 2) == ["10-24 07:00", "10-25 08:00"]


def test_so_it_does_when_it_was_declared_in_plain_words():
    daily = compose(
        request(start="2026-03-27T09:00", time_zone="Europe/Amsterdam", recurrence="FREQ=DAILY", exceptions=("2026-03-28T09:00",)),
        "e",
        START,
    )
    assert starts(daily, at("2026-03-27"), 4) == ["03-27 08:00", "03-29 07:00", "03-30 07:00"]


def test_a_whole_day_begins_at_local_midnight_and_is_as_long_as_that_day():
    day = one("DTSTART;VALUE=DATE:20260329", head=("X-WR-TIMEZONE:Europe/Amsterdam",))
    assert starts(day, at("2026-03-28")) == ["03-28 23:00"]
    assert (day.end - day.start) / HOUR == 23, "the clocks go forward that night"


def test_a_time_without_a_zone_is_local_to_the_calendar_or_to_what_was_said():
    floating = ("DTSTART:20260105T090000", "DURATION:PT1H")
    assert starts(one(*floating)) == ["01-05 09:00"]
    assert starts(one(*floating, head=("X-WR-TIMEZONE:Europe/Amsterdam",))) == ["01-05 08:00"]
    said = ImportTerms(source="shop", scope="cloud", time_zone="Asia/Tokyo")
    assert starts(one(*floating, terms=said, head=("X-WR-TIMEZONE:Europe/Amsterdam",))) == ["01-05 00:00"]


def test_a_calendar_s_own_time_zone_is_known_again_later():
    event = one("DTSTART;TZID=Lab:20260105T090000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2", head=LAB_ZONE)
    assert starts(event) == ["01-05 06:00", "01-06 06:00"]


def test_exceptions_extra_dates_moved_and_cancelled_occurrences():
    moved = vevent("sale-1", "RECURRENCE-ID:20260107T090000Z", "DTSTART:20260107T150000Z", "DURATION:PT3H")
    cancelled = vevent("sale-1", "RECURRENCE-ID:20260108T090000Z", "DTSTART:20260108T090000Z", "DURATION:PT1H", "STATUS:CANCELLED")
    daily = vevent("sale-1", *HOURLY_SALE, "RRULE:FREQ=DAILY;COUNT=5", "EXDATE:20260106T090000Z", "RDATE:20260105T200000Z")
    (event,) = ical.parse(ics(daily, moved, cancelled), TERMS, START).events
    assert starts(event) == ["01-05 09:00", "01-05 20:00", "01-07 15:00", "01-09 09:00"]
    assert [(o.end - o.start) / HOUR for o in ical.expand(event, START, START + 5 * DAY)] == [1, 1, 3, 1]


def test_an_occurrence_that_has_begun_is_among_those_to_come():
    assert len(ical.expand(one(*HOURLY_SALE), at("2026-01-05T09:30:00"), at("2026-01-05T09:31:00"))) == 1
    assert ical.expand(one(*HOURLY_SALE), at("2026-01-05T10:00:00"), at("2026-01-05T11:00:00")) == ()


# -- what a file says of an event -------------------------------------------------------------------------------------


def test_an_event_s_own_factor_and_scope_go_before_what_was_given():
    event = one(*HOURLY_SALE, "X-FORESHAPE-FACTOR:cpu=3.0;memory=1.5", "X-FORESHAPE-SCOPE:project:p1", "DESCRIPTION:all shops")
    assert (event.factors, event.scope) == ({"cpu": 3.0, "memory": 1.5}, "project:p1")
    assert (event.name, event.note, event.source) == ("Sale", "all shops", "shop")
    assert (one(*HOURLY_SALE).factors, one(*HOURLY_SALE).scope) == ({"cpu": 2.0}, "cloud")


def test_an_event_is_the_same_one_when_it_is_imported_again_and_another_in_another_calendar():
    again = ImportTerms(source="other", scope="cloud")
    assert one(*HOURLY_SALE).id == one(*HOURLY_SALE, "RRULE:FREQ=DAILY").id
    assert one(*HOURLY_SALE).id != one(*HOURLY_SALE, terms=again).id


def test_who_was_invited_is_not_kept():
    event = one(*HOURLY_SALE, "ATTENDEE:mailto:somebody@example.org", "LOCATION:room 7")
    assert "somebody" not in event.calendar
    assert "room" not in event.calendar


def test_a_cancelled_event_is_none():
    assert ical.parse(ics(vevent("s", *HOURLY_SALE, "STATUS:CANCELLED")), TERMS, START).events == ()


def test_the_calendar_s_own_name_is_its_source_unless_one_is_given():
    nameless = ImportTerms(scope="cloud")
    assert ical.parse(ics(vevent("s", *HOURLY_SALE), head=("X-WR-CALNAME:Holidays",)), nameless, START).source == "Holidays"
    with pytest.raises(Invalid, match="name-calendar"):
        ical.parse(ics(vevent("s", *HOURLY_SALE)), nameless, START)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("DURATION:PT1H",), "no DTSTART"),
        (("DTSTART:garbage", "DURATION:PT1H"), "DTSTART cannot be read"),
        (("DTSTART:20260105T090000Z",), "end after it starts"),
        (("DTSTART:20260105T090000Z", "DTEND:20260105T080000Z"), "end after it starts"),
        (("DTSTART:20260105T090000Z", "DTEND;VALUE=DATE:20260106"), "same type"),
        (("DTSTART:20260105T090000Z", "DURATION:P99999999999D"), "DURATION cannot be read"),
        (("DTSTART:20260105T090000Z", "DURATION:P400D"), "longer than 366 days"),
        (("DTSTART:19600105T090000Z", "DURATION:PT1H"), "year 1960"),
        (("DTSTART;TZID=Mars/Olympus:20260105T090000", "DURATION:PT1H"), "'Mars/Olympus' is not known"),
        ((*HOURLY_SALE, "X-FORESHAPE-FACTOR:cpu"), "write it as cpu=3.0"),
        ((*HOURLY_SALE, "X-FORESHAPE-FACTOR:cpu=much"), "write it as cpu=3.0"),
        ((*HOURLY_SALE, "X-FORESHAPE-FACTOR:cpu=nan"), "0 to 20"),
        ((*HOURLY_SALE, "X-FORESHAPE-SCOPE:planet:x"), "scope"),
        ((*HOURLY_SALE, "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"), "more than one rule"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_component_that_makes_no_sense_is_named(lines, why):
    said = refused(*lines)
    assert said.startswith("VEVENT with UID 'sale-1'")
    assert why in said


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY",
        "FREQ=SOMETIMES",
        "INTERVAL=2",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=x",
        "FREQ=DAILY;BYHOUR=99",
        "FREQ=DAILY;FOO=BAR",
        "FREQ=HOURLY;BYMINUTE=0,15,30,45",
        "FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9;BYMINUTE=0,10,20,30,40",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYSETPOS=400",
    ],
)
def test_a_rule_that_cannot_be_or_never_rests_is_refused(rule):
    assert "RRULE" in refused(*HOURLY_SALE, f"RRULE:{rule}")
    with pytest.raises(Invalid, match=r"RRULE|recurrence"):
        compose(request(recurrence=rule), "e", START)


def test_a_rule_that_has_happened_too_often_already_is_refused():
    assert "later start" in refused("DTSTART:19700105T090000Z", "DURATION:PT1H", "RRULE:FREQ=HOURLY")
    assert one("DTSTART:19700105T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY"), "a birthday of long ago is none of that"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xfe\x00",
        b"<html>",
        b"BEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT",
        b"BEGIN:VCALENDAR\r\nEND:VCALENDAR",
        ics(vevent("s", *HOURLY_SALE))[:90],
        ics(vevent("s", *HOURLY_SALE)) * 2,
        b"BEGIN:VCALENDAR\r\n" * 2000,
        ics(["BEGIN:VEVENT", *HOURLY_SALE, "END:VEVENT"]),
        ics(vevent("s", *HOURLY_SALE), head=("X-WR-TIMEZONE:Nowhere",)),
    ],
    ids=["empty", "text", "binary", "html", "no calendar", "no event", "cut", "twice", "nested", "no uid", "zone"],
)
def test_a_file_that_is_no_calendar_is_refused_in_words(data):
    with pytest.raises(Invalid) as e:
        ical.parse(data, TERMS, START)
    assert str(e.value)


def test_huge_calendars_are_refused_before_they_are_read():
    with pytest.raises(Invalid, match="bytes"):
        ical.parse(b"x" * (ical.Bounds().size + 1), TERMS, START)
    with pytest.raises(Invalid, match="at most 2000"):
        ical.parse(b"BEGIN:VEVENT\r\n" * 2001, TERMS, START)
    dates = ",".join(["20260106T090000Z"] * 1001)
    assert "EXDATEs" in refused(*HOURLY_SALE, f"EXDATE:{dates}")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"start": "soon"}, "start"),
        ({"start": "9999-12-31T23:59"}, "start"),
        ({"end": "2026-01-05T10:00"}, "either end or duration_s"),
        ({"duration_s": None}, "either end or duration_s"),
        ({"duration_s": None, "end": "2026-01-04T10:00"}, "end after it starts"),
        ({"duration_s": 0.0}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"duration_s": 1e12}, "duration_s"),
        ({"time_zone": "Mars"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"recurrence": "every day"}, "RRULE|recurrence"),
        ({"recurrence": "FREQ=DAILY\r\nATTENDEE:x"}, "recurrence"),
        ({"exceptions": ("never",)}, "exceptions"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
    ],
    ids=str,
)
def test_plain_words_that_make_no_sense_are_refused_by_field(changes, field):
    with pytest.raises(Invalid, match=field):
        compose(request(**changes), "e", START)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=6), st.integers(0, 2**31))
def test_a_file_with_broken_bytes_is_read_or_refused(junk, place):
    whole = ics(
        vevent(
            "s", "DTSTART;TZID=Europe/Amsterdam:20260327T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;BYDAY=FR", "EXDATE:20260403T080000Z"
        )
    )
    spot = place % len(whole)
    broken = whole[:spot] + bytes(junk) + whole[spot + len(junk) :]
    with suppress(Invalid):
        ical.parse(broken, TERMS, START)


def calendar_of(rule, lines=""):
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T050000Z\r\nDTEND:20260101T060000Z\r\n"
        f"RRULE:{rule}\r\n{lines}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


@pytest.mark.parametrize("frequency", ["DAILY", "WEEKLY", "MONTHLY"])
def test_a_rule_that_is_looked_for_until_the_end_of_time_is_refused(frequency):
    """30 February: six seconds of CPU for each look at a daily one."""
    with pytest.raises(Invalid, match="RRULE"):
        ical.parse(calendar_of(f"FREQ={frequency};BYMONTH=2;BYMONTHDAY=30"), TERMS, START)


def test_events_are_counted_however_they_are_written():
    many = calendar_of("FREQ=DAILY").replace(b"END:VCALENDAR", b"begin:vevent\r\nuid:2\r\nend:vevent\r\n" * 200 + b"END:VCALENDAR")
    with pytest.raises(Invalid, match="201 VEVENTs"):
        ical.parse(many, TERMS, START, ical.TENANTS)


def test_a_calendar_whose_rules_take_too_long_together_is_refused():
    with pytest.raises(Invalid, match="take too long"):
        ical.parse(calendar_of("FREQ=DAILY"), TERMS, START, ical.Bounds(cpu_s=0.0))


def test_the_same_calendar_of_two_projects_is_two_calendars():
    ids = {ical.parse(calendar_of("FREQ=DAILY"), msgspec.structs.replace(TERMS, project=p), START).events[0].id for p in ("", "p1", "p2")}
    assert len(ids) == 3
