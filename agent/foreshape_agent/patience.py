"""Calls that may hang: made by another thread, waited for so long, and left behind when they are late."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar, cast

T = TypeVar("T")
Call = Callable[[], object]


class Late(Exception):
    """No answer in time; the call goes on waiting by itself."""


class Patience:
    """At most so many calls hang at a time: more are not begun. Their threads hold up no exit of the program.

    One worker serves all calls, since starting a thread costs as much as a small bulk call; a worker whose call
    hangs is left behind and ends with it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._worker: _Worker | None = None
        self._left: list[_Worker] = []

    @property
    def exhausted(self) -> bool:
        """Whether as many calls as may hang still do."""
        self._left = [worker for worker in self._left if worker.thread.is_alive()]
        return len(self._left) >= self._most

    def wait_for(self, call: Callable[[], T], seconds: float) -> T:
        """The call's answer or its exception; Late when there is none in time."""
        if self._left and self.exhausted:
            raise Late
        worker = self._worker = self._worker or _Worker()
        worker.calls.put(call)
        try:
            answer, error = worker.answers.get(timeout=seconds)
        except Empty:
            self._left.append(worker)
            self.close()
            raise Late from None
        if error is not None:
            raise error
        return cast("T", answer)

    def close(self) -> None:
        """Let the worker end once its call has."""
        if self._worker is not None:
            self._worker.calls.put(None)
            self._worker = None


class _Worker:
    """A thread that makes one call after another, until it is handed None."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[object, BaseException | None]] = SimpleQueue()
        self.thread = Thread(target=self._work, daemon=True, name="patience")
        self.thread.start()

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                self.answers.put((call(), None))
            except BaseException as e:  # noqa: BLE001  handed over to whoever waits
                self.answers.put((None, e))
            del call  # what it holds must not outlive it
