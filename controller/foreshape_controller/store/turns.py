"""Two processes of one controller write to one SQLite file in turn.

SQLite lets whoever asks at the right moment write: one who writes again and again leaves nothing to another who looks now and then.
So a writer first takes the place of who is next, then waits for the turn, and then gives the place free: whoever comes after that
stands behind him. The places are bytes of a file beside the database that the kernel locks; it frees them when a process dies.
Writers that know nothing of this (an operator's sqlite3) still meet SQLite's own lock.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foreshape_controller.errors import Unavailable

NEXT, TURN = 0, 1
"""Bytes of the file."""
POLL_S = 0.001


class Turns:
    """One thread at a time may call it."""

    def __init__(self, database: Path, wait_s: float) -> None:
        self._wait_s = wait_s
        self._file = os.open(database.with_name(f"{database.name}-turns"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """It is ours. Raises Unavailable where it does not become so in time."""
        deadline = time.monotonic() + self._wait_s
        self._take(NEXT, deadline)
        try:
            self._take(TURN, deadline)
        finally:
            self._give(NEXT)
        try:
            yield
        finally:
            self._give(TURN)

    def _take(self, place: int, deadline: float) -> None:
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "another process writes to the controller's database for too long: nothing was taken, try again"
                    ) from None
                time.sleep(POLL_S)
            else:
                return

    def _give(self, place: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
