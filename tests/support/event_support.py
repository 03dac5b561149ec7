"""Events, influences and calendars for tests, said in few words."""

from typing import Any

import numpy as np

from foreshape_controller.model.event import Event, EventRequest, Influence, Measured
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast

START = 1_767_571_200.0
"""Monday 5 January 2026, 00:00 UTC: the start of a day and of a bin."""

HOUR = 3600.0


def request(name: str = "Black Friday", **changes: Any) -> EventRequest:
    """An hour on the whole cloud that triples CPU, at START + 20 min unless told otherwise."""
    words: dict[str, Any] = {"scope": "cloud", "start": "2026-01-05T00:20", "duration_s": HOUR, "factors": {"cpu": 3.0}}
    return EventRequest(name=name, **(words | changes))


def influence(start: float = START, hours: float = 1.0, **changes: Any) -> Influence:
    """CPU times three in the whole cloud, for an hour."""
    words: dict[str, Any] = {"event": "evt-1", "name": "Black Friday", "scope": "cloud", "lead_s": 0.0, "tail_s": 0.0}
    words |= {"factors": {"cpu": 3.0}, "said": {"cpu": "event 'Black Friday' ×3 declared"}}
    return Influence(start=start, end=start + hours * HOUR, **(words | changes))


def measured(event: Event | str, factor: float, start: float = START, *, resource: str = "cpu", weight: float = 1.0) -> Measured:
    name = event if isinstance(event, str) else event.id
    return Measured(event=name, resource=resource, start=int(start), factor=factor, weight=weight)


def forecast(rows: int = 1, *, level: float = 1.0, origin: float = START, resource: str = "cpu") -> Forecast:
    """The same fan for every part: the levels themselves, times ``level``; both peaks twice that."""
    fan = np.tile(np.asarray(LEVELS, np.float32) * level, (rows, 1))
    return Forecast(
        resource=resource,
        series=tuple(f"vm-{i + 1}" for i in range(rows)),
        origin=int(origin),
        steps=np.repeat(fan[:, None, :], 6, axis=1),
        half_hours=np.repeat(fan[:, None, :], HALF_HOURS, axis=1),
        peak30m=2 * fan,
        peak24h=2 * fan,
        source=("baseline",) * rows,
        reason=("own history",) * rows,
        age_s=np.full(rows, 86400.0),
    )


def vevent(uid: str = "sale-1", *lines: str, summary: str = "Sale") -> list[str]:
    return ["BEGIN:VEVENT", f"UID:{uid}", f"SUMMARY:{summary}", *lines, "END:VEVENT"]


HOURLY_SALE = ("DTSTART:20260105T090000Z", "DURATION:PT1H")


def ics(*events: list[str], head: tuple[str, ...] = ()) -> bytes:
    """A calendar file of VEVENTs."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *head, *(line for e in events for line in e), "END:VCALENDAR"]
    return ("\r\n".join(lines) + "\r\n").encode()
