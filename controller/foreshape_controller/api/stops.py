"""Stop and go on: the cloud, a host, a project or a server in one call; halts, which the guard sets. Every route needs the admin token."""

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.operators import mode_of
from foreshape_controller.api.scopes import by_id, inhabited, one_line, set_before
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.log import get_logger
from foreshape_controller.model.answers import HaltAnswer, ModeAnswer, StopAnswer
from foreshape_controller.model.brakes import Halt
from foreshape_wire.order import Mode

REASON_MOST, BY_MOST = 1000, 100
"""Characters; more is cut off: a stop is no time for refusals."""

_log = get_logger("stop")


class StopRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/stop`` and ``/v1/resume``."""

    reason: str
    scope: str = "cloud"
    by: str = ""
    """Who asks."""


@post("/stop", status_code=200, sync_to_thread=True)
def stop(services: NamedDependency[Services], data: JSONBody[StopRequest]) -> StopAnswer:
    """Mode observe for the scope, and its open orders withdrawn, in one transaction."""
    reason, scope, now = _said(data, "stopped"), inhabited(services, data.scope), services.clock()
    done = services.store.modes.stop(scope, reason, now)
    _log.warning("stopped", scope=scope, reason=data.reason, by=data.by, withdrawn=done.withdrawn, with_agents=done.with_agents)
    return StopAnswer(
        scope=scope, mode=Mode.OBSERVE.value, since=now, reason=reason, withdrawn=done.withdrawn, with_agents=done.with_agents
    )


@post("/resume", status_code=200, sync_to_thread=True)
def resume(services: NamedDependency[Services], data: JSONBody[StopRequest]) -> ModeAnswer:
    """Put back the mode that the stop replaced."""
    reason, scope = _said(data, "resumed"), set_before(services, data.scope)
    services.store.modes.resume(scope, reason, services.clock())
    _log.warning("resumed", scope=scope, reason=data.reason, by=data.by)
    return mode_of(services, scope)


@get("/halts", sync_to_thread=True)
def halts(services: NamedDependency[Services]) -> list[HaltAnswer]:
    """Where less is ordered now: circuit breakers, second controllers, missing measurements."""
    return [halt_answer(h) for h in services.store.halts.all() if h.active]


@post("/halts/clear", status_code=200, sync_to_thread=True)
def clear(services: NamedDependency[Services], data: JSONBody[StopRequest]) -> list[HaltAnswer]:
    """A person's word that a scope is in order again. Answers what it was halted for."""
    scope = by_id(services, data.scope)
    over = services.guard.clear(scope, _said(data, "cleared"), services.clock())
    if not over:
        raise NotFound(f"{scope} is not halted: 'foreshape halt list' shows what is")
    _log.warning("halt cleared", scope=scope, reason=data.reason, by=data.by, kinds=[h.kind for h in over])
    return [halt_answer(h) for h in over]


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[stop, resume, halts, clear], tags=["operators"])


def halt_answer(h: Halt) -> HaltAnswer:
    return HaltAnswer(scope=h.scope, kind=h.kind, state=h.state, since=h.since, until=h.until, trips=h.trips, reason=h.reason)


def _said(data: StopRequest, done: str) -> str:
    reason, by = one_line(data.reason)[:REASON_MOST], one_line(data.by)[:BY_MOST]
    if not reason:
        raise Invalid("$.reason is empty: say why, for those who find it stopped")
    return f"{done} by {by}: {reason}" if by else f"{done}: {reason}"
