"""Other programs, run and waited for: the one place where the lab starts short-lived processes."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from foreshape_lab.errors import LabError


def run(command: Sequence[str | Path], *, cwd: Path | None = None, timeout_s: float = 120, text_in: str | None = None) -> str:
    """What the program printed. Raises LabError with its last words when it fails."""
    words = [str(w) for w in command]
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, input=text_in, check=False)
    except FileNotFoundError as e:
        raise LabError(f"{words[0]} is not installed") from e
    except subprocess.TimeoutExpired as e:
        raise LabError(f"{' '.join(words[:6])} … did not end within {timeout_s:g} s") from e
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise LabError(f"{' '.join(words[:8])} failed ({done.returncode}): {last}")
    return done.stdout


def try_run(command: Sequence[str | Path], *, timeout_s: float = 120) -> str | None:
    """As ``run``, but None when it fails: for clearing up and for questions that may have no answer."""
    try:
        return run(command, timeout_s=timeout_s)
    except LabError:
        return None
