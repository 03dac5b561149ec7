"""Whether a migration that was decided may still begin: each rule, in the order of a person's questions, final or worth waiting for."""

from dataclasses import replace as changed
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from foreshape_controller.decide import ground as columns
from foreshape_controller.decide.permit import Stop, World, look
from foreshape_controller.decide.room import Ground, Pending
from foreshape_controller.model.cloud import (
    LOCKED_OUT,
    CloudFlavor,
    CloudHost,
    CloudMigration,
    CloudServer,
    CloudView,
    Inventory,
    ServerGroup,
)
from foreshape_controller.model.migration import Migration, Room
from foreshape_controller.model.moving import AUTOMATIC, Goal, Moving
from foreshape_wire.order import Mode

pytestmark = pytest.mark.unit

SIZE = {"VCPU": 2, "MEMORY_MB": 2048}
FLAVOR = CloudFlavor(name="m1", vcpus=2, ram=2048)
ROW = Moving(
    migration=Migration(id="m1", server="vm1", source="hv1", target="hv2", reason="a test", created=0.0, limit_s=600.0),
    goal=Goal.NEED,
    by=AUTOMATIC,
    cause="c1",
    size=SIZE,
)


def host(name: str, **more: Any) -> CloudHost:
    room = {"VCPU": Inventory(total=16, max_unit=16), "MEMORY_MB": Inventory(total=32768, max_unit=32768), "DISK_GB": Inventory(total=500)}
    return CloudHost(**{"name": name, "provider": f"rp-{name}", "az": "nova", "inventories": room, "usages": {}, **more})


def server(name: str = "vm1", **more: Any) -> CloudServer:
    return CloudServer(**{"id": name, "name": name, "host": "hv1", "flavor": FLAVOR, "status": "ACTIVE", "project": "p1", **more})


def world(*, hosts: Any = (), servers: Any = (), pending: Any = (), forecast: float = 2.0, **more: Any) -> World:
    """hv1 with vm1, and hv2 with room for it; each part may be another."""
    there = {h.name: h for h in (host("hv1"), host("hv2"), *hosts)}
    who = {s.id: s for s in (server(), *servers)}
    view = CloudView(at=0.0, hosts=there, servers=who, **{k: more.pop(k) for k in ("groups", "migrations", "missing") if k in more})
    n, m = len(there), len(who)
    made = columns.hosts(list(there.values()), np.full((n, 2), (16.0, 32768.0)), np.full((n, 2), (forecast, 1024.0)))
    ground = Ground(
        made,
        columns.servers(list(who.values()), made, np.full((m, 2), (1.0, 512.0)), np.ones(m)),
        columns.groups(list(view.groups.values())),
        tuple(pending),
    )
    modes = {"server:vm1": Mode.ACT, "host:hv1": Mode.ACT, "host:hv2": Mode.ACT}
    return World(cloud=view, ground=ground, **{"modes": modes, "short": frozenset({"hv1"}), **more})


def said(row: Moving = ROW, **more: Any) -> Stop:
    stop = look(row, world(**more))
    assert stop is not None
    return stop


def test_nothing_is_in_the_way_of_one_that_is_as_it_was_decided():
    assert look(ROW, world()) is None


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"blind": "the cloud was last read 500 s ago"}, "last read"),
        ({"halts": {"cloud": "orders fail"}}, "cloud is halted: orders fail"),
        ({"halts": {"host:hv2": "orders fail"}}, "host:hv2 is halted"),
        ({"halts": {"server:vm1": "somebody else"}}, "server:vm1 is halted"),
        ({"balancer": "another balancer"}, "another balancer"),
        ({"hosts": [host("hv2", traits=frozenset({LOCKED_OUT}))]}, "hv2 is locked for the scheduler"),
    ],
)
def test_what_passes_makes_it_wait(more, word):
    stop = said(**more)
    assert word in stop.why
    assert not stop.final


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"modes": {"server:vm1": Mode.ACT, "host:hv1": Mode.ACT, "host:hv2": Mode.ADVISE}}, "the mode of host:hv2 is advise"),
        ({"modes": {}}, "is observe"),
        ({"servers": [server(host="hv3")]}, "it is on hv3, and no longer on hv1"),
        ({"servers": [server(host="")]}, "it is on no host"),
        ({"servers": [server(flavor=CloudFlavor(vcpus=4, ram=2048))]}, "resized"),
        ({"servers": [server(locked=True)]}, "locked by its owner"),
        ({"servers": [server(status="SHUTOFF")]}, "only a running"),
        ({"servers": [server(task_state="migrating")]}, "migrating"),
        ({"servers": [server(flavor=CloudFlavor(vcpus=2, ram=2048, extra_specs={"hw:cpu_policy": "dedicated"}))]}, "pinned"),
        ({"migrations": (CloudMigration(uuid="n1", server="vm1", status="running", kind="live-migration"),)}, "somebody else moves it"),
        ({"short": frozenset()}, "not expected to run short"),
        ({"hosts": [host("hv1", up=False)]}, "nova-compute on hv1 is down"),
        ({"hosts": [host("hv2", up=False)]}, "its nova-compute is down"),
        ({"hosts": [host("hv2", enabled=False, disabled_why="broken fan")]}, "broken fan"),
        ({"hosts": [host("hv2", provider="")]}, "Placement does not know it"),
        ({"hosts": [host("hv2", usages={"VCPU": 15})]}, "has no room for it in Placement"),
        ({"forecast": 14.0}, "by forecast"),
        ({"servers": [server(asked_az="other")]}, "another zone"),
    ],
)
def test_what_does_not_hold_any_more_ends_it(more, word):
    stop = said(**more)
    assert word in stop.why
    assert stop.final


def test_a_server_that_nova_does_not_list_is_gone_only_if_the_list_is_whole():
    there = world()
    gone = changed(there, cloud=replace(there.cloud, servers={}))
    assert look(ROW, gone) == Stop("Nova does not list it any more", final=True)
    partial = changed(there, cloud=replace(there.cloud, servers={}, missing=frozenset({"servers"})))
    assert look(ROW, partial) == Stop("Nova does not list it any more")


def test_a_persons_word_is_enough_in_advise_and_beside_another_balancer():
    modes = {"server:vm1": Mode.ADVISE, "host:hv1": Mode.ADVISE, "host:hv2": Mode.ADVISE}
    asked = replace(ROW, by="ann", goal=Goal.OPERATOR)
    assert look(asked, world(modes=modes, balancer="another balancer")) is None
    assert said(asked, modes={**modes, "host:hv1": Mode.OBSERVE}).final


def test_a_drain_that_was_ended_ends_its_migrations():
    drained = replace(ROW, goal=Goal.DRAIN)
    assert look(drained, world(draining=frozenset({"hv1"}))) is None
    assert said(drained).why == "hv1 is not being drained any more"


def test_what_is_held_for_it_is_no_obstacle_and_what_is_promised_to_others_is():
    held = replace(ROW, migration=replace(ROW.migration, room=Room.HELD))
    full = [host("hv2", usages={"VCPU": 16})]
    assert said(hosts=full).final
    assert look(held, world(hosts=full)) is None
    others = [server("vm2", flavor=CloudFlavor(vcpus=15, ram=1024))]
    stop = said(servers=others, pending=[Pending("vm2", "hv2", reserved=False)])
    assert "no room for it in Placement" in stop.why


def test_our_own_lock_of_a_hand_over_is_no_obstacle_to_us():
    locked = [host("hv2", traits=frozenset({LOCKED_OUT}))]
    assert look(ROW, world(hosts=locked, ours=frozenset({"hv2"}))) is None


def test_a_member_of_its_group_that_is_promised_there_keeps_it_away():
    group = {"g1": ServerGroup(id="g1", policy="anti-affinity", members=("vm1", "vm2"))}
    mine, other = server(groups=("g1",)), server("vm2", groups=("g1",))
    assert look(ROW, world(servers=[mine, other], groups=group)) is None
    stop = said(servers=[mine, other], groups=group, pending=[Pending("vm2", "hv2", reserved=False)])
    assert "a member of its group" in stop.why
