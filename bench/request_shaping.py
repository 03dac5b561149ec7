"""Requests answered as Foreshape does against first come, first served, on the same arrivals.

python bench/request_shaping.py [--seeds 5] [--loads 0.5 0.8 1.1] [--errors 0.15] [--hosts 8] [--days 3]
    [--critical-share 0.1] [--no-smoothing]

A simulated fleet (``replay/shaping.py``): hosts of 32 cores whose own demand goes with the day, people who ask mostly by day (15 %
critical, 35 % normal, 50 % flexible; they give up after 1, 12 and 24 hours), and servers really use about half of what was sold.
``load``: VCPU-hours that are asked for, as a share of what Placement has left (1.5 VCPUs sold a core, 35 % of that taken for good).
``error``: how far each host's forecast is off. Mean over the seeds; the last block are the seeds in which Foreshape did worse.

    peak       the fleet's highest real demand, as a share of its cores
    short      host-half-hours in which more was wanted than the host has
    nothing    who got nothing in time: all, critical, normal, flexible
    wait       hours until the start, of those who started: mean of all; 95th percentile of critical, normal, flexible
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from foreshape_controller.decide.requests import RequestRule
from foreshape_controller.model.request import Criticality
from foreshape_controller.replay.shaping import Outcome, Town, compare

KINDS = (Criticality.CRITICAL, Criticality.NORMAL, Criticality.FLEXIBLE)
HEAD = (
    f"{'load':>5} {'error':>5} {'answered':17} {'asked':>5} {'peak':>6} {'short':>6} | {'nothing':>7} {'crit':>6} {'norm':>6} {'flex':>6}"
)


def row(outcomes: list[Outcome]) -> str:
    """Means over the seeds."""

    def mean(of: object) -> float:
        return float(np.mean([of(o) for o in outcomes]))  # type: ignore[operator]

    nothing = [mean(lambda o, k=k: o.unserved(k)) for k in (None, *KINDS)]
    wait = mean(lambda o: o.waits().mean())
    late = [mean(lambda o, k=k: np.percentile(o.waits(k), 95)) for k in KINDS]
    asked = mean(lambda o: len(o.arrivals))
    told = f"{outcomes[0].name:17} {asked:5.0f} {mean(lambda o: o.peak):6.1%} {mean(lambda o: o.short):6.2%} | "
    return (
        told + f"{nothing[0]:7.1%} " + " ".join(f"{n:6.1%}" for n in nothing[1:]) + f" | {wait:5.1f} " + " ".join(f"{x:5.1f}" for x in late)
    )


def worse(name: str, seed: int, base: Outcome, ours: Outcome) -> list[str]:
    """Sentences of where Foreshape did worse."""
    said = []
    if ours.peak > base.peak:
        said.append(f"{name}, seed {seed}: peak {ours.peak:.1%} against {base.peak:.1%} ({base.name})")
    for kind in (None, *KINDS):
        if ours.unserved(kind) > base.unserved(kind) + 1e-9:
            who = kind.value if kind else "all"
            said.append(
                f"{name}, seed {seed}: {ours.unserved(kind):.1%} of {who} got nothing against {base.unserved(kind):.1%} ({base.name})"
            )
    return said


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.8, 1.1])
    p.add_argument("--errors", type=float, nargs="+", default=[0.15])
    p.add_argument("--hosts", type=int, default=8)
    p.add_argument("--days", type=int, default=3)
    p.add_argument("--critical-share", type=float, default=RequestRule().spare, help="of each host, what only critical ones are promised")
    p.add_argument("--no-smoothing", action="store_true", help="everybody starts as soon as there is room")
    args = p.parse_args()
    rule = RequestRule(share=1.0, spare=args.critical_share)
    if args.no_smoothing:
        rule = replace(rule, fleet_peak=1.0, normal_wait_s=0.0, flexible_wait_s=0.0)
    begun, lost = time.perf_counter(), list[str]()
    print(HEAD + " |  wait  crit  norm  flex")
    for load in args.loads:
        for error in args.errors:
            town = Town(hosts=args.hosts, days=args.days, load=load, error=error)
            runs = [compare(town, seed, rule) for seed in range(1, args.seeds + 1)]
            for way in zip(*runs, strict=True):
                print(f"{load:5.2f} {error:5.2f} {row(list(way))}")
            for seed, (refuses, waits, ours) in enumerate(runs, 1):
                lost += [s for base in (refuses, waits) for s in worse(f"load {load}", seed, base, ours)]
    print(f"\nWorse in {len(lost)} comparisons of {len(args.loads) * len(args.errors) * args.seeds * 10}:")
    print("\n".join(lost) or "none")
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
