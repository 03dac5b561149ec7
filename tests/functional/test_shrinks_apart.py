"""Who was shrunk lately, read from what agents told; and a plan that waits for its tier's time between two shrinks."""

import numpy as np
import pytest

from decide_support import NOW, MemoryStore, history, host, server
from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.plan import PlanLoop, Sources
from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode, Origin, Verdict
from store_support import T0, card, decision, open_store, order, outcome, plan, report, sample

pytestmark = pytest.mark.functional


@pytest.fixture
def store():
    made = open_store(default_mode=Mode.ACT)
    made.history.append(report(1, T0 + 10, [sample(), sample("vm-2")], cards=[card(), card("vm-2")]), T0 + 10)
    orders = (order("ord-1"), order("ord-2", "vm-2"))
    made.journal.record(plan(T0 + 20, decision(T0 + 20), decision(T0 + 20, "vm-2")), orders)
    return made


def shrunk(of="ord-1", server="vm-1", at=T0 + 25, **more):
    return outcome(of, server=server, at=at, before=2.0, target=1.0, after=1.0, **more)


def test_the_newest_shrink_of_each_server_is_known(store):
    store.journal.settle([shrunk(verdict=Verdict.PENDING), shrunk(at=T0 + 30), shrunk("ord-2", "vm-2", T0 + 26)], T0 + 40)
    assert store.levers.shrunk(T0) == {"cpu": {"vm-1": T0 + 30, "vm-2": T0 + 26}}
    assert store.levers.shrunk(T0 + 26) == {"cpu": {"vm-1": T0 + 30}}


@pytest.mark.parametrize(
    "told",
    [
        outcome(),  # from 1 to 2 cores
        shrunk(verdict=Verdict.REFUSED),
        shrunk(verdict=Verdict.FAILED),
        shrunk("", origin=Origin.STATIC),
        shrunk("ord-9"),  # nobody's order: a stray
    ],
)
def test_growth_refusals_and_what_an_agent_did_by_itself_are_no_shrinks(store, told):
    store.journal.settle([told], T0 + 40)
    assert store.levers.shrunk(T0) == {}


def planned(policy, **sources):
    used = np.full(3 * BINS_PER_DAY, 0.5)
    histories = {"cpu": history([used]), "memory": history([used * 2000], resource="memory", entitlement=4096.0)}
    store = MemoryStore(ClusterView(at=NOW, hosts=(host(),), servers=(server(),)), histories)
    loop = PlanLoop(store, Foresight(store, Baseline, ForesightSettings()), Sources(lambda: policy, **sources))
    return loop.run_once(NOW).decisions[0].cpu


def test_a_plan_asks_as_far_back_as_its_tiers_wait_and_not_at_all_where_none_does():
    asked = []

    def last_shrunk(since):
        asked.append(NOW - since)
        return {"cpu": {"vm1": NOW - 1000}}

    assert planned(BUILT_IN, last_shrunk=last_shrunk).code == "peak_below"
    assert asked == []
    patient = load_tiers("tiers: {standard: {cpu: {step_s: 1800}, memory: {step_s: 600}}}")
    assert planned(patient, last_shrunk=last_shrunk).code == "step_time"
    assert asked == [1800]


def test_a_plan_takes_nothing_from_a_server_whose_use_left_its_habits():
    assert planned(BUILT_IN, anomalous=lambda now: {"cpu": frozenset({"vm1"})} if now == NOW else {}).code == "anomalous"
