"""Where the lab keeps what it makes: one folder per machine, one sub-folder per bed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foreshape_lab.errors import LabError

LONGEST_SOCKET = 107
"""Linux takes no longer path for a unix socket."""


def state_root() -> Path:
    """``${TMPDIR:-/var/tmp}/foreshape-lab``, made if it is not there."""
    root = Path(os.environ.get("TMPDIR") or "/var/tmp") / "foreshape-lab"
    if len(str(root)) > LONGEST_SOCKET - 60:
        raise LabError(f"TMPDIR is too long for unix sockets below it: {root}; set a shorter one")
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextmanager
def locked(what: str) -> Iterator[None]:
    """One process at a time on this machine: image building, boots, names of beds."""
    with (state_root() / f"{what}.lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
