"""``GET /v1/stream``: what happens, as server-sent events. Readers wait on the event loop: none of them takes a worker thread."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, cast

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from foreshape_controller.api.auth import still_permitted
from foreshape_controller.api.protocol import ENDINGS
from foreshape_controller.api.services import Services
from foreshape_controller.bus import EVERYBODY, KINDS, Behind, News, Watch
from foreshape_controller.config import ApiSettings
from foreshape_controller.errors import Forbidden, Invalid, TooMany, Unauthenticated, Unavailable
from foreshape_controller.model.caller import Caller

KEEPALIVE_S = 15.0
LONGEST_S = 3600.0
"""A stream ends then, and the client comes back where it left off."""

UNKNOWN_S = 60.0
"""A stream goes on so long while nobody can say whether its reader still may: Keystone is away, or too much is asked of it."""

STUCK_S = 30.0
"""A reader who takes nothing for so long is dropped: his place is another's."""

Wanted = Annotated[str, QueryParameter(name="kinds", max_length=300, description="only these, comma separated: " + ", ".join(KINDS))]


@dataclass
class Streams:
    """How many there are: a bounded number for each project, and altogether."""

    most: int
    project_most: int
    _open: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, settings: ApiSettings) -> Self:
        return cls(settings.streams, settings.project_streams)

    def enter(self, project: str) -> Callable[[], None]:
        """Takes a place; what is answered gives it back, once. Raises Unavailable. On the event loop only."""
        if self._open.total() >= self.most:
            raise Unavailable(f"{self.most} streams are open already: close one, or ask again later ([api] streams)")
        if project and self._open[project] >= self.project_most:
            raise Unavailable(f"your project has {self.project_most} streams open already: close one ([api] project_streams)")
        self._open[project] += 1
        given: list[str] = [project]

        def leave() -> None:
            if given:
                self._open[given.pop()] -= 1

        return leave


@get("/stream", rule="stream:show", media_type="text/event-stream")
async def stream(
    request: Request[Any, Any, Any], services: NamedDependency[Services], caller: NamedDependency[Caller], kinds: Wanted = ""
) -> Stream:
    """Server-sent events, each with an id; a header ``Last-Event-ID`` goes on after that one, where it is remembered still.

    An event ``lost`` says that some were missed: read again what you show. ``: keepalive`` comes every 15 seconds.
    """
    watched = _Allowed(services.identity.again_s, lambda: still_permitted(request, "stream:show"))
    reader = _Reader(services, caller, _kinds(kinds), request.headers.get("last-event-id", ""), watched)
    streams: Streams = request.app.state.streams
    leave = streams.enter("" if caller.everywhere else caller.project)
    cast("dict[str, Any]", request.scope)[ENDINGS] += [leave, reader.close]
    return Stream(reader.chunks(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type="text/event-stream")


ROUTER = Router("/v1", route_handlers=[stream], tags=["stream"])


def _kinds(said: str) -> frozenset[str]:
    wanted = frozenset(k.strip() for k in said.split(",") if k.strip())
    if odd := sorted(wanted - KINDS.keys()):
        raise Invalid(f"kinds: there is no {odd[0][:40]!r}; known are {', '.join(KINDS)}")
    return wanted or frozenset(KINDS)


class _Allowed:
    """Whether a reader still may, asked every ``every_s``: a token that is revoked, or a session that is over, ends its stream."""

    def __init__(self, every_s: float, ask: Callable[[], Awaitable[Caller]]) -> None:
        self._every_s, self._ask = every_s, ask
        self._known = self._next = asyncio.get_running_loop().time()
        self._next += every_s

    @property
    def left_s(self) -> float:
        """Until it is asked again."""
        return max(0.0, self._next - asyncio.get_running_loop().time())

    async def now(self, caller: Caller) -> Caller | None:
        """Who it is; None: he may not any more."""
        if self.left_s > 0:
            return caller
        now = asyncio.get_running_loop().time()
        self._next = now + self._every_s
        try:
            found = await self._ask()
        except (Unauthenticated, Forbidden):
            return None
        except (Unavailable, TooMany):
            self._next = now + min(self._every_s, KEEPALIVE_S)
            return caller if now < self._known + self._every_s + UNKNOWN_S else None
        self._known = now
        return found if (found.user, found.project) == (caller.user, caller.project) else None


class _Reader:
    """One stream: sleeps until something is told, or it is time to say that we are there."""

    def __init__(self, services: Services, caller: Caller, kinds: frozenset[str], last: str, allowed: _Allowed) -> None:
        self._allowed = allowed
        self._bus, self._clock, self._caller, self._kinds = services.bus, services.clock, caller, kinds
        epoch, _, number = last.partition("-")
        self._resumes = int(number) if epoch == self._bus.epoch and number.isascii() and number.isdigit() else None
        self._missed = bool(last) and self._resumes is None
        """What he saw last was told by another process: nobody knows what came after it."""
        self._watch: Watch | None = None

    def close(self) -> None:
        """The request is over."""
        if self._watch is not None:
            self._watch.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        awake = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(awake.set)

        watch = self._watch = self._bus.watch(wake, self._resumes)
        task = asyncio.current_task()
        async for chunk in self._told(watch, awake, loop.time() + LONGEST_S):
            stuck = loop.call_later(STUCK_S, task.cancel) if task else None
            yield chunk  # until the client, or a buffer on the way to him, has taken it
            if stuck:
                stuck.cancel()

    async def _told(self, watch: Watch, awake: asyncio.Event, until: float) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        yield b"retry: 3000\n: welcome\n\n"
        if self._missed:
            yield self._lost(watch)
        while not self._bus.closed and now() < until and not 0 < self._caller.expires <= self._clock():
            awake.clear()
            allowed = await self._allowed.now(self._caller)
            if allowed is None:
                return
            self._caller = allowed
            try:
                news = watch.read()
            except Behind:
                yield self._lost(watch)
                return
            found = b"".join(map(self._framed, filter(self._concerns, news)))
            if found:
                yield found
            elif not news and not await _woken(awake, min(KEEPALIVE_S, self._allowed.left_s)):
                yield b": keepalive\n\n"

    def _concerns(self, news: News) -> bool:
        mine = news.project == EVERYBODY or self._caller.everywhere or (bool(news.project) and self._caller.sees(news.project))
        return mine and news.kind in self._kinds

    def _framed(self, news: News) -> bytes:
        data = news.full if self._caller.everywhere else news.data
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._bus.epoch.encode(), news.number, news.kind.encode(), data)

    def _lost(self, watch: Watch) -> bytes:
        return b'id: %s-%d\nevent: lost\ndata: {"why": "some events were missed: read again what you show"}\n\n' % (
            self._bus.epoch.encode(),
            watch.after,
        )


async def _woken(awake: asyncio.Event, within_s: float) -> bool:
    """False where nothing was told for a while."""
    try:
        await asyncio.wait_for(awake.wait(), within_s)
    except TimeoutError:
        return False
    return True
