"""What aggregates' metadata lets where: rows of Nova's own rules, and the plan that keeps to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide import aggregates, ground
from foreshape_controller.decide.place import drain
from foreshape_controller.decide.room import Ground, Rule
from foreshape_controller.model.cloud import CloudFlavor, CloudHost, CloudServer, Inventory

pytestmark = pytest.mark.unit

INVENTORIES = {name: Inventory(total=1000, max_unit=1000) for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
HOST = CloudHost(name="a", provider="p", az="z", inventories=INVENTORIES)


def host(name: str = "b", **metadata: str) -> CloudHost:
    return replace(HOST, name=name, aggregate_metadata={k.replace("__", ":"): v for k, v in metadata.items()})


def server(project: str = "p1", on: str = "a", **specs: str) -> CloudServer:
    return CloudServer(id=f"{project}-vm", host=on, status="ACTIVE", project=project, flavor=CloudFlavor(vcpus=1, ram=1, extra_specs=specs))


@pytest.mark.parametrize(
    ("metadata", "project", "free"),
    [
        ({}, "p1", True),
        ({"filter_tenant_id": "p1"}, "p1", True),
        ({"filter_tenant_id": "p2, p1"}, "p1", True),
        ({"filter_tenant_id": "p2"}, "p1", False),
        ({"filter_tenant_id": "p2", "filter_tenant_id3": "p1"}, "p1", True),
        ({"ssd": "true"}, "p1", True),
    ],
)
def test_a_host_is_kept_for_the_projects_that_it_names(metadata, project, free):
    assert (aggregates.kept_for_others(host(**metadata), project) == "") is free


@pytest.mark.parametrize(
    ("specs", "free"),
    [
        ({"aggregate_instance_extra_specs:ssd": "true"}, True),
        ({"aggregate_instance_extra_specs:ssd": "false"}, False),
        ({"aggregate_instance_extra_specs:gpu": "true"}, False),
        ({"ssd": "true"}, True),
        ({"ssd": "no"}, False),
        ({"hw:cpu_policy": "shared", "quota:cpu_quota": "5"}, True),
        ({"aggregate_instance_extra_specs:row": "<or> 3 <or> 7"}, True),
        ({"aggregate_instance_extra_specs:row": "<or> 3 <or> 5"}, False),
        ({"aggregate_instance_extra_specs:row": "s== 7"}, True),
        ({"aggregate_instance_extra_specs:row": "s!= 7"}, True),  # it has 8 as well
        ({"aggregate_instance_extra_specs:row": ">= 5"}, False),  # numbers are not compared: no target rather than a wrong one
        ({"aggregate_instance_extra_specs:a:b": "c"}, True),
    ],
)
def test_extra_specs_with_their_scope_or_none_must_be_met(specs, free):
    there = host(ssd="true", row="7,8", a__b="c")
    assert (aggregates.lacks(there, specs) == "") is free


def test_a_host_that_takes_some_images_only_is_a_target_for_who_runs_on_one_as_narrow():
    linux = host("linux", os_type="linux")
    assert aggregates.other_images(linux, host("plain"))
    assert "os_type=linux" in aggregates.other_images(linux, None)
    assert aggregates.other_images(linux, host("other", os_type="linux", ssd="true")) == ""
    assert aggregates.other_images(linux, host("both", os_type="linux,windows")), "there it may be a windows"
    assert aggregates.other_images(host("both", os_type="linux,windows"), linux) == ""
    assert aggregates.other_images(host("plain", ssd="true"), linux) == ""


def planned(hosts, servers):
    n, m = len(hosts), len(servers)
    on = ground.hosts(hosts, np.full((n, 2), 1000.0), np.zeros((n, 2)))
    kinds, barred = aggregates.barriers(hosts, servers)
    return Ground(on, ground.servers(servers, on, np.ones((m, 2)), np.ones(m), kinds=kinds), barred=barred)


def test_a_drain_puts_each_server_where_its_project_and_its_flavor_may_be():
    hosts = [host("a"), host("b", filter_tenant_id="p1"), host("c", ssd="true"), host("d")]
    servers = [server("p1"), server("p2"), server("p3", ssd="true"), server("p4", ssd="no")]
    plan = drain(planned(hosts, servers), "a", 0.0, Rule())
    where = {m.server: m.target for m in plan.moves}
    assert where["p3-vm"] == "c"
    assert where["p2-vm"] in ("c", "d")
    assert [k.name for k in plan.kept] == ["p4-vm"]
    assert "aggregates or traits do not suit it" in plan.kept[0].reason
    assert drain(planned(hosts[:2], servers[:2]), "a", 0.0, Rule()).moves[0].server == "p1-vm"


def test_a_cloud_without_such_metadata_has_one_kind_and_no_barriers():
    kinds, barred = aggregates.barriers([host("a"), host("b", ssd="true")], [server("p1"), server("p2", **{"hw:mem_page_size": "small"})])
    assert (kinds, barred) == (("", ""), {})


METADATA = st.dictionaries(
    st.sampled_from(["filter_tenant_id", "ssd", "os_type"]), st.sampled_from(["p1", "p2", "true", "p1,true"]), max_size=3
)


@given(
    st.lists(METADATA, min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from(["", "true"])), max_size=8),
)
def test_barriers_are_the_three_rules_for_each_server_and_host(metadata, wanted):
    hosts = [host(f"h{i}", **m) for i, m in enumerate(metadata)]
    servers = [server(project, on=f"h{i % len(hosts)}", **({"ssd": ssd} if ssd else {})) for i, (project, ssd) in enumerate(wanted)]
    kinds, barred = aggregates.barriers(hosts, servers)
    for s, kind in zip(servers, kinds, strict=True):
        source = next(h for h in hosts if h.name == s.host)
        for i, h in enumerate(hosts):
            rules = (
                aggregates.kept_for_others(h, s.project),
                aggregates.lacks(h, s.flavor.extra_specs),
                aggregates.other_images(h, source),
            )
            assert (bool(barred[kind][i]) if kind in barred else False) == any(rules)
