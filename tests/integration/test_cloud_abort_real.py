"""Somebody aborts a migration on real Nova 34, which leaves the server in ERROR although its guest runs on: who repairs it, and when.

And of a migration that arrives: for how long libvirt itself says that the guest was stopped.
"""

import pytest
from foreshape_cloudbed import RealCloud

from kill_support import Ending, World
from lab_support import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SLOW_MIB_S = 1
"""A guest's 100 MiB take more than a minute: there is time for an abort."""


@pytest.fixture(scope="module")
def world(real_cloud: RealCloud) -> World:
    return World.begun(real_cloud)


def limited(world: World, mib_s: int) -> None:
    """What its hypervisor sends of the guest in a second at most; 0: as much as it can."""
    world.cloud.host(world.host()).virsh("migrate-setspeed", world.name(world.server), str(mib_s))


def aborted(world: World) -> str:
    """Id of a move that an operator aborted while it ran, by Nova's own command."""
    limited(world, SLOW_MIB_S)
    compute, target = world.hands.users.link.compute, world.other()
    move = world.propose(target)

    def runs() -> object:
        return next((m for m in compute.server_migrations(world.server) if m.status == "running"), None)

    compute.abort_server_migration(eventually(runs, "a migration that runs", 60, every_s=0.2), world.server)
    return move


def status(world: World) -> str:
    return str(world.hands.users.link.compute.get_server(world.server).status)


def sound(world: World, host: str, up: float) -> None:
    """As if nobody had tried to move it."""
    eventually(world.tidy, "all tidy", 60, every_s=1.0)
    end = world.seen(Ending())
    assert (end.runs, end.nova, end.claims) == ([host], (host, "ACTIVE", ""), [host])
    assert (end.strangers, end.locked) == ([], [])
    eventually(lambda: world.uptime(world.server) > up, "a guest that was never started anew", 30)


def test_how_long_a_guest_was_stopped_is_libvirts_own_word(world: World) -> None:
    limited(world, 0)
    move = world.propose(world.other())
    eventually(lambda: world.state(move) == "settled", "its arrival", 90)
    eventually(lambda: world.shown(move)["stopped_s"] is not None, "what the target's agent tells of the stop", 60)
    shown = world.shown(move)
    print(f"took {shown['took_s']:.1f} s (predicted {shown['predicted_s']:.1f})")
    print(f"stopped {shown['stopped_s']} s (predicted {shown['downtime_s']:.3f})")
    told = world.cloud.host(world.host()).virsh("domjobinfo", world.name(world.server), "--completed", "--keep-completed")
    (downtime,) = [line.split()[-2:] for line in told.splitlines() if line.startswith("Total downtime")]
    assert downtime == [f"{shown['stopped_s'] * 1000:.0f}", "ms"]
    assert [h["what"] for h in shown["history"]].count("measured") == 1
    rows = "select name, value from learnt where kind = 'downtime'"
    learnt = eventually(lambda: {r["name"]: r["value"] for r in world.controller.rows(rows)}, "what is learnt of it", 60)
    assert learnt["hv1|hv2"] == pytest.approx((shown["stopped_s"] / shown["downtime_s"]) ** 0.2, rel=0.01)


def test_in_advise_it_is_only_said_and_once_the_mode_is_act_it_is_repaired(world: World) -> None:
    world.controller.ask("mode", "set", "advise", "--reason", "a test")
    host, up = world.host(), world.spoken()
    move = aborted(world)
    word = "openstack server set --state active"
    eventually(lambda: word in world.shown(move)["said"], lambda: f"the word for an operator in {world.shown(move)}", 150, every_s=1.0)
    assert status(world) == "ERROR", "Nova left it so"
    assert world.runs(world.server) == [host], "and its guest runs on"
    assert "repair" not in {h["what"] for h in world.shown(move)["history"]}
    world.controller.ask("mode", "set", "act", "--reason", "a test")
    eventually(lambda: world.state(move) == "compensated", "the repair", 60)
    sound(world, host, up)


def test_in_act_it_is_repaired_by_itself_and_what_was_done_is_written_down(world: World) -> None:
    host, up = world.host(), world.spoken()
    move = aborted(world)
    eventually(lambda: world.state(move) == "compensated", "the repair", 90)
    history = world.shown(move)["history"]
    assert any("Nova ended it: error" in h["text"] for h in history)
    (repair,) = [h for h in history if h["what"] == "repair"]
    assert "undo: reset-state to error" in repair["text"]
    sound(world, host, up)
