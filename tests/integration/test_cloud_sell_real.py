"""Selling on a real cloud: the real scheduler follows forecasts, the real nova-compute keeps our ratios, and one that does not is told."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from foreshape_cloudbed import Cloud, configs
from foreshape_lab.processes import wait_until

from cloud_bed import CloudHands, a_cloud
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.decide.sell import Terms
from foreshape_controller.errors import NoRoom
from foreshape_controller.loops.acting import Acting
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.loops.sell import Selling
from foreshape_controller.model.cloud import VCPU
from foreshape_controller.model.sale import MOVED, OVERWRITTEN, WATCHED
from foreshape_controller.store import Store
from foreshape_wire.order import Mode
from headroom_support import told
from sell_support import SELLS, forecast

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
UPDATE_S = 4
"""How often each nova-compute looks at its resources, and forgets what it knew of Placement."""


@pytest.fixture(scope="module")
def headroom() -> dict[str, float]:
    """What the controller tells; change it as you like."""
    return {}


@pytest.fixture(scope="module")
def cloud(headroom: dict[str, float]) -> Iterator[Cloud]:
    """Of its own: its scheduler has the weigher, and a nova-compute is given a ratio."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT / "controller")  # where nova-scheduler finds the weigher
    try:
        with told(headroom) as url, a_cloud(3, nova=options(url)) as cloud:
            yield cloud
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def options(url: str) -> dict[str, dict[str, object]]:
    return {
        "DEFAULT": {"update_resources_interval": UPDATE_S},
        "compute": {"resource_provider_association_refresh": UPDATE_S},
        "filter_scheduler": {"weight_classes": "nova.scheduler.weights.all_weighers,foreshape_weigher.weigher.HeadroomWeigher"},
        "foreshape": {"headroom_url": url, "headroom_keep": 1, "headroom_time_limit": 0.5, "headroom_stale": 30},
    }


@pytest.fixture(scope="module")
def hands(cloud: Cloud) -> CloudHands:
    return CloudHands(cloud)


def hosts_of(hands: CloudHands, servers: list[str]) -> Counter[str]:
    return Counter(hands.cloud.nova.server(s).host for s in servers)


def booted(hands: CloudHands, count: int) -> list[str]:
    return [hands.boot(vcpus=1, ram=128) for _ in range(count)]


# -- the weigher


def test_boots_go_to_the_host_with_most_headroom_and_follow_it(hands, headroom):
    servers: list[str] = []
    for first in ("node02", "node03", "node01"):
        headroom.update({host: 0.9 if host == first else 0.2 for host in hands.hosts})
        time_of_change = time.monotonic()
        wait_until(lambda since=time_of_change: time.monotonic() - since > 1.5, "the scheduler's copy to age", 5, every_s=0.2)
        hands.delete(hands.boot(vcpus=1, ram=128))  # the boot that makes it read again
        mine = booted(hands, 3)
        servers += mine
        assert hosts_of(hands, mine) == {first: 3}
    for server in servers:
        hands.delete(server)


def test_with_the_source_dead_boots_work_as_before(hands, cloud):
    servers = booted(hands, 3)
    configs.write(cloud.places, options("http://127.0.0.1:9/v1/headroom"))
    cloud.stop("scheduler")
    cloud.start("scheduler")
    servers += booted(hands, 3)
    for server in servers:
        hands.delete(server)
    assert "headroom cannot be read from http://127.0.0.1:9" in cloud.part("scheduler").said()


# -- ratios


class Seller:
    """The loop on the real cloud, for one host, with a forecast that leaves nearly all of it free."""

    def __init__(self, hands: CloudHands) -> None:
        self.hands, self.store = hands, Store.open("sqlite://")
        self.store.modes.set("cloud", Mode.ACT, "a test", 0.0)
        door = hands.cloud
        self.watch = CloudWatch(
            lambda before: read_cloud(door.nova, door.placement, time.time, before=before), full_every_s=1800, stale_after_s=120
        )
        rule = replace(SELLS.rule, hold_s=0.0, history_s=0.0)
        terms = replace(SELLS, rule=rule, terms={"cpu": Terms(64.0, 1.0, 0.01), "memory": Terms(1.0, 0.02, 1.0)})
        self.sell = Selling(self.store, self.watch, door.placement, Acting(self.store).why_not, terms)

    def look(self, demand: float = 1.0, host: str = "node01"):
        now = time.time()
        for resource in ("cpu", "memory"):
            self.store.forecasts.save(forecast([demand], series=f"host:{host}", resource=resource, origin=now))
        self.watch.run_once(time.time())
        self.sell.run_once(time.time())
        return next(s for s in self.sell.sales() if s.host == host and s.resource == "cpu")

    def ratio(self, host: str = "node01") -> float:
        provider = self.watch.view().hosts[host].provider
        return self.hands.cloud.placement.inventories(provider)[VCPU].ratio


@pytest.fixture
def seller(hands) -> Iterator[Seller]:
    made = Seller(hands)
    yield made
    made.store.close()


def test_nova_compute_keeps_our_ratio_sells_by_it_and_has_its_own_back_afterwards(seller, hands):
    first = seller.look()
    original = first.original
    assert (first.state, seller.ratio()) == (MOVED, original + 1)
    room = seller.watch.view().hosts["node01"].inventories[VCPU]
    with pytest.raises(NoRoom):
        hands.boot("node01", vcpus=room.max_unit + 1, ram=128)
    generation = hands.cloud.placement.traits(seller.watch.view().hosts["node01"].provider)[1]
    hands.cloud.placement.add_trait(seller.watch.view().hosts["node01"].provider, "CUSTOM_SEEN")  # what nova-compute knew is old now
    assert hands.cloud.placement.traits(seller.watch.view().hosts["node01"].provider)[1] > generation
    until = time.monotonic() + 4 * UPDATE_S
    while time.monotonic() < until:
        assert seller.ratio() == original + 1, "nova-compute looked at its resources several times"
        time.sleep(1.0)
    seller.sell.stop("node01", "enough", time.time())
    assert seller.look().state == WATCHED
    assert seller.ratio() == original


def test_a_nova_compute_with_a_ratio_of_its_own_is_noticed_left_alone_and_named(seller, cloud):
    original = seller.look().original
    assert seller.ratio() == original + 1
    own = options("http://127.0.0.1:9/v1/headroom")
    own["DEFAULT"]["cpu_allocation_ratio"] = 7.5
    configs.write(cloud.places, own)
    cloud.stop("computes")
    cloud.start("computes")
    wait_until(lambda: seller.ratio() == 7.5, "nova-compute to write its own", 60, every_s=0.5)
    sale = seller.look()
    assert sale.state == OVERWRITTEN
    assert "cpu_allocation_ratio is set in its nova.conf" in sale.reason
    seller.look(demand=1000.0)
    assert seller.ratio() == 7.5
