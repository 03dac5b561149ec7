"""Is it alive, and would it take a report: for service managers and balancers. Anybody may ask; nothing here is a secret."""

import msgspec
from litestar import get
from litestar.di import NamedDependency

from foreshape_controller.api.auth import PUBLIC
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Unavailable


class ReadyAnswer(msgspec.Struct, kw_only=True):
    """``GET /readyz``: reports are taken. What is written here does not stop that, but somebody should know it."""

    status: str = "ready"
    """``ready``; ``degraded`` where ``late`` says something."""
    store: str = "ok"
    reports: str = "ok"
    late: tuple[str, ...] = ()
    """Loops that have not succeeded for long, a sentence each."""


@get("/healthz", opt=PUBLIC, sync_to_thread=False)
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@get("/readyz", opt=PUBLIC, sync_to_thread=True)
def readyz(services: NamedDependency[Services]) -> ReadyAnswer:
    """A report would be taken: the store answers and is of this version, and so does the process that takes reports. Else 503.

    A loop that is late is told and is no 503: whoever took the controller out of service for it would cut off the agents, too.
    """
    services.store.ping()
    if behind := services.store.headcount.schema_differs():
        raise Unavailable(f"the database has another schema than this controller ({behind}): restart it, or upgrade the other one")
    if services.door is not None and services.door.open and not services.door.alive:
        raise Unavailable("the process that takes reports is not there; it is begun with the next report: see the controller's log")
    late = services.pulse.late()
    return ReadyAnswer(status="degraded" if late else "ready", late=late)
