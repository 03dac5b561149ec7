"""How long planning migrations takes: made-up clouds of growing size, relieving the hosts that run short, draining one, consolidating.

python bench/migration_plan.py [--hosts 15 100 300 1000] [--rounds 3]      exits with 1 if a goal is missed

Each host has 96 to 128 cores (sold four times) and 512 GiB; 10 servers per host in the smallest cloud, 30 in the others. One host in ten is
made to run short. Goals: 15 hosts and 150 servers in 0.5 s, 1,000 hosts and 30,000 servers in 5 s, all three plans together.
"""

import argparse
import sys
import time

import numpy as np

from foreshape_controller.decide.consolidate import consolidate, fragments
from foreshape_controller.decide.moves import Link, cost, worth
from foreshape_controller.decide.place import Need, Plan, drain, rebalance
from foreshape_controller.decide.room import Ground, Group, Hosts, Rule, Servers

GOALS = {15: 0.5, 1000: 5.0}
FLAVOR = np.array([32.0, 131072.0, 100.0])
"""The largest that is sold: what consolidating makes room for."""

SIZES = np.array([[2, 4096, 20], [4, 8192, 40], [8, 32768, 80], [16, 65536, 100]], float)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[15, 100, 300, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if min(asked.hosts) < 2 or asked.rounds < 1:
        parser.error("a plan needs two hosts at least, and one round")
    taken = [measure(n, asked.rounds) for n in asked.hosts]
    if len(taken) > 1:
        slope = np.polyfit(np.log(asked.hosts), np.log(taken), 1)[0]
        print(f"growth: seconds ~ hosts^{slope:.2f}")
    missed = 0
    for hosts, seconds in zip(asked.hosts, taken, strict=True):
        if hosts in GOALS:
            met = seconds <= GOALS[hosts]
            missed += not met
            print(f"goal {hosts} hosts <= {GOALS[hosts]} s: {'met' if met else 'MISSED'} ({seconds:.3f} s)")
    return 1 if missed else 0


def measure(hosts: int, rounds: int) -> float:
    """The median of the rounds' seconds, each on a cloud of its own; the last one's plans are described."""
    taken = []
    for seed in range(rounds):
        ground, needs = cloud(hosts, 10 if hosts <= 15 else 30, seed)
        began = time.perf_counter()
        plans = plan(ground, needs)
        taken.append(time.perf_counter() - began)
    seconds = float(np.median(taken))
    print(f"{hosts:5d} hosts {len(ground.servers.ids):6d} servers {seconds:8.3f} s  {described(ground, needs, plans)}")
    return seconds


def plan(ground: Ground, needs: list[Need]) -> tuple[Plan, Plan, Plan]:
    """What a cycle may ask for at most: all three."""
    rule = Rule(moves=10_000, full=0.95)
    return (
        rebalance(ground, needs, rule),
        drain(ground, ground.hosts.names[0], 3600.0, rule),
        consolidate(ground, FLAVOR, Rule(moves=40, full=0.95)),
    )


def described(ground: Ground, needs: list[Need], plans: tuple[Plan, Plan, Plan]) -> str:
    relieved, drained, fuller = (len(p.moves) for p in plans)
    left = fragments(ground, FLAVOR, plans[2].moves)
    before = fragments(ground, FLAVOR)
    return (
        f"{len(needs)} needs: {relieved} moves; drain: {drained}; consolidate: {fuller} moves, "
        f"largest flavor fits {before.fits} -> {left.fits}, stranded VCPU {100 * before.stranded:.1f} -> {100 * left.stranded:.1f} %"
    )


def cloud(n: int, per_host: int, seed: int) -> tuple[Ground, list[Need]]:
    """n hosts in three zones, with servers of four sizes, one in ten of them in a group that keeps its members apart."""
    dice = np.random.default_rng(seed)
    m = n * per_host
    where = dice.integers(0, n, m)
    size = SIZES[dice.choice(4, m, p=[0.4, 0.3, 0.2, 0.1])]
    peak = np.stack([size[:, 0] * dice.beta(2, 5, m), size[:, 1] * dice.uniform(0.3, 0.9, m)], axis=1)
    dirty = dice.exponential(60, m)
    costs = cost(peak[:, 1], dirty, Link(mib_s=1100.0))
    weight = dice.choice([1.0, 2.0, 5.0], m)
    group = np.where(dice.random(m) < 0.1, dice.integers(0, max(1, m // 40), m), -1)
    held, forecast = np.zeros((n, 3)), np.zeros((n, 2))
    np.add.at(held, where, size)
    np.add.at(forecast, where, peak)
    cores = dice.choice([96.0, 128.0], n)
    hosts = Hosts(
        names=tuple(f"hv{i:04d}" for i in range(n)),
        capacity=np.stack([4 * cores, np.full(n, 524288.0 * 1.5), np.full(n, 20000.0)], axis=1),
        held=held,
        most=np.stack([cores, np.full(n, 524288.0), np.full(n, 20000.0)], axis=1),
        step=np.ones((n, 3)),
        physical=np.stack([cores, np.full(n, 655360.0)], axis=1),
        forecast=forecast,
        zones=tuple(f"az{i % 3}" for i in range(n)),
        labels=tuple(frozenset({f"aggregate:row{i % 20}"}) for i in range(n)),
        closed=("",) * n,
    )
    servers = Servers(
        ids=tuple(f"vm{i:06d}" for i in range(m)),
        host=where.astype(np.int64),
        size=size,
        peak=peak,
        price=-worth(0.0, weight, costs),
        zones=tuple(f"az{w % 3}" if asked else "" for w, asked in zip(where, dice.random(m) < 0.3, strict=True)),
        needs=(frozenset(),) * m,
        groups=tuple(f"g{g}" if g >= 0 else "" for g in group),
        fixed=tuple("its vCPUs are pinned" if f else "" for f in dice.random(m) < 0.05),
    )
    ground = Ground(hosts, servers, {f"g{g}": Group("anti-affinity") for g in set(group.tolist()) if g >= 0})
    fullest = np.argsort(-ground.load, kind="stable")[: max(1, n // 10)]
    needs = [Need(hosts.names[i], "cpu", 0.1 * float(cores[i]), 3600.0 + int(i), 10_000.0) for i in fullest]
    return ground, needs


if __name__ == "__main__":
    sys.exit(main())
