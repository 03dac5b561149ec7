"""Golden messages of the wire: one function each, so that a golden file can be read beside the code that made it."""

from foreshape_wire.ids import CauseId, OrderId, PlanId, ServerId
from foreshape_wire.order import Desired, Guard, HardCap, Mode, Order, Origin, Outcome, Share, Verdict
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import Capability, DomainState, Identity, LeverName
from foreshape_wire.sample import CpuSample, DomainCard, Gap, HostReport, HostSample, IoSample, MemorySample, VmSample

WEB = ServerId("4b1c0c5e-51c0-4d5e-9b0a-000000000001")
DB = ServerId("4b1c0c5e-51c0-4d5e-9b0a-000000000002")
NOON = 1767268800.0
"""2026-01-01 12:00:00 UTC."""


def minimal_report() -> HostReport:
    """Only what must be there: a host without domains."""
    return HostReport(version=1, host="hv1", epoch="epoch-1", sequence=0, taken_at=NOON, samples=())


def full_report() -> HostReport:
    """Every field of every part, and every verdict once."""
    return HostReport(
        version=1,
        host="hv1",
        epoch="epoch-1",
        sequence=41,
        taken_at=NOON,
        samples=(web_sample(), VmSample(server=DB, state=DomainState.MIGRATING, window_s=0.0, note="locked by a migration")),
        host_sample=host_sample(),
        outcomes=outcomes(),
        cards=(web_card(),),
        gap=Gap(since=NOON - 7200, until=NOON - 3600, reports=120),
        safe_mode="controller silent for 612 s",
        agent_version="0.1.0",
        note="spool in memory: disk full",
    )


def web_sample() -> VmSample:
    """A VM at its cap: 1.96 of 2 cores used (98 %), so the demand is censored. 1.96 + 0.25 + 0.5 = 2.71 cores wanted."""
    return VmSample(
        server=WEB,
        state=DomainState.RUNNING,
        window_s=10.02,
        cpu=CpuSample(
            used=Cores(1.96),
            waiting=Cores(0.25),
            throttled=Cores(0.5),
            demand=Cores(2.71),
            allocation=Cores(2.0),
            censored=True,
            confidence=1.0,
            guest_vcpus=2,
        ),
        memory=MemorySample(
            demand=Memory(812.5),
            allocation=Memory(1024.0),
            censored=False,
            confidence=0.9,
            rss=Memory(1011.25),
            usable=Memory(196.0),
            swap_in_kib_s=0.5,
            major_faults_s=2.0,
        ),
        io=IoSample(read_kib_s=128.0, write_kib_s=64.5, read_iops=12.0, write_iops=7.25, rx_kib_s=900.0, tx_kib_s=33.0),
        note="",
    )


def host_sample() -> HostSample:
    return HostSample(
        cpus=64,
        memory_total=Memory(262144.0),
        memory_available=Memory(98304.0),
        cpu_used=Cores(21.5),
        cpu_stolen=Cores(0.0),
        load_1m=22.75,
        psi_cpu_some=0.03,
        psi_memory_some=0.0,
        psi_memory_full=0.0,
        psi_io_some=0.01,
    )


def web_card() -> DomainCard:
    return DomainCard(
        identity=Identity(server=WEB, name="instance-00000001", project="p-shop", flavor="m1.small", image="debian-12", display_name="web"),
        entitlement=Size(cpu=Cores(2.0), memory=Memory(2048.0)),
        ceiling=Size(cpu=Cores(4.0), memory=Memory(4096.0)),
        allocation=Size(cpu=Cores(2.0), memory=Memory(1024.0)),
        capabilities=(
            Capability(lever=LeverName.CPU_QUOTA, lowest=0.01, highest=4.0, granule=0.01),
            Capability(lever=LeverName.CPU_GUEST, reason="the guest agent does not answer"),
            Capability(lever=LeverName.CPU_HOTPLUG, lowest=1.0, highest=4.0, granule=1.0),
            Capability(lever=LeverName.MEM_BALLOON, lowest=64.0, highest=2048.0, granule=1.0),
            Capability(lever=LeverName.MEM_VIRTIO, reason="no virtio-mem device"),
        ),
        throttles=(
            Capability(lever=LeverName.DISK_IOPS, lowest=1.0, highest=1e6, granule=1.0),
            Capability(lever=LeverName.DISK_BANDWIDTH, lowest=1.0, highest=1e6, granule=1.0),
            Capability(lever=LeverName.NET_BANDWIDTH, reason="its interface is user-mode: it has no device on the host"),
        ),
        memory_margin=Memory(64.0),
        stopped_s=0.048,
    )


def outcomes() -> tuple[Outcome, ...]:
    """One of each verdict, and of each origin."""
    return (
        _outcome(
            "ord-1", "cpu", Verdict.APPLIED, Origin.ORDER, code="cpu_quota", lever=LeverName.CPU_QUOTA, proof="quota read back", took_s=0.12
        ),
        _outcome("ord-1", "memory", Verdict.PENDING, Origin.ORDER, code="balloon_moving", lever=LeverName.MEM_BALLOON),
        _outcome("ord-2", "cpu", Verdict.REFUSED, Origin.ORDER, code="stale_order"),
        _outcome("ord-3", "memory", Verdict.FAILED, Origin.ORDER, code="balloon_short", lever=LeverName.MEM_BALLOON, retry=True),
        _outcome("", "memory", Verdict.APPLIED, Origin.REFLEX, code="balloon_measured", lever=LeverName.MEM_BALLOON, took_s=1.5),
        _outcome("", "cpu", Verdict.APPLIED, Origin.STATIC, code="cpu_quota", lever=LeverName.CPU_QUOTA),
        _outcome("", "disk_iops", Verdict.APPLIED, Origin.CAP, code="limits_read_back", lever=LeverName.DISK_IOPS, proof="vda 50 + 50"),
    )


def _outcome(
    order: str,
    resource: str,
    verdict: Verdict,
    origin: Origin,
    *,
    code: str,
    lever: LeverName | None = None,
    proof: str = "",
    took_s: float = 0.0,
    retry: bool = False,
) -> Outcome:
    before, target = {"cpu": (1.0, 2.0), "memory": (1024.0, 1536.0), "disk_iops": (0.0, 100.0)}[resource]
    return Outcome(
        order=OrderId(order),
        cause=CauseId("cause-1"),
        server=WEB,
        resource=resource,
        verdict=verdict,
        origin=origin,
        at=NOON,
        before=before,
        target=target,
        after=target if verdict is Verdict.APPLIED else before,
        code=code,
        reason=f"{code.replace('_', ' ')}: what a person reads",
        lever=lever,
        proof=proof,
        took_s=took_s,
        retry=retry,
    )


def minimal_desired() -> Desired:
    return Desired(version=1, host="hv1", issued_at=NOON, mode=Mode.OBSERVE)


def full_desired() -> Desired:
    """An order for both resources, one for CPU alone, a guard, and the words about the link itself."""
    floor, sold = Size(cpu=Cores(0.5), memory=Memory(512.0)), Size(cpu=Cores(2.0), memory=Memory(2048.0))
    return Desired(
        version=1,
        host="hv1",
        issued_at=NOON,
        mode=Mode.ACT,
        accepted=(39, 40, 41),
        orders=(_order("ord-1", WEB, Memory(1536.0), floor, sold), _order("ord-2", DB, None, floor, sold)),
        guards=(guard(floor, sold),),
        cards_wanted=True,
        token="next-token",
    )


def guard(floor: Size, sold: Size) -> Guard:
    """With the terms of a tier, and a cap that ends in an hour."""
    return Guard(
        server=WEB,
        floor=floor,
        entitlement=sold,
        tier="guaranteed",
        reflex_growth=2.0,
        reflex_headroom=1.5,
        memory_margin_share=0.3,
        caps=(HardCap(cause=CauseId("cap-1"), resource="disk_iops", amount=100.0, until=NOON + 3600, reason="its backup runs away"),),
        share=Share(amount=Cores(1.2), until=NOON + 300),
    )


def _order(order: str, server: ServerId, memory: Memory | None, floor: Size, ceiling: Size) -> Order:
    return Order(
        order=OrderId(order),
        cause=CauseId("cause-1"),
        plan=PlanId("plan-1"),
        server=server,
        cpu=Cores(1.5),
        memory=memory,
        floor=floor,
        ceiling=ceiling,
        issued_at=NOON,
        expires_at=NOON + 300,
        reason="peak of the next 30 min at q95 is 1.42 cores",
    )


GOLDEN = {
    "report-minimal": minimal_report,
    "report-full": full_report,
    "desired-minimal": minimal_desired,
    "desired-full": full_desired,
}
