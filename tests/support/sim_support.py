"""For tests of the simulated cloud and of the operator's command: a small API of canned answers, workloads by hand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from foreshape_controller.model import answers
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.sim.clock import SimClock
from foreshape_controller.sim.demand import Wish
from foreshape_controller.sim.fleet import Fleet, HostSpec
from foreshape_controller.sim.guest import VmSpec
from foreshape_controller.sim.world import MONDAY, World
from foreshape_demo.bed import Bed, Pace
from foreshape_demo.watch import Watch
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.reading import Capability, LeverName


@dataclass
class Constant:
    """A workload that never changes, until the test changes it."""

    cpu: float = 0.5
    memory: float = 512.0

    def at(self, t: float) -> Wish:
        return Wish(self.cpu, self.memory)


def spec(number: int = 0, **changes: Any) -> VmSpec:
    """A stock Nova guest of 2 cores and 2048 MiB, changed where the test says so."""
    given: dict[str, Any] = {
        "server": ServerId(f"00000000-0000-4000-8000-{number:012d}"),
        "name": f"vm-{number}",
        "host": HostName("sim1"),
        "project": "p1",
        "flavor": "m1.medium",
        "image": "debian-12",
        "cores": 2,
        "mib": 2048.0,
        "most_cores": changes.get("cores", 2),
        "most_mib": changes.get("mib", 2048.0),
        "workload": Constant(),
    }
    return VmSpec(**(given | changes))


def world(*specs: VmSpec, cpus: int = 8, mib: float = 65536.0, seed: int = 1) -> World:
    """One host with these servers."""
    hosts = tuple(HostSpec(name, cpus, mib) for name in sorted({s.host for s in specs}))
    return World(Fleet(hosts, specs), SimClock(MONDAY), seed)


@dataclass
class Asked:
    """One request that the API saw."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str
    keystone: str | None = None


@dataclass
class CannedApi:
    """Answers by (method, path); what is not there is a 404 problem."""

    answers: dict[tuple[str, str], tuple[int, Any]]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def says(self, method: str, path: str, body: Any, status: int = 200) -> None:
        self.answers[method, path] = (status, body)


@contextmanager
def canned_api(**changes: Any) -> Iterator[CannedApi]:
    """A controller's API on loopback that knows one host and one server."""
    api = CannedApi(answers=_usual(**changes))

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            api.asked.append(
                Asked(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    body,
                    self.headers.get("Authorization", ""),
                    self.headers.get("X-Auth-Token"),
                )
            )
            missing = answers.Problem(code="not_found", title="Not found", status=404, detail=f"there is no {parts.path}")
            status, reply = api.answers.get((self.command, parts.path), (404, missing))
            data = reply if isinstance(reply, bytes) else msgspec.json.encode(reply)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if getattr(api.answers.get(("GET", "/v1/summary"), (0, None))[1], "simulated", False):
                self.send_header("X-Foreshape-Simulated", "true")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


SERVER = "00000000-0000-4000-8000-000000000001"


def _usual(*, simulated: bool = False) -> dict[tuple[str, str], tuple[int, Any]]:
    host, server = host_answer(), server_answer()
    return {
        ("GET", "/v1/hosts"): (200, [host]),
        ("GET", "/v1/hosts/hv1"): (200, host),
        ("GET", "/v1/servers"): (200, [server]),
        ("GET", f"/v1/servers/{SERVER}"): (200, server),
        ("GET", "/v1/servers/web-1"): (200, server),
        ("GET", "/v1/servers/web-1/forecast"): (200, forecast_answer()),
        ("GET", "/v1/forecasts/segment%3Aweb"): (200, group_forecast_answer()),
        ("GET", "/v1/segments"): (200, [segment_answer()]),
        ("GET", "/v1/servers/web-1/why"): (200, why_answer()),
        ("GET", "/v1/plan"): (200, plan_answer()),
        ("GET", "/v1/mode"): (200, answers.ModeAnswer(scope="cloud", mode="advise", since=MONDAY, reason="the default")),
        ("GET", "/v1/modes"): (200, [answers.ModeAnswer(scope="cloud", mode="advise", since=MONDAY, reason="the default")]),
        ("PUT", "/v1/mode"): (200, answers.ModeAnswer(scope="cloud", mode="act", since=MONDAY, reason="tested")),
        ("POST", "/v1/agents/hv1/join"): (200, answers.JoinAnswer(host="hv1", join_token="join-abc", expires_at=MONDAY + 3600)),
        ("DELETE", "/v1/agents/hv1"): (204, b""),
        ("GET", "/v1/summary"): (200, summary_answer(simulated=simulated)),
    }


def host_answer() -> answers.HostAnswer:
    return answers.HostAnswer(
        name="hv1",
        cpus=16,
        memory_mib=65536.0,
        memory_available_mib=32768.0,
        cpu_used_cores=3.25,
        servers=1,
        cpu_allocated_cores=1.5,
        cpu_entitled_cores=4.0,
        memory_allocated_mib=3072.0,
        memory_entitled_mib=8192.0,
        last_report_s_ago=4.0,
        fresh=True,
        mode="advise",
        safe_mode="",
        agent_version="0.1.0",
    )


def server_answer() -> answers.ServerAnswer:
    return answers.ServerAnswer(
        id=SERVER,
        name="web-1",
        host="hv1",
        project="p1",
        flavor="m1.large",
        tier="standard",
        mode="advise",
        state="running",
        cpu_demand_cores=0.5,
        cpu_allocated_cores=1.5,
        cpu_entitled_cores=4.0,
        cpu_ceiling_cores=4.0,
        memory_demand_mib=1024.0,
        memory_allocated_mib=3072.0,
        memory_entitled_mib=8192.0,
        memory_ceiling_mib=8192.0,
        guest_vcpus=4,
        last_sample_s_ago=4.0,
        levers=(
            Capability(lever=LeverName.CPU_QUOTA, lowest=0.01, highest=4.0, granule=0.01),
            Capability(lever=LeverName.MEM_VIRTIO, reason="no virtio-mem device"),
        ),
    )


def forecast_answer() -> answers.ForecastAnswer:
    values = tuple(0.1 * (i + 1) for i in range(len(LEVELS)))
    fans = tuple(
        answers.Fan(
            resource=resource,
            unit=unit,
            source="baseline",
            reason="48 h of history",
            age_s=172800.0,
            step_s=300,
            levels=LEVELS,
            peak30m=tuple(v * scale for v in values),
            peak24h=tuple(v * scale * 1.5 for v in values),
            steps=(tuple(v * scale for v in values),) * 6,
            half_hours=(tuple(v * scale for v in values),) * 48,
        )
        for resource, unit, scale in (("cpu", "cores", 1.0), ("memory", "MiB", 1000.0))
    )
    return answers.ForecastAnswer(server=SERVER, name="web-1", origin=MONDAY, fans=fans)


def group_forecast_answer() -> answers.SeriesForecastAnswer:
    fan, _ = forecast_answer().fans
    fans = (fan, *(msgspec.structs.replace(fan, resource=r, unit=u) for r, u in (("disk", "KiB/s"), ("servers", "servers"))))
    return answers.SeriesForecastAnswer(series="segment:web", kind="segment", name="web", servers=2, origin=MONDAY, fans=fans)


def segment_amounts(unit: float) -> answers.SegmentAmounts:
    """Wants 1, has 2, was sold 4 of its hosts' 16."""
    return answers.SegmentAmounts(
        demand=unit,
        allocated=2 * unit,
        floor=0.5 * unit,
        entitled=4 * unit,
        capacity=4 * unit,
        room=16 * unit,
        slack=0.5,
        ahead=1.25 * unit,
        peak24h_q95=3.5 * unit,
    )


def segment_answer() -> answers.SegmentAnswer:
    return answers.SegmentAnswer(
        name="web",
        servers=2,
        hosts=1,
        cpu=segment_amounts(1.0),
        memory=segment_amounts(1024.0),
        origin=MONDAY,
    )


def why_answer() -> answers.WhyAnswer:
    return answers.WhyAnswer(
        server=SERVER,
        name="web-1",
        sentences=("CPU: 1.50 cores, because the next 30 minutes need 1.20 at most (95 %).",),
        decisions=(),
        orders=(),
        local_actions=(),
    )


def plan_answer() -> dict[str, Any]:
    sizing = {
        "choice": "hold",
        "allocation": 1.5,
        "target": 1.5,
        "wanted": 1.45,
        "floor": 0.5,
        "ceiling": 4.0,
        "code": "dead_band",
        "reason": "3 % less is not worth an action",
    }
    decision = {
        "server": SERVER,
        "host": "hv1",
        "cause": "cau-1",
        "at": MONDAY,
        "tier": "standard",
        "mode": "advise",
        "cpu": sizing | {"resource": "cpu"},
        "memory": sizing | {"resource": "memory", "allocation": 3072.0, "target": 3072.0},
    }
    return {"plan": "pln-1", "at": MONDAY, "notes": ["host hv2 is frozen: silent for 300 s"], "decisions": [decision]}


def summary_answer(*, simulated: bool) -> answers.SummaryAnswer:
    return answers.SummaryAnswer(
        hosts=2,
        hosts_fresh=1,
        servers=1,
        cpu_demand_cores=0.5,
        cpu_allocated_cores=1.5,
        cpu_entitled_cores=4.0,
        memory_demand_mib=1024.0,
        memory_allocated_mib=3072.0,
        memory_entitled_mib=8192.0,
        decisions=10,
        orders=4,
        orders_applied=2,
        orders_refused=1,
        orders_failed=1,
        reflexes=3,
        decisions_changed_by_forecast=5,
        simulated=simulated,
    )


# both programs in lockstep

_HASTE = "{cpu: {young_s: 1800, hold_s: 900}, memory: {young_s: 1800, hold_s: 900, shrink_step_share: 0.2}}"
IMPATIENT = f"tiers: {{standard: {_HASTE}, economy: {_HASTE}, guaranteed: {_HASTE}}}\n"
"""Tiers that shrink after half an hour instead of a day: the faults of a day in an hour."""

BRISK = Pace(cycle_s=60, plan_s=300, tidy_s=3600, static_after_s=900, stale_after_s=180, order_ttl_s=600)


@dataclass
class Lockstep:
    """A bed that is watched after every step."""

    bed: Bed
    watch: Watch = field(default_factory=Watch)

    @classmethod
    def impatient(cls, folder: Path, *, seed: int = 1, hosts: int = 1, servers: int = 6, pace: Pace = BRISK) -> "Lockstep":
        tiers = folder / "tiers.yaml"
        tiers.write_text(IMPATIENT)
        return cls(Bed(World.generated(seed=seed, hosts=hosts, servers=servers), folder, pace=pace, tiers_file=str(tiers)))

    def run(self, seconds: float) -> "Lockstep":
        for _ in self.steps(seconds):
            pass
        return self

    def steps(self, seconds: float) -> Iterator[float]:
        for now in self.bed.run(seconds):
            self.watch.look(self.bed)
            yield now

    @property
    def store(self) -> Any:
        assert self.bed.controller is not None
        return self.bed.controller.store

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(vm.spec.server for vm in self.bed.world.vms())

    def orders(self) -> list[answers.OrderAnswer]:
        """Every order of the run."""
        return [o for s in self.servers for o in self.store.journal.orders(s, 10_000)]

    def coverage(self, since: float, until: float) -> Any:
        """Share of each bin that samples spoke for, [servers, bins]: holes are lost reports."""
        count = int((until - since) // 300)
        return self.store.history.read("cpu", self.servers, until, count).coverage

    def resized(self) -> list[str]:
        """Names of servers that have less than they were sold."""
        vms = self.bed.world.vms()
        return [vm.spec.name for vm in vms if vm.cpu < vm.spec.cores - 0.01 or vm.memory < vm.spec.mib - 1]
