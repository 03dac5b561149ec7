"""``foreshape demo`` as a user starts it: a process of its own, without libvirt, saying SIMULATED from the first line to the last."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.functional

SMALL = ("--days", "0.15", "--servers", "5", "--hosts", "2")
WITHOUT_LIBVIRT = (
    "import sys; sys.modules['libvirt'] = None; from foreshape_controller.cli.main import main; sys.exit(main(['demo', *sys.argv[1:]]))"
)


def demo(*words: str, **more) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"TMPDIR": str(more.pop("tmp", "/tmp"))}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBVIRT, *words], capture_output=True, text=True, timeout=120, env=env, check=False
    )


def test_it_runs_without_libvirt_says_simulated_and_leaves_nothing_behind(tmp_path: Path):
    done = demo(*SMALL, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SIMULATED")
    assert done.stdout.rstrip().splitlines()[-1].startswith("SIMULATED")
    assert "Broken promises (below a floor, above a ceiling, a host overcommitted): 0" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_kept_means_the_database_is_there_afterwards(tmp_path: Path):
    done = demo(*SMALL, "--keep", tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert f"Kept: {folder}" in done.stdout
    assert (folder / "controller.db").stat().st_size > 0


def test_the_same_days_and_seed_tell_the_same_story(tmp_path: Path):
    def story(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("SIMULATED day")]

    first, second = (story(demo("--days", "0.4", *SMALL[2:], tmp=tmp_path).stdout) for _ in range(2))
    assert first == second != []
    assert "orders 0," not in first[-1]  # after six hours sizes change: there is something to tell


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--trace", "/nowhere/trace.parquet"), 1, "/nowhere/trace.parquet: no such file"),
        (("--port", "99999"), 2, "write a whole number from 0 to 65535"),
    ],
    ids=["trace", "port"],
)
def test_what_cannot_be_started_is_said_in_a_sentence(tmp_path, words, status, said):
    done = demo(*SMALL, *words, tmp=tmp_path)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_said_in_a_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = demo(*SMALL, "--port", str(taken.getsockname()[1]), tmp=tmp_path)
    assert done.returncode == 1
    assert "choose another --port" in done.stderr


def test_while_it_runs_the_operator_s_command_answers_from_another_process(tmp_path: Path):
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_LIBVIRT, "--minutes", "1", "--servers", "5", "--hosts", "2"],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert process.stdout is not None
        copied = next(line for line in process.stdout if line.strip().startswith("export FORESHAPE_URL=")).split()[1:]
        told = os.environ | dict(word.split("=", 1) for word in copied)
        command = [sys.executable, "-m", "foreshape_controller.cli.main", "server", "list"]
        until = time.monotonic() + 30
        while True:
            done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
            if (done.returncode == 0 and "running" in done.stdout) or time.monotonic() > until:
                break
        assert done.returncode == 0, done.stderr
        assert "SIMULATED" in done.stdout
        assert done.stdout.count("running") == 5
    finally:
        process.terminate()
        rest = process.stdout.read() if process.stdout else ""
        assert process.wait(timeout=30) == 130
    assert "SIMULATED" in rest
    assert list(tmp_path.iterdir()) == []


def test_served_it_offers_its_dashboard_with_a_link_that_logs_in_until_it_is_interrupted(tmp_path: Path):
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, "-c", WITHOUT_LIBVIRT, *SMALL, "--serve"], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        while not next(process.stdout).startswith("It goes on"):
            pass
        address, _, token = next(process.stdout).strip().partition("#token=")
        with urlopen(address, timeout=30) as page:
            assert b"js/main.js" in page.read()
        said = Request(address.replace("/dashboard/index.html", "/v1/session"), method="POST", headers={"Authorization": f"Bearer {token}"})
        with urlopen(said, timeout=30) as session:
            assert session.status == 201
    finally:
        process.send_signal(signal.SIGINT)
        if process.stdout:
            process.stdout.read()
        assert process.wait(timeout=30) == 0
    assert list(tmp_path.iterdir()) == []
