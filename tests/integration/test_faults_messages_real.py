"""Messages that no honest agent sends, against the real controller over its real HTTPS."""

import json
import socket
import ssl
import time

import httpx
import pytest
from foreshape_lab import Controller

from lab_support import a_bed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOST, OTHER = "hv1", "hv2"


@pytest.fixture(scope="module")
def controller():
    with a_bed(hosts=1) as bed:
        controller = Controller(bed).start()
        yield controller
        controller.kill()


@pytest.fixture(scope="module")
def http(controller: Controller):
    trust = ssl.create_default_context(cafile=str(controller.ca))
    with httpx.Client(base_url=controller.url, verify=trust, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def token(controller: Controller, http: httpx.Client) -> str:
    """What an agent of HOST gets for its join token."""
    join = controller.ask("agent", "enroll", HOST)["join_token"]
    return http.post("/v1/agents/enrol", json={"host": HOST, "join_token": join}).raise_for_status().json()["token"]


def report(sequence: int, host: str = HOST, epoch: str = "spool-1") -> bytes:
    return json.dumps(
        {"version": 1, "host": host, "epoch": epoch, "sequence": sequence, "taken_at": time.time(), "samples": [], "cards": []}
    ).encode()


def post(http: httpx.Client, body: bytes, token: str) -> httpx.Response:
    return http.post("/v1/reports", content=body, headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})


def runs(controller: Controller, epoch: str) -> list[tuple[int, int]]:
    return [(r["first"], r["last"]) for r in controller.rows("select first, last from seen where epoch = ? order by first", epoch)]


def test_a_replayed_report_is_acknowledged_and_counted_once(controller, http, token):
    body = report(1, epoch="replay")
    answers = [post(http, body, token).raise_for_status().json()["accepted"] for _ in range(3)]
    assert answers == [[1], [1], [1]]  # acknowledged each time, or the agent would send it for ever
    assert runs(controller, "replay") == [(1, 1)]


def test_reordered_reports_are_all_kept(controller, http, token):
    for sequence in (3, 1, 4, 2):
        post(http, report(sequence, epoch="order"), token).raise_for_status()
    assert runs(controller, "order") == [(1, 4)]


def test_a_report_for_another_host_is_refused_with_both_names(controller, http, token):
    answer = post(http, report(1, host=OTHER, epoch="forged"), token)
    assert answer.status_code == 403
    assert HOST in answer.json()["detail"]
    assert OTHER in answer.json()["detail"]
    assert runs(controller, "forged") == []


def test_a_report_without_a_valid_token_is_refused(controller, http):
    assert post(http, report(1, epoch="stranger"), "no-such-token").status_code == 401
    assert runs(controller, "stranger") == []


def test_fifty_megabytes_are_refused_and_the_next_report_is_taken(controller, http, token):
    started = time.monotonic()
    try:
        status = post(http, b"[" + b"1," * (25 * 1024 * 1024) + b"1]", token).status_code
    except httpx.TransportError:
        status = 413  # refused before all was sent: the connection is closed on us
    assert status == 413
    assert time.monotonic() - started < 30
    post(http, report(1, epoch="after-50"), token).raise_for_status()
    assert runs(controller, "after-50") == [(1, 1)]


def test_half_a_message_is_refused_by_name(controller, http, token):
    answer = post(http, report(1, epoch="half")[:40], token)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert runs(controller, "half") == []


def test_a_connection_that_breaks_in_the_middle_changes_nothing(controller, http, token):
    body = report(1, epoch="broken")
    host, port = controller.url.removeprefix("https://").split(":")
    trust = ssl.create_default_context(cafile=str(controller.ca))
    head = f"POST /v1/reports HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), 10) as plain, trust.wrap_socket(plain, server_hostname=host) as s:
        s.sendall(head.encode() + body[: len(body) // 2])
    post(http, report(1, epoch="after-broken"), token).raise_for_status()
    assert runs(controller, "broken") == []
    assert runs(controller, "after-broken") == [(1, 1)]


def test_another_version_is_refused_and_says_what_to_do(http, token):
    body = json.loads(report(1, epoch="version")) | {"version": 99}
    answer = post(http, json.dumps(body).encode(), token)
    assert answer.status_code == 400
    assert "version" in answer.json()["detail"]


def test_a_join_token_works_once(controller, http):
    join = controller.ask("agent", "enroll", OTHER)["join_token"]
    first, second = (http.post("/v1/agents/enrol", json={"host": OTHER, "join_token": join}).status_code for _ in range(2))
    assert first in (200, 201)
    assert second in (401, 403)


def test_the_controller_never_showed_a_traceback(controller):
    assert "Traceback" not in controller.said()
