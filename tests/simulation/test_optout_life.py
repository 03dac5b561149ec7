"""An owner opts out on SIMULATED hypervisors: his servers get back all that they were sold, by orders, whoever is killed meanwhile."""

import logging

import pytest
import structlog

from foreshape_controller.model.choice import PLAN, Choice
from foreshape_demo.bed import Bed
from foreshape_wire.order import Mode
from sim_support import BRISK, IMPATIENT, Constant, Lockstep, spec, world

pytestmark = pytest.mark.simulation

HOUR = 3600.0


@pytest.fixture
def run(tmp_path):
    """Two idle servers of two projects, both shrunk."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tiers = tmp_path / "tiers.yaml"
    tiers.write_text(IMPATIENT)
    made = world(spec(1, workload=Constant(0.2, 500.0)), spec(2, workload=Constant(0.2, 500.0), project="p2"))
    lockstep = Lockstep(Bed(made, tmp_path, pace=BRISK, tiers_file=str(tiers)))
    for _ in lockstep.steps(12 * HOUR):
        if all(smaller(lockstep, k) for k in (1, 2)):
            break
    yield lockstep
    lockstep.bed.close()


def vm(run, number):
    return next(v for v in run.bed.world.vms() if v.spec.name == f"vm-{number}")


def smaller(run, number):
    found = vm(run, number)
    return found.cpu < 1.9 and found.memory < 2000


def whole(run, number):
    found = vm(run, number)
    return found.cpu >= 1.98 and found.memory >= 2032


def choose(run, scope, mode, project="p1"):
    run.store.choices.put(Choice(scope=scope, project=project, mode=mode, reason="a demo for a customer", by="anna", since=run.bed.now))


def test_servers_of_who_opts_out_get_back_what_they_were_sold_and_others_do_not(run):
    choose(run, "project:p1", Mode.OBSERVE)
    run.run(900)
    assert whole(run, 1)
    assert smaller(run, 2)
    (given, *_) = [o for o in run.store.journal.orders(vm(run, 1).spec.server, 50) if o.order.plan == PLAN]
    assert given.status == "applied"
    assert "opted out" in given.order.reason
    run.run(2 * HOUR)
    assert whole(run, 1)
    assert run.watch.said == []


def test_it_works_in_mode_advise_in_which_nothing_else_is_changed(run):
    run.store.modes.set("cloud", Mode.ADVISE, "a test", run.bed.now)
    choose(run, "server:" + vm(run, 1).spec.server, Mode.OBSERVE)
    run.run(900)
    assert whole(run, 1)
    assert smaller(run, 2)


def test_an_operators_stop_comes_first_and_when_it_ends_the_server_gets_it_all(run):
    run.store.modes.stop("cloud", "a test", run.bed.now)
    choose(run, "project:p1", Mode.OBSERVE)
    run.run(900)
    assert smaller(run, 1)
    run.store.modes.resume("cloud", "over", run.bed.now)
    run.run(900)
    assert whole(run, 1)


def test_the_controller_dies_after_the_choice_and_the_next_one_gives_it_back(run):
    choose(run, "project:p1", Mode.OBSERVE)
    run.bed.kill_controller()
    run.run(300)
    run.bed.start_controller()
    run.run(900)
    assert whole(run, 1)


def test_who_opts_in_again_is_sized_again(run):
    choose(run, "project:p1", Mode.OBSERVE)
    run.run(900)
    assert whole(run, 1)
    choose(run, "project:p1", Mode.ACT)
    for _ in run.steps(8 * HOUR):
        if smaller(run, 1):
            return
    raise AssertionError("it was never shrunk again")
