"""Small clouds to plan migrations on: one server or host per line, then columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide.place import Move
from foreshape_controller.decide.room import Ground, Group, Hosts, Pending, Servers


@dataclass(frozen=True)
class Host:
    """16 cores sold four times, 64 GiB sold once; ``other``: forecast of what no server here accounts for."""

    name: str
    vcpu: float = 64
    mib: float = 65536
    cores: float = 16
    other: float = 0.0
    zone: str = "nova"
    labels: frozenset[str] = frozenset()
    closed: str = ""
    most: float = 16


@dataclass(frozen=True)
class Vm:
    name: str
    host: str
    vcpu: float = 2
    mib: float = 4096
    cores: float = 1.0
    price: float = 1.0
    zone: str = ""
    needs: frozenset[str] = frozenset()
    group: str = ""
    fixed: str = ""


def ground(hosts: Sequence[Host], vms: Sequence[Vm], groups: Mapping[str, Group] | None = None, pending: Sequence[Pending] = ()) -> Ground:
    index = {h.name: i for i, h in enumerate(hosts)}
    held, forecast = np.zeros((len(hosts), 3)), np.array([[h.other, 0.0] for h in hosts]).reshape(-1, 2)
    for vm in vms:
        if vm.host in index:
            held[index[vm.host]] += np.nan_to_num([vm.vcpu, vm.mib, 10])
            forecast[index[vm.host]] += np.nan_to_num([vm.cores, vm.mib / 2])
    columns = Hosts(
        names=tuple(h.name for h in hosts),
        capacity=np.array([[h.vcpu, h.mib, 1000] for h in hosts], float),
        held=held,
        most=np.array([[h.most, h.mib, 1000] for h in hosts], float),
        step=np.ones((len(hosts), 3)),
        physical=np.array([[h.cores, h.mib] for h in hosts], float),
        forecast=forecast,
        zones=tuple(h.zone for h in hosts),
        labels=tuple(h.labels for h in hosts),
        closed=tuple(h.closed for h in hosts),
    )
    return Ground(columns, servers(vms, index), groups or {}, tuple(pending))


def servers(vms: Sequence[Vm], index: Mapping[str, int]) -> Servers:
    return Servers(
        ids=tuple(v.name for v in vms),
        host=np.array([index.get(v.host, -1) for v in vms], np.int64),
        size=np.array([[v.vcpu, v.mib, 10] for v in vms], float).reshape(-1, 3),
        peak=np.array([[v.cores, v.mib / 2] for v in vms], float).reshape(-1, 2),
        price=np.array([v.price for v in vms], float),
        zones=tuple(v.zone for v in vms),
        needs=tuple(v.needs for v in vms),
        groups=tuple(v.group for v in vms),
        fixed=tuple(v.fixed for v in vms),
    )


def promised(where: Ground, moves: Sequence[Move]) -> Ground:
    """The same cloud with the moves pending."""
    return replace(where, pending=(*where.pending, *(Pending(m.server, m.target, False) for m in moves)))


def afterwards(vms: Sequence[Vm], moves: Sequence[Move]) -> list[Vm]:
    """Where everything is once the moves are done."""
    to = {m.server: m.target for m in moves}
    return [replace(v, host=to.get(v.name, v.host)) for v in vms]
