"""One half-hour of 30,000 servers judged: seconds, peak memory, how both grow with the number of servers.

    python bench/feedback.py [--servers 1000 3000 10000 30000] [--plans 30]

On the store that bench/plan_cycle.py builds (made-up demand, 30 servers a host, a day of history), with the plans of half an hour in
it: one is decided by the product's own plan loop, the others are the same one, kept again under other names. The judge runs every
half-hour, so that the physical limit it is set against is that half-hour of one core.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import structlog
from plan_cycle import NOW, Cloud, Foreseen, fill, make_vms

from foreshape_controller.decide.tiers import BUILT_IN, Tiers
from foreshape_controller.loops.feedback import Feedback
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.store import Store
from foreshape_wire.order import Mode

HALF_S = 1800
GOAL_S, GOAL_MIB, GOAL_AT = 36.0, 2048.0, 30_000
"""2 % of one core."""


class Policy:
    """The built-in tiers."""

    def current(self) -> Tiers:
        return BUILT_IN


def measure(n: int, plans: int) -> dict[str, float]:
    """Seconds and MiB of one half-hour, and how many bins were judged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    start = int(NOW) - HALF_S
    with tempfile.TemporaryDirectory(prefix="foreshape-bench-") as folder:
        store = Store.open(f"sqlite:///{folder}/feedback.db", synchronous="normal")
        vms = make_vms(n)
        Cloud(vms, store).report(NOW - 5)
        fill(store, vms)
        store.modes.set("cloud", Mode.ACT, "bench", NOW)
        first = PlanLoop(store, Foreseen(vms), Sources(lambda: BUILT_IN), PlanSettings()).run_once(NOW)
        for i in range(plans):
            at = start - 60.0 * i
            store.journal.record(replace(first, plan=f"plan-{i}", at=at, table=replace(first.table, plan=f"plan-{i}", at=at)), ())
        store.marks.settle({}, start)
        wall, cpu = time.perf_counter(), time.process_time()
        judged = Feedback(store, Policy()).run_once(NOW + 600)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        found = store.marks.between(start, start + 1)
        bins = sum(m.bins for k, m in found if k.resource in RESOURCES)
        store.close()
    assert judged == 1
    return {"servers": n, "bins": bins, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **took}


def main() -> int:
    """Every size in a process of its own."""
    args = _arguments()
    if args.child:
        print(json.dumps(measure(args.child, args.plans)))
        return 0
    good = True
    for n in args.servers:
        command = [sys.executable, __file__, "--child", str(n), "--plans", str(args.plans)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        share = found["cpu"] / HALF_S
        print(
            f"{n:6d} servers, {args.plans} plans: {found['wall']:6.2f} s ({found['cpu']:.2f} s CPU, {share:.2%} of a core), "
            f"peak {found['peak_mib']:.0f} MiB, {found['bins']:.0f} bins judged"
        )
        good &= n > GOAL_AT or (found["cpu"] <= GOAL_S and found["peak_mib"] <= GOAL_MIB and found["bins"] > 0)
    print(f"goal at {GOAL_AT}: {GOAL_S:.0f} s CPU, {GOAL_MIB:.0f} MiB: {'met' if good else 'MISSED'}")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000])
    parser.add_argument("--plans", type=int, default=30, help="plans of the half-hour (default 30)")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
