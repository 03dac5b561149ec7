"""Keystone, Placement and Nova over HTTP in one process, with the semantics that were measured on the real ones.

It is as strict as they are where the controller could be wrong: generations, microversions, ``max_unit``, consumer types, the claim that a
migration makes on its target at once, the server that is ACTIVE before its migration is completed. Glance and Neutron have what pools ask
of them (``emulated_pools.py``). What it does not have:
volumes, cells, and quotas but that of servers. One request at a time changes anything.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import emulated_nova
from emulated_placement import PlacementState
from emulated_pools import GlanceState, NeutronState
from emulated_problem import Problem

ANSWERED_S = 15.0
"""A client waits so long for the emulator: on a busy machine it may be its turn only after a second."""
PROJECT, USER = "5e55000000000000000000000000c10d", "5e55000000000000000000000000a9e7"


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose ``service METHOD path`` the pattern finds."""

    pattern: str
    kind: str
    """``status``: answer that, without doing it. ``slow``: do it after ``seconds``. ``drop``: close the connection without doing it.
    ``lost``: do it, and close the connection without saying so. ``storm``: move the generation of every provider first."""
    times: int = 1
    status: int = 503
    seconds: float = 0.0
    hits: int = 0

    def strikes(self, request: str) -> bool:
        if self.hits >= self.times or not re.search(self.pattern, request):
            return False
        self.hits += 1
        return True


@dataclass
class Emulator:
    """The cloud. Change its fields as you like before and between requests; ``lock`` guards them while it serves."""

    newest: str = "2.104"
    """Microversion that Nova speaks at most: 2.93 Zed, 2.95 2023.1, 2.100 2025.1 and 2025.2, 2.104 2026.2."""
    now: Callable[[], float] = time.time
    placement: PlacementState = field(default_factory=PlacementState)
    glance: GlanceState = field(default_factory=GlanceState)
    neutron: NeutronState = field(default_factory=NeutronState)
    faults: list[Fault] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    """Services that the catalogue does not name: ``compute``, ``placement``, ``identity``, ``image``, ``network``."""
    requests: list[str] = field(default_factory=list)
    """Every one: ``service METHOD path version``."""
    tokens: set[str] = field(default_factory=set)
    logins: int = 0
    url: str = ""
    projects: list[dict[str, str]] = field(default_factory=list)
    """``id`` and ``name`` of others than our own."""
    people: dict[str, Any] = field(default_factory=dict)
    """What Keystone says of others' tokens, by token; see ``give_token``."""
    accounts: dict[str, "Account"] = field(default_factory=dict)
    """Who may log in with a password beside ourselves, by name."""
    clock_ahead_s: float = 0.0
    """Of the clocks of all services, as the headers of their answers tell it."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.nova = emulated_nova.NovaState(self.placement, self.now)
        self.nova.boots.project, self.nova.images = PROJECT, lambda: self.glance.images

    def options(self) -> dict[str, Any]:
        """What clouds.yaml would say."""
        auth = {"auth_url": f"{self.url}/identity/v3", "username": "foreshape", "password": "secret", "project_name": "service"}
        domains = {"user_domain_id": "default", "project_domain_id": "default"}
        return {
            "auth_type": "v3password",
            "auth": {**auth, **domains},
            "region_name": "R1",
            "load_yaml_config": False,
            "load_envvars": False,
        }

    def give_token(self, project: str = "", *roles: str, lasts_s: float = 3600.0, **more: Any) -> str:
        """A token of somebody in a project; ``more``: further parts of Keystone's answer, as ``system={"all": True}``."""
        token, domain = uuid.uuid4().hex, {"id": "default", "name": "Default"}
        where = {"project": {"id": project, "name": f"name of {project}", "domain": domain}} if project else {}
        user = {"id": f"user of {project}", "name": "somebody", "domain": domain}
        said = {"methods": ["password"], "expires_at": _stamp(time.time() + lasts_s), "issued_at": _stamp(time.time()), "user": user}
        with self.lock:
            self.people[token] = {**said, **where, "roles": [{"id": r, "name": r} for r in roles], **more}
        return token

    def expire_tokens(self) -> None:
        with self.lock:
            self.tokens.clear()

    def add_host(self, name: str, **room: Any) -> str:
        """A compute host with its provider; see ``NovaState.add_host``."""
        with self.lock:
            return self.nova.add_host(name, **room)

    def boot(self, host: str = "", **what: Any) -> str:
        """Id of a new server; Problem when it does not fit. See ``NovaState.boot``."""
        with self.lock:
            return self.nova.boot(host, **what)

    # -- serving

    def answer(self, request: "Request") -> tuple[int, Any]:
        """Status and body; Problem is an answer too."""
        try:
            with self.lock:
                self.nova.advance()
                return self._routed(request)
        except Problem as e:
            return e.status, e.body(request.service)

    def _routed(self, request: "Request") -> tuple[int, Any]:
        if request.service == "identity":
            return self._identity(request)
        if request.path in ("", "/"):
            return 200, self._versions(request.service)
        if request.token not in self.tokens:
            raise Problem(401, "The request you have made requires authentication.")
        if request.service == "compute":
            return self.nova.serve(request, self._version(request, self.newest))
        if request.service in ("image", "network"):
            return (self.glance if request.service == "image" else self.neutron).serve(request)
        return self.placement.serve(request, self._version(request, "1.39"))

    def _version(self, request: "Request", newest: str) -> tuple[int, int]:
        asked = _pair(request.microversion or ("2.1" if request.service == "compute" else "1.0"))
        if asked > _pair(newest):
            raise Problem(406, f"Version {request.microversion} is not supported by the API. Maximum is {newest}.")
        return asked

    def _versions(self, service: str) -> Any:
        link = [{"rel": "self", "href": f"{self.url}/{service}/" + ("v2.1/" if service == "compute" else "")}]
        if service == "compute":
            return {"version": {"id": "v2.1", "status": "CURRENT", "version": self.newest, "min_version": "2.1", "links": link}}
        if service in ("image", "network"):
            root = next(r for r, name in _ROOTS.items() if name == service)
            version = [{"rel": "self", "href": f"{self.url}{root}/"}]
            return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": version}]}
        return {"versions": [{"id": "v1.0", "status": "CURRENT", "max_version": "1.39", "min_version": "1.0", "links": link}]}

    def _identity(self, request: "Request") -> tuple[int, Any]:
        if request.path == "/auth/tokens" and request.method == "POST":
            return self._login(request.body)
        if request.path in ("", "/"):
            link = [{"rel": "self", "href": f"{self.url}/identity/v3/"}]
            return 200, {"version": {"id": "v3.14", "status": "stable", "links": link}}
        if request.token not in self.tokens:
            raise Problem(401, "The request you have made requires authentication.")
        if request.path == "/auth/tokens" and request.method == "GET":
            if request.subject not in self.people:
                raise Problem(404, "Failed to validate token")
            return 200, {"token": self.people[request.subject]}
        if request.path == "/projects":
            return 200, {"projects": [{"id": PROJECT, "name": "service"}, *self.projects]}
        raise Problem(404, f"Could not find {request.path}.")

    def _login(self, body: Any) -> tuple[int, Any]:
        said = body["auth"]["identity"]["password"]["user"]
        if said["name"] != "foreshape":
            return self._account(self.accounts.get(said["name"]), said, body["auth"].get("scope") or {})
        if said["password"] != "secret":
            raise Problem(401, "The request you have made requires authentication.")
        self.logins += 1
        token = uuid.uuid4().hex
        self.tokens.add(token)
        where = {"identity": "identity/v3", "compute": "compute/v2.1", "placement": "placement", "image": "image", "network": "network"}
        catalogue = [
            {
                "type": t,
                "name": t,
                "id": t,
                "endpoints": [{"id": t, "interface": "public", "region": "R1", "region_id": "R1", "url": f"{self.url}/{p}"}],
            }
            for t, p in where.items()
            if t not in self.without
        ]
        until = _stamp(time.time() + 3600)
        domain = {"id": "default", "name": "Default"}
        said = {
            "methods": ["password"],
            "expires_at": until,
            "issued_at": until,
            "catalog": catalogue,
            "roles": [{"id": "r", "name": "foreshape"}],
            "user": {"id": USER, "name": "foreshape", "domain": domain},
            "project": {"id": PROJECT, "name": "service", "domain": domain},
        }
        return 201, {"token": said, "_subject": token}

    def _account(self, who: "Account | None", said: Any, scope: Any) -> tuple[int, Any]:
        """As Keystone: what is wrong with a login is not told, but for a password that is right and has expired."""
        if who is None or (said["password"], said["domain"]["name"]) != (who.password, who.domain):
            raise Problem(401, "The request you have made requires authentication.")
        if who.expired:
            raise Problem(401, f"The password is expired and needs to be changed for user: {said['name']}.")
        if who.second_factor:
            receipt = {"methods": ["password"], "expires_at": _stamp(time.time() + 300), "issued_at": _stamp(time.time())}
            return 401, {"receipt": receipt, "required_auth_methods": [["password", "totp"]], "_receipt": "a-receipt"}
        if "system" in scope:
            token = self.give_token("", *who.roles, system={"all": True})
        else:
            wanted = scope.get("project", {}).get("name", "")
            if wanted not in ("", who.project):
                raise Problem(401, "The request you have made requires authentication.")
            token = self.give_token(who.project if wanted or who.by_default else "", *who.roles)
        return 201, {"token": dict(self.people[token]), "_subject": token}


@dataclass(frozen=True)
class Account:
    """Somebody with a password in the emulated Keystone."""

    password: str
    project: str
    roles: tuple[str, ...] = ("member", "reader")
    domain: str = "Default"
    by_default: bool = False
    """``project`` is his default one."""
    second_factor: bool = False
    expired: bool = False


@dataclass(frozen=True)
class Request:
    """One request, without its HTTP."""

    service: str
    method: str
    path: str
    """Behind the service's endpoint."""
    query: dict[str, str]
    body: Any
    microversion: str
    token: str
    subject: str = ""
    """The token that is asked about."""


_ROOTS = {
    "/identity/v3": "identity",
    "/compute/v2.1": "compute",
    "/placement": "placement",
    "/image/v2": "image",
    "/image": "image",
    "/network/v2.0": "network",
    "/network": "network",
}


@contextmanager
def running(emulator: Emulator) -> Iterator[Emulator]:
    """Served on a free port of loopback until the end of the block."""

    class Handler(_Handler):
        cloud = emulator

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    emulator.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield emulator
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cloud: Emulator

    def _serve(self) -> None:
        request = self._request()
        name = f"{request.service} {request.method} {request.path}"
        with self.cloud.lock:
            self.cloud.requests.append(f"{name} {request.microversion}")
            fault = next((f for f in self.cloud.faults if f.strikes(name)), None)
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "storm":
            self.cloud.placement.storm()
        if fault and fault.kind == "drop":
            self._hang_up()
            return
        status, body = (
            (fault.status, Problem(fault.status, "made to fail").body(request.service))
            if fault and fault.kind == "status"
            else self.cloud.answer(request)
        )
        if fault and fault.kind == "lost":
            self._hang_up()
            return
        self._send(status, body)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def _request(self) -> Request:
        url = urlsplit(self.path)
        root = next((r for r in _ROOTS if url.path == r or url.path.startswith(r + "/")), "")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        version = (self.headers.get("OpenStack-API-Version") or "").split(" ")[-1]
        path = url.path[len(root) :].rstrip("/")
        token = self.headers.get("X-Auth-Token") or ""
        return Request(
            _ROOTS.get(root, "none"),
            self.command,
            path,
            dict(parse_qsl(url.query)),
            body,
            version,
            token,
            self.headers.get("X-Subject-Token") or "",
        )

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.cloud.clock_ahead_s)

    def _send(self, status: int, body: Any) -> None:
        subject = body.pop("_subject", "") if isinstance(body, dict) else ""
        receipt = body.pop("_receipt", "") if isinstance(body, dict) else ""
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if receipt:
            self.send_header("Openstack-Auth-Receipt", receipt)
        if subject:
            self.send_header("X-Subject-Token", subject)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Nothing on the terminal."""


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def _pair(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)
