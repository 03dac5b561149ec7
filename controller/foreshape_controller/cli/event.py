"""``foreshape event list``, ``show``, ``create``, ``delete`` and ``import``."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from math import inf
from pathlib import Path
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.numbers import number
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, ago, moment

RESOURCES = ("cpu", "memory", "disk", "net")
SCOPE = "cloud, zone:NAME, segment:NAME, project:ID or server:ID"
TEXT_MOST = 4 * 1024 * 1024
LONGEST_S = 36525 * 86400.0
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """``90min``, ``24h``, ``2d``, ``30s`` or plain seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?", text.strip())
    length = float(found[1]) * _UNITS[found[2] or "s"] if found else inf
    if length > LONGEST_S:
        raise ArgumentTypeError(f"{text[:80]!r} is not a duration: write it as 90min, 24h or 2d, a hundred years at most")
    return length


factor = number(0, 1e6)
"""Three times the usual is 3; the controller says which are too large."""


def _factors(factors: dict[str, float]) -> str:
    return ", ".join(f"{resource} ×{factor:.3g}" for resource, factor in factors.items()) or "-"


def _next(row: Row) -> str:
    if row["next_start"] is None:
        return "none within a year"
    return f"{moment(row['next_start'])}, {ago(row['next_end'] - row['next_start'])}"


def _learned(row: Row) -> str:
    return (_factors(row["learned"]) if row["learned"] else "no effect") if row["occurrences_seen"] else "not seen yet"


COLUMNS: Columns = (
    ("Name", lambda r: r["name"]),
    ("Scope", lambda r: r["scope"]),
    ("Next", _next),
    ("Declared", lambda r: _factors(r["declared"])),
    ("Learned", _learned),
    ("Seen", lambda r: r["occurrences_seen"]),
)
ALL_COLUMNS: Columns = (
    ("Id", lambda r: r["id"]),
    *COLUMNS,
    ("First", lambda r: f"{moment(r['start'])}, {ago(r['end'] - r['start'])}"),
    ("Recurrence", lambda r: r["recurrence"] or "once"),
    ("Time zone", lambda r: r["time_zone"]),
    ("Ramps", lambda r: f"{ago(r['lead_s'])} before, {ago(r['tail_s'])} after"),
    ("Source", lambda r: r["source"]),
    ("Note", lambda r: r["note"]),
    ("Created", lambda r: moment(r["created_at"])),
)


def _add_factors(parser: ArgumentParser, what: str) -> None:
    for resource in RESOURCES:
        parser.add_argument(
            f"--{resource}", metavar="FACTOR", type=factor, help=f"{what} of {resource}, 0 to 20; 1 is none, 3 three times the usual"
        )
    parser.add_argument("--lead", metavar="TIME", type=seconds, default=0.0, help="demand begins to rise so long before the start")
    parser.add_argument("--tail", metavar="TIME", type=seconds, default=0.0, help="demand falls back for so long after the end")


def _given(parsed: Namespace) -> dict[str, float]:
    return {r: getattr(parsed, r) for r in RESOURCES if getattr(parsed, r) is not None}


def _path(parsed: Namespace) -> str:
    return f"/v1/events/{segment(parsed.event)}"


class EventList(ListView):
    """List events: when each happens next, what was expected of it and what was learned."""

    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:  # noqa: ARG002 - the list takes no arguments
        return self.app.client.get("/v1/events")


class EventShow(ShowView):
    """Show an event, with what its occurrences did."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("event", metavar="EVENT", help="id or name")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed))


class EventCreate(ShowView):
    """Declare an event: forecasts of everything in its scope are multiplied by its factors while it lasts."""

    columns = ALL_COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="what people call it")
        parser.add_argument("--scope", metavar="SCOPE", default="", help=f"{SCOPE}; empty: your own project")
        parser.add_argument(
            "--start", metavar="TIME", required=True, help="local time in --time-zone, as 2026-11-27T09:00, or with an offset"
        )
        length = parser.add_mutually_exclusive_group(required=True)
        length.add_argument("--end", metavar="TIME", help="written as --start")
        length.add_argument("--duration", metavar="TIME", type=seconds, help="as 90min, 24h, 2d")
        parser.add_argument("--time-zone", metavar="ZONE", default="UTC", help="as Europe/Amsterdam (default UTC)")
        parser.add_argument("--recurrence", metavar="RRULE", default="", help="as FREQ=WEEKLY;BYDAY=MO (RFC 5545); without it, once")
        parser.add_argument(
            "--except", metavar="TIME", dest="exceptions", action="append", default=[], help="an occurrence's start, left out"
        )
        _add_factors(parser, "expected factor")
        parser.add_argument("--note", metavar="TEXT", default="", help="kept with it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        length = {"end": parsed.end} if parsed.end else {"duration_s": parsed.duration}
        body = {
            "name": parsed.name,
            "scope": parsed.scope,
            "start": parsed.start,
            "time_zone": parsed.time_zone,
            "recurrence": parsed.recurrence,
            "exceptions": parsed.exceptions,
            "factors": _given(parsed),
            "lead_s": parsed.lead,
            "tail_s": parsed.tail,
            "note": parsed.note,
        }
        answer = self.app.client.post("/v1/events", body | length)
        if parsed.formatter not in MACHINE and not answer["declared"]:
            self.app.stdout.write("No factor was declared: it changes nothing until an occurrence was seen.\n")
        return answer


class EventDelete(Command):
    """Delete an event, and what was learned of it."""

    app: Any

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("event", metavar="EVENT", help="id or name")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        self.app.client.delete(_path(parsed))
        self.app.stdout.write(f"{parsed.event}: deleted. The next forecasts are made without it.\n")
        return 0


class EventImport(ShowView):
    """Import an iCalendar file. Imported again, it updates its events by UID and deletes those that vanished from it."""

    columns = (
        ("Calendar", lambda r: r["source"]),
        ("Added", lambda r: r["added"]),
        ("Updated", lambda r: r["updated"]),
        ("Unchanged", lambda r: r["unchanged"]),
        ("Removed", lambda r: r["removed"]),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="an .ics file")
        parser.add_argument("--name-calendar", metavar="NAME", default="", help="what it is updated by (default: the file's name)")
        parser.add_argument("--scope", metavar="SCOPE", default="", help=f"of events without X-FORESHAPE-SCOPE: {SCOPE}")
        parser.add_argument("--time-zone", metavar="ZONE", default="", help="of times without one (default: the calendar's own, else UTC)")
        parser.add_argument("--keep", action="store_true", help="keep events that vanished from the calendar")
        _add_factors(parser, "factor of events without X-FORESHAPE-FACTOR")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        query: dict[str, str | float] = {"source": parsed.name_calendar or parsed.file.stem, "lead_s": parsed.lead, "tail_s": parsed.tail}
        query |= {"scope": parsed.scope, "time_zone": parsed.time_zone, "keep": str(parsed.keep).lower()}
        return self.app.client.post_text("/v1/events/import", _read(parsed.file), "text/calendar", **query, **_given(parsed))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as f:
            text = f.read(TEXT_MOST + 1)
    except OSError as e:
        raise UsageError(f"cannot read {file}: {(e.strerror or str(e)).lower()}") from e
    if len(text) > TEXT_MOST:
        raise UsageError(f"{file} is larger than {TEXT_MOST} bytes: import it in parts")
    return text
