"""The beds' word on a guest's kernel that died of itself: neither a restart by somebody nor want of memory is one."""

from pathlib import Path

import pytest

from story_support import Stage

pytestmark = pytest.mark.unit

OOPS = "[  504.622874] Kernel panic - not syncing: Fatal exception in interrupt"
WANT = "[  504.622874] Kernel panic - not syncing: System is deadlocked on memory"
UP = "LOAD up=2.1 ncpu=1 memtotal=154 memavail=123 want=0.20 got=0.42 memwant=32 memheld=0 oom=0"


class Consoles(Stage):
    """A guest on hv1, and the file with what it said there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def console(self, host: str, server: str) -> Path:
        return self.file

    def runs(self, server: str) -> list[str]:
        return ["hv1"]


@pytest.mark.parametrize(
    ("lines", "since", "told"),
    [
        ((UP,), 493.8, ""),
        ((UP, OOPS, UP), 493.8, OOPS),
        ((UP, WANT, UP), 493.8, ""),
        ((OOPS, UP), 600.0, ""),  # long before
        ((), 493.8, ""),
    ],
)
def test_only_a_kernel_that_died_of_itself_is_told(tmp_path: Path, lines: tuple[str, ...], since: float, told: str) -> None:
    file = tmp_path / "console.log"
    file.write_text("".join(f"{line}\r\n" for line in lines))
    assert Consoles(file).oops("some", since) == told


def test_a_guest_that_never_ran_there_said_nothing(tmp_path: Path) -> None:
    assert Consoles(tmp_path / "nothing.log").oops("some", 0.0) == ""
