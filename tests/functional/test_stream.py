"""``GET /v1/stream`` against a real server: what is told arrives, in order, to those whom it concerns, and nobody holds up anybody."""

import json
import logging
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import ClassVar

import httpx
import msgspec
import pytest
import structlog

from foreshape_controller.errors import Unauthenticated
from foreshape_controller.main import build
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.reclaim import Notice
from foreshape_controller.store.notices import write
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores
from store_support import T0, ask, card, report, sample, settings, size

pytestmark = pytest.mark.functional

DEADLINE_S = 10.0


def tenant(token):
    """Keystone's part: a token is a project's name."""
    return Caller(user=f"u-{token}", project=token, roles=frozenset({"reader", "member"}))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    plain = settings(tmp_path_factory.mktemp("stream"))
    told = replace(plain, api=replace(plain.api, streams=12, project_streams=3), identity=replace(plain.identity, token_cache_s=0))
    made = build(told, lambda: T0 + 100, tokens=Keystone())
    yield made
    made.store.close()


class Keystone:
    revoked: ClassVar = set()

    def known(self, token):
        if token in self.revoked:
            raise Unauthenticated("revoked")
        return tenant(token)

    def ask(self, token):
        return tenant(token)


@pytest.fixture(scope="module")
def served(world):
    with Serving(world, 0) as serving:
        yield serving


class Reading:
    """One open stream and what came of it, event by event."""

    def __init__(self, reply):
        self.reply, self._lines = reply, reply.iter_lines()

    def event(self):
        """The next event: kind, data, id. Comments are passed over."""
        found = {}
        for line in self._lines:
            if not line and "data" in found:
                return found["event"], json.loads(found["data"]), found["id"]
            name, _, value = line.partition(": ")
            found[name] = value
        return None


@contextmanager
def stream(served, world, token=None, last=None, kinds=""):
    headers = {"X-Auth-Token": token} if token else {"Authorization": f"Bearer {world.admin_token}"}
    headers |= {"Last-Event-ID": last} if last else {}
    query = {"kinds": kinds} if kinds else {}
    with httpx.stream("GET", f"{served.url}/v1/stream", headers=headers, params=query, timeout=DEADLINE_S) as reply:
        assert reply.status_code == 200, reply.read()
        reading = Reading(reply)
        assert next(reading._lines) == "retry: 3000"
        yield reading


def refused(served, world, status, **headers):
    reply = httpx.get(f"{served.url}/v1/stream", headers=headers, timeout=DEADLINE_S)
    assert reply.status_code == status
    return reply.json()


def notice(project, text):
    return Notice(at=T0, project=project, server="vm-1", name="web-1", kind="cap", text=text)


def test_what_happens_is_told_at_once(served, world):
    with stream(served, world, kinds="mode") as operator:
        world.store.modes.set("server:vm-9", Mode.OBSERVE, "a reason", T0)
        kind, data, _ = operator.event()
        assert (kind, data["scope"], data["mode"], data["reason"]) == ("mode", "server:vm-9", "observe", "a reason")


def test_a_tenant_is_told_of_his_own_project_only(served, world):
    with stream(served, world, "p1", kinds="notice") as p1, stream(served, world, kinds="notice") as operator:
        world.store.notices.put([notice("p2", "not yours"), notice("", "nobody's"), notice("p1", "yours")])
        assert p1.event()[1]["text"] == "yours"
        assert [operator.event()[1]["text"] for _ in range(3)] == ["not yours", "nobody's", "yours"]


def test_hosts_and_reasons_of_the_cloud_are_the_operators_alone(served, world):
    halt = Halt(scope="cloud", kind="outage", state="open", since=T0, until=T0 + 60, reason="3 of 4 hosts are silent")
    with stream(served, world, "p1", kinds="stop") as p1, stream(served, world, kinds="stop") as operator:
        world.store.halts.save([halt])
        assert "reason" not in p1.event()[1]
        assert operator.event()[1]["reason"] == halt.reason


def test_a_halt_that_only_lasts_is_told_once(served, world):
    halt = Halt(scope="host:n1", kind="failures", state="open", since=T0, until=T0 + 60, reason="r")
    with stream(served, world, kinds="stop,mode") as operator:
        world.store.halts.save([halt])
        world.store.halts.save([halt])
        world.store.modes.set("cloud", Mode.ADVISE, "the last one", T0)
        assert [operator.event()[0], operator.event()[0]] == ["stop", "mode"]


def test_the_stream_of_a_token_that_is_revoked_ends_and_others_go_on(served, world):
    with stream(served, world, "p7", kinds="notice") as revoked, stream(served, world, "p8", kinds="notice") as other:
        Keystone.revoked.add("p7")
        assert revoked.event() is None
        world.store.notices.put([notice("p8", "goes on")])
        assert other.event()[1]["text"] == "goes on"


def test_the_stream_of_a_session_that_is_ended_ends(served, world):
    with httpx.Client(base_url=served.url, timeout=DEADLINE_S) as browser:
        said = browser.post("/v1/session", headers={"X-Auth-Token": "p9"}).json()
        with browser.stream("GET", "/v1/stream") as reply:
            reading = Reading(reply)
            assert next(reading._lines) == "retry: 3000"
            assert httpx.delete(
                f"{served.url}/v1/session", cookies=dict(browser.cookies), headers={"X-Foreshape-CSRF": said["csrf"]}
            ).is_success
            assert reading.event() is None


def put_and_fail(db):
    with db.write() as conn:
        write(conn, [notice("p1", "never was")])
        raise ZeroDivisionError


def test_what_was_rolled_back_is_told_to_nobody(served, world):
    with stream(served, world, kinds="notice") as operator:
        with pytest.raises(ZeroDivisionError):
            put_and_fail(world.store.db)
        world.store.notices.put([notice("p1", "was")])
        assert operator.event()[1]["text"] == "was"


def squeezed(server):
    plain = sample(server, cores=0.1)
    return msgspec.structs.replace(plain, cpu=msgspec.structs.replace(plain.cpu, allocation=Cores(0.1)))


def test_a_plan_tells_each_project_its_servers(served, world):
    world.store.modes.set("cloud", Mode.ACT, "a test", T0)
    plain = (card("vm-1", name="web-1", project="p1"), card("vm-2", name="db-1", project="p2"))
    cards = tuple(msgspec.structs.replace(c, allocation=size(0.1, 2048)) for c in plain)
    samples = [squeezed("vm-1"), squeezed("vm-2")]
    ask(world.intake, report(1, T0 + 99, samples, cards=cards), now=T0 + 100)
    with stream(served, world, "p1", kinds="allocation,plan") as p1, stream(served, world, kinds="allocation,plan") as operator:
        world.plan_loop.run_once(T0 + 100)
        kind, data, _ = p1.event()
        (server,) = data["servers"]
        assert (kind, server["server"], server["cpu"]["choice"]) == ("allocation", "vm-1", "grow")
        assert "host" not in server
        told = [operator.event() for _ in range(3)]
        assert sorted(k for k, _, _ in told) == ["allocation", "allocation", "plan"]
        assert {s["host"] for k, d, _ in told if k == "allocation" for s in d["servers"]} == {"hv1"}


def test_a_stream_goes_on_where_it_was_left(served, world):
    with stream(served, world, kinds="notice") as first:
        world.store.notices.put([notice("p1", "one"), notice("p1", "two")])
        _, _, seen = first.event()
    world.store.notices.put([notice("p1", "three")])
    with stream(served, world, last=seen, kinds="notice") as again:
        assert [again.event()[1]["text"] for _ in range(2)] == ["two", "three"]


@pytest.mark.parametrize("last", ["0123abcd-5", "nonsense", "\u00b2-\u00b2".encode("latin-1").decode("latin-1"), "-" * 50])
def test_a_place_that_nobody_remembers_is_lost_and_said_so(served, world, last):
    headers = [(b"last-event-id", last.encode("latin-1")), (b"authorization", f"Bearer {world.admin_token}".encode())]
    with httpx.stream("GET", f"{served.url}/v1/stream", headers=headers, timeout=DEADLINE_S) as reply:
        assert Reading(reply).event()[0] == "lost"


def test_one_who_falls_behind_is_told_so_and_dropped(served, world):
    with stream(served, world, kinds="notice") as reading:
        first = world.store.bus._next
        for _ in range(len(world.store.bus._ring)):
            world.store.bus.publish("plan", "", {})
        world.store.notices.put([notice("p1", "x")])
        told = reading.event()
        assert told[0] in ("lost", "notice")  # a reader as fast as this one may have kept up
        assert world.store.bus._next > first


def test_more_streams_than_a_project_may_have_are_refused_and_places_come_back(served, world):
    with ExitStack() as open_ones:
        for _ in range(3):
            open_ones.enter_context(stream(served, world, "p3"))
        assert refused(served, world, 503, **{"X-Auth-Token": "p3"})["code"] == "unavailable"
        with stream(served, world, "p4"):
            pass
    until = time.monotonic() + DEADLINE_S
    while world.app.state.streams._open["p3"] and time.monotonic() < until:
        time.sleep(0.01)
    with stream(served, world, "p3"):
        pass


def test_open_streams_take_no_worker_from_other_requests(served, world):
    with ExitStack() as open_ones:
        for k in range(11):
            open_ones.enter_context(stream(served, world, f"w{k}"))
        began = time.monotonic()
        for _ in range(5):
            assert httpx.get(f"{served.url}/healthz", timeout=DEADLINE_S).status_code == 200
            assert httpx.get(f"{served.url}/readyz", timeout=DEADLINE_S).status_code == 200
        assert time.monotonic() - began < DEADLINE_S


def test_a_client_that_reads_nothing_holds_up_nobody(served, world):
    """It never reads; its socket's buffers fill, and everybody else is told all the same."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stuck, stream(served, world, kinds="notice") as reading:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.admin_token}\r\n\r\n".encode())
        big = "x" * 20_000
        teller = threading.Thread(target=lambda: [world.store.bus.publish("plan", "", {"n": big}) for _ in range(400)])
        teller.start()
        teller.join(DEADLINE_S)
        world.store.notices.put([notice("p1", "told")])
        assert reading.event()[1]["text"] == "told"


def test_unknown_kinds_are_refused_by_name(served, world):
    reply = httpx.get(f"{served.url}/v1/stream?kinds=plan,gossip", headers={"Authorization": f"Bearer {world.admin_token}"})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid")
    assert "gossip" in reply.json()["detail"]


def test_nobody_without_a_token_is_told_anything(served, world):
    assert refused(served, world, 401)["code"] == "unauthenticated"


def test_a_client_that_takes_nothing_loses_its_place(served, world, monkeypatch):
    monkeypatch.setattr("foreshape_controller.api.stream.STUCK_S", 0.3)
    host, port = served.url.removeprefix("http://").split(":")
    places = world.app.state.streams._open
    with socket.create_connection((host, int(port))) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nX-Auth-Token: p9\r\n\r\n")
        assert wait_for(lambda: places["p9"] == 1)
        for _ in range(400):
            world.store.bus.publish("notice", "p9", {"text": "x" * 50_000})
        assert wait_for(lambda: places["p9"] == 0)


def wait_for(true):
    until = time.monotonic() + DEADLINE_S
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_a_stream_ends_when_the_controller_does(world, tmp_path):
    """Nobody waits for a client that would stay for ever."""
    other = build(settings(tmp_path), lambda: T0 + 100, tokens=Keystone())
    with ExitStack() as server:
        serving = server.enter_context(Serving(other, 0))
        with stream(serving, other) as reading:
            began = time.monotonic()
            server.close()
            assert reading.event() is None
            assert time.monotonic() - began < DEADLINE_S
    other.store.close()
