"""A controller on the other end of the link that answers as told, and a whole agent in memory around it."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec

from doors_support import FakeClock, FakeDomain, FakeHypervisor
from foreshape_agent.config import Settings
from foreshape_agent.cycle import Cycle, Doors
from foreshape_agent.errors import LinkDown
from foreshape_agent.spool import Spool
from foreshape_wire.codec import WIRE_VERSION, decode_report, encode
from foreshape_wire.ids import CauseId, OrderId, PlanId, ServerId
from foreshape_wire.order import Desired, Guard, Mode, Order, Outcome
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import CpuReading, DomainReading, DomainState, HostReading, Identity, IoReading, MemoryReading, VcpuReading
from foreshape_wire.sample import HostReport

VM = ServerId("00000000-0000-4000-8000-0000000000aa")
HOST = "hv1"


def size(cores: float, mib: float) -> Size:
    return Size(cpu=Cores(cores), memory=Memory(mib))


@dataclass
class FakeController:
    """Takes reports and answers with whatever stands in its fields. Its clock may differ from the agent's."""

    clock: FakeClock
    ahead_s: float = 0.0
    mode: Mode = Mode.ACT
    orders: list[Order] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    cards_wanted: bool = False
    down: bool = False
    error: Exception | None = None
    replay: bytes | None = None
    token: str = ""
    reports: list[HostReport] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Its own wall clock: it does not step when the agent's does."""
        return 1_700_000_000.0 + self.clock.monotonic() + self.ahead_s

    def exchange(self, report: bytes) -> bytes:
        if self.down:
            raise LinkDown("connection refused")
        if self.error is not None:
            raise self.error
        self.reports.append(decode_report(report))
        return self.replay or self.answer()

    def answer(self) -> bytes:
        return encode(
            Desired(
                version=WIRE_VERSION,
                host=HOST,
                issued_at=self.now,
                mode=self.mode,
                accepted=(self.reports[-1].sequence,) if self.reports else (),
                orders=tuple(self.orders),
                guards=tuple(self.guards),
                cards_wanted=self.cards_wanted,
                token=self.token,
            )
        )

    def order(self, name: str, *, cpu: float | None = None, mib: float | None = None, ttl: float = 120, **more: object) -> Order:
        """Open one order, in place of those before."""
        order = an_order(name, cpu=cpu, mib=mib, now=self.now, ttl=ttl, **more)
        self.orders = [order]
        return order

    def outcomes(self) -> list[Outcome]:
        """Everything answered so far, each once."""
        seen: dict[str, Outcome] = {}
        for report in self.reports:
            for o in report.outcomes:
                seen[repr(o)] = o
        return list(seen.values())


def an_order(
    name: str = "ord-1",
    *,
    cpu: float | None = None,
    mib: float | None = None,
    now: float = 1_700_000_000.0,
    ttl: float = 120,
    **more: object,
) -> Order:
    fields: dict[str, object] = {
        "server": VM,
        "floor": size(0.1, 96),
        "ceiling": size(8, 8192),
        "issued_at": now,
        "expires_at": now + ttl,
    } | more
    return Order(
        order=OrderId(name),
        cause=CauseId(f"cause-{name}"),
        plan=PlanId("plan-1"),
        cpu=None if cpu is None else Cores(cpu),
        memory=None if mib is None else Memory(mib),
        reason="a test wants it",
        **fields,  # type: ignore[arg-type]
    )


@dataclass
class Bed:
    """One agent in memory: fake hypervisor with honest physics, fake controller, real spool, real cycle."""

    clock: FakeClock
    hypervisor: FakeHypervisor
    controller: FakeController
    spool: Spool
    settings: Settings
    cycle: Cycle

    def run(self, cycles: int = 1, *, every: float | None = None) -> str:
        """Cycles at their interval; the last one's sentence."""
        line = ""
        for _ in range(cycles):
            self.clock.sleep(self.settings.interval_s if every is None else every)
            line = self.cycle.run_once()
        return line

    @property
    def last(self) -> HostReport:
        return self.controller.reports[-1]

    def called(self, name: str) -> list[object]:
        """Values a setter was called with."""
        return [value for call, _, value in self.hypervisor.calls if call == name]

    def restarted(self) -> "Bed":
        """A new agent process over the same spool file and the same world."""
        path = self.spool.path
        self.spool.close()
        spool = Spool(path)
        return replace(self, spool=spool, cycle=_cycle(self.clock, self.hypervisor, self.controller, spool, self.settings))


def a_cpu(run_ns: int = 0, delay_ns: int | None = 0, throttled_ns: int | None = 0) -> CpuReading:
    return CpuReading(
        run_ns=run_ns,
        vcpus=(VcpuReading(0, run_ns, delay_ns),),
        current=2,
        maximum=2,
        guest_online=None,
        quota=Cores(1.0),
        throttled_ns=throttled_ns,
    )


def a_memory(swap_in: int | None = 0, faults: int | None = 0) -> MemoryReading:
    return MemoryReading(
        current=Memory(512),
        maximum=Memory(512),
        rss=Memory(300),
        available=Memory(480),
        usable=Memory(200),
        unused=Memory(100),
        swap_in_bytes=swap_in,
        swap_out_bytes=0,
        major_faults=faults,
        guest_updated_at=1000.0,
        stats_period_s=5,
    )


def a_reading(at: float = 100.0, **fields: object) -> DomainReading:
    plain: dict[str, object] = {"cpu": a_cpu(), "memory": a_memory(), "io": IoReading(), "instance": "1"}
    return DomainReading(
        identity=Identity(server=VM, name="vm"),
        state=DomainState.RUNNING,
        read_at=1_700_000_000.0,
        monotonic_s=at,
        entitlement=Size(Cores(2), Memory(512)),
        ceiling=Size(Cores(2), Memory(512)),
        capabilities=(),
        **(plain | fields),  # type: ignore[arg-type]
    )


def host_reading(clock: FakeClock) -> HostReading:
    return HostReading(
        read_at=clock.now(),
        monotonic_s=clock.monotonic(),
        cpus=4,
        memory_total=Memory(16384),
        memory_available=Memory(8192),
        cpu_busy_s=clock.monotonic(),
        cpu_steal_s=0.0,
        load_1m=1.0,
        psi_cpu_some=0.1,
        psi_memory_some=0.0,
        psi_memory_full=0.0,
        psi_io_some=0.0,
    )


def _cycle(clock: FakeClock, hypervisor: FakeHypervisor, controller: FakeController, spool: Spool, settings: Settings) -> Cycle:
    return Cycle(Doors(hypervisor=hypervisor, read_host=lambda: host_reading(clock), spool=spool, link=controller, clock=clock), settings)


def bed(*domains: FakeDomain, path: str | Path = ":memory:", **options: object) -> Bed:
    """An agent with these guests (one plain guest by default)."""
    clock = FakeClock()
    hypervisor = FakeHypervisor(clock)
    for domain in domains or (FakeDomain(server=VM),):
        hypervisor.add(domain)
    controller, spool = FakeController(clock), Spool(path)
    settings = Settings(**({"host": HOST, "controller_url": "https://controller:8470"} | options))  # type: ignore[arg-type]
    return Bed(clock, hypervisor, controller, spool, settings, _cycle(clock, hypervisor, controller, spool, settings))


class WebController:
    """The agents' part of the controller over HTTP on the loopback: enrolment, tokens, reports, scripted trouble."""

    def __init__(self, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.reports: list[HostReport] = []
        self.tokens: list[str] = []
        """Authorization headers as they came."""
        self.valid = {"secret-1"}
        self.join_tokens = {"join-1"}
        self.rotate_to = ""
        self.mode = Mode.ACT
        self.orders: tuple[Order, ...] = ()
        self.status = 0
        """Answer every report with this status; 0: as a sound controller would."""
        self.raw: bytes | None = None
        self.delay_s = 0.0
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]}:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, bytes]:
        if path == "/v1/agents/enrol":
            return self._enrol(msgspec.json.decode(body))
        self.tokens.append(token)
        if self.status:
            return self.status, b'{"code":"scripted","title":"t","status":0,"detail":"as the test wants"}'
        if token not in self.valid:
            return 401, b'{"code":"unauthenticated","title":"t","status":401,"detail":"token unknown"}'
        report = decode_report(body)
        self.reports.append(report)
        return 200, self.raw if self.raw is not None else self._desired(report)

    def _desired(self, report: HostReport) -> bytes:
        return encode(
            Desired(
                version=WIRE_VERSION,
                host=report.host,
                issued_at=time.time(),
                mode=self.mode,
                accepted=(report.sequence,),
                orders=self.orders,
                token=self.rotate_to,
            )
        )

    def _enrol(self, asked: dict[str, str]) -> tuple[int, bytes]:
        if asked["join_token"] not in self.join_tokens:
            return 403, b'{"code":"enrol_refused","title":"t","status":403,"detail":"the join token is unknown or used"}'
        self.join_tokens.remove(asked["join_token"])
        self.valid.add("enrolled-1")
        return 201, msgspec.json.encode({"host": asked["host"], "token": "enrolled-1"})


def _handler(controller: WebController) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, answer = controller.answer(self.path, token, body)
            time.sleep(controller.delay_s)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the agent gave up: that is what the test wants
                self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Tests read assertions, not access logs."""

    return Handler


def until(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll with a deadline."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
