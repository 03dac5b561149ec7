"""Words for tests of the store, the intake and the API: small messages with everything in them, said in few arguments."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from foreshape_controller.config import ApiSettings, IdentitySettings, PlanSettings, Settings, StoreSettings
from foreshape_controller.model.plan import Choice, Decision, Plan, Sizing
from foreshape_controller.store import Store
from foreshape_wire.codec import WIRE_VERSION, decode_desired, encode
from foreshape_wire.ids import CauseId, HostName, OrderId, PlanId, ServerId
from foreshape_wire.order import Desired, Mode, Order, Origin, Outcome, Verdict
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import CpuSample, DomainCard, HostReport, HostSample, IoSample, MemorySample, VmSample

if TYPE_CHECKING:
    from postgres_support import Cluster

T0 = 1_767_571_200.0
"""Monday 5 January 2026, 00:00 UTC: the start of a day and of a bin."""

DAY = 86400.0


def size(cores: float, mib: float) -> Size:
    return Size(Cores(cores), Memory(mib))


def sample(server: str = "vm-1", cores: float = 1.0, mib: float = 500.0, **more: Any) -> VmSample:
    """10 s of one server; ``censored``, ``confidence`` (memory's), ``state``, ``window_s``, ``io`` as named."""
    censored = more.get("censored", False)
    return VmSample(
        server=ServerId(server),
        state=more.get("state", DomainState.RUNNING),
        window_s=more.get("window_s", 10.0),
        cpu=CpuSample(
            used=Cores(cores),
            waiting=Cores(0.0),
            throttled=Cores(0.0),
            demand=Cores(cores),
            allocation=Cores(2.0),
            censored=censored,
            confidence=1.0,
            guest_vcpus=2,
        ),
        memory=MemorySample(demand=Memory(mib), allocation=Memory(1024.0), censored=False, confidence=more.get("confidence", 0.9)),
        io=more.get("io", IoSample(read_kib_s=1.0)),
    )


def card(server: str = "vm-1", *, name: str = "", project: str = "", cores: float = 2.0, mib: float = 2048.0) -> DomainCard:
    quota = Capability(lever=LeverName.CPU_QUOTA, lowest=0.05, highest=cores, granule=0.01)
    return DomainCard(
        identity=Identity(server=ServerId(server), name=name or f"name-of-{server}", project=project),
        entitlement=size(cores, mib),
        ceiling=size(cores, mib),
        allocation=size(cores, mib),
        capabilities=(quota,),
    )


def host_sample(used: float = 4.0, free_mib: float = 32768.0) -> HostSample:
    return HostSample(
        cpus=16, memory_total=Memory(65536.0), memory_available=Memory(free_mib), cpu_used=Cores(used), cpu_stolen=Cores(0.0), load_1m=4.0
    )


def report(sequence: int = 1, at: float = T0 + 10, samples: Sequence[VmSample] | None = None, **more: Any) -> HostReport:
    """A report of hv1; ``cards=True`` adds a card per sample."""
    told = tuple(samples) if samples is not None else (sample(),)
    if more.get("cards") is True:
        more["cards"] = tuple(card(s.server) for s in told)
    body: dict[str, Any] = {"version": WIRE_VERSION, "host": "hv1", "epoch": "e1", "host_sample": host_sample(), **more}
    return HostReport(sequence=sequence, taken_at=at, samples=told, **body)


def plan(at: float, *decisions: Decision, name: str = "") -> Plan:
    return Plan(plan=PlanId(name or f"plan-{at:.0f}"), at=at, written=decisions)


def sizing(resource: str, allocation: float, target: float, **more: Any) -> Sizing:
    choice = Choice.HOLD if target == allocation else Choice.GROW if target > allocation else Choice.SHRINK
    words: dict[str, Any] = {"wanted": target, "floor": 0.5, "ceiling": 4096.0, "code": "peak_above", "reason": "the peak is above", **more}
    return Sizing(resource=resource, choice=choice, allocation=allocation, target=target, **words)


def decision(at: float, server: str = "vm-1", host: str = "hv1", **more: Any) -> Decision:
    """Grows CPU from 1 to 2 cores and leaves memory, unless told otherwise."""
    words: dict[str, Any] = {
        "cause": CauseId(f"cause-{server}-{at:.0f}"),
        "tier": "standard",
        "mode": Mode.ACT,
        "cpu": sizing("cpu", 1.0, 2.0),
        "memory": sizing("memory", 1024.0, 1024.0),
        "floor": size(0.5, 512.0),
        "ceiling": size(2.0, 2048.0),
        **more,
    }
    return Decision(server=ServerId(server), host=HostName(host), at=at, **words)


def order(name: str = "ord-1", server: str = "vm-1", at: float = T0 + 20, **more: Any) -> Order:
    """Asks for 2 cores and 1024 MiB within five minutes."""
    words: dict[str, Any] = {
        "cause": CauseId(f"cause-{server}-{at:.0f}"),
        "plan": PlanId(f"plan-{at:.0f}"),
        "cpu": Cores(2.0),
        "memory": Memory(1024.0),
        "floor": size(0.5, 512.0),
        "ceiling": size(2.0, 2048.0),
        "expires_at": at + 300.0,
        "reason": "predicted peak",
        **more,
    }
    return Order(order=OrderId(name), server=ServerId(server), issued_at=at, **words)


def outcome(of: str = "ord-1", resource: str = "cpu", verdict: Verdict = Verdict.APPLIED, **more: Any) -> Outcome:
    words: dict[str, Any] = {
        "cause": CauseId("cause-1"),
        "server": ServerId("vm-1"),
        "origin": Origin.ORDER,
        "at": T0 + 25,
        "before": 1.0,
        "target": 2.0,
        "after": 2.0,
        "code": "measured",
        "reason": "seen in the guest",
        **more,
    }
    return Outcome(order=OrderId(of), resource=resource, verdict=verdict, **words)


@cache
def empty_database() -> bytes:
    """With every table: made once, because migrations take longer than most tests."""
    with TemporaryDirectory() as folder:
        Store.open(f"sqlite:///{folder}/controller.db").close()
        return (Path(folder) / "controller.db").read_bytes()


def _begin(database: Path) -> None:
    """An empty database where there is none yet; opening it finds nothing to migrate."""
    if database.parent.is_dir() and not database.exists():
        database.write_bytes(empty_database())


@dataclass
class Engine:
    """Which database stores are opened on: SQLite, where no server is named (``tests/conftest.py: engine``)."""

    cluster: "Cluster | None" = None
    made: int = 0
    folder: "TemporaryDirectory[str]" = field(default_factory=TemporaryDirectory)

    def url(self, path: Path | None) -> str:
        """Without a path a new and empty one that nobody else has."""
        self.made += 1
        if self.cluster is not None:
            return self.cluster.url(path or Path(f"nobody-else-{os.getpid()}-{self.made}"))
        path = path or Path(self.folder.name, f"{self.made}.db")
        _begin(path)
        return f"sqlite:///{path}"

    def empty(self) -> str:
        """A new one without any table."""
        self.made += 1
        return self.cluster.empty(f"empty_{os.getpid()}_{self.made}") if self.cluster else f"sqlite:///{self.folder.name}/{self.made}.db"


ENGINE = Engine()


def open_store(path: Path | None = None, **options: Any) -> Store:
    """On a grid of its own it begins without a table: the prepared database has the usual one."""
    return Store.open(ENGINE.empty() if path is None and "step_s" in options else ENGINE.url(path), **options)


def settings(folder: Path, **plan_options: Any) -> Settings:
    """A controller that keeps everything in one folder."""
    base = Settings(
        store=StoreSettings(url=ENGINE.url(folder / "controller.db")),
        api=ApiSettings(admin_token_file=str(folder / "admin-token"), port=0),
        plan=PlanSettings(**{"tiers_file": "", "segments_file": "", **plan_options}),
        identity=IdentitySettings(writes_per_minute=600),  # tests write faster than people
    )
    return replace(base, log=replace(base.log, level="warning"))


def ask(intake: Any, message: HostReport, now: float | None = None) -> Desired:
    """One report through the intake, and the reply decoded."""
    reply: bytes = intake.accept(message.host_name, encode(message), message.taken_at if now is None else now)
    return decode_desired(reply)


def raw(message: HostReport, **changes: Any) -> bytes:
    """A report's JSON with some fields replaced by anything."""
    body = msgspec.json.decode(encode(message))
    body.update(changes)
    return msgspec.json.encode(body)
