"""The store on a real PostgreSQL: several processes at once, a server that goes and comes back, others' locks, a controller on top.

What each part of the store does is tested on both engines in ``test_store_*.py``.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, make_url, select, text, update

from controller_support import Controller, until, written
from foreshape_controller.errors import ConfigError, Unavailable
from foreshape_controller.store import Store
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import caps, counters, meta, metadata, modes
from foreshape_wire.codec import encode
from foreshape_wire.order import Mode
from postgres_support import Cluster
from store_support import T0, card, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines("postgresql")]

COUNTS = """
import sys
from sqlalchemy import select, update
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import counters
db = Database(sys.argv[1], busy_s=60.0)
for _ in range(int(sys.argv[2])):
    with db.write() as conn:
        before = conn.execute(select(counters.c.value).where(counters.c.name == "n")).scalar_one()
        conn.execute(update(counters).where(counters.c.name == "n").values(value=before + 1))
"""
OPENS = "import sys; from foreshape_controller.store import Store; s = Store.open(sys.argv[1]); print(s.controller); s.close()"
HOLDS = """
import sys, time
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import counters
with Database(sys.argv[1]).write() as conn:
    conn.execute(counters.insert(), {"name": "half", "value": 1})
    print("begun", flush=True)
    time.sleep(600)
"""


def process(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(running: subprocess.Popen[str]) -> str:
    told, _ = running.communicate(timeout=120)
    assert running.returncode == 0, told
    return told.strip()


@pytest.fixture
def url(cluster: Cluster, tmp_path: Path) -> str:
    return cluster.url(tmp_path / "controller.db")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store.open(url, busy_s=1.0)
    yield made
    made.close()


def many(store: Store) -> int:
    with store.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(counters)).scalar_one())


# -- several processes


def test_two_processes_that_read_and_write_lose_nothing_of_each_other(store: Store, url: str) -> None:
    with store.db.write() as conn:
        conn.execute(counters.insert(), {"name": "n", "value": 0})
    for one in [process(COUNTS, url, "200") for _ in range(2)]:
        ended(one)
    with store.db.read() as conn:
        assert conn.execute(select(counters.c.value).where(counters.c.name == "n")).scalar_one() == 400


def test_controllers_that_start_together_on_an_empty_database_make_one_schema_and_are_one(cluster: Cluster) -> None:
    url = cluster.empty("started_together")
    names = {ended(one) for one in [process(OPENS, url) for _ in range(3)]}
    assert len(names) == 1
    store = Store.open(url)
    with store.db.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
    store.close()


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_and_holds_nobody_up(store: Store, url: str) -> None:
    other = process(HOLDS, url)
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    with pytest.raises(Unavailable, match=r"lock timeout.*somebody else holds"):
        store.modes.set("cloud", Mode.ACT, "while it is held", T0)
    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=10)
    _soon(lambda: store.modes.set("cloud", Mode.ACT, "afterwards", T0))
    assert many(store) == 0


def test_a_reading_is_one_snapshot_whatever_is_written_meanwhile(store: Store) -> None:
    with store.db.read() as conn:
        before = conn.execute(select(func.count()).select_from(meta)).scalar_one()
        thread = threading.Thread(target=lambda: _mark(store, "meanwhile"))
        thread.start()
        thread.join(10)
        assert conn.execute(select(func.count()).select_from(meta)).scalar_one() == before
    with store.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(meta)).scalar_one() == before + 1


def test_many_threads_read_and_write_at_once(store: Store) -> None:
    def work(n: int) -> None:
        store.modes.set(f"host:h{n % 5}", Mode.ADVISE, "a test", T0)
        store.inventory.view(T0)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(200)))
    with store.db.read() as conn:
        assert set(conn.execute(select(modes.c.scope)).scalars()) == {f"host:h{n}" for n in range(5)}


def _mark(store: Store, name: str) -> None:
    with store.db.write() as conn:
        conn.execute(meta.insert(), {"name": name, "value": "1"})


def _soon(work: Callable[[], object], within_s: float = 10.0) -> None:
    """The server needs a moment to see that somebody died, or to come back."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            work()
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


# -- the server, and others on it


def test_an_administrators_lock_is_answered_unavailable_and_over_when_it_is(store: Store, url: str) -> None:
    _cap(store, "before")
    admin = Database(url)
    with admin.engine.connect() as conn, conn.begin():
        conn.execute(text("LOCK TABLE caps IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        with pytest.raises(Unavailable, match="lock timeout"):
            _cap(store, "during")
        assert time.monotonic() - began < 5
    _cap(store, "after")
    with store.db.read() as conn:
        assert set(conn.execute(select(caps.c.id)).scalars()) == {"before", "after"}
    admin.close()


def _cap(store: Store, name: str) -> None:
    with store.db.write() as conn:
        words = {"id": name, "scope": "cloud", "resource": "cpu", "amount": 1.0, "since": T0, "until": T0 + 60, "reason": "a test"}
        conn.execute(caps.insert(), words)


def test_a_deadlock_with_somebody_else_is_answered_unavailable(store: Store, url: str) -> None:
    """Ours do not deadlock with each other: only one writes at a time."""
    for name in ("a", "b"):
        with store.db.write() as conn:
            conn.execute(counters.insert(), {"name": name, "value": 0})
    admin, patient = Database(url, busy_s=30.0), Database(url, busy_s=30.0)

    def bump(conn: Any, name: str) -> None:
        conn.execute(update(counters).where(counters.c.name == name).values(value=counters.c.value + 1))

    troubles: list[Exception] = []
    theirs, ours = threading.Event(), threading.Event()

    def other() -> None:
        try:
            with admin.engine.connect() as conn, conn.begin():
                bump(conn, "a")
                theirs.set()
                ours.wait(10)
                bump(conn, "b")
        except Exception as e:
            troubles.append(e)

    thread = threading.Thread(target=other)
    thread.start()
    theirs.wait(10)
    try:
        with patient.write() as conn:
            bump(conn, "b")
            ours.set()
            bump(conn, "a")
    except Unavailable as e:
        troubles.append(e)
    thread.join(30)
    assert len(troubles) == 1
    assert "deadlock" in str(troubles[0])
    with patient.write() as conn:
        bump(conn, "a")
    admin.close()
    patient.close()


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_server_that_was_restarted_is_not_even_noticed(cluster: Cluster, store: Store, how: str) -> None:
    _mark(store, "before")
    cluster.stop(how)
    with pytest.raises(Unavailable):
        _mark(store, "nobody")
    with pytest.raises(Unavailable):
        store.ping()
    cluster.start()
    _mark(store, "after")
    cluster.stop(how)
    cluster.start()
    _mark(store, "again")
    store.ping()
    with store.db.read() as conn:
        assert {"before", "after", "again"} <= set(conn.execute(select(meta.c.name)).scalars())


def test_a_database_that_takes_no_writes_is_said(store: Store, cluster: Cluster, url: str) -> None:
    name = make_url(url).database
    cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    standby = Database(url)
    with pytest.raises(Unavailable, match="standby"), standby.write() as conn:
        conn.execute(meta.insert(), {"name": "x", "value": "1"})
    standby.close()
    with pytest.raises(Unavailable, match="read-only"), Store.read_only(url).db.write() as conn:
        conn.execute(meta.insert(), {"name": "x", "value": "1"})


# -- the schema


def test_an_upgrade_that_fails_leaves_what_was_there(cluster: Cluster) -> None:
    url = cluster.empty("upgrade_fails")
    cluster.sql("CREATE TABLE pools (mine int)", "upgrade_fails")
    with pytest.raises(Unavailable, match="already exists"):
        Store.open(url)
    assert cluster.sql("SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'", "upgrade_fails") == "pools"
    cluster.sql("DROP TABLE pools", "upgrade_fails")
    Store.open(url).close()


def test_a_database_of_another_encoding_is_refused(cluster: Cluster) -> None:
    cluster.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match="encoding is LATIN1"):
        Store.open(cluster.at("latin"))


@pytest.mark.parametrize(
    ("url", "says"),
    [("postgresql+asyncpg://me@/x", "postgresql\\+psycopg"), ("mysql://me@/x", "is not kept here"), ("oracle://me@/x", "is not kept here")],
)
def test_another_driver_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Database(url)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing was taken"):
        Store.open(f"postgresql+psycopg://me@/x?host={tmp_path}", busy_s=1.0)


def test_names_of_any_length_and_a_nul_are_no_reason_to_refuse_a_report(store: Store) -> None:
    store.history.take(report(1, T0 + 10, [sample("vm-1")], cards=(card("vm-1", name="web\x00"),)), T0 + 10)
    (server,) = store.inventory.view(T0 + 10).servers
    assert server.name == "web\ufffd"
    _mark(store, "m" * 1000)


# -- the controller


def _plan(c: Controller) -> Any:
    found = httpx.get(f"{c.url}/v1/plan", headers=c.admin, timeout=60)
    return found.json() if found.status_code == 200 and found.json().get("decisions") else None


def test_the_controller_works_on_it_is_killed_and_goes_on_and_a_second_one_joins(tmp_path: Path, url: str) -> None:
    running: list[Controller] = []

    def begin(folder: str) -> Controller:
        (tmp_path / folder).mkdir(exist_ok=True)
        token = tmp_path / folder / "admin-token"
        token.write_text("a-token-that-both-of-them-know\n")
        token.chmod(0o600)
        running.append(Controller(written(tmp_path / folder, store=f"url = {url}", plan="interval_s = 2")))
        return running[-1]

    try:
        one = begin("one")
        agent = one.enrol("hv1")
        told = report(1, time.time(), [sample("vm-1")], cards=(card("vm-1"),), host="hv1")
        assert httpx.post(f"{one.url}/v1/reports", content=encode(told), headers=agent, timeout=60).status_code == 200
        one.process.kill()
        one.process.wait(10)
        one = begin("one")
        two = begin("two")
        for c in (one, two):
            hosts = httpx.get(f"{c.url}/v1/hosts", headers=c.admin, timeout=60).json()
            assert [h["name"] for h in hosts] == ["hv1"]
        assert httpx.post(f"{two.url}/v1/reports", content=encode(told), headers=agent, timeout=60).status_code == 200
        made = until(lambda: _plan(two), 30)
        assert [d["server"] for d in made["decisions"]] == ["vm-1"]
        assert [c.end(signal.SIGTERM) for c in (one, two)] == [0, 0]
    finally:
        for c in running:
            if c.process.poll() is None:
                c.process.kill()
                c.process.wait(10)
