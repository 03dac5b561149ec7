"""A hot-add ceiling in Nova's domains: what a guest starts with stays, and what could not be kept is not promised."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_agent.abilities import Moment, capabilities
from foreshape_agent.domain_xml import parse
from foreshape_ceiling.ceiling import MEMORY, VCPUS, Ceiling, Unfit, with_ceiling
from foreshape_wire.reading import DomainState, LeverName

pytestmark = pytest.mark.unit

FLAVOR = "<nova:flavor name='m1'><nova:memory>{mib}</nova:memory><nova:vcpus>{vcpus}</nova:vcpus></nova:flavor>"


def novas(vcpus: int = 2, mib: int = 2048, *, cpu: str = "", more: str = "") -> str:
    """As Nova 34 writes it (facts: no maxMemory, no current, a topology of single-core sockets)."""
    topology = cpu or f"<cpu mode='host-model'><topology sockets='{vcpus}' cores='1' threads='1'/></cpu>"
    return f"""<domain type='kvm'><name>instance-1</name><uuid>4b1c0c5e-51c0-4d5e-9b0a-000000000001</uuid>
      <metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
      {FLAVOR.format(mib=mib, vcpus=vcpus)}</nova:instance></metadata>
      <memory>{mib * 1024}</memory><vcpu>{vcpus}</vcpu>{topology}{more}
      <devices><memballoon model='virtio'><stats period='10'/></memballoon></devices></domain>"""


def live(xml: str) -> str:
    """As libvirt tells it then: it adds the devices' sizes to the total (measured, libvirt 9.0)."""
    domain = ET.fromstring(xml)
    memory = domain.find("memory")
    assert memory is not None
    room = sum(int(s.text or "") for s in domain.findall("devices/memory/target/size"))
    memory.text = str(int(memory.text or "") + room * 1024)
    return ET.tostring(domain, encoding="unicode")


def levers(xml: str) -> dict[LeverName, tuple[float, float]]:
    """What our own agent makes of it: the ranges of those that can be pulled."""
    card = parse(live(xml))
    found = capabilities(card, Moment(state=DomainState.RUNNING, boot_vcpus=card.vcpus))
    return {c.lever: (c.lowest, c.highest) for c in found if c.usable}


def test_a_ceiling_gives_the_levers_that_novas_guest_lacks() -> None:
    plain, able = novas(), with_ceiling(novas(), Ceiling(4, 4096))
    assert set(levers(plain)) == {LeverName.CPU_QUOTA, LeverName.MEM_BALLOON}
    assert levers(able)[LeverName.CPU_HOTPLUG] == (2, 4)
    assert levers(able)[LeverName.MEM_VIRTIO] == (2048, 4096)


def test_without_one_each_missing_lever_says_what_an_operator_would_change() -> None:
    card = parse(novas())
    why = {c.lever: c.reason for c in capabilities(card, Moment(state=DomainState.RUNNING, boot_vcpus=2)) if not c.usable}
    assert why == {
        LeverName.CPU_HOTPLUG: "no vCPU can be plugged: it was started with all 2; "
        "Nova defines no room to grow: its operator can give the flavor a ceiling (docs/hot-add.md)",
        LeverName.MEM_VIRTIO: "it has no virtio-mem device; "
        "Nova defines no room to grow: its operator can give the flavor a ceiling (docs/hot-add.md)",
        LeverName.CPU_GUEST: "it has no guest agent channel; "
        "with image property hw_qemu_guest_agent=yes Nova adds one at the next hard reboot",
    }


def test_it_starts_with_its_flavor() -> None:
    card = parse(live(with_ceiling(novas(), Ceiling(4, 4096))))
    assert (card.vcpus, card.max_vcpus, card.base) == (2, 4, 2048)
    assert card.virtio is not None
    assert (card.virtio.requested, card.virtio.size) == (0, 2048)
    assert card.sold is not None
    assert (card.sold.cpu.cores, card.sold.memory.mib) == (2, 2048)


@pytest.mark.parametrize("ceiling", [Ceiling(), Ceiling(2, 2048), Ceiling(1, 1024), Ceiling(0, 2049)])
def test_no_more_than_it_has_changes_nothing(ceiling: Ceiling) -> None:
    assert with_ceiling(novas(), ceiling) == novas()


@pytest.mark.parametrize(
    "obstacle",
    [
        "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune>",
        "<numatune><memory mode='strict' nodeset='0'/></numatune>",
        "<memoryBacking><hugepages/></memoryBacking>",
        "<memoryBacking><locked/></memoryBacking>",
        "<launchSecurity type='sev'/>",
    ],
)
def test_what_binds_a_guest_to_its_host_forbids_a_ceiling(obstacle: str) -> None:
    with pytest.raises(Unfit):
        with_ceiling(novas(more=obstacle), Ceiling(4, 4096))


def test_cores_of_a_socket_stay_together() -> None:
    pairs = "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>"
    able = ET.fromstring(with_ceiling(novas(cpu=pairs), Ceiling(4, 0)))
    topology = able.find("cpu/topology")
    assert topology is not None
    assert topology.attrib == {"sockets": "2", "cores": "2", "threads": "1"}
    with pytest.raises(Unfit, match="sockets of 2"):
        with_ceiling(novas(cpu=pairs), Ceiling(3, 0))


def test_a_flavor_says_it_in_its_extra_specs() -> None:
    assert Ceiling.of({VCPUS: "8", MEMORY: "16384", "hw:boot_menu": "true"}) == Ceiling(8, 16384)
    assert Ceiling.of({}) == Ceiling(0, 0)
    with pytest.raises(ValueError, match="whole number"):
        Ceiling.of({VCPUS: "many"})


@given(st.integers(1, 32), st.integers(64, 65536), st.integers(0, 64), st.integers(0, 131072))
def test_any_ceiling_keeps_what_was_sold_and_adds_up(vcpus: int, mib: int, most: int, most_mib: int) -> None:
    able = ET.fromstring(with_ceiling(novas(vcpus, mib), Ceiling(most, most_mib)))
    element, topology = able.find("vcpu"), able.find("cpu/topology")
    assert element is not None
    assert topology is not None
    assert int(element.get("current", element.text or "")) == vcpus
    assert int(element.text or "") == max(vcpus, most) == int(topology.attrib["sockets"])
    sizes = [int(s.text or "") for s in able.findall("devices/memory/target/size")]
    assert sum(sizes) == max(0, (most_mib - mib) // 2 * 2)
    assert [int(m.text or "") for m in able.findall("maxMemory")] == [mib + s for s in sizes]
    assert [c.attrib["cpus"] for c in able.findall("cpu/numa/cell")] == [f"0-{max(vcpus, most) - 1}" for _ in sizes]
