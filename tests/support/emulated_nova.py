"""Nova as measured: what a live migration does to Placement and when, how aborts end in which version, what each microversion shows."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emulated_placement import Consumer, Held, PlacementState
from emulated_pools import ROUTES, Boots, mine
from emulated_problem import Problem, Routes, routed

if TYPE_CHECKING:
    from cloud_emulator import Request

UNKNOWN = "unknown"
"""Type of Nova's own consumers: it writes allocations at Placement 1.36, two versions before types came."""

LOCKED_OUT = "COMPUTE_STATUS_DISABLED"
ENDED = ("completed", "cancelled", "failed", "error")
_ID = "([0-9a-zA-Z-]+)"


@dataclass
class EmulatedHost:
    name: str
    provider: str
    zone: str = "nova"
    enabled: bool = True
    why: str = ""
    up: bool = True
    wrote_trait: bool = False
    service: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class EmulatedServer:
    id: str
    name: str
    host: str
    vcpus: int
    ram: int
    created: float
    updated: float
    status: str = "ACTIVE"
    task: str | None = None
    project: str = "a-project"
    asked_zone: str | None = None
    locked: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    image: str = ""
    ports: list[str] = field(default_factory=list)


@dataclass
class EmulatedMigration:
    id: int
    uuid: str
    server: str
    source: str
    target: str
    begun: float
    updated: float
    status: str = "preparing"
    kind: str = "live-migration"


@dataclass
class NovaState:
    """All of Nova. Seconds of a migration: ``migration_s``, then ``lag_s`` in which the server is ACTIVE, its migration still running."""

    placement: PlacementState
    now: Callable[[], float]
    migration_s: float = 0.2
    lag_s: float = 0.1
    abort: str = "cancelled"
    """How an abort ends: ``cancelled`` (fake driver), ``failed`` (Nova 31 on libvirt), ``error`` (Nova 32-34: the server in ERROR)."""
    fails: int = 0
    """So many of the next migrations end in ``failed``."""
    page: int = 1000
    """Nova's own ``max_limit``."""
    hosts: dict[str, EmulatedHost] = field(default_factory=dict)
    servers: dict[str, EmulatedServer] = field(default_factory=dict)
    deleted: dict[str, EmulatedServer] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    aggregates: list[dict[str, Any]] = field(default_factory=list)
    migrations: list[EmulatedMigration] = field(default_factory=list)
    boots: Boots = field(default_factory=Boots)
    images: Callable[[], list[dict[str, Any]]] = list
    """Glance's."""
    extra_rows: dict[str, list[Any]] = field(default_factory=dict)
    """Rows added to Nova's lists, by their key, as they are: nonsense, or a second service of the same name."""

    # -- what an operator or a user does

    def add_host(self, name: str, *, vcpus: int = 16, ram: int = 32768, ratio: float = 4.0, reserved: int = 0, zone: str = "nova") -> str:
        inventories: dict[str, dict[str, Any]] = {
            "VCPU": {"total": vcpus, "allocation_ratio": ratio, "reserved": reserved},
            "MEMORY_MB": {"total": ram, "reserved": 512},
            "DISK_GB": {"total": 500},
        }
        provider = self.placement.add(name, inventories)
        self.hosts[name] = EmulatedHost(name, provider, zone)
        return provider

    def boot(self, host: str = "", *, vcpus: int = 2, ram: int = 2048, name: str = "vm", group: str = "", zone: str | None = None) -> str:
        """Claims in Placement like any other consumer; a host that is named must be open to the scheduler, too."""
        ident = str(uuid.uuid4())
        open_to = [h for h in self.hosts.values() if self._open(h) and host in ("", h.name) and zone in (None, h.zone)]
        asked = {"VCPU": vcpus, "MEMORY_MB": ram}
        chosen = next((h for h in open_to if self.placement.fits(h.provider, asked) and self._apart(ident, h.name, group)), None)
        if chosen is None:
            raise Problem(400, "No valid host was found. There are not enough hosts available.")
        self.placement.claim({ident: Consumer({chosen.provider: asked}, "a-project", "a-user", UNKNOWN)})
        now = self.now()
        self.servers[ident] = EmulatedServer(ident, name, chosen.name, vcpus, ram, now, now, asked_zone=zone)
        if group:
            self.groups[group]["members"].append(ident)
        return ident

    def homeless(self, name: str, size: tuple[int, int]) -> EmulatedServer:
        """A server for which no host was found: it has an id, and holds nothing."""
        server = EmulatedServer(str(uuid.uuid4()), name, "", *size, self.now(), self.now())
        self.servers[server.id] = server
        return server

    def delete(self, ident: str) -> None:
        server = self.servers.pop(ident)
        server.status, server.updated = "DELETED", self.now()
        self.deleted[ident] = server
        self.placement.claim({ident: Consumer({}, "", "", UNKNOWN)})
        for group in self.groups.values():
            group["members"] = [m for m in group["members"] if m != ident]

    def add_group(self, policy: str, *, rules: dict[str, int] | None = None) -> str:
        ident = str(uuid.uuid4())
        row = {
            "id": ident,
            "name": policy,
            "policy": policy,
            "rules": rules or {},
            "members": [],
            "project_id": "a-project",
            "user_id": "u",
        }
        self.groups[ident] = row
        return ident

    def refresh(self, host: str) -> None:
        """What nova-compute does every few minutes: inventories as configured, the trait as the service is. Allocations are left alone."""
        mine = self.hosts[host]
        provider = self.placement.providers[mine.provider]
        provider.inventories["VCPU"]["reserved"] = 0
        self._trait(mine)
        provider.generation += 1

    def audit_delete(self) -> int:
        """``nova-manage placement audit --delete``: whatever belongs to no server and no running migration goes."""
        known = {*self.servers, *(m.uuid for m in self.migrations if m.status not in ENDED)}
        strange = [c for c in self.placement.consumers if c not in known]
        for consumer in strange:
            del self.placement.consumers[consumer]
        return len(strange)

    # -- time

    def advance(self) -> None:
        """Move boots and migrations on to where they would be by now."""
        now = self.now()
        self.boots.advance(self)
        for migration in self.migrations:
            if migration.status in ENDED or migration.kind != "live-migration":
                continue
            age = now - migration.begun
            if age >= 0.02 and migration.status == "preparing":
                self._set(migration, "running")
            if self.fails and age >= self.migration_s:
                self.fails -= 1
                self._back(migration, "failed")
                continue
            if age >= self.migration_s:
                self._arrive(migration)
            if age >= self.migration_s + self.lag_s:
                self._set(migration, "completed")
                self.placement.claim({migration.uuid: Consumer({}, "", "", UNKNOWN)})

    def _arrive(self, migration: EmulatedMigration) -> None:
        server = self.servers.get(migration.server)
        if server and server.host != migration.target:
            server.host, server.status, server.task, server.updated = migration.target, "ACTIVE", None, self.now()

    def _set(self, migration: EmulatedMigration, status: str) -> None:
        migration.status, migration.updated = status, self.now()

    def _back(self, migration: EmulatedMigration, status: str) -> None:
        """It did not move: the source's share is the server's again."""
        share = self.placement.consumers.get(migration.uuid)
        server = self.servers.get(migration.server)
        wanted = {migration.uuid: Consumer({}, "", "", UNKNOWN)}
        if server:
            wanted[server.id] = Consumer(dict(share.held) if share else {}, server.project, "a-user", UNKNOWN)
            server.status, server.task, server.updated = "ERROR" if status == "error" else "ACTIVE", None, self.now()
        self.placement.claim(wanted)
        self._set(migration, status)

    # -- rules

    def _open(self, host: EmulatedHost) -> bool:
        return host.up and host.enabled and LOCKED_OUT not in self.placement.providers[host.provider].traits

    def _trait(self, host: EmulatedHost) -> None:
        """nova-compute compares with what it wrote last itself: one that somebody else set before it is neither added nor removed by it."""
        traits = self.placement.providers[host.provider].traits
        if not host.enabled and LOCKED_OUT not in traits:
            traits.add(LOCKED_OUT)
            host.wrote_trait = True
        elif host.enabled and host.wrote_trait:
            traits.discard(LOCKED_OUT)
            host.wrote_trait = False

    def _apart(self, server: str, host: str, group: str) -> bool:
        mine = self.groups.get(group)
        if not mine or mine["policy"] != "anti-affinity":
            return True
        there = [m for m in mine["members"] if m != server and m in self.servers and self.servers[m].host == host]
        return len(there) < mine["rules"].get("max_server_per_host", 1)

    def _group_of(self, server: str) -> str:
        return next((g for g, row in self.groups.items() if server in row["members"]), "")

    # -- HTTP

    def serve(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        return routed(self, _ROUTES, request, version)

    def _server(self, ident: str) -> EmulatedServer:
        if ident not in self.servers:
            raise Problem(404, f"Instance {ident} could not be found.")
        return self.servers[ident]

    def _paged(self, request: "Request", rows: list[Any], key: str, mark: str = "id") -> Any:
        """With a link to the next page where there is one."""
        rows = rows + self.extra_rows.get(key, [])
        limit = min(int(request.query.get("limit", self.page)), self.page)
        begin = 0
        if marker := request.query.get("marker"):
            places = [i for i, row in enumerate(rows) if isinstance(row, dict) and row.get(mark) == marker]
            if not places:
                raise Problem(400, f"marker [{marker}] not found")
            begin = places[0] + 1
        more = {f"{key}_links": [{"rel": "next", "href": request.path}]} if len(rows) > begin + limit else {}
        return {key: rows[begin : begin + limit], **more}

    def _servers(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        since = request.query.get("changes-since")
        after = datetime.fromisoformat(since).timestamp() if since else 0.0
        every = [*self.servers.values(), *(self.deleted.values() if since else ())]
        rows = [self._shown(s, version) for s in mine(every, request, self.boots.project) if s.updated >= after]
        return 200, self._paged(request, rows, "servers")

    def _show(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        row = self._shown(self._server(ident), version)
        return 200, {"server": {**row, "server_groups": [g for g in [self._group_of(ident)] if g]} if version >= (2, 71) else row}

    def _shown(self, server: EmulatedServer, version: tuple[int, int]) -> dict[str, Any]:
        flavor = {"vcpus": server.vcpus, "ram": server.ram, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1", "extra_specs": {}}
        row = {
            "id": server.id,
            "name": server.name,
            "tenant_id": server.project,
            "user_id": "a-user",
            "OS-EXT-SRV-ATTR:host": server.host,
            "OS-EXT-AZ:availability_zone": self.hosts[server.host].zone if server.host in self.hosts else "",
            "OS-EXT-STS:vm_state": {"ACTIVE": "active", "MIGRATING": "active"}.get(server.status, server.status.lower()),
            "OS-EXT-STS:task_state": server.task,
            "OS-EXT-STS:power_state": 1,
            "status": server.status,
            "flavor": flavor if version >= (2, 47) else {"id": "1"},
            "image": {"id": server.image} if server.image else "",
            "created": _iso(server.created) + "Z",
            "locked": server.locked,
            "metadata": server.metadata,
        }
        return {**row, "pinned_availability_zone": server.asked_zone} if version >= (2, 96) else row

    def _services(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        rows = [self._service_row(h) for h in self.hosts.values() if request.query.get("host", h.name) == h.name]
        return 200, {"services": rows + self.extra_rows.get("services", [])}

    def _service_row(self, host: EmulatedHost) -> dict[str, Any]:
        status, state = "enabled" if host.enabled else "disabled", "up" if host.up else "down"
        row = {"id": host.service, "binary": "nova-compute", "host": host.name, "zone": host.zone, "status": status, "state": state}
        return {**row, "disabled_reason": host.why or None, "forced_down": False}

    def _put_service(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        host = next((h for h in self.hosts.values() if h.service == ident), None)
        if host is None or version < (2, 53):
            raise Problem(404, f"Service {ident} could not be found.")
        host.enabled = request.body["status"] == "enabled"
        host.why = request.body.get("disabled_reason", "")
        self._trait(host)
        self.placement.providers[host.provider].generation += 1
        return 200, {"service": self._service_row(host)}

    def _hypervisors(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        rows = [
            {"id": h.provider, "hypervisor_hostname": h.name, "service": {"host": h.name, "id": h.service}, "state": "up"}
            for h in self.hosts.values()
        ]
        return 200, self._paged(request, rows, "hypervisors")

    def _aggregates(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        return 200, {"aggregates": self.aggregates}

    def _groups(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        begin = int(request.query.get("offset", 0))
        return 200, {"server_groups": list(self.groups.values())[begin : begin + int(request.query.get("limit", self.page))]}

    def _migration_row(self, m: EmulatedMigration) -> dict[str, Any]:
        row = {"id": m.id, "uuid": m.uuid, "source_compute": m.source, "dest_compute": m.target, "status": m.status}
        return {**row, "created_at": _iso(m.begun), "updated_at": _iso(m.updated), "migration_type": m.kind}

    def _history(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        q = request.query
        after = datetime.fromisoformat(q["changes-since"]).timestamp() if "changes-since" in q else 0.0
        rows = [
            {**self._migration_row(m), "instance_uuid": m.server}
            for m in reversed(self.migrations)
            if q.get("instance_uuid", m.server) == m.server and q.get("status", m.status) == m.status and m.updated >= after
            if q.get("host", m.source) in (m.source, m.target)
        ]
        return 200, self._paged(request, rows, "migrations", "uuid")

    def _running(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        self._server(ident)
        size = 1 << 30
        bytes_ = {"memory_total_bytes": size, "memory_processed_bytes": size // 4, "memory_remaining_bytes": size // 4 * 3}
        rows = [
            {**self._migration_row(m), "server_uuid": m.server, **bytes_}
            for m in self.migrations
            if m.server == ident and m.status not in ENDED
        ]
        return 200, {"migrations": rows}

    def _action(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        server = self._server(ident)
        if "os-resetState" in request.body:
            server.status, server.task, server.updated = request.body["os-resetState"]["state"].upper(), None, self.now()
            return 202, None
        if "os-migrateLive" not in request.body:
            raise Problem(400, f"There is no such action: {list(request.body)}")
        asked = request.body["os-migrateLive"]
        if "force" in asked and not (2, 30) <= version <= (2, 67):
            raise Problem(
                400, "Invalid input for field/attribute os-migrateLive. Additional properties are not allowed ('force' was unexpected)"
            )
        if server.task or server.status != "ACTIVE" or any(m.server == ident and m.status not in ENDED for m in self.migrations):
            raise Problem(409, f"Cannot 'os-migrateLive' instance {ident} while it is in task_state {server.task}")
        target = self.hosts.get(asked["host"])
        if target is None or target.name == server.host:
            raise Problem(400, f"Compute host {asked['host']} could not be found, or is the one where the server is.")
        self._move(server, target, force=bool(asked.get("force")), later=version >= (2, 34))
        return 202, None

    def _move(self, server: EmulatedServer, target: EmulatedHost, *, force: bool, later: bool) -> None:
        now = self.now()
        number = len(self.migrations) + 1
        migration = EmulatedMigration(number, str(uuid.uuid4()), server.id, server.host, target.name, now, now)
        allowed = target.up and (force or (self._open(target) and self._apart(server.id, target.name, self._group_of(server.id))))
        try:
            self._take_along(server, migration, target, allowed=allowed)
        except Problem as e:
            if not later:
                raise Problem(400, f"No valid host was found. {e.text}") from e
            migration.status = "error"
        else:
            server.status, server.task, server.updated = "MIGRATING", "migrating", now
        self.migrations.append(migration)

    def _take_along(self, server: EmulatedServer, migration: EmulatedMigration, target: EmulatedHost, *, allowed: bool) -> None:
        """The server's allocation is on the target at once; the source's share is the migration's until its end."""
        if not allowed:
            raise Problem(400, "The target refuses it.")
        had = self.placement.consumers.get(server.id)
        old: Held = dict(had.held) if had else {}
        new: Held = {target.provider: {"VCPU": server.vcpus, "MEMORY_MB": server.ram}}
        self.placement.claim(
            {
                migration.uuid: Consumer(old, server.project, "a-user", UNKNOWN),
                server.id: Consumer(new, server.project, "a-user", UNKNOWN),
            }
        )

    def _one(self, ident: str, number: str) -> EmulatedMigration:
        self._server(ident)
        found = next((m for m in self.migrations if m.server == ident and m.id == int(number)), None)
        if found is None:
            raise Problem(404, f"Migration {number} not found for instance {ident}")
        if found.status in ENDED:
            raise Problem(409, f"Migration {number} is not running: it is {found.status}")
        return found

    def _abort(self, request: "Request", version: tuple[int, int], ident: str, number: str) -> tuple[int, Any]:
        migration = self._one(ident, number)
        if version < (2, 65) and migration.status != "running":
            raise Problem(400, f"Migration {number} state of instance {ident} is {migration.status}")
        self._back(migration, self.abort)
        return 202, None

    def _complete(self, request: "Request", version: tuple[int, int], ident: str, number: str) -> tuple[int, Any]:
        migration = self._one(ident, number)
        if migration.status != "running":
            raise Problem(400, f"Migration {number} state of instance {ident} is {migration.status}")
        migration.begun = self.now() - self.migration_s
        return 202, None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_ROUTES: Routes = [
    *ROUTES,
    ("GET", "/servers/detail", NovaState._servers),
    ("GET", f"/servers/{_ID}", NovaState._show),
    ("GET", f"/servers/{_ID}/migrations", NovaState._running),
    ("DELETE", f"/servers/{_ID}/migrations/([0-9]+)", NovaState._abort),
    ("POST", f"/servers/{_ID}/migrations/([0-9]+)/action", NovaState._complete),
    ("POST", f"/servers/{_ID}/action", NovaState._action),
    ("GET", "/os-services", NovaState._services),
    ("PUT", f"/os-services/{_ID}", NovaState._put_service),
    ("GET", "/os-hypervisors/detail", NovaState._hypervisors),
    ("GET", "/os-aggregates", NovaState._aggregates),
    ("GET", "/os-server-groups", NovaState._groups),
    ("GET", "/os-migrations", NovaState._history),
]
