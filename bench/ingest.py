"""How many VM samples a second the controller takes: decode, store durably, reply; beside a bare executemany of the same rows.

    python bench/ingest.py [--reports 400] [--vms 50] [--hosts 8] [--rounds 5] [--synchronous full]

Both sides write the same rows of bins, one transaction per report, to SQLite files on the same disk with the same pragmas.
The bare side does nothing else: no decoding, no seen marks, no newest samples, no reply. Rounds alternate, so that a busy
machine hits both. Per CPU second is what one core can do; per wall second also counts the disk and the machine's other work.
"""

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from foreshape_controller.config import Settings
from foreshape_controller.loops.intake import Intake
from foreshape_controller.store import Store
from foreshape_controller.store.bins import bin_start, host_row, vm_row
from foreshape_wire.codec import encode
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import CpuSample, DomainCard, HostReport, HostSample, IoSample, MemorySample, VmSample

START = 1_767_571_200.0  # Monday 5 January 2026, 00:00 UTC
CYCLE_S = 10.0
STEP_S = 300


def main() -> None:
    args = _arguments()
    rounds = [_round(args) for _ in range(args.rounds)]
    ours, bare = ([r[i] for r in rounds] for i in (0, 1))
    count = args.reports * args.vms
    print(f"{args.rounds} rounds of {args.reports} reports from {args.hosts} hosts, {args.vms} VMs each: {count} samples a round")
    print(f"synchronous={args.synchronous}, one thread, message of {len(encode(_report(0, args, 1)))} bytes")
    _say("foreshape: decode + store + reply", ours, count)
    _say("bare sqlite3 executemany", bare, count)
    ratio = statistics.median(o[0] / b[0] for o, b in zip(ours, bare, strict=True))
    print(f"ratio of time, ours / bare: {ratio:.2f} (median of rounds)")
    one_core = statistics.median(count / cpu for _, cpu in ours)
    print(f"target 20,000 samples/s on one core: {'met' if one_core >= 20_000 else 'MISSED'} ({one_core:,.0f} per CPU second)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reports", type=int, default=400)
    parser.add_argument("--vms", type=int, default=50)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--synchronous", choices=("full", "normal"), default="full")
    return parser.parse_args()


def _round(args: argparse.Namespace) -> tuple[tuple[float, float], tuple[float, float]]:
    reports = [_report(n % args.hosts, args, n // args.hosts + 2) for n in range(args.reports)]
    with tempfile.TemporaryDirectory(prefix="foreshape-bench-") as folder:
        ours = _ours(Path(folder), args, reports)
        bare = _bare(Path(folder), args, reports)
    return ours, bare


def _ours(folder: Path, args: argparse.Namespace, reports: Sequence[HostReport]) -> tuple[float, float]:
    settings = Settings()
    store = Store.open(f"sqlite:///{folder}/ours.db", synchronous=args.synchronous)
    intake = Intake(store, replace(settings, agents=replace(settings.agents, token_rotation_days=0)))
    for h in range(args.hosts):
        first = _report(h, args, 1)
        intake.accept(first.host_name, encode(first), first.taken_at)
    messages = [(r.host_name, encode(r), r.taken_at + 0.1) for r in reports]

    def work() -> None:
        for host, data, at in messages:
            intake.accept(host, data, at)

    spent = _timed(work)
    store.close()
    return spent


def _bare(folder: Path, args: argparse.Namespace, reports: Sequence[HostReport]) -> tuple[float, float]:
    """The same rows, made beforehand, by the same statement."""
    store = Store.open(f"sqlite:///{folder}/bare.db", synchronous=args.synchronous)
    sql = store.history.fold_sql
    store.close()
    rows = [_rows(r, args) for r in reports]
    conn = sqlite3.connect(folder / "bare.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute(f"PRAGMA synchronous={args.synchronous}")

    def work() -> None:
        for batch in rows:
            conn.execute("BEGIN IMMEDIATE")
            conn.executemany(sql, batch)
            conn.execute("COMMIT")

    spent = _timed(work)
    conn.close()
    return spent


def _rows(r: HostReport, args: argparse.Namespace) -> list[tuple[object, ...]]:
    base = int(r.host[2:]) * (args.vms + 1)
    at = bin_start(r.taken_at, CYCLE_S, STEP_S)
    assert r.host_sample is not None
    vms = [vm_row(s, at, base + i, STEP_S) for i, s in enumerate(r.samples)]
    return [*vms, host_row(r.host_sample, at, base + args.vms, CYCLE_S)]


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _say(what: str, spent: Sequence[tuple[float, float]], count: int) -> None:
    walls = sorted(count / wall for wall, _ in spent)
    cpu = statistics.median(count / c for _, c in spent)
    print(f"{what:36} {statistics.median(walls):>10,.0f} samples/s (rounds {walls[0]:,.0f} to {walls[-1]:,.0f}); per CPU second {cpu:,.0f}")


def _report(h: int, args: argparse.Namespace, sequence: int) -> HostReport:
    ids = [ServerId(f"00000000-0000-4000-8000-{h:06d}{i:06d}") for i in range(args.vms)]
    return HostReport(
        version=1,
        host=HostName(f"hv{h}"),
        epoch="bench",
        sequence=sequence,
        taken_at=START + CYCLE_S * sequence,
        samples=tuple(_sample(server, i + sequence) for i, server in enumerate(ids)),
        host_sample=HostSample(
            cpus=64,
            memory_total=Memory(524288.0),
            memory_available=Memory(200000.0),
            cpu_used=Cores(20.0),
            cpu_stolen=Cores(0.0),
            load_1m=21.0,
        ),
        cards=tuple(map(_card, ids)) if sequence == 1 else None,
        agent_version="bench",
    )


def _sample(server: ServerId, n: int) -> VmSample:
    used = 0.1 + (n * 7 % 31) / 16
    return VmSample(
        server=server,
        state=DomainState.RUNNING,
        window_s=CYCLE_S,
        cpu=CpuSample(
            used=Cores(used),
            waiting=Cores(0.0125),
            throttled=Cores(0.0),
            demand=Cores(used + 0.0125),
            allocation=Cores(2.0),
            censored=False,
            confidence=1.0,
            guest_vcpus=2,
        ),
        memory=MemorySample(
            demand=Memory(900.0 + n % 200),
            allocation=Memory(2048.0),
            censored=False,
            confidence=0.9,
            rss=Memory(1500.5),
            usable=Memory(1100.25),
        ),
        io=IoSample(read_kib_s=12.5, write_kib_s=80.0, read_iops=3.0, write_iops=9.0, rx_kib_s=4.0, tx_kib_s=6.0),
    )


def _card(server: ServerId) -> DomainCard:
    size = Size(Cores(2.0), Memory(2048.0))
    return DomainCard(
        identity=Identity(server=server, name=f"instance-{server[-6:]}"),
        entitlement=size,
        ceiling=size,
        allocation=size,
        capabilities=(Capability(lever=LeverName.CPU_QUOTA, lowest=0.05, highest=2.0, granule=0.01),),
    )


if __name__ == "__main__":
    main()
