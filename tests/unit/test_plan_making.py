"""A plan over many servers: every server has its answer, hosts are not overfilled, and the order of servers does not matter."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import HOTPLUG, NOW, history, host, numbered, ordering, sample, server, size_of
from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.observe import observe
from foreshape_controller.decide.orders import release
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.plan import Choice
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import Capability, DomainState, LeverName

pytestmark = pytest.mark.unit

BINS = 600


def view(servers, hosts=None):
    return ClusterView(at=NOW, hosts=tuple(hosts or (host(),)), servers=tuple(servers))


def known(servers, cpu=0.5, memory=1000.0, **more):
    """Steady use: ``cpu`` and ``memory`` are numbers, or one for each server."""
    names = [s.id for s in servers]
    rows = {"cpu": np.broadcast_to(cpu, len(names)), "memory": np.broadcast_to(memory, len(names))}
    histories = {
        r: history(np.repeat(rows[r][:, None], BINS, axis=1), resource=r, names=names, entitlement=4.0 if r == "cpu" else 4096.0)
        for r in RESOURCES
    }
    forecasts = {r: Baseline().predict(h, int(NOW)) for r, h in histories.items()}
    return Known(forecasts=forecasts, histories=histories, **more)


def decide(servers, hosts=None, **more):
    plan = make_plan(view(servers, hosts), known(servers, **more), NOW, numbered())
    return {d.server: d for d in plan.decisions}


def test_every_decision_has_its_own_cause():
    plan = make_plan(view([server("a"), server("b")]), known([server("a"), server("b")]), NOW, numbered())
    assert len({d.cause for d in plan.decisions} | {plan.plan}) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": DomainState.MIGRATING}, "migrating"),
        ({"state": DomainState.BUSY}, "busy"),
        ({"state": DomainState.PAUSED}, "not_running"),
        ({"state": DomainState.SHUTOFF}, "not_running"),
        ({"state": DomainState.CRASHED}, "not_running"),
        ({"last_seen": NOW - 61}, "stale"),
        ({"host": "nowhere"}, "stale"),
        ({"capabilities": (Capability(lever=LeverName.CPU_QUOTA, reason="no cgroup"),)}, "no_lever"),
        ({"last": None}, "peak_below"),  # no sample at the moment: the bins still speak for the CPU
    ],
)
def test_what_forbids_a_change_is_said(changes, code):
    assert decide([server(**changes)])["vm1"].cpu.code == code


def test_memory_without_a_sample_does_not_shrink():
    assert decide([server(last=None)])["vm1"].memory.code == "low_confidence"


def test_an_agent_in_safe_mode_is_given_nothing_to_do():
    found = decide([server()], [host(safe_mode="controller was silent")])["vm1"]
    assert found.cpu.code == "safe_mode"
    assert "controller was silent" in found.cpu.reason


def test_a_server_without_a_forecast_is_held():
    some = known([server("other")])
    plan = make_plan(view([server("vm1")]), some, NOW, numbered())
    assert plan.decisions[0].cpu.code == "no_forecast"


def test_headroom_widens_the_distance_to_the_median():
    vm = server(allocation=size_of(1.0, 4096))
    facts = known([vm])
    fan = facts.forecasts["cpu"].peak30m
    fan[:] = np.linspace(1.0, 3.0, 13)  # median 2.0, and 2.83 at 95 %
    usual = make_plan(view([vm]), facts, NOW, numbered()).decisions[0].cpu.wanted
    doubled = Known(forecasts=facts.forecasts, histories=facts.histories, headroom={"cpu": {"vm1": 2.0}, "memory": {"other": 3.0}})
    plan = make_plan(view([vm]), doubled, NOW, numbered())
    assert plan.decisions[0].cpu.wanted == pytest.approx(2.0 + 2 * (usual - 2.0))
    assert plan.decisions[0].memory == make_plan(view([vm]), facts, NOW, numbered()).decisions[0].memory, "the other resource stays"


def test_a_raised_floor_reaches_the_decision():
    found = decide([server(raised_floor=Memory(3000.0))])["vm1"]
    assert found.floor.memory.mib == 3000.0


def test_a_growth_that_does_not_fit_is_held_and_says_so():
    vms = [server("a", allocation=size_of(1.0, 4096))]
    found = decide(vms, [host(cpus=1)], cpu=3.0, limits=Limits(cpu_ratio=1.0))["a"].cpu
    assert (found.choice, found.code, found.target) == (Choice.HOLD, "host_full", 1.0)
    assert found.reactive_target == 1.0, "a rule without forecasts would not have fitted either"


def test_whole_vcpus_are_cut_to_whole_vcpus():
    vms = [server("a", allocation=size_of(1.0, 4096), capabilities=(HOTPLUG,))]
    found = decide(vms, [host(cpus=1)], cpu=3.0, limits=Limits(cpu_ratio=2.5))["a"].cpu
    assert (found.choice, found.code, found.target) == (Choice.GROW, "host_short", 2.0)


def test_servers_that_are_only_observed_take_their_room_on_the_host():
    vms = [server("a", allocation=size_of(1.0, 4096)), server("b", mode=Mode.OBSERVE)]
    found = decide(vms, [host(cpus=1)], cpu=3.0, limits=Limits(cpu_ratio=6.0))
    assert set(found) == {"a"}
    assert found["a"].cpu.target == 2.0, "6 cores less the 4 of the observed server"


def test_capacity_is_not_counted_free_before_a_shrink_is_proven():
    vms = [server("idle"), server("busy", allocation=size_of(2.0, 4096))]
    found = decide(vms, [host(cpus=1)], cpu=[0.5, 3.5], limits=Limits(cpu_ratio=6.0))
    assert found["idle"].cpu.choice is Choice.SHRINK
    assert found["busy"].cpu.code == "host_full", "4 + 2 of 6 cores are still taken"


def test_room_that_was_ordered_lately_is_not_ordered_again_for_another():
    """Of 4 cores "a" has 1 and was ordered to have 3, which is not proven; "b" has 1, wants more, and gets nothing yet."""
    vms = [server("a", allocation=size_of(1.0, 4096)), server("b", allocation=size_of(1.0, 4096))]
    more = {"cpu": [0.5, 2.5], "limits": Limits(cpu_ratio=1.0)}
    hosts = [host(cpus=4)]
    assert decide(vms, hosts, **more)["b"].cpu.target > 2.0
    b = decide(vms, hosts, under_way={"cpu": {"a": 3.0}}, **more)["b"].cpu
    assert (b.choice, b.code) == (Choice.HOLD, "host_full")


def test_memory_that_the_host_does_not_have_is_not_given_whatever_the_sums_say():
    """64 GiB and one server of 2: on paper 61.5 are free. The host itself says 300 MiB: huge pages, a backup, somebody else's guests."""
    vm = server(allocation=size_of(4, 2048), last=sample("vm1", memory=1900.0))
    plenty, little = ({"hosts": [host(memory_available=Memory(mib))]} for mib in (30000.0, 300.0))
    assert decide([vm], memory=2500.0, **plenty)["vm1"].memory.target > 2500
    assert decide([vm], memory=2500.0, **little)["vm1"].memory.target == 2336, "2048 + 300, in steps of 16"
    watched = server("vm2", mode=Mode.OBSERVE)
    assert decide([vm, watched], memory=2500.0, **little)["vm1"].memory.target == 2336, "who is only observed has its own already"


def test_orders_name_only_what_changes():
    vm = server(capabilities=(HOTPLUG,))
    plan = make_plan(view([vm]), known([vm]), NOW, numbered())
    _, (order,) = release(plan, ordering([vm], ttl_s=60), numbered())
    assert order.memory is None
    assert order.cpu is not None
    assert order.reason.startswith("cpu: ")
    assert (order.issued_at, order.expires_at, order.cause) == (NOW, NOW + 60, plan.decisions[0].cause)


def test_orders_stay_within_the_budget_of_each_host():
    vms = [server(f"vm{i}", host=f"hv{i % 2}") for i in range(6)]
    plan = make_plan(view(vms, [host("hv0"), host("hv1")]), known(vms), NOW, numbered())
    released, orders = release(plan, ordering(vms, orders=10, orders_per_host=2), numbered())
    assert sorted(o.server for o in orders) == ["vm0", "vm1", "vm2", "vm3"]
    left = released.decision("vm5")
    assert (left.cpu.choice, left.cpu.code) == (Choice.HOLD, "budget")
    assert left.cpu.reason == "it waits: 2 orders a minute are made on host hv1"


def test_what_the_guests_kernel_keeps_counts_as_in_use():
    vm = sample("vm1", memory=1000.0)
    vm = msgspec.structs.replace(vm, memory=msgspec.structs.replace(vm.memory, usable=Memory(2800.0)))
    seen = observe("memory", history([[1000.0] * 40], resource="memory"), np.array([3000.0]), [server(last=vm)], NOW)
    assert seen.latest.tolist() == [1296.0], "4096 given, 2800 usable: 296 more than its demand are the kernel's own"
    assert seen.overhead.tolist() == [296.0]


def test_what_was_seen_lately_is_taken_from_the_right_bins():
    rows = np.arange(40, dtype=float)[None, :]
    past = history(rows, names=["vm1"])
    past.censored[0, 34] = 0.2  # the first of the last six bins
    seen = observe("cpu", past, np.array([3000.0]), [server(last=sample("vm1", cpu=1.5))], NOW)
    assert [seen.window_peak[0], seen.hold_peak[0], seen.latest[0], seen.censored[0]] == [39.0, 39.0, 1.5, True]
    assert seen.age_s.tolist() == [40 * 300]


def test_a_few_quiet_minutes_after_an_outage_are_no_quiet_hold_time():
    """Of 11 bins (3000 s and the one that is filling) six are half; a server known for four bins needs two of them."""
    rows = np.full((4, 40), 1.0)
    rows[0, -11:-1] = np.nan
    rows[1, -11:-5] = np.nan
    rows[2, -11:-6] = np.nan
    rows[3, :-2] = np.nan
    past = history(rows)
    past.first_seen[3] = NOW - 4 * 300
    seen = observe("cpu", past, np.full(4, 3000.0), [server(name) for name in past.series], NOW)
    assert np.isfinite(seen.hold_peak).tolist() == [False, False, True, True]
    assert np.isfinite(seen.window_peak).all(), "growth is not held up by it"


def test_nobody_shrinks_by_the_first_bin_after_an_outage():
    """For five hours nobody measured: the hold time's use is not known, nor what was wanted, and forecasts are made of what was before."""
    facts = known([server()])
    past = facts.histories["cpu"]
    past.mean[:, -60:-1] = np.nan
    past.max[:, -60:-1] = np.nan
    cpu = make_plan(view([server()]), facts, NOW, numbered()).decisions[0].cpu
    assert (cpu.choice, cpu.code) == (Choice.HOLD, "unobserved")


tiers = st.sampled_from(["guaranteed", "standard", "economy"])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0.2, 4), st.floats(0.1, 4), tiers), min_size=1, max_size=6), st.integers(1, 12), st.randoms())
def test_hosts_are_never_overfilled_and_the_order_of_servers_does_not_matter(rows, cpus, random):
    vms = [server(f"vm{i}", allocation=size_of(a, 4096), tier=tier) for i, (a, _, tier) in enumerate(rows)]
    facts = known(vms, cpu=[use for _, use, _ in rows], limits=Limits(cpu_ratio=1.0))
    found = {d.server: d.cpu for d in make_plan(view(vms, [host(cpus=cpus)]), facts, NOW, numbered()).decisions}
    before = sum(max(s.allocation, min(s.floor, s.target)) for s in found.values())
    assert sum(max(s.allocation, s.target) for s in found.values()) <= max(cpus, before) + 1e-6
    shuffled = list(vms)
    random.shuffle(shuffled)
    again = {d.server: d.cpu for d in make_plan(view(shuffled, [host(cpus=cpus)]), facts, NOW, numbered()).decisions}
    assert again == found


@pytest.mark.parametrize("tier", ["guaranteed", "standard", "economy"])
def test_a_floor_at_what_was_sold_needs_no_tier_that_lets_floors_be_lowered(tier):
    """Who was claimed from a pool lately: what it used while it waited says nothing about its owner."""
    one = server(tier=tier)
    sold = one.entitlement
    agreed = {"cpu": {one.id: sold.cpu.cores}, "memory": {one.id: sold.memory.mib}}
    found = decide([one], agreed=agreed, cpu=0.1, memory=300.0)[one.id]
    assert found.floor == sold
