"""Every request that changes something is in the audit before it is let in, and again with its end before it is answered.

Attempts that are refused are there as well, so many a minute at most: what was left out is counted in the next row. Agents' reports are
not: the journal has what came of orders.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from litestar.concurrency import sync_to_thread

from foreshape_controller.api.limits import Buckets
from foreshape_controller.api.noting import NOTE, Note
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.api.traffic import REPORTS, App
from foreshape_controller.errors import ControllerError
from foreshape_controller.log import get_logger
from foreshape_controller.model.audit import Entry, Stage
from foreshape_controller.model.caller import Caller
from foreshape_wire.ids import new_id

READS = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSALS = frozenset({401, 403, 429})
REFUSED_PER_MINUTE, PER_ADDRESS = 60, 12

_log = get_logger("audit")


@dataclass
class Auditing:
    """One for the application."""

    services: Services
    missed: int = 0
    """Refused attempts that were not noted."""
    refused: Buckets = field(default_factory=lambda: Buckets(REFUSED_PER_MINUTE, time.monotonic))
    by_address: Buckets = field(default_factory=lambda: Buckets(PER_ADDRESS, time.monotonic))

    def layer(self, app: App) -> App:
        """For ``Litestar(middleware=…)``."""

        async def run(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] in READS or scope["path"] == REPORTS:
                await app(scope, receive, send)
            else:
                await self._watch(app, (scope, receive, send))

        return run

    async def _watch(self, app: App, asked: tuple[Any, Any, Any]) -> None:
        scope, receive, send = asked
        note = Note(new_id("req"))
        before = NOTE.set(note)

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                await self._ended(scope, note, message["status"])
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", note.request.encode())]
            await send(message)

        try:
            await app(scope, receive, sent)
        finally:
            NOTE.reset(before)

    async def _ended(self, scope: Any, note: Note, status: int) -> None:
        """What was done is done, whether this can be kept or not; who looks next sees it."""
        if note.begun or status < 400:
            self.services.store.inventory.forget()
        stage = Stage.REFUSED if status in REFUSALS and not note.begun else Stage.ENDED
        if stage is Stage.REFUSED and not self._noted(_address(scope)):
            return
        detail = f"{self.missed} more refused attempts were not noted" if self.missed else ""
        try:
            await sync_to_thread(_keep, self.services, scope, note, (stage, status, detail))
            self.missed = 0 if detail else self.missed
        except ControllerError as e:
            _log.error("not audited", request=note.request, status=status, reason=str(e))

    def _noted(self, address: str) -> bool:
        allowed = not (self.by_address.take(address) or self.refused.take(""))
        self.missed += not allowed
        return allowed


async def begin(connection: Any, services: Services) -> None:
    """Before a change is let in. Raises Unavailable: then it is not."""
    note = NOTE.get()
    if note is not None:
        await sync_to_thread(_keep, services, connection.scope, note, (Stage.BEGUN, 0, ""))
        note.begun = True


def _keep(services: Services, scope: Any, note: Note, said: tuple[Stage, int, str]) -> None:
    (stage, status, detail), state = said, scope.get("state") or {}
    caller: Caller | None = state.get("caller")
    touched = note.scope or _named(scope)
    services.store.audit.add(
        Entry(
            at=services.clock(),
            request=note.request,
            stage=stage,
            method=scope["method"],
            route=str(scope.get("path_template") or ""),
            path=one_line(str(scope["path"])),
            user=caller.user if caller else "",
            name=caller.name if caller else "",
            project=_project(services, touched) or (caller.project if caller else ""),
            caller=caller.project if caller else "",
            scope=one_line(touched),
            status=status,
            cause=note.cause or str(state.get("cause") or ""),
            address=_address(scope),
            detail=detail,
        )
    )


def _project(services: Services, touched: str) -> str:
    """Whose it is; empty where that is not known."""
    kind, _, name = touched.partition(":")
    if kind == "project":
        return name
    return services.store.inventory.owner(name) if kind == "server" else ""


def _named(scope: Any) -> str:
    """What the path names, where nobody found out more."""
    named = list((scope.get("path_params") or {}).items())
    return "" if not named else str(named[0][1]) if named[0][0] == "name" else f"{named[0][0]}:{named[0][1]}"


def _address(scope: Any) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""
