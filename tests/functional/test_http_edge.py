"""The edge as an attacker meets it: floods of tokens and requests, slow connections, and what browsers are told."""

import socket
import time
from dataclasses import replace

import httpx
import pytest
from litestar.testing import TestClient

from foreshape_controller.config import IdentitySettings
from foreshape_controller.listening import Patient
from foreshape_controller.main import build
from foreshape_demo.serve import Serving
from foreshape_wire.codec import encode
from store_support import T0, report, settings
from tenants_support import OTHER, READER, FakeTokens

pytestmark = pytest.mark.functional


@pytest.fixture
def tokens():
    return FakeTokens()


@pytest.fixture
def program(tmp_path, tokens):
    told = replace(settings(tmp_path), identity=IdentitySettings(requests_per_minute=20, failures_per_minute=20, writes_per_minute=6))
    made = build(told, clock=lambda: T0, tokens=tokens)
    yield made
    made.store.close()


@pytest.fixture
def client(program):
    with TestClient(program.app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def admin(program):
    return {"Authorization": f"Bearer {program.admin_token}"}


@pytest.fixture
def agent(program):
    store = program.store.agents
    return {"Authorization": f"Bearer {store.enrol('hv1', store.join_token('hv1', T0, 900), T0)}"}


# --- how much ---------------------------------------------------------------------------------------------------------


def test_a_project_that_asks_too_often_waits_and_nobody_else_does(client, admin, agent):
    replies = [client.get("/v1/servers", headers=READER) for _ in range(12)]
    assert [r.status_code for r in replies] == [200] * 10 + [429] * 2
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 3
    assert replies[-1].json()["code"] == "too_many_requests"
    assert client.get("/v1/servers", headers=OTHER).status_code == 200
    assert client.get("/v1/hosts", headers=admin).status_code == 200
    assert client.post("/v1/reports", content=encode(report(1, T0)), headers=agent).status_code == 200


def test_a_project_that_writes_too_often_waits_and_may_read(client):
    member = {"X-Auth-Token": "p1:member,reader"}
    replies = [client.delete("/v1/events/none", headers=member) for _ in range(5)]
    assert [r.status_code for r in replies] == [404] * 3 + [429] * 2
    assert "writes_per_minute" in replies[-1].text
    assert client.get("/v1/servers", headers=READER).status_code == 200


def test_a_flood_of_tokens_ends_at_the_edge_and_those_who_have_one_go_on(client, admin, agent, tokens):
    replies = [client.get("/v1/servers", headers={"X-Auth-Token": f"bogus-{i}"}) for i in range(50)]
    assert [r.status_code for r in replies] == [401] * 10 + [429] * 40
    assert tokens.asked == 10
    assert client.get("/v1/hosts", headers=admin).status_code == 200
    assert client.post("/v1/reports", content=encode(report(1, T0)), headers=agent).status_code == 200


def test_who_was_let_in_lately_comes_in_again_from_an_address_that_others_flood(client, tokens):
    assert client.get("/v1/servers", headers=READER).status_code == 200
    replies = [client.get("/v1/servers", headers={"X-Auth-Token": f"bogus-{i}"}) for i in range(20)]
    assert replies[-1].status_code == 429
    assert client.get("/v1/servers", headers=OTHER).status_code == 429
    assert client.get("/v1/servers", headers=READER).status_code == 200
    tokens.revoked.add(READER["X-Auth-Token"])
    assert client.get("/v1/servers", headers=READER).status_code in (401, 429)


def test_guesses_of_the_operators_token_are_counted(client, admin):
    replies = [client.get("/v1/hosts", headers={"Authorization": f"Bearer guess-number-{i:06}"}) for i in range(15)]
    assert [r.status_code for r in replies] == [401] * 10 + [429] * 5
    assert client.get("/v1/hosts", headers=admin).status_code == 200


def test_a_browser_whose_session_is_over_is_told_to_log_in_however_often_it_asks(client):
    client.cookies.set("foreshape_session", "over")
    assert {client.get("/v1/session").status_code for _ in range(30)} == {401}


# --- what browsers are told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/servers", "/v1/nothing", "/healthz", "/v1/hosts", "/schema/openapi.json"])
def test_every_answer_says_what_browsers_must_not_do(client, path):
    told = client.get(path, headers=READER).headers
    assert told["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in told["content-security-policy"]
    assert (told["referrer-policy"], told["x-frame-options"]) == ("no-referrer", "DENY")
    assert told["cache-control"] == "no-store"
    assert "strict-transport-security" not in told


def test_the_pages_may_load_nothing_but_their_own_files(client):
    told = client.get("/dashboard/nothing").headers["content-security-policy"]
    assert "default-src 'self'" in told
    assert "unsafe" not in told


def test_under_tls_browsers_come_back_by_tls_only(program):
    with TestClient(program.app, base_url="https://testserver.local") as c:
        assert c.get("/healthz").headers["strict-transport-security"].startswith("max-age=")


# --- slow connections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """As the real one, in tenths of a second."""
    monkeypatch.setattr(Patient, "head_s", 1.5)
    monkeypatch.setattr(Patient, "body_s", 1.5)


@pytest.fixture
def serving(program):
    with Serving(program, 0) as api:
        deadline = time.monotonic() + 20
        while not _answers(api.url):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield api.url


def _answers(url):
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def connections(url, count, *said):
    host, port = url.removeprefix("http://").split(":")
    found = []
    for i in range(count):
        s = socket.create_connection((host, int(port)), timeout=10)
        s.sendall(said[i % len(said)])
        found.append(s)
    return found


HEAD = b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
SLOW = (
    b"",
    b"GET /v1/servers HTTP/1.1\r\nX-Slow: ",
    HEAD + b"Content-Length: 4000000\r\n\r\n{",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nPOST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
)


def test_a_hundred_slow_connections_do_not_stop_an_agents_report_and_are_ended(impatient, serving, agent):
    slow = connections(serving, 100, *SLOW)
    try:
        took = []
        with httpx.Client(base_url=serving, headers=agent) as http:
            for i in range(1, 11):
                begun = time.monotonic()
                assert http.post("/v1/reports", content=encode(report(i, T0 + i))).status_code == 200
                took.append(time.monotonic() - begun)
        assert sorted(took)[5] < 1.0
        deadline = time.monotonic() + 15
        for s in slow:
            s.settimeout(max(0.1, deadline - time.monotonic()))
            assert _ended(s), "still open"
    finally:
        for s in slow:
            s.close()


def _ended(s: socket.socket) -> bool:
    """Reads until the other side ends it; False where it does not in time."""
    try:
        while s.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_bytes_that_drip_do_not_buy_time(impatient, serving):
    (drip,) = connections(serving, 1, b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    begun, alive = time.monotonic(), True
    while alive:
        assert time.monotonic() - begun < 10
        try:
            drip.sendall(b"x")
            drip.settimeout(0.1)
            alive = bool(drip.recv(1))
        except TimeoutError:
            continue
        except OSError:
            alive = False
    drip.close()
    assert time.monotonic() - begun >= 1.4


def test_of_too_many_unfinished_requests_the_oldest_ends(monkeypatch, serving, agent):
    monkeypatch.setattr(Patient, "most", 20)
    slow = connections(serving, 60, SLOW[1])
    try:
        assert httpx.post(f"{serving}/v1/reports", content=encode(report(1, T0)), headers=agent).status_code == 200
        for s in slow[:39]:
            s.settimeout(5)
            assert _ended(s)
        slow[-1].sendall(b"x\r\nHost: x\r\nConnection: close\r\n\r\n")
        slow[-1].settimeout(5)
        assert slow[-1].recv(12) == b"HTTP/1.1 401"
    finally:
        for s in slow:
            s.close()


def test_a_connection_that_is_kept_may_rest_longer_than_a_head_may_take(impatient, serving):
    with httpx.Client(base_url=serving) as http:
        assert http.get("/healthz").status_code == 200
        rested = time.monotonic() + 1.8
        while time.monotonic() < rested:
            time.sleep(0.1)
        assert http.get("/healthz").status_code == 200


def test_a_head_without_end_is_refused(serving):
    (big,) = connections(serving, 1, b"GET /healthz HTTP/1.1\r\nX-Big: " + b"x" * 200_000)
    big.settimeout(5)
    assert big.recv(12) in (b"HTTP/1.1 400", b"")
    big.close()
