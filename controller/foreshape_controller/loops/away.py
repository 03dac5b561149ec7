"""Forecasts made by a process of its own (``loops.away_process``), as the controller sees it.

Python runs one thread at a time. Forecasts of 30,000 servers compute for a minute and more, and whoever waits for an answer meanwhile
waits for his turn many times over: in a process of its own they are in nobody's way. Not at a lower priority: others would wait for the
database's one writer while it waits for a processor. What it writes is in the store; what the plan takes from memory comes back through
the pipe.

If it dies, the last forecasts hold, and the next run begins it anew. It ends with the controller, however that ends.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from foreshape_controller.bus import Bus
from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import Segments
from foreshape_controller.errors import Unavailable
from foreshape_controller.log import get_logger
from foreshape_controller.loops import piped
from foreshape_controller.loops.apart import beside_of, shareable
from foreshape_controller.loops.foresight import Made
from foreshape_controller.loops.sight import Sight
from foreshape_controller.store import Store
from foreshape_controller.store.store import Beside

COMMAND = (sys.executable, "-P", "-m", "foreshape_controller.loops.away_process")
"""-P: nothing is imported from whatever directory the controller was started in."""
ENDS_S = 10.0
HANGS_S = 1800.0
"""30,000 servers take two minutes on a busy machine."""
COUNTED_S = 120.0
"""How old the count of servers may be by which it is chosen who makes forecasts."""

_log = get_logger("foresight")


@dataclass(frozen=True)
class Job:
    """The first thing that the process reads."""

    settings: Settings
    beside: Beside
    segments: Segments


@dataclass(frozen=True)
class Ask:
    """One piece of work."""

    what: str
    """``forecast`` or ``measure``."""
    now: float


@dataclass(frozen=True, eq=False)
class Told:
    """What became of it."""

    made: Made | None = None
    news: Sequence[tuple[str, str, Any, Any]] = ()
    """For the bus: kind, project, data, and what only operators are told."""
    fault: str = ""


class Away:
    """The process: begun when it is asked first. One ask at a time; ``stop`` from any thread."""

    def __init__(self, job: Job, bus: Bus, command: Sequence[str] = COMMAND, hangs_s: float = HANGS_S) -> None:
        """``hangs_s``: after so long without an answer it is ended."""
        self._hangs_s = hangs_s
        self._job, self._bus, self._command = job, bus, tuple(command)
        self._asking, self._starting = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process that was begun last."""
        return self._process.pid if self._process else None

    def forecast(self, now: float) -> Made:
        """Make what is due; what is new since the last time: nothing once it was stopped. Raises Unavailable."""
        made = self._ask(Ask("forecast", now)).made
        return made if made is not None else Made()

    def measure(self, now: float) -> None:
        """Measure events that are over. Raises Unavailable."""
        self._ask(Ask("measure", now))

    def stop(self) -> None:
        """End it at once: what it writes it writes whole, or not."""
        with self._starting:
            self._stopped = True
            process = self._process
        if process is not None:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDS_S)

    def _ask(self, ask: Ask) -> Told:
        with self._asking:
            if (process := self._running()) is None:
                return Told()
            late = threading.Timer(self._hangs_s, process.kill)
            late.start()
            try:
                piped.put(_stream(process.stdin), ask)
                told: Told = piped.get(_stream(process.stdout))
            except Exception as e:  # whatever it is, nobody knows where in a message the pipe is
                if self._stopped:
                    return Told()
                raise Unavailable(self._ended(process)) from e
            finally:
                late.cancel()
        for news in told.news:
            self._bus.publish(*news)
        if told.fault:
            raise Unavailable(f"the process that makes forecasts: {told.fault}")
        return told

    def _running(self) -> "subprocess.Popen[bytes] | None":
        """None: the controller is being stopped."""
        with self._starting:
            if self._stopped:
                return None
            if self._process is None or self._process.poll() is not None:
                self._process = self._begun()
            return self._process

    def _begun(self) -> "subprocess.Popen[bytes]":
        try:
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  our own program
            piped.put(_stream(process.stdin), self._job)
        except OSError as e:
            raise Unavailable(f"the process that makes forecasts cannot be begun: {e}") from e
        _log.info("forecasts are made apart", process=process.pid)
        return process

    def _ended(self, process: "subprocess.Popen[bytes]") -> str:
        """Nobody knows how far it came, nor what it would have told."""
        process.kill()
        status = process.wait(ENDS_S)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                _stream(pipe).close()
        self._bus.missed()
        return f"the process that makes forecasts ended with status {status}; the last ones hold, and it is begun anew"


@dataclass(frozen=True)
class Lookout:
    """Who makes forecasts: the controller itself, or, for a large cloud, a process of its own. Used by one loop at a time."""

    sight: Sight
    store: Store
    away: Away | None = None
    away_from: int = 0
    """Servers from which on the other process does it."""

    def look_ahead(self, now: float) -> None:
        """Make the forecasts that are due; a plan that is made meanwhile takes the newest that are there. Raises Unavailable."""
        if (away := self._away(now)) is not None:
            self.sight.foresight.adopt(away.forecast(now))
        else:
            self.sight.foresight.run_once(now, self.store.inventory.view(now))

    def measure(self, now: float) -> None:
        """What events that are over really did. Raises Unavailable."""
        if (away := self._away(now)) is not None:
            away.measure(now)
        else:
            self.sight.aftermath.run_once(now)

    def stop(self) -> None:
        """Whoever is at work elsewhere ends at once."""
        if self.away is not None:
            self.away.stop()

    def _away(self, now: float) -> Away | None:
        """Once begun it stays: both would have to learn who was forecast when."""
        away = self.away
        if away is None or away.pid is not None:
            return away
        return away if len(self.store.inventory.lately(now, COUNTED_S).servers) >= self.away_from else None


def lookout_of(settings: Settings, store: Store, sight: Sight, segments: Segments) -> Lookout:
    """As ``[plan] forecast_apart_from`` says, where a further process can open the store."""
    least = settings.plan.forecast_apart_from
    if least == 0 or not shareable(settings):
        return Lookout(sight, store)
    return Lookout(sight, store, Away(Job(settings, beside_of(settings, store), segments), store.bus), least)


def _stream(pipe: Any) -> BinaryIO:
    assert pipe is not None
    return cast("BinaryIO", pipe)
