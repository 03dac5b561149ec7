"""Two processes that write to one database: each comes to its turn, and neither keeps the other out."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from foreshape_controller.errors import Unavailable
from foreshape_controller.store.turns import NEXT, TURN, Turns

pytestmark = pytest.mark.functional

HELD = """
import sys, time
from pathlib import Path
from foreshape_controller.store.turns import Turns
turns, until = Turns(Path(sys.argv[1]), 30.0), time.monotonic() + float(sys.argv[2])
count = 0
print("begun", flush=True)
while time.monotonic() < until:
    with turns():
        time.sleep(0.02)
    count += 1
print(count)
"""


def greedy(database: Path, seconds: float) -> "subprocess.Popen[str]":
    """A process that wants the turn again as soon as it has given it."""
    made = subprocess.Popen([sys.executable, "-c", HELD, str(database), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    assert made.stdout.readline() == "begun\n"
    return made


def test_one_who_looks_now_and_then_comes_to_his_turn_beside_one_who_never_stops(tmp_path: Path) -> None:
    other = greedy(tmp_path / "c.db", 60.0)
    try:
        mine = Turns(tmp_path / "c.db", 30.0)
        for _ in range(20):
            with mine():
                pass
    finally:
        other.kill()
        other.wait(10)
    mine.close()


def test_a_process_that_is_killed_in_its_turn_leaves_it_to_the_next(tmp_path: Path) -> None:
    other = greedy(tmp_path / "c.db", 60.0)
    other.kill()
    other.wait(10)
    mine = Turns(tmp_path / "c.db", 5.0)
    with mine():
        pass
    mine.close()


def test_one_who_waits_for_too_long_is_told_so_and_leaves_his_place(tmp_path: Path) -> None:
    hold = "from pathlib import Path; import sys, time; from foreshape_controller.store.turns import Turns\n"
    hold += "with Turns(Path(sys.argv[1]), 5.0)():\n    print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "c.db")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    mine, began = Turns(tmp_path / "c.db", 0.2), time.monotonic()
    with pytest.raises(Unavailable, match="try again"), mine():
        pass
    assert time.monotonic() - began >= 0.2
    other.kill()
    other.wait(10)
    with mine():
        assert (NEXT, TURN) == (0, 1)
    mine.close()
