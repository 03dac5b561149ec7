"""What Nova says joined to what agents report: whose word wins, who is left alone and why, who is missing on which side. Pure.

A server's id is Nova's uuid, which is the uuid of its domain. A host is Nova's ``host``: an agent whose own name differs from it is told
so, and nothing is guessed from likeness, because reservations and migrations name hosts by that word. Nova's word on project, name,
flavor, image and zone wins over the domain's XML, which is only written anew when a server is started, moved or rebooted hard.
What Nova does not say because it could not be read in full proves nothing: then the last word on everybody stays.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from foreshape_controller.model import cloud_word as codes
from foreshape_controller.model.cloud import CloudHost, CloudMigration, CloudServer, CloudView
from foreshape_controller.model.cloud_word import CloudWord, Difference, Reported

SHOWN = 200
"""Most differences that are told one by one; the rest is counted."""
SETTLED = frozenset({"ACTIVE", "PAUSED", "SHUTOFF", "ERROR"})
"""Nova's words for a server that it does nothing with; where it has one, it should be."""
MIB, CORES = 1.0, 1e-6
"""Differences in size up to these are rounding."""
NOWHERE = CloudHost(name="")


@dataclass(frozen=True)
class Joined:
    """Both sides at one instant."""

    at: float = 0.0
    """When Nova was read."""
    words: Mapping[str, CloudWord] = field(default_factory=dict)
    """By server: of all that either side knows."""
    silent_hosts: tuple[str, ...] = ()
    """Nova's hosts from which no agent reports."""
    strange_hosts: Mapping[str, str] = field(default_factory=dict)
    """Agents whose host Nova does not have, and what to do about each."""
    reported: int = 0
    """Servers that Nova has and an agent reports."""
    unreported: tuple[str, ...] = ()
    """Servers that Nova has on a host with an agent, and that the agent does not report."""
    unwatched: int = 0
    """Servers on hosts without an agent."""
    strangers: tuple[str, ...] = ()
    """Guests that an agent reports and Nova does not have."""
    differences: tuple[Difference, ...] = ()
    differing: Mapping[str, int] = field(default_factory=dict)
    """How many there are, by what differs."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Reported servers that are left alone, by reason code."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """By server that nobody moves now: the host whose agent reports it, where Nova names another one."""


def join(
    cloud: CloudView, reported: Sequence[Reported], agents: Sequence[str], projects: Mapping[str, str], before: Mapping[str, CloudWord]
) -> Joined:
    """``agents``: hosts that report; ``projects``: names by id, as far as known; ``before``: the words until now, by server."""
    strange = _strange(cloud, agents)
    words = _words(cloud, reported, projects, before, strange)
    seen = {r.server for r in reported}
    watched = {name for name in agents if name in cloud.hosts}
    found = list(_differences(cloud, reported))
    absent = [s for s in cloud.servers.values() if s.id not in seen]
    return Joined(
        at=cloud.at,
        words=words,
        silent_hosts=tuple(sorted(set(cloud.hosts) - set(agents))),
        strange_hosts=strange,
        reported=len(cloud.servers) - len(absent),
        unreported=tuple(sorted(s.id for s in absent if s.host in watched and _runs(s))),
        unwatched=sum(bool(s.host) and s.host not in watched for s in absent),
        strangers=tuple(sorted(r.server for r in reported if words[r.server].held_code == codes.NOT_IN_NOVA)),
        differences=tuple(found[:SHOWN]),
        differing=Counter(d.what for d in found),
        held=Counter(code for r in reported if (code := words[r.server].held_code)),
        elsewhere=dict(_astray(cloud, reported)),
    )


def _astray(cloud: CloudView, reported: Sequence[Reported]) -> Iterator[tuple[str, str]]:
    """Not those that Nova is at work on, and not where an agent only has another name for its host."""
    moving = {m.server for m in cloud.migrations if m.moving}
    for r in reported:
        server = cloud.servers.get(r.server)
        if server is None or server.id in moving or server.task_state or server.status not in SETTLED:
            continue
        if server.host and r.host != server.host and r.host in cloud.hosts:
            yield r.server, r.host


def _runs(server: CloudServer) -> bool:
    """Whether its hypervisor should have a guest for it: one that is switched off, or being made, may have none."""
    return server.status == "ACTIVE" and not server.task_state


# -- words ------------------------------------------------------------------------------------------------------------


def _words(
    cloud: CloudView, reported: Sequence[Reported], projects: Mapping[str, str], before: Mapping[str, CloudWord], strange: Mapping[str, str]
) -> dict[str, CloudWord]:
    hosts = {r.server: r.host for r in reported}
    moving = {m.server: m for m in cloud.migrations if m.moving}
    words = {}
    for server in cloud.servers.values():
        host = cloud.hosts.get(server.host, NOWHERE)
        code, why = _held(server, host, hosts.get(server.id), moving.get(server.id), strange)
        words[server.id] = _word(server, host, projects, before.get(server.id), (code, why))
    for server_id in (*hosts, *(s for s, word in before.items() if word.project is not None)):
        if server_id not in words:
            words[server_id] = _without(server_id, cloud, before.get(server_id), still=server_id in hosts)
    return words


def _word(server: CloudServer, host: CloudHost, projects: Mapping[str, str], before: CloudWord | None, held: tuple[str, str]) -> CloudWord:
    """A name of a project that cannot be read stays what it was; so do zone and aggregates of a host that is not known now."""
    known = projects.get(server.project) or (before.project_name if before and before.project == server.project else "")
    there = host.name or before is None
    return CloudWord(
        server=server.id,
        project=server.project,
        project_name=known or "",
        name=server.name,
        flavor=server.flavor.name,
        image=server.image,
        az=(host.az or server.az) if there else (server.az or before.az if before else ""),
        aggregates=host.aggregates if there or before is None else before.aggregates,
        held_code=held[0],
        held=held[1],
    )


def _without(server: str, cloud: CloudView, before: CloudWord | None, *, still: bool) -> CloudWord:
    """Nova's list does not have it: gone, never there, or not read. ``still``: an agent reports it."""
    if not cloud.complete("servers"):
        return before or CloudWord(server=server, held_code=codes.WAITING[0], held=codes.WAITING[1])
    if before is None or before.project is None:
        why = "Nova has no such server: it is somebody else's guest, or left over; it is never touched"
        return CloudWord(server=server, held_code=codes.NOT_IN_NOVA, held=why)
    gone_at = cloud.at if before.gone_at is None else before.gone_at
    why = "Nova deleted it, and its host still reports it: it is never touched" if still else "Nova deleted it"
    return msgspec.structs.replace(before, held_code=codes.NOT_IN_NOVA, held=why, gone_at=gone_at)


# -- who is left alone ------------------------------------------------------------------------------------------------


def _held(
    server: CloudServer, host: CloudHost, reported_on: str | None, moving: CloudMigration | None, strange: Mapping[str, str]
) -> tuple[str, str]:
    """Code and sentence; both empty: it may be changed."""
    if moving is not None:
        return (
            codes.MOVING,
            f"Nova moves it ({moving.kind} from {moving.source or '?'} to {moving.target or 'a host to be chosen'}: {moving.status})",
        )
    if server.task_state:
        return codes.TASK, f"Nova is doing something to it: {server.task_state}"
    if server.status != "ACTIVE":
        return codes.STATE, _state(server.status)
    if server.locked:
        return codes.LOCKED, "its owner or an operator locked it (openstack server unlock)"
    if reported_on is not None and reported_on != server.host:
        return codes.ELSEWHERE, _elsewhere(server, reported_on, strange)
    if host.forced_down:
        return codes.EVACUATED, f"its host {host.name} is forced down in Nova: it may be running elsewhere soon"
    return "", ""


def _state(status: str) -> str:
    if status == "UNKNOWN":
        return "Nova cannot reach the cell that it is in"
    return f"it is {status or 'in no state that is known'} in Nova: only an ACTIVE server is resized"


def _elsewhere(server: CloudServer, reported_on: str, strange: Mapping[str, str]) -> str:
    where = f"Nova has it on {server.host or 'no host'}, and the agent of {reported_on} reports it"
    return f"{where}: {strange[reported_on]}" if reported_on in strange else where


# -- hosts ------------------------------------------------------------------------------------------------------------


def _strange(cloud: CloudView, agents: Sequence[str]) -> dict[str, str]:
    """Agents whose host Nova does not have, each with what an operator would do. Nothing is said where hosts could not be read."""
    if not cloud.complete("hosts"):
        return {}
    return {name: _advice(name, cloud) for name in agents if name not in cloud.hosts}


def _advice(name: str, cloud: CloudView) -> str:
    same = [h.name for h in cloud.hosts.values() if h.hypervisor and h.hypervisor == name]
    alike = same or [h for h in cloud.hosts if _short(h) == _short(name)]
    if len(alike) == 1:
        sure = "Nova calls that host" if same else "Nova has no host of that name, but one called"
        return f"{sure} {alike[0]}: write host = {alike[0]} into the [agent] section of its agent.conf, and enrol it by that name"
    if alike:
        return f"Nova has no host of that name, but {', '.join(sorted(alike)[:5])}: write the right one as host into its agent.conf"
    return "Nova has no nova-compute of that name: its guests are left alone"


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


# -- differences ------------------------------------------------------------------------------------------------------


def _differences(cloud: CloudView, reported: Sequence[Reported]) -> Iterator[Difference]:
    for r in reported:
        server = cloud.servers.get(r.server)
        if server is None:
            continue
        for what, mine, novas in _pairs(r, server):
            if mine and novas and mine != novas:
                yield Difference(server=r.server, name=server.name, what=what, agent=mine, nova=novas)


def _pairs(r: Reported, server: CloudServer) -> Iterator[tuple[str, str, str]]:
    yield "project", r.project, server.project
    yield "name", r.name, server.name
    yield "flavor", r.flavor, server.flavor.name
    yield "image", r.image, server.image
    yield "host", r.host, server.host
    flavor = server.flavor
    if flavor.vcpus and (abs(r.cores - flavor.vcpus) > CORES or abs(r.mib - flavor.ram) > MIB):
        yield "size", f"{r.cores:g} cores, {r.mib:g} MiB", f"{flavor.vcpus} cores, {flavor.ram} MiB"
