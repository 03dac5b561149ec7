"""Runs in Nova's own Python: its scheduler's host manager weighs hosts with the weighers that a nova.conf names, line by line.

    python weigher_inside_nova.py NOVA_CONF

A line asks {"hosts": {NAME: {"free": MiB, "aggregate": {KEY: VALUE}}}, "options": {OPTION: VALUE}, "rounds": N} of a weigher that knows
nothing yet. Answered by {"order": [[NAME, …], …], "seconds": …, "said": […], "weighers": […]}.
"""

import json
import sys
import time
from unittest import mock

import nova.conf
from nova import objects
from nova.scheduler import host_manager

from foreshape_weigher import weigher
from foreshape_weigher.headroom import Headroom


def main() -> None:
    nova.conf.CONF([], project="nova", default_config_files=[sys.argv[1]])
    objects.register_all()
    with mock.patch.multiple(host_manager.HostManager, refresh_cells_caches=unasked, _init_aggregates=unasked, _init_instance_info=unasked):
        manager = host_manager.HostManager()
    for line in sys.stdin:
        print(json.dumps(answer(manager, json.loads(line))), flush=True)


def answer(manager: host_manager.HostManager, asked: dict) -> dict:
    said: list[str] = []
    weigher._headroom = Headroom(tell=said.append)
    nova.conf.CONF.clear_override("headroom_token_file", group="foreshape")
    for name, value in asked["options"].items():
        nova.conf.CONF.set_override(name, value, group="foreshape")
    hosts = [state(name, told) for name, told in asked["hosts"].items()]
    spec = objects.RequestSpec(flavor=objects.Flavor(memory_mb=512, vcpus=1, extra_specs={}), requested_destination=None)
    spec.instance_group, spec.image, spec.pci_requests = None, None, None
    began = time.monotonic()
    order = [[w.obj.host for w in manager.get_weighed_hosts(hosts, spec)] for _ in range(asked["rounds"])]
    seconds = time.monotonic() - began
    return {"order": order, "seconds": seconds, "said": said, "weighers": [type(w).__name__ for w in manager.weighers]}


def unasked(*_: object) -> None:
    """In place of what reads the database."""


def state(name: str, told: dict) -> host_manager.HostState:
    host = host_manager.HostState(name, name, "00000000-0000-0000-0000-000000000000")
    host.free_ram_mb, host.free_disk_mb = told.get("free", 4096), 100 * 1024
    host.vcpus_total, host.cpu_allocation_ratio, host.ram_allocation_ratio = 16, 4.0, 1.0
    host.hypervisor_version, host.metrics = 9000000, objects.MonitorMetricList(objects=[])
    host.aggregates = [objects.Aggregate(metadata=told["aggregate"])] if told.get("aggregate") else []
    return host


if __name__ == "__main__":
    main()
