"""What exists for whom: everything for whoever reads every project, for a tenant his own project's servers, and no hosts.

What is another's is looked for with the same question as what does not exist, so that it takes as long and is answered in the same words.
"""

import hashlib
from collections.abc import Collection, Container

import msgspec

from foreshape_controller.api import present
from foreshape_controller.api.noting import touch
from foreshape_controller.api.services import Services
from foreshape_controller.decide import discreet
from foreshape_controller.errors import Forbidden, NotFound
from foreshape_controller.model.answers import ServerAnswer
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.server import ClusterView, Server

GLANCE_S = 5.0
"""Agents report every ten seconds, and to look at 30,000 servers takes most of one."""


def view(services: Services, caller: Caller) -> ClusterView:
    """The snapshot that he may see. A tenant's has no hosts."""
    return services.store.inventory.view(services.clock(), caller.only)


def glance(services: Services, caller: Caller) -> ClusterView:
    """The same for figures and lists, never for a decision: up to ``GLANCE_S`` old, but for what was written over this API."""
    if not caller.everywhere:
        return view(services, caller)
    return services.store.inventory.lately(services.clock(), GLANCE_S)


def fleet(services: Services) -> ClusterView:
    """The same of the whole cloud, for routes that are the operators' whatever the policy calls an operator."""
    return services.store.inventory.lately(services.clock(), GLANCE_S)


def called(services: Services, caller: Caller, wanted: str) -> ClusterView:
    """Of what he may see, only whose id or name it is."""
    return services.store.inventory.view(services.clock(), caller.only, wanted)


def server(services: Services, caller: Caller, wanted: str) -> Server:
    """A server by its id or name. Raises NotFound, Ambiguous: of another's in the same words as of what does not exist."""
    found = present.find(called(services, caller, wanted), wanted)
    touch(f"server:{found.id}")
    return found


def ask(services: Services, caller: Caller, project: str, rule: str) -> None:
    """Raises Forbidden for who sees a thing of this project and may not change it. ``project``: empty for what is the operators'."""
    if not services.identity.policy.may(rule, caller, project):
        whose = f"project {project}" if project else "what is no project's"
        raise Forbidden(f"the policy does not let you: rule 'foreshape:{rule}' asks for another role than yours in {whose}")


def changed(services: Services, caller: Caller, wanted: str, rule: str) -> Server:
    """A server that he may change something of. Raises as ``server``, and Forbidden."""
    found = server(services, caller, wanted)
    ask(services, caller, found.project, rule)
    return found


def remembered(services: Services, caller: Caller, wanted: str) -> tuple[str, str]:
    """Id and name of a server; one that has left the view is still remembered. Raises NotFound, Ambiguous."""
    known = services.store.inventory.remembered(wanted, caller.only)
    exact = [k for k in known if k[0] == wanted] or list(known)
    if len(exact) == 1:
        touch(f"server:{exact[0][0]}")
        return exact[0]
    try:
        found = server(services, caller, wanted)
    except NotFound:
        if not known:
            raise
        return known[0]
    return found.id, found.name


def host(caller: Caller, name: str) -> str:
    """A host's name for operators; for a tenant Nova's ``hostId``: it tells which of his servers are together, and nothing else."""
    if caller.everywhere or not name:
        return name
    return hashlib.sha224((caller.project + name).encode()).hexdigest()  # nova.utils.generate_hostid


def told(caller: Caller, of: Server, answer: ServerAnswer) -> ServerAnswer:
    """A server as he may see it."""
    if caller.everywhere:
        return answer
    held = discreet.sentence(*of.held, words=str) if of.held else ""
    return msgspec.structs.replace(answer, host=host(caller, answer.host), held=held)


def words(services: Services, caller: Caller) -> discreet.Words:
    """Takes out of a text what is not for him: hosts, segments, and events that are not his. Nothing of an operator's texts."""
    if caller.everywhere:
        return str
    store, cloud = services.store, services.cloud
    newest = cloud.watch.view() if cloud else None
    hosts = {*store.inventory.heard(services.clock()), *(newest.hosts if newest else ())}
    mine = scopes(services, caller)
    return discreet.without(hosts, services.segments.segments, {e.name for e in store.events.all() if e.scope not in mine})


class Scopes(Container[str]):
    """Scopes that are his: his project and its servers, by id; all for operators."""

    def __init__(self, project: str | None, servers: Collection[str] = ()) -> None:
        self.project = project
        self.servers = servers

    def __contains__(self, scope: object) -> bool:
        kind, _, name = str(scope).partition(":")
        return self.project is None or (name == self.project if kind == "project" else kind == "server" and name in self.servers)


def scopes(services: Services, caller: Caller) -> Scopes:
    """Servers that have left the view are still his."""
    return Scopes(caller.only, () if caller.only is None else services.store.inventory.owned(caller.only))
