"""What commands share that work on files here, without a controller: times, durations, errors as sentences, progress."""

import argparse
import getpass
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from foreshape_controller.cli.errors import CliError
from foreshape_controller.errors import ControllerError

LONGEST_S = 36525 * 86400
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@contextmanager
def sentences() -> Iterator[None]:
    """What goes wrong below becomes a sentence and exit code 1."""
    try:
        yield
    except ControllerError as e:
        raise CliError(str(e)) from e
    except MemoryError as e:
        raise CliError("not enough memory here: choose fewer with --vms or --resource") from e
    except OSError as e:
        raise CliError(f"{e.filename or 'a file'}: {e.strerror or e}") from e


def who() -> str:
    """The user who runs the command; empty where he has no name (a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def instant(text: str) -> int:
    """Epoch seconds of ``1372629600`` or ``2013-07-01``, ``2013-07-01T06:00`` (UTC unless it says otherwise)."""
    if re.fullmatch(r"[0-9]{1,11}(\.0*)?", text):
        return int(float(text))
    try:
        when = datetime.fromisoformat(text)
        found = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        found = -1
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no time: epoch seconds or 2013-07-01T06:00, from 1970 on") from None
    return found


def duration(text: str) -> int:
    """Seconds of ``300``, ``30m``, ``6h``, ``1d``."""
    found = re.fullmatch(r"([0-9]{1,12})([smhd]?)", text)
    if not found or int(found[1]) * UNITS[found[2] or "s"] > LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no duration: 30m, 6h or 1d, a hundred years at most")
    return int(found[1]) * UNITS[found[2] or "s"]


class Ticker:
    """One line that says how far something is: rewritten on a terminal, now and then a new one elsewhere."""

    def __init__(self, out: TextIO | None = None, every_s: float = 10.0) -> None:
        self._out = out or sys.stderr
        self._tty = self._out.isatty()
        self._every_s = 0.2 if self._tty else every_s
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, all_: int) -> None:
        self.say(f"{what}: {done} of {all_}", last=done >= all_)

    def say(self, line: str, *, last: bool = False) -> None:
        """Show a line if it is time for one; the last one always on a terminal."""
        now = time.monotonic()
        if now - self._last < self._every_s and not (last and self._tty):
            return
        self._last = now
        self._out.write(f"\r\x1b[K{line}" if self._tty else f"{line}\n")
        self._out.flush()

    def done(self) -> None:
        """Nothing is left of the line on a terminal."""
        if self._tty:
            self._out.write("\r\x1b[K")
            self._out.flush()
