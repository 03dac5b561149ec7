"""Migrations from their reason to their end, on an emulated cloud over HTTP: reserved, ordered once, proven, mended, given back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshape_controller.model.migration import State
from foreshape_controller.model.moving import AUTOMATIC, Goal
from foreshape_wire.order import Mode
from move_support import MoveWorld, moving

pytestmark = pytest.mark.functional


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoveWorld]:
    with moving(tmp_path) as made:
        yield made


def test_a_host_that_will_run_short_is_relieved_by_itself_in_mode_act(world: MoveWorld) -> None:
    world.emulator.boot("node01", vcpus=4, ram=4096)
    world.emulator.boot("node01", vcpus=8, ram=8192)
    world.round()
    world.short("node01", cores=3.0)
    done = world.rounds()
    assert [(r.migration.state, r.goal, r.by) for r in done] == [(State.SETTLED, Goal.NEED, AUTOMATIC)]
    server = done[0].migration.server
    assert done[0].took_s is not None
    assert world.host_of(server) != "node01"
    assert world.moved(server) == 1
    world.enough("node01")
    world.tidy()


def test_in_mode_advise_it_is_proposed_and_nothing_is_asked_of_the_cloud(tmp_path: Path) -> None:
    with moving(tmp_path, Mode.ADVISE) as world:
        server = world.emulator.boot("node01", vcpus=4, ram=4096)
        world.emulator.boot("node01", vcpus=16, ram=8192)
        world.round()
        world.short("node01", cores=3.0)
        world.round()
        world.round()
        assert [(p.server, p.state) for p in world.store.migrating.proposals.waiting()] == [(server, "open")]
        assert world.orders() == 0
        assert not world.ours()
        world.store.migrating.proposals.approve([world.store.migrating.proposals.waiting()[0].id], "ann")
        done = world.rounds()
        assert [(r.migration.server, r.migration.state, r.by) for r in done] == [(server, State.SETTLED, "ann")]
        assert world.host_of(server) != "node01"
        world.tidy()
