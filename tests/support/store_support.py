"""Words for tests of the store, the intake and the API: small messages with everything in them, said in few arguments."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from foreshape_controller.config import ApiSettings, PlanSettings, Settings, StoreSettings
from foreshape_controller.model.plan import Choice, Decision, Plan, Sizing
from foreshape_controller.store import Store
from foreshape_wire.codec import WIRE_VERSION, decode_desired, encode
from foreshape_wire.ids import CauseId, HostName, OrderId, PlanId, ServerId
from foreshape_wire.order import Desired, Mode, Order, Origin, Outcome, Verdict
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import CpuSample, DomainCard, HostReport, HostSample, IoSample, MemorySample, VmSample

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


def open_store(path: Path | None = None, **options: Any) -> Store:
    if path:
        _begin(path)
    return Store.open(f"sqlite:///{path}" if path else "sqlite://", **options)


def settings(folder: Path, **plan_options: Any) -> Settings:
    """A controller that keeps everything in one folder."""
    _begin(folder / "controller.db")
    base = Settings(
        store=StoreSettings(url=f"sqlite:///{folder / 'controller.db'}"),
        api=ApiSettings(admin_token_file=str(folder / "admin-token"), port=0),
        plan=PlanSettings(**{"tiers_file": "", "segments_file": "", **plan_options}),
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
