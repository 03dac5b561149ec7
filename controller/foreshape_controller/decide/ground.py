"""From what a cloud says of itself (``model/cloud.py``) to the columns that plans are made on (``decide/room.py``)."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from foreshape_controller.decide.movable import immovable, labels_needed
from foreshape_controller.decide.room import Group, Hosts, Numbers, Servers
from foreshape_controller.decide.target import closed
from foreshape_controller.model.cloud import CLASSES, CloudFlavor, CloudHost, CloudServer, Inventory, ServerGroup

_NOTHING = Inventory(total=0, max_unit=0)


def hosts(read: Sequence[CloudHost], physical: Numbers, forecast: Numbers) -> Hosts:
    """Columns of n hosts; ``physical`` and ``forecast`` [n, 2] as ``room.Hosts`` has them, NaN where not known."""
    names = Counter(host.name for host in read)
    return Hosts(
        names=tuple(host.name for host in read),
        capacity=_amounts([[_of(h, r).capacity for r in CLASSES] for h in read]),
        held=_amounts([[h.usages.get(r, 0) for r in CLASSES] for h in read]),
        most=_amounts([[_of(h, r).max_unit for r in CLASSES] for h in read]),
        step=_amounts([[_of(h, r).step for r in CLASSES] for h in read]),
        physical=physical,
        forecast=forecast,
        zones=tuple(host.az for host in read),
        labels=tuple(_labels(host) for host in read),
        closed=tuple("two hosts have this name" if names[host.name] > 1 else closed(host) for host in read),
    )


def servers(
    read: Sequence[CloudServer],
    on: Hosts,
    peak: Numbers,
    price: Numbers,
    rests: Mapping[str, str] | None = None,
    kinds: tuple[str, ...] = (),
) -> Servers:
    """Columns of m servers; ``peak`` [m, 2], ``price`` [m]; ``rests``: why servers are left alone for now, by id.

    ``kinds`` [m]: of ``aggregates.barriers``, whose other half goes into the ground.
    """
    index = {name: i for i, name in enumerate(on.names)}
    resting = rests or {}
    return Servers(
        ids=tuple(server.id for server in read),
        host=np.array([index.get(server.host, -1) for server in read], np.int64),
        size=_amounts([list(claim(server).values()) for server in read]),
        peak=peak,
        price=price,
        zones=tuple(server.asked_az for server in read),
        needs=tuple(labels_needed(server) for server in read),
        groups=tuple(next(iter(server.groups), "") for server in read),
        fixed=tuple(immovable(server) or resting.get(server.id, "") for server in read),
        kinds=kinds or ("",) * len(read),
    )


def groups(read: Sequence[ServerGroup]) -> dict[str, Group]:
    """The groups' rules, by id."""
    return {group.id: Group(group.policy, group.most_per_host) for group in read}


def _amounts(rows: Sequence[Sequence[int]]) -> Numbers:
    return np.array(rows, np.float64).reshape(-1, len(CLASSES))


def _of(host: CloudHost, resource: str) -> Inventory:
    return host.inventories.get(resource, _NOTHING)


def _labels(host: CloudHost) -> frozenset[str]:
    return frozenset({f"trait:{name}" for name in host.traits} | {f"aggregate:{name}" for name in host.aggregates})


def claim(server: CloudServer) -> dict[str, int]:
    """What Nova claims for it in Placement, by class."""
    return claim_of(server.flavor, from_image=bool(server.image))


def claim_of(flavor: CloudFlavor, *, from_image: bool) -> dict[str, int]:
    """The same, of a flavor: root disk only where the server has one there, swap in whole GiB."""
    root = flavor.disk if from_image else 0
    return dict(zip(CLASSES, (flavor.vcpus, flavor.ram, root + flavor.ephemeral + -(-flavor.swap // 1024)), strict=True))
