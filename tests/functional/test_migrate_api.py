"""Migrations and drains over HTTP and by command: planned, reviewed, approved, shown with their history, cancelled; refused in words."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from cli_support import Operator
from cloud_emulator import ANSWERED_S, Emulator, running
from foreshape_controller.cli.migration import ALL_COLUMNS
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.main import Program, build
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from reserve_support import until
from store_support import settings

pytestmark = pytest.mark.functional

T0 = 1_800_000_000.0


class World:
    """A controller in mode advise, three hosts without agents, two servers on the first."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.emulator, self.at = emulator, T0
        emulator.now = emulator.nova.now = lambda: self.at
        emulator.nova.migration_s, emulator.nova.lag_s = 1.0, 0.0
        for host in ("node01", "node02", "node03"):
            emulator.add_host(host)
        self.one = emulator.boot("node01", vcpus=4, ram=4096, name="web-1")
        self.two = emulator.boot("node01", vcpus=2, ram=2048, name="web-2")
        door = connect(Access(timeout_s=ANSWERED_S, options=emulator.options()), Ways(Patience(tries=1), sleep=lambda _: None))
        base = settings(folder)
        options = replace(
            base,
            cloud=replace(base.cloud, enabled=True),
            migrations=replace(base.migrations, hold_s=0.0),
            reservations=replace(base.reservations, lock_wait_s=0.0),
        )
        self.program: Program = build(options, lambda: self.at, door)
        self.program.store.modes.set("cloud", Mode.ADVISE, "a test", self.at)
        assert self.program.cloud is not None
        self.cloud = self.program.cloud
        self.round()

    def round(self, seconds: float = 5.0) -> None:
        self.at += seconds
        self.cloud.watch.run_once(self.at)
        self.cloud.migrations.coordinator.run_once(self.at)

    def settled(self) -> bool:
        self.round()
        return not self.program.store.migrating.moves.open()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with running(Emulator()) as emulator:
        made = World(tmp_path, emulator)
        yield made
        made.program.store.close()


@pytest.fixture
def ask(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Operator]:
    token = tmp_path / "token"
    token.write_text(world.program.admin_token)
    with Serving(world.program, 0) as served:
        yield Operator(capsys, ("--url", served.url, "--token-file", token))


def told(said: Any) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_a_drain_is_planned_reviewed_approved_carried_out_and_ended(world: World, ask: Operator) -> None:
    plan = ask("migration", "plan", "--drain", "node01", "-f", "json")
    assert {m["name"] for m in told(plan)} == {"web-1", "web-2"}
    assert "mig-" not in (looked := ask("migration", "plan", "--drain", "node01")).out, "there is nothing to approve"
    assert "--propose" in looked.out
    assert not world.program.store.migrating.proposals.waiting(), "a plan writes nothing"
    drain = told(ask("host", "drain", "node01", "--reason", "new memory", "--in", "2h", "-f", "json"))
    assert (drain["state"], drain["left"], drain["until"]) == ("proposed", 2, world.at + 7200)
    world.round()
    listed = told(ask("migration", "list", "-f", "json"))
    assert {(m["kind"], m["state"], m["goal"]) for m in listed} == {("proposal", "open", "drain")}
    assert world.emulator.nova.migrations == []
    assert len(told(ask("migration", "approve", "--all", "-f", "json"))) == 2
    world.round()
    assert {d["state"] for d in told(ask("host", "drains", "-f", "json"))} <= {"emptying", "empty"}
    until(world.settled, "both to arrive", 20.0)
    assert {s.host for s in world.emulator.nova.servers.values()} <= {"node02", "node03"}
    world.round(61.0)
    shown = ask("host", "drains")
    assert "empty" in shown.out
    assert "0 of 2" in shown.out
    assert told(ask("host", "undrain", "node01", "-f", "json"))["state"] == "ended"
    assert "No host is being emptied." in ask("host", "drains").out


def test_one_move_is_proposed_approved_and_shown_with_its_history(world: World, ask: Operator) -> None:
    made = told(ask("migration", "propose", "web-1", "--to", "node03", "--reason", "closer to its data", "--approve", "-f", "json"))
    until(world.settled, "it to arrive", 20.0)
    assert world.emulator.nova.servers[world.one].host == "node03"
    shown = told(ask("migration", "show", made["id"], "-f", "json"))
    assert (shown["state"], shown["reason"]) == ("settled", "closer to its data")
    assert [h["what"] for h in shown["history"]][:6] == ["made", "start", "reserved", "go", "order", "nova"]
    table = ask("migration", "show", made["id"])
    assert "asks for room on node03" in table.out
    assert "Nova's word alone" in table.out, "there are no agents here"
    assert shown["stopped_s"] is None
    assert "not measured (predicted 0." in table.out
    assert "settled" in ask("migration", "list", "--all").out
    assert "Nobody is to be moved." in ask("migration", "list").out


@pytest.mark.parametrize(
    ("state", "measured", "told"),
    [
        ("open", None, "predicted 0.20 s"),
        ("running", None, "predicted 0.20 s"),
        ("settled", None, "not measured (predicted 0.20 s)"),
        ("settled", 0.0484, "0.048 s (predicted 0.20 s)"),
        ("settled", 0.0, "0.000 s (predicted 0.20 s)"),
        ("compensated", None, "predicted 0.20 s"),
    ],
)
def test_a_downtime_is_shown_as_measured_only_where_it_was(state: str, measured: float | None, told: str) -> None:
    shown = dict(ALL_COLUMNS)["Downtime"]({"state": state, "downtime_s": 0.2, "stopped_s": measured})
    assert shown == told


def test_a_proposal_is_withdrawn_and_a_migration_that_is_over_is_not_cancelled(world: World, ask: Operator) -> None:
    made = told(ask("migration", "propose", "web-1", "--reason", "a try", "-f", "json"))
    gone = told(ask("migration", "cancel", made["id"], "--reason", "not today", "-f", "json"))
    assert (gone["state"], gone["said"]) == ("withdrawn", "not today")
    done = told(ask("migration", "propose", "web-2", "--reason", "a try", "--approve", "-f", "json"))
    until(world.settled, "it to arrive", 20.0)
    over = ask("migration", "cancel", done["id"])
    assert (over.code, "is over (settled)" in over.err) == (1, True)


def test_consolidating_is_planned_for_the_largest_flavor(world: World, ask: Operator) -> None:
    said = ask("migration", "plan", "--consolidate")
    assert said.code == 0
    assert "stays:" in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("migration", "show", "mig-none"), "no proposal or migration 'mig-none'"),
        (("migration", "cancel", "mig-none"), "no proposal or migration 'mig-none'"),
        (("migration", "approve", "mig-none"), "no proposal or migration 'mig-none'"),
        (("migration", "approve"), "name proposals, or say --all"),
        (("migration", "propose", "web-9", "--reason", "x"), "no server 'web-9'"),
        (("migration", "propose", "web-1", "--to", "node09", "--reason", "x"), "no host 'node09'"),
        (("migration", "propose", "web-1", "--to", "node01", "--reason", "x"), "is on node01 already"),
        (("migration", "propose", "web-1", "--reason", " "), "reason: say why"),
        (("migration", "plan", "--drain", "node09"), "no host 'node09'"),
        (("migration", "plan", "--consolidate", "--flavor", "giant"), "no server has flavor 'giant'"),
        (("migration", "plan", "--flavor", "m1.small"), "goes with --consolidate"),
        (("host", "drain", "node09", "--reason", "x"), "no host 'node09'"),
        (("host", "drain", "node01", "--reason", ""), "reason: say why"),
        (("host", "undrain", "node01"), "'node01' is not being drained"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(ask: Operator, words: tuple[str, ...], said: str) -> None:
    refused = ask(*words)
    assert refused.code != 0
    assert said in refused.err.replace("\n", " ")


def test_without_a_cloud_it_says_what_to_configure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = build(settings(tmp_path), lambda: T0)
    token = tmp_path / "token"
    token.write_text(program.admin_token)
    with Serving(program, 0) as served:
        ask = Operator(capsys, ("--url", served.url, "--token-file", token))
        for words in (("host", "drain", "node01", "--reason", "x"), ("migration", "list"), ("migration", "show", "mig-none")):
            refused = ask(*words)
            assert refused.code == 1
            assert "[cloud] enabled" in refused.err
    program.store.close()
