"""What happens, told at once to whoever watches (``GET /v1/stream``): one bounded ring for all.

Telling costs microseconds and waits for nobody: a reader keeps his place in the ring, and one who falls so far behind that
the ring has gone round is told that he lost something. What is told here is kept nowhere: the store is the truth.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from foreshape_controller.log import get_logger

KINDS = {
    "allocation": "what the newest plan decided for servers of a project: {plan, at, servers: [...]}; at most 200 servers in one event",
    "forecast": "new forecasts are there: {origin, resource}; ask for those you want",
    "plan": "operators: a plan was made: {plan, at, decisions, orders, changes, notes}",
    "outcome": "what an order or a local action did to a server",
    "migration": "a migration's state changed",
    "reservation": "a reservation's state changed",
    "request": "what became of a request",
    "notice": "something the owner of a server is told",
    "stop": "a halt began, changed or ended",
    "mode": "a mode, or a tenant's choice, was set or taken back",
    "statement": "a statement is ready",
}
"""Every kind, and what its data say."""

EVERYBODY = "*"
"""As a project: no secret of anybody's."""

SIZE = 8192
"""Events remembered."""

_log = get_logger("bus")


class News(NamedTuple):
    """One event, encoded once for all readers."""

    number: int
    kind: str
    project: str
    """Whose it is; empty: the operators' alone."""
    data: bytes
    full: bytes
    """What operators see: ``data`` and more."""


class Behind(Exception):
    """The ring has gone round since this reader looked last, or something was missed; his place is the newest event now."""


class Watch:
    """A reader's place. ``wake`` is called, from any thread, once after something was told since the last ``read``."""

    def __init__(self, bus: "Bus", wake: Callable[[], None], after: int) -> None:
        self._bus, self.wake, self.after = bus, wake, after
        self.woken = False

    def read(self, most: int = 200) -> list[News]:
        """What was told since the last call, the oldest first. Raises Behind."""
        return self._bus.read(self, most)

    def close(self) -> None:
        self._bus.leave(self)


class Bus:
    """``publish`` is safe from any thread and never raises: nothing that only watches may stop what it watches."""

    def __init__(self, size: int = SIZE) -> None:
        self._lock = threading.Lock()
        self._ring: list[News | None] = [None] * size
        self._next = 0
        self._from = 0
        """Something is missing before this one."""
        self._watches: set[Watch] = set()
        self.epoch = uuid4().hex[:8]
        """Of this process: numbers of another one's events mean nothing here."""
        self.closed = False

    def publish(self, kind: str, project: str, data: Mapping[str, Any], operators: Mapping[str, Any] | None = None) -> None:
        """Tell a project's people and the operators; ``operators``: what only they are told beside it (hosts, causes)."""
        try:
            data = {"project": project if project != EVERYBODY else "", **data}
            plain = msgspec.json.encode(data)
            full = msgspec.json.encode({**data, **operators}) if operators else plain
        except (TypeError, ValueError, msgspec.MsgspecError) as e:
            _log.error("an event could not be told", kind=kind, reason=str(e))
            return
        self._wake(self._keep(kind, project, plain, full))

    def missed(self) -> None:
        """Something may have happened that nobody told: every reader is behind."""
        with self._lock:
            self._ring[self._next % len(self._ring)] = None
            self._next += 1
            self._from = self._next
            readers = self._asleep()
        self._wake(readers)

    def watch(self, wake: Callable[[], None], after: int | None = None) -> Watch:
        """A place from ``after`` on; from now on where that is None."""
        with self._lock:
            made = Watch(self, wake, self._next - 1 if after is None else min(after, self._next - 1))
            self._watches.add(made)
            return made

    def read(self, watch: Watch, most: int) -> list[News]:
        """See ``Watch.read``."""
        with self._lock:
            watch.woken = False
            if watch.after + 1 < max(self._from, self._next - len(self._ring)):
                watch.after = self._next - 1
                raise Behind
            numbers = range(watch.after + 1, min(self._next, watch.after + 1 + most))
            found = [news for n in numbers if (news := self._ring[n % len(self._ring)]) is not None]
            watch.after += len(numbers)
            return found

    def leave(self, watch: Watch) -> None:
        with self._lock:
            self._watches.discard(watch)

    def close(self) -> None:
        """Everybody's stream ends: the process is about to."""
        with self._lock:
            self.closed = True
            readers = list(self._watches)
        self._wake(readers)

    def _keep(self, kind: str, project: str, plain: bytes, full: bytes) -> Collection[Watch]:
        with self._lock:
            self._ring[self._next % len(self._ring)] = News(self._next, kind, project, plain, full)
            self._next += 1
            return self._asleep()

    def _asleep(self) -> Collection[Watch]:
        """Those who have to be woken, once."""
        asleep = [w for w in self._watches if not w.woken]
        for watch in asleep:
            watch.woken = True
        return asleep

    @staticmethod
    def _wake(readers: Collection[Watch]) -> None:
        for watch in readers:
            try:
                watch.wake()
            except RuntimeError:  # its event loop has ended, and so will it
                watch.close()
