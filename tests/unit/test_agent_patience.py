"""Calls that may hang are waited for so long and left behind; the next ones go on without them."""

from collections.abc import Callable
from threading import Event

import pytest

from foreshape_agent.patience import Late, Patience

pytestmark = pytest.mark.unit

SHORT_S = 0.05
ENOUGH_S = 10.0


def hang(until: Event) -> Callable[[], str]:
    def call() -> str:
        assert until.wait(ENOUGH_S)
        return "at last"

    return call


def test_an_answer_and_an_exception_come_through() -> None:
    patience = Patience(most=1)
    assert patience.wait_for(lambda: 42, ENOUGH_S) == 42
    with pytest.raises(ZeroDivisionError):
        patience.wait_for(lambda: 1 // 0, ENOUGH_S)
    patience.close()


def test_a_late_call_is_left_behind_and_its_answer_is_nobodys() -> None:
    patience, release = Patience(most=2), Event()
    with pytest.raises(Late):
        patience.wait_for(hang(release), SHORT_S)
    assert patience.wait_for(lambda: "mine", ENOUGH_S) == "mine"
    release.set()
    assert [patience.wait_for(lambda n=n: n, ENOUGH_S) for n in range(3)] == [0, 1, 2]  # type: ignore[misc]
    patience.close()


def test_no_more_than_so_many_calls_hang_and_a_freed_place_is_used_again() -> None:
    patience, release, begun = Patience(most=2), Event(), []

    def count() -> None:
        begun.append(1)
        hang(release)()

    for _ in range(4):
        with pytest.raises(Late):
            patience.wait_for(count, SHORT_S)
    assert len(begun) == 2
    release.set()
    for worker in patience._left:
        worker.thread.join(ENOUGH_S)
    assert not patience.exhausted
    assert patience.wait_for(lambda: "again", ENOUGH_S) == "again"
    patience.close()
