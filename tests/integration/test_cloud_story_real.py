"""The whole story on a real Nova with real hypervisors: room is held, others are refused it, the guest moves, arrives, and is what it was.

Twice: once undisturbed, and once back again with the controller killed while the room is held. One guest, which says on its own console
that it never stopped; an operator asks for the move, in mode act; every host but for the guest's room is full.
"""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from foreshape_cloudbed import RealCloud
from foreshape_cloudbed.users import NoValidHost
from foreshape_lab import LabError

from cloud_bed import CloudHands, a_real_cloud
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.model.cloud import LOCKED_OUT, RESERVATION, CloudView
from lab_support import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CPU = 0.5
THIEVES = 3
SIZE = {"vcpus": 1, "ram": 192, "disk": 1}


@dataclass
class Move:
    """What was seen of one migration."""

    server: str
    source: str
    target: str
    states: list[str]
    refused: int
    stolen: list[str]
    seconds: float
    view: CloudView
    quota: int
    left: list[str]
    """Consumers of ours on the target when it was over."""
    orders: int
    """Migrations that Nova knows of this server since it was asked for."""


@dataclass
class Scene:
    cloud: RealCloud
    hands: CloudHands
    server: str
    moves: list[Move] = field(default_factory=list)

    @property
    def controller(self) -> Any:
        assert self.cloud.controller is not None
        return self.cloud.controller

    def view(self) -> CloudView:
        return read_cloud(self.hands.cloud.nova, self.hands.cloud.placement, time.time)

    def fill(self, host: str) -> list[str]:
        """Consumers that hold all VCPUs of a host but one."""
        me, room = self.hands.cloud.keystone.me(), self.view().hosts[host]
        most, left, made = room.inventories["VCPU"].max_unit, room.free("VCPU") - 1, []
        while left > 0:
            consumer = f"00000000-0000-4000-8000-{len(made):012d}"
            share = {room.provider: {"VCPU": min(left, most)}}
            self.hands.cloud.placement.put_allocation(consumer, share, generation=None, type="SOMEBODY", project=me.project, user=me.user)
            made.append(consumer)
            left -= most
        return made

    def states(self, move: str) -> list[str]:
        return [h["state"] for h in self.controller.ask("migration", "show", move)["history"]]

    def quota(self, host: str) -> int:
        """Microseconds of CPU a period that the guest may have, by its hypervisor; -1: any."""
        name = self.hands.users.link.compute.get_server(self.server).instance_name
        said = self.cloud.host(host).virsh("schedinfo", name)
        found = re.search(r"global_quota\s*:\s*(-?\d+)", said)
        return int(found[1]) if found else -1


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with a_real_cloud() as cloud:
        hands = CloudHands(cloud)
        server = hands.users.boot("hv1", **SIZE)
        controller = cloud.start_product("act")
        scene = Scene(cloud, hands, server)
        eventually(lambda: [s for s in controller.ask("server", "list") if server in s.values()], "the server in the controller", 60)
        controller.ask("cap", "set", f"server:{server}", "--cpu", str(CPU), "--for", "30min", "--reason", "a limit that has to come along")
        eventually(lambda: scene.quota("hv1") > 0, "the cap on the source", 60)
        scene.moves.append(play(scene, "hv1", "hv2", kill=False))
        scene.moves.append(play(scene, "hv2", "hv1", kill=True))
        yield scene


def play(scene: Scene, source: str, target: str, *, kill: bool) -> Move:
    taken, before = scene.fill(target), len(scene.hands.cloud.nova.migrations(server=scene.server))
    began = time.monotonic()
    move = proposed(scene, target)
    eventually(lambda: reserved(scene, target), "the reservation", 60, every_s=0.02)
    if kill:
        scene.controller.kill()
    with Thieves(scene, target) as thieves:
        if kill:
            scene.controller.start()
        eventually(lambda: scene.hands.users.host_of(scene.server) == target, "the arrival", 150)
    eventually(lambda: "settled" in scene.states(move), "the end of the story", 90)
    took = time.monotonic() - began
    eventually(lambda: scene.quota(target) > 0, "the cap on the target", 60)
    for consumer in taken:
        scene.hands.cloud.placement.delete_allocation(consumer)
    return Move(
        server=scene.server,
        source=source,
        target=target,
        states=scene.states(move),
        refused=thieves.refused,
        stolen=thieves.stolen,
        seconds=took,
        view=scene.view(),
        quota=scene.quota(target),
        left=held(scene, target),
        orders=len(scene.hands.cloud.nova.migrations(server=scene.server)) - before,
    )


def proposed(scene: Scene, target: str) -> str:
    """Id of the move, once the controller takes it: of a host that it has not watched for a while it forecasts the worst."""
    said: list[str] = []

    def taken() -> bool:
        try:
            asked = scene.controller.ask("migration", "propose", scene.server, "--to", target, "--reason", "a story", "--approve")
        except LabError as e:
            said.append(str(e)[-200:])
            return False
        said.append((asked[0] if isinstance(asked, list) else asked)["id"])
        return True

    eventually(taken, "a move that the controller takes", 150, every_s=2.0)
    return said[-1]


def reserved(scene: Scene, host: str) -> bool:
    """Room is held there, or was already handed over: between the two lies half a second."""
    rows = scene.controller.rows("select state from reservations where host = ?", host)
    return any(r["state"] in {"held", "handed_over"} for r in rows)


def held(scene: Scene, host: str) -> list[str]:
    """Our consumers on a host."""
    placement = scene.hands.cloud.placement
    consumers = placement.holders(scene.view().hosts[host].provider)
    return sorted(c for c in consumers if placement.allocation(c).type.startswith(RESERVATION))


class Thieves:
    """Others that want the room, again and again, while it is held and handed over."""

    def __init__(self, scene: Scene, target: str) -> None:
        self.scene, self.target = scene, target
        self.refused = 0
        self.stolen: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._steal) for _ in range(THIEVES)]

    def __enter__(self) -> "Thieves":
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for t in self._threads:
            t.join(120)

    def _steal(self) -> None:
        hands = CloudHands(self.scene.cloud)
        while not self._over.is_set():
            try:
                self.stolen.append(hands.users.boot(self.target, **SIZE))
            except NoValidHost:
                self.refused += 1


def test_the_guest_is_where_it_was_to_go_and_its_guest_never_ended(scene: Scene) -> None:
    for move in scene.moves:
        server = move.view.servers[scene.server]
        assert (server.host, server.status) == (move.target, "ACTIVE")
    name = scene.hands.users.link.compute.get_server(scene.server).instance_name
    assert scene.cloud.host("hv1").virsh("domstate", name).strip() == "running"
    assert name not in scene.cloud.host("hv2").virsh("list", "--all", "--name").split()


def test_nobody_else_got_the_room(scene: Scene) -> None:
    for move in scene.moves:
        assert move.stolen == []
        assert move.refused >= 1


def test_it_was_ordered_once_also_by_a_controller_that_was_killed(scene: Scene) -> None:
    assert [move.orders for move in scene.moves] == [1, 1]


def test_every_step_was_written_down_in_order(scene: Scene) -> None:
    for move in scene.moves:
        steps = [s for s in move.states if s in {"reserved", "ordered", "running", "arrived", "settled"}]
        assert steps[-1] == "settled"
        assert steps.index("reserved") < steps.index("ordered") < steps.index("settled")


def test_the_shape_came_along(scene: Scene) -> None:
    assert all(move.quota > 0 for move in scene.moves)


def test_nothing_is_left_of_it(scene: Scene) -> None:
    for move in scene.moves:
        assert move.left == []
        assert LOCKED_OUT not in move.view.hosts[move.target].traits
        assert move.view.hosts[move.source].usages.get("VCPU", 0) == 0
    assert not scene.controller.ask("reservation", "list")
