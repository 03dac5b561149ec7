"""`make test`: lint and every tier of tests, each with the time it took.

In front, one stage after the other: what waits for clocks, sockets and guests. Aside: what they will need. Behind, all the while: what
only computes. It takes the processor time that nobody in front wants, so that guests and deadlines never wait for it. What was said aside
and behind is shown when it is over.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
PYTEST = (sys.executable, "-m", "pytest")
REAL = (*PYTEST, "--real-tiers", "--durations=10")
SPREAD = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
TWO = ("-n", "logical", "--maxprocesses", "2", "--dist", "loadfile")
INTEGRATION = {f"tests/integration/{p.name}": p.read_text() for p in sorted(HERE.glob("integration/test_*.py"))}
CLOUD = [name for name, text in INTEGRATION.items() if "cloudbed" in text or "cloud_bed" in text]
"""On a real OpenStack, or with its code."""
ALONE = ("tests/integration/test_forecast_ahead_real.py", "tests/integration/test_two_tenants_real.py")
"""Their guests are judged by the CPU that they get, tenths of a core of it: beside another bed they would be judged for that."""
LAB = [name for name in INTEGRATION if name not in {*CLOUD, *ALONE}]

LEARNING = tuple(
    f"tests/functional/{name}.py" for name in ("test_cli_backtest", "test_cli_replay", "test_forecast_net", "test_forecast_school")
)
"""Functional tests that only compute too: nets are taught."""

LAST_WORDS_S = 25
"""So long an interrupted stage may say what it was doing."""


@dataclass(frozen=True)
class Stage:
    name: str
    command: tuple[str, ...]


BEHIND = (
    Stage("lint", ("make", "-s", "lint")),
    # A test that others hold up is not a test that hangs.
    Stage(
        "computing",
        (*PYTEST, *SPREAD, "-o", "timeout=900", "--durations=10", "tests/unit", "tests/contract", "tests/simulation", *LEARNING),
    ),
)
ASIDE = (Stage("OpenStack made ready", (sys.executable, "devstack/cloud/ready.py")),)
"""At usual priority, for it waits for the network. Where it fails, the stage that needs it says so."""
FRONT = (
    Stage("functional", (*PYTEST, *SPREAD, "--durations=10", "tests/functional", *(f"--ignore={file}" for file in LEARNING))),
    Stage("real beds, two at a time", (*REAL, *TWO, *LAB)),
    Stage("real beds, one at a time", (*REAL, *ALONE)),
    *([Stage("real clouds, two at a time", (*REAL, *TWO, *CLOUD))] if CLOUD else []),
)


def main(words: Sequence[str]) -> int:
    if words == ["behind"]:
        step_back()
        return run_all(BEHIND)
    if words == ["aside"]:
        return run_all(ASIDE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryFile("w+b") as said_behind, tempfile.TemporaryFile("w+b") as said_aside:
        behind, aside = start("behind", said_behind), start("aside", said_aside)
        try:
            failed = run_all(FRONT)
            failed = behind.wait() or failed
        except KeyboardInterrupt:
            print("\n== interrupted", flush=True)
            failed = 130
        finally:
            for line, process, said in (("aside", aside, said_aside), ("behind", behind, said_behind)):
                end(process)
                show(line, said)
    print(f"== {'FAILED' if failed else 'ok'}, {clock()} in all", flush=True)
    return failed


def run_all(stages: Sequence[Stage]) -> int:
    """One after the other, whatever fails."""
    return max([run(stage) for stage in stages])


def run(stage: Stage) -> int:
    print(f"== {clock()} {stage.name}", flush=True)
    begun = time.monotonic()
    process = subprocess.Popen(stage.command, cwd=HERE.parent)
    try:
        failed = process.wait() != 0
    except KeyboardInterrupt:  # told to the whole group: it knows
        end(process)
        raise
    print(f"== {clock()} {stage.name}: {'FAILED' if failed else 'ok'} after {minutes(time.monotonic() - begun)}", flush=True)
    return int(failed)


def start(line: str, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    """In a session of its own: its priority is then its own too."""
    command = [sys.executable, __file__, line]
    return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, env={**os.environ, BEGUN: str(_begun)})


def step_back() -> None:
    """This process and what it starts get the processor when nobody else wants it. Where that cannot be had, it is slower for all."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):  # sessions share the processor as equals where the kernel groups them, whatever their processes' priority
        Path("/proc/self/autogroup").write_text("19")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt it, with all it started; kill what does not end."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign) if os.getpgid(process.pid) == process.pid else process.send_signal(sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS_S)


def show(line: str, said: IO[bytes]) -> None:
    said.seek(0)
    print(f"== meanwhile, {line}", flush=True)
    print(said.read().decode(errors="replace"), flush=True)


BEGUN = "FORESHAPE_TESTS_BEGUN"
_begun = float(os.environ.get(BEGUN) or time.time())


def clock() -> str:
    """Since the beginning of it all."""
    return minutes(time.time() - _begun)


def minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
