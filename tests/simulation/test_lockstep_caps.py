"""Hard caps through both programs on SIMULATED hypervisors: asked for once, held by agents, ended in time whoever is dead by then."""

import logging

import pytest
import structlog

from foreshape_controller.decide.caps import compose
from foreshape_controller.model.cap import Cap, CapRequest
from foreshape_demo.bed import Bed
from foreshape_wire.ids import HostName, ServerId, new_id
from foreshape_wire.order import Origin, Verdict
from sim_support import BRISK, IMPATIENT, Constant, Lockstep, spec, world

pytestmark = pytest.mark.simulation

HOUR = 3600.0
HOST = HostName("sim1")


@pytest.fixture
def run(tmp_path):
    """Two servers of 2 cores that want both all the time, and of one project each."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tiers = tmp_path / "tiers.yaml"
    tiers.write_text(IMPATIENT)
    made = world(spec(1, workload=Constant(2.0, 700.0)), spec(2, workload=Constant(2.0, 700.0), project="p2"))
    lockstep = Lockstep(Bed(made, tmp_path, pace=BRISK, tiers_file=str(tiers)))
    lockstep.run(600)
    yield lockstep
    lockstep.bed.close()


def cap(run: Lockstep, lasts_s: float, scope: str = "project:p1", **amounts: float) -> tuple[Cap, ...]:
    request = CapRequest(scope=scope, amounts=amounts, for_s=lasts_s, reason="it runs away")
    caps = compose(request, new_id, run.bed.now)
    run.store.caps.add(caps, run.bed.now)
    return caps


def seen(run: Lockstep, number: int) -> tuple[float | None, float, float]:
    """A server's CPU cap, its disk's requests and its line's KiB per second, as its hypervisor has them."""
    vm = run.bed.world.hosts[HOST].vm(ServerId(f"00000000-0000-4000-8000-{number:012d}"), run.bed.now)
    return vm.cap, vm.limits["vda", "disk_iops"].total, vm.limits["tap0", "net_kib_s"].inward


def test_a_cap_reaches_its_servers_and_only_them_and_ends_in_time(run):
    caps = cap(run, 1800, cpu=0.5, disk_iops=100, net_kib_s=512)
    run.run(240)
    assert seen(run, 1) == (0.5, 100, 512)
    assert seen(run, 2) == (None, 0, 0)
    run.run(1440)  # 28 of 30 minutes: no plan, no reflex and no pressure opened it
    assert seen(run, 1) == (0.5, 100, 512)
    run.run(360)
    assert seen(run, 1) == (None, 0, 0)
    told = [o for o in run.store.journal.local_actions(run.servers[0], 50) if o.origin is Origin.CAP]
    assert {o.cause for o in told} == {c.id for c in caps}
    assert {o.verdict for o in told} == {Verdict.APPLIED}
    assert run.watch.said == []


def test_it_ends_in_time_with_the_controller_dead_and_the_agent_started_anew(run):
    cap(run, 1800, cpu=0.5, disk_iops=100)
    run.run(240)
    run.bed.kill_controller()
    run.bed.restart_agent(HOST)
    run.run(1440)  # silent for longer than static_after_s: everything is at what was sold, up to the cap
    assert seen(run, 1) == (0.5, 100, 0)
    run.run(240)
    assert seen(run, 1) == (None, 0, 0)


def test_lifted_it_is_gone_with_the_next_reports(run):
    (cpu, disk) = cap(run, 6 * HOUR, cpu=0.5, disk_iops=100)
    run.run(240)
    for c in (cpu, disk):
        run.store.caps.lift(c.id, "done", run.bed.now)
    run.run(240)
    assert seen(run, 1) == (None, 0, 0)


def test_a_host_s_cap_and_a_server_s_own_are_held_together_the_smaller_for_each(run):
    cap(run, 6 * HOUR, scope=f"host:{HOST}", disk_iops=200)
    cap(run, 900, scope=f"server:{run.servers[0]}", disk_iops=50)
    run.run(240)
    assert (seen(run, 1)[1], seen(run, 2)[1]) == (50, 200)
    run.run(900)
    assert (seen(run, 1)[1], seen(run, 2)[1]) == (200, 200)


def test_a_restarted_server_is_capped_again(run):
    cap(run, 6 * HOUR, cpu=0.5, disk_iops=100)
    run.run(240)
    run.bed.world.reboot(ServerId(run.servers[0]))
    assert seen(run, 1) == (None, 0, 0)
    run.run(240)
    assert seen(run, 1) == (0.5, 100, 0)


def test_no_cap_breaks_a_floor(run):
    """The impatient standard tier guarantees a tenth of 2 cores."""
    cap(run, 6 * HOUR, cpu=0.06)
    run.run(1200)
    assert seen(run, 1)[0] == pytest.approx(0.2)
    assert run.watch.said == []
