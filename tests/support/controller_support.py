"""The controller as a process: its configuration in one folder, what it wrote, where it listens, and an end of any kind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

STARTS_WITHIN_S = 60.0
BASE = {
    "store": "url = sqlite:///{folder}/controller.db",
    "api": "port = 0\nadmin_token_file = {folder}/admin-token",
    "plan": "tiers_file =\ninterval_s = 3600",
    "log": "format = json",
}


def written(folder: Path, **sections: str) -> Path:
    """A configuration that keeps everything in one folder and takes any free port."""
    parts = (f"[{name}]\n{BASE.get(name, '').format(folder=folder)}\n{sections.get(name, '')}\n" for name in BASE | sections)
    path = folder / "controller.conf"
    path.write_text("".join(parts))
    return path


@dataclass
class Controller:
    """One process, what it wrote, and where it listens."""

    conf: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = self.conf.parent / f"log-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "foreshape_controller", "--config-file", str(self.conf)]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **self.environment})

    @property
    def url(self) -> str:
        return str(self.line("listening")["url"])

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.conf.parent / 'admin-token').read_text().strip()}"}

    def line(self, event: str) -> dict[str, Any]:
        """The first log line of an event, waited for."""

        def found() -> dict[str, Any] | None:
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode}:\n{self.log.read_text()}")
            lines = (json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{") and x.endswith("}"))
            return next((x for x in lines if x.get("event") == event), None)

        line: dict[str, Any] = until(found, STARTS_WITHIN_S)
        return line

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)

    def enrol(self, host: str) -> dict[str, str]:
        join = httpx.post(f"{self.url}/v1/agents/{host}/join", headers=self.admin).json()["join_token"]
        token = httpx.post(f"{self.url}/v1/agents/enrol", json={"host": host, "join_token": join}).json()["token"]
        return {"Authorization": f"Bearer {token}"}


def until(ask: Callable[[], Any], within_s: float) -> Any:
    """Ask until there is an answer; fails at the deadline."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.05)
    return pytest.fail(f"no answer within {within_s} s")
