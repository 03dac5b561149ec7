"""Forecasts that a process of its own makes: the same as the controller's, whatever dies meanwhile."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.away import Away, Job, Lookout
from foreshape_controller.loops.foresight import Made
from foreshape_controller.main import Program, build
from foreshape_controller.model.forecast import HEADS
from foreshape_controller.store.bins import vm_row
from foreshape_controller.store.schema import MAXIMA, SUMS, bins, series, servers
from lab_support import eventually
from store_support import T0, card, report, sample, settings

pytestmark = pytest.mark.functional

NAMES = ("vm-0", "vm-1", "vm-2")
BINS = 60
NOW = T0 + BINS * 300


def fill(program: Program) -> None:
    """Five hours of three servers."""
    y = np.random.default_rng(1).gamma(16.0, 1 / 16, (len(NAMES), BINS))
    store = program.store
    store.history.append(report(1, NOW - 5, [sample(n) for n in NAMES], cards=[card(n, cores=8.0) for n in NAMES]), NOW)
    with store.db.write() as conn:
        number = {r.name: r.id for r in conn.execute(select(series.c.name, series.c.id))}
        rows = [
            vm_row(sample(n, float(y[i, k]), window_s=300.0), int(T0) + k * 300, number[n], 300)
            for i, n in enumerate(NAMES)
            for k in range(BINS)
        ]
        store.db.upsert(bins, ["bin", "series"], add=SUMS, most=MAXIMA).run(conn, rows)
        conn.execute(update(series).values(first_seen=T0))
        conn.execute(update(servers).values(first_seen=T0))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Program]]:
    """Controllers that make forecasts apart from so many servers on; ended with the test."""
    made: list[Program] = []

    def started(apart_from: int) -> Program:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(build(settings(folder, forecast_apart_from=apart_from), lambda: NOW))
        fill(made[-1])
        return made[-1]

    yield started
    for program in made:
        program.lookout.stop()
        program.store.close()


def away(program: Program) -> Away:
    assert program.lookout.away is not None
    return program.lookout.away


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_forecasts_made_apart_are_those_of_the_controller_itself(start: Callable[[int], Program]) -> None:
    here, there = start(0), start(3)
    for program in (here, there):
        program.look_ahead()
    assert away(there).pid is not None
    for resource in ("cpu", "memory"):
        one, other = (p.foresight.newest(p.store.inventory.view(NOW)) for p in (here, there))
        assert one.servers[resource].series == other.servers[resource].series
        assert one.whole[resource].series == other.whole[resource].series
        for head in HEADS:
            np.testing.assert_array_equal(getattr(one.servers[resource], head), getattr(other.servers[resource], head))
            np.testing.assert_array_equal(getattr(one.whole[resource], head), getattr(other.whole[resource], head))
    assert here.foresight.made_at == there.foresight.made_at
    kept = [p.store.forecasts.latest("cpu", "vm-1") for p in (here, there)]
    assert kept[0] is not None
    assert kept[1] is not None
    np.testing.assert_array_equal(kept[0].peak30m, kept[1].peak30m)


def test_a_plan_is_made_of_what_the_other_process_foresees(start: Callable[[int], Program]) -> None:
    here, there = start(0), start(1)
    for program in (here, there):
        program.look_ahead()
        program.plan_loop.run_once(NOW, look_ahead=False)
    plans = [p.store.journal.latest_plan() for p in (here, there)]
    targets = [{d.server: d.cpu.target for d in p.decisions} if p is not None else {} for p in plans]
    assert targets[0] == targets[1]
    assert len(targets[0]) == len(NAMES)


def test_a_small_cloud_needs_no_second_process(start: Callable[[int], Program]) -> None:
    program = start(len(NAMES) + 1)
    program.look_ahead()
    assert away(program).pid is None
    assert set(program.foresight.made_at) >= {"cpu", "memory"}


def test_what_was_told_there_is_told_here(start: Callable[[int], Program]) -> None:
    program = start(1)
    watch = program.store.bus.watch(lambda: None)
    program.look_ahead()
    assert {n.kind for n in program.store.bus.read(watch, 100)} >= {"forecast"}


def test_only_what_is_new_comes_back(start: Callable[[int], Program]) -> None:
    program = start(1)
    assert set(away(program).forecast(NOW).latest) == {"cpu", "memory"}
    assert not away(program).forecast(NOW + 1).latest
    assert set(away(program).forecast(NOW + 301).latest) == {"cpu", "memory"}


def test_after_the_process_was_killed_at_work_the_last_forecasts_hold_and_another_goes_on(start: Callable[[int], Program]) -> None:
    program = start(1)
    program.look_ahead()
    before, pid = program.foresight.newest(program.store.inventory.view(NOW)).servers["cpu"], away(program).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # it cannot answer
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(program.look_ahead)
        eventually(lambda: any(isinstance(t, threading.Timer) for t in threading.enumerate()), "the question", 30)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="the last ones hold"):
            asked.result(60)
    assert program.foresight.newest(program.store.inventory.view(NOW)).servers["cpu"] is before
    program.look_ahead()
    assert away(program).pid not in (None, pid)
    np.testing.assert_array_equal(program.foresight.newest(program.store.inventory.view(NOW)).servers["cpu"].peak30m, before.peak30m)


def test_a_process_that_was_killed_at_rest_is_begun_anew_when_it_is_needed(start: Callable[[int], Program]) -> None:
    program = start(1)
    program.look_ahead()
    pid = away(program).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead, and whoever began it has yet to find out
    program.look_ahead()
    assert away(program).pid not in (None, pid)


def test_a_fault_in_there_is_told_and_the_process_goes_on(start: Callable[[int], Program]) -> None:
    program = start(1)
    program.look_ahead()
    pid = away(program).pid
    with program.store.db.write() as conn:
        conn.exec_driver_sql("ALTER TABLE servers RENAME TO away_servers")
    with pytest.raises(Unavailable, match="process that makes forecasts"):
        program.look_ahead()
    with program.store.db.write() as conn:
        conn.exec_driver_sql("ALTER TABLE away_servers RENAME TO servers")
    program.look_ahead()
    assert away(program).pid == pid


def test_events_are_measured_there_too(start: Callable[[int], Program]) -> None:
    program = start(1)
    program.lookout.measure(NOW)
    assert away(program).pid is not None


def sleeper(program: Program, command: Sequence[str]) -> Away:
    lookout: Lookout = program.lookout
    assert lookout.away is not None
    return Away(Job(program.settings, lookout.away._job.beside, lookout.away._job.segments), program.store.bus, command)


def test_a_stop_ends_a_process_in_the_middle_of_its_work(start: Callable[[int], Program]) -> None:
    never = sleeper(start(1), (sys.executable, "-c", "import sys, time; sys.stdin.buffer.read(1); time.sleep(600)"))
    made: list[Made] = []
    asking = threading.Thread(target=lambda: made.append(never.forecast(NOW)))
    asking.start()
    eventually(lambda: never.pid is not None, "the process to be begun", 20)
    pid = never.pid
    never.stop()
    asking.join(20)
    assert not running(pid or 0)
    assert [m.latest for m in made] == [{}], "a stop is no fault"
    assert never.forecast(NOW).latest == {}


def test_a_process_that_hangs_is_ended_and_said(start: Callable[[int], Program]) -> None:
    program = start(1)
    lookout = program.lookout
    assert lookout.away is not None
    job = lookout.away._job
    command = (sys.executable, "-c", "import sys, time; sys.stdin.buffer.read(1); time.sleep(600)")
    hangs = Away(job, program.store.bus, command, hangs_s=1.0)
    with pytest.raises(Unavailable, match="ended with status -9"):
        hangs.forecast(NOW)
    assert not running(hangs.pid or 0)


def test_a_process_that_says_what_nobody_understands_is_ended(start: Callable[[int], Program]) -> None:
    program = start(1)
    command = (sys.executable, "-c", "import sys, time; sys.stdout.buffer.write(b'x' * 4096); sys.stdout.flush(); time.sleep(600)")
    odd = sleeper(program, command)
    with pytest.raises(Unavailable, match="begun anew"):
        odd.forecast(NOW)
    assert not running(odd.pid or 0)


def test_the_process_ends_with_the_controller_however_that_ends(start: Callable[[int], Program]) -> None:
    program = start(1)
    program.look_ahead()
    pid, process = away(program).pid, away(program)._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as the system does for a controller that was killed
    eventually(lambda: not running(pid or 0), "the process to end", 20)


def test_a_command_that_is_not_there_is_told(start: Callable[[int], Program]) -> None:
    with pytest.raises(Unavailable, match="cannot be begun"):
        sleeper(start(1), ("/nonexistent/program",)).forecast(NOW)
