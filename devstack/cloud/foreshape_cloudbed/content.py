"""What the databases hold before the first request: tables, users, the catalogue, Nova's cells."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from foreshape_lab.shell import run

from foreshape_cloudbed.environment import BIN
from foreshape_cloudbed.infrastructure import sql
from foreshape_cloudbed.places import PASSWORD, REGION, TYPES, USERS, Places

Words = list[str | Path]
SERVICE_USERS = ("nova", "placement", "glance", "foreshape")


def make_tables(places: Places) -> None:
    """Every service's own, beside each other."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(make, places) for make in (_nova, _keystone, _placement, _glance)]:
            done.result()


def _keystone(places: Places) -> None:
    manage: Words = [BIN / "keystone-manage", "--config-file", places.etc / "keystone.conf"]
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    run([*manage, "db_sync"], timeout_s=600)
    run([*manage, "fernet_setup", *owner])
    run([*manage, "credential_setup", *owner])
    urls = [w for kind in ("admin", "public", "internal") for w in (f"--bootstrap-{kind}-url", places.endpoint("keystone"))]
    names = [w for kind in ("username", "project-name", "role-name") for w in (f"--bootstrap-{kind}", "admin")]
    rest = ["--bootstrap-password", PASSWORD, "--bootstrap-service-name", "keystone", "--bootstrap-region-id", REGION]
    run([*manage, "bootstrap", *names, *rest, *urls])


def _placement(places: Places) -> None:
    run([BIN / "placement-manage", "--config-file", places.etc / "placement.conf", "db", "sync"], timeout_s=600)


def _glance(places: Places) -> None:
    run([BIN / "glance-manage", "--config-file", places.etc / "glance-api.conf", "db_sync"], timeout_s=600)


def _nova(places: Places) -> None:
    manage: Words = [BIN / "nova-manage", "--config-file", places.etc / "nova.conf"]
    run([*manage, "api_db", "sync"], timeout_s=600)
    run([*manage, "cell_v2", "map_cell0", "--database_connection", places.database("nova_cell0")])
    run([*manage, "db", "sync"], timeout_s=600)
    run([*manage, "cell_v2", "create_cell", "--name", "cell1"])


def make_users(places: Places) -> None:
    """Users, projects and the catalogue, by Keystone's own API."""
    ask = Asker(places)
    roles = {r["name"]: r["id"] for r in ask("GET", "/roles")["roles"]}
    roles.setdefault("service", "")
    roles["service"] = roles["service"] or ask("POST", "/roles", {"role": {"name": "service"}})["role"]["id"]
    projects = {name: _project(ask, name) for name in ("service", "demo")}
    for name in SERVICE_USERS:
        _user(ask, name, projects["service"], [roles["admin"], roles["service"]])
    _user(ask, "demo", projects[USERS["demo"]], [roles["member"]])
    for name, kind in TYPES.items():
        service = ask("POST", "/services", {"service": {"name": name, "type": kind}})["service"]["id"]
        for interface in ("public", "internal", "admin"):
            endpoint = {"service_id": service, "interface": interface, "url": places.endpoint(name), "region_id": REGION}
            ask("POST", "/endpoints", {"endpoint": endpoint})


def _project(ask: "Asker", name: str) -> str:
    found: str = ask("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})["project"]["id"]
    return found


def _user(ask: "Asker", name: str, project: str, roles: list[str]) -> None:
    made = ask("POST", "/users", {"user": {"name": name, "password": PASSWORD, "domain_id": "default"}})["user"]["id"]
    for role in roles:
        ask("PUT", f"/projects/{project}/users/{made}/roles/{role}")


class Asker:
    """Keystone, as its administrator."""

    def __init__(self, places: Places) -> None:
        self.root, self.token = places.endpoint("keystone"), ""
        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": "admin", "domain": domain}}
        with self._send("POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}}) as answer:
            self.token = answer.headers["X-Subject-Token"]

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        with self._send(method, path, body) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def _send(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"X-Auth-Token": self.token} if self.token else {})
        return urllib.request.urlopen(urllib.request.Request(self.root + path, data, headers, method=method), timeout=30)


def adopt(places: Places) -> None:
    """Databases that were made for another bed's folder and address become this one's."""
    sql(
        places,
        f"update keystone.endpoint set url = concat('http://{places.address}', substring(url, locate(':', url, 8)));"
        f"update nova_api.cell_mappings set database_connection = '{places.database('nova_cell0')}' where name = 'cell0';"
        f"update nova_api.cell_mappings set database_connection = '{places.database('nova')}', transport_url = '{places.transport}'"
        " where name = 'cell1';",
    )


def computes_ready(places: Places, since: float) -> int:
    """How many computes reported after ``since`` and have an inventory in Placement: rows of an earlier life count for nothing."""
    return int(
        sql(
            places,
            "set time_zone = '+00:00'; select count(distinct s.host) from nova.services s join nova.compute_nodes c on c.host = s.host"
            " join placement.resource_providers p on convert(p.uuid using utf8mb3) = convert(c.uuid using utf8mb3)"
            " join placement.inventories i on i.resource_provider_id = p.id"
            f" where s.binary = 'nova-compute' and s.deleted = 0 and c.deleted = 0 and s.last_seen_up >= from_unixtime({since:.0f})",
        )
    )


def map_hosts(places: Places) -> None:
    """What `nova-manage cell_v2 discover_hosts` does in seven seconds."""
    sql(
        places,
        "insert ignore into nova_api.host_mappings (created_at, host, cell_id) select utc_timestamp(), c.host, m.id"
        " from nova.compute_nodes c, nova_api.cell_mappings m where c.deleted = 0 and m.name = 'cell1';"
        "update nova.compute_nodes set mapped = 1",
    )
