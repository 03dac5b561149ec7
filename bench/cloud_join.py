"""Nova's word joined to what agents report: 30,000 servers on 1,000 hosts, seconds per reading, against decoding Nova's own answer.

python bench/cloud_join.py [--servers 30000] [--hosts 1000] [--rounds 5]

The limit that it is set against is work that nobody can avoid: the JSON of ``GET /servers/detail`` with the same servers, decoded and
parsed once. A round is everything that follows a reading: agents' words out of the store, the join, changed words into the store. In
``first`` every word is new; in ``later`` one server in a hundred changed since (a task began or ended). ``view`` is what a plan pays for
the words beside each server: the store's view with them and without.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import msgspec

from foreshape_controller.cloud import parse
from foreshape_controller.loops.joining import Joining
from foreshape_controller.model.cloud import CloudHost, CloudServer, CloudView
from foreshape_controller.store import Store
from foreshape_wire.codec import WIRE_VERSION
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import DomainCard, HostReport, HostSample, VmSample

NOW = 1_800_000_000.0
GOAL_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=30_000)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    answer = novas_answer(asked.servers, asked.hosts)
    limit = best(lambda: decoded(answer), asked.rounds)
    view = seen(decoded(answer), asked.hosts)
    with tempfile.TemporaryDirectory(prefix="foreshape-bench-") as folder:
        store = Store.open(f"sqlite:///{folder}/join.db", synchronous="normal")
        fill(store, asked.servers, asked.hosts)
        plain = best(lambda: store.inventory.view(NOW), asked.rounds)
        joining = Joining(store, lambda: {"p0": "shop"})
        first = timed(lambda: joining.take(view, NOW))
        later = statistics.median(timed(lambda r=r: joining.take(changed(view, r), NOW + 30 * r)) for r in range(1, asked.rounds + 1))
        worded = best(lambda: store.inventory.view(NOW), asked.rounds)
    print(f"{asked.servers} servers on {asked.hosts} hosts; Nova's answer: {len(answer) / 2**20:.0f} MiB of JSON")
    print(f"decode and parse it      {limit:6.2f} s   (the limit; best of {asked.rounds})")
    print(f"join and keep, first     {first:6.2f} s   ratio {first / limit:.2f}")
    print(f"join and keep, later     {later:6.2f} s   ratio {later / limit:.2f}   (median of {asked.rounds}; goal {GOAL_S:g} s)")
    print(f"store's view, with words {worded:6.2f} s   without {plain:.2f} s   ratio {worded / plain:.2f}")
    if later > GOAL_S:
        raise SystemExit("slower than its goal")


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def best(work: Callable[[], object], rounds: int) -> float:
    return min(timed(work) for _ in range(rounds))


# -- Nova


def novas_answer(servers: int, hosts: int) -> bytes:
    flavor = {"vcpus": 2, "ram": 4096, "disk": 20, "ephemeral": 0, "swap": 0, "original_name": "m1.medium", "extra_specs": {"hw:boot": "x"}}
    rows = [
        {
            "id": ident(i),
            "name": f"server-{i}",
            "tenant_id": f"p{i % 200}",
            "user_id": "u",
            "OS-EXT-SRV-ATTR:host": f"h{i % hosts}",
            "OS-EXT-AZ:availability_zone": f"az{i % 3}",
            "OS-EXT-STS:vm_state": "active",
            "OS-EXT-STS:task_state": None,
            "OS-EXT-STS:power_state": 1,
            "status": "ACTIVE",
            "flavor": flavor,
            "image": {"id": f"image-{i % 20}"},
            "created": "2026-01-01T00:00:00Z",
            "locked": False,
            "metadata": {},
            "addresses": {"net": [{"addr": "10.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}]},
        }
        for i in range(servers)
    ]
    return msgspec.json.encode({"servers": rows})


def ident(i: int) -> str:
    return f"{i:08x}-0000-4000-8000-000000000000"


def decoded(answer: bytes) -> dict[str, CloudServer]:
    return {s.id: s for s in map(parse.server, msgspec.json.decode(answer)["servers"])}


def seen(servers: dict[str, CloudServer], hosts: int) -> CloudView:
    known = {f"h{i}": CloudHost(name=f"h{i}", hypervisor=f"h{i}.dc", az=f"az{i % 3}", aggregates=("ssd",)) for i in range(hosts)}
    return CloudView(at=NOW, servers=servers, hosts=known)


def changed(view: CloudView, number: int) -> CloudView:
    """Every hundredth server begins or ends a task."""
    task = "image_snapshot" if number % 2 else ""
    some = list(view.servers)[::100]
    return msgspec.structs.replace(
        view, servers={**view.servers, **{s: msgspec.structs.replace(view.servers[s], task_state=task) for s in some}}
    )


# -- agents


def fill(store: Store, servers: int, hosts: int) -> None:
    for h in range(hosts):
        mine = range(h, servers, hosts)
        report = HostReport(
            version=WIRE_VERSION,
            host=f"h{h}",
            epoch="e",
            sequence=1,
            taken_at=NOW - 5,
            host_sample=HostSample(
                cpus=64, memory_total=Memory(2**19), memory_available=Memory(2**18), cpu_used=Cores(8), cpu_stolen=Cores(0), load_1m=8
            ),
            samples=tuple(VmSample(server=ServerId(ident(i)), state=DomainState.RUNNING, window_s=10.0) for i in mine),
            cards=tuple(card(i) for i in mine),
        )
        store.history.take(report, NOW - 4)


def card(i: int) -> DomainCard:
    sold = Size(Cores(2.0), Memory(4096.0))
    words = {"project": f"p{i % 200}", "flavor": "m1.medium", "image": f"image-{i % 20}", "display_name": f"server-{i}"}
    return DomainCard(
        identity=Identity(server=ServerId(ident(i)), name=f"instance-{i:08x}", **words),
        entitlement=sold,
        ceiling=sold,
        allocation=sold,
        capabilities=tuple(Capability(lever=lever, lowest=0.1, highest=2.0, granule=0.1) for lever in LeverName),
    )


if __name__ == "__main__":
    main()
