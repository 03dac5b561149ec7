"""When the database cannot take it: a reason, nothing acknowledged, nothing half done; and on again as soon as it can."""

import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from foreshape_controller.errors import ConfigError, Unavailable
from foreshape_controller.store import Store
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import metadata
from store_support import T0, decision, open_store, order, outcome, plan, report, sample

pytestmark = pytest.mark.functional


def coverage(store, server="vm-1"):
    return float(store.history.read("cpu", [server], T0 + 30, 1).coverage[0, 0])


def test_a_database_locked_by_another_process(tmp_path):
    store = open_store(tmp_path / "c.db", busy_s=0.1)
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another process holds"):
        store.history.append(report(1), T0 + 10)
    assert store.inventory.view(T0).hosts == ()  # reading goes on
    other.execute("ROLLBACK")
    assert store.history.append(report(1), T0 + 10) is True  # it was not marked as seen
    assert coverage(store) == pytest.approx(10 / 300)


def test_a_full_disk_takes_nothing_and_forgets_nothing(tmp_path):
    store = open_store(tmp_path / "c.db")
    store.history.append(report(1), T0 + 10)
    with store.db.write() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = [sample(f"vm-{i}") for i in range(3000)]
    with pytest.raises(Unavailable, match="full"):
        store.history.append(report(2, T0 + 20, big), T0 + 20)
    assert coverage(store) == pytest.approx(10 / 300)
    # the failed writer's connection is closed, and with it the bound: the disk has room again
    assert store.history.append(report(2, T0 + 20, big), T0 + 20) is True
    assert coverage(store) == pytest.approx(20 / 300)


def test_a_report_that_fails_in_its_last_step_leaves_no_trace(tmp_path, monkeypatch):
    store = open_store(tmp_path / "c.db")

    def fail(*_):
        raise RuntimeError("a fault in the last step")

    monkeypatch.setattr(store.journal, "settle_in", fail)
    with pytest.raises(RuntimeError):
        store.history.append(report(1, cards=True, outcomes=(outcome(),)), T0 + 10)
    monkeypatch.undo()
    assert store.inventory.view(T0 + 10).servers == ()
    assert coverage(store) == 0
    assert store.history.append(report(1, cards=True, outcomes=(outcome(),)), T0 + 10) is True
    assert coverage(store) == pytest.approx(10 / 300)


def test_a_plan_that_fails_half_way_orders_nothing(tmp_path):
    store = open_store(tmp_path / "c.db")
    store.journal.record(plan(T0, decision(T0)), [order("ord-1", at=T0)])

    with pytest.raises(IntegrityError):
        store.journal.record(plan(T0 + 60, decision(T0 + 60), decision(T0 + 60, "vm-2")), [order("ord-2", "vm-2"), order("ord-1")])
    assert [o.order for o in store.journal.open_orders("hv1", T0 + 61)] == ["ord-1"]
    assert store.journal.latest_plan().at == T0


def test_many_threads_at_once_lose_nothing(tmp_path):
    store = open_store(tmp_path / "c.db")
    failed = []

    def send(host):
        try:
            for n in range(1, 26):
                store.history.append(report(n, T0 + 10 * n, [sample(f"vm-{host}")], host=host, cards=True), T0 + 10 * n)
                store.inventory.view(T0 + 10 * n)
        except Exception as e:
            failed.append(e)

    threads = [threading.Thread(target=send, args=(f"hv{i}",)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert failed == []
    h = store.history.read("cpu", [f"vm-hv{i}" for i in range(6)], T0 + 250, 1)
    assert h.coverage[:, 0] == pytest.approx([250 / 300] * 6)


@pytest.mark.parametrize(
    ("url", "says"),
    [("sqlite:////nowhere/at/all/c.db", "create it"), ("no url", "url"), ("", "url")],
)
def test_a_database_that_cannot_be_is_a_matter_of_configuration(url, says):
    with pytest.raises(ConfigError, match=says):
        Database(url)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "c.db").write_bytes(b"this is no database at all, but it is long enough to look at" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        open_store(tmp_path / "c.db")


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    open_store(tmp_path / "c.db").close()
    with sqlite3.connect(tmp_path / "c.db") as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer Foreshape"):
        open_store(tmp_path / "c.db")


def test_the_migrations_make_exactly_the_schema(tmp_path):

    store = open_store(tmp_path / "c.db")
    with store.db.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_only_its_own_user_can_read_the_database(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/c.db")
    store.history.append(report(1), T0 + 10)
    assert {p.name: p.stat().st_mode & 0o077 for p in tmp_path.iterdir()} == {"c.db": 0, "c.db-wal": 0, "c.db-shm": 0, "c.db-turns": 0}
