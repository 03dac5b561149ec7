"""Which host is a target: each thing that Nova's scheduler would look at, and a forced hand-over does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide.ground import claim_of
from foreshape_controller.decide.target import Guest, Planned, closed, guest, unholdable, why_not
from foreshape_controller.model.cloud import LOCKED_OUT, CloudFlavor, CloudHost, CloudServer, CloudView, Inventory, ServerGroup

pytestmark = pytest.mark.unit

ROOM = {"VCPU": Inventory(total=16, ratio=4.0, max_unit=16), "MEMORY_MB": Inventory(total=32768, max_unit=32768)}
HOST = CloudHost(name="hv1", provider="p1", az="nova", inventories=ROOM, usages={"VCPU": 10, "MEMORY_MB": 1024})
SMALL = Guest(resources={"VCPU": 2, "MEMORY_MB": 1024})


def against(host=HOST, who=SMALL, view=None, planned=(), **options):
    return why_not(host, who, view or CloudView(at=0.0, hosts={host.name: host}), planned, **options)


def grouped(policy, *, on="hv1", most=1):
    group = ServerGroup(id="g1", name="web", policy=policy, members=("vm1", "vm2"), most_per_host=most)
    servers = {"vm1": CloudServer(id="vm1", host=on, groups=("g1",)), "vm2": CloudServer(id="vm2", host="hv9", groups=("g1",))}
    return CloudView(at=0.0, hosts={"hv1": HOST}, servers=servers, groups={"g1": group})


def test_nothing_speaks_against_an_ordinary_host():
    assert against() == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"provider": ""}, "Placement does not know it"),
        ({"up": False}, "nova-compute is down"),
        ({"forced_down": True}, "nova-compute is down"),
        ({"enabled": False, "disabled_why": "disk"}, "disabled: disk"),
        ({"traits": frozenset({LOCKED_OUT})}, "locked"),
    ],
)
def test_a_closed_host_is_none(changed, said):
    assert said in closed(replace(HOST, **changed))
    assert said in against(replace(HOST, **changed))


def test_its_zone_must_be_the_one_asked_for():
    assert against(who=replace_guest(az="nova")) == ""
    assert "zone nova, not east" in against(who=replace_guest(az="east"))


def replace_guest(**changed):
    return Guest(**{"resources": SMALL.resources, **changed})


def test_traits_that_the_flavor_requires_or_forbids_are_looked_at():
    wants = replace_guest(specs={"trait:HW_A": "required", "trait:CUSTOM_B": "forbidden"})
    assert "lacks the trait HW_A" in against(who=wants)
    assert against(replace(HOST, traits=frozenset({"HW_A"})), wants) == ""
    assert "forbids" in against(replace(HOST, traits=frozenset({"HW_A", "CUSTOM_B"})), wants)


@pytest.mark.parametrize(
    ("spec", "has", "fits"),
    [
        ("true", "true", True),
        ("true", "", False),
        ("true", "false,true", True),
        ("<or> a <or> b", "b", True),
        ("<or> a <or> b", "c", False),
        ("s== a", "a", True),
        ("s!= a", "a", False),
        ("<in> an", "banana", True),
        (">= 3", "5", False),
    ],
)
def test_extra_specs_are_compared_with_the_aggregates(spec, has, fits):
    host = replace(HOST, aggregate_metadata={"ssd": has} if has else {})
    for key in ("aggregate_instance_extra_specs:ssd", "ssd"):
        assert (against(host, replace_guest(specs={key: spec})) == "") is fits
    assert against(host, replace_guest(specs={"quota:cpu_shares": "5", "hw:cpu_policy": "shared"})) == ""


def test_an_aggregate_for_some_projects_is_for_nobody_else():
    host = replace(HOST, aggregate_metadata={"filter_tenant_id": "p1,p2"})
    assert against(host, replace_guest(project="p2")) == ""
    assert "other projects" in against(host, replace_guest(project="p3"))
    assert "other projects" in against(host)


def test_members_of_an_anti_affinity_group_are_counted_with_places_that_are_promised():
    new = replace_guest(groups=("g1",))
    assert "server group web" in against(who=new, view=grouped("anti-affinity"))
    assert against(who=new, view=grouped("anti-affinity", on="hv3")) == ""
    promised = [Planned("hv1", ("g1",))]
    assert "server group web" in against(who=new, view=grouped("anti-affinity", on="hv3"), planned=promised)
    assert against(who=new, view=grouped("anti-affinity", on="hv3", most=2), planned=promised) == ""
    mine = [Planned("hv1", ("g1",), server="vm7")]
    assert against(who=replace_guest(groups=("g1",), server="vm7"), view=grouped("anti-affinity", on="hv3"), planned=mine) == ""


def test_affinity_goes_where_the_others_are_and_a_group_that_nobody_knows_goes_nowhere():
    new = replace_guest(groups=("g1",), server="vm2")
    assert against(who=new, view=grouped("affinity")) == ""
    assert "another host" in against(who=new, view=grouped("affinity", on="hv3"))
    assert "not known" in against(who=replace_guest(groups=("g2",)))


def test_one_consumer_may_hold_no_more_than_max_unit_and_all_need_room():
    assert "1 to 16 VCPU" in against(who=Guest(resources={"VCPU": 17}))
    assert "has no PCPU" in against(who=Guest(resources={"PCPU": 1}))
    assert against(who=Guest(resources={"VCPU": 16}, count=3)) == ""
    assert "54 VCPU are free, 64 wanted" in against(who=Guest(resources={"VCPU": 16}, count=4))
    assert against(who=Guest(resources={"VCPU": 16}, count=4), room=False) == ""


@given(st.integers(1, 16), st.integers(1, 8), st.integers(0, 64))
def test_room_is_counted_as_placement_counts_it(amount, count, used):
    host = replace(HOST, usages={"VCPU": used})
    assert (against(host, Guest(resources={"VCPU": amount}, count=count)) == "") is (used + amount * count <= 64)


def test_a_server_brings_its_zone_its_groups_and_its_flavor():
    flavor = CloudFlavor(vcpus=2, ram=512, disk=10, swap=100, extra_specs={"trait:HW_A": "required"})
    server = CloudServer(id="vm1", project="p1", asked_az="east", groups=("g1",), flavor=flavor)
    came = guest(server, claim_of(flavor, from_image=True))
    assert (came.az, came.project, came.groups, came.server) == ("east", "p1", ("g1",), "vm1")
    assert came.resources == {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 11}
    assert claim_of(flavor, from_image=False)["DISK_GB"] == 1


def test_flavors_bound_to_hardware_cannot_be_held_for():
    assert "pinned" in unholdable({"hw:cpu_policy": "dedicated"})
    assert "passed through" in unholdable({"pci_passthrough:alias": "gpu:1"})
    assert unholdable({"hw:mem_page_size": "small"}) == ""
