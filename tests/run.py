"""`make test`: lint and every tier of tests, each with the time it took.

In front, one stage after the other: what waits for clocks, sockets and guests. Aside: what they will need, and what waits for browsers
and downloads. Behind, all the while: what only computes. It takes the processor time that nobody in front wants, so
that guests and deadlines never wait for it. What was said aside and behind is shown when it is over.
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
CROWDED = ("-n", "3", "--dist", "loadfile")
"""Many of them wait for processes and sockets."""
TWO = ("-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder")
"""Files that share a cloud go to one process (tests/integration/conftest.py): three at a time were no faster."""
LATER = (
    *("integration/test_cloud_abort_real", "integration/test_cloud_bed_real", "integration/test_cloud_devstack_real"),
    *("integration/test_cloud_periodics_real", "integration/test_cloud_pool_real", "integration/test_cloud_requests_real"),
    *("integration/test_cloud_sell_real", "integration/test_cloud_story_real", "integration/test_forecast_ahead_real"),
    "integration/test_two_tenants_real",
    *("simulation/test_feedback_life", "simulation/test_lockstep_days", "simulation/test_reclaim_life", "simulation/test_sell_days"),
)
"""Minutes beside what they tell that others do not: `make test LONG=1` runs them too. Named at the end of each run."""
LEFT_OUT = () if os.environ.get("LONG") else tuple(f"tests/{name}.py" for name in LATER if (HERE / f"{name}.py").exists())
INTEGRATION = {
    name: p.read_text() for p in sorted(HERE.glob("integration/test_*.py")) if (name := f"tests/integration/{p.name}") not in LEFT_OUT
}
ALONE = tuple(
    name for name in ("tests/integration/test_forecast_ahead_real.py", "tests/integration/test_two_tenants_real.py") if name not in LEFT_OUT
)
"""Their guests are judged by the CPU that they get, tenths of a core of it: beside another bed they would be judged for that."""
BEDS = sorted(
    (name for name in INTEGRATION if name not in ALONE),
    key=lambda name: ("real_cloud" not in INTEGRATION[name], "cloud" not in name and "keystone" not in name),
)
"""First those that share a cloud with real hypervisors, then those on a control plane without: each of the two takes longest."""

COMPUTING = tuple(
    file
    for name in (
        *("api_schemathesis", "authorisation", "scoping", "cli_backtest", "cli_demo", "cli_replay", "forecast_net", "forecast_school"),
        *("migrate_killed", "migrate_rules", "pool_killed", "pool_loop", "request_loop", "metering_loop"),
        *("store_history", "store_journal"),
    )
    if (HERE.parent / (file := f"tests/functional/test_{name}.py")).exists() and file not in LEFT_OUT
)
"""Functional tests that mostly compute, too, and wait for nobody: they need no time of their own."""
CLOUDKITTY = tuple(f"tests/functional/{p.name}" for p in HERE.glob("functional/test_cloudkitty.py"))
"""Installs CloudKitty first."""

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
        (
            *PYTEST,
            *SPREAD,
            "-o",
            "timeout=900",
            "--durations=10",
            "tests/unit",
            "tests/contract",
            "tests/simulation",
            *COMPUTING,
            *(f"--ignore={f}" for f in LEFT_OUT),
        ),
    ),
)
ASIDE = (
    Stage("OpenStack made ready", (sys.executable, "devstack/cloud/ready.py")),
    Stage("dashboard in a browser", (*REAL, "tests/e2e")),
    *([Stage("CloudKitty", (*PYTEST, *CLOUDKITTY))] if CLOUDKITTY else []),
)
"""At usual priority, for these wait: for the network, and for a browser."""
FRONT = (
    Stage(
        "functional",
        (*PYTEST, *CROWDED, "--durations=10", "tests/functional", *(f"--ignore={file}" for file in (*COMPUTING, *CLOUDKITTY, *LEFT_OUT))),
    ),
    Stage("real beds, two at a time", (*REAL, *TWO, *BEDS)),
    *([Stage("real beds, one at a time", (*REAL, *ALONE))] if ALONE else []),
)


def main(words: Sequence[str]) -> int:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling again in each of hundreds of programs is half of what they cost
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
            failed = max(failed, aside.wait(), behind.wait())
        except KeyboardInterrupt:
            print("\n== interrupted", flush=True)
            failed = 130
        finally:
            for line, process, said in (("aside", aside, said_aside), ("behind", behind, said_behind)):
                end(process)
                show(line, said)
    if LEFT_OUT:
        print(f"== left out, make test LONG=1 runs them: {', '.join(LEFT_OUT)}", flush=True)
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
