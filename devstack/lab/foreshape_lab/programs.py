"""The product's own programs on a bed: one controller on this machine, one agent inside each host, over HTTPS.

Times are compressed 300-fold: a bin of 1 s stands for five minutes, so that minutes show what takes hours.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from configparser import ConfigParser
from contextlib import closing, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from foreshape_lab.bed import Bed
from foreshape_lab.errors import LabError
from foreshape_lab.host import Host
from foreshape_lab.processes import PROCESS_FILE, Process, wait_until
from foreshape_lab.shell import run

BIN = Path(sys.executable).parent
PORT = 8470

CONTROLLER_CONF = """\
[store]
url = sqlite:///{folder}/controller.db
[history]
step_s = 1
[journal]
raised_floor_s = 20
[plan]
interval_s = 3
forecast_every_s = 3
order_ttl_s = 30
stale_after_s = 15
history_bins = 48
memory_reserved_mib = 64
tiers_file = {folder}/tiers.yaml
default_mode = {mode}
[learn]
models_dir = {folder}/models
train_at =
[agents]
join_ttl_s = 600
[api]
bind = {address}
port = {port}
tls = self-signed
tls_names = controller
admin_token_file = {folder}/admin-token
[log]
format = json
"""

TIERS = """\
# The standard tier with times of seconds instead of hours.
default: standard
granules: {cpu: 0.05, memory: 8.0}
tiers:
  standard:
    cpu: {quantile: 0.9, floor_share: 0.2, floor_least: 0.2, hold_s: 12, shrink_step_share: 0.5, young_s: 12, shrink_band: 0.1}
    memory:
      {quantile: 0.9, floor_share: 0.5, floor_least: 112, hold_s: 12, shrink_step_share: 0.25, young_s: 12,
       margin_share: 0.3, shrink_band: 0.1}
"""

AGENT_CONF = """\
[agent]
host = {host}
interval_s = {interval_s}
pressure_interval_s = 1
static_after_s = {static_after_s}
state_dir = {folder}/state
[controller]
controller_url = https://controller:{port}
ca_file = {ca}
join_token_file = {folder}/join
[hypervisor]
stats_period_s = 1
[guards]
memory_margin_mib = 64
[reflex]
pressure_usable_share = 0.14
"""
# 0.14: pressure is felt before the guest has only the 12 MiB at which its load waits.


def with_options(text: str, options: Mapping[str, Mapping[str, object]]) -> str:
    """A configuration with some options set or replaced."""
    conf = ConfigParser(interpolation=None)
    conf.read_string(text)
    conf.read_dict({section: {name: str(value) for name, value in body.items()} for section, body in options.items()})
    said = StringIO()
    conf.write(said)
    return said.getvalue()


class Program:
    """One process of the product: started, stopped, killed; its log on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def note(self) -> None:
        """Leave word of the process, so that the bed ends it even if we do not."""
        assert self.process is not None
        Process.of(self.process.pid).save(self.folder / PROCESS_FILE)

    def end(self, how: signal.Signals) -> None:
        """Signal the program and wait for its end."""
        if self.process is not None:
            self._signal(how)
            self.process.wait(30)
            self.process = None

    def stop(self) -> None:
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self.end(signal.SIGKILL)

    def _signal(self, how: signal.Signals) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(how)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass(frozen=True)
class Variant:
    """One of a bed's controllers: the name of its folder, its port, options over CONTROLLER_CONF's by section, its tiers."""

    name: str = "controller"
    port: int = PORT
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    tiers: str = TIERS


USUAL = Variant()


class Controller(Program):
    """foreshape-controller on this machine, where every host of the bed reaches it."""

    def __init__(self, bed: Bed, mode: str = "act", environment: dict[str, str] | None = None, variant: Variant = USUAL) -> None:
        super().__init__(bed.folder / variant.name)
        self.bed = bed
        self.environment = environment or {}
        self.port = variant.port
        self.url = f"https://{bed.network.machine_address}:{self.port}"
        self.ca = self.folder / "tls/ca.pem"
        self.database = self.folder / "controller.db"
        values = {"folder": self.folder, "mode": mode, "address": bed.network.machine_address, "port": self.port}
        (self.folder / "tiers.yaml").write_text(variant.tiers)
        (self.folder / "controller.conf").write_text(with_options(CONTROLLER_CONF.format(**values), variant.options))

    def start(self) -> "Controller":
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(BIN / "foreshape-controller"), "--config-file", str(self.folder / "controller.conf")],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )
        self.note()
        wait_until(self._answers, f"controller (see {self.log})", 60)
        return self

    def _answers(self) -> bool:
        if not self.running:
            raise LabError(f"the controller ended: {self.said()[-600:]}")
        with suppress(LabError, OSError):
            socket.create_connection((self.bed.network.machine_address, self.port), timeout=5).close()  # cheap, while it is not up yet
            self.ask("summary")
            return True
        return False

    def command(self, *words: str) -> list[str]:
        """The operator's command, pointed at this controller."""
        access = ["--url", self.url, "--token-file", self.folder / "admin-token", "--ca-file", self.ca]
        return [str(w) for w in (BIN / "foreshape", *access, *words)]

    def ask(self, *words: str) -> Any:
        """What the operator's command answers, as JSON."""
        return json.loads(run(self.command(*words, "-f", "json")))

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """A look into the database beside the running controller."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return list(db.execute(query, values))


class Agent(Program):
    """foreshape-agent inside one host's namespaces: its libvirt, its cgroups, its /proc are that host's."""

    def __init__(self, host: Host, controller: Controller, *, interval_s: float = 1, static_after_s: float = 20) -> None:
        super().__init__(host.folder.parent / f"agent-{host.name}")
        self.host, self.controller = host, controller
        self.environment: dict[str, str] = {}
        self.config = self.folder / "agent.conf"
        self.settings = {"interval_s": interval_s, "static_after_s": static_after_s, "host": host.name, "port": controller.port}
        self.state.mkdir(exist_ok=True)
        self.write_config()

    def write_config(self) -> None:
        self.config.write_text(AGENT_CONF.format(folder=self.folder, ca=self.controller.ca, **self.settings))

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def spool(self) -> Path:
        return self.state / "spool.sqlite"

    def enrol(self) -> "Agent":
        """The operator makes a join token for this host; the agent trades it for its own at its start."""
        answer = self.controller.ask("agent", "enroll", self.host.name)
        (self.folder / "join").write_text(answer["join_token"])
        return self

    def start(self) -> "Agent":
        words: list[str | Path] = [BIN / "foreshape-agent", "--config-file", self.config]
        self.process = self.host.start_in(words, self.log, self.environment)
        self.note()
        return self

    def wait_for_report(self, timeout_s: float = 120) -> "Agent":
        """Until the controller has a report that this process sent. Raises LabError with what the agent said last."""
        since = time.time()
        try:
            wait_until(lambda: self._reported(since), f"a report of {self.host.name}", timeout_s)
        except LabError as e:
            raise LabError(f"{e}; it said: {self.said()[-2000:]}") from e
        return self

    def _reported(self, since: float) -> bool:
        if not self.running:
            raise LabError(f"the agent of {self.host.name} ended: {self.said()[-600:]}")
        return bool(self.controller.rows("select 1 from hosts where name = ? and received_at > ?", self.host.name, since))

    def _signal(self, how: signal.Signals) -> None:
        """The process started is nsenter, which waits; the agent is its child."""
        assert self.process is not None
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in listing.read_text().split() if listing.exists() else []:
            with suppress(ProcessLookupError):
                os.kill(int(pid), how)

    def end_of_host(self) -> None:
        """The host went down, and this program with it: gather what is left of it here."""
        if self.process is not None:
            self.process.wait(30)
            self.process = None

    def forget(self) -> None:
        """A new agent: no spool, no token."""
        shutil.rmtree(self.state)
        self.state.mkdir()
