"""tests/run.py, which is `make test`, tried on a small tree of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

RUN = Path(__file__).parents[1] / "run.py"
TEST = "def test_it():\n    {}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    # Nothing stands back here: these tests have deadlines, and all others beside them would come first.
    (tmp_path / "tests/run.py").write_text(
        RUN.read_text().replace("SCHED_IDLE", "SCHED_OTHER").replace("/proc/self/autogroup", "/dev/null")
    )
    (tmp_path / "devstack/cloud").mkdir(parents=True)
    (tmp_path / "devstack/cloud/ready.py").write_text("print('there is a cloud')")
    (tmp_path / "Makefile").write_text("lint:\n\t@echo all is neat\n")
    for tier in ("unit", "contract", "simulation", "functional", "integration", "e2e"):
        (tmp_path / "tests" / tier).mkdir()
        (tmp_path / f"tests/{tier}/test_{tier}.py").write_text(TEST.format("pass"))
    for part in (
        "functional/test_cli_backtest",
        "functional/test_cli_replay",
        "functional/test_forecast_net",
        "functional/test_forecast_school",
    ):
        (tmp_path / f"tests/{part}.py").write_text(TEST.format("pass"))
    for part in ("integration/test_forecast_ahead_real", "integration/test_two_tenants_real"):
        (tmp_path / f"tests/{part}.py").write_text(TEST.format("pass"))
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--real-tiers', action='store_true')\n")
    return tmp_path


@pytest.fixture
def start(tree: Path) -> Iterator[object]:
    begun = []

    def start() -> "subprocess.Popen[str]":
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CI", "MAKE"))}
        environment |= {
            "LONG": "1",
            "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p xdist.plugin -p xdist.looponfail -p pytest_timeout -p no:cacheprovider",
        }  # a fifth of the time
        command = [sys.executable, tree / "tests/run.py"]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def test_every_stage_is_run_and_told_with_its_time(tree, start):
    process = start()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    for stage in ("functional", "real beds, two at a time", "real beds, one at a time", "OpenStack made ready", "lint", "computing"):
        assert f"{stage}: ok after 0:" in said
    assert "all is neat" in said
    assert "there is a cloud" in said
    assert said.index("real beds, one at a time: ok") < said.index("meanwhile") < said.index("computing: ok")
    assert said.splitlines()[-1].startswith("== ok, 0:")


def test_what_runs_behind_gets_the_processor_when_nobody_else_wants_it():
    script = f"import os, runpy; runpy.run_path({str(RUN)!r})['step_back'](); print(os.sched_getscheduler(0))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, start_new_session=True)
    assert int(said.stdout) == os.SCHED_IDLE


@pytest.mark.parametrize("tier", ["functional", "unit"])
def test_one_failure_anywhere_fails_the_whole_and_the_rest_still_runs(tree, start, tier):
    (tree / f"tests/{tier}/test_{tier}.py").write_text(TEST.format("assert False"))
    process = start()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert said.count(": FAILED after") == 1
    assert said.count(": ok after") == 6
    assert said.splitlines()[-1].startswith("== FAILED")


def test_an_interrupt_ends_everything_and_what_was_going_on_is_told(tree, start):
    mark = tree / "begun"
    waits = f"import pathlib, time; pathlib.Path({str(mark)!r} + __name__).touch(); time.sleep(100)"
    for tier in ("unit", "functional"):
        (tree / f"tests/{tier}/test_{tier}.py").write_text(TEST.format(waits))
    process = start()
    deadline = time.monotonic() + 60
    while len(list(tree.glob("begun*"))) < 2:
        assert time.monotonic() < deadline, "both are at work"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=150)  # each line may take its time for its last words
    assert process.returncode == 130
    assert "interrupted" in said
    assert "all is neat" in said, "what had been said behind"
    left = subprocess.run(["pgrep", "-f", str(tree)], check=False, capture_output=True, text=True).stdout.split()
    assert not left, "both lines have ended"


def test_tests_of_one_group_stay_in_one_process(tmp_path):
    """Files that share a cloud would else each bring up their own: seen where pytest and pytest-xdist did not agree, without a word."""
    lines = ["import os, pathlib, pytest", "@pytest.mark.parametrize('n', range(6))", "@pytest.mark.xdist_group('one')", "def test_it(n):"]
    lines.append(f"    (pathlib.Path({str(tmp_path)!r}) / f'ran-{{n}}').write_text(str(os.getpid()))")
    (tmp_path / "test_grouped.py").write_text("\n".join(lines) + "\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-c",
        os.devnull,
        f"--rootdir={tmp_path}",
        str(tmp_path),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout
    pids = [p.read_text() for p in tmp_path.glob("ran-*")]
    assert len(pids) == 6
    assert len(set(pids)) == 1
