"""kill -9 and worse, on real processes and real guests. Each test leaves the scene running; nothing is ever lost or below a floor.

One scene for all: a Nova-like guest that the product has shrunk, and one without balloon, guest agent and statistics.
"""

import re
import time
from pathlib import Path

import pytest
from foreshape_lab import Variant, nova_like
from foreshape_lab.judge import breaches
from foreshape_lab.programs import TIERS

from lab_support import Scene, a_scene, eventually, floor_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DB = nova_like("db", cpu="0.1", mem="16")
BARE = nova_like("bare", cpu="0.1", mem="16", balloon=False, agent=False, stats_period_s=0)
STATIC_AFTER_S = 12.0
SOON = Variant(
    options={
        "plan": {"interval_s": 2, "forecast_every_s": 2},
        "journal": {"raised_floor_s": 5},
        "safety": {"halt_s": 10, "halt_most_s": 10},
    },
    tiers=TIERS.replace("hold_s: 12", "hold_s: 4").replace("young_s: 12", "young_s: 4"),
)
"""Shrinks soon, for each test begins with a guest that is below its flavor again; a halt after orders of which a fault kept the end
from us is over soon, too."""
DISK_FULL = re.compile(r'"note": "[^"]*(disk|full)')


@pytest.fixture(scope="module")
def scene():
    """Everything up and reporting."""
    with a_scene(DB, BARE, static_after_s=STATIC_AFTER_S, variant=SOON) as scene:
        yield scene


@pytest.fixture
def shrunk(scene: Scene) -> None:
    """And the guest shrunk below its flavor: something there to lose, or to grow from."""
    wait_shrunk(scene)


def wait_shrunk(scene: Scene) -> None:
    eventually(lambda: scene.now("db").cpu <= 1.7 and scene.now("db").memory <= 220, "the guest shrunk while idle", 150)


def at_entitlement(scene: Scene) -> bool:
    return scene.now("db").cpu >= 2.0 and scene.now("db").memory >= 255


def wait_more_reports(scene: Scene, more: int = 3) -> None:
    have = scene.reports()
    eventually(lambda: scene.reports() >= have + more, f"{more} more reports of {scene.host.name}", 60)


def assert_nothing_lost(scene: Scene) -> None:
    """One unbroken run of report numbers for every spool that there was."""
    runs = scene.sequences()
    epochs = {epoch for epoch, _, _ in runs}
    assert len(runs) == len(epochs), f"numbers are missing between the runs {runs}"


def open_orders(scene: Scene) -> set[str]:
    return {r["order"] for r in scene.controller.rows("select \"order\" from orders where status = 'open'")}


def nudge(scene: Scene) -> None:
    """A short burst of load, so that there is something to order."""
    scene.guests["db"].load(cpu="1.2@8,0.1", mem="140@8,16")


@pytest.mark.parametrize("moment", ["at rest", "with an order open", "under pressure"])
def test_an_agent_killed_at_any_moment_loses_nothing_and_settles_its_orders(scene, shrunk, moment):
    if moment != "at rest":
        nudge(scene)
    if moment == "with an order open":
        eventually(lambda: open_orders(scene), "an order", 60, every_s=0.05)
    pending = open_orders(scene)
    scene.agent.kill()
    scene.agent.start().wait_for_report()
    eventually(lambda: not (pending & open_orders(scene)), "the orders of before settled", 60)
    assert_nothing_lost(scene)


def test_a_killed_controller_comes_back_and_nothing_is_missing(scene):
    before = scene.reports()
    scene.controller.kill()
    time.sleep(STATIC_AFTER_S / 3)  # an outage shorter than the agent's patience
    scene.controller.start()
    wait_more_reports(scene)
    assert scene.reports() > before
    eventually(lambda: waiting(scene) == 0, "the backlog sent", 60)
    assert_nothing_lost(scene)


def waiting(scene: Scene) -> int:
    """Reports that the agent still keeps, from its newest line in the log."""
    lines = [line for line in scene.agent.said().splitlines() if '"reports_waiting"' in line]
    return int(lines[-1].split('"reports_waiting":')[1].split(",")[0])


def test_a_silent_controller_brings_every_vm_back_to_its_entitlement(scene, shrunk):
    scene.controller.kill()
    eventually(lambda: at_entitlement(scene), "the guest back at its flavor", STATIC_AFTER_S + 45)
    scene.controller.start()
    wait_more_reports(scene)
    wait_shrunk(scene)  # and orders are followed again
    eventually(lambda: waiting(scene) == 0, "the backlog sent", 90)
    assert_nothing_lost(scene)


def test_a_cut_cable_is_as_a_silent_controller(scene, shrunk):
    scene.host.partition()
    try:
        eventually(lambda: at_entitlement(scene), "the guest back at its flavor", STATIC_AFTER_S + 60)
    finally:
        scene.host.partition(off=False)
    wait_more_reports(scene)
    eventually(lambda: waiting(scene) == 0, "the backlog sent", 90)
    assert_nothing_lost(scene)


def test_a_killed_libvirtd_is_reconnected_to_and_the_guests_live(scene):
    scene.host.kill_libvirtd()
    wait_more_reports(scene, 2)  # the agent goes on: a host without readings still reports
    assert scene.agent.running
    scene.host.start_libvirtd()
    since = time.time()
    query = "select 1 from servers where id = ? and last_seen > ? or host in (select name from hosts where last_seen > ?) and id = ?"
    db = scene.guests["db"].uuid
    eventually(lambda: scene.controller.rows(query, db, since, since, db), "a sample of after the restart", 60)
    eventually(lambda: scene.record("db").allocations[-1].at > since, "virsh speaks again", 30)
    assert scene.guests["db"].running
    assert_nothing_lost(scene)


def test_a_killed_guest_is_reported_gone_and_the_others_go_on(scene):
    guest = scene.guests["bare"]
    guest.kill()
    eventually(lambda: not guest.running, "libvirt noticed", 30)
    wait_more_reports(scene)
    assert scene.agent.running
    states = {s["name"]: s["state"] for s in scene.controller.ask("server", "list")}
    assert states["db"] == "running"
    assert states.get("bare") != "running"
    guest.start()
    eventually(lambda: {s["name"]: s["state"] for s in scene.controller.ask("server", "list")}.get("bare") == "running", "bare is back", 60)


def test_a_host_that_loses_power_is_seen_as_gone_and_comes_back_whole(scene):
    name = scene.host.name
    scene.host.crash()
    eventually(lambda: not scene.controller.ask("host", "show", name)["fresh"], "the controller calls the host stale", 60)
    scene.agent.end_of_host()
    scene.host.up()
    for guest in scene.guests.values():
        guest.start()
    scene.agent.start().wait_for_report()
    eventually(lambda: scene.controller.ask("host", "show", name)["fresh"], "the host is fresh again", 60)
    wait_more_reports(scene)
    assert_nothing_lost(scene)


def test_a_full_disk_under_the_spool_is_survived(scene):
    """The agent's folder is a tmpfs of 2 MiB, filled to the last byte while the controller is away."""
    scene.agent.stop()
    state = scene.agent.state
    scene.host.run_in(
        ["sh", "-c", f"cp -a {state} {state}.kept && mount -t tmpfs -o size=2m tmpfs {state} && cp -a {state}.kept/. {state}/"]
    )
    try:
        scene.agent.start().wait_for_report()
        scene.controller.kill()
        scene.host.run_in(["sh", "-c", f"dd if=/dev/zero of={state}/filler bs=4k 2>/dev/null; true"])
        eventually(lambda: DISK_FULL.search(scene.agent.said()), "the agent says that the disk is full", 120)
        assert scene.agent.running
        assert "Traceback" not in scene.agent.said()
        scene.host.run_in(["rm", f"{state}/filler"])
        scene.controller.start()
        wait_more_reports(scene)
        eventually(lambda: waiting(scene) == 0, "the backlog sent", 90)
        assert_nothing_lost(scene)
    finally:
        scene.agent.stop()
        scene.host.run_in(
            [
                "sh",
                "-c",
                f"rm -rf {state}.kept; cp -a {state} {state}.kept; umount {state}; cp -a {state}.kept/. {state}/; rm -rf {state}.kept",
            ]
        )
        if not scene.controller.running:
            scene.controller.start()
        scene.agent.start().wait_for_report()


def applied(scene: Scene) -> int:
    return scene.controller.rows("select count(*) n from orders where status = 'applied'")[0]["n"]


def clock_ahead(scene: Scene) -> float:
    return scene.controller.rows("select clock_ahead_s from hosts where name = ?", scene.host.name)[0]["clock_ahead_s"]


STEPPED_CLOCK = """
import pathlib, time
_true, _offset = time.time, pathlib.Path({offset!r})
time.time = lambda: _true() + float(_offset.read_text() or 0)
"""
# Not libfaketime: 0.9.10 also shifts the absolute deadlines of Python's time.sleep, which then fails with EINVAL.


def stepped_clock(scene: Scene, offset: Path) -> dict[str, str]:
    """Environment in which Python's wall clock follows the offset in a file; the monotonic clock stays true."""
    folder = scene.bed.folder / "stepped"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(STEPPED_CLOCK.format(offset=str(offset)))
    return {"PYTHONPATH": str(folder)}


def test_the_agents_clock_steps_an_hour_ahead_and_back_and_the_work_goes_on(scene, shrunk):
    offset = scene.bed.folder / "offset"
    offset.write_text("0")
    scene.agent.stop()
    scene.agent.environment = stepped_clock(scene, offset)
    try:
        scene.agent.start().wait_for_report()
        for step in (3600, -3600, 0):
            if step:  # on the clock of before: what has grown and cannot be shrunk leaves nothing to order
                wait_shrunk(scene)
            offset.write_text(str(step))
            wait_more_reports(scene, 4 if step >= 0 else 1)  # dated an hour back it is taken for stale before long, and then left alone
            assert step < 0 or clock_ahead(scene) == pytest.approx(step, abs=60)  # the controller saw the step, and says so
            carried_out = applied(scene)
            nudge(scene)
            eventually(lambda before=carried_out: applied(scene) > before, f"an order carried out with the clock {step} s off", 90)
            assert scene.agent.running
        assert_nothing_lost(scene)
        assert "Traceback" not in scene.agent.said()
    finally:
        scene.agent.stop()
        scene.agent.environment = {}
        scene.agent.start().wait_for_report()


def test_a_guest_with_nothing_inside_says_what_cannot_be_done(scene):
    bare = next(s for s in scene.controller.ask("server", "list") if s["name"] == "bare")
    reasons = {lever["lever"]: lever["reason"] for lever in bare["levers"]}
    assert reasons["cpu.quota"] == ""  # this one needs nothing of the guest
    assert reasons["cpu.guest"]
    assert reasons["mem.balloon"]
    assert reasons["mem.virtio"]
    assert scene.now("bare").memory == pytest.approx(256)


@pytest.mark.parametrize("spec", [DB, BARE], ids=lambda s: s.name)
def test_through_all_of_this_nothing_was_below_its_floor(scene, spec):
    floor_cores, floor_mib = floor_of(spec)
    record = scene.record(spec.name)
    assert len(record.allocations) > 30
    assert breaches([(a.at, a.cpu) for a in record.allocations], floor_cores) == 0
    assert breaches([(a.at, a.memory) for a in record.allocations], floor_mib) == 0
