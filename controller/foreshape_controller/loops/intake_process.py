"""The process that takes reports: those that wait share one force to disk; each is durable before it is answered.

Begun by ``loops.apart``: its job and then the reports come on standard input, the answers go to standard output. It ends when its input
ends, so that it never outlives the controller, whatever kills that; signals are the controller's to answer.
"""

import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from foreshape_controller import log
from foreshape_controller.config import Settings
from foreshape_controller.errors import ControllerError, Unauthenticated, Unavailable
from foreshape_controller.loops.apart import UNKNOWN, Ask, Job, Told, frame
from foreshape_controller.loops.intake import Half, Intake, read
from foreshape_controller.store import Store
from foreshape_controller.store.history import Taken
from foreshape_wire.codec import WireError
from foreshape_wire.sample import HostReport

MOST = 64
"""Reports that share one transaction: other writers wait for it."""

_T = TypeVar("_T")
_log = log.get_logger("intake")


class Noted:
    """Stands where this process would remember or tell something that only the controller can: it goes with the answer."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []
        self.oldest_open = 0
        self.news: list[tuple[str, str, bytes, bytes]] = []

    def note(self, written: Iterable[tuple[int, int]], oldest_open: int) -> None:
        """As ``Touched.note``."""
        self.written += written
        self.oldest_open = oldest_open

    def publish(self, kind: str, project: str, data: Mapping[str, Any], operators: Mapping[str, Any] | None = None) -> None:
        """As ``Bus.publish``."""
        self.news.append((kind, project, msgspec.json.encode(data), msgspec.json.encode(operators)))

    def told(self, number: int, half: Half | None, error: str = "", text: str = "") -> Told:
        """Everything, and forget it."""
        told = Told(number, half, error, text, self.written, self.oldest_open, self.news)
        self.written, self.news = [], []
        return told


class Doorman:
    """Answers reports."""

    def __init__(self, store: Store, rotation_days: float) -> None:
        base = Settings()
        self._store = store
        self._intake = Intake(store, replace(base, agents=replace(base.agents, token_rotation_days=rotation_days)))
        self._noted = noted = Noted()
        instead: Any = noted
        store.history.touched = instead
        store.db.bus = store.bus = instead

    def answer_all(self, asks: Sequence[Ask]) -> list[Told]:
        """Several reports, durable with one force to disk. Whatever happens becomes an answer."""
        began = time.monotonic()
        asked = [self._carefully(partial(self._read, a)) for a in asks]
        sound = [(r, a.now) for r, a in zip(asked, asks, strict=True) if isinstance(r, HostReport)]
        stored = self._carefully(partial(self._store.history.take_all, sound)) if sound else []
        taken = iter(stored if isinstance(stored, list) else [stored] * len(sound))
        found = [next(taken) if isinstance(r, HostReport) else r for r in asked]
        return [self._told(a, r, t, began) for a, r, t in zip(asks, asked, found, strict=True)]

    def _read(self, ask: Ask) -> HostReport:
        if time.monotonic() > ask.until:
            raise Unavailable("nobody waits for the answer any more: it comes again")
        host = self._store.agents.authenticate(ask.token, ask.now)
        if host is None:
            raise Unauthenticated(UNKNOWN)
        return read(host, ask.data)

    def _told(self, ask: Ask, report: HostReport | Exception, taken: Taken | Exception, began: float) -> Told:
        half: Half | Exception = taken if isinstance(taken, Exception) else Unavailable("")
        if isinstance(report, HostReport) and isinstance(taken, Taken):
            half = self._carefully(partial(self._intake.half, report, taken, ask.now, began))
        if isinstance(half, Exception):
            return self._noted.told(ask.number, None, type(half).__name__, str(half))
        return self._noted.told(ask.number, half)

    @staticmethod
    def _carefully(work: Callable[[], _T]) -> _T | Exception:
        try:
            return work()
        except (ControllerError, WireError) as e:
            return e
        except Exception as e:  # noqa: BLE001  a fault of ours: the sender is told so, the log has everything
            _log.error("report failed", exc_info=e)
            return e


def main() -> int:
    """Until the input ends."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    frames = Frames(0)
    job = msgspec.msgpack.decode(frames.first(), type=Job)
    log.configure(job.log_level, job.log_format)
    store = Store.beside(job.database, job.beside)
    gc.freeze()
    doorman, asks = Doorman(store, job.rotation_days), msgspec.msgpack.Decoder(Ask)
    try:
        for some in frames.batches():
            sys.stdout.buffer.write(b"".join(map(frame, doorman.answer_all([asks.decode(data) for data in some]))))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 1  # nobody is there any more
    finally:
        store.close()
    return 0


class Frames:
    """Messages from a descriptor: all that are there already at once, so that they share one force to disk."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._data = descriptor, bytearray()

    def first(self) -> bytes:
        """The next one; empty at the end."""
        while (found := self._next()) is None:
            if not self._more():
                return b""
        return found

    def batches(self) -> Iterator[list[bytes]]:
        """Until the end: one at least, ``MOST`` at most."""
        while first := self.first():
            some = [first]
            while len(some) < MOST and ((found := self._next()) or (self._waiting() and self._more())):
                if found:
                    some.append(found)
            yield some

    def _next(self) -> bytes | None:
        size = int.from_bytes(self._data[:4], "big") if len(self._data) >= 4 else 0
        if not size or len(self._data) < 4 + size:
            return None
        found = bytes(self._data[4 : 4 + size])
        del self._data[: 4 + size]
        return found

    def _waiting(self) -> bool:
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def _more(self) -> bool:
        data = os.read(self._descriptor, 2**18)
        self._data += data
        return bool(data)


if __name__ == "__main__":
    sys.exit(main())
