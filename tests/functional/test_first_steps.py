"""The first steps of the README, word for word, in a demo that runs."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STEPS = re.findall(r"^    \.venv/bin/foreshape (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
PRINTED = re.compile(r"^  export FORESHAPE_URL=(\S+) FORESHAPE_TOKEN_FILE=(\S+)$(?=[\s\S]*\nSIMULATED day)", re.MULTILINE)
"""Where simulated days have begun, there are servers."""
WAIT_S = 120


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The two words that it prints, as an environment."""
    said = tmp_path_factory.mktemp("demo") / "said"
    with said.open("w") as out:
        process = subprocess.Popen([BIN / "foreshape", "demo", "--serve", "--minutes", "5"], stdout=out, stderr=out, start_new_session=True)
    try:
        deadline, told = time.monotonic() + WAIT_S, None
        while told is None:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
            told = PRINTED.search(said.read_text())
        yield {"FORESHAPE_URL": told[1], "FORESHAPE_TOKEN_FILE": told[2]}
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_there_are_an_opt_out_an_event_and_a_request_among_them() -> None:
    first = {tuple(step.split()[:2]) for step in STEPS}
    assert {("optout", "busy-03"), ("event", "create"), ("request", "create")} <= first


@pytest.mark.parametrize("step", STEPS)
def test_a_new_user_takes_it_as_it_stands_there(demo: dict[str, str], step: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FORESHAPE", "OS_"))}
    done = subprocess.run(
        [BIN / "foreshape", *shlex.split(step)], env={**kept, **demo}, capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert done.stderr == ""
