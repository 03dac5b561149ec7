"""Reclamation on a real database: what is found, what owners are told, what plans are given, and what an interruption leaves."""

import msgspec
import pytest

from event_support import request
from foreshape_controller.decide.reclaim import broken, objected
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.errors import Unavailable
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.leads import LeadTimes
from foreshape_controller.loops.reclaim import ReclaimLoop
from foreshape_controller.loops.words import compose
from foreshape_controller.model.anomaly import Finding as Anomaly
from foreshape_controller.model.anomaly import Findings, Kind
from foreshape_controller.model.reclaim import State
from foreshape_controller.model.workload import Profile
from foreshape_wire.ids import OrderId
from foreshape_wire.order import Mode, Origin
from reclaim_support import Told, loop, terms
from store_support import outcome, size

pytestmark = pytest.mark.functional

HOUR = 3600.0

SPOT = load_tiers("tiers: {spot: {may_reclaim: true, cpu: {floor_share: 0.05}, memory: {floor_share: 0.1}}}")
"""The built-in tiers, and one that is like economy."""


@pytest.fixture
def told(tmp_path):
    """Seven hours of a server that was sold 8 cores and uses 0.02 of them; the mode is act."""
    made = Told(tmp_path / "c.db").hours(7)
    made.store.modes.set("cloud", Mode.ACT, "test", made.now)
    made.forecast()
    yield made
    made.store.close()


def states(told, server="vm-1"):
    return {resource: row.state for resource, row in told.store.reclaims.of(server).items()}


def cpu(told):
    return told.store.reclaims.of("vm-1")["cpu"]


def floors(told):
    return {r: by.get("vm-1") for r, by in told.store.reclaims.floors(told.now).items()}


def lowered(told, looper):
    """Until its CPU's floor is where the notice said."""
    for _ in range(20):
        looper.run_once(told.now)
        if cpu(told).state is State.RECLAIMED:
            return
        told.hours(1)
        told.forecast()
    raise AssertionError(cpu(told))


# -- advice -------------------------------------------------------------------------------------------------------------


def test_what_could_be_saved_is_always_told_and_nothing_is_done(told):
    looper = loop(told.store, enabled=False)
    for _ in range(3):
        looper.run_once(told.now)
        told.hours(1)
    row = cpu(told)
    assert (row.state, row.floor, row.goal) == (State.FOUND, pytest.approx(0.4), 0.05), "0.03 forecast and 30 % is less than anybody keeps"
    assert row.saves == pytest.approx(0.35)
    assert "enabled is false" in row.hindrance
    assert "idle" in row.why
    assert told.store.notices.list() == ()
    assert told.store.reclaims.floors(told.now) == {}


@pytest.mark.parametrize(("mode", "tier", "why"), [(Mode.ADVISE, "economy", "mode is advise"), (Mode.ACT, "standard", "may_reclaim")])
def test_mode_and_tier_keep_it_advice(told, mode, tier, why):
    told.store.modes.set("server:vm-1", mode, "test", told.now)
    told.store.inventory.set_tier("vm-1", tier)
    looper = loop(told.store)
    for _ in range(3):
        looper.run_once(told.now)
        told.report()
    assert cpu(told).state is State.FOUND
    assert why in cpu(told).hindrance


def _odd(store, now):
    found = Anomaly("vm-1", "cpu", Kind.SPIKE, int(now - HOUR), None, int(now - HOUR), 2.0, 0.9, 0.1)
    store.anomalies.save(Findings("cpu", ("vm-1",), None, (found,), 1.0), now)


AGAINST = {
    "anomaly": _odd,
    "event": lambda store, now: store.events.put(compose(request(scope="project:p1", start="2026-01-06T09:00"), "evt-1", now)),
    "declared": lambda store, now: store.profiles.declare("vm-1", Profile(work="batch"), now),
    "no forecast": lambda store, now: store.forecasts.tidy(now + 1),
}


@pytest.mark.parametrize("what", AGAINST, ids=str)
def test_who_is_expected_to_need_it_is_not_found(told, what):
    AGAINST[what](told.store, told.now)
    loop(told.store).run_once(told.now)
    assert "cpu" not in states(told)


def test_a_young_or_busy_server_is_not_found(tmp_path):
    young = Told(tmp_path / "young.db").hours(5)
    young.forecast()
    loop(young.store).run_once(young.now)
    assert states(young) == {}, "six hours are looked at"
    busy = Told(tmp_path / "busy.db", cores=4.0, mib=6000.0).hours(7)
    busy.forecast(cpu=4.0, memory=6000.0)
    loop(busy.store).run_once(busy.now)
    assert states(busy) == {}


def test_one_odd_server_does_not_stop_the_others(tmp_path):
    told = Told(tmp_path / "odd.db", names=("vm-1", "vm-2"))
    told.sold["vm-2"] = size(0.0, 2e8)
    told.mib["vm-2"] = 1e8
    told.hours(7)
    told.forecast()
    loop(told.store).run_once(told.now)
    assert states(told)["cpu"] is State.FOUND
    assert states(told, "vm-2") == {}, "no cores were sold to it, and it uses half of 190 TiB"


# -- from the notice to the goal and back -------------------------------------------------------------------------------


def test_the_owner_is_told_an_hour_before_the_first_step(told):
    looper = loop(told.store)
    looper.run_once(told.now)
    assert states(told) == {"cpu": State.FOUND, "memory": State.FOUND}
    told.report()
    looper.run_once(told.now)
    row = cpu(told)
    assert (row.state, row.begins_at) == (State.NOTICED, told.now + HOUR), "found twice, told once"
    (of_cpu,) = [n for n in told.store.notices.list("p1") if n.resource == "cpu"]
    assert of_cpu.begins_at == row.begins_at
    assert "from 0.40" not in of_cpu.text
    assert "about 90 s" in of_cpu.text, "60 s until the next plan, 30 s for a quota before any was measured"
    assert floors(told) == {}
    assert told.store.notices.list("another") == ()


def test_the_floor_sinks_step_by_step_to_what_the_notice_named(told):
    looper = loop(told.store)
    lowered(told, looper)
    assert floors(told)["cpu"] == pytest.approx(0.05)
    assert cpu(told).saved == pytest.approx(0.35)
    kinds = [n.kind for n in told.store.notices.list() if n.resource == "cpu"]
    assert kinds == ["reclaim"]


def test_demand_that_comes_back_gives_back_at_once_and_the_time_is_measured(told):
    looper = loop(told.store)
    lowered(told, looper)
    told.has["vm-1"] = size(0.05, 8192.0)
    told.report()
    told.cores["vm-1"] = 1.0
    told.report(30)
    looper.run_once(told.now)
    row = cpu(told)
    assert (row.state, row.back_since) == (State.GIVING_BACK, told.now)
    assert "demand came back" in row.why
    assert "cpu" not in floors(told), "the next plan has the tier's floor"
    told.report(10)
    looper.run_once(told.now)
    assert cpu(told).state is State.GIVING_BACK, "the guest does not have it yet"
    back_since = row.back_since
    done = outcome("ord-9", at=back_since + 42, target=1.2, after=1.2, origin=Origin.REFLEX)
    told.store.journal.settle([msgspec.structs.replace(done, order=OrderId(""))], told.now)
    told.has["vm-1"] = size(1.2, 8192.0)
    told.report(60)
    looper.run_once(told.now)
    assert (cpu(told).state, cpu(told).measured_s) == (State.GIVEN_BACK, 42.0)
    newest, announced = (n for n in told.store.notices.list("p1") if n.resource == "cpu")
    assert newest.kind == "reclaim_back"
    assert "42 s, 90 s stated" in newest.text
    assert announced.answered_at == told.now


@pytest.mark.parametrize("how", ["forecast", "mode", "options", "pressure"])
def test_whatever_speaks_against_it_gives_back(told, how):
    looper = loop(told.store)
    lowered(told, looper)
    if how == "forecast":
        told.forecast(soon=1.0)
    if how == "mode":
        told.store.modes.set("project:p1", Mode.ADVISE, "opt-out", told.now)
    if how == "options":
        looper = loop(told.store, enabled=False)
    if how == "pressure":
        raised = outcome("", "memory", at=told.now, target=4096.0, after=4096.0, origin=Origin.REFLEX)
        told.store.journal.settle([raised], told.now)
    told.report(10)
    looper.run_once(told.now)
    which = "memory" if how == "pressure" else "cpu"
    assert told.store.reclaims.of("vm-1")[which].state in (State.GIVING_BACK, State.GIVEN_BACK)
    assert which not in floors(told)


@pytest.mark.parametrize("what", ["resized", "tier", "project"])
def test_who_is_not_what_its_owner_was_told_of_is_given_back(told, what):
    """Sold 8 cores, told "0.4 to 0.1", now sold 16 or in another tier that may be reclaimed too: that was never announced."""
    looper = loop(told.store)
    lowered(told, looper)
    assert floors(told)["cpu"] == pytest.approx(cpu(told).goal)
    changed(told, what)
    told.report(10)
    ReclaimLoop(told.store, lambda: SPOT, Calendar(told.store.events), LeadTimes(told.store.levers), terms()).run_once(told.now)
    assert cpu(told).state in (State.GIVING_BACK, State.GIVEN_BACK)
    assert "cpu" not in floors(told)


def test_a_change_after_the_notice_withdraws_it_and_it_is_told_anew_once(told):
    looper = loop(told.store)
    looper.run_once(told.now)
    looper.run_once(told.now + 1)
    assert cpu(told).state is State.NOTICED
    changed(told, "project")
    told.report(10)
    looper.run_once(told.now)
    assert (cpu(told).state, cpu(told).why) == (State.FOUND, "withdrawn: its project is p2, and was p1 when its owner was told")
    for seconds in (2, 4, 6):
        looper.run_once(told.now + seconds)
    assert (cpu(told).state, cpu(told).project) == (State.NOTICED, "p2")
    assert [n.project for n in told.store.notices.list("p2") if n.resource == "cpu"] == ["p2"]


def changed(told, what):
    if what == "resized":
        told.sold["vm-1"] = told.has["vm-1"] = size(16.0, 8192.0)
    if what == "tier":
        told.store.inventory.set_tier("vm-1", "spot")
    if what == "project":
        told.project = "p2"


def test_an_objection_meanwhile_is_not_overwritten(told):
    looper = loop(told.store)
    lowered(told, looper)
    reclaims = told.store.reclaims
    save = reclaims.save

    def slow(changes):
        """Between the loop's reading and its writing an owner objects."""
        reclaims.alter("vm-1", "cpu", lambda row: objected(row, "ours", told.now), told.now)
        return save(changes)

    told.cores["vm-1"] = 2.0
    told.report()
    reclaims.save = slow
    looper.run_once(told.now)
    assert (cpu(told).state, cpu(told).objection) == (State.GIVING_BACK, "ours")


def test_a_server_that_leaves_is_gone(told):
    looper = loop(told.store)
    lowered(told, looper)
    told.names = ()
    told.hours(0.5)
    looper.run_once(told.now)
    assert set(states(told).values()) == {State.GONE}
    assert told.store.reclaims.tidy(told.now + 1) == 2
    assert states(told) == {}


# -- whatever is interrupted --------------------------------------------------------------------------------------------


class Failing:
    """A store's reclaims whose n-th write fails: before it is done, or after."""

    def __init__(self, real, number, after):
        self._real, self._left, self._after = real, number, after
        self.failed = False

    def __getattr__(self, name):
        return getattr(self._real, name)

    def save(self, changes):
        self._left -= bool(changes)
        if self._left or self.failed:
            return self._real.save(changes)
        self.failed = True
        if self._after:
            self._real.save(changes)
        raise Unavailable("the controller was killed here")


TURNS = 24
QUICK = {"notice_s": 1800.0, "step_s": 600.0, "step_share": 0.5}
"""Seven writes: found, told, three steps (0.4, 0.2, 0.1, 0.05 cores) beside those of memory, back, has it."""


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_controller_that_is_killed_at_any_write_goes_on_from_what_was_written(tmp_path, number, after):
    told = Told(tmp_path / "c.db").hours(6)
    told.store.modes.set("cloud", Mode.ACT, "test", told.now)
    real = told.store.reclaims
    failing = Failing(real, number, after)
    told.store.reclaims = failing
    looper, seen = loop(told.store, **QUICK), []
    for turn in range(TURNS):
        told.cores["vm-1"] = 1.0 if turn == TURNS - 4 else 0.02
        told.report()
        told.forecast()
        try:
            looper.run_once(told.now)
        except Unavailable:
            looper = loop(told.store, **QUICK)  # a new process
        rows = real.all()
        assert [b for r in rows.values() if (b := broken(r))] == []
        for (server, resource), row in rows.items():
            floor = real.floors(told.now).get(resource, {}).get(server)
            assert floor is None or (floor >= row.goal - 1e-9 and told.now >= row.begins_at)
        seen.append(rows["vm-1", "cpu"].state if rows else None)
    assert failing.failed
    announced = [n for n in told.store.notices.list() if (n.kind, n.resource) == ("reclaim", "cpu")]
    assert len(announced) == 1, "never told twice"
    assert State.RECLAIMED in seen
    assert seen[-1] in (State.GIVING_BACK, State.GIVEN_BACK)
    told.store.close()


@pytest.mark.parametrize("damage", [b"{}", b"\xff", b'{"goal": null}'], ids=["empty", "no JSON", "no number"])
def test_a_row_that_cannot_be_read_stops_nobody_and_takes_nothing(tmp_path, damage):
    told = Told(tmp_path / "c.db", names=("vm-1", "vm-2")).hours(7)
    told.store.modes.set("cloud", Mode.ACT, "test", told.now)
    told.forecast()
    looper = loop(told.store, notice_s=600.0)
    for _ in range(6):
        looper.run_once(told.now)
        told.report()
    assert told.store.reclaims.floors(told.now)["cpu"].keys() == {"vm-1", "vm-2"}
    with told.store.db.write() as conn:
        conn.exec_driver_sql("UPDATE reclaims SET data = ? WHERE server = 'vm-1'", (damage,))
    looper.run_once(told.now)
    assert told.store.reclaims.floors(told.now)["cpu"].keys() == {"vm-2"}
    assert states(told, "vm-2")["cpu"] is State.SHRINKING
    assert states(told)["cpu"] is State.FOUND, "found again, from the beginning"
    told.store.close()


def test_a_row_that_contradicts_its_tier_gives_back_and_the_others_go_on(tmp_path):
    told = Told(tmp_path / "c.db", names=("vm-1", "vm-2")).hours(7)
    told.store.modes.set("cloud", Mode.ACT, "test", told.now)
    told.forecast()
    looper = loop(told.store, notice_s=600.0)
    looper.run_once(told.now)
    told.store.reclaims.alter("vm-1", "cpu", lambda row: msgspec.structs.replace(row, state=State.SHRINKING, floor=9.0, goal=8.5))
    for _ in range(6):
        told.report()
        looper.run_once(told.now)
    assert states(told, "vm-2")["cpu"] is State.SHRINKING
    assert states(told)["cpu"] is State.GIVEN_BACK
    assert told.store.reclaims.floors(told.now)["cpu"].keys() == {"vm-2"}
    told.store.close()
