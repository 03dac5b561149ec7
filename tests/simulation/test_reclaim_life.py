"""An idle server on a SIMULATED hypervisor: found, its owner told, its floor lowered step by step, its load returns, given back in time.

One run of both programs serves all tests of this file; the controller is killed once while the floor is down.
"""

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import structlog

from foreshape_controller.config import ReclaimSettings
from foreshape_controller.decide.reclaim import objected
from foreshape_controller.model.reclaim import State
from foreshape_demo.bed import Bed, Pace
from sim_support import Constant, Lockstep, spec, world

pytestmark = pytest.mark.simulation

HOUR = 3600.0
TIERS = """
default: economy
tiers:
  economy:
    cpu: {young_s: 1800, hold_s: 900, floor_share: 0.25}
    memory: {young_s: 1800, hold_s: 900, shrink_step_share: 0.2, floor_share: 0.25}
"""
"""The idle server was sold 8 cores and 8192 MiB: its tier guarantees 2 cores and 2048 MiB."""

OPTIONS = ReclaimSettings(enabled=True, days=0.25, find_every_s=900.0, notice_s=HOUR, step_s=1800.0, step_share=0.5, rest_days=1.0)
PACE = Pace(cycle_s=60.0, plan_s=300.0, tidy_s=3600.0, static_after_s=900.0, stale_after_s=180.0, order_ttl_s=600.0)
BUSY = 3.0


@dataclass
class Run:
    """What was seen at each step."""

    lockstep: Lockstep
    idle: str
    objector: str
    """Idle too; its owner objects when its floor is down."""
    rows: list = field(default_factory=list)
    """(now, the CPU's reclaim, its cores)"""
    returned_at: float = 0.0
    killed_with: float | None = None

    def until(self, state: State, hours: float) -> None:
        for now in self.lockstep.steps(hours * HOUR):
            row = self.lockstep.store.reclaims.of(self.idle).get("cpu")
            self.rows.append((now, row, self.vm.cpu))
            if row is not None and row.state is state:
                return
        raise AssertionError(f"not {state} within {hours} h: {row}")

    @property
    def vm(self):
        (found,) = (vm for vm in self.lockstep.bed.world.vms() if vm.spec.server == self.idle)
        return found

    def of(self, state: State) -> list:
        return [r for r in self.rows if r[1] is not None and r[1].state is state]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = tmp_path_factory.mktemp("life")
    (folder / "tiers.yaml").write_text(TIERS)
    load = Constant(cpu=0.02, memory=150.0)
    idle = spec(1, cores=8, mib=8192.0, workload=load, project="shop")
    objector = spec(3, cores=8, mib=8192.0, workload=Constant(cpu=0.02, memory=150.0), project="lab")
    busy = spec(2, cores=4, mib=4096.0, workload=Constant(cpu=1.5, memory=2500.0))
    bed = Bed(world(idle, busy, objector, cpus=16), folder, pace=PACE, tiers_file=str(folder / "tiers.yaml"), reclaim=OPTIONS)
    made = Run(Lockstep(bed), idle.server, objector.server)
    made.until(State.NOTICED, 8)
    made.until(State.RECLAIMED, 6)
    made.lockstep.run(0.5 * HOUR)  # the next plans follow the floor down
    bed.kill_controller()
    bed.start_controller()
    made.killed_with = made.lockstep.store.reclaims.floors(bed.now)["cpu"][idle.server]
    made.lockstep.run(0.5 * HOUR)
    made.rows.append((bed.now, made.lockstep.store.reclaims.of(idle.server)["cpu"], made.vm.cpu))
    load.cpu, made.returned_at = BUSY, bed.now
    made.lockstep.store.reclaims.alter(objector.server, "cpu", lambda row: objected(row, "ours", bed.now))
    made.until(State.GIVEN_BACK, 1)
    made.lockstep.run(0.25 * HOUR)
    yield made
    bed.close()


def test_nothing_was_taken_before_the_owner_was_told_and_the_notice_was_over(run):
    told = run.of(State.NOTICED)[0]
    notices = [n for n in run.lockstep.store.notices.list("shop") if (n.kind, n.resource) == ("reclaim", "cpu")]
    assert [n.at for n in notices] == [told[0] - 30.0], "the run looks half a cycle after the controller has spoken"
    first = run.of(State.SHRINKING)[0]
    assert first[1].at >= notices[0].at + HOUR
    assert all(cores >= 2.0 - 0.01 for now, _, cores in run.rows if now < first[1].at), "its tier's floor until then"


def test_the_floor_went_down_by_half_each_half_hour_and_the_server_followed(run):
    floors = list(dict.fromkeys(round(r[1].floor, 3) for r in run.of(State.SHRINKING) + run.of(State.RECLAIMED)))
    assert floors == [1.0, 0.5, 0.25, 0.125, 0.062, 0.05], "2 cores halved, and nobody keeps less than 0.05"
    steps = sorted({r[1].stepped_at for r in run.rows if r[1] is not None and r[1].stepped_at})
    assert all(b - a >= 1800 for a, b in pairwise(steps))
    last = run.of(State.RECLAIMED)[-1]
    assert last[2] < 0.2, "it has a tenth of what its tier guarantees, and a fortieth of what it was sold"


def test_nobody_had_less_than_its_floor_except_while_it_was_given_back(run):
    """The objector's floor is 2 cores again from a plan on; its agent has the order with its next report."""
    watch, back = run.lockstep.watch, run.lockstep.store.reclaims.of(run.objector)["cpu"]
    assert all("vm-3 has" in said and "floor of 2.00" in said for said in watch.said)
    assert watch.breaches * PACE.cycle_s <= back.stated_s


def test_a_controller_that_was_killed_goes_on_with_the_floor_that_was_written(run):
    assert run.killed_with == pytest.approx(0.05)
    assert len([n for n in run.lockstep.store.notices.list("shop") if (n.kind, n.resource) == ("reclaim", "cpu")]) == 1


def test_the_load_that_returned_had_its_floor_again_within_the_stated_time(run):
    back = run.of(State.GIVEN_BACK)[-1][1]
    assert back.measured_s is not None
    assert back.stated_s is not None
    assert back.measured_s <= back.stated_s
    assert back.back_since - run.returned_at <= 300 + 60, "noticed within a bin and a cycle"
    assert back.back_since + back.measured_s - run.returned_at <= 2 * 300 + 120
    assert run.vm.cpu >= BUSY
    told = [n for n in run.lockstep.store.notices.list("shop") if n.kind == "reclaim_back"]
    assert f"{back.measured_s:.0f} s" in told[0].text
    assert f"{back.stated_s:.0f} s stated" in told[0].text


def test_an_objection_is_answered_by_an_order_that_gives_the_floor_back_within_the_stated_time(run):
    back = run.lockstep.store.reclaims.of(run.objector)["cpu"]
    assert (back.state, back.objection, back.floor) == (State.OBJECTED, "ours", 2.0)
    assert 0 < back.measured_s <= back.stated_s, "nothing had given it back before: it waited for a plan and its agent's next cycle"
    (vm,) = (vm for vm in run.lockstep.bed.world.vms() if vm.spec.server == run.objector)
    assert vm.cpu >= 2.0 - 0.01
    assert run.lockstep.store.reclaims.floors(0.0).get("cpu", {}) == {}


def test_what_was_not_needed_again_stays_reclaimed(run):
    memory = run.lockstep.store.reclaims.of(run.idle)["memory"]
    assert memory.state in (State.SHRINKING, State.RECLAIMED)
    assert memory.saved > 0


def test_the_busy_server_was_left_alone(run):
    (busy,) = (s for s in run.lockstep.servers if s not in (run.idle, run.objector))
    assert run.lockstep.store.reclaims.of(busy) == {}
