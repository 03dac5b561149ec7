"""One request to one service: sent at our pace, tried again where that is safe, refused in words that say what to do.

Who sends is handed in (``session.py`` is the real one), so that everything above it knows neither HTTP libraries nor Keystone.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import random
from typing import Any, Protocol, TypeVar

from foreshape_controller.cloud.patience import Pace, Patience
from foreshape_controller.errors import CloudError, Conflict, Gone, NoRoom, Permanent, Temporary
from foreshape_controller.model.cloud import CloudService

T = TypeVar("T")
Json = Any
"""What a service answered: never trusted to have the shape it should have."""

_NO_ROOM = ("exceed the capacity", "violate inventory constraints", "unable to allocate inventory", "no valid host", "novalidhost")
TELLING_S = 2.0
"""An answer that took longer says too little about the service's clock."""
_SAFE_TO_REPEAT = frozenset({"GET", "PUT", "DELETE"})
_CERTAINLY_NOT_DONE = frozenset({429, 503})


@dataclass(frozen=True)
class Reply:
    """An answer of a service, whatever it says."""

    status: int
    body: Json = None
    """Decoded JSON; None when there was none, or none that could be read."""
    text: str = ""
    """Its beginning, where the body was no JSON."""
    retry_after: float = 0.0
    at: float = 0.0
    """Time of day by the service's clock, to the second, rounded down; 0: it does not say."""


class Send(Protocol):
    """Sends one request once. Raises Temporary when no answer came, Permanent when there is nowhere to send it."""

    def __call__(self, method: str, path: str, *, microversion: str, body: Json, params: Mapping[str, str]) -> Reply: ...

    def versions(self) -> tuple[str, str]:
        """Smallest and largest microversion of the service; ("", "") when it does not say."""


@dataclass(frozen=True)
class Ways:
    """How all services of one cloud are asked: one pace, one patience."""

    patience: Patience = field(default_factory=Patience)
    pace: Pace | None = None
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    """Time of day here: services' clocks are compared with it."""
    chance: Callable[[], float] = random


class Service:
    """One service of the cloud. Safe to use from several threads, as far as ``send`` is."""

    def __init__(self, name: str, send: Send, ways: Ways) -> None:
        self.name = name
        self._send = send
        self._ways = ways
        self.ahead_s: float | None = None
        """How far its clock is ahead of ours, by its last answer that came fast enough to tell, to about half a second."""
        self.took_s: float | None = None
        """How long its last answer took."""

    def about(self) -> CloudService:
        """What it says of itself now. Raises CloudError."""
        least, most = self.versions()
        return CloudService(name=self.name, least=least, most=most, ahead_s=self.ahead_s, took_s=self.took_s)

    def status(self, method: str, path: str, *, microversion: str = "", body: Json = None) -> int:
        """The answer's status, whatever it is, to one request that is sent once. Raises Temporary, Permanent where there is no answer."""
        return self._sent(method, path, microversion=microversion, body=body, params={}).status

    def versions(self) -> tuple[str, str]:
        """Smallest and largest microversion, as the service says now."""
        return self._tried(self._send.versions, repeat=True)

    def ask(self, method: str, path: str, *, microversion: str = "", body: Json = None, params: Mapping[str, str] | None = None) -> Json:
        """The answer's JSON, or None where it has none.

        Tried again: what certainly was not done, and what does no harm when done twice. A POST without an answer is not: its error
        says ``maybe_done``. Raises Temporary, Conflict, Permanent, NoRoom, Gone.
        """

        def once() -> Json:
            reply = self._sent(method, path, microversion=microversion, body=body, params=params or {})
            if reply.status < 300:
                return reply.body
            raise refusal(self.name, f"{method} {path}", reply)

        return self._tried(once, repeat=method in _SAFE_TO_REPEAT)

    def _sent(self, method: str, path: str, *, microversion: str, body: Json, params: Mapping[str, str]) -> Reply:
        """One request at our pace; what its answer tells of time is kept."""
        if self._ways.pace:
            self._ways.pace.wait()
        begun, at = self._ways.now(), self._ways.clock()
        reply = self._send(method, path, microversion=microversion, body=body, params=params)
        self.took_s = self._ways.now() - begun
        if reply.at and self.took_s <= TELLING_S:
            self.ahead_s = reply.at + 0.5 - (at + self.took_s / 2)  # the header has whole seconds, rounded down
        return reply

    def _tried(self, once: Callable[[], T], *, repeat: bool) -> T:
        ways, begun, tried = self._ways, self._ways.now(), 0
        while True:
            try:
                return once()
            except Conflict:
                raise
            except Temporary as e:
                tried += 1
                wait = ways.patience.pause(tried, ways.chance(), e.delay)
                late = ways.now() + wait - begun > ways.patience.budget_s
                if tried >= ways.patience.tries or late or (e.maybe_done and not repeat):
                    raise
                ways.sleep(wait)


def refusal(service: str, what: str, reply: Reply) -> CloudError:
    """The error for an answer that is none of success."""
    said = f"{service} answered {reply.status} to {what}: {_words(reply)}"
    if reply.status == 409:
        return _conflict(said, reply)
    if reply.status in _CERTAINLY_NOT_DONE:
        return Temporary(f"{said}; it is overloaded or starting", delay=reply.retry_after)
    if reply.status >= 500 or reply.status == 408:
        return Temporary(f"{said}; its own log says why", delay=reply.retry_after, maybe_done=True)
    if reply.status == 404:
        return Gone(said)
    if reply.status == 400 and _mentions(reply, _NO_ROOM):
        return NoRoom(said)
    if reply.status == 400 and _mentions(reply, ("resource provider", "does not exist"), every=True):
        return Gone(said)
    return Permanent(f"{said}; {_ADVICE.get(reply.status, 'this is no request that it takes')}")


_ADVICE = {
    401: "check user, password and project of the cloud in clouds.yaml",
    403: "the role lacks a policy, or a quota is exceeded: docs/openstack.md lists what the controller needs",
    406: "it does not speak that version of its API: the cloud was upgraded or downgraded, or is too old",
    413: "a quota is exceeded: raise it for the controller's project",
}


def _conflict(said: str, reply: Reply) -> CloudError:
    if _mentions(reply, _NO_ROOM):
        return NoRoom(said)
    return Conflict(said)


def _mentions(reply: Reply, words: tuple[str, ...], *, every: bool = False) -> bool:
    text = _words(reply).lower()
    return (all if every else any)(word in text for word in words)


def _words(reply: Reply) -> str:
    """What the service said, on one line: Nova's, Placement's and Keystone's shapes of errors."""
    return " ".join(_said(reply.body).split())[:500] or " ".join(reply.text.split())[:200] or "no words"


def _said(body: Json) -> str:
    if not isinstance(body, dict):
        return ""
    if isinstance(errors := body.get("errors"), list):
        return "; ".join(f"{e.get('detail') or e.get('title', '')} ({e.get('code', '')})" for e in errors if isinstance(e, dict))
    inner = next((v for v in body.values() if isinstance(v, dict) and "message" in v), {})
    return str(inner.get("message", ""))
