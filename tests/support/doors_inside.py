"""Runs inside a lab host, where an agent runs: the doors as they see a machine of their own. Prints one JSON object.

doors_inside.py cap NAME CORES SECONDS     cap the named domain ("none" lifts it), then measure it for a while
doors_inside.py cost ROUNDS                CPU time of read_domains beside the bare bulk call, same process, taken in turn
"""

import json
import sys
import time

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
    domains = len(DOOR.read_domains())
    with DOOR._talk() as conn:
        spent = {"bulk": 0.0, "read": 0.0}
        for _ in range(int(rounds)):
            for what, call in (("bulk", lambda: conn.getAllDomainStats(GROUPS, NOWAIT)), ("read", DOOR.read_domains)):
                started = time.process_time()
                call()
                spent[what] += time.process_time() - started
    bulk, read = (1e6 * spent[what] / int(rounds) for what in ("bulk", "read"))
    return {"domains": domains, "bulk_us": round(bulk), "read_us": round(read), "ratio": round(read / bulk, 2)}


if __name__ == "__main__":
    print(json.dumps({"cap": cap, "cost": cost}[sys.argv[1]](*sys.argv[2:])))
