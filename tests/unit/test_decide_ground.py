"""A cloud's own words as columns."""

import numpy as np
import pytest
from msgspec.structs import replace

from foreshape_controller.decide import ground
from foreshape_controller.decide.place import drain
from foreshape_controller.decide.room import Ground, Group, Rule
from foreshape_controller.model.cloud import LOCKED_OUT, CloudFlavor, CloudHost, CloudServer, Inventory, ServerGroup

pytestmark = pytest.mark.unit

INVENTORIES = {
    "VCPU": Inventory(total=16, ratio=4.0, max_unit=16),
    "MEMORY_MB": Inventory(total=65536, reserved=512, max_unit=65536),
    "DISK_GB": Inventory(total=1000, max_unit=1000),
}
A = CloudHost(
    name="a", provider="pa", az="z", aggregates=("fast",), traits=frozenset({"HW_AVX"}), inventories=INVENTORIES, usages={"VCPU": 2}
)
VM = CloudServer(
    id="s", host="a", status="ACTIVE", image="i", asked_az="z", groups=("g",), flavor=CloudFlavor(vcpus=2, ram=2048, disk=10, swap=1500)
)


def columns(*read: CloudHost):
    n = len(read)
    return ground.hosts(read, np.tile([16.0, 65024.0], (n, 1)), np.zeros((n, 2)))


def test_capacity_is_placements_formula():
    found = columns(A)
    assert found.capacity.tolist() == [[64, 65024, 1000]], "16 cores sold 4 times; 512 MiB kept by the host"
    assert (found.held[0, 0], found.most[0, 0]) == (2, 16)
    assert found.labels == ({"trait:HW_AVX", "aggregate:fast"},)
    assert found.closed == ("",)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"provider": ""}, "Placement does not know it"),
        ({"up": False}, "down"),
        ({"enabled": False, "disabled_why": "new disks"}, "it is disabled: new disks"),
        ({"traits": frozenset({LOCKED_OUT})}, "locked"),
    ],
)
def test_a_host_that_takes_nothing_says_why(changed, reason):
    assert reason in columns(replace(A, **changed)).closed[0]


def test_two_hosts_of_one_name_are_both_closed():
    assert columns(A, replace(A, provider="pb")).closed == ("two hosts have this name",) * 2


def test_a_host_without_inventory_has_room_for_nothing():
    assert columns(replace(A, inventories={})).capacity.tolist() == [[0, 0, 0]]


def test_servers_sizes_are_what_nova_claims():
    read = [VM, replace(VM, id="volume", image=""), replace(VM, id="lost", host="x")]
    found = ground.servers(read, columns(A), np.zeros((3, 2)), np.zeros(3), {"volume": "it rests"})
    assert found.size.tolist() == [[2, 2048, 12], [2, 2048, 2], [2, 2048, 12]], "1,500 MiB of swap are 2 GiB; a volume is not on the host"
    assert found.host.tolist() == [0, 0, -1]
    assert found.fixed == ("", "it rests", "")
    assert found.zones[0] == "z"


def test_an_empty_cloud_has_columns_too():
    assert ground.servers([], columns(), np.zeros((0, 2)), np.zeros(0)).size.shape == (0, 3)


def test_a_cloud_as_read_can_be_drained():
    on = columns(A, replace(A, name="b", provider="pb"), replace(A, name="c", provider="pc", az="other"))
    apart = ground.groups([ServerGroup(id="g", policy="anti-affinity", members=("s",))])
    assert apart == {"g": Group("anti-affinity", 1)}
    where = Ground(on, ground.servers([VM], on, np.array([[1.0, 1000.0]]), np.array([1.0])), apart)
    assert [(m.server, m.target) for m in drain(where, "a", 0.0, Rule()).moves] == [("s", "b")], "c is in another zone"
