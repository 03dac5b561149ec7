"""Requests on a real Keystone, Placement and Nova: what is promised is held there, kept from others, comes to its owner, and is given back.

The owner is an ordinary member of a project, with nothing but his own Keystone token; the controller is a process that is killed; what it
holds is looked at in Placement itself, by an administrator.
"""

import contextlib
import hashlib
import hmac
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from foreshape_cloudbed import Cloud
from foreshape_cloudbed.users import NoValidHost, Users

from cloud_bed import CloudHands
from controller_support import Controller, written
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.model.cloud import RESERVATION
from lab_support import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SIZE = {"vcpus": 2, "ram": 256}
BOOTED = {**SIZE, "disk": 1}
"""Nova gives no disk of an image to whoever is no administrator without a size for it."""
HELD = {"VCPU": 2, "MEMORY_MB": 256}
LEAD_S = 4.0
TAKE_S = 60.0
OPTIONS = {
    "cloud": "enabled = true\nname = foreshape\ninterval_s = 1\nfull_every_s = 10\ntimeout_s = 20",
    "reservations": f"interval_s = 1\nlead_s = {LEAD_S:g}\naudit_every_s = 10\norphan_grace_s = 0",
    "requests": f"interval_s = 1\ntake_s = {TAKE_S:g}\ncritical_share = 0\nproject_share = 1\n"
    "webhook_http = true\nwebhook_networks = 127.0.0.0/8",
    "learn": "enabled = false",
    "identity": "requests_per_minute = 100000\nwrites_per_minute = 100000",
}


class Hook:
    """Somebody's web server that is told what becomes of his requests."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append((self.headers["X-Foreshape-Signature"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/told"

    def events(self, wanted: str, secret: str) -> list[str]:
        """Of one request, each once, by when it happened; each signed with the secret."""
        found = {}
        for signature, body in list(self.got):
            at, _, mac = signature.removeprefix("t=").partition(",v1=")
            assert hmac.compare_digest(mac, hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest())
            said = json.loads(body)
            if said["request"]["id"] == wanted:
                found[said["delivery"]] = (said["at"], said["event"])
        return [event for _, event in sorted(found.values(), key=lambda told: told[0])]


class Here:
    """The controller on the cloud, its owner's hands, and an administrator's eyes."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.bed, self.hands = cloud, CloudHands(cloud)
        self.conf = written(folder, **OPTIONS)
        self.member = Users(cloud.access("demo"), image=lambda _: self.hands.users.image)
        self.member._flavors = {(BOOTED["vcpus"], BOOTED["ram"], BOOTED["disk"]): self.hands.users.flavor(**BOOTED)}
        self.start()
        self.ask("PUT", "/v1/mode", {"scope": "cloud", "mode": "act", "reason": "a test"}, admin=True)
        eventually(lambda: self.ask("GET", "/v1/cloud", admin=True)["hosts"] == len(cloud.hosts), "the cloud read", 60)

    def start(self) -> None:
        self.controller = Controller(self.conf, {"OS_CLIENT_CONFIG_FILE": str(self.bed.places.clouds_yaml)})
        self.url = self.controller.url

    def headers(self, *, admin: bool = False) -> dict[str, str]:
        return self.controller.admin if admin else {"X-Auth-Token": self.member.link.auth_token}

    def ask(self, method: str, path: str, body: object = None, *, admin: bool = False) -> Any:
        reply = httpx.request(method, self.url + path, json=body, headers=self.headers(admin=admin), timeout=60)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def request(self, **said: object) -> Any:
        """By the member."""
        return self.ask("POST", "/v1/requests", {**SIZE, "for_s": 3600.0, **said})

    def shown(self, wanted: str) -> Any:
        return self.ask("GET", f"/v1/requests/{wanted}", admin=True)

    def becomes(self, wanted: str, state: str, within_s: float = 60) -> Any:
        def is_so() -> Any:
            found = self.shown(wanted)
            return found if found["state"] == state else None

        return eventually(is_so, f"{wanted} {state}", within_s)

    # -- what is in Placement

    def held(self) -> dict[str, tuple[str, dict[str, int]]]:
        """Consumers of our type: host, and what they hold there."""
        placement, found = self.hands.cloud.placement, {}
        for host in self.hosts():
            for consumer, amounts in placement.holders(host.provider).items():
                if placement.allocation(consumer).type.startswith(RESERVATION):
                    found[consumer] = host.name, dict(amounts)
        return found

    def held_for(self, wanted: str) -> dict[str, tuple[str, dict[str, int]]]:
        """Of those, the ones of a request, by the controller's own books."""
        rows = [r for r in self.ask("GET", "/v1/reservations?all=true", admin=True) if r["owner"] == f"request:{wanted}"]
        mine = {c for r in rows for c in self.ask("GET", f"/v1/reservations/{r['id']}", admin=True)["consumers"]}
        return {consumer: what for consumer, what in self.held().items() if consumer in mine}

    def read_again(self) -> None:
        """The controller knows what is so now: what it promises is by its newest reading."""
        now = time.time()
        eventually(lambda: (self.ask("GET", "/v1/cloud", admin=True)["read_at"] or 0) > now, "the cloud read again", 60)

    def hosts(self) -> Any:
        view = read_cloud(self.hands.cloud.nova, self.hands.cloud.placement, time.time)
        return sorted(view.hosts.values(), key=lambda h: h.name)

    def fill(self, but: int, where: str) -> list[str]:
        """Consumers of somebody's that hold every VCPU of every host, but so many of one."""
        me, placement, made = self.hands.cloud.keystone.me(), self.hands.cloud.placement, list[str]()
        for number, host in enumerate(self.hosts()):
            left = host.free("VCPU") - (but if host.name == where else 0)
            while left > 0:
                consumer = f"00000000-0000-4000-8000-{number:04d}{len(made):08d}"
                some = {host.provider: {"VCPU": min(left, host.inventories["VCPU"].max_unit)}}
                placement.put_allocation(consumer, some, generation=None, type="SOMEBODY", project=me.project, user=me.user)
                made.append(consumer)
                left -= host.inventories["VCPU"].max_unit
        return made


@pytest.fixture(scope="module")
def here(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    made = Here(cloud, tmp_path_factory.mktemp("controller"))
    try:
        yield made
    finally:
        made.controller.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def forgotten(here: Here) -> Any:
    """One whose owner never comes; its time passes while the others are tried."""
    made = here.request(name="forgotten")
    return here.becomes(made["id"], "started")


@pytest.fixture
def full(here: Here, forgotten: Any) -> Iterator[None]:
    """Nothing is free but two servers' worth on the second host."""
    others = here.fill(2 * SIZE["vcpus"], here.bed.hosts[1])
    here.read_again()
    yield
    for consumer in others:
        here.hands.cloud.placement.delete_allocation(consumer)
    here.hands.users.clear()
    here.read_again()


@pytest.mark.usefixtures("full")
def test_what_is_admitted_is_held_from_everybody_and_comes_to_its_owner_who_is_no_administrator(here: Here) -> None:
    made = here.request(count=2)
    assert (made["state"], made["reason_code"], made["hosts"], made["bookkeeping"]) == ("started", "now", [], False)
    target = here.bed.hosts[1]
    assert here.shown(made["id"])["hosts"] == [{"host": target, "count": 2}]
    assert sorted(here.held_for(made["id"]).values(), key=str) == [(target, HELD)] * 2
    for users in (here.hands.users, here.member):
        with pytest.raises(NoValidHost):
            users.boot(**BOOTED)
    assert here.ask("POST", f"/v1/requests/{made['id']}/take")["state"] == "fulfilled"
    assert here.held_for(made["id"]) == {}
    servers = [here.member.boot(**BOOTED) for _ in range(2)]
    assert [here.hands.users.host_of(s) for s in servers] == [target, target]


class Told(threading.Thread):
    """What the member's stream says of one request."""

    def __init__(self, here: Here) -> None:
        super().__init__(daemon=True)
        self.heard: list[dict[str, Any]] = []
        self._asked = httpx.stream("GET", f"{here.url}/v1/stream?kinds=request", headers=here.headers(), timeout=90)

    def run(self) -> None:
        with contextlib.suppress(httpx.HTTPError), self._asked as reply:
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    self.heard.append(json.loads(line.removeprefix("data: ")))

    def events(self, wanted: str) -> list[str]:
        return [d["event"] for d in list(self.heard) if d["id"] == wanted]


def test_one_for_later_is_held_in_time_told_by_stream_and_webhook_and_a_cancel_gives_it_back(here: Here) -> None:
    hook, told = Hook(), Told(here)
    mine = here.ask("POST", "/v1/webhooks", {"url": hook.url})
    told.start()
    made = here.request(earliest=time.time() + 2 * LEAD_S + 2, name="later")
    assert made["state"] == "scheduled"
    assert here.held_for(made["id"]) == {}
    eventually(lambda: here.held_for(made["id"]), "room held for it", 60, every_s=0.1)
    assert time.time() < made["start"], "before it starts"
    assert here.shown(made["id"])["state"] == "scheduled"
    started = here.becomes(made["id"], "started")
    assert started["changed"] >= made["start"]
    assert [amounts for _, amounts in here.held_for(made["id"]).values()] == [HELD]
    assert here.ask("DELETE", f"/v1/requests/{made['id']}?reason=not+needed")["state"] == "cancelled"
    assert here.held_for(made["id"]) == {}
    way = [f"request_{state}" for state in ("queued", "scheduled", "admitted", "started", "cancelled")]
    eventually(lambda: told.events(made["id"])[-1:] == way[-1:], "the end, by the stream", 30)
    eventually(lambda: hook.events(made["id"], mine["secret"])[-1:] == way[-1:], "the end, by the webhook", 30)
    assert told.events(made["id"]) == way
    assert sorted(hook.events(made["id"], mine["secret"])) == sorted(way)
    here.ask("DELETE", f"/v1/webhooks/{mine['id']}")


def test_a_controller_killed_while_placement_is_being_asked_holds_the_room_once(here: Here) -> None:
    before = here.held()
    with here.bed.frozen("placement"):
        asking = threading.Thread(target=_asked_in_vain, args=(here, "killed"), daemon=True)
        asking.start()
        eventually(lambda: "killed" in _asked_for(here), "a write that Placement does not answer", 30, every_s=0.05)
        here.controller.end(signal.SIGKILL)
    asking.join(30)
    here.start()
    (found,) = [r for r in here.ask("GET", "/v1/requests") if r["name"] == "killed"]
    here.becomes(found["id"], "started")
    assert [amounts for _, amounts in here.held_for(found["id"]).values()] == [HELD]
    assert here.held().keys() - before.keys() == here.held_for(found["id"]).keys(), "and nothing is held for nobody"
    here.ask("DELETE", f"/v1/requests/{found['id']}")
    assert not here.held().keys() - before.keys()


def _asked_in_vain(here: Here, name: str) -> None:
    with contextlib.suppress(httpx.HTTPError, AssertionError):
        here.request(name=name)


def _asked_for(here: Here) -> str:
    """The reservations that Placement was asked for and did not answer yet."""
    with contextlib.closing(sqlite3.connect(f"file:{here.conf.parent}/controller.db?mode=ro", uri=True)) as db:
        rows = db.execute("select data from reservations").fetchall()
    return " ".join(row[0].decode() for row in rows if b'"asked"' in row[0])


def test_while_placement_is_away_what_is_due_stays_and_says_so_and_is_held_when_it_is_back(here: Here) -> None:
    made = here.request(earliest=time.time() + LEAD_S + 3, name="away")
    assert made["state"] == "scheduled"
    with here.bed.without("placement"):
        waits = here.becomes(made["id"], "admitted")
        eventually(lambda: "its room is not held yet" in here.shown(made["id"])["said"], "a word of it", 30)
        assert "its room is not held yet" in here.ask("GET", f"/v1/requests/{made['id']}")["said"], "to its owner, too"
        assert waits["changed"] >= made["start"]
    started = here.becomes(made["id"], "started")
    assert "its room is held" in started["said"]
    assert [amounts for _, amounts in here.held_for(made["id"]).values()] == [HELD]
    with here.bed.without("placement"):
        gone = here.ask("DELETE", f"/v1/requests/{made['id']}")
        assert (gone["state"], "given back as soon as it does" in gone["said"]) == ("cancelled", True)
    eventually(lambda: not here.held_for(made["id"]), "what was held is given back", 60)


def test_whose_owner_does_not_come_is_over_and_holds_nothing(here: Here, forgotten: Any) -> None:
    over = here.becomes(forgotten["id"], "expired", TAKE_S + 60)
    assert over["changed"] >= forgotten["take_by"]
    assert "did not come in time" in over["said"]
    eventually(lambda: not here.held(), "nothing of ours in Placement", 30)
    eventually(lambda: here.ask("GET", "/v1/reservations", admin=True) == [], "no reservation", 30)
