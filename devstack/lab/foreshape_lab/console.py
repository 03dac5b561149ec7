"""A guest's console: what the guest itself says it sees, once a second and whenever it changes."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from foreshape_lab.errors import LabError

LINE = re.compile(
    r"LOAD up=(?P<up>[\d.]+) ncpu=(?P<cpus>\d+) memtotal=(?P<memory_total>\d+) memavail=(?P<memory_available>\d+) want=(?P<want>[\d.]+) "
    r"got=(?P<got>[\d.]+) memwant=(?P<memory_want>\d+) memheld=(?P<memory_held>\d+) oom=(?P<oom_kills>\d+)"
)
TURN = re.compile(r"LOAD-TURN up=(?P<up>[\d.]+) want=(?P<want>[\d.]+) memwant=(?P<memory_want>\d+)")


@dataclass(frozen=True)
class Turn:
    """The guest's own pattern began to ask for something else. Cores and MiB; ``at`` is this machine's clock."""

    at: float
    up: float
    want: float
    memory_want: int


@dataclass(frozen=True)
class Seen:
    """One line of the load daemon: what the guest saw. Cores and MiB; ``at`` is this machine's clock."""

    at: float
    up: float
    cpus: int
    memory_total: int
    memory_available: int
    want: float
    got: float
    memory_want: int
    memory_held: int
    oom_kills: int

    @property
    def fed(self) -> bool:
        """Whether it had what it wanted (a tenth less passes: work is measured by the clock)."""
        return self.got >= 0.9 * self.want - 0.02 and self.memory_held >= self.memory_want


def parse(line: str, at: float) -> Seen | None:
    found = LINE.search(line)
    if not found:
        return None
    words = found.groupdict()
    real = {name: float(words[name]) for name in ("up", "want", "got")}
    whole = {name: int(words[name]) for name in words.keys() - real.keys()}
    return Seen(at=at, **real, **whole)  # type: ignore[arg-type]  # LINE's groups are Seen's fields


def parse_turn(line: str, at: float) -> Turn | None:
    found = TURN.search(line)
    return Turn(at, float(found["up"]), float(found["want"]), int(found["memory_want"])) if found else None


class Console:
    """Reads a console file as it grows. Several threads may ask."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.text: list[str] = []
        self.seen: list[Seen] = []
        self.turns: list[Turn] = []
        self._position = 0
        self._rest = ""
        self._booted = float("inf")
        self._last_up = 0.0
        self._lock = threading.Lock()

    def poll(self) -> list[Seen]:
        """Read what is new; everything the load daemon said so far."""
        with self._lock:
            now = time.time()
            for line in self._new_lines():
                self.text.append(line)
                if seen := parse(line, now):
                    self.seen.append(replace(seen, at=self._said_at(seen)))
                elif turn := parse_turn(line, now):
                    self.turns.append(replace(turn, at=self._said_at(turn)))
            return list(self.seen)

    def _said_at(self, seen: Seen | Turn) -> float:
        """When it was said, though it may be read late: the guest's uptime after the earliest boot that fits all lines."""
        if seen.up < self._last_up:  # booted anew
            self._booted = float("inf")
        self._last_up = seen.up
        self._booted = min(self._booted, seen.at - seen.up)
        return self._booted + seen.up

    def _new_lines(self) -> list[str]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as f:
            f.seek(self._position)
            data = f.read()
        self._position += len(data)
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        return [line.rstrip("\r") for line in lines]

    @property
    def latest(self) -> Seen:
        """What the guest said last. Raises LabError when it never spoke."""
        seen = self.poll()
        if not seen:
            raise LabError(f"no word from the guest on {self.file.name}")
        return seen[-1]

    def wait_for_text(self, words: str, timeout_s: float, *, after: int = 0) -> None:
        """Until a line after the first ``after`` ones contains the words."""
        self._wait(lambda: any(words in line for line in self.text[after:]), f"{words!r}", timeout_s)

    def wait_for(self, true: Callable[[Seen], bool], what: str, timeout_s: float, *, since: float = 0) -> Seen:
        """The first thing said after ``since`` that makes it true. Raises LabError with the last words."""
        hit: list[Seen] = []

        def look() -> bool:
            hit[:] = [s for s in self.seen if s.at > since and true(s)][:1]
            return bool(hit)

        self._wait(look, what, timeout_s)
        return hit[0]

    def _wait(self, true: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            self.poll()
            if true():
                return
            if time.monotonic() > deadline:
                raise LabError(f"{self.file.name}: {what} not within {timeout_s:g} s; last words: {self.text[-3:]}")
            time.sleep(0.02)
