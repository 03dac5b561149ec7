"""A simulated fleet: who the servers are and where they live."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from uuid import UUID, uuid5

import numpy as np

from foreshape_controller.sim.demand import GeneratedWorkload, draw_character, strata
from foreshape_controller.sim.guest import VmSpec
from foreshape_controller.sim.trace import TraceVm, TraceWorkload
from foreshape_wire.ids import HostName, ServerId

FLAVORS = (("m1.small", 1, 2048.0), ("m1.medium", 2, 4096.0), ("m1.large", 4, 8192.0), ("m1.xlarge", 8, 16384.0))
FLAVOR_SHARES = (0.30, 0.35, 0.25, 0.10)
PROJECTS = ("shop", "analytics", "backoffice", "ci")
IMAGES = ("debian-12", "ubuntu-24.04", "rocky-9")
_NAMESPACE = UUID("5f0e5a8e-0000-4000-8000-000000000000")


@dataclass(frozen=True)
class HostSpec:
    """One simulated hypervisor."""

    name: HostName
    cpus: int
    mib: float


@dataclass(frozen=True)
class Fleet:
    """Hosts and the servers on them."""

    hosts: tuple[HostSpec, ...]
    servers: tuple[VmSpec, ...]


def generated(seed: int, hosts: int, servers: int, start: float) -> Fleet:
    """Servers drawn from the measured shares, dealt to the hosts in turn."""
    rng = np.random.default_rng([seed, 7])
    specs = []
    for number, stratum in enumerate(strata(servers, rng)):
        flavor, cores, mib = FLAVORS[int(rng.choice(len(FLAVORS), p=FLAVOR_SHARES))]
        grows = stratum == "busy" and rng.random() < 0.5
        most_cores, most_mib = (cores * 2, mib * 2) if grows else (cores, mib)
        character = draw_character(stratum, float(cores), mib, rng)
        if grows:  # its load goes beyond what was sold: static flavors cannot follow, hot-add can
            character = replace(character, cores=cores * 1.5, mib=mib * 1.25)
        specs.append(
            VmSpec(
                server=_server_id(seed, number),
                name=f"{stratum}-{number:02d}",
                host=_host_name(number % hosts),
                project=PROJECTS[number % len(PROJECTS)],
                flavor=flavor,
                image=IMAGES[number % len(IMAGES)],
                cores=cores,
                mib=mib,
                most_cores=most_cores,
                most_mib=most_mib,
                workload=GeneratedWorkload(seed, number, character, start),
            )
        )
    return _housed(_with_flaws(specs), hosts)


def traced(seed: int, hosts: int, vms: Sequence[TraceVm], start: float) -> Fleet:
    """Servers that replay a trace's VMs, as large as the trace says they were."""
    specs = [
        VmSpec(
            server=_server_id(seed, number),
            name=vm.name,
            host=_host_name(number % hosts),
            project=PROJECTS[number % len(PROJECTS)],
            flavor=f"trace.c{ceil(vm.cores)}",
            image="trace",
            cores=ceil(vm.cores),
            mib=vm.mib,
            most_cores=ceil(vm.cores),
            most_mib=vm.mib,
            workload=TraceWorkload(vm, start),
        )
        for number, vm in enumerate(vms)
    ]
    return _housed(_with_flaws(specs), hosts)


def _with_flaws(specs: Sequence[VmSpec]) -> list[VmSpec]:
    """Real fleets are not perfect: some guests lack the agent, some the balloon, some were never asked for their numbers."""
    return [
        replace(s, has_agent=n % 4 != 1, has_balloon=n % 13 != 5, asked_for_stats=n % 6 != 2, can_unplug=n % 2 == 0)
        for n, s in enumerate(specs)
    ]


def _housed(specs: Sequence[VmSpec], hosts: int) -> Fleet:
    """Hosts that hold what was sold on them: CPU overcommitted about 1.5 times, memory not."""
    made = []
    for number in range(hosts):
        own = [s for s in specs if s.host == _host_name(number)]
        cpus = max([8, ceil(sum(s.cores for s in own) / 1.5 / 8) * 8, *(s.most_cores for s in own)])
        mib = ceil(sum(s.mib for s in own) * 1.15 / 8192 + 1) * 8192.0
        made.append(HostSpec(name=_host_name(number), cpus=cpus, mib=mib))
    return Fleet(hosts=tuple(made), servers=tuple(specs))


def _host_name(number: int) -> HostName:
    return HostName(f"sim{number + 1}")


def _server_id(seed: int, number: int) -> ServerId:
    return ServerId(str(uuid5(_NAMESPACE, f"{seed}/{number}")))
