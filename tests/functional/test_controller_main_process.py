"""The controller as a process: how it starts, refuses, stops, and what kill -9 costs (nothing that was acknowledged)."""

import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from controller_support import STARTS_WITHIN_S, Controller, until, written
from foreshape_wire.codec import decode_desired, encode
from store_support import card, decision, open_store, order, plan, report, sample

pytestmark = pytest.mark.functional


@pytest.fixture
def start():
    """Starts controllers; whatever still runs at the end of the test is ended."""
    running: list[Controller] = []

    def begin(conf: Path, **environment: str) -> Controller:
        running.append(Controller(conf, environment))
        return running[-1]

    yield begin
    for c in running:
        if c.process.poll() is None:
            c.end(signal.SIGKILL)


def test_it_starts_answers_and_stops_in_order(tmp_path, start):
    c = start(written(tmp_path))
    assert httpx.get(f"{c.url}/readyz").json()["status"] == "ready"
    assert httpx.get(f"{c.url}/v1/hosts", headers=c.admin).json() == []
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600
    assert c.end(signal.SIGTERM) == 0
    assert '"stopped"' in c.log.read_text()
    assert "Traceback" not in c.log.read_text()


def test_the_admin_token_outlives_a_restart(tmp_path, start):
    c = start(written(tmp_path))
    admin = (c.url, c.admin)[1]
    c.end(signal.SIGTERM)
    again = start(written(tmp_path))
    assert httpx.get(f"{again.url}/v1/summary", headers=admin).status_code == 200


def test_sighup_does_not_end_it(tmp_path, start):
    c = start(written(tmp_path))
    url = c.url
    c.process.send_signal(signal.SIGHUP)
    c.line("SIGHUP")
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"api": "prot = 1"}, "did you mean 'port'"),
        ({"api": "bind = 0.0.0.0"}, "tls = self-signed"),
        ({"api": "tls = files"}, "tls_cert"),
        ({"plan": "tiers_file = /nowhere/tiers.yaml"}, "tiers_file"),
        ({"store": "url = sqlite:////nowhere/c.db"}, "create it"),
        ({"api": "admin_token_file = /nowhere/token"}, "admin_token_file"),
    ],
    ids=["unknown option", "open without TLS", "no certificate", "no tiers", "no folder", "no place for the token"],
)
def test_what_it_cannot_work_with_is_named_and_ends_with_2(tmp_path, sections, says):
    conf = written(tmp_path, **sections)
    conf.write_text(_last_wins(conf.read_text()))
    done = ended(conf)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def ended(conf: Path) -> subprocess.CompletedProcess[str]:
    """A run that is expected to end by itself."""
    command = [sys.executable, "-m", "foreshape_controller", "--config-file", str(conf)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _last_wins(text: str) -> str:
    """oslo.config lets the last of several values win; written out so that the test does not lean on it."""
    lines = text.splitlines()
    names = [x.split("=")[0].strip() for x in lines]
    return "\n".join(x for i, x in enumerate(lines) if not x or x[0] == "[" or names[i] not in names[i + 1 :]) + "\n"


def test_a_port_that_is_taken_ends_with_a_reason(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        conf = written(tmp_path)
        conf.write_text(conf.read_text().replace("port = 0", f"port = {taken.getsockname()[1]}"))
        done = ended(conf)
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_https_works_out_of_the_box_with_the_certificate_it_made(tmp_path, start):
    c = start(written(tmp_path, api="tls = self-signed\nbind = 0.0.0.0"))
    line = c.line("listening")
    url = str(line["url"]).replace("0.0.0.0", "127.0.0.1")
    assert url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
    assert httpx.get(f"{url}/readyz", verify=trusted).json()["status"] == "ready"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/readyz")
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    c.end(signal.SIGTERM)
    again = start(c.conf)
    assert again.line("listening")["certificate_sha256"] == line["certificate_sha256"]


def test_it_tells_systemd_when_it_is_ready_alive_and_stopping(tmp_path, start):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(STARTS_WITHIN_S)
        c = start(written(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        told = set()
        while not {b"READY=1", b"WATCHDOG=1"} <= told:
            told.add(manager.recv(100))
        c.end(signal.SIGTERM)
        while b"STOPPING=1" not in told:
            told.add(manager.recv(100))


class Sender(threading.Thread):
    """An agent of one host that reports without pause and notes what was acknowledged."""

    def __init__(self, url: str, host: str, token: dict[str, str], at: float) -> None:
        super().__init__(daemon=True)
        self.url, self.host, self.token, self.at = url, host, token, at
        self.acknowledged: set[int] = set()
        self.sent = 0

    def run(self) -> None:
        with httpx.Client(timeout=30) as http:
            while True:
                self.sent += 1
                try:
                    reply = http.post(f"{self.url}/v1/reports", content=self.message(self.sent), headers=self.token)
                except httpx.HTTPError:
                    return  # the controller is gone
                assert reply.status_code == 200, reply.text
                self.acknowledged |= set(decode_desired(reply.content).accepted)

    def message(self, n: int) -> bytes:
        """One second of one server; 60 of them fill a minute, and so on: seconds covered count the reports."""
        s = sample(f"vm-{self.host}", window_s=1.0)
        return encode(report(n, self.at + n, [s], host=self.host, cards=(card(s.server),)))


def test_kill_9_under_load_loses_nothing_that_was_acknowledged_and_counts_nothing_twice(tmp_path, start):
    c = start(written(tmp_path))
    at = time.time() - 20_000
    senders = [Sender(c.url, host, c.enrol(host), at) for host in ("hv1", "hv2", "hv3")]
    for s in senders:
        s.start()
    until(lambda: all(len(s.acknowledged) > 40 for s in senders) or None, 60)
    c.end(signal.SIGKILL)
    for s in senders:
        s.join(30)
        assert not s.is_alive()
    last = {s.host: s.sent for s in senders}

    again = start(c.conf)
    with httpx.Client(base_url=again.url, timeout=30) as http:
        for s in senders:
            # the agent repeats what was not acknowledged, and here also everything that was
            for n in range(1, last[s.host] + 1):
                assert http.post("/v1/reports", content=s.message(n), headers=s.token).status_code == 200
    assert again.end(signal.SIGTERM) == 0
    store = open_store(tmp_path / "controller.db")
    for s in senders:
        h = store.history.read("cpu", [f"vm-{s.host}"], at + last[s.host] + 1, 300)
        seconds = float((h.coverage * 300).sum())
        assert s.acknowledged <= set(range(1, last[s.host] + 1))
        assert seconds == pytest.approx(last[s.host], rel=2e-3)  # every report once: neither lost nor counted twice
    store.close()


def test_kill_9_between_plan_and_delivery_leaves_the_order_open(tmp_path, start):
    c = start(written(tmp_path, plan="default_mode = act"))
    token, now = c.enrol("hv1"), time.time()
    post = {"headers": token, "timeout": 10}
    httpx.post(f"{c.url}/v1/reports", content=encode(report(1, now, cards=True)), **post)
    store = open_store(tmp_path / "controller.db")  # a second process on the same database: the journal is the truth
    store.journal.record(plan(now, decision(now)), [order(at=now)])
    store.close()
    c.end(signal.SIGKILL)
    again = start(c.conf)
    reply = httpx.post(f"{again.url}/v1/reports", content=encode(report(2, now + 10)), **post)
    assert [o.order for o in decode_desired(reply.content).orders] == ["ord-1"]


def test_a_locked_database_answers_503_and_recovers(tmp_path, start):
    c = start(written(tmp_path, store="busy_s = 0.2"))
    token, now = c.enrol("hv1"), time.time()
    store = open_store(tmp_path / "controller.db")
    with store.db.write():
        reply = httpx.post(f"{c.url}/v1/reports", content=encode(report(1, now)), headers=token, timeout=10)
        assert reply.status_code == 503
        assert "nothing was taken" in reply.json()["detail"]
        assert httpx.get(f"{c.url}/v1/hosts", headers=c.admin).json() == []
    reply = httpx.post(f"{c.url}/v1/reports", content=encode(report(1, now)), headers=token, timeout=10)
    assert reply.status_code == 200
    store.close()


def test_50_mb_and_half_a_request_do_not_harm_the_next_one(tmp_path, start):
    c = start(written(tmp_path))
    token, now = c.enrol("hv1"), time.time()
    host, port = c.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as half:
        head = f"POST /v1/reports HTTP/1.1\r\nHost: x\r\nAuthorization: {token['Authorization']}\r\nContent-Length: 5000\r\n\r\n"
        half.sendall(head.encode() + b'{"version": 1,')
    reply = httpx.post(f"{c.url}/v1/reports", content=b"x" * 50_000_000, headers=token, timeout=30)
    assert reply.status_code == 413
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert httpx.post(f"{c.url}/v1/reports", content=encode(report(1, now)), headers=token, timeout=10).status_code == 200
    assert "Traceback" not in c.log.read_text()


def test_a_full_disk_answers_503_until_there_is_room_and_loses_nothing(tmp_path, start):
    c = start(written(tmp_path))
    token, now = c.enrol("hv1"), time.time() - 10_000
    processes = [c.process.pid, *(child.pid for child in psutil.Process(c.process.pid).children(recursive=True))]
    for pid in processes:  # no file of theirs may grow beyond 2 MB: as good as a full disk
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, -1))
    fat = [sample(f"vm-{i}") for i in range(200)]
    with httpx.Client(base_url=c.url, headers=token, timeout=20) as http:
        for n in range(1, 200):
            reply = http.post("/v1/reports", content=encode(report(n, now + 10 * n, fat)))
            if reply.status_code != 200:
                break
        assert reply.status_code == 503, "200 reports of 200 servers fit into 2 MB?"
        assert "nothing was taken" in reply.json()["detail"]
        for pid in processes:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))
        assert http.post("/v1/reports", content=encode(report(n, now + 10 * n, fat))).status_code == 200
    c.end(signal.SIGTERM)
    store = open_store(tmp_path / "controller.db")
    h = store.history.read("cpu", ["vm-7"], now + 10 * n, 20)
    assert float((h.coverage * 300).sum()) == pytest.approx(10 * n, rel=1e-3)
    store.close()
