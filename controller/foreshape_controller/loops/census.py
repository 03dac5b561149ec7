"""What the cloud's services say of themselves: versions, clocks, who we are to them, how many consumers Placement counts for us."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from foreshape_controller.errors import CloudError
from foreshape_controller.model.cloud import CloudService

EVERY_S = 300.0
SKEW_S = 10.0
"""A difference between clocks that is worth a word: tokens and what was changed since a moment are judged by them."""


class Speaks(Protocol):
    """A service's door."""

    def about(self) -> CloudService: ...


@dataclass(frozen=True)
class Doors:
    """How they are asked. All raise CloudError."""

    services: Mapping[str, Speaks]
    """By name."""
    me: Callable[[], Any]
    """Whose token it is: ``project``, ``user``, ``roles`` (``cloud.keystone.Me``)."""
    consumers: Callable[[str], Mapping[str, int]]
    """Of a project: consumers by type."""


@dataclass(frozen=True)
class Counted:
    """At one instant."""

    at: float = 0.0
    services: tuple[CloudService, ...] = ()
    user: str = ""
    project: str = ""
    roles: tuple[str, ...] = ()
    consumers: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Census:
    """``run_once`` now and then; ``newest`` for people."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self.newest = Counted()

    def run_once(self, now: float) -> Counted:
        """Ask everybody; whoever does not answer is named, and the others are asked all the same."""
        services = tuple(_about(name, door) for name, door in self._doors.services.items())
        problems = [s.trouble for s in services if s.trouble]
        try:
            me = self._doors.me()
            consumers = self._doors.consumers(me.project) if me.project else {}
            who = {"user": me.user, "project": me.project, "roles": tuple(sorted(me.roles)), "consumers": consumers}
        except CloudError as e:
            problems.append(str(e))
            who = {}
        self.newest = Counted(at=now, services=services, problems=(*problems, *skews(services)), **who)
        return self.newest


def _about(name: str, door: Speaks) -> CloudService:
    try:
        return door.about()
    except CloudError as e:
        return CloudService(name=name, trouble=str(e))


def skews(services: tuple[CloudService, ...]) -> Iterator[str]:
    """Clocks that differ from ours by so much that it matters; where all differ alike, it is ours that is wrong."""
    ahead = {s.name: s.ahead_s for s in services if s.ahead_s is not None}
    off = {name: by for name, by in ahead.items() if abs(by) >= SKEW_S}
    if 1 < len(off) == len(ahead) and max(off.values()) - min(off.values()) < SKEW_S:
        yield f"the controller's clock is {_apart(-min(off.values()))} all services': check NTP on this machine first"
        return
    yield from (f"the clock of {name} is {_apart(by)} the controller's: check NTP on both" for name, by in off.items())


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
