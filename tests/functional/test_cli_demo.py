"""``foreshape demo`` as a user starts it: a process of its own, without libvirt, saying SIMULATED from the first line to the last."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

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
    ("words", "said"),
    [
        (("--trace", "/nowhere/trace.parquet"), "/nowhere/trace.parquet: no such file"),
        (("--port", "99999"), "cannot listen on 127.0.0.1:99999"),
    ],
    ids=["trace", "port"],
)
def test_what_cannot_be_started_is_said_in_a_sentence(tmp_path, words, said):
    done = demo(*SMALL, *words, tmp=tmp_path)
    assert done.returncode == 1
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
        copied = next(line for line in process.stdout if line.strip().startswith("foreshape --url")).split()
        until = time.monotonic() + 30
        while True:
            done = subprocess.run(
                [sys.executable, "-m", "foreshape_controller.cli.main", *copied[1:]], capture_output=True, text=True, check=False
            )
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
