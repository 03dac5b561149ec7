"""How a short host is shared: our rule beside the simple one, on generated hosts and on public traces packed on hosts; and its speed.

python bench/share.py [--hosts 300] [--traces FOLDER]      FOLDER (or $FORESHAPE_TRACES) holds canonical Parquet traces

The simple rule is a weighted proportional share, cut at the demand, in one pass: share_i = min(demand_i, capacity · w_i / Σ w).
Ours is ``decide.share``: floors, use in tier order, headroom by weight. Both are told the same targets, floors and weights. A
server's demand is what it uses in the next bin; it is met as far as its share goes. Per rule:

  unmet       part of the demand that found no room, per tier and altogether
  below floor servers that got less than the lesser of floor and target
  Jain        fairness of satisfaction (met/demand) among servers of one weight, middle of all hosts: 1 is perfectly even
  worst       the satisfaction that 1 % of the servers do not reach
  left        part of the capacity that nobody got although somebody lacked it
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foreshape_controller.decide.share import Claims, share_hosts
from foreshape_controller.replay.trace_file import load_trace

TIERS = (("guaranteed", 4.0, 3, 0.5), ("standard", 2.0, 2, 0.1), ("economy", 1.0, 1, 0.05))
"""Name, weight, throttle order, floor as a share of what was sold."""

SHARES = (0.2, 0.5, 0.3)
"""Of the servers."""

PACKED = 30
"""Servers on a host."""


@dataclass(frozen=True)
class Case:
    """Hosts that are short, at one instant or many."""

    claims: Claims
    capacity: np.ndarray
    demand: np.ndarray
    tier: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=300)
    parser.add_argument("--traces", default=os.environ.get("FORESHAPE_TRACES", ""))
    asked = parser.parse_args()
    for load in (1.1, 1.5, 2.5):
        compare(f"generated, {asked.hosts} hosts, targets {load:g} of the capacity", generated(asked.hosts, load))
    for path in sorted(Path(asked.traces).glob("*.parquet")) if asked.traces else ():
        for name, case in packed(path):
            compare(name, case)
    speed()


@dataclass(frozen=True)
class Wants:
    """What servers were sold, use, will use, and should have."""

    sold: np.ndarray
    used: np.ndarray
    demand: np.ndarray
    target: np.ndarray


# -- worlds -----------------------------------------------------------------------------------------------------------


def generated(hosts: int, load: float) -> Case:
    """Demand and targets of a heavy tail; capacity so that targets are ``load`` times it."""
    rng = np.random.default_rng(7)
    n = hosts * PACKED
    sold = rng.choice([1.0, 2.0, 4.0, 8.0], n)
    demand = np.minimum(sold, sold * rng.lognormal(-1.6, 0.9, n))
    target = np.minimum(sold, demand * rng.uniform(1.0, 1.8, n))
    return case(np.repeat(np.arange(hosts), PACKED), Wants(sold, demand, demand, target), load, rng)


def packed(path: Path) -> Iterator[tuple[str, Case]]:
    """A trace's servers on hosts, one bin after the other; targets are the last half-hour's largest, demand is the next bin's."""
    history = load_trace(path, resources=["cpu"])["cpu"]
    rng = np.random.default_rng(7)
    order = rng.permutation(len(history.series))
    order = order[: len(order) // PACKED * PACKED]
    mean, sold = history.mean[order].astype(float), history.entitlement[order].astype(float)
    sold = np.where(np.isfinite(sold) & (sold > 0), sold, np.nanmax(mean, axis=1))
    for load in (1.1, 1.5):
        parts = [at_bin(mean, sold, b, load, rng) for b in rng.integers(6, mean.shape[1] - 1, 60) if np.isfinite(mean[:, b + 1]).any()]
        yield f"{path.stem}, {len(order)} servers on hosts of {PACKED}, 60 instants, targets {load:g} of the capacity", joined(parts)


def at_bin(mean: np.ndarray, sold: np.ndarray, b: int, load: float, rng: np.random.Generator) -> Case:
    used, after = np.nan_to_num(mean[:, b]), np.nan_to_num(mean[:, b + 1])
    target = np.minimum(np.maximum(sold, used), np.nan_to_num(np.fmax.reduce(mean[:, b - 5 : b + 1], axis=1)) * 1.1)
    return case(np.arange(len(sold)) // PACKED, Wants(sold, used, after, target), load, rng)


def case(host: np.ndarray, wants: Wants, load: float, rng: np.random.Generator) -> Case:
    tier = rng.choice(3, host.size, p=SHARES)
    weight, order, floor = (np.array([t[k] for t in TIERS])[tier] for k in (1, 2, 3))
    floor, target = np.minimum(floor * wants.sold, wants.target), wants.target  # what is not wanted is given to others meanwhile
    claims = Claims(
        host=host,
        floor=floor,
        allocation=target,
        target=target,
        weight=weight,
        shadow=np.zeros(host.size, bool),
        order=order.astype(np.int64),
        used=wants.used,
        spare=np.zeros(host.size),
    )
    capacity = np.maximum(np.bincount(host, target) / load, np.bincount(host, floor))
    return Case(claims, capacity, wants.demand, tier)


def joined(parts: list[Case]) -> Case:
    """Instants side by side, as hosts of their own."""
    hosts = np.cumsum([0, *(p.capacity.size for p in parts)])
    columns = {name: np.concatenate([getattr(p.claims, name) for p in parts]) for name in Claims.__dataclass_fields__}
    columns["host"] = np.concatenate([p.claims.host + h for p, h in zip(parts, hosts, strict=False)])
    joined_claims = Claims(**columns)
    capacity, demand, tier = (np.concatenate([getattr(p, name) for p in parts]) for name in ("capacity", "demand", "tier"))
    return Case(joined_claims, capacity, demand, tier)


# -- rules and figures ------------------------------------------------------------------------------------------------


def simple(c: Case) -> np.ndarray:
    weights = np.bincount(c.claims.host, c.claims.weight)
    return np.minimum(c.claims.target, c.capacity[c.claims.host] * c.claims.weight / weights[c.claims.host])


def ours(c: Case) -> np.ndarray:
    return share_hosts(c.capacity, c.claims).granted


def fair_only(c: Case) -> np.ndarray:
    """Ours without tier order: floors, then weighted max-min towards the targets."""
    return share_hosts(c.capacity, replace(c.claims, used=c.claims.floor)).granted


def compare(name: str, c: Case) -> None:
    print(f"\n{name}")
    print(f"  {'':14}{'unmet':>8}{'guaranteed':>12}{'standard':>10}{'economy':>9}{'below floor':>13}{'Jain':>7}{'worst':>7}{'left':>7}")
    for rule in (simple, fair_only, ours):
        print(f"  {rule.__name__:14}{figures(c, rule(c))}")


def figures(c: Case, granted: np.ndarray) -> str:
    met = np.minimum(granted, c.demand)
    wants = c.demand > 1e-3
    satisfied = met[wants] / c.demand[wants]
    tiers = [1 - met[c.tier == k].sum() / max(c.demand[c.tier == k].sum(), 1e-9) for k in range(3)]
    below = int((granted < np.minimum(c.claims.floor, c.claims.target) - 1e-9).sum())
    lacking = np.bincount(c.claims.host, np.maximum(0, c.claims.target - granted)) > 1e-6
    left = np.maximum(0, c.capacity - np.bincount(c.claims.host, granted))[lacking].sum() / c.capacity.sum()
    unmet = 1 - met.sum() / c.demand.sum()
    worst = np.quantile(satisfied, 0.01)
    words = f"{unmet:8.1%}{tiers[0]:12.1%}{tiers[1]:10.1%}{tiers[2]:9.1%}{below:13d}"
    return f"{words}{jain(c, granted):7.3f}{worst:7.2f}{left:7.1%}"


def jain(c: Case, granted: np.ndarray) -> float:
    """Middle of (Σ s)²/(n·Σ s²) over all groups of one host and tier; s: met/demand."""
    wants = c.demand > 1e-3
    s = np.minimum(granted, c.demand)[wants] / c.demand[wants]
    group = (c.claims.host * 3 + c.tier)[wants]
    n, total, squares = (np.bincount(group, w) for w in (np.ones(s.size), s, s * s))
    some = (n > 1) & (squares > 0)
    return float(np.median(total[some] ** 2 / (n[some] * squares[some])))


def speed() -> None:
    print("\nspeed (best of 5)")
    for servers, hosts in ((1_000, 33), (10_000, 333), (30_000, 1_000)):
        c = generated(hosts, 1.5)
        best = min(timed(c) for _ in range(5))
        print(f"  {servers:6} servers on {hosts:4} hosts: {1000 * best:6.1f} ms, {1e6 * best / servers:.2f} us a server")


def timed(c: Case) -> float:
    begun = time.perf_counter()
    share_hosts(c.capacity, c.claims)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
