"""Opting out, and in again: how far a tenant lets Foreshape go, beside the operators' modes. The lowest of both is in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from litestar import Router, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from foreshape_controller.api import visible
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Forbidden, Invalid, NotFound
from foreshape_controller.log import get_logger
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.choice import Choice, ChoiceAnswer, ChoiceRequest
from foreshape_controller.model.server import Server
from foreshape_controller.store.modes import Levels
from foreshape_wire.order import Mode

REASON_MOST = 1000
SAID = {
    Mode.OBSERVE: "out: Foreshape measures and changes nothing; servers go back to what they were sold",
    Mode.ADVISE: "Foreshape decides and explains, and changes nothing but what somebody approves",
    Mode.ACT: "in: Foreshape resizes servers, within floor and ceiling",
}
Because = Annotated[str, QueryParameter(max_length=REASON_MOST, description="why; kept with the change")]
_log = get_logger("choice")


@dataclass(frozen=True)
class Scope:
    """A scope of the caller's, with the servers in it."""

    scope: str
    project: str
    name: str
    servers: Sequence[Server]


@get("/choices", rule="modes:show", sync_to_thread=True)
def choices(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[ChoiceAnswer]:
    """What is chosen, projects before servers. A tenant's own project is always told, chosen for or not."""
    view, levels = visible.glance(services, caller), services.store.modes.now()
    known = {c.scope: c for c in services.store.choices.all(caller.only)}
    own = [f"project:{caller.project}"] if caller.project and f"project:{caller.project}" not in known else []
    scopes = [_of(view.servers, scope, known[scope].project if scope in known else caller.project) for scope in (*own, *known)]
    return [_answer(s, known.get(s.scope), levels, _back(services, s, levels)) for s in scopes]


@get("/choices/{of:str}", rule="modes:show", sync_to_thread=True)
def choice(services: NamedDependency[Services], caller: NamedDependency[Caller], of: FromPath[str]) -> ChoiceAnswer:
    """What is chosen for ``project`` (one's own), ``project:ID`` or ``server:ID or name``, what is in force, and its history."""
    return _shown(services, _found(services, caller, of))


@put("/choices/{of:str}", rule="modes:set", sync_to_thread=True)
def choose(
    services: NamedDependency[Services], caller: NamedDependency[Caller], of: FromPath[str], data: JSONBody[ChoiceRequest]
) -> ChoiceAnswer:
    """Choose. Mode observe always works, at once: open orders are withdrawn, and servers are given back what they were sold."""
    now, found, mode = services.clock(), _own(services, caller, of), _mode(services, data.mode)
    reason = one_line(data.reason)[:REASON_MOST]
    made = Choice(scope=found.scope, project=found.project, mode=mode, reason=reason, by=caller.name or caller.user, since=now)
    services.store.choices.put(made)
    _log.info("chosen", scope=found.scope, mode=mode.value, by=made.by, reason=reason)
    if mode is Mode.OBSERVE:
        services.optout.run_once(now, found.project)
    return _shown(services, found)


@delete("/choices/{of:str}", status_code=204, rule="modes:set", sync_to_thread=True)
def forget(services: NamedDependency[Services], caller: NamedDependency[Caller], of: FromPath[str], reason: Because = "") -> None:
    """Take a choice back: the operators' default holds again."""
    found = _own(services, caller, of)
    known = services.store.choices.get(found.scope)
    if known is None:
        raise NotFound(f"nothing is chosen for {found.scope}")
    services.store.choices.remove(known, one_line(reason), caller.name or caller.user, services.clock())


ROUTER = Router("/v1", route_handlers=[choices, choice, choose, forget], tags=["choices"])


def _mode(services: Services, wanted: str) -> Mode:
    if wanted not in tuple(Mode):
        raise Invalid(f"$.mode is {wanted[:40]!r}: write observe (out), advise or act (in)")
    mode, most = Mode(wanted), services.store.modes.terms.most
    if mode.rank > most.rank:
        raise Forbidden(f"the operators let tenants choose {most.value} at most ([plan] tenants_may)")
    return mode


def _found(services: Services, caller: Caller, wanted: str) -> Scope:
    """Raises Invalid for what is no scope, NotFound for what is not his."""
    kind, _, name = wanted.partition(":")
    if kind == "server" and name:
        server = visible.server(services, caller, name)
        return Scope(f"server:{server.id}", server.project, server.name, (server,))
    if kind != "project":
        raise Invalid(f"scope {wanted[:80]!r}: write project, project:ID or server:ID")
    project = name or caller.project
    view = visible.view(services, caller)
    mine = [s for s in view.servers if s.project == project]
    if not project or not (caller.sees(project) and (mine or project == caller.project)):
        raise NotFound(f"there is no project {name[:80]!r}" if name else "your token is of no project: write project:ID")
    return _of(mine, f"project:{project}", project)


def _own(services: Services, caller: Caller, wanted: str) -> Scope:
    """One that he may choose for. Raises as ``_found``, and Forbidden."""
    found = _found(services, caller, wanted)
    visible.ask(services, caller, found.project, "modes:set")
    return found


def _of(servers: Sequence[Server], scope: str, project: str) -> Scope:
    kind, _, name = scope.partition(":")
    inside = tuple(s for s in servers if (s.project == project if kind == "project" else s.id == name))
    called = next((s.project_name if kind == "project" else s.name for s in inside), "")
    return Scope(scope, project, called or name, inside)


def _shown(services: Services, found: Scope) -> ChoiceAnswer:
    levels = services.store.modes.now()
    answer = _answer(found, services.store.choices.get(found.scope), levels, _back(services, found, levels))
    return msgspec.structs.replace(answer, history=tuple(services.store.choices.history(found.scope)))


def _back(services: Services, found: Scope, levels: Levels) -> tuple[int, str]:
    """How many of its servers have less than they were sold because of that, and what some of them wait for."""
    out = [s for s in found.servers if levels.owner(s.project, s.id) is Mode.OBSERVE]
    short, waits = services.optout.short(out, services.clock()), services.optout.waits
    whys = sorted({waits[s] for s in short if s in waits})
    return len(short), "".join(f"; {sum(waits.get(s) == why for s in short)} of them not yet: {why}" for why in whys)


def _answer(found: Scope, known: Choice | None, levels: Levels, returning: tuple[int, str]) -> ChoiceAnswer:
    kind, _, name = found.scope.partition(":")
    server, host = (name, found.servers[0].host if found.servers else "") if kind == "server" else ("", "")
    operators, owner = levels.operators(host, found.project, server), levels.owner(found.project, server)
    in_force = min(operators, owner, key=lambda m: m.rank)
    back, waits = returning if owner is Mode.OBSERVE else (0, "")
    waits = "; an operator's stop holds that back" if back and operators is Mode.OBSERVE else waits
    return ChoiceAnswer(
        scope=found.scope,
        name=found.name,
        project=found.project,
        mode=known.mode.value if known else "",
        reason=known.reason if known else "",
        by=known.by if known else "",
        since=known.since if known else None,
        default=levels.terms.default.value,
        most=levels.terms.most.value,
        operators=operators.value,
        in_force=in_force.value,
        said=f"{SAID[owner] if owner.rank <= operators.rank else SAID[in_force]}{waits}",
        returning=back,
    )
