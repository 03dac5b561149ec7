"""What the DevStack plugin sets up, at a real Keystone, Nova and Placement: who has role `foreshape` and no other can do what is needed.

DevStack itself is not here: its functions are stood in for, and what they were asked to do at Keystone is done by the bed's administrator.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from foreshape_cloudbed import Cloud
from foreshape_cloudbed.places import PASSWORD, REGION
from foreshape_cloudbed.users import Users
from foreshape_lab.processes import wait_until

from cloud_bed import CloudHands
from devstack_support import Call, Node
from foreshape_controller.cloud import session
from foreshape_controller.cloud.call import Ways
from foreshape_controller.errors import Gone, Permanent

pytestmark = pytest.mark.integration

SERVICES = ("nova", "placement", "keystone")


def without_rights(cloud: Cloud) -> None:
    """The bed's own user is an administrator for other tests' sake; here it has what the plugin gives it and nothing else."""
    admin = openstack.connect(**cloud.access("admin")).identity
    user, project = admin.find_user("foreshape"), admin.find_project("service")
    for row in list(admin.role_assignments(user_id=user.id)):
        admin.unassign_project_role_from_user(project, user, row.role["id"])


def with_all_rights(cloud: Cloud) -> None:
    """As it was. A service forgets a policy file that was taken away only when it is started anew."""
    without_rights(cloud)
    admin = openstack.connect(**cloud.access("admin")).identity
    user, project = admin.find_user("foreshape"), admin.find_project("service")
    for role in ("admin", "service"):
        admin.assign_project_role_to_user(project, user, admin.find_role(role))
    if service := admin.find_service("foreshape"):
        admin.delete_service(service)
    shutil.rmtree(cloud.places.etc / "policy.d", ignore_errors=True)
    for part in ("keystone", "placement", "nova-api"):
        cloud.kill(part)
        cloud.start(part)


def done_at_keystone(cloud: Cloud, calls: list[Call]) -> list[str]:
    """As DevStack's get_or_create functions do it; the names of the functions, in order."""
    admin = openstack.connect(**cloud.access("admin")).identity
    done = []
    for name, *words in calls:
        match name:
            case "get_or_create_role":
                admin.find_role(words[0]) or admin.create_role(name=words[0])
            case "get_or_create_user":
                assert admin.find_user(words[0]), "the bed has it already"
            case "get_or_add_user_project_role":
                role, user, project = admin.find_role(words[0]), admin.find_user(words[1]), admin.find_project(words[2])
                admin.assign_project_role_to_user(project, user, role)
            case "get_or_create_service":
                admin.find_service(words[0]) or admin.create_service(name=words[0], type=words[1], description=words[2])
            case "get_or_create_endpoint":
                admin.create_endpoint(service_id=admin.find_service(words[0]).id, region_id=words[1], interface="public", url=words[2])
            case _:
                continue
        done.append(name)
    return done


def give_policies(cloud: Cloud, node: Node) -> None:
    """The bed's services share one folder of configuration; DevStack's have one each."""
    into = cloud.places.etc / "policy.d"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for service in SERVICES:
        for file in (node.folder / "etc" / service / "policy.d").glob("*.yaml"):
            shutil.copy(file, into / f"{service}-{file.name}")


def rights(node: Node) -> dict[str, str]:
    """Policy -> granted, refused or unknown, as the controller finds out."""
    told = ask(node, "cloud", "status", "--rights", "-f", "json")
    return {row["policy"]: row["state"] for row in told["rights"]}


def ask(node: Node, *words: str) -> Any:
    said = subprocess.run([node.command, *words], capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(said)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def node(cloud: Cloud, tmp_path: Path) -> Iterator[Node]:
    local = {
        "SERVICE_PASSWORD": PASSWORD,
        "REGION_NAME": REGION,
        "KEYSTONE_SERVICE_URI": cloud.places.root("keystone"),
        "SERVICE_HOST": "127.0.0.1",
        "SERVICE_LISTEN_ADDRESS": "127.0.0.1",
        "FORESHAPE_PORT": str(free_port()),
    }
    node = Node(tmp_path, "key,n-api,placement-api", local, real=True)
    without_rights(cloud)
    yield node
    node.unstack()
    with_all_rights(cloud)


def doors(cloud: Cloud) -> session.Cloud:
    """The product's own, with the rights that the user has now."""
    return session.connect(session.Access(timeout_s=90.0, options=cloud.access("foreshape")), Ways())


@pytest.fixture(scope="module")
def customers(cloud: Cloud) -> str:
    """A server of another project."""
    Users(cloud.access("admin"), cloud.image).flavor(1, 512, disk=1)  # without a disk it is for administrators only
    demo = Users(cloud.access("demo"), lambda _: CloudHands(cloud).users.image)
    flavor = next(f.id for f in demo.link.compute.flavors() if f.vcpus == 1)
    made = demo.link.compute.create_server(name="theirs", image_id=demo.image, flavor_id=flavor, networks="none")
    assert demo.built(made.id) == "ACTIVE"
    return str(made.id)


def test_who_may_only_advise_is_refused_what_would_change_anything(cloud: Cloud, node: Node, customers: str) -> None:
    """Before the other: services read a new policy file at once, but forget one that was taken away only when they are started anew."""
    node.local["FORESHAPE_MAY_ACT"] = "False"
    done_at_keystone(cloud, node.stack("install", "post-config"))
    give_policies(cloud, node)
    node.stack("extra", "test-config")
    found = rights(node)
    assert {policy for policy, state in found.items() if state == "refused"} == {
        "placement:allocations:update",
        "placement:allocations:manage",
        "placement:allocations:delete",
        "placement:resource_providers:traits:update",
        "placement:resource_providers:inventories:update",
        "os_compute_api:os-services:update",
    }
    nova = doors(cloud).nova
    assert customers in {server.id for server in nova.servers()}
    with pytest.raises((Gone, Permanent)):
        nova.live_migrate(customers, cloud.hosts[0])


def test_the_role_that_the_plugin_makes_can_read_and_act_and_do_nothing_else(cloud: Cloud, node: Node, customers: str) -> None:
    calls = node.stack("install", "post-config")
    assert len(done_at_keystone(cloud, calls)) == 5
    give_policies(cloud, node)
    node.stack("extra", "test-config")
    wait_until(lambda: ask(node, "cloud", "status", "-f", "json")["age_s"] is not None, "a reading of the cloud", 60)
    told = ask(node, "cloud", "status", "-f", "json")
    service = openstack.connect(**cloud.access("admin")).identity.find_project("service").id
    assert (told["roles"], told["project"], told["missing"]) == (["foreshape"], service, []), told
    assert {"refused"} & set(rights(node).values()) == set()
    assert list(rights(node).values()).count("granted") >= 18
    nova = doors(cloud).nova
    seen = nova.server(customers)
    assert seen.project == openstack.connect(**cloud.access("demo")).current_project_id
    target = next(host for host in cloud.hosts if host != seen.host)
    nova.live_migrate(customers, target)
    wait_until(lambda: nova.server(customers).host == target and nova.server(customers).status == "ACTIVE", "the server has moved", 60)
    with pytest.raises(openstack.exceptions.ForbiddenException):
        list(openstack.connect(**cloud.access("foreshape")).identity.users())
