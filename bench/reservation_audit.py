"""How long the audit of reservations takes, beside one bare GET for each of them, on the emulated Placement over HTTP.

python bench/reservation_audit.py [--reservations 5000] [--hosts 100] [--broken 50]      exits with 1 if the goal is missed

The audit sends at most [cloud] requests_per_second (20 by default), which is most of its time; the bare GETs go as fast as they are
answered, one after the other over one kept connection, and nothing is looked for that the journal does not know. Goal: 5,000
reservations in 10 s, at our own pace. One audit finds ``--broken`` of them deleted and holds them again, the last one all in order.
"""

import argparse
import http.client
import logging
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from cloud_emulator import PROJECT, USER, Emulator, running
from emulated_placement import Consumer
from foreshape_controller import assemble
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Pace
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.config import Settings
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.model.cloud import RESERVATION
from foreshape_controller.model.reservation import Audit, Place, Reservation, ReservationWish, Slot, State
from foreshape_controller.store import Store
from foreshape_wire.order import Mode

GOAL_S = 10.0
AMOUNTS = {"VCPU": 1, "MEMORY_MB": 512}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reservations", type=int, default=5000)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--broken", type=int, default=50)
    asked = parser.parse_args()
    if asked.hosts < 1 or not 0 <= asked.broken <= asked.reservations <= 500 * asked.hosts:
        parser.error("at most 500 reservations for each host, and no more broken ones than there are")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with running(Emulator()) as cloud, tempfile.TemporaryDirectory() as folder:
        return measure(cloud, Path(folder), asked)


def measure(cloud: Emulator, folder: Path, asked: argparse.Namespace) -> int:
    store, reservations, pace = controller(cloud, folder, asked)
    consumers = filled(cloud, store, asked.reservations)
    bare = gets(cloud, consumers)
    print(f"{asked.reservations} reservations on {asked.hosts} hosts; {len(consumers)} bare GETs: {bare:.2f} s")
    audited(cloud, reservations, "all in order, as fast as it is answered", bare)
    pace.on = True
    first = audited(cloud, reservations, "all in order, at our own pace", bare)
    for consumer in consumers[:: max(1, len(consumers) // max(1, asked.broken))][: asked.broken]:
        del cloud.placement.consumers[consumer]
    second = audited(cloud, reservations, f"{asked.broken} deleted by somebody", bare)
    third = audited(cloud, reservations, "after that", bare)
    store.close()
    sound = first[1].clean and third[1].clean and second[1].held_again == asked.broken
    met = first[0] <= GOAL_S
    print(f"goal {asked.reservations} reservations <= {GOAL_S:.0f} s: {'met' if met else 'MISSED'} ({first[0]:.2f} s)")
    print("" if sound else "WRONG: an audit did not find what was there")
    return 0 if met and sound else 1


def controller(cloud: Emulator, folder: Path, asked: argparse.Namespace) -> tuple[Store, Reservations, "Switch"]:
    """As configured by default, but for the mode and the place of its database."""
    for number in range(asked.hosts):
        cloud.add_host(f"node{number:04d}", vcpus=128, ram=1048576)
    base = Settings()
    settings = replace(base, cloud=replace(base.cloud, enabled=True))
    store = Store.open(f"sqlite:///{folder / 'controller.db'}")
    store.modes.set("cloud", Mode.ACT, "a bench", 0.0)
    rate = settings.cloud.requests_per_second
    pace = Switch(rate, int(rate), time.monotonic, time.sleep)
    work = assemble.build(settings, store, time.time, connect(Access(options=cloud.options()), Ways(pace=pace)))
    assert work is not None
    work.watch.run_once(time.time())
    return store, work.reservations, pace


class Switch(Pace):
    """A pace that can be left out."""

    on = False

    def wait(self) -> None:
        if self.on:
            super().wait()


def filled(cloud: Emulator, store: Store, count: int) -> list[str]:
    """Reservations as they are once they are held: in the journal, and in Placement."""
    now, hosts, consumers = time.time(), list(cloud.nova.hosts.values()), []
    for number in range(count):
        host, consumer = hosts[number % len(hosts)], str(uuid.uuid4())
        wish = ReservationWish(host=host.name, resources=AMOUNTS, owner="operator:bench", reason="a bench", until=now + 86400)
        slots = (Slot(consumer=consumer, place=Place.HELD),)
        made = Reservation(id=f"rsv-{number}", wish=wish, provider=host.provider, slots=slots, state=State.HELD, created=now, changed=now)
        store.reservations.save(made)
        cloud.placement.consumers[consumer] = Consumer({host.provider: dict(AMOUNTS)}, PROJECT, USER, RESERVATION)
        consumers.append(consumer)
    return consumers


def gets(cloud: Emulator, consumers: list[str]) -> float:
    """Seconds that one GET for each takes, over one connection."""
    where = urlsplit(cloud.url)
    kept = http.client.HTTPConnection(str(where.hostname), where.port)
    headers = {"X-Auth-Token": next(iter(cloud.tokens)), "OpenStack-API-Version": "placement 1.39"}
    began = time.perf_counter()
    for consumer in consumers:
        kept.request("GET", f"/placement/allocations/{consumer}", headers=headers)
        answer = kept.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    return time.perf_counter() - began


def audited(cloud: Emulator, reservations: Reservations, what: str, bare: float) -> tuple[float, Audit]:
    before, began = len(cloud.requests), time.perf_counter()
    found = reservations.audit(time.time())
    took, sent = time.perf_counter() - began, len(cloud.requests) - before
    beside = f"{sent} requests, {took / bare:.2f}x the bare GETs"
    print(f"audit, {what}: {took:.2f} s, {beside}; in order {found.in_order}, held again {found.held_again}")
    return took, found


if __name__ == "__main__":
    sys.exit(main())
