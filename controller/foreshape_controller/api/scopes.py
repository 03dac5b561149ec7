"""What a person means: a scope, in which a server may be called by its name, and a reason, of which a terminal can show all."""

from foreshape_controller.api import visible
from foreshape_controller.api.noting import touch
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Ambiguous, NotFound
from foreshape_controller.model.caller import OPERATOR
from foreshape_controller.store.modes import check_scope


def identify(services: Services, wanted: str) -> tuple[str, str]:
    """Id and name of a server; one that has left the view is still remembered. The view is only asked who of namesakes is there."""
    return visible.remembered(services, OPERATOR, wanted)


def by_id(services: Services, scope: str) -> str:
    """The scope with a server's or a project's name turned into its id. Raises Invalid, NotFound, Ambiguous."""
    check_scope(scope)
    kind, _, name = scope.partition(":")
    found = f"project:{_project(services, name)}" if kind == "project" else scope
    if kind == "server":
        return f"server:{identify(services, name)[0]}"
    touch(found)
    return found


def _project(services: Services, wanted: str) -> str:
    """Its id, also where somebody says its name in Keystone. Raises Ambiguous where several projects (of several domains) have it."""
    known = {s.project: s.project_name for s in services.store.inventory.view(services.clock()).servers} if services.cloud else {}
    named = [project for project, name in known.items() if name == wanted]
    if wanted in known or not named:
        return wanted
    if len(named) > 1:
        raise Ambiguous(f"{len(named)} projects are called {wanted!r}; ask by id: {', '.join(named)}", named)
    return named[0]


def set_before(services: Services, scope: str) -> str:
    """The same; but what somebody set may be asked for and taken back whoever is still there."""
    if services.store.modes.get(scope) is None:
        return by_id(services, scope)
    touch(scope)
    return scope


def inhabited(services: Services, scope: str) -> str:
    """The same, and it raises NotFound for a host or a project that nobody is in: a word that was misspelt stops nothing."""
    found = by_id(services, scope)
    kind, _, name = found.partition(":")
    if kind not in ("host", "project"):
        return found
    view = services.store.inventory.view(services.clock())
    if name not in ({h.name for h in view.hosts} if kind == "host" else {s.project for s in view.servers}):
        raise NotFound(f"nothing was stopped: there is no {kind} {name[:80]!r}; 'foreshape {_SHOWN[kind]}' shows those that are known")
    return found


def one_line(text: str) -> str:
    """A reason as it is kept. Nobody in a hurry is refused for what he pasted: what a terminal might obey becomes a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


_SHOWN = {"host": "host list", "project": "server list -c Name -c project"}
