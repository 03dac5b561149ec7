"""The libvirt door without a hypervisor worth the name: nothing there, and libvirt's own test driver."""

import re

import pytest

from doors_support import FakeClock
from foreshape_agent.errors import AgentError, HypervisorLost
from foreshape_agent.hypervisor import LibvirtHypervisor
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import RESIZERS, DomainState, LeverName

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
    ]
    for change in changes:
        with pytest.raises(AgentError):
            change()
    door.close()
