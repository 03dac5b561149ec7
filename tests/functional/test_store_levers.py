"""What came of orders, read back lever by lever, and the lead times that plans get of it."""

import pytest

from decide_support import QUOTA, host, server
from foreshape_controller.decide.leads import DEFAULTS
from foreshape_controller.loops.leads import LEARN_EVERY_S, LeadTimes
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Origin, Verdict
from foreshape_wire.reading import LeverName
from store_support import T0, card, decision, open_store, order, outcome, plan, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def store():
    found = open_store()
    found.history.append(report(1, T0 + 10, [sample()], cards=(card(),)), T0 + 10)
    yield found
    found.close()


def ordered(store, at: float, *told, name: str = "ord-1", **more) -> None:
    store.journal.record(plan(at, decision(at)), [order(name, at=at, memory=None, **more)])
    store.journal.settle(told, at + 60)


def pulled(name: str = "ord-1", at: float = T0 + 62, **more):
    return outcome(name, at=at, lever=LeverName.CPU_QUOTA, took_s=1.5, **more)


def test_a_pull_is_what_the_guest_waited_for(store):
    ordered(store, T0 + 20, pulled())
    (pull,) = store.levers.pulls(T0 + 100)
    assert (pull.lever, pull.host, pull.grew, pull.applied) == (LeverName.CPU_QUOTA, "hv1", True, True)
    assert (pull.took_s, pull.waited_s) == (1.5, 42.0)  # ordered at 20, proven at 62


def test_a_host_whose_clock_is_behind_did_not_wait_less_than_the_lever_took(store):
    ordered(store, T0 + 20, pulled(at=T0 - 500))
    assert store.levers.pulls(T0 + 100)[0].waited_s == 1.5


def test_failures_count_and_refusals_pending_ones_and_the_agent_s_own_actions_do_not(store):
    ordered(store, T0 + 20, pulled(verdict=Verdict.PENDING, at=T0 + 30), pulled(verdict=Verdict.FAILED))
    ordered(store, T0 + 120, pulled("ord-2", T0 + 130, verdict=Verdict.REFUSED), name="ord-2")
    store.journal.settle([pulled("", T0 + 140, origin=Origin.REFLEX)], T0 + 150)
    assert [p.applied for p in store.levers.pulls(T0 + 200)] == [False]


def test_the_newest_come_first_and_only_so_many(store):
    for i in range(4):
        ordered(store, T0 + 20 + 100 * i, pulled(f"ord-{i}", T0 + 62 + 100 * i, before=0.0), name=f"ord-{i}")
    assert [p.at for p in store.levers.pulls(T0 + 1000, most=2)] == [T0 + 362, T0 + 262]


def test_what_was_ordered_is_under_way_until_somebody_tells_what_came_of_it(store):
    """A newer order for the other resource replaces it in the journal; the agent goes on with what it began."""
    store.journal.record(plan(T0 + 20, decision(T0 + 20)), [order("ord-1", at=T0 + 20)])
    asked = store.spending.under_way(T0 + 30, 300.0)
    assert (set(asked["cpu"]), set(asked["memory"])) == ({"vm-1"}, {"vm-1"})
    store.journal.record(plan(T0 + 40, decision(T0 + 40), name="p-2"), [order("ord-2", at=T0 + 40, memory=None)])
    assert store.spending.under_way(T0 + 50, 300.0) == asked
    store.journal.settle([pulled("ord-2", T0 + 50, verdict=Verdict.PENDING)], T0 + 55)
    assert store.spending.under_way(T0 + 60, 300.0) == asked
    store.journal.settle([pulled("ord-2", T0 + 61)], T0 + 65)
    assert store.spending.under_way(T0 + 70, 300.0) == {"cpu": {}, "memory": asked["memory"]}
    assert store.spending.under_way(T0 + 321, 300.0) == {"cpu": {}, "memory": {}}, "its time is over"


def test_a_month_old_experience_is_forgotten(store):
    ordered(store, T0 + 20, pulled())
    assert store.levers.pulls(T0 + 31 * 86400) == ()


def test_plans_get_lead_times_that_are_learned_anew_now_and_then(store):
    view = ClusterView(at=T0, hosts=(host(),), servers=(server("vm-1", capabilities=(QUOTA,)),))
    leads = LeadTimes(store.levers)
    default = DEFAULTS[LeverName.CPU_QUOTA]
    assert leads(view, T0) == {"cpu": {"vm-1": default}, "memory": {}}
    for i in range(40):
        ordered(store, T0 + 20 + i, pulled(f"ord-{i}", T0 + 320 + i), name=f"ord-{i}")
    assert leads(view, T0 + 60)["cpu"]["vm-1"] == default  # not yet
    assert leads(view, T0 + LEARN_EVERY_S)["cpu"]["vm-1"] > 200
    assert leads(view, T0)["cpu"]["vm-1"] > 200  # a clock that was set back counts as long ago
