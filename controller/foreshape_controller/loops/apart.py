"""Reports taken by a process of its own (``loops.intake_process``), seen from the controller: ``accept`` for the API, once it is begun.

Python runs one thread at a time. A plan of 30,000 servers computes for seconds, a forecast for minutes; a report needs some eighty
statements' worth of turns, and waits for each of them. In a process of its own it waits for nobody: what is left here is to hand
bytes over and to complete the guards of the reply.

If that process dies, or hangs, whoever waits is answered 503 and sends his report again; a new process is begun. Nothing is lost: the
answer 200 comes after the commit, and a number is taken once. What it had written and not told is read again from the store.

Whoever has no valid token is refused here, before anything of his report is read (``knows``); of those who have one, so much is held in
memory at once, and no more (``room``).
"""

import asyncio
import hashlib
import itertools
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from foreshape_controller import errors
from foreshape_controller.config import Settings
from foreshape_controller.errors import ControllerError, Unauthenticated, Unavailable
from foreshape_controller.log import get_logger
from foreshape_controller.loops.intake import Half
from foreshape_controller.store import Store
from foreshape_controller.store.store import Beside
from foreshape_wire.codec import WireError
from foreshape_wire.order import Mode

WAIT_S = 30.0
"""An agent has given up by then; and a process that answered nobody for so long, while somebody waited, hangs."""
AGAIN_S = 1.0
"""Between two attempts to begin the process."""
END_S = 10.0
THREADS = 2
"""That complete replies and look tokens up: few, because each is microseconds, and none of those that other requests may all be
waiting in."""
MANY = 10_000
"""Tokens that are remembered."""
KNOWN_S = 30.0
"""So long a token that was found, by the process or here, is not looked up again before its report is read: a few reports' time. The
process looks each up, every time, and one that it refuses is forgotten here."""
ROOM = 2**28
"""Bytes of reports that are being read, or wait for their answer: a thousand agents send a tenth of that at once."""
OWN = 8
"""Reports of one token among them: an agent sends one after another, and gives up on some."""
BUFFER = 2**22
"""Bytes on their way into the process beyond which further reports wait for their turn."""
UNKNOWN = "the agent's token is unknown or revoked: enrol it again with a join token from 'foreshape agent enroll HOST'"
LIMIT = 2**24
MODULE = "foreshape_controller.loops.intake_process"

_log = get_logger("intake")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that the process reads."""

    database: str
    beside: Beside
    rotation_days: float
    log_level: str
    log_format: str


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One report."""

    number: int
    token: str
    data: bytes
    now: float
    until: float
    """By the machine's monotonic clock: nobody waits any more after that."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What became of it."""

    number: int
    half: Half | None = None
    error: str = ""
    """Class of the error; empty: there was none."""
    text: str = ""
    touched: list[tuple[int, int]] = []
    """(bin, series) that were written, for copies of history in memory."""
    oldest_open: int = 0
    news: list[tuple[str, str, bytes, bytes]] = []
    """Told on the bus: kind, project, data, and what only operators are told; as JSON."""


def frame(message: msgspec.Struct) -> bytes:
    """Length and message, for a stream."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(4, "big") + data


_told = msgspec.msgpack.Decoder(Told)


@dataclass(eq=False)
class _Child:
    """One process, and who waits for it."""

    process: Process
    heard: float = 0.0
    """When it answered last; monotonic."""
    ended: bool = False
    """It will answer no more."""
    _waiting: dict[int, "asyncio.Future[Told]"] = field(default_factory=dict)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def alive(self) -> bool:
        return not self.ended and self.process.returncode is None

    async def ask(self, ask: Ask) -> Told:
        """Raises OSError, TimeoutError."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[ask.number] = future
        began = time.monotonic()
        try:
            async with asyncio.timeout(ask.until - began):
                await self._write(ask, future)
                return await future
        except TimeoutError:
            self._hangs(began)
            raise
        finally:
            self._waiting.pop(ask.number, None)

    def heard_of(self, told: Told) -> None:
        self.heard = time.monotonic()
        if (future := self._waiting.get(told.number)) is not None and not future.done():
            future.set_result(told)

    def end(self) -> None:
        """Whoever waits still is told so."""
        self.ended = True
        for number in self._waiting:
            self.heard_of(Told(number, error=Unavailable.__name__, text="the process that takes reports ended: send it again"))

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    async def _write(self, ask: Ask, future: "asyncio.Future[Told]") -> None:
        """One after another: what waits for its turn is in memory once, and not in a buffer, too."""
        assert self.process.stdin is not None
        async with self._writing:
            if not future.done():
                self.process.stdin.write(frame(ask))
                await self.process.stdin.drain()

    def _hangs(self, since: float) -> None:
        """Somebody waited in vain: an end of it, if nobody was answered meanwhile."""
        if self.heard < since and self.alive:
            _log.error("the process that takes reports answers nobody, and is ended", process=self.process.pid)
            self.kill()


@dataclass
class Apart:
    """Keeps the process going. One event loop uses it."""

    job: Job
    store: Store
    answer: Callable[[Half], bytes]
    """Completes a reply (``Intake.answer``)."""
    open: bool = False
    """It is in use: begun, and not closed."""
    wait_s: float = WAIT_S
    end_s: float = END_S
    command: tuple[str, ...] = (sys.executable, "-P", "-m", MODULE)
    """-P: nothing is imported from whatever directory the controller was started in."""
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="reports"))
    _not_before: float = 0.0
    _numbers: Any = field(default_factory=itertools.count)
    _begin: asyncio.Lock = field(default_factory=asyncio.Lock)
    _child: _Child | None = None
    _reads: "asyncio.Task[None] | None" = None
    _closed: bool = False
    _known: dict[str, float] = field(default_factory=dict)
    """Hashes of tokens that were found, and until when they count as known."""
    _held: Counter[str] = field(default_factory=Counter)
    """Reports of each token that are in memory."""
    _bytes: int = 0
    """Of all of them."""

    async def knows(self, token: str) -> bool:
        """Whether it is an agent's. Looked up before his report is read; ``accept`` asks again. Raises Unavailable."""
        name = _name(token)
        if self._known.get(name, 0.0) > time.monotonic():
            return True
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self.store.agents.known, token)
        if found:
            self._remember(name)
        return found

    @contextmanager
    def room(self, token: str, size: int) -> Iterator[None]:
        """Held from before a report is read until it is answered. Raises Unavailable where there is none."""
        name = _name(token)
        if self._held[name] >= OWN:
            raise Unavailable(f"{OWN} reports of this agent are being taken already: wait for their answers")
        if self._bytes + size > ROOM:
            raise Unavailable("more reports are being taken than fit into memory: send it again")
        self._held[name] += 1
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    async def accept(self, token: str, data: bytes, now: float) -> bytes:
        """The answer to a report that is durable. Raises Unauthenticated, WireError, Forged, Unavailable."""
        try:
            half = await self._take(token, data, now)
        except Unauthenticated:
            self._known.pop(_name(token), None)
            raise
        self._remember(_name(token))
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.answer, half)

    async def _take(self, token: str, data: bytes, now: float) -> Half:
        child = await self._running()
        try:
            told = await child.ask(Ask(next(self._numbers), token, data, now, time.monotonic() + self.wait_s))
        except (OSError, TimeoutError) as e:
            raise Unavailable("the process that takes reports does not answer: send it again") from e
        if told.half is None:
            raise _error(told)
        return told.half

    async def begin(self) -> None:
        """Before the first report."""
        self.open = True
        await self._running()

    @property
    def process(self) -> Process | None:
        """The one that was begun last."""
        return self._child.process if self._child else None

    @property
    def alive(self) -> bool:
        """The process is there."""
        return self._child is not None and self._child.alive

    async def close(self) -> None:
        """Let it finish what it works on."""
        self.open, self._closed = False, True
        child, self._child = self._child, None
        if child is None or child.process.stdin is None:
            return
        child.process.stdin.close()
        await self._gone(child)
        if self._reads is not None:
            await self._reads

    def _remember(self, name: str) -> None:
        now = time.monotonic()
        if len(self._known) > 2 * MANY:
            self._known = {n: until for n, until in self._known.items() if until > now}
        self._known[name] = now + KNOWN_S

    def _note(self, told: Told) -> None:
        """What was written is known here, whether or not anybody waits for the answer."""
        if told.touched:
            self.store.history.touched.note(told.touched, told.oldest_open)
        for kind, project, plain, more in told.news:
            self.store.bus.publish(kind, project, msgspec.json.decode(plain), msgspec.json.decode(more))

    async def _running(self) -> _Child:
        async with self._begin:
            if self._closed:
                raise Unavailable("the controller is being stopped")
            if self._child is None or not self._child.alive:
                if time.monotonic() < self._not_before:
                    raise Unavailable("the process that takes reports ended, and is begun again: send it again")
                self._not_before = time.monotonic() + AGAIN_S
                try:
                    self._child = await self._started()
                except OSError as e:
                    raise Unavailable(f"the process that takes reports cannot be begun: {e}") from e
            return self._child

    async def _started(self) -> _Child:
        made = await asyncio.create_subprocess_exec(*self.command, stdin=PIPE, stdout=PIPE, limit=LIMIT)
        assert made.stdin is not None
        made.stdin.transport.set_write_buffer_limits(BUFFER)
        made.stdin.write(frame(self.job))
        child = _Child(made)
        self._reads = asyncio.create_task(self._listen(child))
        _log.info("reports are taken apart", process=made.pid)
        return child

    async def _listen(self, child: _Child) -> None:
        """Hand each answer to who waits for it; at the end, tell everybody who still waits."""
        assert child.process.stdout is not None
        try:
            while True:
                size = int.from_bytes(await child.process.stdout.readexactly(4), "big")
                told = _told.decode(await child.process.stdout.readexactly(size))
                self._note(told)
                child.heard_of(told)
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError) as e:
            await self._ended(child, e)

    async def _ended(self, child: _Child, why: Exception) -> None:
        child.end()
        if not isinstance(why, asyncio.IncompleteReadError):
            child.kill()  # it speaks what nobody understands
        await self._gone(child)
        if not self._closed:  # what it committed last, it may have told nobody
            self.store.history.touched.missed()
            self.store.bus.missed()
            _log.error("the process that takes reports ended", status=child.process.returncode, reason=str(why))

    async def _gone(self, child: _Child) -> None:
        """By itself, or not."""
        try:
            await asyncio.wait_for(child.process.wait(), self.end_s)
        except TimeoutError:
            child.kill()
            await child.process.wait()


def door_of(settings: Settings, store: Store, answer: Callable[[Half], bytes]) -> Apart | None:
    """None where this process takes reports itself: as it is told, or because a database in memory has no second door."""
    if not settings.api.reports_apart or not shareable(settings):
        return None
    job = Job(
        database=settings.store.url,
        beside=beside_of(settings, store),
        rotation_days=settings.agents.token_rotation_days,
        log_level=settings.log.level,
        log_format=settings.log.format,
    )
    return Apart(job, store, answer)


def shareable(settings: Settings) -> bool:
    """Whether a further process can open the store: a database in memory has no second door."""
    return settings.store.url not in ("sqlite://", "sqlite:///:memory:")


def beside_of(settings: Settings, store: Store) -> Beside:
    """What every further process on this store is told."""
    return Beside(
        step_s=settings.history.step_s,
        default_mode=Mode(settings.plan.default_mode),
        synchronous=settings.store.synchronous,
        busy_s=settings.store.busy_s,
        clock_skew_s=settings.agents.clock_skew_s,
        raised_floor_s=settings.journal.raised_floor_s,
        controller=store.controller,
        terms=store.modes.terms,
        in_cloud=store.inventory.in_cloud,
    )


def _name(token: str) -> str:
    """Stands for a token in memory."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _error(told: Told) -> Exception:
    """The error that was raised there."""
    if told.error == WireError.__name__:
        return WireError(told.text)
    kind = getattr(errors, told.error, None)
    if isinstance(kind, type) and issubclass(kind, ControllerError):
        return kind(told.text)
    return RuntimeError(f"{told.error}: {told.text}")
