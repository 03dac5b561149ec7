"""What the configured cloud says, and how it fits what agents report. Every route needs the admin token."""

from litestar import Router, get
from litestar.di import NamedDependency

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid
from foreshape_controller.loops.clouding import PLACING
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.joining import NEEDED
from foreshape_controller.model.cloud import CloudService, CloudView, Right
from foreshape_controller.model.cloud_answers import CloudAnswer, MisplacedAnswer, ServiceAnswer

SHOWN = 100
"""Most names of each kind."""
ASKED = {"Nova": (2, 96), "Placement": (1, 39)}
"""Largest microversion that each service is asked at: ``cloud.nova.KNOWN``, ``cloud.placement.VERSION``."""
RELEASES = {"2.93": "Zed", "2.95": "2023.1 or 2023.2", "2.96": "2024.1 or 2024.2", "2.100": "2025.1 or 2025.2", "2.104": "2026.2"}
"""By Nova's largest microversion."""
NOTHING = CloudView(at=0.0)


def cloud_of(services: Services) -> CloudWork:
    """Raises Invalid where none is configured."""
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: [cloud] enabled in controller.conf (docs/openstack.md)")
    return services.cloud


@get("/cloud", sync_to_thread=True)
def status(services: NamedDependency[Services]) -> CloudAnswer:
    """From the newest reading and the newest census: nothing is asked now."""
    work, now = cloud_of(services), services.clock()
    view, joined, counted = work.watch.view(), work.joining.joined, work.census.newest
    seen = view or NOTHING
    known, hosts = services.settings.cloud, seen.hosts.values()
    return CloudAnswer(
        name=known.name,
        region=known.region,
        services=tuple(map(_service, counted.services)),
        user=counted.user,
        project=counted.project,
        roles=counted.roles,
        read_at=view.at if view else None,
        age_s=max(0.0, now - view.at) if view else None,
        missing=tuple(sorted(seen.missing)),
        problems=(*seen.problems, *counted.problems, *filter(None, [work.joining.names_trouble])),
        why_not=work.watch.why_not(now, PLACING),
        why_not_sizes=work.watch.why_not(now, NEEDED),
        hosts=len(seen.hosts),
        hosts_up=sum(h.up for h in hosts),
        hosts_enabled=sum(h.enabled for h in hosts),
        hosts_with_agent=len(seen.hosts) - len(joined.silent_hosts),
        silent_hosts=joined.silent_hosts[:SHOWN],
        strange_hosts=dict(list(joined.strange_hosts.items())[:SHOWN]),
        servers=len(seen.servers),
        reported=joined.reported,
        unreported=joined.unreported[:SHOWN],
        unwatched=joined.unwatched,
        strangers=joined.strangers[:SHOWN],
        elsewhere=tuple(map(MisplacedAnswer.of, work.elsewhere.found[:SHOWN])),
        held=joined.held,
        differing=joined.differing,
        differences=joined.differences,
        migrations=len(seen.migrations),
        groups=len(seen.groups),
        consumers=counted.consumers,
    )


@get("/cloud/rights", sync_to_thread=True)
def rights(services: NamedDependency[Services]) -> list[Right]:
    """Which rights the controller's role has: asked now, with requests that change nothing."""
    with services.seats():
        return list(cloud_of(services).rights())


def summary(services: Services) -> str:
    """The cloud in one line; empty where none is configured."""
    if services.cloud is None:
        return ""
    work, now = services.cloud, services.clock()
    view, joined = work.watch.view(), work.joining.joined
    if view is None:
        return "not read yet: nothing is done"
    alone, odd = sum(joined.held.values()), len(view.problems) + len(joined.strange_hosts) + len(work.census.newest.problems)
    said = [
        f"read {max(0.0, now - view.at):.0f} s ago",
        f"{len(view.hosts)} hosts, {len(view.hosts) - len(joined.silent_hosts)} with an agent",
    ]
    said.append(f"{len(view.servers)} servers, {alone} left alone")
    said += [f"{odd} problems: foreshape cloud status"] if odd else []
    astray = len(work.elsewhere.found)
    said += [f"{astray} GUESTS RUN WHERE NOVA DOES NOT HAVE THEM: foreshape cloud status"] if astray else []
    said += ["HELD BACK: foreshape cloud status says why"] if work.watch.why_not(now, PLACING) else []
    return "; ".join(said)


def host_words(services: Services, name: str) -> str:
    """What Nova says of a host, in one line; empty where no cloud is configured or read."""
    view = services.cloud.watch.view() if services.cloud else None
    if services.cloud is None or view is None:
        return ""
    host = view.hosts.get(name)
    if host is None:
        return services.cloud.joining.joined.strange_hosts.get(name, "Nova's list of hosts does not have it")
    state = "up" if host.up else "forced down" if host.forced_down else "DOWN"
    enabled = "enabled" if host.enabled else f"disabled ({host.disabled_why or 'no reason given'})"
    said = [f"zone {host.az}", state, enabled, f"aggregates {', '.join(host.aggregates)}" if host.aggregates else ""]
    return "; ".join(filter(None, [*said, "" if host.provider else "Placement does not know it"]))


def _service(s: CloudService) -> ServiceAnswer:
    return ServiceAnswer(
        name=s.name,
        least=s.least,
        most=s.most,
        asked_at=_asked(s),
        release=RELEASES.get(s.most, "") if s.name == "Nova" else "",
        answer_ms=None if s.took_s is None else round(s.took_s * 1000, 1),
        clock_ahead_s=None if s.ahead_s is None else round(s.ahead_s, 1),
        trouble=s.trouble,
    )


def _asked(s: CloudService) -> str:
    most = tuple(int(n) for n in s.most.split(".")) if s.most.replace(".", "").isdigit() else ()
    return ".".join(map(str, min(most, ASKED[s.name]))) if most and s.name in ASKED else ""


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[status, rights], tags=["cloud"])
