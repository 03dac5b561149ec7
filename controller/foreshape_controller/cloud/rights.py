"""Which of its rights the controller's role has, found out without changing anything.

Nova and Placement look at the policy before they look at what a request is about. So a request about something that does not exist, or
with a body that makes no sense, is refused with 403 where the right is missing, and with 400 or 404 where it is there. Nova's requests
about a server are the exception: there the server is looked for first, and nobody's server is touched to find out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from foreshape_controller.cloud.call import Json
from foreshape_controller.errors import CloudError
from foreshape_controller.model.cloud import Right

ADMIN = "admin"
"""Role that every default policy grants what is listed here."""
ADVICE, RESERVE, MIGRATE, DRAIN, SELL = "advice", "reservations", "migrations", "drains", "selling"
NOWHERE = "{nowhere}"
"""In a path: the id of something that does not exist."""


class Asks(Protocol):
    """A service's door: the status of one answer."""

    def status(self, method: str, path: str, body: Json = None) -> int: ...


@dataclass(frozen=True)
class _Try:
    service: str
    request: str
    policy: str
    needed_for: str
    body: Json = None
    telling: bool = True
    """Whether an answer tells: not where Nova looks for the server before it looks at the policy."""


_READING = [
    ("nova", "GET /servers/detail?all_tenants=1&limit=1", "os_compute_api:servers:detail:get_all_tenants"),
    ("nova", "GET /os-services?binary=nova-compute", "os_compute_api:os-services:list"),
    ("nova", "GET /os-hypervisors/detail?limit=1", "os_compute_api:os-hypervisors:list-detail"),
    ("nova", "GET /os-aggregates", "os_compute_api:os-aggregates:index"),
    ("nova", "GET /os-server-groups?all_projects=True&limit=1", "os_compute_api:os-server-groups:index:all_projects"),
    ("nova", "GET /os-migrations?limit=1", "os_compute_api:os-migrations:index"),
    ("placement", "GET /resource_providers", "placement:resource_providers:list"),
    ("placement", f"GET /resource_providers/{NOWHERE}/inventories", "placement:resource_providers:inventories:list"),
    ("placement", f"GET /resource_providers/{NOWHERE}/usages", "placement:resource_providers:usages"),
    ("placement", f"GET /resource_providers/{NOWHERE}/allocations", "placement:resource_providers:allocations:list"),
    ("placement", f"GET /resource_providers/{NOWHERE}/traits", "placement:resource_providers:traits:list"),
    ("placement", f"GET /allocations/{NOWHERE}", "placement:allocations:list"),
    ("placement", "GET /allocation_candidates?resources=VCPU:1&limit=1", "placement:allocation_candidates:list"),
    ("keystone", "GET /projects", "identity:list_projects"),
]
_SENSELESS: Json = []
"""A body that no request takes."""
TRIES = (
    *(_Try(service, request, policy, ADVICE) for service, request, policy in _READING),
    _Try("placement", f"PUT /allocations/{NOWHERE}", "placement:allocations:update", RESERVE, _SENSELESS),
    _Try("placement", "POST /allocations", "placement:allocations:manage", RESERVE, _SENSELESS),
    _Try("placement", f"DELETE /allocations/{NOWHERE}", "placement:allocations:delete", RESERVE),
    _Try("placement", f"PUT /resource_providers/{NOWHERE}/traits", "placement:resource_providers:traits:update", MIGRATE, _SENSELESS),
    _Try("nova", f"POST /servers/{NOWHERE}/action", "os_compute_api:os-migrate-server:migrate_live", MIGRATE, telling=False),
    _Try("nova", f"DELETE /servers/{NOWHERE}/migrations/1", "os_compute_api:servers:migrations:delete", MIGRATE, telling=False),
    _Try("nova", f"PUT /os-services/{NOWHERE}", "os_compute_api:os-services:update", DRAIN, {"status": "enabled"}),
    _Try(
        "placement", f"PUT /resource_providers/{NOWHERE}/inventories", "placement:resource_providers:inventories:update", SELL, _SENSELESS
    ),
)


def check(doors: Mapping[str, Asks], roles: frozenset[str]) -> tuple[Right, ...]:
    """Try everything that can be tried. Never raises: what nobody answered is unknown."""
    return tuple(_found(doors, roles))


def _found(doors: Mapping[str, Asks], roles: frozenset[str]) -> Iterator[Right]:
    for one in TRIES:
        state, why = _tried(doors[one.service], one, roles) if one.telling else _by_role(roles)
        yield Right(
            what=one.request.split("?")[0].replace(NOWHERE, "{id}"), policy=one.policy, needed_for=one.needed_for, state=state, why=why
        )


def _tried(door: Asks, one: _Try, roles: frozenset[str]) -> tuple[str, str]:
    method, path = one.request.replace(NOWHERE, str(uuid4())).split(" ")
    try:
        status = door.status(method, path, one.body)
    except CloudError as e:
        return "unknown", str(e)
    if status == 403:
        return "refused", "the role lacks this policy" + ("" if ADMIN not in roles else ", although it is admin: a policy file says so")
    if status < 300 or status in (400, 404):
        return "granted", ""
    return "unknown", f"the answer was {status}"


def _by_role(roles: frozenset[str]) -> tuple[str, str]:
    if ADMIN in roles:
        return "granted", "by the default policy of the role admin"
    return "unknown", "cannot be tried without a server: the first migration tells"
