"""The beds' word on a guest that died of itself: neither a restart by somebody nor want of memory is one."""

from pathlib import Path

import pytest

from lab_support import Resets
from story_support import Stage

pytestmark = pytest.mark.unit

ITSELF = (True, 'event RESET for domain \'instance-00000001\': {"guest":true,"reason":"guest-reset"}')
SOMEBODY = (False, 'event RESET for domain \'instance-00000001\': {"guest":false,"reason":"host-qmp-system-reset"}')
WANT = "[  504.622874] Kernel panic - not syncing: System is deadlocked on memory"
KILLED = "LOAD up=504.1 ncpu=1 memtotal=154 memavail=3 want=0.20 got=0.42 memwant=32 memheld=0 oom=1"
UP = "LOAD up=2.1 ncpu=1 memtotal=154 memavail=123 want=0.20 got=0.42 memwant=32 memheld=0 oom=0"


class Consoles(Stage):
    """A guest on hv1, and the file with what it said there."""

    def __init__(self, file: Path, runs: list[str]) -> None:
        self.file = file
        self.running = runs

    def last_words(self, server: str, most: int = 25) -> str:
        return self.file.read_text()

    def runs(self, server: str) -> list[str]:
        return self.running

    def name(self, server: str) -> str:
        return "instance-00000001"


class Told(Resets):
    """What QEMU said."""

    def __init__(self, told: tuple[tuple[bool, str], ...]) -> None:
        self.told = told

    def of(self, name: str) -> list[tuple[bool, str]]:
        return list(self.told)


SILENT = "instance-00000001 runs on hv1 and says nothing"


@pytest.mark.parametrize(
    ("up", "resets", "console", "runs", "told"),
    [
        ((493.8, 501.2), (), (UP,), ["hv1"], ""),
        ((493.8, 2.1), (ITSELF,), (UP,), ["hv1"], ITSELF[1]),
        ((493.8, 2.1), (SOMEBODY,), (UP,), ["hv1"], ""),
        ((493.8, 2.1), (SOMEBODY, ITSELF), (UP,), ["hv1"], ""),
        ((493.8, 2.1), (), (UP,), ["hv1"], ""),  # it was started anew, and QEMU too
        ((493.8, 2.1), (ITSELF,), (WANT, UP), ["hv1"], ""),
        ((493.8, 2.1), (ITSELF,), (KILLED, UP), ["hv1"], ""),
        ((493.8, 0.0), (), (), ["hv1"], SILENT),
        ((493.8, 0.0), (), (KILLED,), ["hv1"], ""),
        ((493.8, 0.0), (), (), [], ""),  # it does not run
        ((493.8, 0.0), (), (), ["hv1", "hv2"], ""),
    ],
)
def test_only_a_guest_that_died_of_itself_is_told(
    tmp_path: Path, up: tuple[float, float], resets: tuple[tuple[bool, str], ...], console: tuple[str, ...], runs: list[str], told: str
) -> None:
    file = tmp_path / "console.log"
    file.write_text("".join(f"{line}\r\n" for line in console))
    assert Consoles(file, runs).died("some", up, Told(resets)) == told
