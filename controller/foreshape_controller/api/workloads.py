"""What stands out, and what each server does. A tenant sees his project's servers, and says what they do."""

from collections.abc import Collection
from typing import Annotated

from litestar import Router, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import present, visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.errors import NotFound
from foreshape_controller.model.anomaly import AnomalyAnswer, Finding
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.matching import accuracy
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.workload import Profile, ReadWrite, WorkClass, Workload, WorkloadAnswer
from foreshape_controller.store.profiles import Known

Going = Annotated[bool, QueryParameter(name="open", description="only what lasts")]
Limit = Annotated[int, QueryParameter(ge=1, le=10000)]
DAYS_BACK = 30.0


@get("/anomalies", rule="anomalies:list", sync_to_thread=True)
def anomalies(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    server: FromQuery[str | None] = None,
    going: Going = False,
    days: FromQuery[float] = DAYS_BACK,
    limit: Limit = 1000,
) -> list[AnomalyAnswer]:
    """The newest first. ``server``: id or name, or a group's series (``host:NAME``). ``days``: how far back."""
    now = services.clock()
    view = visible.called(services, caller, server) if server else visible.glance(services, caller)
    names = {str(s.id): s.name for s in view.servers}
    among = None if caller.only is None else (*names, f"project:{caller.only}")
    series = _series(view, server, among) if server else None
    found = services.store.anomalies.list(series, among=among, going=going, since=now - days * 86400.0, limit=limit)
    return [_anomaly(f, names.get(f.series, "")) for f in found]


@get("/workloads", rule="profiles:show", sync_to_thread=True)
def workloads(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> list[WorkloadAnswer]:
    """Every server in the view."""
    view = visible.glance(services, caller)
    profiles = services.store.profiles
    known, seen, exact = profiles.known(), profiles.inferred(), profiles.accuracies()
    return [_workload(s.id, s.name, known.get(s.id), seen.get(s.id), exact.get(s.id)) for s in view.servers]


@get("/servers/{name:str}/profile", rule="profiles:show", sync_to_thread=True)
def profile(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> WorkloadAnswer:
    return _shown(services, visible.server(services, caller, name))


@put("/servers/{name:str}/profile", rule="profiles:set", sync_to_thread=True)
def declare(
    services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str], data: JSONBody[Profile]
) -> WorkloadAnswer:
    """Say what a server does; it counts until it is cleared."""
    found = visible.changed(services, caller, name, "profiles:set")
    services.store.profiles.declare(found.id, data, services.clock())
    return _shown(services, found)


@delete("/servers/{name:str}/profile", rule="profiles:set", status_code=204, sync_to_thread=True)
def clear(services: NamedDependency[Services], caller: NamedDependency[Caller], name: FromPath[str]) -> None:
    """Let the server's history speak again."""
    services.store.profiles.clear(visible.changed(services, caller, name, "profiles:set").id)


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[anomalies, workloads, profile, declare, clear], tags=["workloads"])


def _series(view: ClusterView, wanted: str, among: Collection[str] | None) -> str:
    """A server's id, or the name of a group's series as it is. ``among``: what there is for the caller; None: everything."""
    try:
        return present.find(view, wanted).id
    except NotFound:
        if ":" in wanted and (among is None or wanted in among):
            return wanted
        raise


def _shown(services: Services, found: Server) -> WorkloadAnswer:
    profiles = services.store.profiles
    exact = accuracy(profiles.tally(found.id))
    return _workload(found.id, found.name, profiles.known().get(found.id), profiles.inferred().get(found.id), exact)


def _anomaly(f: Finding, name: str) -> AnomalyAnswer:
    return AnomalyAnswer(
        series=f.series,
        name=name or f.series,
        resource=f.resource,
        kind=f.kind.value,
        since=float(f.since),
        until=None if f.until is None else float(f.until),
        noticed=float(f.noticed),
        strength=f.strength,
        confidence=f.confidence,
        before=f.before,
        open=f.until is None,
    )


_NOTHING = Known(Workload(work=WorkClass.UNKNOWN, read_write=ReadWrite.UNKNOWN, confidence=0.0, note="not looked at yet"), 0.0)


def _workload(server: str, name: str, known: Known | None, seen: Known | None, exact: float | None) -> WorkloadAnswer:
    (told, at), (inferred, _) = known or _NOTHING, seen or _NOTHING
    return WorkloadAnswer(
        server=server,
        name=name,
        workload=told.work.value,
        read_write=told.read_write.value,
        confidence=told.confidence,
        declared=told.declared,
        inferred=inferred.work.value,
        inferred_confidence=inferred.confidence,
        note=told.note,
        at=at,
        accuracy=exact,
    )
