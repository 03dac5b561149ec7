"""Hard caps: who may use at most how much, until when and why. Operators set them; a tenant sees those that concern him."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from foreshape_controller.api import visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.noting import touch
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.decide import caps as rules
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.guarding import Scope
from foreshape_controller.model.caller import OPERATOR, Caller
from foreshape_controller.model.cap import UNITS, Cap, CapAnswer, CapEffect, CapRequest
from foreshape_controller.model.server import Server
from foreshape_controller.store.caps import missing
from foreshape_wire.ids import new_id

_STRICTER = re.compile(r"\b(host|segment):.+?(?= is stricter)")
"""Names in ``decide.caps.notes`` that are not for tenants."""
SHOWN = 100
"""Servers whose effects are told one by one."""


@get("/caps", rule="caps:list", sync_to_thread=True)
def caps(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[CapAnswer]:
    """All caps that concern the caller: those in force first, then those that ended, the newest first."""
    now, all_of_them = services.clock(), services.store.caps.all()
    if not all_of_them:
        return []
    his = _his(caller, services.guarding.glance(now, visible.GLANCE_S))
    members = Counter(scope for s in his.servers for scope in set(rules.scopes(s, his.groups)))
    concern = [c for c in all_of_them if _for(c, caller) or members[c.scope]]
    found = [_told(services, caller, _answer(c, members[c.scope], now)) for c in concern]
    return sorted(found, key=lambda c: (c.state != "in force", -c.since))


@get("/caps/{cap:str}", rule="caps:list", sync_to_thread=True)
def show(services: NamedDependency[Services], caller: NamedDependency[Caller], cap: FromPath[str]) -> CapAnswer:
    """One cap, and what it means for each server: a tenant's own."""
    found = services.store.caps.find(cap)
    if not _concerns(found, caller, _his(caller, services.guarding.scope(services.clock()))):
        raise missing(cap)
    return _told(services, caller, _shown(services, found, caller))


@post("/caps", status_code=201, sync_to_thread=True)
def create(services: NamedDependency[Services], data: JSONBody[CapRequest]) -> list[CapAnswer]:
    """Set caps: all of the request, or none. They are in the store before any agent hears of them."""
    now = services.clock()
    scope, reason, by = _resolved(services, data.scope, now), one_line(data.reason), one_line(data.by)
    made = rules.compose(msgspec.structs.replace(data, scope=scope, reason=reason, by=by), new_id, now)
    touch(scope, cause=made[0].id)
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
    touch(before.scope, cause=before.id)
    lifted = services.store.caps.lift(cap, why, services.clock())
    if lifted != before:
        _tell(services, lifted)
    return _shown(services, lifted)


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[caps, show, create, lift], tags=["caps"])


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


def _his(caller: Caller, scope: Scope) -> Scope:
    """The scene with his servers alone; all for operators."""
    if caller.everywhere:
        return scope
    return msgspec.structs.replace(scope, servers=tuple(s for s in scope.servers if caller.sees(s.project)))


def _concerns(cap: Cap, caller: Caller, his: Scope) -> bool:
    """Set for him, or for a host or a segment in which he has a server now."""
    return _for(cap, caller) or any(cap.scope in set(rules.scopes(s, his.groups)) for s in his.servers)


def _for(cap: Cap, caller: Caller) -> bool:
    """Whoever is in its scope."""
    return caller.everywhere or cap.scope == f"project:{caller.project}"


def _told(services: Services, caller: Caller, answer: CapAnswer) -> CapAnswer:
    """A tenant is told neither which host or segment it is for, nor which operator set it."""
    if caller.everywhere:
        return answer
    kind, _, _ = answer.scope.partition(":")
    words = visible.words(services, caller)
    return msgspec.structs.replace(
        answer,
        scope=answer.scope if kind in ("project", "server") else kind,
        reason=words(answer.reason),
        lifted_why=words(answer.lifted_why),
        by="",
        effects=tuple(
            msgspec.structs.replace(e, host=visible.host(caller, e.host), notes=tuple(_STRICTER.sub(r"a \1", n) for n in e.notes))
            for e in answer.effects
        ),
    )


def _shown(services: Services, cap: Cap, caller: Caller = OPERATOR) -> CapAnswer:
    now = services.clock()
    scope = _his(caller, services.guarding.scope(now))
    strict = rules.strictest(scope.caps, scope.servers, scope.groups, now).get(cap.resource, {})
    of = [s for s in scope.servers if cap.scope in set(rules.scopes(s, scope.groups))]
    effects = tuple(_effect(services, cap, s, strict) for s in of[:SHOWN]) if cap.state(now) == "in force" else ()
    return msgspec.structs.replace(_answer(cap, len(of), now), effects=effects)


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


def _answer(cap: Cap, servers: int, now: float) -> CapAnswer:
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
        servers=servers,
        lifted_at=cap.lifted_at,
        lifted_why=cap.lifted_why,
    )
