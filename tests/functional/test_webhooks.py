"""What becomes of requests is told to webhooks: signed, to the address that was checked, tried again later and later."""

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foreshape_controller.errors import ConfigError, Invalid
from foreshape_controller.loops.hook_door import HookDoor, HookTerms, checked, networks
from foreshape_controller.loops.webhooks import TRIES, Webhooks, _Silent, wait
from foreshape_controller.model.request import Delivery
from foreshape_controller.store import Store
from foreshape_controller.store.requests import _delivery_row
from foreshape_controller.store.schema import webhook_deliveries
from store_support import T0, settings

pytestmark = pytest.mark.functional

HERE = networks(["127.0.0.0/8"])


class Receiver:
    """Somebody's server: answers as told, and remembers."""

    def __init__(self):
        self.status, self.got, self.where, self.slow_s = 200, [], "", 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                end = time.monotonic() + outer.slow_s
                while time.monotonic() < end:  # headers that never end
                    try:
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n" if end - time.monotonic() > outer.slow_s - 0.05 else b"X-A: b\r\n")
                    except OSError:
                        return
                    time.sleep(0.05)
                self.send_response(outer.status)
                if outer.where:
                    self.send_header("Location", outer.where)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path):
    made = Store.open(settings(tmp_path).store.url)
    yield made
    made.close()


def door(resolve=lambda host, port: ("127.0.0.1",), **terms):
    return HookDoor(HookTerms(**{"networks": HERE, "plain": True, "timeout_s": 10.0, "total_s": 10.0, **terms}), resolve)


def waiting(store, hook, name="dlv-1"):
    """As the store writes one with a request's step."""
    made = Delivery(id=name, hook=hook.id, project=hook.project, request="req-1", event="request_started", payload='{"a": 1}', created=T0)
    with store.db.write() as conn:
        conn.execute(webhook_deliveries.insert(), {"id": name, **_delivery_row(made)})
    return made


def test_it_is_signed_and_goes_to_the_address_that_was_looked_up_once(store, receiver):
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ("127.0.0.1",)

    hooks = Webhooks(store.requests, door(resolve))
    hook = hooks.create("p1", f"http://hooks.example.org:{receiver.port}/told?x=1", T0)
    waiting(store, hook)
    assert hooks.run_once(T0 + 5) == 1
    ((path, headers, body),) = receiver.got
    assert (path, headers["Host"], asked) == ("/told?x=1", f"hooks.example.org:{receiver.port}", ["hooks.example.org"])
    instant, mac = (part.partition("=")[2] for part in headers["X-Foreshape-Signature"].split(","))
    assert mac == hmac.new(hook.secret.encode(), f"{instant}.".encode() + body, hashlib.sha256).hexdigest()
    assert (json.loads(body), headers["X-Foreshape-Delivery"]) == ({"a": 1}, "dlv-1")
    assert store.requests.deliveries(hook.id)[0].state == "taken"
    assert hooks.run_once(T0 + 9999) == 0


def test_what_is_not_taken_is_tried_again_later_and_later_and_given_up_at_last(store, receiver):
    receiver.status = 500
    hooks = Webhooks(store.requests, door())
    hook, now = hooks.create("p1", f"http://hooks.example.org:{receiver.port}/", T0), T0
    waiting(store, hook)
    for i in range(TRIES):
        assert hooks.run_once(now) == 1
        assert hooks.run_once(now + wait(i + 1) - 1) == 0
        now += wait(i + 1)
    (told,) = store.requests.deliveries(hook.id)
    assert (told.state, told.tries, told.status, len(receiver.got)) == ("given_up", TRIES, 500, TRIES)
    assert hooks.run_once(now + 86400) == 0


def test_projects_take_turns_and_a_webhook_has_two_at_a_time(store):
    hooks = Webhooks(store.requests, door())
    greedy = [hooks.create("p1", "http://hooks.example.org/", T0) for _ in range(3)]
    modest = hooks.create("p2", "http://hooks.example.org/", T0)
    for k, hook in enumerate(greedy):
        for n in range(5):
            waiting(store, hook, f"a-{k}-{n}")
    waiting(store, modest, "z-1")
    due = store.requests.due(T0, 40, 2)
    assert [d.hook for d in due[:2]].count(modest.id) == 1
    assert [sum(d.hook == h.id for d in due) for h in greedy] == [2, 2, 2]
    assert [d.project for d in store.requests.due(T0, 2, 2)] == ["p1", "p2"]
    assert {d.hook for d in store.requests.due(T0, 40, 2, [g.id for g in greedy])} == {modest.id}


def test_a_webhook_that_gives_no_answer_pauses_longer_and_longer_and_others_do_not(store, receiver):
    hooks = Webhooks(store.requests, door())
    silent = hooks.create("p1", "http://hooks.example.org:1/", T0)
    fine = hooks.create("p1", f"http://hooks.example.org:{receiver.port}/", T0)
    for n in range(6):
        waiting(store, silent, f"s-{n}")
    assert hooks.run_once(T0) == 2
    waiting(store, fine, "f-1")
    assert hooks.run_once(T0 + wait(1) - 1) == 1
    assert len(receiver.got) == 1
    assert hooks.run_once(T0 + wait(1)) == 2
    assert hooks.run_once(T0 + wait(1) + wait(2) - 1) == 0
    assert hooks.run_once(T0 + wait(1) + wait(2)) == 2


def test_a_pause_ends_with_an_answer():
    silent = _Silent()
    for k in range(2000):
        silent.note("h", answered=False, now=k * 10_000.0)
    assert silent.pausing(2000 * 10_000.0 - 6401) == {"h"}
    silent.note("h", answered=True, now=0.0)
    assert silent.pausing(0.0) == frozenset()


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for():
    go = threading.Event()

    def slow(host, port):
        go.wait(20)
        return ("127.0.0.1",)

    began = time.monotonic()
    told = door(slow, timeout_s=0.2).post("http://hooks.example.org/", "s", "d", b"", T0)
    go.set()
    assert (told.status, "not looked up" in told.said) == (0, True)
    assert time.monotonic() - began < 10


def test_a_redirect_is_not_followed(store, receiver):
    receiver.status, receiver.where = 302, "http://127.0.0.1:1/secret"
    told = door().post(f"http://hooks.example.org:{receiver.port}/", "s", "d", b"{}", T0)
    assert (told.status, told.taken, len(receiver.got)) == (302, False, 1)


def test_a_name_that_turns_private_later_is_told_nothing(receiver):
    told = door(networks=()).post(f"http://hooks.example.org:{receiver.port}/", "s", "d", b"{}", T0)
    assert (told.status, receiver.got) == (0, [])
    assert "127.0.0.1 is not a public address" in told.said


def test_one_bad_address_among_good_ones_is_enough(receiver):
    told = door(lambda host, port: ("93.184.216.34", "10.0.0.1"), networks=()).post("http://hooks.example.org/", "s", "d", b"{}", T0)
    assert "10.0.0.1 is not a public address" in told.said


def test_who_answers_a_byte_at_a_time_is_not_waited_for(receiver):
    receiver.slow_s = 20.0
    begun = time.monotonic()
    told = door(timeout_s=1.0, total_s=1.0).post(f"http://hooks.example.org:{receiver.port}/", "s", "d", b"{}", T0)
    assert told.status == 0
    assert time.monotonic() - begun < 6.0
    receiver.slow_s = 0.0


def test_a_name_that_cannot_be_looked_up_is_no_traceback():
    def nowhere(host, port):
        raise OSError("no such name")

    assert "no such name" in door(nowhere).post("http://hooks.example.org/", "s", "d", b"{}", T0).said


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ],
)
def test_no_private_address_is_ever_told_whatever_its_dress(address):
    bracketed = f"[{address}]" if ":" in address else address
    with pytest.raises(Invalid, match="not a public address"):
        checked(f"https://{bracketed}/", HookTerms())
    sent = HookDoor(HookTerms(), lambda host, port: (address,)).post("https://hooks.example.org/", "s", "d", b"{}", T0)
    assert "not a public address" in sent.said


def test_an_operator_may_list_networks():
    terms = HookTerms(networks(["10.1.0.0/16"]))
    assert checked("https://10.1.2.3/", terms).host == "10.1.2.3"
    with pytest.raises(Invalid):
        checked("https://10.2.0.1/", terms)
    with pytest.raises(ConfigError, match="webhook_networks"):
        networks(["all of them"])
