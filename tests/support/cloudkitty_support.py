"""CloudKitty in an environment of its own, beside this one: installed once, made again when its pins change."""

import fcntl
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from foreshape_cloudbed import environment

FOLDER = Path(__file__).parents[2] / "devstack/cloudkitty"
METRICS = Path(__file__).parents[2] / "etc/cloudkitty/metrics.yml"
PINS = FOLDER / "constraints.txt"
CACHE = Path(sys.prefix) / "cloudkitty"
PYTHON = CACHE / "venv/bin/python"


def install() -> None:
    """From PyPI; some seconds the first time, nothing afterwards."""
    CACHE.mkdir(exist_ok=True)
    stamp, digest = CACHE / "installed", hashlib.sha256(PINS.read_bytes()).hexdigest()
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest and PYTHON.exists():
            return
        stamp.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(CACHE / "venv")])
        _run([sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "-q", "-c", str(environment.PINS), "uv"])
        environment.uv("pip", "install", "-q", "--python", PYTHON, "-c", PINS, "cloudkitty", program=PYTHON.with_name("uv"))
        stamp.write_text(digest)


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def check(metrics: Path, series: dict[str, Any], begin: float, hours: int) -> tuple[int, dict[str, Any], str]:
    """What CloudKitty's own code makes of a metrics.yml and of samples: exit code, answer, complaints."""
    asked = json.dumps({"metrics": str(metrics), "series": series, "from": begin, "hours": hours})
    done = subprocess.run([PYTHON, FOLDER / "check.py"], input=asked, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}, done.stderr
