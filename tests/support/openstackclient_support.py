"""``openstack shape …`` for tests: python-openstackclient of the cloud's bed, a real controller, two tenants' servers."""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openstack
from foreshape_cloudbed import Cloud
from foreshape_cloudbed.environment import BIN
from foreshape_cloudbed.places import REGION

import foreshape_controller
import foreshape_wire
from controller_support import Controller, written
from foreshape_wire.codec import encode
from store_support import card, report, sample


def plugin(folder: Path) -> Path:
    """Foreshape as the OpenStack client's environment sees it: its packages, and what says which commands they bring."""
    folder.mkdir()
    for package in (foreshape_controller, foreshape_wire):
        (folder / package.__name__).symlink_to(Path(str(package.__file__)).parent)
    installed = Path(sysconfig.get_paths()["purelib"])
    shutil.copytree(next(installed.glob("foreshape-*.dist-info")), folder / "foreshape-0.dist-info")
    return folder


@dataclass
class Here:
    """A controller that knows two servers, and the ways to ask it."""

    cloud: Cloud
    plugin: Path
    url: str
    servers: dict[str, str]

    def openstack(self, cloud: str, *words: str, fails: bool = False) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.plugin),
            "OS_CLIENT_CONFIG_FILE": str(self.cloud.places.clouds_yaml),
            "OS_CLOUD": cloud,
        }
        done = subprocess.run(
            [BIN / "openstack", "shape", *words], env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert (done.returncode != 0) == fails, f"{done.stdout} {done.stderr}"
        return done.stderr if fails else done.stdout

    def names(self, cloud: str) -> set[str]:
        return {row["name"] for row in json.loads(self.openstack(cloud, "server", "list", "-f", "json"))}


@contextmanager
def openstack_client(cloud: Cloud, folder: Path) -> Iterator[Here]:
    """The client's login is the bed's; the controller is in the catalogue, and knows a server of demo's and one of admin's project."""
    conf = written(folder, cloud="enabled = true\nname = foreshape", learn="enabled = false")
    controller = Controller(conf, {"OS_CLIENT_CONFIG_FILE": str(cloud.places.clouds_yaml)})
    try:
        in_catalogue(cloud, controller.url)
        projects = {name: project(cloud, name) for name in ("demo", "admin")}
        servers = {name: f"00000000-0000-4000-8000-00000000000{i}" for i, name in enumerate(projects, 1)}
        reported(controller, {servers[n]: (f"of-{n}", projects[n]) for n in projects})
        yield Here(cloud, plugin(folder / "plugin"), controller.url, servers)
    finally:
        controller.end(signal.SIGTERM)
        out_of_catalogue(cloud)


def project(cloud: Cloud, name: str) -> str:
    return str(openstack.connect(**cloud.access(name)).current_project_id)


def in_catalogue(cloud: Cloud, url: str) -> None:
    identity = openstack.connect(**cloud.access("admin")).identity
    service = identity.create_service(name="foreshape", type="foreshape")
    identity.create_endpoint(service_id=service.id, region_id=REGION, interface="public", url=url)


def out_of_catalogue(cloud: Cloud) -> None:
    """With its endpoints: other files use this cloud."""
    identity = openstack.connect(**cloud.access("admin")).identity
    for service in list(identity.services(type="foreshape")):
        identity.delete_service(service)


def reported(controller: Controller, servers: dict[str, tuple[str, str]]) -> None:
    """An agent's report with these servers: id -> name, project."""
    mine = controller.enrol("hv1")
    said = report(
        1,
        time.time(),
        [sample(server) for server in servers],
        cards=[card(server, name=name, project=project) for server, (name, project) in servers.items()],
    )
    httpx.post(f"{controller.url}/v1/reports", content=encode(said), headers=mine).raise_for_status()
