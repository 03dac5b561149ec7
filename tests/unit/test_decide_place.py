"""Which server moves where, and what a plan never does."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.place import MOVE_PRICE, Need, Plan, drain, rebalance
from foreshape_controller.decide.room import Group, Pending, Rule
from long_support import LONG
from place_support import Host, Vm, afterwards, ground, promised

pytestmark = pytest.mark.unit

EXAMPLES = max(100, LONG // 10)
"""One example is a whole cloud."""

RULE = Rule()
SHORT = Need("a", "cpu", 2.0, deadline=3600.0, avoided=1000.0)
THREE = [Host("a"), Host("b"), Host("c", other=4.0)]


def moves(plan: Plan) -> list[tuple[str, str]]:
    return [(m.server, m.target) for m in plan.moves]


def why(plan: Plan, name: str) -> str:
    return " ".join(k.reason for k in plan.kept if k.name == name)


def full(*more: Vm) -> list[Vm]:
    """Host a at 14 of 16 cores with one large server of 10 that is dear to move, and what the test adds."""
    return [Vm("large", "a", 8, cores=10.0, price=500.0), *more]


def test_the_server_that_relieves_most_cheaply_goes_to_the_emptiest_host():
    plan = rebalance(ground(THREE, full(Vm("x", "a", cores=2.0, price=5.0), Vm("y", "a", cores=2.0, price=1.0))), [SHORT], RULE)
    assert moves(plan) == [("y", "b")], "both take 2 cores away, y costs a fifth; b is at 0, c at 4 of 16"
    assert plan.moves[0].worth == 1000.0 - 1.0 - MOVE_PRICE
    assert "takes 2.00 away most cheaply" in plan.moves[0].reason
    assert "12 % with it" in plan.moves[0].reason, "2 of 16 cores"


def test_several_small_ones_go_where_no_single_one_is_enough():
    plan = rebalance(ground(THREE, full(Vm("x", "a"), Vm("y", "a"), Vm("z", "a"))), [SHORT], RULE)
    assert [m.server for m in plan.moves] == ["x", "y"], "1 core each, 2 to relieve"


def test_a_move_that_costs_more_than_it_avoids_is_not_made_and_the_host_stays_short():
    plan = rebalance(ground(THREE, full()), [replace(SHORT, avoided=400.0)], RULE)
    assert moves(plan) == []
    assert "costs 501.0 and avoids 400.0" in why(plan, "large")
    assert "stays 2.00 cores short" in why(plan, "a")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fixed": "its vCPUs are pinned"}, "its vCPUs are pinned"),
        ({"zone": "elsewhere"}, "2 are in another zone"),
        ({"needs": frozenset({"trait:HW_AVX"})}, "2 are in another zone, or their aggregates or traits"),
        ({"vcpu": 17.0}, "2 allow one server no such size"),
        ({"mib": 65537.0}, "no such size"),
        ({"cores": math.nan}, "its size or its forecast is not known"),
        ({"vcpu": 0.0}, "its size or its forecast is not known"),
        ({"price": math.inf}, "its migration would not end"),
        ({"group": "together"}, "keeps its members on one host"),
        ({"group": "apart"}, "2 hold or are promised a member of its group"),
    ],
)
def test_who_stays_is_told_why(changed, reason):
    groups = {"together": Group("affinity"), "apart": Group("anti-affinity")}
    others = [Vm("o1", "b", group=changed.get("group", "")), Vm("o2", "c", group=changed.get("group", ""))]
    plan = rebalance(
        ground(THREE, [Vm("rest", "a", cores=12.0, fixed="rests"), replace(Vm("x", "a", cores=2.0), **changed), *others], groups),
        [SHORT],
        RULE,
    )
    assert moves(plan) == []
    assert reason in why(plan, "x")


def test_one_odd_server_does_not_stop_the_others():
    odd = [Vm("nan", "a", vcpu=math.nan), Vm("huge", "a", mib=2.0**50, price=0.0), Vm("lost", "nowhere"), Vm("none", "a", vcpu=0.0)]
    found = ground(THREE, full(*odd, Vm("x", "a", cores=2.0, price=1.0)))
    found.hosts.held[:] = 0  # what the impossible ones would hold
    found.hosts.forecast[0] = [14.0, 0.0]
    assert moves(rebalance(found, [SHORT], RULE)) == [("x", "b")]


def test_a_host_that_is_closed_or_unknown_is_no_target():
    hosts = [Host("a"), Host("b", closed="disabled"), Host("c", other=math.nan), Host("d", cores=0.0)]
    plan = rebalance(ground(hosts, full(Vm("x", "a", cores=2.0))), [SHORT], RULE)
    assert moves(plan) == []
    assert "3 are closed or not fully known" in why(plan, "x")


def test_no_target_gets_fuller_than_the_least_gain_allows():
    near = [Host("a"), Host("b", other=11.5)]
    plan = rebalance(ground(near, full(Vm("x", "a", cores=2.0), Vm("rest", "a", cores=2.0, fixed="rests"))), [SHORT], RULE)
    assert "would exceed 82 %" in why(plan, "x"), "a is at 14/16 = 87.5 %, less 5; b would reach 84 %"


def test_a_server_that_leaves_for_one_need_counts_for_the_hosts_other_need_and_goes_once():
    vms = full(Vm("x", "a", cores=2.0), Vm("y", "a", cores=2.0))
    both = [replace(SHORT, deadline=1.0), replace(SHORT, resource="memory", amount=3000.0)]
    plan = rebalance(ground(THREE, vms), both, RULE)
    assert [m.server for m in plan.moves] == ["x", "y"], "x takes 2 cores and 2,048 MiB away, so 952 MiB are left for y"


def test_room_that_is_promised_is_not_promised_again():
    tight = [Host("a"), Host("b", vcpu=2)]
    vms = full(Vm("x", "a", cores=2.0), Vm("y", "a", cores=2.0))
    plan = rebalance(ground(tight, vms), [replace(SHORT, amount=4.0)], RULE)
    assert [m.server for m in plan.moves] == ["x"], "b has 2 VCPU, and both want 2"
    assert "no room for it in Placement" in why(plan, "y")
    reserved = ground(tight, [*vms, Vm("r", "c")], pending=[Pending("x", "b", reserved=True)])
    reserved.hosts.held[1] += [2, 4096, 10]  # Placement counts it there
    assert moves(rebalance(reserved, [replace(SHORT, amount=4.0)], RULE)) == []


def test_limits_of_a_plan_are_kept_and_named():
    vms = [Vm("large", "a", 8, cores=10.0, fixed="pinned"), *(Vm(f"v{n}", "a", cores=0.5) for n in range(8))]
    plan = rebalance(ground(THREE, vms), [replace(SHORT, amount=4.0)], Rule(out=2))
    assert len(plan.moves) == 2
    assert "2 servers leave it already" in why(plan, "a")
    assert "the plan has its 1 moves" in why(rebalance(ground(THREE, vms), [SHORT], Rule(moves=1)), "a")


def test_where_only_few_may_leave_small_ones_do_not_use_up_the_places():
    # 4 cores by 2 servers: the cheap ones of 0.5 would relieve 1. Of those that relieve their part, 2 cores, the cheaper ones go.
    dear = [Vm("x", "a", cores=2.0, price=9.0), Vm("y", "a", cores=2.0, price=8.0), Vm("z", "a", cores=2.5, price=30.0)]
    vms = full(*dear, *(Vm(f"v{n}", "a", cores=0.5, price=0.1) for n in range(8)))
    plan = rebalance(ground(THREE, vms), [replace(SHORT, amount=4.0)], Rule(out=2))
    assert [m.server for m in plan.moves] == ["y", "x"]
    assert why(plan, "a") == ""
    many = rebalance(ground(THREE, vms), [SHORT], Rule(out=4))
    assert {m.server for m in many.moves} <= {f"v{n}" for n in range(8)}, "2 cores by 4 servers: half a core is part enough"


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (replace(SHORT, host="x"), "no such host"),
        (replace(SHORT, resource="gpu"), "nothing can be planned for gpu"),
        (replace(SHORT, amount=math.nan), "must be above 0"),
        (replace(SHORT, amount=-1.0), "must be above 0"),
    ],
)
def test_a_need_that_makes_no_sense_is_refused(need, reason):
    assert reason in why(rebalance(ground(THREE, full()), [need], RULE), need.host)


def test_a_forbidden_trait_closes_a_host_for_the_server_only():
    slow = [Host("a"), Host("b", labels=frozenset({"trait:SLOW"})), Host("c", other=4.0)]
    vms = full(Vm("x", "a", cores=2.0, price=0.0, needs=frozenset({"!trait:SLOW"})))
    assert moves(rebalance(ground(slow, vms), [SHORT], RULE)) == [("x", "c")], "b is emptier, but slow"


def test_a_drain_empties_the_host_and_says_who_cannot_leave():
    vms = [Vm("x", "a"), Vm("big", "a", vcpu=8, mib=16384, cores=3.0), Vm("pinned", "a", fixed="its vCPUs are pinned")]
    plan = drain(ground(THREE, vms), "a", 3600.0, RULE)
    assert moves(plan) == [("big", "b"), ("x", "b")], "the large one first; x makes b 4 and c 5 of 16"
    assert why(plan, "pinned") == "its vCPUs are pinned"
    assert why(drain(ground(THREE, vms), "q", 0.0, RULE), "q") == "no such host"


def host(name: str) -> st.SearchStrategy[Host]:
    return st.builds(
        Host,
        st.just(name),
        vcpu=st.sampled_from([64, 16, 8]),
        mib=st.sampled_from([65536, 32768]),
        cores=st.sampled_from([16, 8, 4]),
        other=st.sampled_from([0.0, 1.0, 3.0, math.nan]),
        zone=st.sampled_from(["z1", "z1", "z2"]),
        closed=st.sampled_from(["", "", "", "disabled"]),
        most=st.sampled_from([16, 4]),
    )


HOSTS = st.tuples(*(host(name) for name in "abcd")).map(list)
VMS = st.lists(
    st.builds(
        Vm,
        st.integers(0, 999).map("v{:03d}".format),
        st.sampled_from("aaabcdx"),
        vcpu=st.sampled_from([2, 1, 8]),
        mib=st.sampled_from([1024, 8192]),
        cores=st.sampled_from([1.0, 0.3, 2.5, 2.5, 0.0, math.nan]),
        price=st.sampled_from([0.0, 1.0, 50.0, math.inf]),
        zone=st.sampled_from(["", "", "z1"]),
        group=st.sampled_from(["", "apart", "two", "together"]),
        fixed=st.sampled_from(["", "", "", "pinned"]),
    ),
    min_size=5,
    max_size=16,
    unique_by=lambda v: v.name,
)
GROUPS = {"apart": Group("anti-affinity"), "two": Group("anti-affinity", 2), "together": Group("affinity")}
NEEDS = st.lists(
    st.builds(
        Need,
        st.sampled_from("aab"),
        st.sampled_from(["cpu", "memory"]),
        st.sampled_from([3.0, 0.5, 4000.0]),
        st.floats(0, 9),
        st.just(1000.0),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda n: (n.host, n.resource),
)
RULES = st.builds(
    Rule,
    full=st.sampled_from([0.6, 0.9]),
    gain=st.sampled_from([0.0, 0.1]),
    out=st.integers(1, 3),
    into=st.integers(1, 3),
    moves=st.integers(1, 6),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(HOSTS, VMS, NEEDS, RULES, st.booleans())
def test_a_plan_never_breaks_a_bound(hosts, vms, needs, rule, draining):
    found = ground(hosts, vms, GROUPS)
    plan = drain(found, hosts[0].name, 0.0, rule) if draining else rebalance(found, needs, rule)
    index, ids = found.host_index, {v.name: i for i, v in enumerate(vms)}
    held, peak = found.hosts.held.copy(), found.hosts.forecast.copy()
    for move in plan.moves:  # who leaves counts on the source until that is seen
        held[index[move.target]] += found.servers.size[ids[move.server]]
        peak[index[move.target]] += found.servers.peak[ids[move.server]]
        vm = vms[ids[move.server]]
        assert not vm.fixed
        assert move.target != vm.host == move.source
        assert vm.vcpu <= hosts[index[move.target]].most
        assert vm.zone in ("", hosts[index[move.target]].zone)
        assert not hosts[index[move.target]].closed
    hit = sorted({index[m.target] for m in plan.moves})
    assert (held[hit] <= found.hosts.capacity[hit]).all(), "Placement would refuse it"
    assert (peak[hit] <= rule.full * found.hosts.physical[hit] + 1e-6).all(), "short by forecast"
    assert len({m.server for m in plan.moves}) == len(plan.moves), "one move per server"
    assert max(Counter(m.target for m in plan.moves).values(), default=0) <= rule.into
    if not draining:
        assert len(plan.moves) <= rule.moves
        assert max(Counter(m.source for m in plan.moves).values(), default=0) <= rule.out
        _never_worse(found, peak)
    _groups_hold(vms, plan)


def _never_worse(found, peak):
    before = found.load[np.isfinite(found.load)]
    after = (peak / found.hosts.physical).max(axis=1)
    assert np.nanmax(after, initial=0) <= np.nanmax(before, initial=0) + 1e-9


def _groups_hold(vms, plan):
    """No group is worse off than before, on the way and afterwards."""
    on = Counter((v.group, v.host) for v in vms if v.group)
    before = dict(on)
    named = {v.name: v for v in vms}
    for move in plan.moves:
        on[named[move.server].group, move.target] += 1
    for (group, host), count in on.items():
        if group in ("apart", "two"):
            assert count <= max(GROUPS[group].most, before.get((group, host), 0))
    together = [v for v in vms if v.group == "together"]
    assert len(together) == 1 or not any(m.server == v.name for m in plan.moves for v in together)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(HOSTS, VMS, NEEDS, RULES, st.randoms())
def test_the_order_in_which_things_are_told_does_not_matter(hosts, vms, needs, rule, random):
    first = rebalance(ground(hosts, vms, GROUPS), needs, rule)
    mixed = [random.sample(part, len(part)) for part in (hosts, vms, needs)]
    again = rebalance(ground(mixed[0], mixed[1], GROUPS), mixed[2], rule)
    assert (again.moves, sorted(map(str, again.kept))) == (first.moves, sorted(map(str, first.kept)))


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(HOSTS, VMS, NEEDS, RULES, st.booleans())
def test_planning_again_on_top_of_a_plan_finds_nothing_more(hosts, vms, needs, rule, draining):
    found = ground(hosts, vms, GROUPS)

    def plan(on):
        return drain(on, hosts[0].name, 0.0, rule) if draining else rebalance(on, needs, rule)

    first = plan(found)
    assert plan(promised(found, first.moves)).moves == ()


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(HOSTS, VMS, RULES)
def test_everyone_on_a_drained_host_leaves_or_is_told_why(hosts, vms, rule):
    plan = drain(ground(hosts, vms, GROUPS), hosts[0].name, 0.0, rule)
    kept = {k.name for k in plan.kept}
    assert all(k.reason for k in plan.kept)
    assert {v.name for v in afterwards(vms, plan.moves) if v.host == hosts[0].name} == kept


@pytest.mark.parametrize(("policy", "target"), [("soft-anti-affinity", "c"), ("soft-affinity", "b"), ("", "b")])
def test_of_hosts_that_are_equally_empty_a_soft_group_has_its_way(policy, target):
    # b and c have 16 cores; a member of the group is on b, another server of the same size on c.
    hosts = [Host("a"), Host("b"), Host("c")]
    vms = [Vm("mover", "a", group="g"), Vm("member", "b", group="g"), Vm("other", "c")]
    where = ground(hosts, vms, {"g": Group(policy)} if policy else {})
    move = drain(where, "a", 0.0, Rule()).moves[0]
    assert move.target == target
    assert ("best for its group" in move.reason) is bool(policy)


def test_a_soft_group_never_outweighs_a_host_that_is_clearly_emptier():
    # c is 19 % fuller by forecast: 3 of 16 cores, more than the 5 % that count as equal.
    hosts = [Host("a"), Host("b"), Host("c", other=3.0)]
    vms = [Vm("mover", "a", group="g"), Vm("member", "b", group="g"), Vm("other", "c")]
    assert drain(ground(hosts, vms, {"g": Group("soft-anti-affinity")}), "a", 0.0, Rule()).moves[0].target == "b"
