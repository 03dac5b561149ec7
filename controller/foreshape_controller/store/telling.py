"""What a transaction tells those who watch: passed on after it is committed, forgotten where it is not."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from foreshape_controller.bus import EVERYBODY
from foreshape_controller.store.engine import TELLING
from foreshape_controller.store.schema import cloud_servers, servers

_owner = select(func.coalesce(cloud_servers.c.project, servers.c.project)).select_from(
    servers.outerjoin(cloud_servers, cloud_servers.c.server == servers.c.id)
)


def tell(conn: Connection, kind: str, project: str, data: Mapping[str, Any], operators: Mapping[str, Any] | None = None) -> None:
    """``Bus.publish`` once this transaction is durable."""
    conn.info[TELLING].append((kind, project, data, operators))


def owner(conn: Connection, server: str) -> str:
    """The project of a server; empty where nobody knows it: then only operators are told."""
    return conn.execute(_owner.where(servers.c.id == server)).scalar() or ""


def owner_of(conn: Connection, scope: str) -> str:
    """Whom a scope (``server:ID``, ``project:ID``, ``cloud``, ``host:NAME``) concerns."""
    kind, _, name = scope.partition(":")
    return {"cloud": EVERYBODY, "project": name}.get(kind) or (owner(conn, name) if kind == "server" else "")
