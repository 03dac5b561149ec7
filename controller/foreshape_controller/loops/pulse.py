"""Whether everything that happens by the clock still happens: who ran when, for how long, and what came of it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from foreshape_controller.errors import ControllerError
from foreshape_controller.log import get_logger

PATIENCE = 3
"""Intervals without a success after which a loop is called late."""
LEAST_S = 120.0
"""No loop is called late sooner: a busy machine is no fault."""
QUIET_S = 60.0
"""Loops that run more often than this say so at level debug only, unless they fail."""

_log = get_logger("loop")


@dataclass(frozen=True)
class Beat:
    """One loop as it is now; times are the controller's clock."""

    every_s: float
    since: float
    """When it was first expected."""
    begun: float | None = None
    """Of the run under way."""
    succeeded: float | None = None
    took_s: float = 0.0
    """Of the last run that ended."""
    runs: int = 0
    """That succeeded."""
    failures: int = 0

    def late(self, now: float) -> float:
        """Seconds without a success beyond what is patience; 0: in time."""
        silent = now - (self.since if self.succeeded is None else self.succeeded)
        return max(0.0, silent - max(PATIENCE * self.every_s, LEAST_S))


class Pulse:
    """``expect`` once for each loop, ``run`` around each of its runs. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: dict[str, Beat] = {}

    def expect(self, name: str, every_s: float) -> None:
        with self._lock:
            self._beats[name] = Beat(every_s, self._clock())

    def beats(self) -> Mapping[str, Beat]:
        """All loops by name."""
        with self._lock:
            return dict(self._beats)

    def late(self) -> tuple[str, ...]:
        """A sentence for each loop that has not succeeded for long."""
        now = self._clock()
        return tuple(_sentence(name, b, now) for name, b in sorted(self.beats().items()) if b.late(now) > 0)

    def run(self, name: str, work: Callable[[], object]) -> None:
        """One run and its one line in the log. Whatever it raises is logged: one bad run must not end a loop."""
        with self._timed(name):
            work()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._change(name, begun=self._clock())
        try:
            yield
        except ControllerError as e:
            self._ended(name, began, failed=True)
            _log.error("loop failed", loop=name, took_s=_since(began), code=e.code, reason=str(e))
        except Exception as e:  # noqa: BLE001  the log has everything
            self._ended(name, began, failed=True)
            _log.error("loop failed", loop=name, took_s=_since(began), exc_info=e)
        else:
            self._ended(name, began, failed=False)
            quiet = self.beats()[name].every_s < QUIET_S
            (_log.debug if quiet else _log.info)("loop run", loop=name, took_s=_since(began))

    def _ended(self, name: str, began: float, *, failed: bool) -> None:
        b = self.beats().get(name) or Beat(0.0, self._clock())
        took = time.monotonic() - began
        if failed:
            self._change(name, begun=None, took_s=took, failures=b.failures + 1)
        else:
            self._change(name, begun=None, took_s=took, succeeded=self._clock(), runs=b.runs + 1)

    def _change(self, name: str, **fields: float | int | None) -> None:
        with self._lock:
            known = self._beats.get(name) or Beat(0.0, self._clock())
            self._beats[name] = replace(known, **fields)  # type: ignore[arg-type]  # each is a field of Beat, by its name


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _sentence(name: str, beat: Beat, now: float) -> str:
    last = "never" if beat.succeeded is None else f"{now - beat.succeeded:.0f} s ago"
    doing = f"; a run has been under way for {now - beat.begun:.0f} s" if beat.begun is not None else ""
    return f"loop {name}, due every {beat.every_s:g} s, succeeded {last}{doing}"
