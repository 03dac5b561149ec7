"""Servers that have left: they count in the past of the groups that they belonged to."""

from typing import Any

import msgspec
from sqlalchemy import or_, select

from foreshape_controller.model.group import Member
from foreshape_controller.store.cloud_servers import aggregates
from foreshape_controller.store.engine import Database
from foreshape_controller.store.inventory import GONE_AFTER_S, HOST_GONE_AFTER_S, WORDED, WORDS
from foreshape_controller.store.schema import hosts, servers
from foreshape_wire.sample import DomainCard

_card = msgspec.json.Decoder(DomainCard)


class GroupStore:
    """``departed`` for whoever adds up groups."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def departed(self, now: float, since: float) -> tuple[Member, ...]:
        """Servers that were there after ``since`` and are no longer in the view (``Inventory.view``), each with when it left."""
        query = (
            select(servers, hosts.c.last_seen.label("host_seen"), *WORDS)
            .select_from(WORDED.outerjoin(hosts, hosts.c.name == servers.c.host))
            .where(
                servers.c.card.is_not(None),
                or_(servers.c.released_at < now - GONE_AFTER_S, hosts.c.last_seen <= now - HOST_GONE_AFTER_S),
            )
        )
        with self._db.read() as conn:
            left = [_member(row) for row in conn.execute(query)]
        return tuple(m for m in left if m.until is not None and m.until > since)


def _member(row: Any) -> Member:
    identity = _card.decode(row.card).identity
    until = row.last_seen if row.released_at is not None else row.host_seen
    return Member(
        row.id,
        row.host,
        row.nova_name or row.name,
        identity.project if row.nova_project is None else row.nova_project,
        row.nova_flavor or identity.flavor,
        identity.image if row.nova_image is None else row.nova_image,
        row.tier,
        row.first_seen,
        until,
        row.nova_az or "",
        aggregates(row.nova_aggregates or "[]"),
    )
