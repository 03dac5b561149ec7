"""Who may be live-migrated at all, and what the next host must have."""

import pytest
from msgspec.structs import replace

from foreshape_controller.decide.movable import immovable, labels_needed
from foreshape_controller.model.cloud import CloudFlavor, CloudServer

pytestmark = pytest.mark.unit

PLAIN = CloudServer(id="s", host="hv1", status="ACTIVE", flavor=CloudFlavor(vcpus=2, ram=2048))


def with_specs(**specs: str) -> CloudServer:
    named = {key.replace("__", ":").replace("_DOT_", "."): value for key, value in specs.items()}
    return replace(PLAIN, flavor=CloudFlavor(vcpus=2, ram=2048, extra_specs=named))


def test_an_ordinary_server_may_be_moved():
    assert immovable(PLAIN) == ""
    assert immovable(with_specs(hw__cpu_policy="shared", hw__mem_page_size="small", resources__VCPU="2", resources__VGPU="0")) == ""


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ({"hw__cpu_policy": "dedicated"}, "pinned"),
        ({"hw__cpu_policy": "MIXED"}, "pinned"),
        ({"resources__PCPU": "2"}, "pinned"),
        ({"hw__numa_nodes": "1"}, "NUMA"),
        ({"hw__numa_cpus_DOT_0": "0,1"}, "NUMA"),
        ({"hw__mem_page_size": "1GB"}, "huge pages"),
        ({"hw__mem_page_size": "large"}, "huge pages"),
        ({"pci_passthrough__alias": "gpu:1"}, "passed through"),
        ({"resources__VGPU": "1"}, "holds VGPU"),
        ({"resources1__CUSTOM_FPGA": "nonsense"}, "holds CUSTOM_FPGA"),
    ],
)
def test_what_is_bound_to_its_hosts_hardware_stays(specs, reason):
    assert reason in immovable(with_specs(**specs))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"host": ""}, "on no host"),
        ({"status": "SHUTOFF"}, "it is SHUTOFF"),
        ({"status": ""}, "no known state"),
        ({"task_state": "resize_prep"}, "resize_prep"),
        ({"locked": True}, "locked"),
    ],
)
def test_a_server_that_is_not_simply_running_stays(changed, reason):
    assert reason in immovable(replace(PLAIN, **changed))


def test_traits_are_required_or_forbidden():
    server = with_specs(trait__HW_AVX="required", trait1__CUSTOM_X="required", trait__CUSTOM_SLOW="forbidden")
    assert labels_needed(server) == {"trait:HW_AVX", "trait:CUSTOM_X", "!trait:CUSTOM_SLOW"}
