"""Planned migrations by our coordinator against the same migrations ordered bare, on a real Keystone, Placement and Nova; needs root.

python bench/cloud_migrations.py [--servers 60] [--computes 20] [--moves 20] [--seconds 5]      exits with 1 if a goal is missed

Hosts have no hypervisor: a live migration takes --seconds, and what Nova needs beside it. Ours: approved proposals; limits of one migration
out of a host, two into one and --at-once altogether; room held and handed over for each; agents' word for each arrival (said here when
Nova says it). Bare: the same servers back again, --at-once at a time, each ordered as soon as another ended. From the first order to the
last migration that Nova calls completed. Goal: at most 1.2 times the wall time, nothing lost, no limit broken.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / p) for p in ("tests/support", "devstack/lab", "devstack/cloud")]

from foreshape_cloudbed import Cloud  # noqa: E402

from cloud_bed import CloudHands  # noqa: E402
from foreshape_controller import assemble  # noqa: E402
from foreshape_controller.store import Store  # noqa: E402
from foreshape_wire.order import Mode  # noqa: E402
from store_support import card, report, sample, settings  # noqa: E402

GOAL = 1.2
PATIENCE_S = 600.0


class Bench:
    """A controller in one thread, on a cloud that is there."""

    def __init__(self, cloud: Cloud, folder: Path, at_once: int) -> None:
        self.hands, self.sequence = CloudHands(cloud), 0
        base = settings(folder)
        chosen = replace(
            base,
            cloud=replace(base.cloud, enabled=True),
            migrations=replace(base.migrations, cluster=at_once, hold_s=0.0, per_hour=100000, link=at_once),
        )
        self.store = Store.open(chosen.store.url)
        work = assemble.build(chosen, self.store, time.time, self.hands.cloud)
        assert work is not None
        self.work = work
        self.store.modes.set("cloud", Mode.ACT, "a benchmark", time.time())
        self.most: Counter[str] = Counter()

    def round(self) -> None:
        """The cloud is read, agents report what is on their hosts, the coordinator has its turn."""
        view, now = self.work.watch.run_once(time.time()), time.time()
        self.sequence += 1
        for host in view.hosts:
            mine = [s for s in view.servers.values() if s.host == host]
            cards = tuple(card(s.id, name=s.name, cores=s.flavor.vcpus, mib=s.flavor.ram) for s in mine)
            told = report(self.sequence, now, [sample(s.id) for s in mine], host=host, cards=cards, epoch=f"e-{host}")
            self.store.history.take(told, now)
        self.work.migrations.coordinator.run_once(time.time())
        for m in (m for m in view.migrations if m.moving):
            self.most["altogether"] = max(self.most["altogether"], sum(o.moving for o in view.migrations))
            self.most["out"] = max(self.most["out"], sum(o.moving and o.source == m.source for o in view.migrations))
            self.most["into"] = max(self.most["into"], sum(o.moving and o.target == m.target for o in view.migrations))

    def planned(self, moves: dict[str, str]) -> float:
        self.round()
        around = self.work.migrations.gather(time.time())
        assert around is not None
        wishes = [self.work.migrations.proposing.single(s, t, "a benchmark", around) for s, t in moves.items()]
        self.store.migrating.proposals.put([msgspec.structs.replace(p, state="approved", by="bench") for p in wishes])
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_S:
            self.round()
            if all(self.hands.cloud.nova.server(s).host == t for s, t in moves.items()) and self.over(moves):
                break
        took = time.monotonic() - began
        while self.store.migrating.moves.open() and time.monotonic() - began < PATIENCE_S:
            self.round()
        return took

    def over(self, moves: dict[str, str]) -> bool:
        return not any(m.moving for m in self.hands.cloud.nova.migrations() if m.server in moves)

    def bare(self, moves: dict[str, str], at_once: int) -> float:
        def one(pair: tuple[str, str]) -> None:
            self.hands.cloud.nova.live_migrate(*pair)
            assert self.hands.users.migrated(pair[0], PATIENCE_S) == "completed"

        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, moves.items()))
        return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("servers", 60), ("computes", 20), ("moves", 20), ("seconds", 5), ("at-once", 4)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    if asked.computes < 2 or not 0 < asked.moves <= asked.servers:
        parser.error("two computes at least, and as many servers as moves")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with Cloud("bench", asked.computes) as cloud, tempfile.TemporaryDirectory() as folder:
        bench = Bench(cloud, Path(folder), asked.at_once)
        cloud.migration_takes(asked.seconds)
        began = time.monotonic()
        servers = [bench.hands.users.order(cloud.hosts[n % asked.computes], name=f"b{n}") for n in range(asked.servers)]
        assert all(bench.hands.users.built(s) == "ACTIVE" for s in servers)
        print(f"{asked.servers} servers on {asked.computes} computes in {time.monotonic() - began:.0f} s", flush=True)
        where = {s: cloud.hosts[n % asked.computes] for n, s in enumerate(servers[: asked.moves])}
        there = {s: cloud.hosts[(n + 7) % asked.computes] for n, s in enumerate(where)}
        ours = bench.planned(there)
        arrived = sum(bench.hands.cloud.nova.server(s).host == t for s, t in there.items())
        print(f"planned: {ours:.1f} s, {arrived} of {len(there)} arrived; at most {dict(bench.most)} at once", flush=True)
        bare = bench.bare(where, asked.at_once)
        print(f"bare:    {bare:.1f} s, {asked.at_once} at a time")
        left = bench.store.migrating.moves.open()
        kept = bench.most["out"] <= 1 and bench.most["into"] <= 2 and bench.most["altogether"] <= asked.at_once
        good = arrived == len(there) and kept and not left and ours <= GOAL * bare
        print(f"ratio {ours / bare:.2f} (goal {GOAL}), limits {'kept' if kept else 'BROKEN'}: {'ok' if good else 'MISSED'}")
        bench.store.close()
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
