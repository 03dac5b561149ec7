"""The program itself, as a process, on libvirt's test driver and a small controller on the loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core_support import WebController, until
from doors_support import FakeClock
from foreshape_agent.config import Settings
from foreshape_agent.main import run

pytestmark = pytest.mark.functional

DOMAIN = "6695eb01-f6a4-8304-79aa-97f2502e193f"
"""The one domain of libvirt's test:///default."""


@dataclass
class Program:
    """foreshape-agent with its own folder and its own controller."""

    folder: Path
    web: WebController

    def configure(self, **options: str) -> Path:
        agent = {"host": "hv1", "state_dir": str(self.folder / "state"), "interval_s": "1", "pressure_interval_s": "0"} | options
        lines = ["[agent]", *(f"{k} = {v}" for k, v in agent.items())]
        lines += ["[controller]", f"controller_url = {self.web.url}", "[hypervisor]", "libvirt_uri = test:///default"]
        path = self.folder / "agent.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "foreshape_agent", "--config-file", str(self.folder / "agent.conf"), *arguments]

    def once(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, input=typed, check=False)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        log = (self.folder / "log").open("a")
        return subprocess.Popen(self.command(), stderr=log, text=True, env=os.environ | environment)

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    web = WebController()
    made = Program(tmp_path, web)
    made.configure()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "token").write_text("secret-1")
    yield made
    web.close()


def ended(process: subprocess.Popen[str]) -> int:
    return process.wait(timeout=30)


class Script:
    """A cycle that writes down when it was called, on a clock that a stop event moves; some calls take or break."""

    def __init__(self, until_s: float, takes_s: float = 0.0, broken: bool = False) -> None:
        self.clock, self.calls, self.end = FakeClock(), list[tuple[str, float]](), until_s
        self.start, self.takes_s, self.broken = self.clock.monotonic(), takes_s, broken

    def run_once(self) -> str:
        self.calls.append(("cycle", round(self.clock.monotonic() - self.start, 3)))
        self.clock.sleep(self.takes_s)
        if self.broken:
            raise RuntimeError("nobody expected this")
        return ""

    def peek(self) -> int:
        self.calls.append(("peek", round(self.clock.monotonic() - self.start, 3)))
        return 0

    def is_set(self) -> bool:
        return self.clock.monotonic() - self.start >= self.end

    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)


def played(script: Script, **options: float) -> list[tuple[str, float]]:
    run(script, Settings(**options), script.clock, script)  # type: ignore[arg-type]
    return script.calls


def test_a_look_for_pressure_lies_between_two_cycles() -> None:
    assert played(Script(until_s=21)) == [("cycle", 0), ("peek", 5), ("cycle", 10), ("peek", 15), ("cycle", 20)]
    assert played(Script(until_s=21), pressure_interval_s=0) == [("cycle", 0), ("cycle", 10), ("cycle", 20)]


def test_a_cycle_that_takes_long_is_followed_at_once_and_not_made_up_for() -> None:
    assert played(Script(until_s=50, takes_s=24)) == [("cycle", 0), ("cycle", 24), ("cycle", 48)]


def test_a_cycle_that_breaks_is_tried_again_but_feeds_no_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert len(played(Script(until_s=21, broken=True), pressure_interval_s=0)) == 3
    with pytest.raises(BlockingIOError):
        heard.recv(100)
    played(Script(until_s=1))
    assert heard.recv(100) == b"WATCHDOG=1"


def test_one_cycle_reports_and_says_so(program: Program) -> None:
    done = program.once("--once")
    assert (done.returncode, done.stdout) == (0, "cycle: domains 1\n")
    assert program.web.reports[0].samples[0].server == DOMAIN
    assert program.web.reports[0].cards is not None
    assert "secret-1" not in done.stdout + done.stderr


def test_one_cycle_without_a_controller_ends_with_1_and_keeps_the_report(program: Program) -> None:
    program.web.status = 503
    done = program.once("--once")
    assert done.returncode == 1
    assert done.stdout == "cycle: domains 1, reports waiting 1\n"
    assert "foreshape-agent: no usable reply" in done.stderr
    program.web.status = 0
    assert program.once("--once").stdout == "cycle: domains 1\n"
    assert [r.sequence for r in program.web.reports] == [2, 1]


def test_a_mistake_in_the_file_ends_with_2_and_one_line(program: Program) -> None:
    program.configure(intervall_s="5")
    done = program.once("--once")
    assert done.returncode == 2
    assert "no option intervall_s in [agent]: did you mean interval_s?" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_enrolment_by_hand_and_from_stdin(program: Program) -> None:
    (program.folder / "state" / "token").unlink()
    done = program.once("--enrol", "-", typed="join-1\n")
    assert (done.returncode, done.stdout) == (0, f"enrolled: hv1 may report to {program.web.url}\n")
    assert program.once("--once").returncode == 0
    again = program.once("--enrol", "join-1")
    assert again.returncode == 1
    assert "enrolment was refused" in again.stderr
    assert "Traceback" not in again.stderr


def test_the_service_manager_is_told_and_a_stop_is_graceful(program: Program) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(program.folder / "notify"))
    heard.settimeout(30)
    process = program.start(NOTIFY_SOCKET=str(program.folder / "notify"))
    assert [heard.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    rest = []
    heard.setblocking(False)
    while True:
        try:
            rest.append(heard.recv(100))
        except BlockingIOError:
            break
    assert rest[-1] == b"STOPPING=1"
    assert program.logged()[-1]["event"] == "stopped"


def test_sighup_reads_the_log_level_again_and_nothing_else_stops(program: Program) -> None:
    process = program.start()
    until(lambda: len(program.web.reports) >= 1, "a first report")
    program.configure()
    (program.folder / "agent.conf").write_text((program.folder / "agent.conf").read_text() + "[log]\nlog_level = error\n")
    process.send_signal(signal.SIGHUP)
    count = len(program.web.reports)
    until(lambda: len(program.web.reports) >= count + 3, "reports go on")
    lines = len(program.logged())
    until(lambda: len(program.web.reports) >= count + 5, "reports go on")
    assert len(program.logged()) == lines
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0


def test_a_killed_agent_goes_on_where_it_was(program: Program) -> None:
    process = program.start()
    until(lambda: len(program.web.reports) >= 2, "two reports")
    program.web.status = 503
    process.kill()
    ended(process)
    process = program.start()
    until(lambda: any(line["event"] == "no usable reply" for line in program.logged()), "a report that is kept")
    process.kill()
    ended(process)
    program.web.status = 0
    process = program.start()
    until(lambda: len({r.sequence for r in program.web.reports}) >= 6, "the backlog")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    numbers = [r.sequence for r in program.web.reports]
    assert set(numbers) == set(range(1, max(numbers) + 1))  # none is missing
    assert (
        len(numbers) - len(set(numbers)) <= 1
    )  # killed before it knew of the answer it tells that one again; the controller counts it once
    assert len({r.epoch for r in program.web.reports}) == 1


def test_a_hypervisor_that_is_not_there_is_reported_not_crashed(program: Program) -> None:
    conf = program.folder / "agent.conf"
    conf.write_text(conf.read_text().replace("test:///default", "qemu+unix:///system?socket=/nonexistent"))
    done = program.once("--once")
    assert done.returncode == 1
    assert "hypervisor lost" in done.stderr
    assert "Traceback" not in done.stderr
    assert program.web.reports[0].samples == ()
    assert "hypervisor lost" in program.web.reports[0].note


def test_two_agents_never_share_a_spool(program: Program) -> None:
    process = program.start()
    until(lambda: len(program.web.reports) >= 1, "a first report")
    second = program.once("--once")
    assert second.returncode == 1
    assert "another foreshape-agent works in" in second.stderr
    process.kill()
    ended(process)
    assert program.once("--once").returncode == 0  # a killed agent leaves no lock behind


def test_a_state_folder_that_cannot_be_written_is_a_mistake_in_the_file(program: Program) -> None:
    program.configure(state_dir=str(program.folder / "agent.conf" / "state"))
    done = program.once("--once")
    assert done.returncode == 2
    assert "state_dir" in done.stderr
    assert "Traceback" not in done.stderr
