"""Freed capacity that Nova may sell again: allocation ratios, and the headroom that Nova's scheduler asks for."""

import math
from hmac import compare_digest

from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, JSONBody

from foreshape_controller.api.auth import OPERATORS, PUBLIC, SCHEME, Connection, bearer, permitted
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, NotFound, Unauthenticated
from foreshape_controller.loops.sell import Selling
from foreshape_controller.model.sale import (
    HeadroomAnswer,
    HostSaleAnswer,
    Sale,
    SaleAnswer,
    SaleMove,
    SaleMoveAnswer,
    SaleRequest,
)

REASON_MOST = 1000


@get("/sales", sync_to_thread=True)
def sales(services: NamedDependency[Services]) -> list[SaleAnswer]:
    """Every host's ratios: what is there, what was, what would be, and why."""
    selling = _selling(services)
    return [_answer(selling, s) for s in selling.sales()]


@get("/sales/{host:str}", sync_to_thread=True)
def show(services: NamedDependency[Services], host: FromPath[str]) -> HostSaleAnswer:
    """One host, and every write of its ratios."""
    selling = _selling(services)
    found = [s for s in selling.sales() if s.host == host]
    if not found:
        raise NotFound(f"nothing was looked at on a host {host[:100]!r}: see 'foreshape sell list'")
    stops = {s.scope: s.reason for s in services.store.sales.stops()}
    return HostSaleAnswer(
        host=host,
        sales=tuple(_answer(selling, s) for s in found),
        moves=tuple(_move(m) for m in services.store.sales.moves(host)),
        stopped=stops.get("cloud") or stops.get(f"host:{host}") or "",
        frozen=selling.frozen,
    )


@post("/sales/stop", status_code=200, sync_to_thread=True)
def stop(services: NamedDependency[Services], data: JSONBody[SaleRequest]) -> list[SaleAnswer]:
    """Sell nothing any more on a host or anywhere; what was sold goes back with the next round."""
    selling = _selling(services)
    selling.stop(data.host, _reason(data), services.clock())
    return _those(selling, data.host)


@post("/sales/start", status_code=200, sync_to_thread=True)
def start(services: NamedDependency[Services], data: JSONBody[SaleRequest]) -> list[SaleAnswer]:
    """Sell again where it was stopped, or where somebody else wrote a ratio: what is there then is the original."""
    selling = _selling(services)
    selling.start(data.host, _reason(data))
    return _those(selling, data.host)


async def scheduler(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard of the one thing that Nova's scheduler may read; operators may, too."""
    services: Services = connection.app.state.services
    token = services.headroom_token
    if token and SCHEME in connection.headers and compare_digest(bearer(connection).encode(), token.encode()):
        return
    try:
        await permitted(connection, "operator")
    except Unauthenticated as e:
        raise Unauthenticated("this is not the scheduler's token: the controller keeps it in [sell] headroom_token_file") from e


@get("/headroom", opt=PUBLIC, guards=[scheduler], sync_to_thread=True)
def headroom(services: NamedDependency[Services]) -> HeadroomAnswer:
    """Share of each host that the day ahead is expected to leave free."""
    at, hosts = _selling(services).headroom()
    return HeadroomAnswer(at=at if math.isfinite(at) else 0.0, hosts={name: round(free, 4) for name, free in hosts.items()})


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[sales, show, stop, start], tags=["operators"])
SCHEDULER = Router("/v1", route_handlers=[headroom], tags=["nova"])


def _selling(services: Services) -> Selling:
    if services.cloud is None:
        raise Invalid("no OpenStack is configured: [cloud] enabled is false, so that no allocation ratio is known")
    return services.cloud.selling


def _reason(data: SaleRequest) -> str:
    reason = one_line(data.reason)
    if not reason or len(reason) > REASON_MOST:
        raise Invalid(f"$.reason: say why, in 1 to {REASON_MOST} characters, for those who find it so")
    return reason


def _those(selling: Selling, host: str) -> list[SaleAnswer]:
    return [_answer(selling, s) for s in selling.sales() if host in ("", s.host)]


def _answer(selling: Selling, s: Sale) -> SaleAnswer:
    return SaleAnswer(
        host=s.host,
        resource=s.resource,
        state=s.state,
        physical=s.physical,
        sold=s.used,
        original=s.original,
        ratio=s.ratio,
        wanted=None if math.isnan(s.wanted) else s.wanted,
        waits=selling.proposal(s),
        reason=s.reason,
        free_since=s.free_since,
        changed_at=s.changed_at or None,
        looked_at=s.looked_at,
        short=s.short,
        short_from=s.short_from or None,
    )


def _move(m: SaleMove) -> SaleMoveAnswer:
    fields = {f: getattr(m, f) for f in SaleMoveAnswer.__struct_fields__}
    return SaleMoveAnswer(**fields)
