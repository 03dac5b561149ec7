"""The simulated cloud behaves as real guests were measured to, and tells the truth about what they missed."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.sim.demand import GeneratedWorkload, draw_character, strata
from foreshape_controller.sim.errors import SimBusy, SimDomainGone, SimLost, SimRejected
from foreshape_controller.sim.guest import VmSpec
from foreshape_controller.sim.hypervisor import SimHypervisor
from foreshape_controller.sim.world import MONDAY, World, fair_shares
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainState, LeverName
from sim_support import Constant, spec, world

pytestmark = pytest.mark.unit

NS = 1e9


class Bed:
    """One simulated host with one server, and time to pass."""

    def __init__(self, vm: VmSpec, *others: VmSpec, cpus: int = 8) -> None:
        self.world = world(vm, *others, cpus=cpus)
        self.world.busy = lambda server: False  # type: ignore[method-assign]  # nobody else's jobs, unless the test is about them
        self.door = SimHypervisor(self.world, vm.host)
        self.server = vm.server

    def pass_time(self, seconds: float) -> "Bed":
        self.world.clock.sleep(seconds)
        self.world.advance()
        return self

    def read(self, *, ask_guest: bool = False):
        return self.door.read_domain(self.server, ask_guest=ask_guest)


# demand


def workload(seed: int = 1, number: int = 0) -> GeneratedWorkload:
    character = draw_character("busy", 4.0, 8192.0, np.random.default_rng(seed))
    return GeneratedWorkload(seed, number, character, MONDAY)


@given(st.lists(st.integers(0, 4 * 86400), min_size=1, max_size=6), st.randoms())
def test_demand_does_not_depend_on_the_order_of_questions(offsets: list[int], random):
    asked = list(offsets)
    random.shuffle(asked)
    one, other = workload(), workload()
    first = {o: one.at(MONDAY + o) for o in offsets}
    assert {o: other.at(MONDAY + o) for o in asked} == first


def test_another_seed_is_another_load():
    assert workload(1).at(MONDAY + 3600) != workload(2).at(MONDAY + 3600)


@given(st.integers(0, 10**6), st.sampled_from(["idle", "mid", "busy"]), st.integers(0, 7 * 86400))
def test_demand_is_positive_and_never_beyond_what_the_server_can_hold(seed: int, stratum: str, offset: int):
    character = draw_character(stratum, 4.0, 8192.0, np.random.default_rng(seed))
    wish = GeneratedWorkload(seed, 3, character, MONDAY).at(MONDAY + offset)
    assert 0 < wish.cpu <= 4.0
    assert 0 < wish.memory <= 0.97 * 8192 + 1


def test_the_strata_are_the_measured_shares():
    drawn = strata(100, np.random.default_rng(1))
    assert [drawn.count(s) for s in ("idle", "mid", "busy")] == [69, 15, 16]


def test_the_fleet_s_servers_fall_into_their_strata():
    fleet = World.generated(servers=40)
    day = np.arange(0, 2 * 86400, 300)
    by_stratum = {"idle": [], "mid": [], "busy": []}
    for vm in fleet.vms():
        p95 = np.quantile([vm.spec.workload.at(MONDAY + t).cpu for t in day], 0.95) / vm.spec.cores
        by_stratum[vm.spec.name.split("-")[0]].append(p95)
    assert np.median(by_stratum["idle"]) < 0.05 < np.median(by_stratum["mid"]) < 0.30 < np.median(by_stratum["busy"])


# CPU


def test_without_a_cap_a_server_uses_what_it_wants():
    bed = Bed(spec(workload=Constant(cpu=1.25)))
    before = bed.read().cpu
    after = bed.pass_time(10).read().cpu
    assert after.run_ns - before.run_ns == pytest.approx(12.5 * NS)  # 1.25 cores for 10 s
    assert after.throttled_ns == 0


def test_a_cap_throttles_and_the_delay_contains_the_throttled_time():
    bed = Bed(spec(workload=Constant(cpu=1.25)))
    bed.door.set_cpu_quota(bed.server, Cores(0.5))
    before = bed.read().cpu
    after = bed.pass_time(10).read().cpu
    assert after.run_ns - before.run_ns == pytest.approx(5 * NS)
    assert after.throttled_ns - before.throttled_ns == pytest.approx(7.5 * NS)
    assert sum(v.delay_ns for v in after.vcpus) - sum(v.delay_ns for v in before.vcpus) == pytest.approx(7.5 * NS, abs=10)


def test_more_load_than_vcpus_is_not_seen_from_outside():
    bed = Bed(spec(workload=Constant(cpu=1.8)))
    bed.door.set_guest_vcpus(bed.server, 1)
    after = bed.pass_time(10).read(ask_guest=True).cpu
    assert after.guest_online == 1
    assert after.run_ns == pytest.approx(10 * NS)
    assert (after.throttled_ns, sum(v.delay_ns for v in after.vcpus)) == (0, 0)


def test_on_a_crowded_host_servers_wait_by_their_size():
    small, large = spec(0, cores=2, workload=Constant(cpu=2.0)), spec(1, cores=4, most_cores=4, workload=Constant(cpu=4.0))
    bed = Bed(small, large, cpus=3)
    bed.pass_time(10)
    read = {d.identity.server: d.cpu for d in bed.door.read_domains()}
    assert read[small.server].run_ns == pytest.approx(10 * NS)  # 3 CPUs by 2:4 are 1 and 2
    assert read[large.server].run_ns == pytest.approx(20 * NS)
    assert sum(v.delay_ns for v in read[large.server].vcpus) == pytest.approx(20 * NS, abs=10)


@given(st.lists(st.tuples(st.floats(0, 16), st.floats(0.5, 8)), min_size=1, max_size=12), st.floats(0.5, 64))
def test_fair_shares_give_nobody_more_than_it_wants_and_waste_nothing(servers: Sequence[tuple[float, float]], capacity: float):
    wants, weights = [w for w, _ in servers], [x for _, x in servers]
    got = fair_shares(wants, weights, capacity)
    assert all(g <= w + 1e-9 for g, w in zip(got, wants, strict=True))
    assert sum(got) == pytest.approx(min(sum(wants), capacity))
    hungry = [g / x for g, w, x in zip(got, wants, weights, strict=True) if g < w - 1e-9]
    assert max(hungry, default=0) - min(hungry, default=0) < 1e-6  # the unmet all stand at one level


# memory


def test_a_balloon_moves_within_a_second_or_two():
    bed = Bed(spec(workload=Constant(memory=400.0)))
    bed.door.set_balloon(bed.server, Memory(1024.0))
    assert bed.read().memory.current.mib == pytest.approx(2048)
    at_once = bed.pass_time(0.2).read().memory.current.mib
    assert 1024 < at_once < 2048
    assert bed.pass_time(4).read().memory.current.mib == 1024


def test_a_balloon_stops_short_of_what_the_guest_keeps():
    bed = Bed(spec(workload=Constant(memory=1000.0)))
    bed.door.set_balloon(bed.server, Memory(256.0))
    assert bed.pass_time(60).read().memory.current.mib == pytest.approx(850)  # 85 % of 1000 MiB


def test_too_little_memory_shows_as_swap_and_faults():
    vm = spec(workload=Constant(memory=1000.0))
    bed = Bed(vm)
    bed.door.set_balloon(bed.server, Memory(900.0))
    before = bed.pass_time(10).read().memory
    after = bed.pass_time(10).read().memory
    short = 1000 - (900 - vm.reserve)
    assert after.swap_in_bytes - before.swap_in_bytes == pytest.approx(0.05 * short * 10 * 1048576, rel=0.01)
    assert after.major_faults > before.major_faults
    assert after.usable.mib < 0.02 * after.available.mib


def test_with_enough_memory_nothing_swaps_and_the_guest_s_own_numbers_give_the_working_set():
    bed = Bed(spec(workload=Constant(memory=700.0)))
    seen = bed.pass_time(30).read().memory
    assert (seen.swap_in_bytes, seen.major_faults) == (0, 0)
    assert seen.available.mib - seen.usable.mib == pytest.approx(700)


def test_guest_numbers_freeze_until_somebody_asks_for_them():
    load = Constant(memory=400.0)
    bed = Bed(spec(workload=load, asked_for_stats=False))
    first = bed.pass_time(30).read().memory
    load.memory = 800.0
    later = bed.pass_time(30).read().memory
    assert (later.usable, later.guest_updated_at) == (first.usable, first.guest_updated_at)
    bed.door.set_stats_period(bed.server, 10)
    now = bed.pass_time(30).read().memory
    assert now.available.mib - now.usable.mib == pytest.approx(800)
    assert now.guest_updated_at > first.guest_updated_at


def test_hot_add_memory_comes_beside_the_base_and_goes_only_where_it_is_free():
    load = Constant(memory=400.0)
    bed = Bed(spec(workload=load, most_mib=4096.0))
    bed.door.set_virtio_mem(bed.server, Memory(1024.0))
    assert bed.pass_time(5).read().memory.current.mib == 2048 + 1024
    load.memory = 2900.0
    bed.pass_time(1).door.set_virtio_mem(bed.server, Memory(0.0))
    used = 2900 + bed.world.vms()[0].spec.reserve - 2048
    assert bed.pass_time(60).read().memory.virtio_current.mib == pytest.approx(used, abs=1)


# levers that are not there


def test_a_stock_nova_guest_shrinks_below_its_flavor_and_comes_back_but_never_grows():
    bed = Bed(spec())
    with pytest.raises(SimRejected, match="max allowable"):
        bed.door.set_vcpus(bed.server, 3)
    with pytest.raises(SimRejected, match="higher than max"):
        bed.door.set_balloon(bed.server, Memory(4096.0))
    with pytest.raises(SimRejected, match="no virtio-mem"):
        bed.door.set_virtio_mem(bed.server, Memory(64.0))
    assert not bed.read().capability(LeverName.CPU_HOTPLUG).usable


@pytest.mark.parametrize(
    ("lacks", "lever", "pull"),
    [
        ({"has_agent": False}, LeverName.CPU_GUEST, lambda d, s: d.set_guest_vcpus(s, 1)),
        ({"has_balloon": False}, LeverName.MEM_BALLOON, lambda d, s: d.set_balloon(s, Memory(1024.0))),
    ],
)
def test_a_missing_device_is_a_reason_and_its_lever_is_rejected(lacks, lever, pull):
    bed = Bed(spec(**lacks))
    assert bed.read().capability(lever).reason
    with pytest.raises(SimRejected):
        pull(bed.door, bed.server)


def test_a_guest_without_a_balloon_says_nothing_of_its_memory():
    seen = Bed(spec(has_balloon=False)).pass_time(30).read().memory
    assert (seen.available, seen.usable, seen.swap_in_bytes, seen.guest_updated_at) == (None, None, None, None)
    assert seen.rss is not None


def test_every_unusable_lever_says_why_and_every_usable_one_has_a_range():
    fleet = World.generated(servers=40)
    for name in fleet.hosts:
        for domain in SimHypervisor(fleet, name).read_domains():
            for c in domain.capabilities:
                assert c.reason or c.highest > c.lowest >= 0 or c.highest == c.lowest == 1


def test_memory_ranges_are_totals_as_the_real_door_says_them():
    """Balloon up to the base, virtio-mem from the base to base and device."""
    seen = Bed(spec(most_mib=4096.0)).read()
    balloon, virtio = seen.capability(LeverName.MEM_BALLOON), seen.capability(LeverName.MEM_VIRTIO)
    assert (balloon.highest, virtio.lowest, virtio.highest) == (2048.0, 2048.0, 4096.0)


# faults


def test_a_busy_domain_is_data_and_its_levers_say_busy():
    bed = Bed(spec())
    bed.world.busy = lambda server: True  # type: ignore[method-assign]
    seen = bed.read()
    assert (seen.state, seen.memory) == (DomainState.BUSY, None)
    assert seen.note
    with pytest.raises(SimBusy):
        bed.door.set_cpu_quota(bed.server, Cores(1.0))


def test_a_lost_hypervisor_answers_nothing_while_its_servers_live_on():
    bed = Bed(spec(workload=Constant(cpu=1.0)))
    host = bed.world.hosts[HostName("sim1")]
    host.lost = "libvirtd restarts"
    with pytest.raises(SimLost, match="libvirtd restarts"):
        bed.read()
    bed.pass_time(10)
    host.lost = ""
    assert bed.read().cpu.run_ns == pytest.approx(10 * NS)


def test_a_server_that_is_not_here_is_gone():
    bed = Bed(spec(born=MONDAY + 100, dies=MONDAY + 200))
    assert bed.door.read_domains() == ()
    assert len(bed.pass_time(150).door.read_domains()) == 1
    bed.pass_time(100)
    with pytest.raises(SimDomainGone):
        bed.read()
    with pytest.raises(SimDomainGone):
        bed.door.read_domain(ServerId("nobody"))


def test_a_reboot_begins_its_counters_and_caps_anew():
    bed = Bed(spec(workload=Constant(cpu=1.0)))
    bed.door.set_cpu_quota(bed.server, Cores(0.5))
    before = bed.pass_time(60).read()
    bed.world.reboot(bed.server)
    after = bed.pass_time(1).read()
    assert after.instance != before.instance
    assert after.cpu.run_ns < before.cpu.run_ns
    assert after.cpu.quota is None


# truth


def test_the_truth_counts_what_was_missing_whatever_anybody_measured():
    bed = Bed(spec(workload=Constant(cpu=1.0, memory=500.0)))
    bed.pass_time(300)
    bed.door.set_cpu_quota(bed.server, Cores(0.25))
    bed.pass_time(300).pass_time(300)
    record = bed.world.truth.record("cpu")
    assert record.need.tolist() == [[1.0, 1.0]]
    assert record.had.tolist() == [[2.0, 0.25]]
    assert record.violated.tolist() == [[0.0, 1.0]]
    assert record.short.tolist() == [[0.0, 0.75]]
    assert bed.world.truth.record("memory").violated.sum() == 0


def test_the_same_seed_is_the_same_world_however_time_is_cut():
    fine, coarse = World.generated(servers=6, hosts=1), World.generated(servers=6, hosts=1)
    for _ in range(120):
        fine.clock.sleep(7.5)
        fine.advance()
    coarse.clock.sleep(900)
    coarse.advance()
    for a, b in zip(fine.vms(), coarse.vms(), strict=True):
        assert a.counters.run == pytest.approx(b.counters.run)
        assert a.memory == pytest.approx(b.memory, abs=1)
