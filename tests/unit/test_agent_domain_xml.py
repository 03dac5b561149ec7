"""What a domain's XML and bulk numbers mean for resizing: identity, entitlement, ceiling, ranges, reasons. No libvirt here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_agent import abilities, domain_stats, domain_xml
from foreshape_agent.cgroup import throttled_ns
from foreshape_agent.host import stalled
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import RESIZERS, Capability, DomainState, LeverName

pytestmark = pytest.mark.unit

UUID = "9b1e4f3c-6a2d-4c77-9a6e-3d1b2a5c7f10"
NOVA = """<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/{version}">
  <nova:name>shop-db</nova:name>
  <nova:flavor name="m1.large"><nova:memory>8192</nova:memory><nova:vcpus>4</nova:vcpus></nova:flavor>
  <nova:owner><nova:user uuid="u">alice</nova:user><nova:project uuid="5f4dcc3b">shop</nova:project></nova:owner>
  <nova:root type="image" uuid="3c1a"/></nova:instance>"""
OURS = '<f:entitlement xmlns:f="https://foreshape.dev/xmlns/1" cpu="{cpu}" memory_mib="{mib}"/>'
AGENT = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0" state="{state}"/></channel>'
VIRTIO = """<memory model="virtio-mem"><target><size unit="KiB">524288</size><node>0</node><block unit="KiB">2048</block>
  <requested unit="KiB">131072</requested><current unit="KiB">65536</current></target><alias name="virtiomem0"/></memory>"""
BALLOON = '<memballoon model="virtio"><stats period="10"/></memballoon>'


def xml(
    *,
    kind: str = "kvm",
    vcpus: str = '<vcpu placement="static" current="2">4</vcpu>',
    memory: int = 1024,
    current: int | None = None,
    metadata: str = "",
    tune: str = "",
    more: str = "",
    devices: str = AGENT.format(state="connected") + BALLOON,
) -> str:
    return f"""<domain type="{kind}" id="7"><name>instance-0001</name><uuid>{UUID}</uuid><metadata>{metadata}</metadata>
      <memory unit="KiB">{memory * 1024}</memory><currentMemory unit="KiB">{(current or memory) * 1024}</currentMemory>{vcpus}
      {tune and f"<cputune>{tune}</cputune>"}{more}<devices>{devices}</devices></domain>"""


def able(text: str, lever: LeverName, *, boot: int = 2, state: DomainState = DomainState.RUNNING, **trouble: str) -> Capability:
    moment = abilities.Moment(state=state, boot_vcpus=boot, **trouble)
    return next(c for c in abilities.capabilities(domain_xml.parse(text), moment) if c.lever is lever)


def span(capability: Capability) -> tuple[float, float, float, str]:
    return capability.lowest, capability.highest, capability.granule, capability.reason


# -- identity and entitlement -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_nova_tells_whose_it_is(version: str) -> None:
    identity = domain_xml.parse(xml(metadata=NOVA.format(version=version))).identity
    assert (identity.server, identity.name, identity.display_name) == (UUID, "instance-0001", "shop-db")
    assert (identity.project, identity.flavor, identity.image) == ("5f4dcc3b", "m1.large", "3c1a")


def test_a_domain_that_nova_did_not_make_has_a_name_and_nothing_more() -> None:
    identity = domain_xml.parse(xml()).identity
    assert (identity.project, identity.flavor, identity.image, identity.display_name) == ("", "", "", "")


def size(cores: float, mib: float) -> Size:
    return Size(cpu=Cores(cores), memory=Memory(mib))


@pytest.mark.parametrize(
    ("metadata", "sold"),
    [
        (NOVA.format(version="1.1"), size(4, 8192)),
        (OURS.format(cpu="1.5", mib="256"), size(1.5, 256)),
        (NOVA.format(version="1.1") + OURS.format(cpu="1", mib="256"), size(1, 256)),  # ours first
        (NOVA.format(version="1.1") + OURS.format(cpu="nan", mib="256"), size(4, 8192)),  # no amount: the flavor decides
        (OURS.format(cpu="-1", mib="256"), None),
        (OURS.format(cpu="0", mib="0"), None),
        ("", None),
    ],
)
def test_what_was_sold_stands_in_the_metadata(metadata: str, sold: Size | None) -> None:
    assert domain_xml.parse(xml(metadata=metadata)).sold == sold


def test_without_metadata_the_stored_configuration_is_what_was_sold() -> None:
    live = domain_xml.parse(xml(vcpus='<vcpu current="4">4</vcpu>', memory=1024, current=512))
    stored = domain_xml.parse(xml(vcpus='<vcpu current="2">4</vcpu>', memory=1024, current=768))
    assert abilities.entitlement(live, stored, boot_vcpus=2) == size(2, 768)


@given(plugged=st.integers(1, 4), balloon=st.integers(64, 1024), virtio=st.sampled_from(["", VIRTIO]))
def test_no_live_resize_changes_the_entitlement_of_a_transient_domain(plugged: int, balloon: int, virtio: str) -> None:
    # <memory> counts the virtio-mem device's full size: 1024 + 512.
    total = 1024 + (512 if virtio else 0)
    live = xml(vcpus=f'<vcpu current="{plugged}">4</vcpu>', memory=total, current=balloon, devices=virtio + BALLOON)
    assert abilities.entitlement(domain_xml.parse(live), None, boot_vcpus=1) == size(1, 1024)


def test_the_ceiling_is_what_can_be_reached_and_never_less_than_what_was_sold() -> None:
    elastic = domain_xml.parse(xml(memory=1024 + 512, devices=VIRTIO + BALLOON))
    assert abilities.ceiling(elastic, size(2, 1024)) == size(4, 1024 + 512)
    assert abilities.ceiling(elastic, size(8, 4096)) == size(8, 4096)


# -- ranges -------------------------------------------------------------------------------------------------


def test_an_elastic_domain_has_a_range_for_every_lever() -> None:
    text = xml(memory=1024 + 512, devices=AGENT.format(state="connected") + VIRTIO + BALLOON)
    assert span(able(text, LeverName.CPU_QUOTA)) == (0.05, 4, 0.01, "")
    assert span(able(text, LeverName.CPU_GUEST)) == (1, 2, 1, "")
    assert span(able(text, LeverName.CPU_HOTPLUG, boot=1)) == (1, 4, 1, "")
    assert span(able(text, LeverName.MEM_BALLOON)) == (64, 1024, 1, "")
    assert span(able(text, LeverName.MEM_VIRTIO)) == (1024, 1024 + 512, 2, "")


def test_under_tcg_vcpus_only_go_up() -> None:
    assert able(xml(kind="qemu"), LeverName.CPU_HOTPLUG, boot=1).lowest == 2  # what it has now
    assert able(xml(kind="kvm"), LeverName.CPU_HOTPLUG, boot=1).lowest == 1  # what it was started with


def test_a_flavor_that_caps_each_vcpu_bounds_the_domains_cap_from_below() -> None:
    # 60000/100000 for each vCPU: cgroup v1 refuses a parent with less than a child's 0.6.
    text = xml(tune="<vcpu_period>100000</vcpu_period><vcpu_quota>60000</vcpu_quota>")
    assert able(text, LeverName.CPU_QUOTA).lowest == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "lever", "words"),
    [
        (xml(devices=""), LeverName.MEM_BALLOON, "no balloon device"),
        (xml(devices='<memballoon model="none"/>'), LeverName.MEM_BALLOON, "no balloon device"),
        (xml(devices=BALLOON), LeverName.CPU_GUEST, "no guest agent channel"),
        (xml(devices=AGENT.format(state="disconnected")), LeverName.CPU_GUEST, "not connected"),
        (xml(), LeverName.MEM_VIRTIO, "no virtio-mem device"),
        (xml(memory=2048, devices=VIRTIO + VIRTIO), LeverName.MEM_VIRTIO, "several virtio-mem devices"),
        (xml(vcpus="<vcpu>2</vcpu>"), LeverName.CPU_HOTPLUG, "started with all 2"),
        (xml(more="<numatune><memory mode='strict' nodeset='0'/></numatune>"), LeverName.CPU_HOTPLUG, "NUMA"),
        (xml(more="<memoryBacking><hugepages/></memoryBacking>"), LeverName.MEM_BALLOON, "huge pages"),
        (xml(more="<memoryBacking><locked/></memoryBacking>"), LeverName.MEM_BALLOON, "locked"),
        (xml(devices="<hostdev mode='subsystem' type='pci'/>" + BALLOON), LeverName.MEM_BALLOON, "passed-through device"),
        (xml(devices="<interface type='hostdev'/>" + BALLOON), LeverName.MEM_BALLOON, "passed-through network device"),
        (xml(tune="<vcpupin vcpu='0' cpuset='5'/>"), LeverName.CPU_QUOTA, "pinned"),
        (xml(tune="<vcpupin vcpu='0' cpuset='5'/>"), LeverName.CPU_GUEST, "pinned"),
        (xml(tune="<vcpusched vcpus='0' scheduler='fifo'/>"), LeverName.CPU_QUOTA, "real-time"),
    ],
)
def test_a_lever_that_is_missing_says_why(text: str, lever: LeverName, words: str) -> None:
    capability = able(text, lever)
    assert not capability.usable
    assert words in capability.reason


def test_vcpus_that_float_over_a_shared_set_are_not_pinned() -> None:
    assert able(xml(tune="<vcpupin vcpu='0' cpuset='0-15'/><vcpupin vcpu='1' cpuset='0-15'/>"), LeverName.CPU_QUOTA).usable


def test_pinned_vcpus_leave_the_memory_levers() -> None:
    assert able(xml(tune="<vcpupin vcpu='0' cpuset='5'/>"), LeverName.MEM_BALLOON).usable


def test_what_a_machine_refuses_and_a_silent_agent_are_reasons_too() -> None:
    assert able(xml(), LeverName.CPU_QUOTA, quota_trouble="no cgroup").reason == "no cgroup"
    assert able(xml(), LeverName.CPU_GUEST, agent_trouble="no answer").reason == "no answer"


@pytest.mark.parametrize("state", [s for s in DomainState if s is not DomainState.RUNNING])
def test_a_domain_that_does_not_run_has_no_lever(state: DomainState) -> None:
    assert {able(xml(), lever, state=state).reason for lever in RESIZERS} == {f"domain is {state.value}"}


@pytest.mark.parametrize("text", ["", "<domain", "<domain/>", "<domain><uuid>x</uuid></domain>", xml(vcpus="<vcpu>two</vcpu>")])
def test_what_is_no_domain_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(domain_xml.NotADomain):
        domain_xml.parse(text)


def test_the_virtio_mem_element_is_asked_for_with_all_else_kept() -> None:
    asked = domain_xml.request_virtio(xml(memory=1536, devices=VIRTIO), 262144)
    assert '<requested unit="KiB">262144</requested>' in asked
    assert '<alias name="virtiomem0" />' in asked  # libvirt finds the device by it
    assert '<current unit="KiB">65536</current>' in asked
    with pytest.raises(domain_xml.NotADomain):
        domain_xml.request_virtio(xml(), 1)


# -- bulk numbers -------------------------------------------------------------------------------------------

STATS = {
    "state.state": 1, "state.reason": 1, "cpu.time": 9_000_000_000, "vcpu.current": 2, "vcpu.maximum": 4,
    "vcpu.0.time": 4_000_000_000, "vcpu.0.delay": 7, "vcpu.2.time": 3_000_000_000,
    "balloon.current": 1024 * 1024, "balloon.maximum": 1536 * 1024, "balloon.rss": 600 * 1024, "balloon.available": 1000 * 1024,
    "balloon.usable": 700 * 1024, "balloon.unused": 650 * 1024, "balloon.swap_in": 3, "balloon.swap_out": 4, "balloon.major_fault": 5,
    "balloon.last-update": 1_700_000_000,
    "net.count": 2, "net.0.rx.bytes": 10, "net.0.tx.bytes": 20, "net.1.rx.bytes": 1, "net.1.tx.bytes": 2,
    "block.count": 1, "block.0.rd.bytes": 100, "block.0.wr.bytes": 200, "block.0.rd.reqs": 3, "block.0.wr.reqs": 4,
}  # fmt: skip


def without(*prefixes: str) -> dict[str, int]:
    return {key: value for key, value in STATS.items() if not key.startswith(prefixes)}


def test_numbers_arrive_in_our_units() -> None:
    card = domain_xml.parse(xml(memory=1536, devices=VIRTIO + BALLOON))
    cpu, memory, io = domain_stats.cpu(STATS, card, 2, 11), domain_stats.memory(STATS, card), domain_stats.io(STATS)
    assert cpu is not None
    assert memory is not None
    assert io is not None
    assert [(v.number, v.run_ns, v.delay_ns) for v in cpu.vcpus] == [(0, 4_000_000_000, 7), (2, 3_000_000_000, None)]
    assert (cpu.run_ns, cpu.current, cpu.maximum, cpu.guest_online, cpu.throttled_ns) == (9_000_000_000, 2, 4, 2, 11)
    assert (memory.current.mib, memory.maximum.mib) == (1024, 1024)  # 1536 less the device's 512
    assert (memory.swap_in_bytes, memory.swap_out_bytes, memory.major_faults) == (3 * 1024, 4 * 1024, 5)
    assert memory.virtio_current == Memory(64)
    assert memory.virtio_requested == Memory(128)
    assert (io.rx_bytes, io.tx_bytes, io.read_bytes, io.write_bytes, io.read_ops, io.write_ops) == (11, 22, 100, 200, 3, 4)


def test_qemus_own_word_on_the_balloon_is_newer_than_the_bulk_number() -> None:
    card = domain_xml.parse(xml(memory=1536, devices=VIRTIO + BALLOON))
    memory = domain_stats.memory(STATS, card, actual_kib=900 * 1024)
    assert memory is not None
    assert memory.current.mib == 900 + 64  # the balloon, and what virtio-mem has plugged


@pytest.mark.parametrize(
    ("tune", "cap"),
    [
        ("", None),
        ("<global_period>100000</global_period><global_quota>25000</global_quota>", 0.25),
        ("<global_period>100000</global_period><global_quota>-1</global_quota>", None),
        ("<vcpu_period>50000</vcpu_period><vcpu_quota>25000</vcpu_quota>", 1.0),  # half a core for each of two vCPUs
        ("<global_quota>70000</global_quota><vcpu_quota>50000</vcpu_quota>", 0.7),  # the tighter of 0.7 and 2 × 0.5
    ],
)
def test_the_cap_in_force_is_the_tightest(tune: str, cap: float | None) -> None:
    reading = domain_stats.cpu(STATS, domain_xml.parse(xml(tune=tune)), None, None)
    assert reading is not None
    assert (reading.quota.cores if reading.quota else None) == cap


@pytest.mark.parametrize(
    ("state", "reason", "meaning"),
    [
        (1, 1, DomainState.RUNNING),
        (2, 0, DomainState.RUNNING),
        (3, 1, DomainState.PAUSED),
        (3, 2, DomainState.MIGRATING),
        (1, 10, DomainState.MIGRATING),
        (3, 10, DomainState.CRASHED),
        (3, 11, DomainState.BUSY),
        (4, 0, DomainState.BUSY),
        (5, 1, DomainState.SHUTOFF),
        (6, 1, DomainState.CRASHED),
        (7, 0, DomainState.PAUSED),
        (99, 0, DomainState.PAUSED),
    ],
)
def test_libvirts_states_as_resizing_cares(state: int, reason: int, meaning: DomainState) -> None:
    assert domain_stats.state(STATS | {"state.state": state, "state.reason": reason}) is meaning


def test_a_held_job_lock_shows_by_what_is_missing_and_the_rest_is_read() -> None:
    busy = without("balloon.rss", "balloon.available", "balloon.usable", "balloon.unused", "balloon.swap", "balloon.last-update")
    assert domain_stats.state(busy) is DomainState.BUSY
    memory = domain_stats.memory(busy, domain_xml.parse(xml()))
    assert memory is not None
    assert (memory.current.mib, memory.rss, memory.usable, memory.guest_updated_at) == (1024, None, None, None)


def test_a_domain_that_is_off_has_no_numbers() -> None:
    off, card = {"state.state": 5, "state.reason": 1, "vcpu.maximum": 4, "balloon.maximum": 1}, domain_xml.parse(xml())
    assert (domain_stats.cpu(off, card, None, None), domain_stats.memory(off, card), domain_stats.io(off)) == (None, None, None)


@given(st.sets(st.sampled_from(sorted(STATS))))
def test_whatever_is_missing_a_reading_is_made(missing: set[str]) -> None:
    stats, card = {k: v for k, v in STATS.items() if k not in missing}, domain_xml.parse(xml())
    domain_stats.state(stats)
    cpu = domain_stats.cpu(stats, card, None, None)
    assert (cpu is None) == ("cpu.time" in missing)
    memory = domain_stats.memory(stats, card)
    assert (memory is None) == bool({"cpu.time", "balloon.current"} & missing)
    domain_stats.io(stats)


@given(lie=st.integers(2**54, 2**64 - 1))
def test_a_guest_that_lies_about_its_memory_is_not_believed_and_breaks_nothing(lie: int) -> None:
    told = {f"balloon.{word}": lie for word in ("available", "usable", "unused", "swap_in", "swap_out", "major_fault")}
    memory = domain_stats.memory(STATS | told, domain_xml.parse(xml()))
    assert memory is not None
    assert memory.current.mib == 1024  # QEMU's word, not the guest's
    assert {memory.available, memory.usable, memory.unused, memory.swap_in_bytes, memory.swap_out_bytes, memory.major_faults} == {None}


# -- the kernel's files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("nr_periods 9\nnr_throttled 3\nthrottled_time 88710904\nnr_bursts 0\n", 88710904),
        ("usage_usec 5\nnr_periods 9\nthrottled_usec 88710\n", 88710 * 1000),
    ],
)
def test_throttled_time_is_read_from_both_cgroup_versions(tmp_path: object, text: str, ns: int) -> None:
    file = tmp_path / "cpu.stat"  # type: ignore[operator]
    file.write_text(text)
    assert throttled_ns(str(file)) == ns


def test_pressure_is_a_share_and_nothing_where_the_kernel_does_not_count(tmp_path: object) -> None:
    file = tmp_path / "memory"  # type: ignore[operator]
    assert stalled(file, "some") is None
    file.write_text("some avg10=1.50 avg60=0.87 avg300=0.20 total=81925\nfull avg10=0.25 avg60=0 avg300=0 total=5\n")
    assert (stalled(file, "some"), stalled(file, "full")) == (0.015, 0.0025)
    file.write_text("nonsense")
    assert stalled(file, "some") is None


@pytest.mark.parametrize(("words", "said"), [('autodeflate="on" freePageReporting="on"', True), ('autodeflate="off"', False), ("", False)])
def test_a_balloon_that_the_guest_may_empty_is_told_apart(words: str, said: bool) -> None:
    """Nova asks for it: the guest's total then counts the balloon's pages."""
    card = domain_xml.parse(xml(devices=f'<memballoon model="virtio" {words}><stats period="10"/></memballoon>'))
    stats = {"cpu.time": 1, "balloon.current": 160 * 1024, "balloon.available": 344 * 1024}
    found = domain_stats.memory(stats, card)
    assert found is not None
    assert found.total_stays is said
