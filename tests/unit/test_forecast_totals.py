"""Groups' histories: sums of members as they were then, with silent agents bridged and gaps left as gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import history
from foreshape_controller.forecast.totals import Lives, Totals, counts, with_overhead

pytestmark = pytest.mark.unit

GAP = np.nan
STEP = 300


def lives(n, bins, *, until=None, since=None, heard=True):
    return Lives(
        since=np.full(n, -np.inf) if since is None else np.array(since, float),
        until=np.full(n, np.inf) if until is None else np.array(until, float),
        heard=np.broadcast_to(np.asarray(heard), (n, bins)),
    )


def total(rows, who, groups=None, peaks=None):
    """The sum of all rows as one group ``g`` unless told otherwise; bins begin at 0."""
    h = history(rows, until=len(rows[0]) * STEP, peaks=peaks)
    t = Totals("cpu", ("g",), (0, h.bins, STEP))
    t.add(h, who, groups or dict.fromkeys(h.series, ("g",)))
    return t.history()


def test_a_group_is_the_sum_of_its_members():
    assert total([[1, 2], [3, 4]], lives(2, 2)).mean.tolist() == [[4, 6]]


def test_bursts_inside_a_bin_are_taken_as_independent():
    """Means 1 and 2, maxima 4 and 6: 3 + √(3² + 4²) = 8, where the maxima add up to 10."""
    assert total([[1], [2]], lives(2, 1), peaks=[[4], [6]]).max.tolist() == [[8]]


def test_a_member_that_was_not_heard_keeps_its_last_level():
    found = total([[1, GAP, GAP], [2, 2, 2], [4, 4, 4]], lives(3, 3, heard=[[True, False, False]] + [[True] * 3] * 2))
    assert found.mean.tolist() == [[7, 7, 7]]
    np.testing.assert_allclose(found.coverage, [[1, 2 / 3, 2 / 3]])


def test_a_member_that_is_switched_off_counts_as_nothing():
    """Its host was heard, and did not have it running."""
    assert total([[1, GAP], [2, 2]], lives(2, 2, heard=True)).mean.tolist() == [[3, 2]]


def test_a_bin_where_most_members_were_not_heard_is_a_gap():
    heard = [[True, False, False], [True, False, True], [True, True, True]]
    found = total([[1, GAP, GAP], [1, GAP, 1], [1, 1, 1]], lives(3, 3, heard=heard))
    np.testing.assert_array_equal(found.mean, [[3, GAP, 3]])


def test_a_member_counts_from_its_coming_until_its_leaving():
    """The second came with the second bin, the first left with the end of it; neither is missed otherwise."""
    who = lives(2, 3, since=[0, STEP], until=[2 * STEP, np.inf], heard=False)
    found = total([[1, 1, GAP], [GAP, 2, 2]], who)
    assert found.mean.tolist() == [[1, 3, 2]]
    assert found.first_seen.tolist() == [0]
    assert found.entitlement.tolist() == [4.0], "only the one that is there counts: what was sold to it"


def test_before_its_first_member_a_group_is_not_empty_but_unknown():
    found = total([[GAP, 1, 1]], lives(1, 3, since=[STEP]))
    np.testing.assert_array_equal(found.mean, [[GAP, 1, 1]])


@given(st.lists(st.lists(st.floats(0, 100, width=32), min_size=4, max_size=4), min_size=1, max_size=9), st.randoms())
@settings(max_examples=40, deadline=None)
def test_batches_in_any_order_give_the_same_sum_and_a_member_counts_in_each_of_its_groups(rows, random):
    groups = {f"vm{i + 1}": ("all", f"g{i % 2}") for i in range(len(rows))}
    h = history(rows, until=4 * STEP)
    order = list(range(len(rows)))
    random.shuffle(order)
    t = Totals("cpu", ("all", "g0", "g1"), (0, 4, STEP))
    for i in order:
        t.add(h.pick([i]), lives(1, 4), groups)
    found, exact = t.history(), np.array(rows, np.float32)
    np.testing.assert_allclose(found.mean[0], exact.sum(axis=0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.nan_to_num(found.mean[1] + np.nan_to_num(found.mean[2])), exact.sum(axis=0), rtol=1e-5, atol=1e-4)


def test_a_host_has_its_own_overhead_and_those_who_left():
    """Servers use 1 + 2 of the host's 5 cores; in the second bin one has left that nobody counts: the host says 8."""
    servers = history([[1, 1], [2, 2]], until=2 * STEP)
    servers = servers.__class__(**{**vars(servers), "used": servers.mean})
    t = Totals("cpu", ("host:h",), (0, 2, STEP))
    t.add(servers, lives(2, 2), dict.fromkeys(servers.series, ("host:h",)))
    host, own = with_overhead(t.history(), history([[5, 8]], names=["host:h"], until=2 * STEP, entitlement=16.0))
    assert (host.mean.tolist(), own.mean.tolist()) == ([[5, 8]], [[2, 5]])
    assert host.entitlement.tolist() == [16.0]


def test_a_host_that_measures_less_than_its_servers_has_no_negative_overhead_and_one_that_does_not_measure_has_none():
    servers = history([[1, 1]], until=2 * STEP)
    t = Totals("cpu", ("host:h",), (0, 2, STEP))
    t.add(servers.__class__(**{**vars(servers), "used": servers.mean}), lives(1, 2), {"vm1": ("host:h",)})
    host, own = with_overhead(t.history(), history([[0.5, GAP]], names=["host:h"], until=2 * STEP))
    assert host.mean.tolist() == [[1, 1]]
    np.testing.assert_array_equal(own.mean, [[0, GAP]])


def test_servers_are_counted_as_they_came_and_went():
    """Bins of 300 s from 0: one there always, one came at 301 and left at 899, one comes later than all this."""
    inf = float("inf")
    found = counts(("g", "new"), {"g": [(-1e6, inf), (301, 899)], "new": [(700, inf)]}, (0, 4, STEP))
    np.testing.assert_array_equal(found.mean, [[1, 2, 1, 1], [GAP, GAP, 1, 1]])
    assert (found.resource, found.series, found.first_seen.tolist()) == ("servers", ("g", "new"), [-1e6, 700])
