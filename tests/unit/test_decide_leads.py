"""Lead times learned from what guests waited: the host's own where it has shown enough, the fleet's before that, a default at first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import BALLOON, HOTPLUG, QUOTA, server
from foreshape_controller.decide.leads import DEFAULTS, LONGEST_S, Leads, figures, leads_of, learn
from foreshape_controller.model.pull import Pull
from foreshape_wire.ids import HostName
from foreshape_wire.reading import Capability, LeverName

pytestmark = pytest.mark.unit

QUOTA_DEFAULT = DEFAULTS[LeverName.CPU_QUOTA]


def pull(waited: float = 10.0, lever: LeverName = LeverName.CPU_QUOTA, host: str = "hv1", **more) -> Pull:
    words = {"grew": True, "applied": True, "took_s": 0.5, "at": 0.0} | more
    return Pull(lever=lever, host=host, waited_s=waited, **words)


def test_before_any_order_the_default_holds():
    assert learn([]).of(LeverName.CPU_QUOTA, "hv1") == QUOTA_DEFAULT


def test_on_compressed_time_the_default_is_as_short_as_everything_there():
    """Bins of one second for five minutes: 30 s become a tenth of one. What was measured is real time, and stays."""
    assert learn([], 1 / 300).of(LeverName.CPU_QUOTA, "hv1") == pytest.approx(QUOTA_DEFAULT / 300)
    assert learn([pull(3.0)] * 20, 1 / 300).of(LeverName.CPU_QUOTA, "elsewhere") == pytest.approx((3 + QUOTA_DEFAULT / 300) / 2)


def test_twenty_pulls_weigh_as_much_as_what_was_thought_before():
    """Fleet: (20·10 + 20·30) / 40 = 20. The host, of the same twenty: (20·10 + 20·20) / 40 = 15."""
    leads = learn([pull(10.0)] * 20)
    assert leads.of(LeverName.CPU_QUOTA, "elsewhere") == pytest.approx((10 + QUOTA_DEFAULT) / 2)
    assert leads.of(LeverName.CPU_QUOTA, "hv1") == pytest.approx(15.0)


def test_a_slow_host_is_told_from_the_fleet():
    leads = learn([pull(5.0, host=f"hv{i}") for i in range(1000)] + [pull(200.0, host="slow")] * 50)
    assert leads.of(LeverName.CPU_QUOTA, "slow") > 100
    assert leads.of(LeverName.CPU_QUOTA, "hv7") < 20


def test_what_was_refused_or_failed_or_shrank_teaches_nothing():
    leads = learn([pull(900.0, applied=False), pull(900.0, grew=False), pull(float("nan")), pull(-5.0)])
    assert leads == Leads()


def test_of_two_levers_the_slower_is_waited_for_and_without_one_nothing_is_known():
    both = server("a", capabilities=(QUOTA, HOTPLUG, BALLOON))
    none = server("b", capabilities=(Capability(lever=LeverName.CPU_QUOTA, reason="no cgroup"),))
    found = leads_of([both, none], Leads())
    assert found == {"cpu": {"a": DEFAULTS[LeverName.CPU_HOTPLUG]}, "memory": {"a": DEFAULTS[LeverName.MEM_BALLOON]}}


def test_a_server_has_the_lead_of_the_host_it_is_on():
    leads = Leads(hosts={(LeverName.CPU_QUOTA, "hv2"): 99.0})
    servers = [server("a", capabilities=(QUOTA,)), server("b", capabilities=(QUOTA,), host=HostName("hv2"))]
    assert leads_of(servers, leads)["cpu"] == {"a": QUOTA_DEFAULT, "b": 99.0}


def test_the_figures_name_median_and_p95_of_what_was_applied_and_count_failures():
    rows = figures([*(pull(float(i)) for i in range(1, 101)), pull(999.0, applied=False), pull(7.0, grew=False)])
    up, down = rows
    assert (up.lever, up.grew, up.pulls, up.failed) == (LeverName.CPU_QUOTA, True, 101, 1)
    assert up.median_s == pytest.approx(50, abs=1)
    assert up.p95_s == pytest.approx(95, abs=1.5)
    assert (down.grew, down.pulls, down.median_s) == (False, 1, 7.0)


def test_a_lever_that_only_failed_has_no_times():
    (row,) = figures([pull(applied=False)])
    assert (row.failed, row.median_s, row.p95_s) == (1, None, None)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(["hv1", "hv2"])), max_size=40), st.randoms())
def test_a_lead_is_bounded_and_does_not_depend_on_the_order_of_pulls(seen, random):
    pulls = [pull(w, host=h) for w, h in seen]
    leads = learn(pulls)
    shuffled = list(pulls)
    random.shuffle(shuffled)
    assert learn(shuffled) == leads
    most = max([QUOTA_DEFAULT, *(w for w, _ in seen)])
    for host in ("hv1", "hv2", "hv3"):
        assert 0 <= leads.of(LeverName.CPU_QUOTA, host) <= min(LONGEST_S, most) + 1e-9


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.integers(0, 29), st.floats(0, 500))
def test_a_longer_wait_never_shortens_a_lead(waited, index, more):
    longer = list(waited)
    longer[index % len(waited)] += more
    before, after = (learn([pull(w) for w in w_]).of(LeverName.CPU_QUOTA, "hv1") for w_ in (waited, longer))
    assert after >= before - 1e-9
