"""History from a real Prometheus server (Debian's), filled with months of libvirt-exporter series; and from servers that are none."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trace_support as made
from cli_support import foreshape

pytestmark = pytest.mark.functional

STEP, DAY = 300, 86400
LONG = 40
"""Days that are more than a server answers at once: 11,520 values 300 s apart."""
END = int(time.time()) // DAY * DAY - DAY
BEGIN = END - DAY
GIB = 1 << 30


def run(*words: object) -> int:
    return foreshape("trace", "import", "--format", "prometheus", *words)


# -- the real one --------------------------------------------------------------------------------------------------------


def _samples(name: str, labels: str, value: Callable[[int], float]) -> list[str]:
    """A minute apart."""
    return [f"{name}{{{labels}}} {value(t):.6f} {t}" for t in range(BEGIN, END + 1, 60)]


def _openmetrics() -> str:
    """instance-1: half a core, from noon on one and a half; two disks, one interface. instance-2: a quarter of a core."""
    noon = BEGIN + DAY // 2
    one, two = 'domain="instance-1",job="libvirt"', 'domain="instance-2",job="libvirt"'

    def cpu(t: int) -> float:
        return 0.5 * (t - BEGIN) + max(0, t - noon)

    def disk(name: str, rate: float) -> tuple[str, list[str]]:
        labels = [f'{one},target_device="{d}"' for d in ("vda", "vdb")]
        return "counter", [line for label in labels for line in _samples(name, label, lambda t: rate * (t - BEGIN))]

    def gauge(name: str, value: float) -> tuple[str, list[str]]:
        return "gauge", _samples(name, one, lambda _: value)

    used = "libvirt_domain_info_cpu_time_seconds_total"
    families = {
        "libvirt_domain_info_cpu_time_seconds": (
            "counter",
            [*_samples(used, one, cpu), *_samples(used, two, lambda t: 0.25 * (t - BEGIN))],
        ),
        **{
            f"libvirt_domain_{name}": gauge(f"libvirt_domain_{name}", value)
            for name, value in (
                ("info_virtual_cpus", 4),
                ("info_maximum_memory_bytes", 8 * GIB),
                ("memory_stats_available_bytes", 7 * GIB),
                ("memory_stats_usable_bytes", 5 * GIB),
            )
        },
        "libvirt_domain_block_stats_read_bytes": disk("libvirt_domain_block_stats_read_bytes_total", 1024),
        "libvirt_domain_block_stats_write_bytes": disk("libvirt_domain_block_stats_write_bytes_total", 512),
    }
    lines = [line for family, (kind, rows) in families.items() for line in (f"# TYPE {family} {kind}", *rows)]
    return "\n".join([*lines, "# EOF", ""])


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own on loopback, its past filled by promtool; it scrapes nothing."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        lack = "Debian's package prometheus is not installed (as root: make packages)"
        if os.environ.get("CI") == "true":
            pytest.fail(lack)
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "past.om").write_text(_openmetrics())
    filled = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", str(folder / "past.om"), str(folder / "data")]
    subprocess.run(filled, check=True, capture_output=True, timeout=120)
    (folder / "prometheus.yml").write_text("global: {}\n")
    url = f"http://127.0.0.1:{_free_port()}"
    server = subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address={url.removeprefix('http://')}", "--storage.tsdb.retention.time=10y"],
        stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"),
    )  # fmt: skip
    try:
        _wait(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(20)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"Prometheus is not ready after a minute: {log.read_text()[-2000:]}")


def test_a_day_of_libvirt_series_becomes_a_trace(prometheus: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "t.parquet"
    assert run(prometheus, "--from", BEGIN, "--to", END, "--vms", "instance-1", "--inside", "--out", out) == 0, capsys.readouterr().err
    rows = made.rows(out)
    assert {vm for vm, _ in rows} == {"instance-1"}
    morning, afternoon = rows["instance-1", BEGIN + 3600], rows["instance-1", END - 3600]
    assert morning["cpu_cores"] == pytest.approx(0.5, rel=1e-3)
    assert afternoon["cpu_cores"] == pytest.approx(1.5, rel=1e-3)
    assert afternoon["cpu_cores_max"] == pytest.approx(1.5, rel=1e-2)
    assert (afternoon["cpu_cap_cores"], afternoon["mem_cap_mib"]) == (4, 8192)
    assert afternoon["mem_mib"] == 2048  # 7 GiB available to the guest, 5 GiB of them usable
    assert afternoon["disk_kib_s"] == pytest.approx(2 * (1024 + 512) / 1024, rel=1e-3)  # two disks, reads and writes
    assert afternoon["net_kib_s"] is None
    said = capsys.readouterr().out
    assert "no net_kib_s: nothing answers" in said
    assert "lacks network" in said


def test_the_rise_falls_into_the_bin_in_which_it_came(prometheus: str, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    noon = BEGIN + DAY // 2
    assert run(prometheus, "--from", noon - 600, "--to", noon + 600, "--vms", "instance-1", "--out", out) == 0
    rows = made.rows(out)
    before, after = rows["instance-1", noon - STEP]["cpu_cores"], rows["instance-1", noon]["cpu_cores"]
    assert before == pytest.approx(0.5, rel=0.02)
    assert after == pytest.approx(1.5, rel=0.02)


def test_more_than_a_server_answers_at_once_is_asked_in_pieces(prometheus: str, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    assert run(prometheus, "--from", END - LONG * DAY, "--to", END, "--vms", "instance-2", "--out", out) == 0
    rows = made.rows(out)
    assert len(rows) == DAY // STEP  # all of the day that has data; one question for the 40 is refused at 11,000 values
    assert {round(r["cpu_cores"], 4) for r in rows.values()} == {0.25}


def test_another_exporter_s_names_and_matchers(prometheus: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "t.parquet"
    words = (prometheus, "--from", BEGIN, "--to", BEGIN + 7200, "--out", out)
    assert run(*words, "--matching", 'job="libvirt"', "--metric", "net_rx=libvirt_domain_block_stats_read_bytes_total",
               "net_tx=libvirt_domain_block_stats_write_bytes_total") == 0  # fmt: skip
    assert made.rows(out)["instance-1", BEGIN + 3600]["net_kib_s"] == pytest.approx(3, rel=1e-3)
    assert run(*words, "--matching", 'job="other"') == 1
    assert 'no series libvirt_domain_info_cpu_time_seconds_total{job="other"}' in capsys.readouterr().err
    assert run(*words, "--matching", "job=") == 1
    assert "answers 400" in capsys.readouterr().err


def test_a_time_without_data_and_a_vm_that_is_not_there_are_told(prometheus: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "t.parquet"
    assert run(prometheus, "--from", END - 400 * DAY, "--to", END - 399 * DAY, "--out", out) == 1
    assert "is a libvirt exporter scraped there?" in capsys.readouterr().err
    assert run(prometheus, "--from", BEGIN, "--to", END, "--vms", "web-1", "--out", out) == 1
    assert "no VM is called 'web-1'; the trace has 2" in capsys.readouterr().err
    assert not out.exists()


# -- servers that are none -----------------------------------------------------------------------------------------------


class Canned(http.server.BaseHTTPRequestHandler):
    """Answers everything with what the test says; with a token, only to those who show it."""

    status, body, kind, token, delay_s = 200, b"{}", "application/json", "", 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.delay_s:
            self.server.stopping.wait(self.delay_s)  # type: ignore[attr-defined]
        allowed = not self.token or self.headers.get("authorization") == f"Bearer {self.token}"
        self.send_response(self.status if allowed else 401)
        self.send_header("content-type", self.kind)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def canned() -> Iterator[tuple[str, type[Canned]]]:
    handler = type("Handler", (Canned,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.stopping.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def refused(capsys, tmp_path: Path, url: str, *words: object) -> str:
    assert run(url, "--from", BEGIN, "--to", END, "--out", tmp_path / "t.parquet", *words) == 1
    err = str(capsys.readouterr().err)
    assert "Traceback" not in err
    assert not (tmp_path / "t.parquet").exists()
    return err


def test_a_server_that_wants_a_token_says_so_and_gets_it(canned, capsys, tmp_path: Path) -> None:
    url, handler = canned
    handler.token, handler.body = "secret", json.dumps({"status": "success", "data": []}).encode()
    assert "not permitted (401): give a token with --bearer-token-file" in refused(capsys, tmp_path, url)
    token = tmp_path / "token"
    token.write_text("secret\n")
    assert "no series libvirt_domain_info_cpu_time" in refused(capsys, tmp_path, url, "--bearer-token-file", token)
    assert "cannot read the token" in refused(capsys, tmp_path, url, "--bearer-token-file", tmp_path / "none")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, b"<html>", "text/html"), "answers 404: not as Prometheus does"),
        ((200, b"<html>", "text/html"), "answers 200: not as Prometheus does"),
        ((200, b"{half", "application/json"), "is it the address of a Prometheus server?"),
        ((422, b'{"status":"error","error":"too many samples"}', "application/json"), "answers 422: too many samples"),
    ],
    ids=["another server", "a page", "half an answer", "too much"],
)
def test_what_is_no_prometheus_is_a_sentence(canned, capsys, tmp_path: Path, answer: tuple[int, bytes, str], said: str) -> None:
    url, handler = canned
    handler.status, handler.body, handler.kind = answer
    assert said in refused(capsys, tmp_path, url)


def test_a_server_that_does_not_answer_in_time_is_a_sentence(canned, capsys, tmp_path: Path) -> None:
    url, handler = canned
    handler.delay_s = 30
    assert "no answer within 0.2 s: raise --query-timeout" in refused(capsys, tmp_path, url, "--query-timeout", 0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "prom:9090", "ftp://host/", "http://[::1", "http://no-such-host.invalid"])
def test_an_address_where_nobody_is_is_a_sentence(capsys, tmp_path: Path, url: str) -> None:
    assert url in refused(capsys, tmp_path, url)


def test_a_ca_that_is_none_is_a_sentence(capsys, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    assert "ca.pem" in refused(capsys, tmp_path, "https://127.0.0.1:1", "--prometheus-ca-file", tmp_path / "ca.pem")
