"""The beds' check that nobody started a guest anew: an emulator's fault is told from a restart by somebody."""

import pytest

from story_support import Stage

pytestmark = pytest.mark.unit

OOPS = "[  504.622874] Kernel panic - not syncing: Fatal exception in interrupt"
WANT = "[  504.622874] Kernel panic - not syncing: System is deadlocked on memory"


def up(seconds: float) -> str:
    return f"LOAD up={seconds} ncpu=1 memtotal=154 memavail=123 want=0.20 got=0.42 memwant=32 memheld=0 oom=0"


class Consoles(Stage):
    """A guest on hv1, and what it said there."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def consoles(self, server: str) -> dict[str, list[str]]:
        return {"hv1": self.lines, "hv2": [up(493.8)]}

    def runs(self, server: str) -> list[str]:
        return ["hv1"]


@pytest.mark.parametrize(
    ("lines", "before", "after", "alone"),
    [
        ((up(494.0), up(505.0)), 493.8, 505.0, True),
        ((up(494.0), up(2.1)), 493.8, 2.1, False),
        ((up(480.0), OOPS, up(2.1)), 493.8, 2.1, True),
        ((up(480.0), WANT, up(2.1)), 493.8, 2.1, False),
        ((up(480.0), OOPS, up(2.1), up(20.0), up(3.0)), 20.0, 3.0, False),  # died before, and was started anew later
        ((OOPS, up(2.1)), 600.0, 2.1, False),
        ((), 493.8, 0.0, False),
        ((up(494.0),), 0.0, 494.0, False),  # nobody knows what was before
    ],
)
def test_only_a_kernel_that_died_of_itself_is_no_restart(lines: tuple[str, ...], before: float, after: float, alone: bool) -> None:
    assert Consoles(*lines).left_alone("some", before, after) is alone
