"""Both programs on SIMULATED hypervisors, and the guard: it says nothing of ordinary days, and finds who else is at work."""

import logging

import pytest
import structlog

from foreshape_controller.sim.hypervisor import SimHypervisor
from foreshape_wire.ids import HostName
from foreshape_wire.quantity import Cores
from sim_support import Lockstep

pytestmark = pytest.mark.simulation

HOUR = 3600.0


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture
def bed(tmp_path):
    lockstep = Lockstep.impatient(tmp_path, servers=4)
    yield lockstep
    lockstep.bed.close()


def test_our_own_changes_are_never_held_against_anybody_and_somebody_elses_are(bed):
    bed.run(2 * HOUR)
    assert bed.store.journal.counts()["orders_applied"] > 0, "there was something to mistake"
    assert bed.store.halts.all() == ()
    vm = next(v for v in bed.bed.world.vms() if v.cap is not None and v.cap < v.usable_vcpus)
    theirs = vm.cap + 0.6 * (vm.usable_vcpus - vm.cap)
    SimHypervisor(bed.bed.world, HostName("sim1")).set_cpu_quota(vm.spec.server, Cores(theirs))
    bed.run(900)
    found = {h.scope: h for h in bed.store.halts.all() if h.kind == "foreign"}
    assert set(found) == {f"server:{vm.spec.server}"}
    assert found[f"server:{vm.spec.server}"].reason.startswith("somebody else changed its cpu: from ")
