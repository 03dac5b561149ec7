"""The HTTP edge as one application: routes, limits, errors."""

from concurrent.futures import ThreadPoolExecutor

from litestar import Litestar, Router
from litestar.concurrency import set_asyncio_executor
from litestar.datastructures import ResponseHeader, State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from foreshape_controller import __doc__ as about
from foreshape_controller.api import (
    agents,
    asked,
    audit,
    caps,
    choices,
    cloud,
    dashboard,
    enrolment,
    events,
    groups,
    headers,
    health,
    lists,
    live,
    metrics,
    migrations,
    needs,
    overview,
    pools,
    prices,
    problems,
    proof,
    protocol,
    reclaims,
    requests,
    reservations,
    sales,
    session,
    stops,
    stream,
    tiers,
    tiers_file,
    why,
    workloads,
)
from foreshape_controller.api.auditing import Auditing
from foreshape_controller.api.auth import PUBLIC, authorized, caller_of
from foreshape_controller.api.direct import Direct
from foreshape_controller.api.openapi import Described
from foreshape_controller.api.operators import ROUTER
from foreshape_controller.api.services import Services
from foreshape_controller.api.traffic import watched
from foreshape_controller.errors import ControllerError
from foreshape_wire.codec import MAX_MESSAGE_BYTES, WireError


def create_app(services: Services) -> Litestar:
    """The application; any ASGI server can run it."""

    def provide() -> Services:
        return services

    app = Litestar(
        route_handlers=[
            agents.report,
            agents.enrol,
            ROUTER,
            caps.ROUTER,
            choices.ROUTER,
            cloud.ROUTER,
            dashboard.ROUTER,
            enrolment.ROUTER,
            events.ROUTER,
            groups.ROUTER,
            live.ROUTER,
            migrations.ROUTER,
            needs.ROUTER,
            overview.ROUTER,
            pools.ROUTER,
            prices.ROUTER,
            reclaims.ROUTER,
            requests.ROUTER,
            reservations.ROUTER,
            sales.ROUTER,
            sales.SCHEDULER,
            workloads.ROUTER,
            tiers.ROUTER,
            tiers_file.ROUTER,
            why.ROUTER,
            proof.ROUTER,
            audit.ROUTER,
            stops.ROUTER,
            stream.ROUTER,
            session.ROUTER,
            metrics.ROUTER,
            health.healthz,
            health.readyz,
        ],
        guards=[authorized],
        dependencies={
            "services": Provide(provide, sync_to_thread=False),
            "caller": Provide(caller_of, sync_to_thread=False),
        },
        state=State({"services": services, "streams": stream.Streams.of(services.settings.api)}),
        response_headers=[ResponseHeader(name="X-Foreshape-Simulated", value="true")] if services.settings.simulated else [],
        middleware=[watched(services.traffic), Auditing(services).layer],
        before_send=[headers.guard],
        before_request=asked.before,
        after_request=lists.after,
        request_class=problems.BodyRequest,
        request_max_body_size=MAX_MESSAGE_BYTES,
        exception_handlers={
            ControllerError: problems.own,
            WireError: problems.wire,
            HTTPException: problems.http,
            Exception: problems.unexpected,
        },
        openapi_config=OpenAPIConfig(
            title="Foreshape controller",
            version="1",
            description=about,
            openapi_router=Router("/schema", opt=PUBLIC, route_handlers=[]),
            render_plugins=[Described()],
        ),
        logging_config=None,
    )
    simulated = [("X-Foreshape-Simulated", "true")] if services.settings.simulated else []
    app.asgi_handler = Direct(protocol.Spoken(app.asgi_handler, services), services, simulated)
    return app


def limit_workers(count: int) -> None:
    """How many requests are worked on at once in this process; to be called before any server runs."""
    set_asyncio_executor(ThreadPoolExecutor(count, thread_name_prefix="api"))
