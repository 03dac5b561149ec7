"""`make cloud`: an OpenStack to play with, or to be sure that one can be had here."""

import signal
import time

from foreshape_lab.bed import bed_names, beds_folder
from foreshape_lab.errors import LabError

from foreshape_cloudbed.cloud import Cloud, is_cloud
from foreshape_cloudbed.environment import BIN
from foreshape_cloudbed.real import RealCloud
from foreshape_cloudbed.users import Users, seconds

NAME = "cloud"
COMPUTES = 20


def run(*, real: bool, check: bool) -> None:
    """Up; then a check or Ctrl-C; then nothing is left. Raises LabError."""
    bed = RealCloud(NAME) if real else Cloud(NAME, COMPUTES)
    began = time.monotonic()
    with bed as cloud:
        print(f"cloud: up in {time.monotonic() - began:.0f} s, {sum(cloud.memory_mib().values()) / 1024:.1f} GiB", flush=True)
        if isinstance(cloud, RealCloud):
            show_product(cloud)
        if check:
            try_out(cloud)
        else:
            tell(cloud)
            signal.pause()
    print("cloud: down, nothing is left", flush=True)


def show_product(cloud: RealCloud) -> None:
    """Our controller and agents beside it, in mode advise: they look and propose."""
    controller = cloud.start_product("advise")
    print(f"cloud: the controller answers at {controller.url}, an agent runs on {' and '.join(cloud.hosts)}", flush=True)
    print(f"  {' '.join(controller.command('cloud', 'status'))}", flush=True)


def tell(cloud: Cloud) -> None:
    print(f"  hosts: {', '.join(cloud.hosts)}")
    print(f"  parts: {', '.join(cloud.parts)}; their logs: {cloud.folder}/PART/log")
    print(f"  export OS_CLIENT_CONFIG_FILE={cloud.places.clouds_yaml} OS_CLOUD=admin   # or demo, or foreshape")
    print(f"  {BIN}/openstack hypervisor list")
    print("  Ctrl-C takes everything down", flush=True)


def try_out(cloud: Cloud) -> None:
    """A server is booted on one host and live-migrated to another. Raises LabError."""
    users = Users(cloud.access("admin"), cloud.image)
    source, target, *_ = cloud.hosts
    size = {"vcpus": 1, "ram": 192, "disk": 1}
    server = users.boot(source, **size)
    booted = seconds(lambda: users.delete(users.boot(source, **size)))
    print(f"cloud: a server booted on {source}; another booted and deleted in {booted:.1f} s", flush=True)
    began = time.monotonic()
    users.migrate(server, target)
    ended = users.migrated(server)
    if (ended, users.host_of(server)) != ("completed", target):
        raise LabError(f"the live migration ended as {ended}, the server is on {users.host_of(server)}")
    print(f"cloud: live-migrated to {target} in {time.monotonic() - began:.1f} s", flush=True)


def clouds() -> list[str]:
    """Those that are up, or were left."""
    return [name for name in bed_names() if is_cloud(beds_folder() / name)]


def down(name: str) -> None:
    """Takes away that cloud, or all; says which there are when it is none of them."""
    there = clouds()
    if name not in {"--all", *there}:
        print(f"cloud: none is called {name}; there are: {', '.join(there) or 'none'} (--all takes away all of them)")
    for each in there if name == "--all" else [name]:
        Cloud(each, 0).down()
