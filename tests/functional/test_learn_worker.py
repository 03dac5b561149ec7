"""The training process: what it reads, what it says, how it ends, and that nobody else ends with it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from core_support import until
from foreshape_controller.errors import ModelError
from foreshape_controller.loops import worker
from foreshape_controller.loops.apprentice import Apprentice
from foreshape_controller.loops.worker import Job, Told, contend, read_histories, run
from foreshape_controller.store import Store
from learn_support import a_model, apprentice_command, deployment, load_scripted, told
from store_support import DAY, T0

pytestmark = pytest.mark.functional

WITH_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    """12 servers with 6 days of past."""
    folder = tmp_path_factory.mktemp("past")
    store = Store.open(f"sqlite:///{folder / 'controller.db'}")
    deployment(store, 12, 6)
    store.close()
    return folder


@pytest.fixture
def job(bed, tmp_path):
    return Job(
        database=f"sqlite:///{bed / 'controller.db'}", step_s=300, models_dir=str(tmp_path / "models"), model="m1", now=T0, cpu_minutes=0.02
    )


@pytest.fixture
def heard():
    return []


def change(job: Job, **fields: object) -> Job:
    return msgspec.structs.replace(job, **fields)


# --- what it reads ---


def test_it_reads_the_deployment_s_own_closed_bins_of_every_resource(job, heard):
    found = read_histories(job, heard.append)
    assert set(found) == {"cpu", "memory", "disk", "net"}
    assert (len(found["cpu"].series), found["cpu"].bins, found["cpu"].until) == (12, 6 * 288, T0)
    assert heard[0].phase == "reading history"


def test_it_looks_back_no_further_than_it_is_told_and_takes_a_sample_of_many(job):
    found = read_histories(change(job, history_days=2.0, series=5), lambda _: None)
    assert found["cpu"].mean.shape == (5, 2 * 288)


def test_the_same_seed_takes_the_same_sample(job):
    first, again, other = (read_histories(change(job, series=5, seed=s), lambda _: None)["cpu"].series for s in (1, 1, 2))
    assert first == again != other


def test_bins_before_anybody_reported_are_not_learned_from(job):
    assert read_histories(change(job, history_days=60.0), lambda _: None)["cpu"].start == T0 - 6 * DAY


def test_a_deployment_without_servers_has_nothing_to_teach(job, tmp_path, heard):
    Store.open(f"sqlite:///{tmp_path / 'new.db'}").close()
    empty = change(job, database=f"sqlite:///{tmp_path / 'new.db'}")
    assert run(empty, heard.append, lambda *_: 0.0) == 1
    assert "no history" in heard[-1].reason


# --- how it ends: every failure is one sentence ---


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (ModelError("too little data: 3 days"), "too little data: 3 days"),
        (OSError(28, "No space left on device", "/models/m1"), "No space left on device (/models/m1): the champion goes on"),
        (MemoryError(), "lower [learn] train_series"),
    ],
)
def test_what_goes_wrong_in_the_lesson_is_said_in_one_line(job, heard, trouble, says):
    def teach(*_: object) -> float:
        raise trouble

    assert run(job, heard.append, teach) == 1
    assert heard[-1].kind == "failed"
    assert says in heard[-1].reason


@WITH_TORCH
@pytest.mark.timeout(120)
def test_models_that_have_no_place_to_go_end_the_training_with_the_place_s_name(job, tmp_path, heard):
    (tmp_path / "models").write_text("a file where the folder should be")
    assert run(job, heard.append, worker._teach) == 1
    assert str(tmp_path / "models") in heard[-1].reason


# --- the contest ---


def scripted_contest(job: Job, monkeypatch: pytest.MonkeyPatch, **medians: float) -> Told:
    from foreshape_controller.forecast.baseline import Baseline  # noqa: PLC0415
    from foreshape_controller.forecast.chain import Chain  # noqa: PLC0415

    for name, median in medians.items():
        a_model(Path(job.models_dir), name, median=median)
    monkeypatch.setattr(worker, "load", lambda folder: Chain(Baseline(), load_scripted(folder)))
    histories = {"cpu": read_histories(job, lambda _: None)["cpu"]}
    return contend(job, histories, T0 - 3 * DAY)


def test_a_challenger_nearer_to_the_truth_than_the_champion_wins(job, monkeypatch):
    """Mean demand of these servers is near 1 core; 50 cores are cut to half more than was sold or seen, 6 cores: still far off."""
    result = scripted_contest(change(job, champion="m0"), monkeypatch, m0=50.0, m1=2.0)
    assert result.won
    assert max(result.figures.values()) < 0.5


def test_one_further_from_it_loses_and_the_reason_names_the_worst_head(job, monkeypatch):
    result = scripted_contest(change(job, champion="m0"), monkeypatch, m0=2.0, m1=50.0)
    assert not result.won
    assert "of the error of the one in office" in result.reason


def test_a_champion_that_cannot_be_loaded_cannot_defend_its_place(job, monkeypatch):
    """The challenger then meets the baseline, which knows these servers better than 50 cores."""
    (Path(job.models_dir) / "m0").mkdir(parents=True)
    assert not scripted_contest(change(job, champion="m0"), monkeypatch, m1=50.0).won


def test_with_the_baseline_in_office_the_baseline_is_to_be_beaten(job, monkeypatch):
    assert not scripted_contest(job, monkeypatch, m1=50.0).won


# --- the process, seen from the controller ---


@pytest.fixture
def keeper():
    made: list[Apprentice] = []

    def make(*command: str) -> Apprentice:
        made.append(Apprentice(command))
        return made[-1]

    yield make
    for apprentice in made:
        apprentice.stop()


def ended(apprentice: Apprentice) -> Told:
    found: list[Told] = []

    def over() -> bool:
        found.extend([t for t in [apprentice.result()] if t])
        return bool(found)

    until(over, "the training ends", 60)
    return found[0]


def test_progress_is_heard_while_it_works_and_the_result_once(job, tmp_path, keeper):
    gate = tmp_path / "go"
    wait = f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\n"
    last = f"tell({told(kind='done', model='{model}', won=True, reason='it won')!r})"
    it = keeper(*apprentice_command(tmp_path, told(kind="progress", share=0.42, phase="grown"), then=wait + last))
    it.start(job)
    until(lambda: it.progress.share == 0.42, "progress is told")
    assert it.result() is None
    gate.touch()
    assert (ended(it).kind, it.busy) == ("done", False)
    assert it.result() is None


def test_a_second_one_is_refused_while_one_works(job, tmp_path, keeper):
    it = keeper(*apprentice_command(tmp_path, then="time.sleep(60)"))
    it.start(job)
    with pytest.raises(ModelError, match="under way"):
        it.start(job)


def test_killed_outright_it_is_known_to_have_died(job, tmp_path, keeper):
    it = keeper(*apprentice_command(tmp_path, told(kind="progress", share=0.3), then="time.sleep(60)"))
    it.start(job)
    until(lambda: it.progress.share > 0, "it works")
    os.kill(it.pid, signal.SIGKILL)
    result = ended(it)
    assert (result.kind, result.share) == ("died", 0.3)
    assert "signal 9" in result.reason


def test_one_that_dies_of_itself_leaves_its_last_words(job, tmp_path, keeper):
    it = keeper(*apprentice_command(tmp_path, then="raise SystemExit('no such library')"))
    it.start(job)
    assert ended(it).reason == "it ended with status 1: no such library"


def test_a_program_that_is_not_there_is_said_at_once(job, keeper):
    with pytest.raises(ModelError, match="cannot be started"):
        keeper("/nowhere/python").start(job)


def test_stopping_ends_it_and_what_it_started(job, tmp_path, keeper):
    child = tmp_path / "child"
    begets = f"import subprocess\npathlib.Path({str(child)!r}).write_text(str(subprocess.Popen(['sleep', '60']).pid))\ntime.sleep(60)"
    it = keeper(*apprentice_command(tmp_path, then=begets))
    it.start(job)
    until(lambda: child.exists() and child.read_text() != "", "its child runs")
    it.stop()
    assert ended(it).kind == "died"
    until(lambda: not alive(int(child.read_text())), "its child ended too")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_when_the_controller_is_killed_the_training_ends(job, tmp_path):
    """A stand-in for the controller starts the real process and is killed -9: the pipe ends, and with it the training."""
    pid = tmp_path / "pid"
    script = tmp_path / "controller.py"
    script.write_text(
        "import sys, time, pathlib, msgspec\n"
        "from foreshape_controller.loops import worker\n"
        "from foreshape_controller.loops.apprentice import Apprentice\n"
        f"sleeper = 'import threading, time; from foreshape_controller.loops import worker; worker._line(); "
        "threading.Thread(target=worker._end_with_input, daemon=True).start(); time.sleep(120)'\n"
        "it = Apprentice((sys.executable, '-c', sleeper))\n"
        f"it.start(msgspec.json.decode({msgspec.json.encode(job)!r}, type=worker.Job))\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(it.pid))\n"
        "time.sleep(120)\n"
    )
    controller = subprocess.Popen([sys.executable, str(script)])
    until(lambda: pid.exists() and pid.read_text() != "", "the training runs", 60)
    training = int(pid.read_text())
    assert alive(training)
    controller.kill()
    controller.wait(10)
    until(lambda: not alive(training), "the training ends with the controller")


@WITH_TORCH
@pytest.mark.timeout(240)
def test_the_real_process_teaches_a_model_at_the_lowest_priority_with_one_thread(job, keeper):
    it = keeper(sys.executable, "-m", "foreshape_controller.loops.worker")
    it.start(job)
    until(lambda: it.progress.phase not in ("", "starting"), "it has begun", 60)
    stat = Path(f"/proc/{it.pid}/stat").read_text().rsplit(")", 1)[1].split()
    environment = Path(f"/proc/{it.pid}/environ").read_bytes().split(b"\0")
    assert int(stat[16]) == 19
    assert b"OMP_NUM_THREADS=1" in environment
    result = ended_late(it)
    assert (result.kind, result.model) == ("done", "m1"), result.reason
    assert {name.split()[0] for name in result.figures} == {"cpu", "memory", "disk", "net"}
    assert all(np.isfinite(r) for r in result.figures.values())
    manifest = json.loads((Path(job.models_dir) / "m1" / "manifest.json").read_text())
    assert manifest["series"]["cpu"] == 12
    assert sorted(p.name for p in Path(job.models_dir).iterdir()) == ["m1"]


def ended_late(apprentice: Apprentice) -> Told:
    found: list[Told] = []
    until(lambda: bool(found.extend([t for t in [apprentice.result()] if t]) or found), "the training ends", 200)
    return found[0]


@WITH_TORCH
@pytest.mark.timeout(120)
def test_the_net_runs_where_a_service_may_not_write_its_own_code():
    """The shipped unit sets MemoryDenyWriteExecute; PR_SET_MDWE (65) is the kernel's own word for it."""
    script = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "import foreshape_controller.forecast.net, torch\n"
        "torch.nn.functional.gelu(torch.nn.Linear(64, 64)(torch.randn(8, 64, requires_grad=True))).sum().backward()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3 or newer)")
    assert done.returncode == 0, done.stderr
