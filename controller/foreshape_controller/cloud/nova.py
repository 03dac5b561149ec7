"""Nova: what is read of it, and the few things that are asked of it.

Every request names its microversion: at most what the service speaks, at most what this module was written for (``KNOWN``).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count

from foreshape_controller.cloud import parse
from foreshape_controller.cloud.call import Json, Service
from foreshape_controller.errors import Gone, Permanent
from foreshape_controller.model.cloud import CloudFlavor, CloudMigration, CloudServer, CloudService, ServerGroup

LEAST = (2, 93)
"""Zed's, the oldest Nova this is tried on; 2023.1 speaks 2.95."""
KNOWN = (2, 96)
"""Of what came later, nothing is needed: 2.96 tells the zone that a server was asked for at boot."""
MIGRATE = "2.30"
"""Newest at which a live migration is answered only after the scheduler and Placement agreed, and which can skip the scheduler: from 2.34
on a refusal shows later, as a migration in ``error``; from 2.68 on there is no ``force``."""
ABORTS_CLEANLY = (2, 96)
"""Largest version of 2024.2 (Nova 30). Nova 32 (32.2.1, not yet 32.0.0) to 34 leave the server of an aborted libvirt migration in ERROR.
Nova 31 does not, but speaks 2.100 at most, as Nova 32 does: nobody can tell them apart from outside."""
PAGE = 1000
"""Rows asked for at once; Nova's own limit may be smaller, and a short page is not the last one."""

Tell = Callable[[str], None]


def _quiet(_: str) -> None:
    """For callers that do not care about rows left out."""


@dataclass(frozen=True)
class ComputeService:
    """One nova-compute, as its service record has it."""

    id: str
    host: str
    zone: str
    enabled: bool
    up: bool
    disabled_why: str = ""
    forced_down: bool = False


@dataclass(frozen=True)
class Node:
    """One hypervisor: the link from a service's host to its resource provider."""

    provider: str
    name: str
    host: str


@dataclass(frozen=True)
class Aggregate:
    """One host aggregate."""

    name: str
    hosts: tuple[str, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class NewServer:
    """What Nova is asked to boot; ids throughout."""

    name: str
    image: str
    flavor: str
    ports: tuple[str, ...] = ()
    """Neutron's; none: the server has no network at all."""
    az: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Nova:
    """The compute service. Everything raises CloudError; lists tell ``tell`` about rows that make no sense and go on."""

    def __init__(self, service: Service, *, aborts_cleanly: bool | None = None) -> None:
        """``aborts_cleanly``: the operator's word for it, for a Nova 31 or a patched one; None: judged by its version."""
        self._service = service
        self._clean = aborts_cleanly
        self._most: tuple[int, int] | None = None

    # -- versions

    def about(self) -> CloudService:
        """What it says of itself now."""
        return self._service.about()

    def status(self, method: str, path: str, body: Json = None) -> int:
        """The status of one answer, whatever it is: to find out what is allowed. Raises CloudError where there is no answer."""
        return self._service.status(method, path, microversion=_dotted(min(self.newest(), KNOWN)), body=body)

    @property
    def ahead_s(self) -> float:
        """How far its clock is ahead of ours, as far as known."""
        return self._service.ahead_s or 0.0

    def newest(self) -> tuple[int, int]:
        """Newest microversion that the service speaks, asked once. Raises Permanent when it is too old for us."""
        if self._most is None:
            self._most = _version(self._service.versions()[1])
        if self._most < LEAST:
            spoken, self._most = self._most, None
            raise Permanent(f"Nova speaks {_dotted(spoken)} at most; {_dotted(LEAST)} (Zed, 2022.2) is the least that can be worked with")
        return self._most

    def aborts_cleanly(self) -> bool:
        """Whether an aborted live migration leaves the server running where it was, and not in ERROR (libvirt)."""
        return self.newest() <= ABORTS_CLEANLY if self._clean is None else self._clean

    def forget_version(self) -> None:
        """Ask for its version again: it may have been upgraded."""
        self._most = None

    def _ask(self, method: str, path: str, *, at: str = "", body: Json = None, params: Mapping[str, str] | None = None) -> Json:
        microversion = at or _dotted(min(self.newest(), KNOWN))
        return self._service.ask(method, path, microversion=microversion, body=body, params=params)

    # -- reading

    def services(self, tell: Tell = _quiet) -> list[ComputeService]:
        """Every nova-compute."""
        body = self._ask("GET", "/os-services", params={"binary": "nova-compute"})
        return list(parse.each(_rows(body, "services"), "service", _service, tell))

    def nodes(self, tell: Tell = _quiet) -> Iterator[Node]:
        """Every hypervisor."""
        for rows in self._pages("/os-hypervisors/detail", "hypervisors", {}):
            yield from parse.each(rows, "hypervisor", _node, tell)

    def aggregates(self, tell: Tell = _quiet) -> list[Aggregate]:
        """Every host aggregate."""
        return list(parse.each(_rows(self._ask("GET", "/os-aggregates"), "aggregates"), "aggregate", _aggregate, tell))

    def servers(self, *, since: float | None = None, tell: Tell = _quiet) -> Iterator[CloudServer]:
        """Of all projects, a page at a time. With ``since`` (epoch s): those changed since, also the deleted ones (``DELETED``)."""
        params = {"all_tenants": "1"}
        if since is not None:
            params["changes-since"] = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for rows in self._pages("/servers/detail", "servers", params):
            yield from parse.each(rows, "server", parse.server, tell)

    def server(self, server: str) -> CloudServer:
        """One server. Raises Gone."""
        return parse.server(self._ask("GET", f"/servers/{server}")["server"])

    def groups(self, tell: Tell = _quiet) -> Iterator[ServerGroup]:
        """Server groups of all projects; their lists page by offset."""
        for begin in count(0, PAGE):
            params = {"all_projects": "True", "limit": str(PAGE), "offset": str(begin)}
            rows = _rows(self._ask("GET", "/os-server-groups", params=params), "server_groups")
            yield from parse.each(rows, "server group", parse.group, tell)
            if len(rows) < PAGE:
                return

    def migrations(
        self, *, server: str = "", status: str = "", host: str = "", since: float | None = None, tell: Tell = _quiet
    ) -> list[CloudMigration]:
        """Migrations of all kinds, newest first; they say nothing of progress. ``since``: changed since that instant (epoch s)."""
        chosen = {"instance_uuid": server, "status": status, "host": host}
        params = {k: v for k, v in chosen.items() if v}
        if since is not None:
            params["changes-since"] = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found: list[CloudMigration] = []
        for rows in self._pages("/os-migrations", "migrations", params, mark="uuid"):
            found += parse.each(rows, "migration", parse.migration, tell)
        return found

    def progress(self, server: str) -> tuple[CloudMigration, ...]:
        """The running migrations of one server, with their bytes; an ended one is not among them. Raises Gone."""
        rows = _rows(self._ask("GET", f"/servers/{server}/migrations"), "migrations")
        return tuple(parse.each(rows, "migration", parse.migration, _quiet))

    def _pages(self, path: str, key: str, params: Mapping[str, str], mark: str = "id") -> Iterator[list[Json]]:
        """Until Nova gives no link to a next page. A marker deleted in between is an error: nothing is skipped silently."""
        asked = {**params, "limit": str(PAGE)}
        while True:
            body = self._ask("GET", path, params=asked)
            rows = _rows(body, key)
            yield rows
            if not rows or not any(link.get("rel") == "next" for link in body.get(f"{key}_links") or ()):
                return
            asked["marker"] = str(rows[-1][mark])

    # -- acting

    def live_migrate(self, server: str, host: str, *, force: bool = False, block: bool | None = None) -> None:
        """Order a move to that host; accepted means that Placement gave the server its place there. ``block``: None lets Nova find out.

        ``force`` skips the scheduler with its filters, traits, aggregates and server groups: the caller must have checked them. The claim
        in Placement is made all the same. Raises NoRoom, Conflict (it is being moved, or in no state for it), Gone; a Temporary with
        ``maybe_done`` says nothing about whether it moves: look at its migrations.
        """
        action = {"host": host, "block_migration": "auto" if block is None else block, "force": force}
        self._ask("POST", f"/servers/{server}/action", at=MIGRATE, body={"os-migrateLive": action})

    def abort(self, server: str, migration: int) -> None:
        """Ask for a running or queued migration to be given up. Look at ``aborts_cleanly`` first. Raises Conflict, Gone (it ended)."""
        self._ask("DELETE", f"/servers/{server}/migrations/{migration}")

    def force_complete(self, server: str, migration: int) -> None:
        """Let it converge by pausing the guest: a downtime. Only in status ``running``. Raises Conflict, Gone (it ended)."""
        self._ask("POST", f"/servers/{server}/migrations/{migration}/action", body={"force_complete": None})

    def reset_state(self, server: str) -> None:
        """Call it ACTIVE again: only for one in ERROR whose guest is known to run. Raises Gone."""
        self._ask("POST", f"/servers/{server}/action", body={"os-resetState": {"state": "active"}})

    def disable(self, service: str, why: str) -> None:
        """Take a host out of the scheduler, by the id of its service. Stays until somebody enables it. Raises Gone."""
        self._ask("PUT", f"/os-services/{service}", body={"status": "disabled", "disabled_reason": why})

    def enable(self, service: str) -> None:
        """Undo ``disable``. Raises Gone."""
        self._ask("PUT", f"/os-services/{service}", body={"status": "enabled"})

    # -- servers of our own, in the project of our credentials

    def create(self, new: "NewServer") -> str:
        """Order a server; its id. Whether it runs shows later. Raises Permanent (403: a quota), NoRoom; a Temporary with ``maybe_done``
        says nothing about whether it comes: look for its name (``named``).
        """
        networks: Json = [{"port": p} for p in new.ports] or "none"
        body = {"name": new.name, "imageRef": new.image, "flavorRef": new.flavor, "networks": networks, "metadata": dict(new.metadata)}
        zone = {"availability_zone": new.az} if new.az else {}
        return str(_read(lambda: self._ask("POST", "/servers", body={"server": {**body, **zone}})["server"]["id"]))

    def named(self, name: str) -> list[CloudServer]:
        """Our project's servers of exactly this name; Nova takes the parameter for a pattern."""
        rows = _rows(self._ask("GET", "/servers/detail", params={"name": f"^{re.escape(name)}$"}), "servers")
        return [s for s in parse.each(rows, "server", parse.server, _quiet) if s.name == name]

    def delete(self, server: str) -> bool:
        """Order its deletion; False: it is not there. Nova keeps ports that it did not make."""
        try:
            self._ask("DELETE", f"/servers/{server}")
        except Gone:
            return False
        return True

    def rename(self, server: str, name: str) -> None:
        """Raises Gone."""
        self._ask("PUT", f"/servers/{server}", body={"server": {"name": name}})

    def tag(self, server: str, metadata: Mapping[str, str]) -> None:
        """Set these keys of its metadata; others stay. Raises Gone, Conflict (it is in no state for it)."""
        self._ask("POST", f"/servers/{server}/metadata", body={"metadata": dict(metadata)})

    def flavor(self, wanted: str) -> tuple[str, CloudFlavor]:
        """Id and contents, by id or name. Raises Gone."""
        for rows in self._pages("/flavors/detail", "flavors", {"is_public": "None"}):
            found = next((r for r in rows if isinstance(r, dict) and wanted in (r.get("id"), r.get("name"))), None)
            if found is not None:
                return _read(partial(_flavor, found))
        raise Gone(f"Nova has no flavor {wanted!r} that this project may use")

    def find_service(self, host: str) -> ComputeService:
        """The nova-compute of a host. Raises Gone."""
        body = self._ask("GET", "/os-services", params={"binary": "nova-compute", "host": host})
        found = list(parse.each(_rows(body, "services"), "service", _service, _quiet))
        if not found:
            raise Gone(f"Nova knows no nova-compute on {host}")
        return found[0]


def _read(parsed: "Callable[[], parse.T]") -> "parse.T":
    """What was parsed, or Permanent: an answer of another shape comes from something else."""
    try:
        return parsed()
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise Permanent(f"Nova's answer has another shape than its API says ({type(e).__name__} {e}): what is at its endpoint?") from e


def _rows(body: Json, key: str) -> list[Json]:
    """A list of an answer. Raises Permanent where there is none: somebody else answers at that address."""
    rows = body.get(key) if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise Permanent(f"Nova's answer has no list of {key}: is something else at its endpoint?")
    return rows


def _service(row: parse.Row) -> ComputeService:
    return ComputeService(
        id=str(row["id"]),
        host=str(row["host"]),
        zone=str(row.get("zone") or ""),
        enabled=row.get("status") == "enabled",
        up=row.get("state") == "up",
        disabled_why=str(row.get("disabled_reason") or ""),
        forced_down=bool(row.get("forced_down")),
    )


def _flavor(row: parse.Row) -> tuple[str, CloudFlavor]:
    return str(row["id"]), parse.flavor({**row, "original_name": row["name"]})


def _node(row: parse.Row) -> Node:
    return Node(provider=str(row["id"]), name=str(row["hypervisor_hostname"]), host=str(row["service"]["host"]))


def _aggregate(row: parse.Row) -> Aggregate:
    metadata = {str(k): str(v) for k, v in (row.get("metadata") or {}).items()}
    return Aggregate(name=str(row["name"]), hosts=tuple(str(h) for h in row["hosts"]), metadata=metadata)


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise Permanent(f"Nova does not say which microversions it speaks ({text!r}): is its endpoint the one of v2.1?")
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
