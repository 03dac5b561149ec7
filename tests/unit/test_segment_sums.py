"""What a segment's servers want, have and were sold together, its part of its hosts, and who gave to whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import NOW, host, sample, server, size_of
from foreshape_controller.decide.segment_sums import balances, passed, standing
from foreshape_controller.model.group import Groups
from foreshape_controller.model.need import Transfer
from foreshape_controller.model.server import ClusterView

pytestmark = pytest.mark.unit

ROOMS = {"cpu": {"hv1": 64.0, "hv2": 32.0}, "memory": {"hv1": 65024.0, "hv2": 65024.0}}


def cloud():
    """web: two servers of 4 cores, one on each host; another of 12 cores on hv1 is in no segment."""
    servers = (
        server("a", last=sample("a", cpu=1.0, memory=1000.0)),
        server("b", host="hv2", allocation=size_of(2, 1024), last=None),
        server("c", entitlement=size_of(12, 4096)),
    )
    return ClusterView(at=NOW, hosts=(host(), host("hv2", cpus=8)), servers=servers)


WEB = Groups({"a": ("host:hv1", "segment:web"), "b": ("host:hv2", "segment:web"), "c": ("host:hv1",), "left": ("segment:web",)})
FLOORS = {"cpu": {"a": 0.4, "b": 0.2}}


def test_a_segment_is_the_sum_of_its_servers():
    web = standing(cloud(), WEB, "segment:web", FLOORS, ROOMS)
    cpu = web.sums["cpu"]
    assert (web.servers, web.hosts) == (2, 2), "one that left is no longer counted"
    assert (cpu.demand, cpu.allocated, cpu.entitled) == (1.0, 6.0, 8.0)
    assert cpu.floor == pytest.approx(0.6)
    assert cpu.slack == pytest.approx(1 - 1 / 4), "of a's four: what b uses of its two, nobody knows"
    assert web.sums["memory"].floor == 0.0


def test_slack_of_one_server_is_not_eaten_by_the_want_of_another():
    """a wants 6 of its 4 and uses 4, b 1 of its 4: 3 of 8 are not used, though 7 are wanted."""
    servers = (server("a", last=sample("a", cpu=6.0)), server("b", host="hv2", last=sample("b", cpu=1.0)))
    view = ClusterView(at=NOW, hosts=(host(), host("hv2", cpus=8)), servers=servers)
    assert standing(view, WEB, "segment:web", FLOORS, ROOMS).sums["cpu"].slack == pytest.approx(3 / 8)


def test_of_servers_that_nobody_measured_there_is_no_slack():
    view = ClusterView(at=NOW, hosts=(host(),), servers=(server("a", last=None),))
    assert standing(view, WEB, "segment:web", FLOORS, ROOMS).sums["cpu"].slack is None


def test_its_capacity_is_its_part_of_what_its_hosts_may_hand_out():
    cpu = standing(cloud(), WEB, "segment:web", FLOORS, ROOMS).sums["cpu"]
    assert cpu.capacity == pytest.approx(64 * 4 / 16 + 32), "a quarter of what was sold on hv1, all of hv2"
    assert cpu.room == 96.0


def test_a_segment_without_members_has_nothing():
    empty = standing(cloud(), WEB, "segment:none", FLOORS, ROOMS)
    assert (empty.servers, empty.hosts) == (0, 0)
    assert empty.sums["cpu"].capacity == 0.0
    assert empty.sums["cpu"].slack is None


def test_servers_that_were_sold_nothing_and_hosts_without_room_divide_nothing_by_nothing():
    view = ClusterView(at=NOW, hosts=(), servers=(server("a", entitlement=size_of(0, 0), allocation=size_of(0, 0)),))
    assert standing(view, WEB, "segment:web", {}, {}).sums["cpu"].capacity == 0.0


parties = st.sampled_from(["segment:web", "segment:batch", "tier:economy"])
moves = st.builds(
    Transfer,
    host=st.sampled_from(["hv1", "hv2"]),
    resource=st.sampled_from(["cpu", "memory"]),
    giver=parties,
    taker=parties,
    amount=st.floats(0, 100),
)


@given(st.lists(st.tuples(st.floats(0, 1e9), moves), max_size=30))
def test_all_that_was_given_was_got(told):
    moved = passed(told)
    assert sum(p.times for p in moved.values()) == len(told)
    sums = balances(moved)
    for resource in ("cpu", "memory"):
        gave = sum(b.gave for (_, r), b in sums.items() if r == resource)
        got = sum(b.got for (_, r), b in sums.items() if r == resource)
        assert gave == pytest.approx(got) == pytest.approx(sum(t.amount for _, t in told if t.resource == resource))


def test_what_passed_is_added_up_by_giver_and_taker():
    def one(host):
        return Transfer(host=host, resource="cpu", giver="segment:batch", taker="segment:web", amount=0.5)

    (found,) = passed([(10.0, one("hv1")), (20.0, one("hv2"))]).values()
    assert (found.amount, found.times, found.last_at, found.hosts) == (1.0, 2, 20.0, {"hv1", "hv2"})
