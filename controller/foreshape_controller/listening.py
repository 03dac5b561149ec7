"""Connections that are slow on purpose: uvicorn waits for a request's head and body as long as the other side likes; this does not.

A head has to be there ``HEAD_S`` after it began, or after the connection did; a body ``BODY_S`` after its head. Of connections that have
not brought a whole request yet there are ``MOST`` at once: for one more the oldest goes, which is nobody's who means to ask something.
"""

import asyncio
import resource
from collections import OrderedDict
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
BODY_S = 60.0
MOST = 2000
FILES = 65536


class Patient(H11Protocol):
    """uvicorn's own protocol with an end to its patience."""

    head_s: ClassVar[float] = HEAD_S
    body_s: ClassVar[float] = BODY_S
    most: ClassVar[int] = MOST
    waiting: ClassVar["OrderedDict[Patient, None]"] = OrderedDict()
    """Connections without a whole request, the oldest first."""

    _timer: asyncio.TimerHandle | None = None
    _waits_for: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for(h11.IDLE)

    def data_received(self, data: bytes) -> None:
        self._wait_for(h11.IDLE if self._waits_for is None and self.conn.their_state is h11.IDLE else self._waits_for)
        super().data_received(data)
        state = self.conn.their_state
        self._wait_for(state if state is h11.SEND_BODY or (state is h11.IDLE and self._waits_for is h11.IDLE) else None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # of a request that came behind the one that was answered
            self._wait_for(h11.SEND_BODY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        super().connection_lost(exc)

    def _wait_for(self, what: Any) -> None:
        """For a head (IDLE), a body (SEND_BODY), or nothing: what is waited for already goes on by its own time."""
        if what is self._waits_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._waits_for = None, what
        if what is None:
            self.waiting.pop(self, None)
            return
        self._timer = self.loop.call_later(self.head_s if what is h11.IDLE else self.body_s, self._give_up)
        self.waiting[self] = None
        if len(self.waiting) > self.most:
            next(iter(self.waiting))._give_up()

    def _give_up(self) -> None:
        self._wait_for(None)
        self.transport.abort()


def allow_many() -> None:
    """As many connections as the system lets this process have, and not the 1,024 that a shell gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
