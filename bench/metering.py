"""Metering of 30,000 servers in 1,000 projects: seconds per hour of theirs, bytes per day, and what statements of all of them take.

    python bench/metering.py [--servers N] [--projects N]

The ratio is against the time that hour lasts: metering must not fall behind. Reports carry one sample a bin; terms and counting are the
production code on a database file.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from pricing_support import DAY, STEP, PriceWorld, always

PER_HOST = 100


def main() -> None:
    """Feed two hours of reports, then time each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=30_000)
    parser.add_argument("--projects", type=int, default=1_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args.servers, args.projects)


def measure(folder: Path, servers: int, projects: int) -> None:
    world = PriceWorld(folder, DAY, {})
    hosts = [[f"vm-{h:04d}-{i:03d}" for i in range(PER_HOST)] for h in range(servers // PER_HOST)]

    def feed(at: float, number: int) -> None:
        world.now = at
        for h, names in enumerate(hosts):
            world.cards = {n: {"project": f"p{(h * PER_HOST + i) % projects:04d}"} for i, n in enumerate(names)}
            world.told, world.sequence = number, number
            report = world.report(at, always(3.0), host=f"hv{h:04d}")
            world.store.history.take(report, at + 1)

    def timed(what: str, work: object) -> float:
        began, worked = time.perf_counter(), time.process_time()
        work()  # type: ignore[operator]
        took = time.perf_counter() - began
        worked = time.process_time() - worked
        print(f"{what:55s} {took:8.2f} s, {worked:8.2f} s of CPU", flush=True)
        return worked

    feed(DAY, 0)
    world.now = DAY + 3
    timed("first look: terms of everybody", lambda: world.loop.run_once(world.now))
    for n in (1, 7, 13, 19, 24):  # a few bins an hour: what is read and counted is as much
        feed(DAY + n * STEP, n)
    world.now = DAY + 2 * 3600 + 3
    world.store.history.compact(world.now)  # as in production: what is counted lies in day chunks already
    timed("a look: nothing changed, and the first hour", lambda: world.loop.run_once(world.now))
    feed(DAY + 27 * STEP, 27)
    world.now = DAY + 27 * STEP + 3
    hour = timed("a look: nothing changed, and one hour", lambda: world.loop.run_once(world.now))
    timed("a look: nothing changed, nothing due", lambda: world.loop.run_once(world.now))
    timed("the list of all statements", lambda: world.statements.rows("2026-11"))
    timed("the list again", lambda: world.statements.rows("2026-11"))
    timed("one statement, line by line", lambda: world.statements.make("p0000", "2026-11", "line"))
    with world.store.db.read() as conn:
        used = conn.exec_driver_sql("select sum(length(data)) from usage").scalar()
    print(
        f"{servers} servers: {used / 1e6:.1f} MB of usage for a day; {hour / 3600:.2%} of one core; "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
