"""Metering hour by hour: each bin once, whatever is repeated, killed, late, or changes in the middle."""

from contextlib import suppress
from decimal import Decimal

import pytest

from foreshape_controller.errors import Invalid, NotFound, Unavailable
from foreshape_controller.model.metering import AT, Kind
from foreshape_wire.order import Mode
from pricing_support import CARD, DAY, HOUR, STEP, Had, PriceWorld, always
from store_support import ask

pytestmark = pytest.mark.functional

HOURS = 3600.0
YOUNG = 2 / 12
"""Of an hour: the first report is there after one bin, and its terms hold from the bin after that."""


@pytest.fixture
def world(tmp_path):
    made = PriceWorld(tmp_path, HOUR, {"vm-1": {}})
    yield made
    made.program.store.close()


def hours(amounts, of="seconds", unit=3600):
    return amounts.get(of, 0) / unit


def test_hours_are_counted_when_their_reports_are_there(world):
    """The first bins have no terms yet: who is here was noted with the first report."""
    world.run(HOUR + 2 * HOURS + 600, always())
    found = world.amounts()
    assert hours(found) == pytest.approx(2 - YOUNG)
    assert found["cpu_entitlement"] == 4000 * found["seconds"]
    assert found["cpu_guaranteed"] == 400 * found["seconds"]
    assert world.store.metering.until() == HOUR + 2 * HOURS


def test_counting_again_and_again_changes_nothing(world):
    world.run(HOUR + 3 * HOURS, always())
    before = world.amounts()
    for _ in range(5):
        world.loop.run_once(world.now)
    world.start()
    world.loop.run_once(world.now)
    assert world.amounts() == before


def test_reports_that_are_replayed_are_no_usage(world):
    message = world.report(world.now + STEP, always())
    world.now += STEP + 3
    for _ in range(10):
        ask(world.program.intake, message, now=world.now)
    world.run(HOUR + 2 * HOURS, always())
    assert hours(world.amounts()) <= 1


class Killed(Exception):
    """kill -9, at a write."""


def three_hours(folder):
    """Reported, and not metered yet."""
    made = PriceWorld(folder, HOUR, {"vm-1": {}, "vm-2": {"project": "p2"}})
    made.run(HOUR + 600, always())
    made.run(HOUR + 3 * HOURS + 600, always(), metering=False)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What three hours come to where nothing happens."""
    made = three_hours(tmp_path_factory.mktemp("whole"))
    made.settle()
    yield {project: made.amounts(project) for project in ("p1", "p2")}
    made.program.store.close()


@pytest.mark.parametrize("at", range(6))
def test_killed_between_any_two_steps_it_counts_each_hour_once(tmp_path, monkeypatch, whole, at):
    """The n-th write of metering is the last one of the process; the next process finishes the work."""
    killed, writes = three_hours(tmp_path), 0

    def dies(method):
        def call(*args, **kwargs):
            nonlocal writes
            writes += 1
            if writes > at:
                raise Killed
            return method(*args, **kwargs)

        return call

    meter = killed.store.metering
    monkeypatch.setattr(meter, "settle", dies(meter.settle))
    monkeypatch.setattr(meter, "note", dies(meter.note))
    with suppress(Killed):
        killed.settle()
    killed.start()
    killed.settle()
    assert {project: killed.amounts(project) for project in ("p1", "p2")} == whole
    assert hours(whole["p1"]) == pytest.approx(3 - YOUNG)
    killed.program.store.close()


def test_a_store_that_cannot_write_loses_no_hour(world, monkeypatch):
    world.run(HOUR + 2 * HOURS, always())
    before = world.amounts()
    assert hours(before) == pytest.approx(1 - YOUNG)
    with monkeypatch.context() as broken:

        def refuse(*_):
            raise Unavailable("the disk is full")

        broken.setattr(world.store.metering, "settle", refuse)
        world.run(HOUR + 2 * HOURS + 600, always(), metering=False)
        with pytest.raises(Unavailable):
            world.loop.run_once(world.now)
        assert world.amounts() == before
    world.settle()
    assert hours(world.amounts()) == pytest.approx(2 - YOUNG)


def test_a_bin_without_data_is_not_charged_and_not_guessed(world):
    world.run(HOUR + 300, always())
    world.run(HOUR + 2 * HOURS + 600, lambda _, at: None if HOUR + 1800 <= at < HOUR + 2400 else Had(4.0))
    assert hours(world.amounts()) == pytest.approx(2 - YOUNG - 2 / 12)


def test_reports_that_come_late_are_counted_by_a_later_look(world):
    """The agent's link was down for an hour; it tells of it a day later, from its spool."""
    world.run(HOUR + 300, always())
    kept = []
    while world.now < HOUR + HOURS:
        world.now = (world.now // STEP + 1) * STEP
        kept.append(world.report(world.now, always()))
    world.run(HOUR + 3 * HOURS, always())
    assert hours(world.amounts()) == pytest.approx(1)
    for message in kept:
        ask(world.program.intake, message, now=world.now)
    world.settle()
    assert hours(world.amounts()) == pytest.approx(1)
    world.jump(HOUR + 28 * HOURS, always())
    assert hours(world.amounts()) == pytest.approx(3 - YOUNG, abs=0.01)


def test_growth_that_nobody_saw_is_not_charged_and_burst_is_only_while_it_is_there(world):
    """An order is in the journal and was applied, says its outcome; the guest shows two cores more for half an hour only."""
    world.run(HOUR + 300, always())
    world.run(HOUR + 2 * HOURS + 600, lambda _, at: Had(6.0 if HOUR + HOURS <= at < HOUR + 1.5 * HOURS else 4.0))
    found = world.amounts()
    assert found["cpu_burst"] == 2000 * 1800


def test_a_server_changes_tier_flavor_and_project_in_the_middle_of_an_hour(world):
    world.run(HOUR + 2 * HOURS, always())
    world.store.inventory.set_tier("vm-1", "economy")
    world.run(HOUR + 2.25 * HOURS, always())
    world.sell("vm-1", cores=8.0)
    world.run(HOUR + 2.5 * HOURS, always(8.0))
    world.sell("vm-1", project="p2")
    world.run(HOUR + 4.2 * HOURS, always(8.0))
    mine, theirs = world.amounts(), world.amounts("p2")
    assert hours(mine) + hours(theirs) == pytest.approx(4 - YOUNG)
    tiers = {u.tier: u.amounts[AT["seconds"]] for d in world.store.metering.days("p1", "2026-11") for u in d.used}
    assert set(tiers) == {"standard", "economy"}
    assert theirs["cpu_entitlement"] == 8000 * theirs["seconds"]
    assert 1.3 * HOURS < theirs["seconds"] < 1.6 * HOURS


def test_who_vanishes_is_charged_for_what_he_had(world):
    world.sell("vm-2", project="p9")
    world.run(HOUR + 2 * HOURS, always())
    del world.cards["vm-2"]
    world.told = 0
    world.run(HOUR + 5 * HOURS, always())
    assert hours(world.amounts("p9")) == pytest.approx(2 - YOUNG)
    assert world.statements.make("p9", "2026-11").total > 0


def test_after_a_gap_what_changed_meanwhile_is_not_charged_by_guessing(world):
    """The controller was down for two hours; agents spooled. Who did not change is charged, who did is not."""
    world.sell("vm-2", project="p2")
    world.run(HOUR + 1 * HOURS, always())
    world.run(HOUR + 2 * HOURS, always(), metering=False)
    world.store.inventory.set_tier("vm-2", "economy")
    world.run(HOUR + 3 * HOURS, always(), metering=False)
    world.run(HOUR + 5 * HOURS, always())
    assert hours(world.amounts("p1")) == pytest.approx(4 - YOUNG)
    assert hours(world.amounts("p2")) == pytest.approx((1 - YOUNG) + 1 / 12 + (1 - YOUNG))


def test_a_clock_that_runs_ahead_skips_no_hour_and_one_that_falls_back_counts_none_twice(world):
    world.run(HOUR + 2 * HOURS, always())
    right = world.now
    world.now = right + 40 * 86400
    world.loop.run_once(world.now)
    assert world.store.metering.until() <= right
    world.now = right
    world.loop.run_once(world.now)
    assert {t.kind for t in world.store.metering.terms(right + 100 * 86400).values()} == {Kind.SERVER}
    world.run(HOUR + 4 * HOURS + 600, always())
    assert hours(world.amounts()) == pytest.approx(4 - YOUNG, abs=0.2)
    world.now -= 3 * HOURS
    before = world.amounts()
    world.loop.run_once(world.now)
    assert world.amounts() == before


def test_what_plans_would_have_freed_is_told_beside_what_it_cost(world):
    world.store.modes.set("cloud", Mode.ADVISE, "a test", HOUR)
    story = always(4.0, need=0.2)
    for hour in range(1, 3):
        world.run(HOUR + hour * HOURS, story)
        world.program.plan_loop.run_once(world.now)
    made = world.statements.make("p1", "2026-11")
    assert made.saved == 0
    assert made.could_save >= 0


def test_a_bad_server_does_not_stop_the_others(world):
    world.sell("vm-2", project="p2", cores=4096.0)
    world.sell("vm-3", project="")
    world.run(HOUR + 2 * HOURS + 600, always())
    assert hours(world.amounts("p1")) == pytest.approx(2 - YOUNG)


# --- months


@pytest.fixture
def october(tmp_path):
    made = PriceWorld(tmp_path, DAY - 3 * HOURS, {"vm-1": {}}, close_after_days=2.0)
    yield made
    made.program.store.close()


def test_a_month_is_closed_frozen_and_what_comes_late_is_an_adjustment(october):
    world = october
    world.run(DAY - 2 * HOURS, always())
    kept = []
    while world.now < DAY - 1 * HOURS:
        world.now = (world.now // STEP + 1) * STEP
        kept.append(world.report(world.now, always()))
    world.run(DAY + 1 * HOURS, always())
    world.jump(DAY + 48.5 * HOURS, always())
    frozen = world.statements.make("p1", "2026-10", "line")
    assert frozen.state == "closed"
    assert frozen.closed_at == world.now
    assert hours(world.amounts(period="2026-10")) == pytest.approx(2 - YOUNG)
    for message in kept:
        ask(world.program.intake, message, now=world.now)
    (world.folder / "rates.yaml").write_text(CARD.replace("0.02,", "0.50,"))
    world.program.pricing.rates.reload()
    world.jump(DAY + 7.5 * 24 * HOURS, always())
    assert world.statements.make("p1", "2026-10", "line") == frozen
    assert world.statements.make("p1", "2026-10", "day").total == frozen.total
    november = world.statements.make("p1", "2026-11", "line")
    late = [n for n in november.lines if n.used_in]
    assert {n.used_in for n in late} == {"2026-10"}
    assert november.adjustments == sum((n.amount for n in late), Decimal(0))
    assert {n.item: n.quantity for n in late}["cpu entitlement"] == 4  # core-hours
    assert world.statements.rows("2026-10")[0].total == frozen.total


def test_a_month_is_not_closed_before_late_reports_had_their_time(october):
    october.run(DAY + 3 * HOURS, always())
    assert october.statements.make("p1", "2026-10").state == "open"
    assert october.statements.make("p1", "2026-10").until == DAY


def test_the_tables_stay_small(october):
    october.run(DAY + 2 * HOURS, always())
    meter = october.store.metering
    assert len(meter.between(0.0, october.now)) == 1
    meter.tidy(DAY, DAY)
    assert meter.projects("2026-10") == ()
    assert hours(october.amounts()) == 1
    assert meter.terms(october.now)["vm-1"].kind == Kind.SERVER


def test_what_is_asked_wrongly_is_refused_in_words(world):
    with pytest.raises(NotFound, match="nothing was metered of project 'p1' in 2026-11"):
        world.statements.make("p1", "2026-11")
    with pytest.raises(Invalid, match="write a month"):
        world.statements.make("p1", "last")
    assert world.statements.rows("2026-11") == []
    assert world.statements.savings(world.now) == ()
