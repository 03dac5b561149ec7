"""The controller dies at any point of a migration, before or after any request and any write: nothing is ordered twice, nothing is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from foreshape_controller.model.migration import State
from long_support import LONG
from move_support import ENDED, MoveWorld, moving
from reserve_support import Killed

pytestmark = pytest.mark.functional

PARTS = 6
"""The points are shared out to so many tests, so that none takes long; but in the long run one of them is run."""


class Fate:
    """Counts points while the coordinator works; at the chosen one the process dies."""

    def __init__(self, deadly: int | None = None) -> None:
        self.deadly, self.count, self.awake = deadly, 0, False

    def point(self) -> None:
        if self.awake:
            self.count += 1
            if self.count == self.deadly:
                self.awake = False
                raise Killed


class Sending:
    """A door's requests: one may die before it is sent, and after it was answered."""

    def __init__(self, send: Any, fate: Fate) -> None:
        self._send, self._fate = send, fate

    def __call__(self, *args: Any, **more: Any) -> Any:
        self._fate.point()
        reply = self._send(*args, **more)
        self._fate.point()
        return reply

    def versions(self) -> Any:
        return self._send.versions()


def watched(world: MoveWorld, fate: Fate) -> None:
    """Every request, and every write to the database."""
    for door in (world.cloud.nova, world.cloud.placement):
        service = door._service
        service._send = Sending(service._send, fate)
    db, write = world.store.db, world.store.db.write

    @contextmanager
    def dying() -> Iterator[Any]:
        fate.point()
        with write() as conn:
            yield conn
        fate.point()

    db.write = dying  # type: ignore[method-assign]


def life(world: MoveWorld, fate: Fate, during: Callable[[MoveWorld, int], None] = lambda _world, _round: None) -> str:
    """One server is moved on a person's word; the controller comes back once if it dies. The server's id."""
    server = world.emulator.boot("node01", vcpus=4, ram=4096)
    world.round()
    world.propose(server, "node02")
    watched(world, fate)
    for number in range(5):
        during(world, number)
        if not lived(world, fate):
            world.restart()
        if world.done() and not world.store.migrating.moves.open() and not world.store.migrating.proposals.waiting():
            break
    world.rounds(seconds=45.0)
    world.reservations.run_once(world.at)
    return server


def lived(world: MoveWorld, fate: Fate) -> bool:
    world.at += 1.0
    with world.emulator.lock:
        world.emulator.nova.advance()
    world.agents()
    world.look()
    fate.awake = True
    try:
        world.coordinator.run_once(world.at)
    except Killed:
        return False
    finally:
        fate.awake = False
    return True


def points(folder: Path) -> int:
    with moving(folder) as world:
        fate = Fate()
        life(world, fate)
        return fate.count


def test_a_whole_migration_has_many_points_to_die_at(tmp_path: Path) -> None:
    assert points(tmp_path) > 40


@pytest.mark.parametrize("part", range(0, PARTS, 1 if LONG > 1000 else PARTS))
def test_whoever_dies_anywhere_orders_once_and_leaves_nothing(tmp_path: Path, part: int) -> None:
    (tmp_path / "whole").mkdir()
    for deadly in range(1 + part, points(tmp_path / "whole") + 1, PARTS):
        folder = tmp_path / str(deadly)
        folder.mkdir()
        with moving(folder) as world:
            server = life(world, Fate(deadly))
            where = f"killed at point {deadly}"
            assert world.moved(server) <= 1, where
            assert world.orders(server) <= 1, where
            assert [r.migration.state in ENDED for r in world.done()] == [True], where
            arrived = world.done()[0].migration.state is State.SETTLED
            assert world.host_of(server) == ("node02" if arrived else "node01"), where
            assert world.emulator.nova.servers[server].status == "ACTIVE", where
            world.tidy()
