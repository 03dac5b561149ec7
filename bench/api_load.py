"""1,000 agents with 30 servers each report every 10 s to a real controller process, while tenants read: latency, losses, CPU, memory.

    python bench/api_load.py [--agents 1000] [--vms 30] [--every 10] [--seconds 180] [--reads 10] [--tls] [--days 6] [--mode act]

The controller is a process of its own, put together as it always is, on a SQLite file, with all its loops at their real intervals and
a week of history of every server. Two things are stand-ins: Keystone (a token is a project's name; the policy does the rest), and the
agents' hypervisors: their messages are made of the wire's own types, each over its own kept-alive connection to loopback, at its own
instant of the ten seconds. A latency counts from when the message was due, not from when there was time to send it. At the end every
sequence number that was acknowledged is looked for in the store, and every sample of theirs: each must have been counted exactly once.
"""

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from plan_cycle import Vm, card, fill, host_sample, make_vms, sample

from foreshape_controller.store import Store
from foreshape_wire.codec import decode_desired, encode
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode
from foreshape_wire.sample import HostReport

GOAL_REPORT_MS, GOAL_READ_MS = 250.0, 200.0
SETTLE_S = 30.0
"""Left out of the figures: the first view, the first plan and the first forecasts after a start."""
EPOCH = "load"
READS = ("server", "list", "forecast", "why", "why", "server")


def main() -> int:
    args = _arguments()
    if args.serve:
        return serve(args.serve)
    with tempfile.TemporaryDirectory(prefix="foreshape-load-", dir=args.folder) as folder:
        return run(Path(folder), args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=30)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two reports of an agent")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--reads", type=float, default=10.0, help="tenants' reads per second")
    parser.add_argument("--days", type=int, default=6, help="whole days of history before today's")
    parser.add_argument("--mode", choices=[m.value for m in Mode], default="advise")
    parser.add_argument(
        "--operators", action="store_true", help="reads are by operators, of one server each: for versions before tenants' own"
    )
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--no-loops", action="store_true", help="no plan and no forecast meanwhile")
    parser.add_argument("--profile", type=Path, help="where py-spy's flame graph goes")
    parser.add_argument("--folder", help="where the database lies")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# -- the controller -----------------------------------------------------------------------------------------------------


def serve(conf: Path) -> int:
    """The real program; only Keystone is a stand-in."""
    from foreshape_controller import log, main, tls  # noqa: PLC0415  of the other process
    from foreshape_controller.config import load  # noqa: PLC0415
    from foreshape_controller.model.caller import Caller  # noqa: PLC0415

    class Keystone:
        """A token is a project's name; that of operators is ``operators``."""

        def known(self, token: str) -> Caller:
            roles = {"reader", "member"} | ({"admin"} if token == "operators" else set())
            return Caller(user=f"u-{token}", name=token, project=token, project_name=token, roles=frozenset(roles))

        ask = known

        def familiar(self, token: str) -> bool:  # noqa: ARG002
            return True

    settings = load(conf)
    log.configure(settings.log.level, settings.log.format)
    pair = tls.prepare(settings.api)
    return main._serve(main.build(settings, tokens=Keystone()), pair)


@dataclass
class Controller:
    """The process under load."""

    folder: Path
    args: argparse.Namespace
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        hour = "interval_s = 3600" if self.args.no_loops else ""
        tls = "self-signed" if self.args.tls else "off"
        conf = self.folder / "controller.conf"
        conf.write_text(
            f"[store]\nurl = sqlite:///{self.folder}/load.db\n[api]\nport = 0\ntls = {tls}\nadmin_token_file = {self.folder}/admin-token\n"
            f"[plan]\ntiers_file =\nsegments_file =\n{hour}\n[learn]\nmodels_dir = {self.folder}/models\n[log]\nformat = json\n"
        )
        self.log = self.folder / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, __file__, "--serve", str(conf)], stdout=out, stderr=out)

    def listening(self) -> dict[str, str]:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if '"listening"' in line:
                    found: dict[str, str] = json.loads(line)
                    return found
            time.sleep(0.2)
        raise SystemExit(f"the controller did not start:\n{self.log.read_text()[-3000:]}")

    def cpu_s(self) -> float:
        """Of all its processes."""
        ticks = 0
        for pid in self._pids():
            parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(parts[11]) + int(parts[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> list[float]:
        """Of each of its processes."""
        found = []
        for pid in self._pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            found.append(next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024)
        return found

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        try:
            return str(self.process.wait(120))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
            return "none within 120 s: killed"


# -- agents -------------------------------------------------------------------------------------------------------------


@dataclass
class Wire:
    """One kept-alive connection, and no more of HTTP than this needs."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, headers: str, body: bytes = b"") -> tuple[int, bytes]:
        if self._writer is None or self._writer.is_closing() or (self._reader is not None and self._reader.at_eof()):
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        assert self._reader is not None
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        data = await self._reader.readexactly(int(fields.get("content-length", "0")))
        return int(lines[0].split()[1]), data

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


@dataclass
class Agent:
    """Reports at its own instant, again and again, and repeats what was not acknowledged."""

    number: int
    vms: Sequence[Vm]
    token: str
    wire: Wire
    acked: list[int] = field(default_factory=list)
    sequence: int = 1

    def report(self, noise: Sequence[float], at: float) -> HostReport:
        return HostReport(
            version=1,
            host=HostName(f"hv{self.number:04d}"),
            epoch=EPOCH,
            sequence=self.sequence,
            taken_at=at,
            samples=tuple(sample(vm, x) for vm, x in zip(self.vms, noise, strict=True)),
            host_sample=host_sample(),
            cards=tuple(map(card, self.vms)) if self.sequence == 1 else None,
            agent_version="load",
        )

    async def live(self, figures: "Figures", first: float, every: float, until: float) -> None:
        rng = np.random.default_rng(self.number)
        due = first
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.sequence += 1
            await self._told(encode(self.report(rng.gamma(16.0, 1 / 16, len(self.vms)).tolist(), time.time())), due, figures)
            due += every

    async def _told(self, body: bytes, due: float, figures: "Figures") -> None:
        headers = f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
        for _ in range(30):
            try:
                status, data = await asyncio.wait_for(self.wire.ask("POST", "/v1/reports", headers, body), 60)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self.wire.drop()
                figures.failures["connection"] = figures.failures.get("connection", 0) + 1
                await asyncio.sleep(0.5)
                continue
            if status == 200 and self.sequence in decode_desired(data).accepted:
                figures.reports.append((due, (time.monotonic() - due) * 1000))
                self.acked.append(self.sequence)
                return
            figures.failures[str(status)] = figures.failures.get(str(status), 0) + 1
            await asyncio.sleep(1 if time.monotonic() < due + 30 else 0)


@dataclass
class Figures:
    """What was seen: (when it was due, milliseconds)."""

    reports: list[tuple[float, float]] = field(default_factory=list)
    reads: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    """How late the driver itself woke up, ms: what the machine's other work adds to every figure."""


async def tenants(wires: Sequence[Wire], vms: Sequence[Vm], figures: Figures, args: argparse.Namespace, until: float) -> None:
    """Reads at a steady rate, each kind in its turn, by whoever's connection is free."""
    free: asyncio.Queue[Wire] = asyncio.Queue()
    for w in wires:
        free.put_nowait(w)
    rng, n, asked = np.random.default_rng(4), 0, set[asyncio.Task[None]]()
    due = time.monotonic()
    reads = [r for r in READS if r != "list"] if args.operators else READS
    while args.reads > 0 and due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        figures.late.append((time.monotonic() - due) * 1000)
        vm = vms[int(rng.integers(len(vms)))]
        task = asyncio.create_task(_read(free, reads[n % len(reads)], vm, due, (figures, "operators" if args.operators else "")))
        asked.add(task)
        task.add_done_callback(asked.discard)
        n, due = n + 1, due + 1 / args.reads
    if asked:
        await asyncio.wait(asked, timeout=60)


async def _read(free: "asyncio.Queue[Wire]", what: str, vm: Vm, due: float, by: tuple[Figures, str]) -> None:
    figures, project = by[0], by[1] or f"p{int(vm.id[:4], 16) % 700}"
    path = {"server": f"/v1/servers/{vm.id}", "list": "/v1/servers"}.get(what, f"/v1/servers/{vm.id}/{what}")
    wire = await free.get()
    try:
        status, data = await asyncio.wait_for(wire.ask("GET", path, f"X-Auth-Token: {project}\r\n"), 60)
        key = what if status == 200 else f"{what} {status}"
        figures.reads.setdefault(key, []).append((due, (time.monotonic() - due) * 1000))
        if what == "list" and status == 200 and len(json.loads(data)) > 400:
            figures.failures["list of others' servers"] = figures.failures.get("list of others' servers", 0) + 1
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        wire.drop()
        figures.failures[f"{what} connection"] = figures.failures.get(f"{what} connection", 0) + 1
    finally:
        free.put_nowait(wire)


# -- the run ------------------------------------------------------------------------------------------------------------


def prepare(folder: Path, vms: Sequence[Vm], args: argparse.Namespace) -> list[str]:
    """A database in which every agent is enrolled and every server has a week behind it. Returns the tokens."""
    store = Store.open(f"sqlite:///{folder}/load.db", synchronous="normal")
    now, tokens = time.time(), []
    for n in range(args.agents):
        agent = Agent(n, vms[n * args.vms : (n + 1) * args.vms], "", Wire("", 0, None))
        store.history.take(agent.report([1.0] * args.vms, now), now)
        join = store.agents.join_token(f"hv{n:04d}", now, 60)
        tokens.append(store.agents.enrol(f"hv{n:04d}", join, now))
    fill(store, vms, now, args.days)
    store.modes.set("cloud", Mode(args.mode), "bench", now)
    store.close()
    return tokens


def run(folder: Path, args: argparse.Namespace) -> int:
    print(f"{args.agents} agents, {args.vms} servers each, every {args.every:g} s, {args.seconds:.0f} s, {args.reads:g} reads/s, ", end="")
    loops = "off" if args.no_loops else "on"
    print(f"TLS {'on' if args.tls else 'off'}, mode {args.mode}, loops {loops}, load before {os.getloadavg()[0]:.1f}")
    vms = make_vms(args.agents * args.vms)
    began, since = time.monotonic(), int(time.time()) // 300 * 300 - 300
    tokens = prepare(folder, vms, args)
    before = counted(folder / "load.db", since)
    print(f"database of {(folder / 'load.db').stat().st_size / 2**20:.0f} MiB made in {time.monotonic() - began:.0f} s", flush=True)
    controller = Controller(folder, args)
    try:
        said = controller.listening()
        spy = _spy(controller, args)
        figures, agents, spent = asyncio.run(_drive(controller, said, vms, tokens, args))
        peak = controller.peak_mib()
        ok = _say(figures, spent)
        if spy:
            spy.wait(60)
    finally:
        status = controller.stop()
    each, load = " + ".join(f"{x:.0f}" for x in peak), os.getloadavg()[0]
    print(f"memory: {each} MiB at the peak; exit status {status}; load of the machine {load:.1f}")
    _say_loops(controller.log.read_text())
    lost = losses(folder / "load.db", agents, since, before)
    print(f"losses: {lost or 'none'}; failures met: {figures.failures or 'none'}")
    return 0 if ok and not lost else 1


def _spy(controller: Controller, args: argparse.Namespace) -> "subprocess.Popen[bytes] | None":
    if args.profile is None:
        return None
    seconds = str(int(args.seconds))
    command = ["py-spy", "record", "-p", str(controller.process.pid), "-d", seconds, "-r", "50", "-t", "-f", "raw", "-o", str(args.profile)]
    return subprocess.Popen(command)


async def _drive(
    controller: Controller, said: dict[str, str], vms: Sequence[Vm], tokens: Sequence[str], args: argparse.Namespace
) -> tuple[Figures, list[Agent], dict[str, float]]:
    port = int(said["url"].rsplit(":", 1)[1])
    context = ssl.create_default_context(cafile=said["ca_file"]) if args.tls else None
    if context is not None:
        context.check_hostname = False
    agents = [Agent(n, vms[n * args.vms : (n + 1) * args.vms], t, Wire("127.0.0.1", port, context), [1]) for n, t in enumerate(tokens)]
    figures, start = Figures(), time.monotonic() + 1
    until = start + SETTLE_S + args.seconds
    live = [a.live(figures, start + args.every * a.number / args.agents, args.every, until) for a in agents]
    readers = [Wire("127.0.0.1", port, context) for _ in range(32)]
    measured = asyncio.create_task(_settled(controller, start + SETTLE_S, until))
    await asyncio.gather(*live, tenants(readers, vms, figures, args, until))
    cpu, wall = await measured
    for w in (*readers, *(a.wire for a in agents)):
        w.drop()
    kept = Figures(
        [x for x in figures.reports if x[0] >= start + SETTLE_S],
        {k: [x for x in v if x[0] >= start + SETTLE_S] for k, v in figures.reads.items()},
        figures.failures,
        figures.late,
    )
    return kept, agents, {"cpu": cpu, "wall": wall}


async def _settled(controller: Controller, begin: float, until: float) -> tuple[float, float]:
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    cpu, wall = controller.cpu_s(), time.monotonic()
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    return controller.cpu_s() - cpu, time.monotonic() - wall


def _say(figures: Figures, spent: dict[str, float]) -> bool:
    reports = [ms for _, ms in figures.reports]
    print(f"controller: {spent['cpu']:.1f} CPU s in {spent['wall']:.0f} s ({spent['cpu'] / spent['wall']:.2f} cores), ", end="")
    print(f"{1000 * spent['cpu'] / max(1, len(reports)):.2f} CPU s per 1,000 reports, everything included")
    if figures.late:
        print(f"driver woke up late by: {_words(figures.late)}")
    print(f"{'report':16} {_words(reports)}")
    for what, found in sorted(figures.reads.items()):
        print(f"{what:16} {_words([ms for _, ms in found])}")
    reads = [ms for found in figures.reads.values() for _, ms in found]
    print(f"{'all reads':16} {_words(reads)}")
    _say_when(figures.reports)
    told = (("report", reports, GOAL_REPORT_MS), ("read", reads, GOAL_READ_MS))
    missed = [what for what, found, goal in told if found and _at(found, 0.99) > goal]
    verdict = f"MISSED: {', '.join(missed)}" if missed else "met"
    print(f"goals report p99 <= {GOAL_REPORT_MS:.0f} ms, read p99 <= {GOAL_READ_MS:.0f} ms: {verdict}")
    return not missed


def _say_when(reports: Sequence[tuple[float, float]]) -> None:
    """The fifths of a minute in which reports were slow, by the wall clock, so that the log tells what went on then."""
    zone, slow = time.time() - time.monotonic(), dict[int, list[float]]()
    for due, ms in reports:
        if ms > GOAL_REPORT_MS:
            slow.setdefault(int(due + zone) // 12, []).append(ms)
    for at, found in sorted(slow.items()):
        print(f"  from {time.strftime('%H:%M:%S', time.gmtime(at * 12))} on: {len(found)} reports took longer, at most {max(found):.0f} ms")


def _words(ms: Sequence[float]) -> str:
    if not ms:
        return "none"
    return f"n {len(ms):>6}  p50 {statistics.median(ms):7.1f}  p90 {_at(ms, 0.9):7.1f}  p99 {_at(ms, 0.99):7.1f}  max {max(ms):7.1f} ms"


def _at(ms: Sequence[float], share: float) -> float:
    return float(np.quantile(np.array(ms), share))


def _say_loops(log: str) -> None:
    """What the loops did meanwhile, in their own words."""
    lines = [json.loads(x) for x in log.splitlines() if x.startswith("{")]
    plans = [x for x in lines if x.get("event") == "plan"]
    if plans:
        walls = [round(sum(x["took"].values()), 1) for x in plans]
        ends = [str(x.get("timestamp", ""))[11:19] for x in plans]
        print(f"plans: {len(plans)}, of {walls} s, written at {ends}; forecasts were {plans[-1].get('forecast_age_s')} old at the last")
    for x in [x for x in lines if x.get("level") in ("error", "warning")][:5]:
        print("log:", {k: str(v)[-400:] for k, v in x.items()})


def counted(database: Path, since: int) -> dict[str, int]:
    """Samples of each series in the bins since then."""
    conn = sqlite3.connect(database)
    query = "SELECT name, SUM(samples) FROM bins JOIN series ON series.id = bins.series WHERE bin >= ? GROUP BY name"
    found = {name: int(samples) for name, samples in conn.execute(query, (since,))}
    conn.close()
    return found


def losses(database: Path, agents: Sequence[Agent], since: int, before: dict[str, int]) -> list[str]:
    """What was acknowledged and is not there, or is there twice."""
    conn, found, after = sqlite3.connect(database), list[str](), counted(database, since)
    for a in agents:
        host = f"hv{a.number:04d}"
        ranges = conn.execute("SELECT first, last FROM seen WHERE host = ? AND epoch = ?", (host, EPOCH)).fetchall()
        missing = [s for s in a.acked if not any(first <= s <= last for first, last in ranges)]
        if missing:
            found.append(f"{host}: reports {missing[:5]} of {len(missing)}")
        came = {vm.id: after.get(vm.id, 0) - before.get(vm.id, 0) for vm in a.vms}
        found += [f"{vm}: {n} samples of {len(a.acked) - 1}" for vm, n in came.items() if n != len(a.acked) - 1]
    conn.close()
    return found[:10]


if __name__ == "__main__":
    sys.exit(main())
