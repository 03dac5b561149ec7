"""The HTTP edge as one application: routes, limits, errors."""

from concurrent.futures import ThreadPoolExecutor

from litestar import Litestar, get
from litestar.concurrency import set_asyncio_executor
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from foreshape_controller import __doc__ as about
from foreshape_controller.api import (
    agents,
    caps,
    cloud,
    events,
    groups,
    migrations,
    needs,
    pools,
    problems,
    proof,
    reclaims,
    reservations,
    sales,
    stops,
    tiers,
    why,
    workloads,
)
from foreshape_controller.api.operators import ROUTER
from foreshape_controller.api.services import Services
from foreshape_controller.errors import ControllerError
from foreshape_wire.codec import MAX_MESSAGE_BYTES, WireError


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@get("/readyz", sync_to_thread=True)
def readyz(services: NamedDependency[Services]) -> dict[str, str]:
    """The store answers too: reports would be taken."""
    services.store.ping()
    return {"status": "ready"}


def create_app(services: Services) -> Litestar:
    """The application; any ASGI server can run it."""

    def provide() -> Services:
        return services

    return Litestar(
        route_handlers=[
            agents.report,
            agents.enrol,
            ROUTER,
            caps.ROUTER,
            cloud.ROUTER,
            events.ROUTER,
            groups.ROUTER,
            migrations.ROUTER,
            needs.ROUTER,
            pools.ROUTER,
            reclaims.ROUTER,
            reservations.ROUTER,
            sales.ROUTER,
            sales.SCHEDULER,
            workloads.ROUTER,
            tiers.ROUTER,
            why.ROUTER,
            proof.ROUTER,
            stops.ROUTER,
            healthz,
            readyz,
        ],
        dependencies={"services": Provide(provide, sync_to_thread=False)},
        state=State({"services": services}),
        request_class=problems.BodyRequest,
        request_max_body_size=MAX_MESSAGE_BYTES,
        exception_handlers={
            ControllerError: problems.own,
            WireError: problems.wire,
            HTTPException: problems.http,
            Exception: problems.unexpected,
        },
        openapi_config=OpenAPIConfig(
            title="Foreshape controller", version="1", description=about, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )


def limit_workers(count: int) -> None:
    """How many requests are worked on at once in this process; to be called before any server runs."""
    set_asyncio_executor(ThreadPoolExecutor(count, thread_name_prefix="api"))
