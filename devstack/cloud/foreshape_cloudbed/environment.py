"""What the bed needs of the machine: root, Debian's MariaDB and RabbitMQ, and OpenStack in an environment of its own.

The environment lies in the project's (``.venv/cloud``), so that git and `make clean` know it, and is made again when its pins change.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from foreshape_lab import packages as lab_packages
from foreshape_lab.errors import LabError, Missing
from foreshape_lab.shell import run
from foreshape_lab.state import locked

DEVSTACK = Path(__file__).parents[2]
PINS = Path(__file__).parents[1] / "constraints.txt"
WANTED = Path(__file__).parents[1] / "requirements.txt"
INSIDE = Path(__file__).parent / "inside"
"""Programs that run in the environment."""
CACHE = Path(sys.prefix) / "cloud"
VENV = CACHE / "venv"
BIN = VENV / "bin"
ETC = VENV / "etc"
PYTHON = BIN / "python"


def ensure() -> None:
    """Make sure that the bed can run here; installs what is missing when root. Raises Missing with what to do."""
    if os.geteuid() != 0:
        raise Missing("the cloud's test bed makes cgroups and runs its own MariaDB and RabbitMQ: run it as root")
    try:
        run([DEVSTACK / "packages.sh", "--require", "build", "cloud"], timeout_s=1200)
    except LabError as e:
        raise Missing(str(e).partition("): ")[2]) from e
    install()


def ensure_real() -> None:
    """The same, and what real hypervisors need."""
    lab_packages.ensure()
    ensure()


def digest() -> str:
    """Changes with the pins."""
    return hashlib.sha256(PINS.read_bytes() + WANTED.read_bytes()).hexdigest()[:12]


def install() -> None:
    """OpenStack from PyPI; half a minute the first time, nothing afterwards."""
    CACHE.mkdir(exist_ok=True)
    stamp = CACHE / "installed"
    with locked("cloud-environment"):
        if stamp.exists() and stamp.read_text() == digest() and PYTHON.exists():
            return
        print(f"installing OpenStack into {VENV} (once)", flush=True)
        stamp.unlink(missing_ok=True)
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV])
        try:
            run([sys.executable, "-m", "pip", "--python", PYTHON, "install", "-q", "-c", PINS, "uv"], timeout_s=300)
            uv("pip", "install", "-q", "--python", PYTHON, "-c", PINS, "-r", WANTED)
        except LabError as e:
            raise Missing(f"OpenStack could not be installed from PyPI: {e}") from e
        stamp.write_text(digest())


def uv(*words: str | Path, program: Path = BIN / "uv") -> None:
    """uv resolves and installs three times as fast as pip; it reads variables of its own."""
    own = {
        "UV_DEFAULT_INDEX": os.environ.get("PIP_INDEX_URL"),
        "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", os.environ.get("PIP_CERT")),
    }
    environment = {**os.environ, **{k: v for k, v in own.items() if v}}
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise LabError(done.stderr.strip()[-600:])
