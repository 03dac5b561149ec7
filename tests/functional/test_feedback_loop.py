"""Feedback on a store filled by reports and plans: each half-hour judged once, in every way that a controller can be interrupted."""

from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from decide_support import server
from feedback_support import FakeDecided, plan_table
from foreshape_controller.decide.feedback import FeedbackRule
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.feedback import A_RUN, Feedback, FeedbackSettings, adapting
from foreshape_controller.model.mark import Factors, Mark
from foreshape_controller.store.marks import MarkKey, added
from store_support import DAY, T0, open_store, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.usefixtures("every_line")]

HALF = 1800
RULE = FeedbackRule()
FINE = {"vm-1": 0.5, "vm-2": 1.0}


class Policy:
    def __init__(self, store, rule):
        self._adapt = adapting(store.tier_factors, rule)

    def current(self):
        return self._adapt(BUILT_IN)


@pytest.fixture
def store():
    found = open_store()
    yield found
    found.close()


def measured(store, since: float, until: float, load=FINE, first: int = 1) -> None:
    """A report per five minutes; every server has 2 cores and 1024 MiB."""
    for i, at in enumerate(np.arange(since + 10, until, 300.0)):
        store.history.append(report(first + i + int(since), float(at), [sample(s, cores) for s, cores in load.items()]), float(at))


def feedback(store, *tables, **more) -> Feedback:
    store.decided = FakeDecided(*tables)
    rule = more.pop("rule", RULE)
    return Feedback(store, Policy(store, rule), FeedbackSettings(rule, **more))


def marks(store, tier="standard", resource="cpu"):
    return added(store.marks.between(0, 1e12)).get((tier, resource))


def test_a_half_hour_is_judged_when_it_is_over_and_only_once(store):
    measured(store, T0, T0 + 2 * HALF)
    loop = feedback(store, plan_table(T0 - 60, ("vm-1", "vm-2")))
    assert loop.run_once(T0 + HALF + 599) == A_RUN  # of the day before: nothing was decided then
    while loop.run_once(T0 + HALF + 599):
        pass
    assert marks(store) is None
    assert loop.run_once(T0 + HALF + 600) == 1  # two bins late
    mark = marks(store)
    assert (mark.bins, mark.missing, mark.violated, mark.windows) == (12, 0, 0, 2)
    assert mark.slack == pytest.approx(1 - 1.5 / 4)
    assert mark.entitlement == 0  # no card was sent: nobody knows what was sold
    assert loop.run_once(T0 + HALF + 660) == 0
    assert marks(store) == mark


def test_bins_that_needed_more_than_there_was_are_counted_by_tier(store):
    measured(store, T0, T0 + HALF, {"vm-1": 2.5, "vm-2": 1.0})
    caught_up(feedback(store, plan_table(T0 - 60, ("vm-1", "vm-2"), tiers=("economy", "guaranteed"), wanted=2.2)), T0 + HALF + 600)
    assert (marks(store, "economy").violated, marks(store, "economy").short) == (6, 6)
    assert (marks(store, "guaranteed").violated, marks(store, "guaranteed").bins) == (0, 6)
    assert marks(store, "economy").exceeded == 1


def caught_up(loop: Feedback, now: float) -> int:
    judged = 0
    while found := loop.run_once(now):
        judged += found
    return judged


def test_a_restart_neither_loses_nor_repeats_a_half_hour(store):
    measured(store, T0, T0 + 4 * HALF)
    table = plan_table(T0 - 60, ("vm-1",))
    caught_up(feedback(store, table), T0 + 2 * HALF + 600)
    assert caught_up(feedback(store, table), T0 + 4 * HALF + 600) == 2
    slots = [k.slot for k, _ in store.marks.between(0, 1e12) if k.resource == "cpu"]
    assert slots == [T0 + i * HALF for i in range(4)]


def test_a_half_hour_that_could_not_be_written_is_judged_again(store, monkeypatch):
    measured(store, T0, T0 + HALF)
    loop = feedback(store, plan_table(T0 - 60, ("vm-1",)))
    caught_up(loop, T0 + HALF)
    with monkeypatch.context() as patch:
        patch.setattr(store.marks, "settle", refuse)
        with pytest.raises(Unavailable):
            loop.run_once(T0 + HALF + 600)
    assert marks(store) is None
    assert loop.run_once(T0 + HALF + 600) == 1
    assert marks(store).bins == 6


def refuse(*_):
    raise Unavailable("the disk is full")


def test_after_a_pause_of_days_it_begins_a_day_back(store):
    measured(store, T0, T0 + HALF)
    store.marks.settle({}, int(T0 - 10 * DAY))
    assert caught_up(feedback(store, plan_table(T0 - 60, ("vm-1",))), T0 + HALF + 600) <= DAY / HALF
    assert marks(store).bins == 6


def test_what_was_decided_before_the_controller_went_away_is_still_in_force(store):
    """No plan in the half-hour before: the one of two hours ago is judged."""
    measured(store, T0, T0 + HALF)
    caught_up(feedback(store, plan_table(T0 - 7200, ("vm-1",))), T0 + HALF + 600)
    assert [k.slot for k, m in store.marks.between(T0, 1e12) if k.resource == "cpu" and m.bins == 6] == [T0]


def throttled(table, *servers: str):
    """The same plan with a hard cap of 2 cores on these servers."""
    cap = np.array([2.0 if s in servers else np.nan for s in table.servers])
    return replace(table, cpu=replace(table.cpu, inputs=dict(table.cpu.inputs) | {"cap": cap}))


@pytest.mark.parametrize("at", [T0 - 60, T0 + 900], ids=["before", "while the half-hour ran"])
def test_what_people_throttle_is_not_held_against_its_tier(store, at, monkeypatch):
    """vm-1 wants 2.5 of its cap of 2 cores: its CPU is left out, what it was resized too; its memory and vm-2 are judged."""
    monkeypatch.setattr(store.marks, "resizes", lambda since, _until: {("vm-1", "cpu"): 5, ("vm-2", "cpu"): 2} if since == T0 else {})
    measured(store, T0, T0 + HALF, {"vm-1": 2.5, "vm-2": 1.0})
    first = plan_table(T0 - 120, ("vm-1", "vm-2"))
    caught_up(feedback(store, first, throttled(plan_table(at, ("vm-1", "vm-2")), "vm-1")), T0 + HALF + 600)
    assert (marks(store).bins, marks(store).violated, marks(store).exceeded) == (6, 0, 0)
    assert marks(store).resizes == 2
    assert marks(store, resource="memory").bins == 12


def test_a_server_that_is_gone_is_missing_and_stops_nobody(store):
    measured(store, T0, T0 + HALF, {"vm-1": 0.5})
    caught_up(feedback(store, plan_table(T0 - 60, ("vm-1", "vanished"))), T0 + HALF + 600)
    assert (marks(store).bins, marks(store).missing) == (6, 6)


def test_growths_and_shrinks_are_judged_once_however_many_plans_repeat_them(store):
    measured(store, T0 - HALF, T0 + HALF, {"vm-1": 1.4, "vm-2": 0.9})
    grow = [plan_table(T0 - HALF + 60 * i, ("vm-1", "vm-2"), allocation=1.0, target=2.0) for i in range(1, 30)]
    caught_up(feedback(store, *grow), T0 + HALF + 600)
    last = store.marks.between(T0, T0 + 1)
    mark = {k.resource: m for k, m in last}["cpu"]
    assert (mark.grew, mark.grew_came) == (2, 1)  # 1.4 came where 1.0 was; 0.9 did not need more


def test_decisions_and_what_the_forecast_changed_are_counted_of_every_plan(store):
    measured(store, T0, T0 + HALF)
    tables = [plan_table(T0 - 120, ("vm-1",), reactive=0.5), plan_table(T0 - 60, ("vm-1",)), plan_table(T0, ("vm-1",), code="stale")]
    caught_up(feedback(store, *tables), T0 + HALF + 600)
    mark = marks(store)
    assert (mark.decisions, mark.changed) == (2, 1)  # of a stale server nothing could be decided
    assert mark.changed_share == 0.5


@pytest.mark.parametrize(("code", "frozen"), [("halted", 1), ("second_controller", 1), ("budget", 0), ("at_target", 0)])
def test_what_is_halted_is_frozen_and_what_waits_its_turn_is_not(store, code, frozen):
    measured(store, T0, T0 + HALF, {"vm-1": 0.5})
    caught_up(feedback(store, plan_table(T0 - 60, ("vm-1",), code=code)), T0 + HALF + 600)
    assert marks(store).frozen == frozen
    assert marks(store).decisions == (1 if code == "at_target" else 0)


def test_many_servers_come_in_batches(store, monkeypatch):
    monkeypatch.setattr("foreshape_controller.loops.feedback.BATCH", 3)
    load = {f"vm-{i}": 0.1 * i for i in range(10)}
    measured(store, T0, T0 + HALF, load)
    caught_up(feedback(store, plan_table(T0 - 60, tuple(load))), T0 + HALF + 600)
    assert marks(store).bins == 60
    assert marks(store).demand == pytest.approx(6 * 4.5, rel=1e-3)


# -- learning ---------------------------------------------------------------------------------------------------------


def day_of(store, at: float, **mark) -> None:
    whole = {"bins": 10_000, "acting": 10_000, "windows": 1_700} | mark
    store.marks.settle({MarkKey(int(at), "standard", "cpu"): Mark(**whole)}, int(at) + HALF)


def test_its_first_day_teaches_nothing_yet(store):
    day_of(store, T0, short=300)
    feedback(store).run_once(T0 + HALF)
    first = store.tier_factors.all()["standard", "cpu"]
    assert (first.headroom, first.at) == (1.0, T0 + HALF)
    assert "first day is not over" in first.reason


def test_once_a_day_a_tier_follows_its_target(store):
    store.tier_factors.save({("standard", "cpu"): Factors(at=T0 - DAY)})
    loop = feedback(store)
    day_of(store, T0, short=300)
    loop.run_once(T0 + HALF)
    first = store.tier_factors.all()["standard", "cpu"]
    assert first.headroom > 1
    assert "3.00% of 10000 bins were short, 1.00% is the target" in first.reason
    loop.run_once(T0 + HALF + 3600)  # the same day: nothing
    assert store.tier_factors.all()["standard", "cpu"] == first
    day_of(store, T0 + DAY, short=300)
    feedback(store).run_once(T0 + HALF + DAY)  # after a restart, the next day
    assert store.tier_factors.all()["standard", "cpu"].headroom == pytest.approx(first.headroom**2, rel=1e-3)


def test_the_tiers_in_force_hold_what_was_learned_and_keep_their_floors(store):
    store.tier_factors.save({("standard", "cpu"): Factors(headroom=1.5, hold=2.0, at=T0, reason="too many")})
    tier = Policy(store, RULE).current().of(server(tier="standard"))
    assert (tier.cpu.headroom, tier.cpu.hold_s) == (1.5, 2 * 3 * 3600)
    assert tier.cpu.floor_share == BUILT_IN.tiers["standard"].cpu.floor_share
    assert Policy(store, None).current() == BUILT_IN


def test_the_policy_is_made_anew_only_when_something_was_learned(store):
    adapt = adapting(store.tier_factors, RULE)
    before = adapt(BUILT_IN)
    assert adapt(BUILT_IN) is before  # a policy is asked for every server of every plan
    store.tier_factors.save({("standard", "cpu"): Factors(headroom=1.5, at=T0)})
    after = adapt(BUILT_IN)
    assert after.tiers["standard"].cpu.headroom == 1.5
    assert adapt(BUILT_IN) is after


def test_where_it_is_switched_off_tiers_are_judged_and_stay(store):
    day_of(store, T0, short=900)
    feedback(store, rule=None).run_once(T0 + HALF)
    assert store.tier_factors.all() == {}


def test_a_clock_that_was_set_back_does_not_stop_it_from_learning(store):
    store.tier_factors.save({("standard", "cpu"): Factors(at=T0 + 400 * DAY)})
    day_of(store, T0, short=300)
    feedback(store).run_once(T0 + HALF)
    assert store.tier_factors.all()["standard", "cpu"].headroom > 1


# -- the alarm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changed", "on", "said"), [(0, True, 1), (1, True, 0), (0, False, 0)])
def test_forecasts_that_change_nothing_are_a_warning_once_an_hour(store, changed, on, said):
    day_of(store, T0, decisions=500, changed=changed)
    loop = feedback(store, forecasts_on=on)
    with capture_logs() as logs:
        for minute in range(5):
            loop.run_once(T0 + HALF + 60 * minute)
    warned = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warned) == said
    assert all("none of 500 decisions was changed by one" in w["reason"] for w in warned)
