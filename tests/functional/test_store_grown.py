"""What grows with a cloud's life is forgotten in time, and in steps that every engine takes."""

from pathlib import Path

import pytest
from sqlalchemy import select

from foreshape_controller.model.cloud_word import CloudWord
from foreshape_controller.model.pool import Pool, Shadow
from foreshape_controller.store import Store
from foreshape_controller.store.schema import pools

pytestmark = pytest.mark.functional


def test_forty_thousand_servers_leave_at_once(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/c.db")
    names = [f"server-{n:05}" for n in range(40_000)]
    store.cloud_servers.save([CloudWord(server=name) for name in names])
    store.cloud_servers.forget(names[1:])
    assert list(store.cloud_servers.all()) == names[:1]
    store.close()


def test_a_pool_goes_when_it_was_closed_long_ago_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/c.db")
    for name in ("open", "closed", "busy"):
        store.pools.add(Pool(id=name, name=name, project="p", image="i", flavor="f"))
    store.pools.plan(Shadow(id="sh", pool="busy", project="p", name="n", image="i", flavor="f", created=0.0, since=0.0), 0.0)
    store.pools.delete("closed", 100.0)
    store.pools.delete("busy", 100.0)
    left = []
    for before in (50.0, 200.0):
        store.pools.tidy(before)
        with store.db.read() as conn:
            left.append(set(conn.execute(select(pools.c.id)).scalars()))
    assert left == [{"open", "closed", "busy"}, {"open", "busy"}]
    store.close()
