"""What pools ask of a cloud: Nova that creates, deletes, renames and tags servers, Glance's images, Neutron's ports."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulated_problem import Problem, Routes, routed

if TYPE_CHECKING:
    from cloud_emulator import Request
    from emulated_nova import EmulatedServer, NovaState

Answer = tuple[int, Any]
_ID = "([0-9a-zA-Z-]+)"


@dataclass
class Boots:
    """How Nova boots: seconds, what fails, how many a project may have, which flavors there are (name -> vCPUs, MiB)."""

    seconds: float = 0.0
    errors: int = 0
    """So many of the next boots end in ERROR."""
    quota: int | None = None
    flavors: dict[str, tuple[int, int]] = field(default_factory=lambda: {"m1.small": (2, 2048), "m1.tiny": (1, 512)})
    project: str = ""
    """Of the credentials."""
    due: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By server: when it stops to be in BUILD, and what it is then."""

    def advance(self, nova: "NovaState") -> None:
        for ident, (at, status) in list(self.due.items()):
            if nova.now() >= at:
                del self.due[ident]
                if server := nova.servers.get(ident):
                    server.status, server.task, server.updated = status, None, nova.now()


def create(nova: "NovaState", request: "Request", version: tuple[int, int]) -> Answer:
    """202 and an id at once; whether a host has room shows as ERROR later, as in the real one."""
    asked, boots = request.body["server"], nova.boots
    mine = [s for s in nova.servers.values() if s.project == boots.project]
    if boots.quota is not None and len(mine) >= boots.quota:
        raise Problem(403, f"Quota exceeded for instances: Requested 1, but already used {len(mine)} of {boots.quota} instances")
    if asked.get("networks") != "none" and not isinstance(asked.get("networks"), list):
        raise Problem(400, "Invalid input for field/attribute networks.")
    size = next((s for n, s in boots.flavors.items() if asked["flavorRef"] == flavor_id(n)), None)
    if size is None:
        raise Problem(400, "Invalid flavorRef provided.")
    if not any(i["id"] == asked["imageRef"] for i in nova.images()):
        raise Problem(400, "Invalid imageRef provided.")
    try:
        ident = nova.boot(vcpus=size[0], ram=size[1], name=asked["name"], zone=asked.get("availability_zone"))
        server, end = nova.servers[ident], "ACTIVE"
    except Problem:
        server, end = nova.homeless(asked["name"], size), "ERROR"
    if boots.errors > 0:
        boots.errors, end = boots.errors - 1, "ERROR"
    server.project, server.metadata, server.image = boots.project, dict(asked.get("metadata", {})), asked["imageRef"]
    server.ports = [row["port"] for row in asked["networks"]] if isinstance(asked["networks"], list) else []
    server.status, server.task = "BUILD", "spawning"
    boots.due[server.id] = (nova.now() + boots.seconds, end)
    boots.advance(nova)
    return 202, {"server": {"id": server.id, "links": []}}


def delete(nova: "NovaState", request: "Request", version: tuple[int, int], ident: str) -> Answer:
    if ident not in nova.servers:
        raise Problem(404, f"Instance {ident} could not be found.")
    nova.delete(ident)
    return 204, None


def rename(nova: "NovaState", request: "Request", version: tuple[int, int], ident: str) -> Answer:
    server = nova.servers.get(ident)
    if server is None:
        raise Problem(404, f"Instance {ident} could not be found.")
    server.name, server.updated = request.body["server"]["name"], nova.now()
    return 200, {"server": {"id": ident, "name": server.name}}


def tag(nova: "NovaState", request: "Request", version: tuple[int, int], ident: str) -> Answer:
    server = nova.servers.get(ident)
    if server is None:
        raise Problem(404, f"Instance {ident} could not be found.")
    if server.status == "BUILD":
        raise Problem(409, f"Cannot 'update_instance_metadata' instance {ident} while it is in vm_state building")
    server.metadata, server.updated = {**server.metadata, **request.body["metadata"]}, nova.now()
    return 200, {"metadata": server.metadata}


def flavors(nova: "NovaState", request: "Request", version: tuple[int, int]) -> Answer:
    rows = [{"id": flavor_id(n), "name": n, "vcpus": v, "ram": r, "disk": 1, "swap": 0} for n, (v, r) in nova.boots.flavors.items()]
    return 200, {"flavors": rows}


def flavor_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def mine(servers: list["EmulatedServer"], request: "Request", project: str) -> list["EmulatedServer"]:
    """Those that a list without ``all_tenants`` shows, of the names that it asks for."""
    pattern, every = request.query.get("name", ""), request.query.get("all_tenants") == "1"
    return [s for s in servers if re.search(pattern, s.name) and (every or s.project == project)]


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("POST", "/servers", create),
    ("DELETE", f"/servers/{_ID}", delete),
    ("PUT", f"/servers/{_ID}", rename),
    ("POST", f"/servers/{_ID}/metadata", tag),
    ("GET", "/flavors/detail", flavors),
]


@dataclass
class GlanceState:
    """Images, the newest first."""

    images: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str) -> str:
        ident = str(uuid.uuid4())
        self.images.insert(0, {"id": ident, "name": name, "status": "active"})
        return ident

    def serve(self, request: "Request") -> Answer:
        return routed(self, _GLANCE, request, (2, 0))

    def _list(self, request: "Request", version: tuple[int, int]) -> Answer:
        q = request.query
        rows = [i for i in self.images if q.get("name", i["name"]) == i["name"] and q.get("status", i["status"]) == i["status"]]
        return 200, {"images": rows[: int(q.get("limit", "25"))]}

    def _one(self, request: "Request", version: tuple[int, int], ident: str) -> Answer:
        found = next((i for i in self.images if i["id"] == ident), None)
        if found is None:
            raise Problem(404, f"Failed to find image {ident}")
        return 200, found


@dataclass
class NeutronState:
    """Networks with a subnet of so many addresses, and the ports on them."""

    networks: dict[str, int] = field(default_factory=dict)
    ports: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_network(self, addresses: int = 200) -> str:
        ident = str(uuid.uuid4())
        self.networks[ident] = addresses
        return ident

    def serve(self, request: "Request") -> Answer:
        return routed(self, _NEUTRON, request, (2, 0))

    def _list(self, request: "Request", version: tuple[int, int]) -> Answer:
        return 200, {"ports": [p for p in self.ports.values() if request.query.get("name", p["name"]) == p["name"]]}

    def _create(self, request: "Request", version: tuple[int, int]) -> Answer:
        asked = request.body["port"]
        network = asked["network_id"]
        if network not in self.networks:
            raise Problem(404, f"Network {network} could not be found.")
        taken = sum(p["network_id"] == network for p in self.ports.values())
        if taken >= self.networks[network]:
            raise Problem(409, f"No more IP addresses available on network {network}.")
        ident = str(uuid.uuid4())
        address = {"subnet_id": network, "ip_address": f"10.9.{taken // 250}.{taken % 250 + 2}"}
        self.ports[ident] = {**asked, "id": ident, "fixed_ips": [address], "device_id": "", "status": "DOWN"}
        return 201, {"port": self.ports[ident]}

    def _network(self, request: "Request", version: tuple[int, int], ident: str) -> Answer:
        if ident not in self.networks:
            raise Problem(404, f"Network {ident} could not be found.")
        return 200, {"network": {"id": ident}}

    def _delete(self, request: "Request", version: tuple[int, int], ident: str) -> Answer:
        if self.ports.pop(ident, None) is None:
            raise Problem(404, f"Port {ident} could not be found.")
        return 204, None


_GLANCE: Routes = [("GET", "/images", GlanceState._list), ("GET", f"/images/{_ID}", GlanceState._one)]
_NEUTRON: Routes = [
    ("GET", f"/networks/{_ID}", NeutronState._network),
    ("GET", "/ports", NeutronState._list),
    ("POST", "/ports", NeutronState._create),
    ("DELETE", f"/ports/{_ID}", NeutronState._delete),
]
