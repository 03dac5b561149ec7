"""Every plan is kept whole, and told later with the very words it was made with; whatever interrupts a write leaves the old state."""

import re
import sqlite3
import time

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event

from decide_support import NOW, history, host, ordering, server, size_of
from foreshape_controller.decide.known import Known
from foreshape_controller.decide.orders import release
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store import tables, wishes
from foreshape_controller.store.engine import Database
from foreshape_controller.store.migrate import FOLDER
from foreshape_controller.store.wishes import PLANNED, Slot
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode, Origin
from store_support import DAY, decision, open_store, outcome, plan, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines]

HOUR = 3600.0


def made(count=7, at=NOW, cores=0.5):
    """A plan about so many servers of one core, half of which want more; with orders for those."""
    vms = [server(f"vm-{i}", allocation=size_of(1.0, 4096), last_seen=at - 5) for i in range(count)]
    rows = {"cpu": [[cores if i % 2 else 3.0] * 300 for i in range(count)], "memory": [[1000.0] * 300] * count}
    told = {r: history(rows[r], resource=r, names=[s.id for s in vms], until=at // 300 * 300) for r in RESOURCES}
    known = Known(forecasts={r: Baseline().predict(h, int(at)) for r, h in told.items()}, histories=told)
    found = make_plan(ClusterView(at=at, hosts=(host(last_seen=at - 5),), servers=tuple(vms)), known, at, new_id)
    return release(found, ordering(vms), new_id)


@pytest.fixture
def store():
    return open_store(default_mode=Mode.ACT)


def test_a_plan_of_columns_comes_back_word_for_word(store, monkeypatch):
    monkeypatch.setattr(tables, "PART_ROWS", 2)
    found, orders = made()
    assert orders
    store.journal.record(found, orders)
    again = store.journal.latest_plan()
    assert again == found
    assert again.table.servers == found.table.servers  # in the order it had
    for one in found.decisions:
        assert store.journal.decisions(one.server) == (one,)  # a hold as well as a growth
        assert store.journal.caused(one.cause) == one
    with store.db.read() as conn:
        counted = dict(
            conn.exec_driver_sql("SELECT 'parts', count(*) FROM plan_tables UNION SELECT 'words', count(*) FROM decisions").all()
        )
    assert counted == {"parts": 4, "words": len(orders)}  # 7 / 2 is 4, rounded to even


def test_the_decision_in_force_at_any_time_is_the_last_one_before(store):
    plans = [made(3, NOW + 60 * i, cores=0.5 + i / 10) for i in range(4)]
    for found, orders in plans:
        store.journal.record(found, orders)
    second = plans[1][0].decision("vm-1")
    assert store.journal.decisions("vm-1", at=NOW + 119, limit=1) == (second,)
    assert store.journal.decisions("vm-1", at=NOW + 60, limit=1) == (second,)
    assert [d.at - NOW for d in store.journal.decisions("vm-1", limit=3)] == [180, 120, 60]
    assert store.journal.decisions("vm-1", at=NOW - 1) == ()
    assert store.journal.decisions("nobody") == ()


def test_a_server_that_left_is_found_in_the_plans_before(store, monkeypatch):
    monkeypatch.setattr("foreshape_controller.store.plans.AT_ONCE", 2)
    for i in range(7):
        store.journal.record(*made(4 if i == 0 else 2, NOW + 60 * i))
    assert [d.at for d in store.journal.decisions("vm-3")] == [NOW]


def test_whole_plans_are_kept_as_long_as_holds_and_ordered_decisions_longer(store):
    first, (one, other, *_) = made()
    store.journal.record(first, [one])
    store.journal.record(*made(2, NOW + DAY))
    grown, held = one.server, other.server
    store.journal.tidy(NOW + DAY + 60, hold_s=HOUR, acting_s=30 * DAY)
    assert store.journal.decisions(grown, at=NOW)[0] == first.decision(grown)
    assert store.journal.decisions(held, at=NOW) == ()
    store.journal.tidy(NOW + 9 * DAY, hold_s=HOUR, acting_s=30 * DAY)
    newest = store.journal.latest_plan()
    assert len(newest.table) == 2  # the newest plan stays whole, however old
    with store.db.read() as conn:
        assert {row[0] for row in conn.exec_driver_sql("SELECT plan FROM plans")} == {first.plan, newest.plan}


def state(store):
    """Everything that a plan writes."""
    parts = ("plans", "plan_tables", "decisions", "wishes", "orders", "counters")
    with store.db.read() as conn:
        found = {t: conn.exec_driver_sql(f"SELECT * FROM {t}").all() for t in parts}
        found["floors"] = conn.exec_driver_sql("SELECT id, floor_cpu, floor_memory FROM servers").all()
    return found


def test_every_interrupted_write_of_a_plan_leaves_the_state_before(tmp_path):
    """Killed before its first statement, its second, … : no plan without its orders, no order without its plan, no wish alone."""
    store = open_store(tmp_path / "c.db", default_mode=Mode.ACT)
    store.history.append(report(1, NOW, [sample(f"vm-{i}") for i in range(5)], cards=True), NOW)
    store.journal.record(*made(5, NOW))
    before = state(store)
    found, orders = made(5, NOW + 60, cores=2.0)
    told, left = [], [0]

    @event.listens_for(store.db.engine, "before_cursor_execute")
    def _interrupt(_conn, _cursor, statement, *_):
        if re.match(r"\s*(INSERT|UPDATE|DELETE)", statement, re.IGNORECASE):
            told.append(statement)
            left[0] -= 1
            if left[0] == 0:
                raise RuntimeError("killed")

    writes = 0
    while writes < 100:
        writes += 1
        left[0] = writes
        try:
            store.journal.record(found, orders)
        except RuntimeError:
            assert state(store) == before, f"after {told[-1][:60]}"
        else:
            break
    assert writes > 5, "plan, parts, words, wishes and orders at least"
    event.remove(store.db.engine, "before_cursor_execute", _interrupt)
    assert store.journal.latest_plan() == found
    assert {a.order.order for o in orders for a in store.journal.orders(o.server)} >= {o.order for o in orders}
    store.close()


def test_floors_are_written_only_where_they_changed(store):
    store.history.append(report(1, NOW, [sample(f"vm-{i}") for i in range(5)], cards=True), NOW)
    store.journal.record(*made(5, NOW))
    written = []
    event.listen(store.db.engine, "before_cursor_execute", lambda _c, _k, sql, *_: written.append(sql))
    store.journal.record(*made(5, NOW + 60))
    assert not [sql for sql in written if sql.startswith("UPDATE servers")]
    with store.db.write() as conn:
        conn.exec_driver_sql("UPDATE servers SET floor_cpu = 9 WHERE id = 'vm-2'")
    store.journal.record(*made(5, NOW + 120))
    with store.db.read() as conn:
        floors = dict(conn.exec_driver_sql("SELECT id, floor_cpu FROM servers").all())
    assert floors["vm-2"] == floors["vm-1"] != 9


# -- wishes -------------------------------------------------------------------------------------------------------------


def wish(**cores):
    return Slot(tuple(cores), np.array(list(cores.values())), np.array([100 * c for c in cores.values()]))


def fold(store, at, kind=PLANNED, **cores):
    with store.db.write() as conn:
        store.journal._wishes.fold(conn, at, kind, wish(**cores))


@pytest.mark.parametrize("before", [{}, {"a": 3.0}])
def test_what_was_made_ready_and_overtaken_is_made_anew(store, before):
    """Somebody else writes to the slot between the making and the writing: nobody's wish is lost."""
    if before:
        fold(store, NOW, **before)
    ready = store.journal._wishes.prepare(NOW, PLANNED, wish(a=1.0, b=2.0))
    fold(store, NOW, b=5.0, c=0.5)
    with store.db.write() as conn:
        store.journal._wishes.fold_prepared(conn, ready)
    assert store.journal.recent_wanted("cpu", NOW) == {"a": before.get("a", 1.0), "b": 5.0, "c": 0.5}


def test_the_largest_wish_of_a_slot_and_of_many_slots_stays(store):
    fold(store, NOW, a=1.0, b=2.0)
    fold(store, NOW + 60, b=1.5, c=0.5)  # another roster in the same slot
    fold(store, NOW + 600, a=0.5, b=0.5, c=3.0)
    assert store.journal.recent_wanted("cpu", NOW) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert store.journal.recent_wanted("memory", NOW + 600) == {"a": 50.0, "b": 50.0, "c": 300.0}
    fold(store, NOW, a=4.0)  # a slot that was read before is read again when it is written to
    assert store.journal.recent_wanted("cpu", NOW)["a"] == 4.0


def test_a_reflex_counts_as_wanted_beside_what_plans_wanted(store):
    store.history.append(report(1, NOW, [sample("vm-1")], cards=True), NOW)
    fold(store, NOW, **{"vm-1": 1.0})
    given = outcome("", "cpu", origin=Origin.REFLEX, at=NOW + 5, server="vm-1", after=1.8)
    store.journal.settle([given], NOW + 6)
    assert store.journal.recent_wanted("cpu", NOW) == {"vm-1": 1.8}
    assert store.journal.recent_wanted("memory", NOW) == {"vm-1": 100.0}  # nothing is said of memory


def test_old_wishes_are_forgotten(store):
    fold(store, NOW, a=1.0)
    fold(store, NOW + 2 * wishes.KEPT_S, a=2.0)
    store.journal.tidy(NOW + 2 * wishes.KEPT_S, hold_s=HOUR, acting_s=HOUR)
    assert store.journal.recent_wanted("cpu", 0.0) == {"a": 2.0}


@pytest.mark.parametrize("name", ["plain", "with\nnewline", "ü\x00\x1f", "x" * 64])
def test_a_server_may_be_called_anything(store, name):
    store.journal.record(plan(NOW, decision(NOW, name), decision(NOW, "other")), [])
    assert store.journal.recent_wanted("cpu", NOW) == {name: 2.0, "other": 2.0}


def test_an_upgrade_that_forgets_wishes_says_since_when_they_are_known(tmp_path):
    """A database of the version before with wishes in it: the time of the upgrade stands in it afterwards. Without any: nothing does."""
    for name, rows in (("used.db", 1), ("new.db", 0)):
        _at_0002(tmp_path / name, rows)
        before = time.time()
        store = open_store(tmp_path / name)
        assert (store.journal.wanted_since() >= before) is bool(rows)
        assert store.journal.recent_wanted("cpu", 0.0) == {}
        store.close()


def _at_0002(path, rows):
    """A database as the version before made it, with so many wishes."""
    config, db = Config(), Database(f"sqlite:///{path}")
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    with db.write() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0002")
    db.close()
    with sqlite3.connect(path) as conn:
        conn.executemany("INSERT INTO wanted VALUES (?, 'vm-1', 1.0, 2.0)", [(300 * i,) for i in range(rows)])
