"""A part dies while a migration is at a step: on real Nova, libvirt and QEMU nobody is lost, nothing is done twice, nothing is left over.

One guest goes to and fro between two hosts. At each move one part is killed (kill -9) at one step, stays away for some seconds, and comes
back. However the migration then ends, the same must hold: the guest runs in exactly one hypervisor, the one that Nova names, and was never
started anew; Nova was ordered once; Placement has the server's own claim, and nothing of ours. The most telling pairs are always run;
FORESHAPE_KILLS=all runs every part at every step (20 s each; 130 s where it is not known whether Nova took the order:
so long an order that Nova does not show may still come).
"""

import itertools
import os
import time
from typing import Any

import pytest
from foreshape_cloudbed import RealCloud

from foreshape_controller.model.migration import State
from kill_support import STEPS, Ending, World
from lab_support import Resets, eventually
from story_support import Thieves

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PARTS = (
    "controller",
    "source's agent",
    "target's agent",
    "source's nova-compute",
    "target's nova-compute",
    "source's libvirtd",
    "target's libvirtd",
    "placement",
    "keystone",
)
TELLING = (("placement", "reserved"), ("controller", "running"), ("target's agent", "running"))
EVERY = os.environ.get("FORESHAPE_KILLS") == "all"
PAIRS = tuple(itertools.product(PARTS, STEPS)) if EVERY else TELLING
FORGETS = frozenset({"source's nova-compute", "source's libvirtd"})
"""Nova may lose sight of the guest then: QEMU ends what was begun without it."""
AWAY_S = 4.0


@pytest.fixture(scope="module")
def world(real_cloud: RealCloud) -> World:
    return World.begun(real_cloud)


def play(world: World, part: str, step: str) -> tuple[str, Ending]:
    """The step at which it really died, and the end."""
    with Resets(world.cloud.lab.hosts) as resets:
        at, end = watched(world, part, step)
        end.died = world.died(world.server, (end.before_up, end.up), resets)
    return at, end


def watched(world: World, part: str, step: str) -> tuple[str, Ending]:
    """The same, while somebody listens who restarts the guest."""
    source, target = world.host(), world.other()
    before, up, began = world.orders(world.server), world.spoken(), time.monotonic()
    kill, start = world.hands_on(source, target)[part]
    move = world.propose(target)
    at = world.comes_to(move, step)
    kill()
    died = time.monotonic()
    eventually(lambda: time.monotonic() - died >= AWAY_S, "its absence", AWAY_S + 5, every_s=0.2)
    start()
    if part in FORGETS:
        looked_after(world, move)
    eventually(lambda: State(world.state(move)).over, f"the end of a move whose {part} died at {at}", 240, every_s=0.5)
    took = time.monotonic() - began
    if part in FORGETS and not world.seen(Ending()).claimed:
        world.heal(move)
    eventually(world.tidy, lambda: f"all tidy, and not {world.seen(Ending())}", 60, every_s=1.0)
    said = str(world.shown(move)["said"])
    end = Ending(state=world.state(move), said=said, took_s=took, orders=world.orders(world.server) - before, before_up=up)
    world.seen(end).up = world.heard(world.server)
    return at, end


def looked_after(world: World, move: str) -> None:
    """Until it is over; an operator brings back a guest that Nova lost sight of, once that is told and its room is held."""
    told: list[Any] = []

    def known() -> bool:
        told[:] = world.astray()
        return State(world.state(move)).over or bool(told)

    eventually(known, "an end, or a word of a guest elsewhere", 420, every_s=1.0)
    if told:
        runs, home = told[0]["runs"], told[0]["nova"]
        print(f"it runs on {runs}, and Nova has it on {home}")
        assert world.state(move) == "failed"
        assert world.runs(world.server) == [runs]
        eventually(lambda: len(world.held(runs)) == 1, "its room held", 60, every_s=1.0)
        world.bring_back(runs, home)


@pytest.mark.parametrize(("part", "step"), PAIRS, ids=[f"{p} at {s}".replace(" ", "-") for p, s in PAIRS])
def test_whoever_dies_the_move_ends_and_leaves_nothing(world: World, part: str, step: str) -> None:
    at, end = play(world, part, step)
    if end.died:
        print(f"once more: the guest died of itself: {end.died}")
        world.revive()
        at, end = play(world, part, step)
    print(f"{part}, at {at}: {end.state} on {end.runs} after {end.took_s:.0f} s, ordered {end.orders}x: {end.said}")
    assert len(end.runs) == 1, "the guest runs once"
    assert end.nova == (end.runs[0], "ACTIVE", "")
    assert end.up > end.before_up, f"and was never started anew: {world.last_words(world.server)}"
    assert end.orders <= 1
    print(f"Nova's own leftovers: {end.novas}; the server's claim: {end.claims}")
    assert end.claims == end.runs
    assert end.strangers == []
    assert end.locked == []
    assert not world.controller.ask("reservation", "list")


def test_nobody_gets_the_room_that_is_held_while_its_controller_is_dead(world: World) -> None:
    """Everything else on the target is taken, and three others boot there again and again, from the controller's death on."""
    target, before, up = world.other(), world.orders(world.server), world.spoken()
    taken = world.fill(target)
    try:
        move = world.propose(target)
        at = world.comes_to(move, "reserved")
        world.controller.kill()
        held = world.held(target)
        with Thieves(world, target) as thieves:
            world.controller.start()
            # Written down as ordered and not ordered yet, it ends after two minutes where it was, and its room is everybody's again.
            eventually(lambda: world.host() == target or world.state(move) == "failed", "the arrival", 150, every_s=0.1)
        eventually(lambda: State(world.state(move)).over, "the end of the move", 90, every_s=0.5)
    finally:
        world.empty(taken)
    print(f"killed at {at}: {world.state(move)}, {thieves.refused} boots refused")
    assert len(held) == 1 or at != "reserved", "Placement has it while nobody of ours is there"
    assert thieves.refused >= 1
    if world.state(move) == "settled":
        assert thieves.stolen == []
    world.hands.users.delete(*thieves.stolen)
    assert world.orders(world.server) - before == (world.state(move) == "settled")
    end = world.seen(Ending())
    assert end.tidy
    assert end.nova[1] == "ACTIVE"
    assert end.locked == []
    assert world.spoken() > up
    assert not world.controller.ask("reservation", "list")


if not EVERY:  # in CI a skip would be a failure
    del test_nobody_gets_the_room_that_is_held_while_its_controller_is_dead
