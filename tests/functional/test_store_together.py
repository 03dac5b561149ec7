"""Several reports with one force to disk: each as if it had come alone, and a bad one costs nobody else anything."""

from pathlib import Path
from typing import Any

import pytest

from foreshape_controller.store import Store
from foreshape_controller.store.history import Taken
from store_support import T0, open_store, report, sample

pytestmark = pytest.mark.functional


def hosts(count: int, sequence: int = 1) -> list[tuple[Any, float]]:
    return [(report(sequence, T0 + 10, [sample(f"vm-{n}")], host=f"hv{n}", cards=True), T0 + 11) for n in range(count)]


def kept(store: Store) -> list[tuple[Any, ...]]:
    with store.db.read() as conn:
        rows = conn.exec_driver_sql("SELECT name, bin, samples, cpu_sum FROM bins JOIN series ON series.id = bins.series ORDER BY name")
        seen = conn.exec_driver_sql("SELECT host, first, last FROM seen ORDER BY host")
        return [*map(tuple, rows), *map(tuple, seen)]


def test_together_is_as_one_after_the_other(tmp_path: Path) -> None:
    together, alone = open_store(tmp_path / "a.db"), open_store(tmp_path / "b.db")
    told = together.history.take_all(hosts(5))
    one_by_one = [alone.history.take(r, at) for r, at in hosts(5)]
    assert told == one_by_one
    assert kept(together) == kept(alone)
    together.close()
    alone.close()


def test_a_report_twice_in_one_batch_is_counted_once(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    told = store.history.take_all([*hosts(1), *hosts(1)])
    assert [t.new for t in told if isinstance(t, Taken)] == [True, False]
    assert store.history.take_all(hosts(1)) == [Taken(new=False)]
    store.close()


def test_a_bad_one_among_them_leaves_no_trace_and_the_others_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "a.db")
    take = store.inventory.take

    def odd(conn: Any, message: Any, *rest: Any) -> Any:
        found = take(conn, message, *rest)
        if message.host == "hv1":
            raise ZeroDivisionError("after half of it was written")
        return found

    monkeypatch.setattr(store.inventory, "take", odd)
    told = store.history.take_all(hosts(3))
    assert [type(t) for t in told] == [Taken, ZeroDivisionError, Taken]
    assert {row[0] for row in kept(store)} == {"hv0", "hv2", "host:hv0", "host:hv2", "vm-0", "vm-2"}
    monkeypatch.undo()
    assert [t.new for t in store.history.take_all(hosts(3)) if isinstance(t, Taken)] == [False, True, False]
    store.close()
