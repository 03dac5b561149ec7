"""What is told once although its text counts seconds."""

import pytest

from foreshape_controller.loops.durations import same_but_for_time

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the cloud was last read 61 s ago", "the cloud was last read 71 s ago"),
        ("it waited for 3 minutes: x", "it waited for 14 minutes: x"),
        ("free for 1.5 h more", "free for 0.5 h more"),
        ("as it was", "as it was"),
    ],
)
def test_only_durations_differ(one: str, other: str) -> None:
    assert same_but_for_time(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("under way out of node01", "under way out of node02"),
        ("order ord-12 is open", "order ord-13 is open"),
        ("2 are ordered", "3 are ordered"),
        ("", "the cloud was last read 61 s ago"),
    ],
)
def test_everything_else_is_news(one: str, other: str) -> None:
    assert not same_but_for_time(one, other)
