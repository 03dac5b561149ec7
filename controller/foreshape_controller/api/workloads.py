"""What stands out, and what each server does. Every route needs the admin token."""

from typing import Annotated

from litestar import Router, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import present
from foreshape_controller.api.auth import operator
from foreshape_controller.api.services import Services
from foreshape_controller.errors import NotFound
from foreshape_controller.model.anomaly import AnomalyAnswer, Finding
from foreshape_controller.model.server import ClusterView
from foreshape_controller.model.workload import Profile, ReadWrite, WorkClass, Workload, WorkloadAnswer
from foreshape_controller.store.profiles import Known

Going = Annotated[bool, QueryParameter(name="open", description="only what lasts")]
Limit = Annotated[int, QueryParameter(ge=1, le=10000)]
DAYS_BACK = 30.0


@get("/anomalies", sync_to_thread=True)
def anomalies(
    services: NamedDependency[Services],
    server: FromQuery[str | None] = None,
    going: Going = False,
    days: FromQuery[float] = DAYS_BACK,
    limit: Limit = 1000,
) -> list[AnomalyAnswer]:
    """The newest first. ``server``: id or name, or a group's series (``host:NAME``). ``days``: how far back."""
    now = services.clock()
    view = services.store.inventory.view(now)
    series = _series(view, server) if server else None
    names = {str(s.id): s.name for s in view.servers}
    found = services.store.anomalies.list(series, going=going, since=now - days * 86400.0, limit=limit)
    return [_anomaly(f, names.get(f.series, "")) for f in found]


@get("/workloads", sync_to_thread=True)
def workloads(services: NamedDependency[Services]) -> list[WorkloadAnswer]:
    """Every server in the view."""
    view = services.store.inventory.view(services.clock())
    known, seen = services.store.profiles.known(), services.store.profiles.inferred()
    return [_workload(s.id, s.name, known.get(s.id), seen.get(s.id)) for s in view.servers]


@get("/servers/{name:str}/profile", sync_to_thread=True)
def profile(services: NamedDependency[Services], name: FromPath[str]) -> WorkloadAnswer:
    return _shown(services, name)


@put("/servers/{name:str}/profile", sync_to_thread=True)
def declare(services: NamedDependency[Services], name: FromPath[str], data: JSONBody[Profile]) -> WorkloadAnswer:
    """Say what a server does; it counts until it is cleared."""
    now = services.clock()
    found = present.find(services.store.inventory.view(now), name)
    services.store.profiles.declare(found.id, data, now)
    return _shown(services, found.id)


@delete("/servers/{name:str}/profile", status_code=204, sync_to_thread=True)
def clear(services: NamedDependency[Services], name: FromPath[str]) -> None:
    """Let the server's history speak again."""
    found = present.find(services.store.inventory.view(services.clock()), name)
    services.store.profiles.clear(found.id)


ROUTER = Router("/v1", guards=[operator], route_handlers=[anomalies, workloads, profile, declare, clear], tags=["workloads"])


def _series(view: ClusterView, wanted: str) -> str:
    """A server's id, or the name of a group's series as it is."""
    try:
        return present.find(view, wanted).id
    except NotFound:
        if ":" in wanted:
            return wanted
        raise


def _shown(services: Services, name: str) -> WorkloadAnswer:
    found = present.find(services.store.inventory.view(services.clock()), name)
    profiles = services.store.profiles
    return _workload(found.id, found.name, profiles.known().get(found.id), profiles.inferred().get(found.id))


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


def _workload(server: str, name: str, known: Known | None, seen: Known | None) -> WorkloadAnswer:
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
    )
