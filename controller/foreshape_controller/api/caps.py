"""Hard caps: who may use at most how much, until when and why. Every route needs the admin token."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from foreshape_controller.api.auth import operator
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.decide import caps as rules
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.guarding import Scope
from foreshape_controller.model.cap import UNITS, Cap, CapAnswer, CapEffect, CapRequest
from foreshape_controller.model.server import Server
from foreshape_wire.ids import new_id

SHOWN = 100
"""Servers whose effects are told one by one."""


@get("/caps", sync_to_thread=True)
def caps(services: NamedDependency[Services]) -> list[CapAnswer]:
    """All caps: those in force first, then those that ended, the newest first."""
    now = services.clock()
    scope = services.guarding.scope(now)
    found = [_answer(c, scope, now) for c in services.store.caps.all()]
    return sorted(found, key=lambda c: (c.state != "in force", -c.since))


@get("/caps/{cap:str}", sync_to_thread=True)
def show(services: NamedDependency[Services], cap: FromPath[str]) -> CapAnswer:
    """One cap, and what it means for each server."""
    return _shown(services, services.store.caps.find(cap))


@post("/caps", status_code=201, sync_to_thread=True)
def create(services: NamedDependency[Services], data: JSONBody[CapRequest]) -> list[CapAnswer]:
    """Set caps: all of the request, or none. They are in the store before any agent hears of them."""
    now = services.clock()
    scope, reason, by = _resolved(services, data.scope, now), one_line(data.reason), one_line(data.by)
    made = rules.compose(msgspec.structs.replace(data, scope=scope, reason=reason, by=by), new_id, now)
    services.store.caps.add(made, now)
    for cap in made:
        _tell(services, cap)
    return [_shown(services, c) for c in made]


@delete("/caps/{cap:str}", status_code=200, sync_to_thread=True)
def lift(request: Request[Any, Any, Any], services: NamedDependency[Services], cap: FromPath[str]) -> CapAnswer:
    """End a cap now; query ``reason``. Agents undo it with their next report."""
    why = one_line(str(request.query_params.get("reason", "")))
    if len(why) > rules.REASON_MOST:
        raise Invalid(f"reason: at most {rules.REASON_MOST} characters")
    before = services.store.caps.find(cap)
    lifted = services.store.caps.lift(cap, why, services.clock())
    if lifted != before:
        _tell(services, lifted)
    return _shown(services, lifted)


ROUTER = Router("/v1", guards=[operator], route_handlers=[caps, show, create, lift], tags=["caps"])


def _tell(services: Services, cap: Cap) -> None:
    """Owners are told, after the cap is kept."""
    now = services.clock()
    scope = services.guarding.scope(now)
    services.store.notices.put(rules.notices(cap, scope.servers, scope.groups, now))


def _resolved(services: Services, scope: str, now: float) -> str:
    """The scope with a server's name turned into its id. Raises NotFound for what nobody is in: it is hardly meant."""
    kind, _, name = rules.check_scope(scope).partition(":")
    around = services.guarding.scope(now)
    if kind == "server":
        found = [s.id for s in around.servers if s.id == name] or [s.id for s in around.servers if s.name == name]
        if len(found) > 1:
            raise Invalid(f"scope: {len(found)} servers are called {name[:80]!r}: name one by its id, {', '.join(found[:5])}")
        if not found:
            raise NotFound(f"scope: there is no server {name[:80]!r}: see 'foreshape server list'")
        return f"server:{found[0]}"
    if kind == "segment" and name not in services.segments.segments:
        raise NotFound(f"scope: there is no segment {name[:80]!r}: segments.yaml knows {', '.join(services.segments.segments) or 'none'}")
    if kind in {"project", "host"} and not any(scope in set(rules.scopes(s, {})) for s in around.servers):
        raise NotFound(f"scope: no server is in {scope[:100]}: see 'foreshape server list'")
    return scope


def _shown(services: Services, cap: Cap) -> CapAnswer:
    now = services.clock()
    scope = services.guarding.scope(now)
    strict = rules.strictest(scope.caps, scope.servers, scope.groups, now).get(cap.resource, {})
    of = [s for s in scope.servers if cap.scope in set(rules.scopes(s, scope.groups))]
    effects = tuple(_effect(services, cap, s, strict) for s in of[:SHOWN]) if cap.state(now) == "in force" else ()
    return msgspec.structs.replace(_answer(cap, scope, now), effects=effects)


def _effect(services: Services, cap: Cap, server: Server, strictest: Mapping[str, Cap]) -> CapEffect:
    strict = strictest.get(server.id, cap)
    floor = services.guarding.floor(server, cap.resource)
    return CapEffect(
        server=server.id,
        name=server.name,
        host=server.host,
        amount=rules.effective(strict, floor),
        notes=rules.notes(cap, strict, server, floor),
        seen=_seen(services, cap, server),
    )


def _seen(services: Services, cap: Cap, server: Server) -> str:
    """What the agent said of this cap last."""
    for o in services.store.journal.local_actions(server.id, 20):
        if o.cause == cap.id:
            return f"{o.verdict.value}: {o.proof or o.reason}"
    return "nothing yet"


def _answer(cap: Cap, scope: Scope, now: float) -> CapAnswer:
    return CapAnswer(
        id=cap.id,
        scope=cap.scope,
        resource=cap.resource,
        amount=cap.amount,
        unit=UNITS[cap.resource],
        state=cap.state(now),
        since=cap.since,
        until=cap.until,
        left_s=max(0.0, cap.ends - now),
        reason=cap.reason,
        by=cap.by,
        servers=sum(cap.scope in set(rules.scopes(s, scope.groups)) for s in scope.servers),
        lifted_at=cap.lifted_at,
        lifted_why=cap.lifted_why,
    )
