"""Reservations over HTTP and by command: held where that is allowed, proposed where not, refused in words that say what to do."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli_support import Operator
from cloud_emulator import ANSWERED_S, Emulator, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.main import Program, build
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.cloud import RESERVATION
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from store_support import settings

pytestmark = pytest.mark.functional

T0 = 1_800_000_000.0
SMALL = ("--vcpus", 2, "--ram", 1024, "--for", "2h", "--reason", "a launch")


class World:
    """A controller in mode act on two hosts, node01 in zone east and node02 in zone west."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.emulator, self.at = emulator, T0
        emulator.now = emulator.nova.now = lambda: self.at
        emulator.add_host("node01", zone="east")
        emulator.add_host("node02", zone="west")
        door = connect(Access(timeout_s=ANSWERED_S, options=emulator.options()), Ways(Patience(tries=1), sleep=lambda _: None))
        base = settings(folder)
        self.program: Program = build(replace(base, cloud=replace(base.cloud, enabled=True)), lambda: self.at, door)
        self.program.store.modes.set("cloud", Mode.ACT, "a test", self.at)
        assert self.program.cloud is not None
        self.cloud = self.program.cloud
        self.cloud.watch.run_once(self.at)

    def ours(self) -> int:
        return sum(c.type.startswith(RESERVATION) for c in self.emulator.placement.consumers.values())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with running(Emulator()) as emulator:
        made = World(tmp_path, emulator)
        yield made
        made.program.store.close()


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Serving, Path]]:
    """A world that nothing may change: for requests that are refused."""
    folder = tmp_path_factory.mktemp("still")
    with running(Emulator()) as emulator:
        made = World(folder, emulator)
        token = folder / "token"
        token.write_text(made.program.admin_token)
        with Serving(made.program, 0) as served:
            yield made, served, token
        made.program.store.close()


@pytest.fixture
def ask(world: World, tmp_path: Path, capsys: Any) -> Iterator[Operator]:
    token = tmp_path / "token"
    token.write_text(world.program.admin_token)
    with Serving(world.program, 0) as served:
        yield Operator(capsys, ("--url", served.url, "--token-file", token))


def created(ask: Operator, *words: object) -> dict[str, Any]:
    said = ask("reservation", "create", *words, "-f", "json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_an_operator_holds_room_looks_at_it_and_gives_it_back(world: World, ask: Operator) -> None:
    made = created(ask, "--host", "node02", "--count", 3, *SMALL)
    assert (made["state"], made["held"], made["left_s"], world.ours()) == ("held", 3, 7200, 3)
    assert made["owner"].startswith("operator:")
    listed = ask("reservation", "list").out
    assert re.search(rf"{made['id']} +\| node02 +\| held +\| 2 VCPU, 1024 MiB +\| 3 of 3", listed)
    shown = ask("reservation", "show", made["id"]).out
    assert made["consumers"][0] in shown
    assert "done" in shown
    assert "a launch" in shown
    given = ask("reservation", "release", made["id"], "--reason", "enough")
    assert given.code == 0
    assert world.ours() == 0
    assert "Nothing is reserved." in ask("reservation", "list").out
    assert "enough" in ask("reservation", "list", "--all").out


def test_anywhere_in_a_zone_is_the_emptiest_host_that_fits(world: World, ask: Operator) -> None:
    world.emulator.add_host("node03", zone="east")
    world.emulator.boot("node03")
    world.cloud.watch.run_once(world.at)
    assert created(ask, "--anywhere-in", "east", *SMALL)["host"] == "node01"
    world.emulator.nova.hosts["node01"].up = False
    world.cloud.watch.run_once(world.at)
    assert created(ask, "--anywhere-in", "east", *SMALL)["host"] == "node03"


def test_anywhere_in_a_zone_of_one_host_is_that_host_or_says_that_there_is_no_other(world: World, ask: Operator) -> None:
    world.emulator.add_host("far01", zone="far")
    world.cloud.watch.run_once(world.at)
    assert created(ask, "--anywhere-in", "far", *SMALL)["host"] == "far01"
    much = ("--vcpus", 16, "--ram", 5, "--count", 5, "--for", "1h", "--reason", "r")
    said = ask("reservation", "create", "--anywhere-in", "far", *much)
    assert said.code != 0
    assert "zone far has one host only, and it cannot take it: far01: " in " ".join(said.err.split())


def test_a_flavor_says_how_much(world: World, ask: Operator) -> None:
    made = created(ask, "--host", "node01", "--flavor", "m1.small", "--for", "1h", "--reason", "r")
    assert made["resources"] == {"VCPU": 2, "MEMORY_MB": 2048, "DISK_GB": 1}


def test_one_for_later_is_planned_and_held_when_its_time_comes(world: World, ask: Operator) -> None:
    made = created(ask, "--host", "node01", "--starts", int(T0 + 7200), *SMALL)
    assert (made["state"], made["until"], world.ours()) == ("planned", T0 + 14400, 0)
    world.at = T0 + 7000
    world.cloud.watch.run_once(world.at)
    world.cloud.reservations.run_once(world.at)
    assert world.ours() == 1


def in_mode(world: World, mode: Mode) -> None:
    world.program.store.modes.set("cloud", mode, "a test", world.at)


def later(world: World, seconds: float) -> None:
    world.at += seconds
    world.cloud.watch.run_once(world.at)
    world.cloud.reservations.run_once(world.at)


def test_in_advise_it_is_proposed_and_nothing_is_asked_of_placement(world: World, ask: Operator) -> None:
    in_mode(world, Mode.ADVISE)
    made = created(ask, "--host", "node01", *SMALL)
    wanted = f"planned: would hold 1024 MEMORY_MB, 2 VCPU on node01 now; nothing is taken on node01: the mode there is advise, not act; \
to hold it all the same: foreshape reservation approve {made['id']}"
    assert made["said"] == wanted
    world.cloud.reservations.run_once(world.at)
    shown = json.loads(ask("reservation", "show", made["id"], "-f", "json").out)
    assert (shown["said"], shown["approved"], world.ours()) == (wanted, "", 0)


def test_in_advise_a_proposed_one_is_held_when_somebody_approves_it_and_kept_through_an_audit(world: World, ask: Operator) -> None:
    in_mode(world, Mode.ADVISE)
    made, other = created(ask, "--host", "node01", *SMALL), created(ask, "--host", "node01", *SMALL)
    said = ask("reservation", "approve", made["id"], "-f", "json")
    told = json.loads(said.out)
    assert (said.code, told["state"], world.ours()) == (0, "held", 1), said.err
    assert told["approved"].startswith("operator:")
    world.emulator.placement.consumers.clear()
    later(world, 600)
    assert [c for c in made["consumers"] if c in world.emulator.placement.consumers] == made["consumers"]
    assert json.loads(ask("reservation", "show", other["id"], "-f", "json").out)["state"] == "planned"


def test_in_advise_one_for_later_that_was_approved_is_held_when_its_time_comes(world: World, ask: Operator) -> None:
    in_mode(world, Mode.ADVISE)
    created(ask, "--host", "node01", "--approve", "--starts", int(T0 + 7200), *SMALL)
    assert world.ours() == 0
    later(world, 7000)
    assert world.ours() == 1


def test_in_observe_and_under_a_halt_an_approval_does_not_help(world: World, ask: Operator) -> None:
    in_mode(world, Mode.OBSERVE)
    made = created(ask, "--host", "node01", "--approve", *SMALL)
    assert made["state"] == "planned"
    assert made["said"].endswith("the mode there is observe, not act")
    in_mode(world, Mode.ADVISE)
    world.program.store.halts.save(
        [Halt(scope="host:node01", kind="failures", state="open", since=T0, until=T0 + 9e9, reason="orders fail")]
    )
    approved = json.loads(ask("reservation", "approve", made["id"], "-f", "json").out)
    assert (approved["state"], world.ours()) == ("planned", 0)
    assert "host:node01 is halted" in approved["said"]


def test_what_is_over_is_not_approved(world: World, ask: Operator) -> None:
    made = created(ask, "--host", "node01", *SMALL)
    ask("reservation", "release", made["id"])
    said = ask("reservation", "approve", made["id"])
    assert said.code != 0
    assert "is released: nothing is left to approve" in said.err


def test_an_audit_tells_what_it_found_and_did(world: World, ask: Operator) -> None:
    created(ask, "--host", "node01", "--count", 2, *SMALL)
    world.emulator.placement.consumers.clear()
    found = json.loads(ask("reservation", "audit", "-f", "json").out)
    assert (found["slots"], found["held_again"], world.ours()) == (2, 2, 2)
    assert "2" in ask("reservation", "audit").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--host", "node09", *SMALL), "Nova knows no host 'node09'"),
        (("--anywhere-in", "north", *SMALL), "no host is in zone 'north': hosts are in east, west"),
        (("--host", "node01", "--flavor", "huge", "--for", "1h", "--reason", "r"), "no flavor 'huge'"),
        (("--host", "node01", "--flavor", "m1.small", *SMALL), "not both"),
        (("--host", "node01", "--for", "1h", "--reason", "r"), "say how much"),
        (("--host", "node01", "--vcpus", 2, "--for", "1h", "--reason", "r"), "both vcpus and ram"),
        (("--host", "node01", "--vcpus", 0, "--ram", 5, "--for", "1h", "--reason", "r"), "write a whole number from 1"),
        (("--host", "node01", "--vcpus", 17, "--ram", 5, "--for", "1h", "--reason", "r"), "1 to 16 VCPU"),
        (("--host", "node01", "--vcpus", 16, "--ram", 5, "--count", 5, "--for", "1h", "--reason", "r"), "64 VCPU are free, 80 wanted"),
        (("--host", "node01", "--count", 0, *SMALL), "count"),
        (("--host", "node01", "--count", 1000, *SMALL), "several reservations"),
        (("--host", "node01", "--vcpus", 1, "--ram", 5, "--for", "900d", "--reason", "r"), "within 90 days"),
        (("--host", "node01", "--vcpus", 1, "--ram", 5, "--until", "2001-01-01", "--reason", "r"), "in the future"),
        (("--host", "node01", "--vcpus", 1, "--ram", 5, "--for", "1h", "--reason", " "), "reason"),
        (("--host", "node01", "--starts", "soon", *SMALL), "is no time"),
        (("--host", "node01", "--anywhere-in", "east", *SMALL), "not allowed with"),
        (("--vcpus", 1, "--ram", 5, "--for", "1h", "--reason", "r"), "required"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words_and_nothing_is_held(
    still: tuple[World, Serving, Path], capsys: Any, words: tuple[object, ...], says: str
) -> None:
    world, served, token = still
    ask = Operator(capsys, ("--url", served.url, "--token-file", token))
    said = ask("reservation", "create", *words)
    assert said.code != 0
    assert says in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert world.ours() == 0
    assert "Nothing is reserved." in ask("reservation", "list", "--all").out


def test_unknown_ids_and_a_cloud_that_was_not_read_are_told(world: World, ask: Operator) -> None:
    for verb in ("show", "release", "approve"):
        said = ask("reservation", verb, "rsv-nobody")
        assert said.code != 0
        assert "foreshape reservation list" in said.err
    world.at += 100_000
    said = ask("reservation", "create", "--host", "node01", *SMALL)
    assert said.code != 0
    assert "last read 100000 s ago" in said.err


def test_without_a_cloud_the_commands_say_what_to_configure(tmp_path: Path, capsys: Any) -> None:
    program = build(settings(tmp_path), lambda: T0)
    token = tmp_path / "token"
    token.write_text(program.admin_token)
    with Serving(program, 0) as served:
        for words in (("list",), ("audit",), ("show", "x"), ("create", "--host", "h", *SMALL)):
            said = Operator(capsys, ("--url", served.url, "--token-file", token))("reservation", *words)
            assert said.code != 0
            assert "[cloud] enabled" in said.err
    program.store.close()
