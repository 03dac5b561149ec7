"""One decision cycle over 1,000 hosts and 30,000 servers: time of each step, memory, how both grow with the number of servers.

    python bench/plan_cycle.py [--servers 1000 3000 10000 30000] [--cycles 5] [--mode act] [--against CHECKOUT]

Each size runs in a process of its own on a store of its own (SQLite, in a temporary folder), 30 servers a host. Reports, with cards,
come in through the store's own intake, one per host before every cycle; the hours before them are written by the store's own packing
(day chunks of a pool of made-up days, and the bins that are still open). The program is put together as it always is, with everybody
who is asked and told by a plan; only forecasts are made up, which have benchmarks of their own. --against runs the same cycles with
another checkout's code, in turn with this one's, as the peer.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from foreshape_controller.config import Settings
from foreshape_controller.loops.ahead import Ahead
from foreshape_controller.loops.plan import PlanLoop
from foreshape_controller.main import build
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, RESOURCES
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store import Store
from foreshape_controller.store import chunks as packed
from foreshape_controller.store.bins import vm_row
from foreshape_controller.store.schema import SUMS
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import CpuSample, DomainCard, HostReport, HostSample, IoSample, MemorySample, VmSample

GOAL_S, GOAL_MIB, GOAL_AT = 5.0, 2048.0, 30_000
GOAL_GROWTH = 1.05
"""Exponent of cost over servers, as fitted: 1 is linear, and the fit is not exact."""

PER_HOST, STEP_S, PLAN_S = 30, 300, 60.0
NOW = 1_767_582_000.0  # Monday 5 January 2026, 03:00 UTC: six hours of memory's hold reach into the day before
OPEN_BINS = 5
"""Closed bins wait for the packing, which runs every quarter of an hour."""
POOL = 256
"""Different made-up days."""
FLAVORS = ((1.0, 2048.0), (2.0, 4096.0), (4.0, 8192.0), (8.0, 16384.0))
TIERS = ("guaranteed", "standard", "standard", "economy")


@dataclass(frozen=True)
class Vm:
    """A made-up server: what it was sold, and the shares of it that it uses."""

    id: ServerId
    cores: float
    mib: float
    cpu_share: float
    memory_share: float
    tier: str

    @property
    def sold(self) -> Size:
        return Size(Cores(self.cores), Memory(self.mib))


# -- the cloud ----------------------------------------------------------------------------------------------------------


def make_vms(n: int) -> list[Vm]:
    rng = np.random.default_rng(1)
    cpu, memory = rng.beta(1.2, 3.0, n), 0.2 + 0.6 * rng.random(n)
    ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]
    kinds = [FLAVORS[i] for i in rng.integers(0, len(FLAVORS), n)]
    return [Vm(ServerId(s), *kinds[i], float(cpu[i]), float(memory[i]), TIERS[i % len(TIERS)]) for i, s in enumerate(ids)]


class Cloud:
    """Hosts that report their servers, each number a little different each time."""

    def __init__(self, vms: Sequence[Vm], store: Store) -> None:
        self.vms, self.store = vms, store
        self.hosts = [vms[i : i + PER_HOST] for i in range(0, len(vms), PER_HOST)]
        self._rng = np.random.default_rng(2)
        self._sequence = 0

    def report(self, at: float) -> None:
        """One report of every host through the store's intake; the first brings the cards."""
        self._sequence += 1
        for h, vms in enumerate(self.hosts):
            noise = self._rng.gamma(16.0, 1 / 16, len(vms)).tolist()
            report = HostReport(
                version=1,
                host=HostName(f"hv{h:04d}"),
                epoch="bench",
                sequence=self._sequence,
                taken_at=at,
                samples=tuple(sample(vm, x) for vm, x in zip(vms, noise, strict=True)),
                host_sample=host_sample(),
                cards=tuple(map(card, vms)) if self._sequence == 1 else None,
                agent_version="bench",
            )
            self.store.history.take(report, at)


def sample(vm: Vm, noise: float) -> VmSample:
    used = round(min(vm.cores, vm.cores * vm.cpu_share * noise), 4)
    demand = round(vm.mib * vm.memory_share * (1 + (noise - 1) / 50), 3)
    return VmSample(
        server=vm.id,
        state=DomainState.RUNNING,
        window_s=10.0,
        cpu=CpuSample(
            used=Cores(used),
            waiting=Cores(0.0125),
            throttled=Cores(0.0),
            demand=Cores(used + 0.0125),
            allocation=Cores(vm.cores),
            censored=used >= 0.97 * vm.cores,
            confidence=1.0,
            guest_vcpus=int(vm.cores),
        ),
        memory=MemorySample(
            demand=Memory(demand),
            allocation=Memory(vm.mib),
            censored=False,
            confidence=0.9,
            rss=Memory(vm.mib * 0.8),
            usable=Memory(vm.mib - demand - 60),
        ),
        io=IoSample(read_kib_s=12.5, write_kib_s=80.0, read_iops=3.0, write_iops=9.0, rx_kib_s=4.0, tx_kib_s=6.0),
    )


def host_sample() -> HostSample:
    total = Memory(196608.0)
    return HostSample(
        cpus=64, memory_total=total, memory_available=Memory(60000.0), cpu_used=Cores(20.0), cpu_stolen=Cores(0.0), load_1m=21.0
    )


def card(vm: Vm) -> DomainCard:
    return DomainCard(
        identity=Identity(
            server=vm.id,
            name=f"instance-{vm.id[:8]}",
            project=f"p{int(vm.id[:4], 16) % 700}",
            flavor=f"m{vm.cores:.0f}",
            image="ubuntu",
            display_name=f"vm-{vm.id[:8]}",
        ),
        entitlement=vm.sold,
        ceiling=vm.sold,
        allocation=vm.sold,
        capabilities=(
            Capability(lever=LeverName.CPU_QUOTA, lowest=0.05, highest=vm.cores, granule=0.01),
            Capability(lever=LeverName.CPU_HOTPLUG, reason="all its vCPUs are plugged in, and none can be unplugged"),
            Capability(lever=LeverName.MEM_BALLOON, lowest=256.0, highest=vm.mib, granule=1.0),
            Capability(lever=LeverName.MEM_VIRTIO, reason="the domain has no virtio-mem device"),
        ),
    )


# -- what was before ----------------------------------------------------------------------------------------------------


def fill(store: Store, vms: Sequence[Vm], now: float = NOW, days: int = 1) -> None:
    """Whole days of CPU and memory before today's, in day chunks, and the bins that are not packed yet, in the store's own formats."""
    numbers = _numbers(store)
    with store.db.write() as conn:
        for first in range(0, len(vms), 2000):
            rows = [row for vm in vms[first : first + 2000] for row in _chunk_rows(vm, numbers[vm.id], int(now), days)]
            store.history._put_chunk.run(conn, rows)
    for b in range(1, OPEN_BINS + 1):
        at = int(now) // STEP_S * STEP_S - b * STEP_S
        with store.db.write() as conn:
            store.history._fold.run(conn, [_bin_row(vm, numbers[vm.id], at) for vm in vms])
    _age(store)


def _numbers(store: Store) -> dict[str, int]:
    with store.db.read() as conn:
        return {name: int(number) for name, number in conn.exec_driver_sql("SELECT name, id FROM series").all()}


def _age(store: Store) -> None:
    """They have been here for a week, and are of several tiers."""
    with store.db.write() as conn:
        conn.exec_driver_sql("UPDATE series SET first_seen = first_seen - 604800")
        conn.exec_driver_sql("UPDATE servers SET first_seen = first_seen - 604800")
        for i, tier in enumerate(("guaranteed", "economy")):
            conn.exec_driver_sql(f"UPDATE servers SET tier = '{tier}' WHERE rowid % 4 = {i}")


def _bin_row(vm: Vm, number: int, at: int) -> tuple[object, ...]:
    """As if 30 samples had come."""
    row = list(vm_row(sample(vm, 1.0), at, number, STEP_S))
    row[2 : 2 + len(SUMS)] = [x * 30 for x in row[2 : 2 + len(SUMS)]]
    return tuple(row)


def _chunk_rows(vm: Vm, number: int, now: int, days: int) -> Iterator[tuple[object, ...]]:
    today, kind = now // 86400, int(vm.id[:6], 16) % POOL
    until = max(0, (now % 86400) // STEP_S - OPEN_BINS)
    level = f"{vm.cores:.0f}"
    for part in ("cpu", "memory"):
        for day in range(days):
            yield (number, part, today - 1 - day, _day(part, level, (kind + day) % POOL, BINS_PER_DAY))
        yield (number, part, today, _day(part, level, kind, until))


_days: dict[tuple[str, str, int, int], bytes] = {}


def _day(part: str, level: str, kind: int, bins: int) -> bytes:
    """One of the pool's days, packed."""
    key = (part, level, kind, bins)
    if key not in _days:
        rng = np.random.default_rng([kind, len(part), bins])
        columns = packed.empty(part)
        scale = float(level) * (1.0 if part == "cpu" else 2048.0)
        use = scale * (rng.beta(1.2, 3.0) + 0.1 * rng.random(bins)) if part == "cpu" else scale * (0.4 + 0.02 * rng.random(bins))
        columns[f"{part}_s"][:bins] = STEP_S
        columns[f"{part}_sum"][:bins] = use * STEP_S
        columns[f"{part}_alloc_sum"][:bins] = scale * STEP_S
        columns[f"{part}_max"][:bins] = use * 1.4 if part == "cpu" else use * 1.01
        _days[key] = packed.pack(part, columns)
    return _days[key]


class Foreseen:
    """Ready forecasts, as large as real ones."""

    def __init__(self, vms: Sequence[Vm]) -> None:
        self._made = {r: _forecast(r, vms) for r in RESOURCES}

    def run_once(self, now: float, view: ClusterView) -> Mapping[str, Forecast]:  # noqa: ARG002  the seam's words
        return self._made

    def newest(self, view: ClusterView) -> Ahead:  # noqa: ARG002
        return Ahead(self._made)


def _forecast(of: str, vms: Sequence[Vm]) -> Forecast:
    rng, n, q = np.random.default_rng(3), len(vms), len(LEVELS)
    middle = np.array([vm.cores * vm.cpu_share if of == "cpu" else vm.mib * vm.memory_share for vm in vms], np.float32)
    spread = np.sort(rng.lognormal(0.1 if of == "cpu" else 0.01, 0.4 if of == "cpu" else 0.03, (n, q)), axis=1)
    peaks = (middle[:, None] * spread).astype(np.float32)
    return Forecast(
        resource=of,
        series=tuple(str(vm.id) for vm in vms),
        origin=int(NOW),
        steps=np.repeat(peaks[:, None, :], 6, axis=1),
        half_hours=np.repeat(peaks[:, None, :], HALF_HOURS, axis=1),
        peak30m=peaks,
        peak24h=peaks * np.float32(1.2),
        source=("baseline",) * n,
        reason=("7.0 days of its own history",) * n,
        age_s=np.full(n, 604800.0),
    )


# -- one size, in a process of its own ----------------------------------------------------------------------------------


def measure(n: int, cycles: int, mode: Mode) -> dict[str, object]:
    """Build a store of n servers and run cycles on it; steps in seconds, by cycle."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="foreshape-bench-") as folder:
        vms = make_vms(n)
        store, loop = program(folder, vms)
        cloud = Cloud(vms, store)
        cloud.report(NOW - 5)
        fill(store, vms)
        store.modes.set("cloud", mode, "bench", NOW)
        before, empty = _rss_mib(), _tables_bytes(store)
        ran = [_cycle(loop, cloud, NOW + PLAN_S * i) for i in range(cycles + 1)]
        kept = (_tables_bytes(store) - empty) / len(ran)
        rows = store.journal.counts()
        store.close()
    orders = rows["orders"] / len(ran)
    return {"servers": n, "ran": ran, "peak_mib": _peak_mib(), "before_mib": before, "plan_bytes": kept, "orders": orders}


def program(folder: str, vms: Sequence[Vm]) -> tuple[Store, PlanLoop]:
    """The controller as it is put together, everybody who is asked and told by a plan with it; only forecasts are made up."""
    base = Settings()
    settings = replace(
        base,
        store=replace(base.store, url=f"sqlite:///{folder}/plan.db"),
        api=replace(base.api, admin_token_file=""),
        plan=replace(base.plan, tiers_file="", segments_file=""),
    )
    made = build(settings, lambda: NOW)
    made.plan_loop.foresight = Foreseen(vms)
    return made.store, made.plan_loop


def _cycle(loop: PlanLoop, cloud: Cloud, now: float) -> dict[str, float]:
    cloud.report(now - 5)
    wall, cpu = time.perf_counter(), time.process_time()
    loop.run_once(now)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**getattr(loop, "took", {}), **took}


def _tables_bytes(store: Store) -> int:
    """Bytes of what plans leave behind, by the tables' own payload."""
    parts = {"plan_tables": "data", "decisions": "data", "wishes": "data", "wanted": "server", "plans": "notes"}
    with store.db.read() as conn:
        there = {row[0] for row in conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
        asked = [f"SELECT COALESCE(SUM(LENGTH({c}) + 32), 0) FROM {t}" for t, c in parts.items() if t in there]
        return sum(int(conn.exec_driver_sql(sql).scalar_one()) for sql in asked)


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1048576


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- all sizes ----------------------------------------------------------------------------------------------------------


def child(n: int, args: argparse.Namespace, checkout: Path | None) -> dict[str, object]:
    """``checkout``: run its own copy of this benchmark on its own code."""
    environment, file = dict(os.environ), Path(__file__)
    if checkout is not None:
        file = checkout / "bench" / file.name
        environment["PYTHONPATH"] = os.pathsep.join(str(checkout / part) for part in ("agent", "controller"))
    command = [sys.executable, str(file), "--child", str(n), "--cycles", str(args.cycles), "--mode", args.mode]
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return found


def say(found: Mapping[str, object]) -> float:
    """One size in a few lines; returns the middle cycle's CPU seconds."""
    ran: Sequence[Mapping[str, float]] = found["ran"]  # type: ignore[assignment]
    first, rest = ran[0], ran[1:]
    middle = {name: statistics.median(r[name] for r in rest) for name in rest[0]}
    steps = ", ".join(f"{name} {middle[name]:.2f}" for name in middle if name not in ("wall", "cpu"))
    print(
        f"{found['servers']:>6} servers: cycle {middle['wall']:.2f} s, CPU {middle['cpu']:.2f} s "
        f"(first cycle after a start {first['wall']:.2f} s, CPU {first['cpu']:.2f} s), peak {found['peak_mib']:.0f} MiB "
        f"({found['before_mib']:.0f} before the first), {found['plan_bytes'] / 1024:.0f} KiB kept per plan, {found['orders']:.0f} orders"  # type: ignore[operator]
    )
    if steps:
        print(f"        {steps}")
    return middle["cpu"]


def growth(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Exponent k of cost = a · servers^k, least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def verdict(found: Mapping[str, object], exponent: float) -> bool:
    ran: Sequence[Mapping[str, float]] = found["ran"]  # type: ignore[assignment]
    wall, cpu = (statistics.median(r[clock] for r in ran[1:]) for clock in ("wall", "cpu"))
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    spent = cpu if busy else wall
    if busy:
        print(f"others keep this machine busy, load {os.getloadavg()[0]:.1f}: judged by CPU seconds, all of one thread, not by the clock")
    peak = float(found["peak_mib"])  # type: ignore[arg-type]
    told = [
        (f"cycle at {found['servers']} servers", f"{spent:.2f} s", f"{GOAL_S:.0f} s", spent <= GOAL_S),
        ("memory of the process", f"{peak:.0f} MiB", f"{GOAL_MIB:.0f} MiB", peak <= GOAL_MIB),
        ("growth of CPU seconds", f"servers^{exponent:.2f}", f"servers^{GOAL_GROWTH}", exponent <= GOAL_GROWTH),
    ]
    for what, is_now, goal, met in told:
        print(f"goal {what} at most {goal}: {is_now}, {'met' if met else 'MISSED'}")
    return all(met for *_, met in told)


def main() -> int:
    args = _arguments()
    if args.child:
        print(json.dumps(measure(args.child, args.cycles, Mode(args.mode))))
        return 0
    print(f"mode {args.mode}, {args.cycles} cycles each after a first one, load of the machine before: {os.getloadavg()[0]:.1f}")
    costs, last = [], {}
    for n in args.servers:
        last = child(n, args, None)
        costs.append(say(last))
        if args.against:
            print("  peer: ", end="")
            print(f"        ratio of CPU, peer / this: {say(child(n, args, args.against)) / costs[-1]:.1f}")
    exponent = growth(args.servers, costs) if len(costs) > 1 else 1.0
    return 0 if verdict(last, exponent) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--servers", type=int, nargs="+", default=[1000, 3000, 10_000, GOAL_AT])
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--mode", choices=[m.value for m in Mode], default="act")
    parser.add_argument("--against", type=Path, help="a checkout of another version, measured in turn")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
