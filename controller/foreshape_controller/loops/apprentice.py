"""The training process seen from the controller: started, listened to, stopped. One at a time.

It is a process group of its own, at the lowest priority, with one thread unless told otherwise. Its standard input is a pipe that
this side never closes while it lives: when the controller goes, however it goes, the pipe ends and so does the process.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

import msgspec

from foreshape_controller.errors import ModelError
from foreshape_controller.log import get_logger
from foreshape_controller.loops.worker import Job, Told

_log = get_logger("learn")

COMMAND = (sys.executable, "-m", "foreshape_controller.loops.worker")
STOP_WITHIN_S = 10.0
LAST_WORDS = 20
"""Lines of its error output that are kept for the reason."""


class Apprentice:
    """At most one process; every method may be called from any thread."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: tuple[threading.Thread, ...] = ()
        self._progress = Told(kind="progress")
        self._end: Told | None = None
        self._words: list[str] = []

    @property
    def busy(self) -> bool:
        """Started, and its result not yet taken."""
        with self._lock:
            return self._process is not None

    @property
    def progress(self) -> Told:
        """The newest word on how far it is."""
        with self._lock:
            return self._progress

    @property
    def pid(self) -> int | None:
        with self._lock:
            return self._process.pid if self._process else None

    def start(self, job: Job) -> None:
        """Begin. ModelError when one is at work, or the process cannot be started."""
        with self._lock:
            if self._process is not None:
                raise ModelError("a training is under way already: 'foreshape model list' shows how far it is")
            process = self._spawn(job)
            self._process, self._end, self._words = process, None, []
            self._progress = Told(kind="progress", phase="starting", model=job.model)
            assert process.stdout is not None
            assert process.stderr is not None
            self._readers = tuple(
                threading.Thread(target=read, args=(pipe,), name="apprentice", daemon=True)
                for read, pipe in ((self._listen, process.stdout), (self._overhear, process.stderr))
            )
        for reader in self._readers:
            reader.start()

    def result(self) -> Told | None:
        """Its last word, once, after it has ended: ``done``, ``failed``, or ``died`` when it had none. None while it works."""
        with self._lock:
            process, readers = self._process, self._readers
        if process is None or process.poll() is None:
            return None
        for reader in readers:
            reader.join(STOP_WITHIN_S)
        with self._lock:
            self._process = None
            _close(process)
            return self._end or Told(kind="died", reason=_how(process.returncode, self._words), share=self._progress.share)

    def stop(self) -> None:
        """End it and everything it started; its checkpoint stays."""
        with self._lock:
            process = self._process
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN_S)
                break

    # --- inside ---

    def _spawn(self, job: Job) -> "subprocess.Popen[bytes]":
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(job.threads))
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, env={**os.environ, **threads}
            )
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
        except OSError as e:
            raise ModelError(f"the training process cannot be started ({e}): the champion goes on") from e
        return process

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            try:
                told = msgspec.json.decode(line, type=Told)
            except msgspec.MsgspecError:
                self._keep(line)
                continue
            with self._lock:
                if told.kind == "progress":
                    self._progress = told
                else:
                    self._end = told

    def _overhear(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        with self._lock:
            self._words = [*self._words[1 - LAST_WORDS :], line.decode(errors="replace").rstrip()]


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def _how(code: int, words: Sequence[str]) -> str:
    killed = f"it was killed by signal {-code}" if code < 0 else f"it ended with status {code}"
    return f"{killed}: {words[-1]}" if words else killed
