"""What a request may say. Pure; every refusal names the field and what to write instead."""

from collections.abc import Mapping
from math import isfinite

from foreshape_controller.errors import Invalid
from foreshape_controller.model.cloud import DISK, MEMORY, VCPU
from foreshape_controller.model.request import RequestAsk

COUNT_MOST = 200
LEAST_S, MOST_S = 300.0, 90 * 86400.0
LATE_S = 300.0
"""So long past an earliest start may be: clocks differ, and people type."""
TEXT_MOST = 255
AMOUNTS = {"vcpus": 4096, "ram": 64 * 1024 * 1024, "disk": 1024 * 1024}


def check(ask: RequestAsk, now: float, horizon_s: float) -> tuple[float, float]:
    """Earliest and latest start. Raises Invalid."""
    for name in ("flavor", "server", "az", "tier", "name", "note", "project"):
        _text(name, getattr(ask, name))
    if not 1 <= ask.count <= COUNT_MOST:
        raise Invalid(f"count: {ask.count} is none; write 1 to {COUNT_MOST}, or make several requests")
    if not (isfinite(ask.for_s) and LEAST_S <= ask.for_s <= MOST_S):
        raise Invalid(
            f"for_s: write {LEAST_S:.0f} seconds to {MOST_S / 86400:.0f} days; who stays longer asks for {MOST_S / 86400:.0f} days"
        )
    _amounts(ask)
    return _window(ask, now, horizon_s)


def _text(name: str, text: str) -> None:
    if len(text) > TEXT_MOST or not all(c.isprintable() for c in text):
        raise Invalid(f"{name}: one line of at most {TEXT_MOST} characters")


def _amounts(ask: RequestAsk) -> None:
    given = {name: getattr(ask, name) for name in AMOUNTS if getattr(ask, name) is not None}
    for name, amount in given.items():
        if not (0 if name == "disk" else 1) <= amount <= AMOUNTS[name]:
            raise Invalid(f"{name}: {amount} is none; write up to {AMOUNTS[name]}")
    if ask.server:
        _growth(ask, given)
    elif bool(ask.flavor) == bool(given):
        raise Invalid("say how much each: a flavor, or vcpus and ram (and disk), not both")
    elif given and not {"vcpus", "ram"} <= given.keys():
        raise Invalid("say both vcpus and ram: a server takes some of each")


def _growth(ask: RequestAsk, given: Mapping[str, int]) -> None:
    if ask.flavor or ask.az or ask.count != 1 or not given.keys() & {"vcpus", "ram"}:
        raise Invalid("server: to grow one, say its new vcpus or ram (or both), and neither flavor, az nor count")
    if "disk" in given:
        raise Invalid("disk: a server's disk does not grow this way")


def _window(ask: RequestAsk, now: float, horizon_s: float) -> tuple[float, float]:
    earliest = now if ask.earliest is None else ask.earliest
    latest = max(earliest, now) + horizon_s if ask.latest is None else ask.latest
    if not (isfinite(earliest) and isfinite(latest)):
        raise Invalid("earliest, latest: write instants, as seconds since 1970 UTC")
    if earliest < now - LATE_S:
        raise Invalid(f"earliest: that was {now - earliest:.0f} s ago; leave it out for now")
    if latest < max(earliest, now):
        raise Invalid("latest: the latest start is not before the earliest, nor past")
    if earliest > now + horizon_s:
        raise Invalid(f"earliest: nobody looks further ahead than {horizon_s / 86400:.0f} days; ask again nearer to the time")
    return max(earliest, now), latest


def assumptions(for_s: float, start: float, now: float, *, grid_s: float, bookkeeping: bool, unforecast: int) -> tuple[str, ...]:
    """What an answer takes for granted, in sentences."""
    said = []
    if start + for_s > now + 86400.0:
        said.append("forecasts reach a day: each further day is taken to be like the next one")
    if start + for_s > now + grid_s:
        said.append(f"beyond {grid_s / 86400:.0f} days nothing is looked at: it is taken to stay as it is then")
    if unforecast:
        said.append(f"{unforecast} hosts have no forecast: only what is sold there counts")
    if bookkeeping:
        said.append("no OpenStack is configured: the room is kept in Foreshape's books only, and nothing else knows of it")
    return tuple(said)


def amounts(vcpus: int | None, ram: int | None, disk: int | None) -> dict[str, int]:
    """As Placement names them, without what is nothing."""
    given = {VCPU: vcpus, MEMORY: ram, DISK: disk}
    return {name: amount for name, amount in given.items() if amount}
