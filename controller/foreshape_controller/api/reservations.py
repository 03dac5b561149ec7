"""Room held in Placement: asked for, listed, given back, compared with what is really there. Every route needs the admin token."""

from typing import Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.model.reservation import Audit, Reservation, ReservationAnswer, ReservationApproval, ReservationRequest

WRITES = 20
"""Lines of a reservation's journal that are shown."""


@get("/reservations", sync_to_thread=True)
def reservations(
    services: NamedDependency[Services],
    host: FromQuery[str] = "",
    all: FromQuery[bool] = False,  # noqa: A002  the query's own word
) -> list[ReservationAnswer]:
    """Those that are not over; with ``all=true`` then the newest that are. ``host``: only there."""
    cloud(services)
    store = services.store.reservations
    found = [*store.open(), *(store.over() if all else ())]
    return [answer(r, services.clock()) for r in found if host in ("", r.wish.host)]


@get("/reservations/{reservation:str}", sync_to_thread=True)
def show(services: NamedDependency[Services], reservation: FromPath[str]) -> ReservationAnswer:
    """One reservation, and what was written to Placement for it."""
    cloud(services)
    return _shown(services, services.store.reservations.find(reservation))


@post("/reservations", status_code=201, sync_to_thread=True)
def create(services: NamedDependency[Services], data: JSONBody[ReservationRequest]) -> ReservationAnswer:
    """Hold room on a host, or anywhere in a zone. Where the mode is not act it is planned, and ``said`` tells what would be done.

    With ``approve`` it is held in mode advise, too.
    """
    asked = msgspec.structs.replace(data, reason=one_line(data.reason), by=one_line(data.by))
    with services.seats():
        made = cloud(services).requests.create(asked, services.clock())
    return _shown(services, made)


@post("/reservations/{reservation:str}/approve", status_code=200, sync_to_thread=True)
def approve(services: NamedDependency[Services], reservation: FromPath[str], data: JSONBody[ReservationApproval]) -> ReservationAnswer:
    """Hold it in mode advise, too: now, if its window is open."""
    by = f"operator:{one_line(data.by) or 'admin'}"
    with services.seats():
        return _shown(services, cloud(services).reservations.approve(reservation, by, services.clock()))


@delete("/reservations/{reservation:str}", status_code=200, sync_to_thread=True)
def release(request: Request[Any, Any, Any], services: NamedDependency[Services], reservation: FromPath[str]) -> ReservationAnswer:
    """Give it back now; query ``reason``. One that is over stays as it is."""
    why = one_line(str(request.query_params.get("reason", ""))) or "released by an operator"
    with services.seats():
        return _shown(services, cloud(services).reservations.release(reservation, why, services.clock()))


@post("/reservations/audit", status_code=200, sync_to_thread=True)
def audit(services: NamedDependency[Services]) -> Audit:
    """Compare the journal with Placement now, and repair what differs."""
    with services.seats():
        return cloud(services).reservations.audit(services.clock())


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[reservations, show, create, approve, release, audit], tags=["reservations"])


def cloud(services: Services) -> CloudWork:
    """Raises Invalid where none is configured."""
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: nothing can be held in Placement; see [cloud] enabled in controller.conf")
    return services.cloud


def _shown(services: Services, reservation: Reservation) -> ReservationAnswer:
    writes = services.store.reservations.writes(reservation.id, WRITES)
    return msgspec.structs.replace(answer(reservation, services.clock()), writes=writes)


def answer(reservation: Reservation, now: float) -> ReservationAnswer:
    """A reservation as people and programs are told of it."""
    wish = reservation.wish
    return ReservationAnswer(
        id=reservation.id,
        host=wish.host,
        state=reservation.state.value,
        resources=dict(wish.resources),
        count=wish.count,
        held=reservation.held,
        owner=wish.owner,
        reason=wish.reason,
        cause=wish.cause,
        project=wish.project,
        server=wish.server,
        starts=wish.starts or reservation.created,
        until=wish.until,
        left_s=max(0.0, wish.until - now) if not reservation.state.over else 0.0,
        created=reservation.created,
        changed=reservation.changed,
        said=reservation.said,
        approved=reservation.approved,
        consumers=tuple(slot.consumer for slot in reservation.slots),
    )
