"""Runs inside a lab host, where an agent runs: the doors as they see a machine of their own. Prints one JSON object.

doors_inside.py cap NAME CORES SECONDS     cap the named domain ("none" lifts it), then measure it for a while
doors_inside.py cost ROUNDS                CPU time of read_domains beside the bare bulk call, same process, taken in turn
"""

import json
import sys
import time
from pathlib import Path

import msgspec

from foreshape_agent.host import SystemClock
from foreshape_agent.hypervisor import GROUPS, NOWAIT, LibvirtHypervisor
from foreshape_agent.levers import ALL
from foreshape_wire.reading import DomainReading, LeverName

CLOCK = SystemClock()
DOOR = LibvirtHypervisor("qemu:///system", CLOCK)


def named(name: str) -> DomainReading:
    return next(r for r in DOOR.read_domains() if r.identity.name == name)


def cap(name: str, cores: str, seconds: str) -> dict[str, object]:
    before = named(name)
    assert before.cpu is not None
    target = float(before.cpu.current) if cores == "none" else float(cores)
    lever = next(lever for lever in ALL if lever.name is LeverName.CPU_QUOTA)
    pull = lever.apply(DOOR, before, target, CLOCK)
    first = named(name)
    deadline = CLOCK.monotonic() + float(seconds)
    while (last := named(name)).monotonic_s < deadline:
        CLOCK.sleep(0.5)
    assert first.cpu is not None
    assert last.cpu is not None
    wall = last.monotonic_s - first.monotonic_s
    throttled = [r.cpu.throttled_ns for r in (first, last) if r.cpu]
    return {
        "pull": msgspec.to_builtins(pull),
        "used": (last.cpu.run_ns - first.cpu.run_ns) / 1e9 / wall,
        "waiting": sum((b.delay_ns or 0) - (a.delay_ns or 0) for a, b in zip(first.cpu.vcpus, last.cpu.vcpus, strict=True)) / 1e9 / wall,
        "throttled_s": None if None in throttled else (throttled[1] - throttled[0]) / 1e9,  # type: ignore[operator]
        "instance": last.instance,
        "note": last.note,
    }


def cost(rounds: str) -> dict[str, object]:
    domains, turns = len(DOOR.read_domains()), int(rounds)
    conn = DOOR._conn
    spent = {"bulk": [0.0, 0.0], "read": [0.0, 0.0]}
    for _ in range(turns):
        for what, call in (("bulk", lambda: conn.getAllDomainStats(GROUPS, NOWAIT)), ("read", DOOR.read_domains)):
            before, daemon = time.process_time(), daemon_s()
            call()
            spent[what][0] += time.process_time() - before
            spent[what][1] += daemon_s() - daemon
    bulk, read = ({"here_us": round(1e6 * here / turns), "libvirtd_us": round(1e6 * there / turns)} for here, there in spent.values())
    ratios = {"ratio_here": read["here_us"] / bulk["here_us"], "ratio_whole": sum(read.values()) / sum(bulk.values())}
    return {"domains": domains, "bulk": bulk, "read": read} | {name: round(ratio, 2) for name, ratio in ratios.items()}


def daemon_s() -> float:
    """CPU time libvirtd has had, to the ns."""
    tasks = Path(f"/proc/{Path('/run/libvirt/libvirtd.pid').read_text().strip()}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    print(json.dumps({"cap": cap, "cost": cost}[sys.argv[1]](*sys.argv[2:])))
