"""Whether a host is a target for what is to come: everything that Nova's scheduler would check, and a forced hand-over skips.

Placement proves room and traits besides, by its allocation candidates (``loops/reserve.py``); what is bound to cores, pages or devices of a
host is no guest for a reservation at all (``decide/movable.py``).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from foreshape_controller.decide.aggregates import kept_for_others, lacks
from foreshape_controller.decide.movable import bound, labels_of
from foreshape_controller.model.cloud import LOCKED_OUT, CloudHost, CloudServer, CloudView, Resources


@dataclass(frozen=True)
class Guest:
    """What is to come: ``count`` alike."""

    resources: Resources
    count: int = 1
    az: str = ""
    """Empty: any."""
    project: str = ""
    """Empty: not known; then hosts that are kept for some projects are none for it."""
    server: str = ""
    """Its id, where it exists."""
    groups: tuple[str, ...] = ()
    specs: Mapping[str, str] | None = None
    """Extra specs of its flavor; None: it has none."""


@dataclass(frozen=True)
class Planned:
    """A place that is promised on a host and not taken yet."""

    host: str
    groups: tuple[str, ...]
    count: int = 1
    server: str = ""


def guest(server: CloudServer, resources: Resources) -> Guest:
    """A server that is to move."""
    return Guest(
        resources=resources,
        az=server.asked_az,
        project=server.project,
        server=server.id,
        groups=server.groups,
        specs=server.flavor.extra_specs,
    )


def unholdable(specs: Mapping[str, str]) -> str:
    """Why no room can be held for a flavor with these extra specs; empty: it can."""
    return bound(specs)


def why_not(host: CloudHost, who: Guest, view: CloudView, planned: Iterable[Planned] = (), *, room: bool = True) -> str:
    """The first thing that speaks against this host; empty: nothing does. ``room``: there must be room besides what is held already."""
    return (
        closed(host)
        or _elsewhere(host, who)
        or _labels(host, who)
        or kept_for_others(host, who.project)
        or lacks(host, who.specs or {})
        or _group(host, who, view, planned)
        or _unit(host, who)
        or (_room(host, who) if room else "")
    )


def closed(host: CloudHost) -> str:
    """Why nothing is scheduled to a host."""
    if not host.provider:
        return "Placement does not know it"
    if not host.up or host.forced_down:
        return "its nova-compute is down"
    if not host.enabled:
        return f"it is disabled{': ' + host.disabled_why if host.disabled_why else ''}"
    return "it is locked for the scheduler" if LOCKED_OUT in host.traits else ""


def _elsewhere(host: CloudHost, who: Guest) -> str:
    return f"it is in zone {host.az}, not {who.az}" if who.az and who.az != host.az else ""


def _labels(host: CloudHost, who: Guest) -> str:
    for label in sorted(labels_of(who.specs or {})):
        sign, trait = label.startswith("!"), label.partition("trait:")[2]
        if sign is (trait in host.traits):
            return f"it has the trait {trait}, which the flavor forbids" if sign else f"it lacks the trait {trait}"
    return ""


def _group(host: CloudHost, who: Guest, view: CloudView, planned: Iterable[Planned]) -> str:
    """Servers there, and places promised there; a server's own place does not stand in its way."""
    promised = [p for p in planned if not who.server or p.server != who.server]
    for name in who.groups:
        group = view.groups.get(name)
        if group is None:
            return f"its server group {name} is not known"
        where = Counter(view.servers[m].host for m in group.members if m in view.servers and m != who.server)
        where.update(_sums(promised, name))
        if group.policy == "anti-affinity" and where[host.name] + who.count > group.most_per_host:
            return f"it holds or is promised {where[host.name]} of server group {group.name or name}"
        others = sum(n for h, n in where.items() if h and h != host.name)
        if group.policy == "affinity" and others:
            return f"server group {group.name or name} is on another host"
    return ""


def _sums(promised: Iterable[Planned], group: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for place in promised:
        if group in place.groups:
            found[place.host] += place.count
    return found


def _unit(host: CloudHost, who: Guest) -> str:
    for name, amount in who.resources.items():
        inventory = host.inventories.get(name)
        if inventory is None:
            return f"it has no {name}"
        if not inventory.fits(amount):
            return (
                f"it lets one consumer hold {inventory.min_unit} to {inventory.max_unit} {name} in steps of {inventory.step}, not {amount}"
            )
    return ""


def _room(host: CloudHost, who: Guest) -> str:
    for name, amount in who.resources.items():
        if host.free(name) < amount * who.count:
            return f"{max(0, host.free(name))} {name} are free, {amount * who.count} wanted"
    return ""
