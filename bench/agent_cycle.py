"""The agent's cycle beside the bare bulk-stats call for the same real guests, and over 200 domains of a fake door.

python bench/agent_cycle.py [--guests 50] [--rounds 30]      needs root; a guest takes about 190 MiB of this machine
python bench/agent_cycle.py --guests 0                       the fake door only; needs nothing
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "devstack/lab"), str(ROOT / "tests/support")]

from foreshape_agent import log  # noqa: E402 - after the paths

FAKE_DOMAINS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    log.configure("error")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the bed goes down also then
    if asked.inside:
        measure_real(asked.rounds)
        return
    measure_fake(asked.rounds)
    if asked.guests:
        on_a_bed(asked.guests, asked.rounds)


def on_a_bed(guests: int, rounds: int) -> None:
    """Boot them, then measure from inside their host, where the agent lives."""
    from foreshape_lab import Bed, GuestSpec  # noqa: PLC0415 - the fake part needs no lab

    with Bed("cycle", hosts=1) as bed:
        host = bed.hosts[0]
        bed.start_all([(host, GuestSpec(f"g{n}", memory=96, lean=True, stats_period_s=10)) for n in range(guests)])
        print(host.run_in([sys.executable, __file__, "--inside", "--rounds", str(rounds)], timeout_s=900), end="")


class SilentLink:
    """A controller that takes every report and wants nothing."""

    def exchange(self, report: bytes) -> bytes:
        from foreshape_wire.codec import WIRE_VERSION, decode_report, encode  # noqa: PLC0415 - after the memory of the start is known
        from foreshape_wire.order import Desired, Mode  # noqa: PLC0415

        said = decode_report(report)
        return encode(Desired(version=WIRE_VERSION, host=said.host, issued_at=time.time(), mode=Mode.ACT, accepted=(said.sequence,)))


def measure_real(rounds: int) -> None:
    import libvirt  # noqa: PLC0415

    from foreshape_agent import hypervisor  # noqa: PLC0415
    from foreshape_agent.config import Settings  # noqa: PLC0415
    from foreshape_agent.cycle import Cycle, Doors  # noqa: PLC0415
    from foreshape_agent.host import SystemClock, read_host  # noqa: PLC0415
    from foreshape_agent.spool import Spool  # noqa: PLC0415

    clock = SystemClock()
    daemon = int(Path("/run/libvirt/libvirtd.pid").read_text())
    bare = libvirt.openReadOnly("qemu:///system")
    with TemporaryDirectory() as folder:
        door = hypervisor.LibvirtHypervisor("qemu:///system", clock)
        doors = Doors(door, lambda: read_host(clock), Spool(Path(folder) / "spool.sqlite"), SilentLink(), clock)
        cycle = Cycle(doors, Settings(host="hv1", static_after_s=86400))
        for _ in range(3):  # first sight of every domain, stats periods, caches
            cycle.run_once()
        ours, theirs = [], []
        for _ in range(rounds):  # in turn, so that both see the same machine
            theirs.append(cpu_of(lambda: bare.getAllDomainStats(hypervisor.GROUPS, hypervisor.NOWAIT), daemon))
            ours.append(cpu_of(cycle.run_once, daemon))
    domains = len(bare.listAllDomains())
    cycle_ms, call_ms = (1000 * statistics.median(sum(x) for x in side) for side in (ours, theirs))
    own_ms = 1000 * statistics.median(own for own, _ in ours)
    rss = psutil.Process().memory_info().rss / 1048576
    print(f"{domains} real guests, median of {rounds} rounds in turn, CPU of this process and of libvirtd together:")
    print(f"  agent's cycle {cycle_ms:.1f} ms, bare getAllDomainStats {call_ms:.1f} ms: ratio {cycle_ms / call_ms:.2f} (at most 1.5)")
    print(f"  own CPU of the cycle {own_ms:.1f} ms; resident memory {rss:.0f} MiB (at most 60; the controller's stand-in included)")


def cpu_of(work: Callable[[], object], daemon: int) -> tuple[float, float]:
    """CPU seconds of this process and of libvirtd."""
    own, other = time.process_time(), run_time(daemon)
    work()
    return time.process_time() - own, run_time(daemon) - other


def run_time(pid: int) -> float:
    """CPU seconds of all threads; /proc/PID/stat counts in hundredths only."""
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def measure_fake(rounds: int) -> None:
    from core_support import FakeController  # noqa: PLC0415 - test support, by its own path
    from doors_support import FakeClock, FakeDomain, FakeHypervisor  # noqa: PLC0415
    from foreshape_agent.config import Settings  # noqa: PLC0415
    from foreshape_agent.cycle import Cycle, Doors  # noqa: PLC0415
    from foreshape_agent.host import read_host  # noqa: PLC0415
    from foreshape_agent.spool import Spool  # noqa: PLC0415
    from foreshape_wire.ids import ServerId  # noqa: PLC0415

    clock = FakeClock()
    door = FakeHypervisor(clock)
    for n in range(FAKE_DOMAINS):
        door.add(FakeDomain(server=ServerId(f"00000000-0000-4000-8000-{n:012d}"), name=f"vm{n}"))
    with TemporaryDirectory() as folder:
        doors = Doors(door, lambda: read_host(clock), Spool(Path(folder) / "spool.sqlite"), FakeController(clock), clock)
        cycle = Cycle(doors, Settings(host="hv1", static_after_s=86400))
        own = []
        for n in range(rounds + 3):
            clock.sleep(10)
            reading = timed(door.read_domains)
            whole = timed(cycle.run_once)
            own += [1000 * (whole - reading)] if n >= 3 else []
    print(f"{FAKE_DOMAINS} domains of a fake door, median of {rounds} cycles: own CPU {statistics.median(own):.1f} ms (at most 20)")
    print("  the fake's own reading is taken off; decoding the report and encoding the reply for it is not")


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
