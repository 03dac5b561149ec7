"""What HTTP promises of every route, around the whole application: HEAD, ETag and If-None-Match, If-Match on writes.

An ETag is of what a thing says of itself, without what only passes with time: ``VOLATILE``. A write with ``If-Match`` is let through
where the thing still has that tag; until it is done no other write of the same path begins, with ``If-Match`` or without. Whoever waits
for a path is known, and his body is here: nobody holds it by being slow.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import msgspec

from foreshape_controller.api.problems import answer
from foreshape_controller.api.repeat import keeping
from foreshape_controller.api.services import Services
from foreshape_wire.codec import MAX_MESSAGE_BYTES

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

TAGGED_MOST = 256 * 1024
"""Bytes of a body that gets a tag."""
VOLATILE = frozenset({"left_s", "last_sample_s_ago", "last_report_s_ago", "age_s", "at", "returning", "position", "next_look", "seen"})
ENDINGS = "foreshape_endings"
"""Where a request's scope keeps what is called when it is over, however it ends: a stream's generator may never be closed."""
WRITES = frozenset({"PUT", "PATCH", "DELETE"})
TURN = "foreshape_turn"
"""Where a write's scope has its turn, until it is taken."""


class _Answer:
    """An answer that is held until it is whole; one that streams is passed on."""

    def __init__(self, send: Any) -> None:
        self._send, self.body, self.passing = send, b"", False
        self.start: Any = None

    async def __call__(self, message: Any) -> None:
        if self.passing:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")
            if message.get("more_body") or len(self.body) > TAGGED_MOST:
                self.passing = True
                await self._send(self.start)
                await self._send({**message, "body": self.body})

    @property
    def whole(self) -> bool:
        return self.start is not None and not self.passing


class Turn:
    """A write's turn at its path: taken when it is known who writes, and his body is here. ``receive`` tells the body again."""

    def __init__(self, receive: Any, lock: asyncio.Lock) -> None:
        self._receive, self._lock, self._held = receive, lock, False

    async def take(self) -> None:
        self._receive = await _read(self._receive)
        await self._lock.acquire()
        self._held = True

    def give_back(self) -> None:
        if self._held:
            self._lock.release()

    async def receive(self) -> Any:
        return await self._receive()


async def take_turn(scope: Any) -> None:
    """To be called once it is known who asks, and that he may."""
    turn: Turn | None = scope.pop(TURN, None)
    if turn is not None:
        await turn.take()


class Spoken:
    """The application, with all of that."""

    def __init__(self, app: App, services: Services) -> None:
        self._app, self._services = app, services
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        endings = scope[ENDINGS] = list[Callable[[], None]]()
        try:
            if scope["type"] == "http":
                await self._by_method(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            for end in endings:
                end()

    async def _by_method(self, scope: Any, receive: Any, send: Any) -> None:
        method = scope["method"]
        if method in READS:
            await READS[method](self._app, scope, receive, send)
        elif method in WRITES:
            await self._write(scope, receive, send)
        else:
            await self._app(scope, receive, keeping(self._services, scope, send) if method == "POST" else send)

    async def _write(self, scope: Any, receive: Any, send: Any) -> None:
        """The tag is looked at twice: before the lock, so that only those take it who are known and may go on, and under it."""
        wanted = _header(scope, b"if-match")
        if not wanted:
            await self._plain(scope, receive, send)
        elif await _still(self._app, scope, send, wanted):
            body = await _read(receive)
            async with self._lock(scope["path"]):
                if await _still(self._app, scope, send, wanted):
                    await self._app(scope, body, send)

    async def _plain(self, scope: Any, receive: Any, send: Any) -> None:
        turn = Turn(receive, self._lock(scope["path"]))
        try:
            await self._app({**scope, TURN: turn}, turn.receive, send)
        finally:
            turn.give_back()

    def _lock(self, path: str) -> asyncio.Lock:
        """One writer of a path at a time."""
        return self._locks.setdefault((id(asyncio.get_running_loop()), path), asyncio.Lock())


async def _head(app: App, scope: Any, receive: Any, send: Any) -> None:
    """As GET, without the body; a stream ends at once."""
    begun = asyncio.Event()

    async def gone() -> Any:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def headers_only(message: Any) -> None:
        if begun.is_set():
            return
        await send(message if message["type"] == "http.response.start" else {"type": "http.response.body", "body": b""})
        if message["type"] == "http.response.body":
            begun.set()

    await _get(app, {**scope, "method": "GET"}, gone if scope["path"].endswith("/stream") else receive, headers_only)


async def _get(app: App, scope: Any, receive: Any, send: Any) -> None:
    held = _Answer(send)
    await app(scope, receive, held)
    if held.whole:
        start, tag = held.start, _tag(held)
        if tag:
            start = {**start, "headers": [*start["headers"], (b"etag", tag.encode())]}
            if _matches(_header(scope, b"if-none-match"), tag):
                kept = [(k, v) for k, v in start["headers"] if k not in (b"content-length", b"content-type")]
                start, held.body = {**start, "status": 304, "headers": kept}, b""
        await send(start)
        await send({"type": "http.response.body", "body": held.body})


async def _still(app: App, scope: Any, send: Any, wanted: str) -> bool:
    """Whether a thing has a tag that is wanted; where it has not, or who asks may not know, that is answered."""
    now = _Answer(send)
    plain = [(k, v) for k, v in scope["headers"] if k not in (b"content-length", b"content-type", b"if-match", b"transfer-encoding")]
    await app({**scope, "method": "GET", "headers": plain, "state": dict(scope.get("state") or {})}, _nothing, now)
    there = bool(now.whole and now.start["status"] == 200)
    if now.whole and now.start["status"] in (401, 403, 429, 503):
        await send(now.start)
        await send({"type": "http.response.body", "body": now.body})
        return False
    if not there or not _matches(wanted, _tag(now)):
        await _refuse(send)
        return False
    return True


async def _read(receive: Any) -> Any:
    """A body's parts, as a ``receive`` that tells them again. What is too large is not read: the application refuses it."""
    parts, size, more = list[Any](), 0, True
    while more and size <= MAX_MESSAGE_BYTES:
        parts.append(await receive())
        size += len(parts[-1].get("body", b""))
        more = parts[-1].get("more_body", False)
    waiting = iter(parts)

    async def again() -> Any:
        return next(waiting, None) or await receive()

    return again


async def _refuse(send: Any) -> None:
    told = answer("changed_meanwhile", "Precondition failed", 412, "it is not (any more) as If-Match says: read it again, then decide")
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(told.content)).encode())]
    await send({"type": "http.response.start", "status": 412, "headers": headers})
    await send({"type": "http.response.body", "body": told.content})


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def _tag(held: _Answer) -> str:
    """Of one thing: an object in JSON. Empty: it has none."""
    assert held.start is not None
    kind = next((v for k, v in held.start["headers"] if k == b"content-type"), b"")
    if held.start["status"] != 200 or not kind.startswith(b"application/json") or not held.body.startswith(b"{"):
        return ""
    try:
        said = msgspec.json.decode(held.body)
    except msgspec.DecodeError:
        return ""
    lasting = {k: v for k, v in said.items() if k not in VOLATILE}
    return f'"{hashlib.sha256(msgspec.json.encode(lasting, order="sorted")).hexdigest()[:32]}"'


def _matches(said: str, tag: str) -> bool:
    """Whether a list of tags has this one."""
    tags = {t.strip().removeprefix("W/") for t in said.split(",")}
    return bool(tag) and ("*" in tags or tag in tags)


def _header(scope: Any, name: bytes) -> str:
    return next((v.decode("latin-1") for k, v in scope["headers"] if k.lower() == name), "")


READS: Mapping[str, Callable[[App, Any, Any, Any], Awaitable[None]]] = {"HEAD": _head, "GET": _get}
