"""Calls that may hang: made in a thread of their own, waited for so long, and left behind when they are late."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Late(Exception):
    """No answer in time; the call goes on waiting by itself."""


class Patience:
    """At most so many calls hang at a time: more are not begun. Their threads hold up no exit of the program."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._hanging: list[Future[object]] = []

    @property
    def exhausted(self) -> bool:
        """Whether as many calls as may hang still do."""
        self._hanging = [call for call in self._hanging if not call.done()]
        return len(self._hanging) >= self._most

    def wait_for(self, call: Callable[[], T], seconds: float) -> T:
        """The call's answer or its exception; Late when there is none in time."""
        if self.exhausted:
            raise Late
        answer: Future[T] = Future()
        Thread(target=_fill, args=(answer, call), daemon=True).start()
        try:
            return answer.result(seconds)
        except FutureTimeout as e:
            self._hanging.append(answer)  # type: ignore[arg-type]  # only asked whether it is done
            raise Late from e


def _fill(answer: "Future[T]", call: Callable[[], T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as e:  # noqa: BLE001  handed over to whoever waits
        answer.set_exception(e)
