"""Fifty agents report over their own link to a controller that is killed and begun again: every report that was taken is there, once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from foreshape_agent.errors import LinkDown, LinkRefused
from foreshape_agent.link import HttpLink, TokenStore
from foreshape_wire.codec import decode_desired, encode
from store_support import card, report, sample

pytestmark = pytest.mark.functional

AGENTS, SERVERS, ROUNDS = 50, 5, 6
DEADLINE_S = 120.0


@dataclass
class Controller:
    """A controller that can die and come back on the same database and port."""

    folder: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> None:
        conf, log = self.folder / "c.conf", self.folder / f"log-{time.monotonic_ns()}"
        conf.write_text(
            f"[store]\nurl = sqlite:///{self.folder}/c.db\n[api]\nport = {self.port}\nadmin_token_file = {self.folder}/admin-token\n"
            "[plan]\ntiers_file =\nsegments_file =\ninterval_s = 1\n[learn]\nenabled = false\n[log]\nformat = json\n"
        )
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "foreshape_controller", "--config-file", str(conf)], stdout=out, stderr=out
            )
        self.port = int(self._said(log, "listening")["url"].rsplit(":", 1)[1])
        self.intake = int(self._said(log, "reports are taken apart")["process"])

    def _said(self, log: Path, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            told = [json.loads(x) for x in log.read_text().splitlines() if x.startswith("{") and x.endswith("}")]
            for line in told:
                if line.get("event") == event:
                    return dict(line)
            time.sleep(0.05)
        return pytest.fail(f"it never said {event!r}:\n{log.read_text()[-2000:]}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def enrol(self, host: str) -> str:
        admin = {"Authorization": f"Bearer {(self.folder / 'admin-token').read_text().strip()}"}
        join = httpx.post(f"{self.url}/v1/agents/{host}/join", headers=admin, timeout=60).json()["join_token"]
        return str(httpx.post(f"{self.url}/v1/agents/enrol", json={"host": host, "join_token": join}, timeout=60).json()["token"])

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def gone(pid: int) -> bool:
    """Whether a process ends within the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def message(number: int, sequence: int) -> bytes:
    ids = [f"vm-{number}-{i}" for i in range(SERVERS)]
    return encode(
        report(
            sequence,
            time.time(),
            [sample(s) for s in ids],
            host=f"hv{number}",
            epoch="load",
            cards=tuple(card(s) for s in ids) if sequence == 1 else None,
        )
    )


def hand_over(link: HttpLink, data: bytes, sequence: int) -> None:
    """As an agent does it: again, until it is acknowledged."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(LinkDown, LinkRefused):
            if sequence in decode_desired(link.exchange(data)).accepted:
                return
        time.sleep(0.1)
    pytest.fail(f"report {sequence} was not taken within {DEADLINE_S} s")


def test_nothing_that_was_acknowledged_is_lost_or_counted_twice_whoever_is_killed(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    controller.start()
    try:
        links = []
        for n in range(AGENTS):
            (tmp_path / f"token-{n}").write_text(controller.enrol(f"hv{n}"))
            (tmp_path / f"token-{n}").chmod(0o600)
            links.append(HttpLink(controller.url, TokenStore(tmp_path / f"token-{n}"), host=f"hv{n}", timeout_s=10.0))
        with ThreadPoolExecutor(16) as threads:
            for sequence in range(1, ROUNDS + 1):
                told = [threads.submit(hand_over, link, message(n, sequence), sequence) for n, link in enumerate(links)]
                if sequence == 2:
                    os.kill(controller.intake, signal.SIGKILL)
                if sequence == 4:
                    before = controller.intake
                    controller.kill()
                    assert gone(before), "the process that takes reports outlived its controller"
                    controller.start()
                for t in told:
                    t.result()
        for link in links:
            link.close()
        assert controller.stop() == 0
    finally:
        assert controller.process is not None
        if controller.process.poll() is None:
            controller.kill()
    with sqlite3.connect(tmp_path / "c.db") as conn:
        ranges = conn.execute("SELECT host, first, last FROM seen").fetchall()
        counted = dict(conn.execute("SELECT name, SUM(samples) FROM bins JOIN series ON series.id = bins.series GROUP BY name").fetchall())
    assert sorted(ranges) == sorted((f"hv{n}", 1, ROUNDS) for n in range(AGENTS))
    assert {v for k, v in counted.items() if not k.startswith("host:")} == {ROUNDS}
    assert len(counted) == AGENTS * (SERVERS + 1)
