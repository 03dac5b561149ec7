"""From order to effect seen in the guest: the agent's levers against virsh doing the same, in turn, on one real guest.

python bench/lever_latency.py [--rounds 12]      needs root. Both sides are timed by the guest's own console, or, for the cap,
by reading it back. Ratio of medians; at most 1.3 is wanted.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "devstack/lab")]

from foreshape_lab import Bed, Guest, nova_like  # noqa: E402 - after the path

WAIT_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        serve()
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the bed goes down also then
    with Bed("lever", hosts=1) as bed:
        guest = bed.hosts[0].start(nova_like("one")).wait_for_agent()
        hand = Hand(guest)
        try:
            compare("balloon 256 -> 192 MiB and back", guest, hand, asked.rounds, memory_steps(guest))
            compare("guest vCPUs 2 -> 1 and back", guest, hand, asked.rounds, cpu_steps())
        finally:
            hand.close()


class Hand:
    """The agent's levers in a process inside the host, told one order a line."""

    def __init__(self, guest: Guest) -> None:
        words = guest.host.command([sys.executable, __file__, "--inside"])
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pull("", 0, guest.uuid)  # connected, everything imported

    def pull(self, lever: str, target: float, server: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([lever, target, server]) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def serve() -> None:
    """Inside the host: read an order, carry it out as the agent does, say the verdict."""
    from foreshape_agent import levers  # noqa: PLC0415 - needs libvirt, which the outside does not
    from foreshape_agent.host import SystemClock  # noqa: PLC0415
    from foreshape_agent.hypervisor import LibvirtHypervisor  # noqa: PLC0415
    from foreshape_wire.ids import ServerId  # noqa: PLC0415

    clock = SystemClock()
    door = LibvirtHypervisor("qemu:///system", clock)
    by_name = {lever.name.value: lever for lever in levers.ALL}
    for line in sys.stdin:
        name, target, server = json.loads(line)
        domains = {d.identity.server: d for d in door.read_domains()}
        said = by_name[name].apply(door, domains[ServerId(server)], target, clock).verdict.value if name else "ready"
        print(said, flush=True)


Step = tuple[str, float, list[str], Callable[[Guest], bool]]
"""Lever, target, virsh's words for the same, and how the guest shows it."""


def memory_steps(guest: Guest) -> tuple[Step, Step]:
    whole = guest.console.latest.memory_total
    return (
        ("mem.balloon", 192, ["setmem", "one", "192M", "--live"], lambda g: g.console.latest.memory_total <= whole - 64),
        ("mem.balloon", 256, ["setmem", "one", "256M", "--live"], lambda g: g.console.latest.memory_total >= whole),
    )


def cpu_steps() -> tuple[Step, Step]:
    return (
        ("cpu.guest", 1, ["setvcpus", "one", "1", "--guest"], lambda g: g.console.latest.cpus == 1),
        ("cpu.guest", 2, ["setvcpus", "one", "2", "--guest"], lambda g: g.console.latest.cpus == 2),
    )


def compare(what: str, guest: Guest, hand: Hand, rounds: int, steps: tuple[Step, Step]) -> None:
    """Agent and virsh in turn; each takes both steps."""
    ours: list[float] = []
    theirs: list[float] = []
    for n in range(2 * rounds):
        for lever, target, words, seen in steps:
            if n % 2:
                ours.append(latency(lambda: hand.pull(lever, target, guest.uuid), guest, seen))  # noqa: B023 - called at once
            else:
                theirs.append(latency(lambda: guest.host.virsh(*words), guest, seen))  # noqa: B023
    agent, virsh = statistics.median(ours), statistics.median(theirs)
    print(f"{what}: agent {agent * 1000:.0f} ms, virsh {virsh * 1000:.0f} ms: ratio {agent / virsh:.2f} (at most 1.3), {len(ours)} each")


def latency(act: Callable[[], object], guest: Guest, seen: Callable[[Guest], bool]) -> float:
    """Seconds from the order to the line on the console that shows it; the call may still be at its proof then."""
    from threading import Thread  # noqa: PLC0415

    time.sleep(1.2)  # both sides begin at rest
    start = time.monotonic()
    acting = Thread(target=act)
    acting.start()
    while not seen(guest) and time.monotonic() < start + WAIT_S:
        time.sleep(0.005)
    took = time.monotonic() - start
    acting.join(WAIT_S)
    return took


if __name__ == "__main__":
    main()
