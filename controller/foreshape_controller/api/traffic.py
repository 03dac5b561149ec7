"""What is asked over HTTP, counted and said: the outermost layer of the application.

Agents' reports are counted apart and said at level debug: 1,000 agents send a hundred a second. What only reads is said at level debug,
too; every write and every fault is one line at level info.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from foreshape_controller.log import get_logger
from foreshape_controller.model.tally import Tally

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

REPORTS = "/v1/reports"
READS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = READS | {"POST", "PUT", "PATCH", "DELETE"}
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

_log = get_logger("api")


@dataclass
class Traffic:
    """Counts since the start; written by the event loop's thread only."""

    reports: Counter[str] = field(default_factory=lambda: Counter(taken=0, refused=0, failed=0))
    report_s: Tally = field(default_factory=Tally)
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By method, route and class of status."""
    request_s: dict[tuple[str, ...], Tally] = field(default_factory=dict)
    """By route."""
    under_way: int = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        kind = f"{status // 100}xx"
        if route == REPORTS and method == "POST":
            self.reports["taken" if status < 300 else "failed" if status >= 500 else "refused"] += 1
            self.report_s.add(seconds)
        self.requests[method if method in METHODS else "other", route, kind] += 1
        self.request_s.setdefault((route,), Tally()).add(seconds)

    def told(self, scope: Any, route: str, status: int, seconds: float) -> None:
        """A request that is over: counted, and its line said."""
        self.count(scope["method"], route, status, seconds)
        _say(scope, route, status, seconds)


def watched(traffic: Traffic) -> Callable[[App], App]:
    """The layer itself, for ``Litestar(middleware=…)``."""

    def layer(app: App) -> App:
        async def run(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await _watch(traffic, app, (scope, receive, send))
            else:
                await app(scope, receive, send)

        return run

    return layer


async def _watch(traffic: Traffic, app: App, asked: tuple[Any, Any, Any]) -> None:
    scope, receive, send = asked
    began, status = time.monotonic(), [500]

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
        await send(message)

    traffic.under_way += 1
    try:
        await app(scope, receive, sent)
    finally:
        traffic.under_way -= 1
        traffic.told(scope, str(scope.get("path_template") or "none"), status[0], time.monotonic() - began)


def _say(scope: Any, route: str, status: int, took: float) -> None:
    """The request's one line."""
    method = scope["method"]
    if route == REPORTS and status < 300:
        return  # the intake has said it
    quiet = status < 500 and (method in READS or route == REPORTS or route in QUIET)
    state = scope.get("state") or {}
    caller = state.get("caller")
    who = {"user": caller.user, "project": caller.project} if caller is not None else {}
    say = _log.debug if quiet else _log.info
    say("request", method=method, route=route, status=status, took_ms=round(took * 1000, 1), cause=state.get("cause"), **who)
