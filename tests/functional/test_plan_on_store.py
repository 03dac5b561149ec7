"""The decision cycle on a real database: reports in, a plan journalled, orders open."""

import msgspec
import pytest

from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.foresight import Foresight
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.model.history import BINS_PER_DAY
from foreshape_controller.model.plan import Choice
from foreshape_controller.store import Store
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores
from store_support import T0, card, report, sample, size

pytestmark = pytest.mark.functional

STEP = 300
DAYS = 3
NOW = T0 + DAYS * 86400
VM = ServerId("vm-1")


def busy_first_hour_of_each_day(bin_of_day):
    return 1.7 if bin_of_day < 12 else 0.2


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A database that was told three days of a server of two cores, capped at half a core."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('plan') / 'c.db'}")
    store.modes.set("cloud", Mode.ACT, "test", T0)
    for b in range(DAYS * BINS_PER_DAY):
        vm = sample("vm-1", cores=busy_first_hour_of_each_day(b % BINS_PER_DAY))
        vm = msgspec.structs.replace(vm, cpu=msgspec.structs.replace(vm.cpu, allocation=Cores(0.5)))
        cards = (msgspec.structs.replace(card("vm-1"), allocation=size(0.5, 2048)),) if b == 0 else None
        at = T0 + b * STEP + 290
        assert store.history.append(report(b + 1, at=at, samples=[vm], cards=cards), at)
    return store


def loop(store):
    return PlanLoop(store, Foresight(store, Baseline), Sources(lambda: BUILT_IN), PlanSettings(stale_after_s=60))


def test_the_rise_that_is_about_to_come_is_ordered_before_it_comes(told):
    plan = loop(told).run_once(NOW)
    cpu = plan.decisions[0].cpu
    assert (cpu.choice, cpu.allocation) == (Choice.GROW, 0.5)
    assert cpu.target >= 1.7, "the busy hour begins now, as on each day before"
    assert cpu.reactive_target is not None
    assert cpu.reactive_target <= 0.5, "the last half-hour used 0.2 cores"
    (order,) = told.journal.open_orders(HostName("hv1"), NOW)
    assert order.cpu is not None
    assert (order.cpu.cores, order.cause) == (cpu.target, plan.decisions[0].cause)


def test_what_was_decided_can_be_read_back_whole(told):
    plan = loop(told).run_once(NOW + 1)
    assert told.journal.latest_plan() == plan
    assert told.journal.decisions(VM)[0] == plan.decisions[0]
    assert told.forecasts.latest("cpu", VM).source == ("baseline",)


def test_a_restarted_controller_remembers_what_was_wanted(told):
    loop(told).run_once(NOW + 2)
    assert told.journal.recent_wanted("cpu", NOW)[VM] >= 1.7


def test_a_silent_host_is_frozen(told):
    plan = loop(told).run_once(NOW + 3600)
    assert plan.decisions[0].cpu.code == "stale"
    assert "silent" in plan.notes[0]
