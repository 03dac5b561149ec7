"""Selling over HTTP and by command, in a whole controller on an emulated cloud; and what Nova's scheduler may read of it."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from litestar.testing import TestClient

from cli_support import Operator
from cloud_emulator import Emulator, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.config_cloud import CloudSettings, SellSettings
from foreshape_controller.main import build
from foreshape_controller.model.cloud import VCPU
from foreshape_demo.serve import Serving
from foreshape_wire.order import Mode
from sell_support import HOUR, NOW, forecast
from store_support import settings

pytestmark = pytest.mark.functional


class World:
    """A controller that may sell, and one host of 100 cores that demand of 20 is expected on."""

    def __init__(self, emulator: Emulator, folder) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.now, self.emulator = NOW, emulator
        self.provider = emulator.add_host("hv1", vcpus=100, ram=524288, ratio=1.0)
        self.token_file = folder / "headroom-token"
        said = replace(
            settings(folder),
            cloud=CloudSettings(enabled=True),
            sell=SellSettings(enabled=True, headroom_token_file=str(self.token_file)),
        )
        door = connect(Access(timeout_s=5.0, options=emulator.options()), Ways(Patience(tries=2, first_s=0.01)))
        self.program = build(said, lambda: self.now, door)
        self.program.store.modes.set("cloud", Mode.ACT, "a test", 0.0)
        self.jobs = {name: work for name, _, work in self.program.cloud.jobs()}

    def look(self, demand: float = 20.0) -> None:
        for resource, level in (("cpu", demand), ("memory", 1000.0)):
            self.program.store.forecasts.save(forecast([level], resource=resource, origin=self.now))
        self.jobs["cloud"](self.now)
        self.jobs["sell"](self.now)

    def day(self) -> None:
        for _ in range(25):
            self.look()
            self.now += HOUR
        self.now -= HOUR

    @property
    def ratio(self) -> float:
        return self.emulator.placement.providers[self.provider].inventories[VCPU]["allocation_ratio"]


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    with running(Emulator()) as emulator:
        made = World(emulator, tmp_path)
        yield made
        made.program.store.close()


@pytest.fixture
def foreshape(world, tmp_path, capsys) -> Iterator[Operator]:
    with Serving(world.program, 0) as serving:
        yield Operator(capsys, ("--url", serving.url, "--token-file", tmp_path / "admin-token"))


def test_an_operator_sees_what_is_sold_stops_it_and_starts_it_again(world, foreshape):
    assert "No host was looked at yet" in foreshape("sell", "list").out
    world.day()
    cpu, memory = json.loads(foreshape("sell", "list", "-f", "json").out)
    assert (cpu["ratio"], cpu["original"], cpu["state"], cpu["wanted"]) == (1.25, 1.0, "moved", None)
    assert memory["reason"].startswith("no more can be sold: 1.000 at most")
    said = foreshape("sell", "show", "hv1")
    assert "1 -> 1.25" in said.out
    assert "done: 1.25 is there" in said.out
    assert "1.25 (was 1)" in foreshape("sell", "stop", "hv1", "--reason", "an audit").out
    world.look()
    assert world.ratio == 1.0
    assert "selling is stopped: an audit" in foreshape("sell", "show", "hv1").out
    assert foreshape("sell", "start", "hv1", "--reason", "it is over").code == 0
    world.day()
    assert world.ratio == 1.25


def test_in_advise_the_list_says_what_would_be_and_why_it_is_not(world, foreshape):
    world.program.store.modes.set("cloud", Mode.ADVISE, "look first", 0.0)
    world.day()
    shown = " ".join(foreshape("sell", "list", "--fit-width", "--max-width", "0").out.split())
    assert "1.25 (proposed: the mode there is advise, not act)" in shown
    assert world.ratio == 1.0


def test_senseless_requests_are_refused_in_words(world, foreshape):
    world.look()
    for words, sentence in [
        (("sell", "show", "hv9"), "nothing was looked at on a host 'hv9'"),
        (("sell", "stop", "hv9", "--reason", "x"), "the cloud has no host 'hv9'"),
        (("sell", "stop", "hv1", "--reason", " "), "say why"),
        (("sell", "start", "hv1", "--reason", "x"), "selling is not stopped on host:hv1"),
    ]:
        said = foreshape(*words)
        assert said.code != 0
        assert sentence in said.err
        assert "Traceback" not in said.err


def test_the_scheduler_reads_headroom_by_its_own_token_and_nothing_else(world):
    world.look(demand=40.0)
    token = world.token_file.read_text().strip()
    assert world.token_file.stat().st_mode & 0o077 == 0
    with TestClient(world.program.app, raise_server_exceptions=False) as client:
        assert client.get("/v1/headroom").status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/v1/headroom").json() == {"at": NOW, "hosts": {"hv1": 0.6}}
        assert client.get("/v1/sales").status_code == 401
        client.headers["Authorization"] = f"Bearer {world.program.admin_token}"
        assert client.get("/v1/headroom").status_code == 200


def test_headroom_for_people_is_the_emptiest_first(world, foreshape):
    assert "Nobody can tell of any host yet" in foreshape("headroom", "list").out
    world.look(demand=40.0)
    assert json.loads(foreshape("headroom", "list", "-f", "json").out) == [{"host": "hv1", "free": 0.6}]


def test_without_an_openstack_it_says_so(tmp_path):
    program = build(settings(tmp_path), lambda: NOW)
    with TestClient(program.app) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        assert "[cloud] enabled is false" in client.get("/v1/sales").json()["detail"]
    program.store.close()


def test_what_was_sold_and_does_not_fit_is_a_need_that_lasts_as_long_as_it_does(world):
    world.day()
    for _ in range(12):
        world.emulator.boot("hv1", vcpus=10)
    world.look(demand=100.0)
    need = world.program.cloud.selling.needs(world.now)[0]
    assert (need.host, need.amount) == ("hv1", 10.0)
    assert "120 were sold there" in need.reason
