"""An event changes what is decided, before it begins; what it did is learned, and counts from then on."""

import math
import shutil

import msgspec
import numpy as np
import pytest

from event_support import START, request
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.decide.why import sentences
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.aftermath import Aftermath
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.loops.scene import Hooks
from foreshape_controller.loops.words import compose
from foreshape_controller.main import build
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.plan import Choice
from foreshape_controller.store import Store
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores
from store_support import card, report, sample, settings, size

pytestmark = pytest.mark.functional

STEP = 300
DAYS = 2
NOW = START
FIRST = START - DAYS * 86400
USUAL, HAS = 0.6, 0.65
MIB = 600.0
HOST = 4.0
"""Cores of the host in use, its own needs included."""

MEDIAN = LEVELS.index(0.5)


class Cloud:
    """A store that is told of two servers of project p1 (vm-1) and p2 (vm-2), bin by bin, and a plan loop on it."""

    def __init__(self, path):
        self.store = Store.open(f"sqlite:///{path}", synchronous="off")
        self.store.modes.set("cloud", Mode.ACT, "test", FIRST)
        self.told = 0
        self.calendar = Calendar(self.store.events)
        self.aftermath = Aftermath(self.calendar, self.store.events, self.store.history, Baseline, 2016)
        hooks = Hooks(preparers=(self.calendar.prepare,), adjusters=(self.calendar.adjust,))
        foresight = Foresight(self.store, Baseline, ForesightSettings(forecast_every_s=0.0), hooks=hooks)
        self.loop = PlanLoop(self.store, foresight, Sources(lambda: BUILT_IN), PlanSettings(stale_after_s=60))

    def tell(self, until, load=lambda at: USUAL, has=HAS):
        """Reports of every bin up to an instant; CPU demand of vm-1 is ``load``, of vm-2 as usual."""
        at = FIRST + self.told * STEP
        while at < until:
            samples = [self._sample("vm-1", load(at), has), self._sample("vm-2", USUAL, has)]
            cards = None
            if self.told == 0:
                told = (card("vm-1", project="p1"), card("vm-2", project="p2"))
                cards = tuple(msgspec.structs.replace(c, allocation=size(has, 1024)) for c in told)
            self.told += 1
            assert self.store.history.append(report(self.told, at=at + 299, samples=samples, cards=cards), at + 299)
            at = FIRST + self.told * STEP

    @staticmethod
    def _sample(name, cores, has):
        vm = sample(name, cores=cores, mib=MIB, window_s=300.0)
        return msgspec.structs.replace(vm, cpu=msgspec.structs.replace(vm.cpu, allocation=Cores(has)))

    def declare(self, **changes):
        event = compose(request(**changes), "evt-1", NOW)
        self.store.events.put(event)
        return event

    def plan(self, now):
        """Decisions by server."""
        return {d.server: d for d in self.loop.run_once(now).decisions}


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path / "c.db")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def two_flat_days(tmp_path_factory):
    """A database that was told of two days of the same demand."""
    path = tmp_path_factory.mktemp("flat") / "c.db"
    made = Cloud(path)
    made.tell(NOW)
    made.store.close()
    return path, made.told


@pytest.fixture
def flat(two_flat_days, tmp_path):
    path, told = two_flat_days
    made = Cloud(shutil.copy(path, tmp_path / "c.db"))
    made.told = told
    yield made
    made.store.close()


def test_without_an_event_a_flat_server_stays_as_it_is(flat):
    assert flat.plan(NOW)["vm-1"].cpu.choice is Choice.HOLD


def test_a_server_grows_before_its_event_begins_and_why_names_the_event(flat):
    flat.declare(scope="project:p1")  # in 20 minutes, for an hour, three times the usual
    decided = flat.plan(NOW)
    cpu = decided["vm-1"].cpu
    assert cpu.choice is Choice.GROW
    assert cpu.target >= 3 * USUAL, "0.6 cores times 3"
    assert cpu.changed_by_forecast
    assert decided["vm-2"].cpu.choice is Choice.HOLD, "another project's event is none of its business"
    assert decided["vm-1"].memory.choice is Choice.HOLD, "the event is about CPU"
    (order,) = flat.store.journal.open_orders(HostName("hv1"), NOW)
    assert order.server == "vm-1"
    said = " ".join(sentences("vm-1", decided["vm-1"], ()))
    assert "event 'Black Friday' from 05 Jan 00:20 UTC: ×3 declared" in said


def test_an_event_beyond_the_next_half_hour_waits(flat):
    flat.declare(start="2026-01-05T02:00")
    assert flat.plan(NOW)["vm-1"].cpu.choice is Choice.HOLD


def test_afterwards_the_server_is_given_back_what_it_no_longer_needs(flat):
    flat.declare(scope="project:p1")
    grown = flat.plan(NOW)["vm-1"].cpu.target
    over = NOW + 80 * 60
    flat.tell(over + 4 * 3600, load=lambda at: 3 * USUAL if NOW + 1200 <= at < over else USUAL, has=grown)
    flat.aftermath.run_once(over + 4 * 3600)
    cpu = flat.plan(over + 4 * 3600)["vm-1"].cpu
    assert cpu.choice is Choice.SHRINK, f"{cpu.code}: {cpu.reason}"
    assert cpu.peak.wanted < 1.5 * USUAL, "the tripled hour is not taken for its usual demand"


def test_a_forecast_of_the_project_has_the_event_and_of_the_host_its_share_of_it(flat):
    flat.declare(scope="project:p1", start="2026-01-05T00:00", duration_s=86400.0)
    flat.plan(NOW)
    names = ("vm-1", "vm-2", "project:p1", "project:p2", "host:hv1")
    of = {s: float(flat.store.forecasts.latest("cpu", s).half_hours[0, 40, MEDIAN]) for s in names}
    assert of["vm-1"] == pytest.approx(3 * USUAL, rel=0.05)
    assert of["vm-2"] == pytest.approx(USUAL, rel=0.05)
    assert of["project:p1"] == pytest.approx(3 * USUAL, rel=0.05)
    assert of["project:p2"] == pytest.approx(USUAL, rel=0.05)
    assert of["host:hv1"] == pytest.approx(HOST + 2 * USUAL, rel=0.05), "0.6 of its 4 cores in use become 1.8"


def test_what_an_event_did_is_learned_and_replaces_what_was_declared(flat):
    event = flat.declare(scope="project:p1", recurrence="FREQ=DAILY", factors={"cpu": 4.0})
    over = NOW + 80 * 60
    flat.tell(over + 1800, load=lambda at: 2 * USUAL if NOW + 1200 <= at < over else USUAL)
    flat.plan(over + 1500)
    assert flat.aftermath.run_once(over + 1500) == 1
    (cpu,) = [m for m in flat.store.events.effects()[event.id] if m.resource == "cpu"]
    assert cpu.factor == pytest.approx(2.0, rel=0.05), "it doubled, whatever was declared"
    assert cpu.weight == pytest.approx(1.0, abs=0.1)
    # ln f = (0.25 ln 4 + 1 ln 2) / 1.25: 2.3
    assert flat.calendar.known().factor(event, "cpu") == pytest.approx(math.exp((0.25 * math.log(4) + math.log(2)) / 1.25), rel=0.05)
    assert flat.calendar.known().factor(event, "memory") == 1.0, "memory did not change, and nobody said it would"
    assert flat.aftermath.run_once(over + 1500) == 0, "each occurrence is measured once"


def test_an_event_that_is_declared_late_is_measured_on_what_history_holds(cloud):
    yesterday = NOW - 86400 + 1200
    cloud.tell(NOW, load=lambda at: 2 * USUAL if yesterday <= at < yesterday + 3600 else USUAL)
    event = cloud.declare(start="2026-01-04T00:20", recurrence="FREQ=DAILY", scope="server:vm-1", factors={})
    cloud.plan(NOW)
    assert cloud.aftermath.run_once(NOW) == 1
    assert cloud.calendar.known().factor(event, "cpu") == pytest.approx(2 ** (1 / 1.25), rel=0.05)
    cpu = cloud.plan(NOW + 1)["vm-1"].cpu
    assert cpu.choice is Choice.GROW, "it begins again in 20 minutes"
    assert "learned from 1 occurrence" in cpu.peak.reason


def test_an_event_of_nobody_is_measured_as_nothing(flat):
    event = flat.declare(scope="project:nobody", start="2026-01-04T12:00")
    flat.plan(NOW)
    assert flat.aftermath.run_once(NOW) == 1
    assert {m.weight for m in flat.store.events.effects()[event.id]} == {0.0}
    assert flat.calendar.known().factor(event, "cpu") == 3.0, "still what was declared"


def test_while_an_event_lasts_its_demand_is_what_is_measured_however_wrong_the_factor(flat):
    flat.declare(start="2026-01-05T00:00", duration_s=7200.0, factors={"cpu": 10.0})
    flat.tell(NOW + 3600, load=lambda at: 1.5 * USUAL if at >= NOW else USUAL)
    flat.plan(NOW + 3600)
    first = flat.store.forecasts.latest("cpu", "vm-1")
    assert float(first.steps[0, 0, MEDIAN]) == pytest.approx(1.5 * USUAL, rel=0.25)
    assert np.isfinite(first.half_hours).all()


@pytest.mark.parametrize(("forecast", "choice"), [("baseline", Choice.GROW), ("off", Choice.HOLD)])
def test_the_program_as_it_is_put_together_grows_for_an_event_unless_forecasts_are_off(two_flat_days, tmp_path, forecast, choice):
    shutil.copy(two_flat_days[0], tmp_path / "controller.db")
    program = build(settings(tmp_path, forecast=forecast), clock=lambda: NOW)
    program.store.events.put(compose(request(), "evt-1", NOW))
    assert {d.cpu.choice for d in program.plan_loop.run_once(NOW).decisions} == {choice}
    program.store.close()


def test_an_occurrence_that_nobody_watched_teaches_nothing(flat):
    event = flat.declare(start="2026-01-05T00:00")
    flat.told += 14  # nothing is told of the event's hour
    flat.tell(NOW + 2 * 3600)
    flat.plan(NOW + 2 * 3600)
    assert flat.aftermath.run_once(NOW + 2 * 3600) == 1
    assert {m.weight for m in flat.store.events.effects()[event.id]} == {0.0}


def test_a_server_without_two_hours_before_an_event_teaches_nothing(cloud):
    cloud.declare(start="2026-01-03T01:00")
    cloud.tell(FIRST + 4 * 3600, load=lambda at: 5 * USUAL)
    cloud.plan(FIRST + 4 * 3600)
    cloud.aftermath.run_once(FIRST + 4 * 3600)
    assert {m.weight for m in cloud.store.events.effects()["evt-1"]} == {0.0}


def test_of_two_events_at_once_each_is_measured_without_the_other(flat):
    outer = flat.declare(start="2026-01-05T00:00", duration_s=4 * 3600.0, factors={"cpu": 2.0})
    inner = compose(request(name="inner", start="2026-01-05T01:00", scope="server:vm-1", factors={"cpu": 3.0}), "evt-2", NOW)
    flat.store.events.put(inner)
    over = NOW + 5 * 3600

    def load(at):
        return USUAL * (2 if at < NOW + 4 * 3600 else 1) * (3 if NOW + 3600 <= at < NOW + 7200 else 1) if at >= NOW else USUAL

    flat.tell(over, load=load)
    flat.plan(over)
    assert flat.aftermath.run_once(over) == 2
    factors = {e: m.factor for e, told in flat.store.events.effects().items() for m in told if m.resource == "cpu"}
    assert factors[inner.id] == pytest.approx(3.0, rel=0.05)
    # vm-2 stays as it is: (2 * 0.6 + 0.6) / 1.2 = 1.5 of what the two usually want
    assert factors[outer.id] == pytest.approx(1.5, rel=0.05)
