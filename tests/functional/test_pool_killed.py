"""A pool's life, killed after every step: whoever comes next leaves nothing orphaned and does nothing twice."""

from itertools import count
from pathlib import Path

import pytest

from foreshape_controller.model.pool import CLAIMED_KEY, State
from pool_support import Killed, World, world

pytestmark = pytest.mark.functional


def life(w: World) -> str:
    """A pool is filled, claimed from and closed; the claimed server. Without plans: they change nothing in the cloud."""
    pool = w.pool(least=1, most=1, networks=(w.network,))
    w.warm(1)
    got = w.claim("shop")
    w.later()
    w.store.pools.delete(pool.id, w.at)
    w.later()
    w.later()
    return got.server


def survives(w: World, steps: int) -> bool:
    """Whether it lives to the end of a life that ends after so many steps; if not, another controller takes over."""
    w.life.dies_at = steps
    try:
        life(w)
    except Killed:
        w.restart()
        return False
    w.life.dies_at = 0
    return True


def test_killed_between_any_two_steps_nothing_is_orphaned_or_done_twice(tmp_path: Path) -> None:
    """Killed after each step in turn, until a whole life has fewer."""
    for n in count(1):
        folder = tmp_path / str(n)
        folder.mkdir()
        with world(folder, unknown_s=20.0) as w:
            lived = survives(w, n)
            for pool in w.store.pools.all():
                w.store.pools.delete(pool.id, w.at)
            w.until(lambda: all(s.state.over for s in w.shadows()), "an end of all")
            left, taken = w.servers(), [s for s in w.shadows() if s.claimed_at is not None]
            assert {s.id for s in left} == {s.server for s in taken}, n
            assert {s.state for s in w.shadows()} <= {State.GONE, State.HANDED_OVER}, n
            assert all(s.metadata.get(CLAIMED_KEY) and s.name == "shop" for s in left), n
            assert set(w.emulator.neutron.ports) == {p for s in left for p in s.ports}, n
            assert len(taken) <= 1, n
        if lived:
            break
    assert n > 20
