"""What a host's agent is to do and to hold, in one snapshot: the content of the reply to a report."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, select

from foreshape_controller.model.choice import PLAN
from foreshape_controller.model.cloud_word import WAITING
from foreshape_controller.store.modes import Levels
from foreshape_controller.store.orders import Status
from foreshape_controller.store.schema import cloud_servers, orders, servers
from foreshape_controller.store.shares import of_host
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Guard, Mode, Order
from foreshape_wire.quantity import Cores, Memory, Size

_order = msgspec.json.Decoder(Order)

_open_orders = (
    select(orders.c.data)
    .where(orders.c.host == bindparam("host"), orders.c.status == Status.OPEN.value, orders.c.expires_at > bindparam("now"))
    .order_by(orders.c.issued_at, orders.c.order)
)
_reported = select(
    servers.c.id,
    func.coalesce(cloud_servers.c.project, servers.c.project).label("project"),
    servers.c.floor_cpu,
    servers.c.floor_memory,
    servers.c.entitled_cpu,
    servers.c.entitled_memory,
    servers.c.card_host,
    servers.c.raised_floor,
    servers.c.raised_until,
    cloud_servers.c.server.label("nova_server"),
    cloud_servers.c.held_code,
    cloud_servers.c.held,
)
_reported = _reported.select_from(servers.outerjoin(cloud_servers, cloud_servers.c.server == servers.c.id)).where(
    servers.c.host == bindparam("host"), servers.c.released_at.is_(None)
)


@dataclass(frozen=True)
class Steering:
    """``orders`` are those that may be handed out: their servers are still this host's, in mode act, and not held by the cloud's word.

    Of servers whose owner opted out, those that give them back what they were sold.
    """

    mode: Mode
    orders: tuple[Order, ...]
    guards: tuple[Guard, ...]
    cards_wanted: bool
    acting: frozenset[ServerId] = frozenset()
    """Servers of the host that may be acted on."""


def open_orders(conn: Connection, host: str, now: float) -> tuple[Order, ...]:
    """Open orders of a host, oldest first."""
    return tuple(map(_order.decode, conn.execute(_open_orders, {"host": host, "now": now}).scalars()))


def card_missing(conn: Connection, host: str) -> bool:
    """Whether the host has yet to send a card of one of its servers."""
    return any(row.card_host != host for row in conn.execute(_reported, {"host": host}))


def held(row: Any, *, in_cloud: bool) -> tuple[str, str] | None:
    """Why nothing may be changed on a server, by the cloud's word beside it. ``in_cloud``: a cloud is configured: there has to be one."""
    if row.held_code:
        return row.held_code, row.held
    return WAITING if in_cloud and row.nova_server is None else None


def steer(conn: Connection, levels: Levels, host: HostName, now: float, *, in_cloud: bool = False) -> Steering:
    """Read what the host should know now."""
    rows = conn.execute(_reported, {"host": host}).all()
    alone = frozenset(row[0] for row in rows if held(row, in_cloud=in_cloud))
    projects = {row[0]: row[1] for row in rows if row[0] not in alone}
    acting = frozenset(server for server, project in projects.items() if levels.effective(host, project, server) is Mode.ACT)
    returned = frozenset(server for server, project in projects.items() if _opted_out(levels, host, project, server))
    shares = of_host(conn, host, now)
    guards = (_guard(row[0], row[2], _memory_floor(row[3], row[7], row[8], now), *row[4:6], hands_off=row[0] in alone) for row in rows)
    return Steering(
        mode=levels.effective(host),
        orders=tuple(o for o in open_orders(conn, host, now) if o.server in (returned if o.plan == PLAN else acting)),
        guards=tuple(msgspec.structs.replace(g, share=shares[g.server]) if g.server in shares else g for g in guards if g is not None),
        cards_wanted=any(row[6] != host for row in rows),
        acting=acting,
    )


def _opted_out(levels: Levels, host: str, project: str, server: str) -> bool:
    """By its owner, and no operator stopped us there."""
    return levels.owner(project, server) is Mode.OBSERVE and levels.operators(host, project, server) is not Mode.OBSERVE


def _memory_floor(decided: float | None, raised: float | None, until: float | None, now: float) -> float | None:
    """Floor of the newest decision, raised by pressure since then: an order planned before the pressure must not undo the answer to it."""
    if decided is None or raised is None or until is None or until <= now:
        return decided
    return max(decided, raised)


@lru_cache(maxsize=65536)
def _guard(
    server: str,
    floor_cpu: float | None,
    floor_memory: float | None,
    sold_cpu: float | None,
    sold_memory: float | None,
    *,
    hands_off: bool,
) -> Guard | None:
    """Floor of the newest decision; a server that was never decided about keeps what was sold.

    Cached by its values, which seldom change: making 50 guards anew was a fifth of a report's whole cost.
    """
    if sold_cpu is None or sold_memory is None:
        return None
    entitlement = Size(Cores(sold_cpu), Memory(sold_memory))
    if floor_cpu is None or floor_memory is None:
        return Guard(server=ServerId(server), floor=entitlement, entitlement=entitlement, hands_off=hands_off)
    floor = Size(Cores(floor_cpu), Memory(floor_memory))
    return Guard(server=ServerId(server), floor=floor, entitlement=entitlement, hands_off=hands_off)
