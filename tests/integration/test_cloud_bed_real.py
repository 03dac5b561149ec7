"""The cloud's bed itself: a program that is killed leaves its services running, and `run.py down` takes away all of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from foreshape_cloudbed import Cloud, environment
from foreshape_cloudbed.service import group_of
from foreshape_lab import Missing
from foreshape_lab.processes import start_tick

from cloud_bed import bed_name
from lab_support import eventually

pytestmark = pytest.mark.integration

RUN = environment.DEVSTACK / "cloud/run.py"
PARTS = ("epmd", "mariadb", "rabbit", "neutron")
"""Those that need no database: they start within seconds, and fork as the others do."""
PROGRAM = f"""
import signal, sys
sys.path[:0] = [{str(RUN.parent)!r}, {str(RUN.parent.parent / "lab")!r}]
from foreshape_cloudbed import Cloud
cloud = Cloud(sys.argv[1], 0)
cloud._prepare()
for part in {PARTS!r}:
    cloud._start(part)
print("up", flush=True)
signal.pause()
"""


@pytest.fixture
def left() -> Iterator[Cloud]:
    """A bed whose program was killed in the middle."""
    try:
        environment.ensure()
    except Missing as e:
        pytest.skip(str(e))
    cloud = Cloud(bed_name(), 0)
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, cloud.name], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    eventually(lambda: program.stdout and "up" in program.stdout.readline(), "the parts", 200)
    os.kill(program.pid, signal.SIGKILL)
    program.wait(10)
    program.stdout.close()
    yield cloud
    cloud.down()


def members(cloud: Cloud) -> set[int]:
    return set().union(*(group_of(cloud.folder / part).members() for part in PARTS))


def test_what_a_killed_bed_left_is_all_taken_away_by_its_name(left: Cloud) -> None:
    pids = members(left)
    assert all(left.part(name).running for name in PARTS)
    assert len(pids) > len(PARTS)  # RabbitMQ has helpers of its own
    subprocess.run([sys.executable, str(RUN), "down", left.name], check=True, timeout=60)
    assert not members(left)
    assert not any(start_tick(pid) for pid in pids)  # a zombie waits for its new parent, and is nothing any more
    assert not left.folder.exists()
    assert not any(folder.exists() for part in PARTS for folder in group_of(left.folder / part).folders())


def test_a_part_can_be_killed_with_all_it_forked_and_started_again(left: Cloud) -> None:
    before = group_of(left.folder / "rabbit").members()
    assert before
    left.kill("rabbit")
    assert not any(start_tick(pid) for pid in before)
    began = time.monotonic()
    left.start("rabbit")
    assert left.part("rabbit").running
    assert time.monotonic() - began < 90
    with left.without("neutron"):
        assert not left.part("neutron").running
    assert left.part("neutron").running
