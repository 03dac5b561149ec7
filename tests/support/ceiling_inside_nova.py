"""Runs in Nova's environment: extra specs of flavors in, the domains that nova-compute with ceilings would define out, both as JSON.

The guest is made of Nova's own parts; only the many services that Nova asks for its flavor and image are left out.
"""

import json
import sys
from types import SimpleNamespace

import nova.cmd.compute  # noqa: F401  first: it prepares the process
from nova.virt.libvirt import config, driver
from oslo_utils import importutils

from foreshape_ceiling import compute


def guest() -> config.LibvirtConfigGuest:
    """2 vCPUs, 2048 MiB."""
    made = config.LibvirtConfigGuest()
    made.virt_type, made.uuid, made.name = "kvm", "4b1c0c5e-51c0-4d5e-9b0a-000000000001", "instance-1"
    made.memory, made.vcpus, made.os_type = 2048 * 1024, 2, "hvm"
    made.cpu = config.LibvirtConfigGuestCPU()
    made.cpu.mode, made.cpu.sockets, made.cpu.cores, made.cpu.threads = "host-model", 2, 1, 1
    balloon = config.LibvirtConfigMemoryBalloon()
    balloon.model, balloon.period = "virtio", 10
    made.add_device(balloon)
    return made


compute.install()
loaded = importutils.import_class("nova.virt.foreshape_ceiling.LibvirtDriver")  # as Nova loads what compute_driver names
assert issubclass(loaded, driver.LibvirtDriver)
driver.LibvirtDriver._get_guest_config = lambda *_args, **_kwargs: guest()


def domain(specs: dict[str, str]) -> str:
    """Of a server whose flavor has these extra specs."""
    instance = SimpleNamespace(uuid="4b1c0c5e-51c0-4d5e-9b0a-000000000001", flavor=SimpleNamespace(extra_specs=specs))
    return loaded.__new__(loaded)._get_guest_xml(None, instance, [], {}, {})


sys.stdout.write(json.dumps([domain(specs) for specs in json.loads(sys.argv[1])]))
