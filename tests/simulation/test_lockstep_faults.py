"""Both programs on SIMULATED hypervisors while things break: nothing lost, nothing done twice, no promise broken."""

import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import structlog

from foreshape_demo.bed import Bed
from foreshape_wire.ids import HostName
from foreshape_wire.order import Verdict
from sim_support import BRISK, IMPATIENT, Constant, Lockstep, spec, world

pytestmark = pytest.mark.simulation

HOUR = 3600.0


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture
def bed(tmp_path):
    lockstep = Lockstep.impatient(tmp_path)
    yield lockstep
    lockstep.bed.close()


def twice(run: Lockstep) -> list[tuple[str, str]]:
    """Orders with a resource that was carried out more than once."""
    found = []
    for answer in run.orders():
        applied = Counter(o.resource for o in answer.outcomes if o.verdict is Verdict.APPLIED)
        found += [(answer.order.order, resource) for resource, times in applied.items() if times > 1]
    return found


def test_the_bed_itself_shrinks_servers_within_the_hour(bed):
    """What the other tests of this file rely on."""
    assert len(bed.run(1.5 * HOUR).resized()) >= 4


def test_a_controller_killed_again_and_again_goes_on_from_its_database(bed):
    begin = bed.bed.now
    for n, _ in enumerate(bed.steps(3 * HOUR)):
        if n % 9 == 8:
            bed.bed.kill_controller()
            bed.bed.start_controller()
    assert bed.watch.said == []
    assert len(bed.resized()) >= 4
    assert twice(bed) == []
    assert bed.store.journal.counts()["orders"] == len(bed.orders()) > 10
    assert bed.store.journal.counts()["strays"] == 0
    assert np.nanmin(bed.coverage(begin + 600, bed.bed.now - 600)) > 0.9


def test_an_agent_killed_again_and_again_does_nothing_twice(bed):
    begin = bed.bed.now
    host = HostName("sim1")
    for n, _ in enumerate(bed.steps(3 * HOUR)):
        if n % 7 == 6:
            bed.bed.restart_agent(host)
    assert bed.watch.said == []
    assert len(bed.resized()) >= 4
    assert twice(bed) == []
    assert bed.store.journal.counts()["strays"] == 0
    # the first cycle after a start has no rates: one sample in seven is missing, no more
    assert np.nanmean(bed.coverage(begin + 600, bed.bed.now - 600)) > 0.8


class Killed(BaseException):
    """The agent's process ends here and now."""


def test_an_agent_killed_between_pulling_a_lever_and_writing_it_down_does_nothing_twice(bed):
    host, calls = HostName("sim1"), 0

    def arm() -> None:
        door = bed.bed.nodes[host].door
        for name in ("set_cpu_quota", "set_balloon", "set_virtio_mem"):
            setattr(door, name, deadly(getattr(door, name)))

    def deadly(pull):
        def pulled(*args):
            nonlocal calls
            calls += 1
            pull(*args)
            if calls % 5 == 0:
                raise Killed

        return pulled

    arm()
    until, deaths = bed.bed.now + 3 * HOUR, 0
    while bed.bed.now < until:
        try:
            bed.run(until - bed.bed.now)
        except Killed:
            deaths += 1
            bed.bed.restart_agent(host)
            arm()
    assert deaths >= 5
    assert bed.watch.said == []
    assert twice(bed) == []
    assert len(bed.resized()) >= 4
    assert [o for o in bed.orders() if o.status == "open" and o.order.expires_at < bed.bed.now - 3600] == []


def test_lost_replies_count_no_sample_twice_and_carry_out_no_order_twice(bed):
    begin = bed.bed.now
    link = bed.bed.nodes[HostName("sim1")].link
    for n, _ in enumerate(bed.steps(3 * HOUR)):
        link.deaf = "the connection broke before the reply" if n % 3 == 2 else ""
    assert twice(bed) == []
    assert bed.watch.said == []
    coverage = bed.coverage(begin + 600, bed.bed.now - 600)
    assert np.nanmax(coverage) <= 1.0
    assert np.nanmin(coverage) > 0.9
    measured = bed.store.history.read("cpu", bed.servers, bed.bed.now - 600, 24)
    truth = bed.bed.world.truth.record("cpu")
    end = int((bed.bed.now - 600) // 300 - truth.start // 300)
    need = {s: truth.need[i, end - 12 : end].mean() for i, s in enumerate(truth.servers)}
    for row, server in enumerate(measured.series):
        assert np.nanmean(measured.mean[row, -12:]) == pytest.approx(need[server], rel=0.35, abs=0.02)


def test_a_silent_controller_means_static_and_then_nothing_is_lost(bed):
    bed.run(1.5 * HOUR)
    assert bed.resized()
    cut_at = bed.bed.now
    bed.bed.kill_controller()
    bed.run(0.5 * HOUR)  # twice the silence limit of the bed's agents
    assert bed.resized() == []
    node = bed.bed.nodes[HostName("sim1")]
    assert "at their entitlement" in node.said
    bed.run(2 * HOUR)
    assert node.spool.waiting() >= 150  # two and a half hours of one a minute
    bed.bed.start_controller()
    back_at = bed.bed.now
    bed.run(0.5 * HOUR)
    assert node.spool.waiting() <= 1
    assert np.nanmin(bed.coverage(cut_at + 300, back_at - 300)) > 0.9
    bed.run(1 * HOUR)
    assert len(bed.resized()) >= 4  # and it goes on as before
    assert bed.watch.said == []
    assert twice(bed) == []


def test_while_a_host_s_reports_are_late_its_servers_are_left_alone(tmp_path):
    run = Lockstep.impatient(tmp_path, hosts=2, servers=8).run(1.5 * HOUR)
    late, other = HostName("sim2"), HostName("sim1")
    link = run.bed.nodes[late].link
    cut_at = run.bed.now
    link.cut = "the network between is down"
    run.run(10 * 60)  # less than the silence limit: the host is not static yet
    stale_at = cut_at + run.bed.pace.stale_after_s + run.bed.pace.plan_s
    link.cut = ""
    back_at = run.bed.now
    run.run(0.5 * HOUR)
    on = {vm.spec.server: vm.spec.host for vm in run.bed.world.vms()}
    asked = [o.order for o in run.orders() if stale_at <= o.order.issued_at < back_at]
    assert all(on[o.server] == other for o in asked)
    assert run.bed.nodes[late].spool.waiting() <= 1
    assert np.nanmin(run.coverage(cut_at - 600, back_at)) > 0.9
    assert run.watch.said == []
    run.bed.close()


def test_a_hypervisor_lost_for_an_hour_is_taken_up_again(bed):
    bed.run(1.5 * HOUR)
    before = bed.resized()
    host = bed.bed.world.hosts[HostName("sim1")]
    host.lost = "libvirtd is not running"
    bed.run(1 * HOUR)
    assert "hypervisor lost" in bed.bed.nodes[HostName("sim1")].said
    host.lost = ""
    bed.run(1 * HOUR)
    assert before
    assert bed.resized()
    assert bed.watch.said == []
    assert twice(bed) == []


@pytest.mark.parametrize("step_s", [3600, -3600], ids=["forward", "back"])
def test_a_clock_that_steps_an_hour_breaks_no_promise(bed, step_s):
    bed.run(1.5 * HOUR)
    bed.bed.step_clock(step_s)
    bed.run(1.5 * HOUR)
    assert bed.watch.said == []
    assert twice(bed) == []
    assert bed.resized()


def test_a_rebooted_server_starts_at_its_flavor_and_is_taken_care_of_again(bed):
    bed.run(2 * HOUR)
    vm = next(v for v in bed.bed.world.vms() if v.spec.name in bed.resized())
    bed.bed.world.reboot(vm.spec.server)
    assert vm.spec.name not in bed.resized()
    bed.run(2 * HOUR)
    assert vm.spec.name in bed.resized()
    assert bed.watch.said == []


def test_an_answer_to_memory_pressure_binds_the_orders_that_were_planned_before_it(tmp_path):
    """The reply to the report that tells of the reflex already holds the raised floor; no plan is needed between."""
    load = Constant(cpu=0.2, memory=500.0)
    tiers = tmp_path / "tiers.yaml"
    tiers.write_text(IMPATIENT)
    cloud = world(spec(workload=load))
    run = Lockstep(Bed(cloud, tmp_path, pace=BRISK, tiers_file=str(tiers))).run(2.5 * HOUR)
    (vm,) = cloud.vms()
    shrunk = vm.memory
    assert shrunk < 1500  # of 2048
    run.bed.pace = replace(BRISK, plan_s=1e6)
    run.bed._next_plan = float("inf")
    load.memory = shrunk - vm.spec.reserve - 10  # ten MiB left: pressure
    run.run(120)
    given = vm.memory
    assert given > 1.2 * shrunk
    (guard,) = run.store.inventory.steering(HostName("sim1"), run.bed.now).guards
    assert guard.floor.memory.mib == pytest.approx(given, rel=0.02)
    assert run.bed.nodes[HostName("sim1")].spool.ledger.memo.guards[vm.spec.server].floor == guard.floor
    run.bed.close()


def test_the_same_seed_is_the_same_run(tmp_path):
    """Deterministic for a fixed length: ids are random, sizes are not."""
    sizes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run = Lockstep.impatient(tmp_path / name, servers=4).run(1.5 * HOUR)
        sizes.append([(vm.cpu, vm.memory) for vm in run.bed.world.vms()])
        run.bed.close()
    assert sizes[0] == sizes[1]
