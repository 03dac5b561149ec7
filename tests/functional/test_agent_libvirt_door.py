"""The libvirt door without a hypervisor worth the name: nothing there, and libvirt's own test driver."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import libvirt
import pytest

from doors_support import SERVER, FakeClock
from foreshape_agent import device_xml
from foreshape_agent.errors import AgentError, HypervisorLost, LeverRejected
from foreshape_agent.hypervisor import LibvirtHypervisor
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import RESIZERS, DeviceLimit, DomainState

pytestmark = pytest.mark.functional


def lost(door: LibvirtHypervisor) -> str:
    with pytest.raises(HypervisorLost) as e:
        door.read_domains()
    return str(e.value)


def test_a_libvirt_that_is_not_there_is_tried_again_ever_more_rarely() -> None:
    clock = FakeClock()
    door = LibvirtHypervisor("qemu+unix:///system?socket=/nonexistent/libvirt-sock", clock)
    waits = []
    for _ in range(7):
        assert "cannot be reached" in lost(door)
        found = re.search(r"the next try is in (\d+) s", lost(door))
        assert found
        waits.append(int(found[1]))
        clock.sleep(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_driver_that_tells_nothing_gives_data_with_reasons_not_exceptions() -> None:
    door = LibvirtHypervisor("test:///default", FakeClock())
    (domain,) = door.read_domains()
    assert (domain.identity.name, domain.state) == ("test", DomainState.BUSY)
    assert domain.note
    assert (domain.cpu, domain.memory, domain.io) == (None, None, None)
    assert all(not domain.capability(lever).usable for lever in RESIZERS)
    server = domain.identity.server
    changes = [
        lambda: door.set_cpu_quota(server, Cores(0.5)),
        lambda: door.set_guest_vcpus(server, 1),
        lambda: door.set_vcpus(server, 1),
        lambda: door.set_balloon(server, Memory(64)),
        lambda: door.set_virtio_mem(server, Memory(64)),
        lambda: door.set_stats_period(server, 10),
        lambda: door.set_disk_limit(server, DeviceLimit(device="vda", resource="disk_iops", total=100)),
        lambda: door.set_net_limit(server, NET),
    ]
    for change in changes:
        with pytest.raises(AgentError):
            change()
    door.close()


# -- throttles -----------------------------------------------------------------------------------------------

DOMAIN = """<domain type='test'><name>throttled</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>
  <disk type='file'><source file='/nonexistent.img'/><target dev='vda'/></disk>
  <interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/><target dev='testnic0'/></interface>
</devices></domain>"""
NET = DeviceLimit(device="testnic0", resource="net_kib_s", inward=1000, outward=500)


def test_libvirt_itself_takes_the_words_of_a_network_limit_and_tells_them_again() -> None:
    """Its own test driver checks names, types and units; where the kernel can do it is the real beds' question."""
    connection = libvirt.open("test:///default")
    domain = connection.createXML(DOMAIN)
    try:
        domain.setInterfaceParameters("testnic0", device_xml.net_words(NET), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        assert device_xml.limits(ET.fromstring(domain.XMLDesc()))[-1] == NET
        free = DeviceLimit(device="testnic0", resource="net_kib_s")
        domain.setInterfaceParameters("testnic0", device_xml.net_words(free), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        assert device_xml.limits(ET.fromstring(domain.XMLDesc()))[-1] == free
    finally:
        domain.destroy()


class Scripted:
    """A libvirt connection and its one running domain: remembers what was set, and says what a test wants."""

    def __init__(self, told: dict[str, int] | None = None) -> None:
        self.calls: list[tuple[str, object, object, int]] = []
        self.told = told
        self.state = {"state.state": 1, "state.reason": 1, "balloon.rss": 1024}
        self.completed: dict[str, int] = {}
        """Statistics of its last job that ended."""

    def getAllDomainStats(self, _groups: int, _flags: int) -> list[tuple["Scripted", dict[str, int]]]:
        return [(self, self.state)]

    def UUIDString(self) -> str:
        return SERVER

    def lookupByUUIDString(self, _uuid: str) -> "Scripted":
        return self

    def domainListGetStats(self, _domains: object, _groups: int, _flags: int) -> list[tuple["Scripted", dict[str, int]]]:
        return [(self, self.state)]

    def ID(self) -> int:
        return 1

    def isAlive(self) -> int:
        return 1

    def isPersistent(self) -> int:
        return 0

    def XMLDesc(self, _flags: int = 0) -> str:
        return DOMAIN.replace("<memory>", f"<uuid>{SERVER}</uuid><memory>")

    def schedulerParametersFlags(self, _flags: int) -> dict[str, int]:
        return {}

    def jobStats(self, flags: int = 0) -> dict[str, int]:
        return self.completed if flags & libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED else {}

    def setInterfaceParameters(self, device: str, words: dict[str, int], flags: int) -> None:
        self.calls.append(("setInterfaceParameters", device, words, flags))

    def setBlockIoTune(self, device: str, words: dict[str, int], flags: int) -> None:
        self.calls.append(("setBlockIoTune", device, words, flags))
        self.told = words if self.told is None else self.told

    def blockIoTune(self, _device: str, _flags: int) -> dict[str, int]:
        return self.told or {}


@pytest.fixture
def scripted() -> Iterator[tuple[LibvirtHypervisor, Scripted]]:
    door, conn = LibvirtHypervisor("qemu:///system", FakeClock()), Scripted()
    door._conn = conn
    yield door, conn
    door._conn = None
    door.close()


def test_limits_are_set_live_device_by_device(scripted: tuple[LibvirtHypervisor, Scripted]) -> None:
    door, conn = scripted
    disk = DeviceLimit(device="vda", resource="disk_iops", total=100)
    door.set_net_limit(SERVER, NET)
    door.set_disk_limit(SERVER, disk)
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    assert conn.calls == [
        ("setInterfaceParameters", "testnic0", device_xml.net_words(NET), live),
        ("setBlockIoTune", "vda", device_xml.disk_words(disk), live),
    ]


def test_a_disk_limit_that_qemu_does_not_have_is_no_limit(scripted: tuple[LibvirtHypervisor, Scripted]) -> None:
    door, conn = scripted
    conn.told = {"total_iops_sec": 7, "read_iops_sec": 0, "write_iops_sec": 0}
    with pytest.raises(LeverRejected, match=r"QEMU says .*7"):
        door.set_disk_limit(SERVER, DeviceLimit(device="vda", resource="disk_iops", total=100))


# -- how long a migration stopped its guest -------------------------------------------------------------------

CAME_IN = {"type": libvirt.VIR_DOMAIN_JOB_COMPLETED, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, "downtime": 84}
COMING_IN = {"state.state": 3, "state.reason": 2}


def stopped(door: LibvirtHypervisor) -> float | None:
    (reading,) = door.read_domains()
    return reading.stopped_s


def test_what_a_migration_stopped_a_guest_for_is_told_by_the_target_once_it_runs(scripted: tuple[LibvirtHypervisor, Scripted]) -> None:
    door, conn = scripted
    running, conn.state, conn.completed = conn.state, COMING_IN, {}
    assert stopped(door) is None, "it is only coming in"
    conn.state, conn.completed = running, CAME_IN
    assert stopped(door) == 0.084
    conn.completed = {}  # a later job took its place
    assert stopped(door) == 0.084, "asked once, and kept as long as it runs"


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"type": 0},
        CAME_IN | {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT},
        CAME_IN | {"type": libvirt.VIR_DOMAIN_JOB_FAILED},
        {k: v for k, v in CAME_IN.items() if k != "downtime"},
        CAME_IN | {"downtime": -1},
        CAME_IN | {"downtime": 10**12},
    ],
)
def test_what_is_no_measured_stop_is_none(scripted: tuple[LibvirtHypervisor, Scripted], other: dict[str, int]) -> None:
    door, conn = scripted
    conn.completed = other
    assert stopped(door) is None


def test_a_libvirt_that_does_not_know_completed_jobs_is_read_all_the_same(scripted: tuple[LibvirtHypervisor, Scripted]) -> None:
    door, conn = scripted

    def refuses(flags: int = 0) -> dict[str, int]:
        if flags:
            raise libvirt.libvirtError("unsupported flags")
        return {}

    conn.jobStats = refuses  # type: ignore[method-assign]
    (reading,) = door.read_domains()
    assert (reading.stopped_s, reading.state) == (None, DomainState.RUNNING)
