"""What the metadata of host aggregates lets where, as three of Nova's filters read it (nova/scheduler/filters, Zed to 2026.2). Pure.

AggregateMultiTenancyIsolation: ``filter_tenant_id*`` keeps a host for some projects. AggregateInstanceExtraSpecsFilter: scoped extra specs
of a flavor, and those without any scope, must be met. AggregateImagePropertiesIsolation: a server's image properties are not known here,
so a host that asks for some must ask for nothing that the server's present host does not. Whether the filters are on is not told by
Nova's API: all three are kept to, which costs a target where one is off, and never breaks a rule where it is on.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from foreshape_controller.decide.room import Flags, Ints
from foreshape_controller.model.cloud import CloudHost, CloudServer

_SCOPE = "aggregate_instance_extra_specs"
_TENANTS = "filter_tenant_id"
_IMAGES = ("hw_", "os_", "img_", "hypervisor_type", "vm_mode")
"""How keys of metadata begin that name properties of images."""


def kept_for_others(host: CloudHost, project: str) -> str:
    """Why a project's servers may not be there; empty: they may."""
    allowed = {p for k in host.aggregate_metadata if k.startswith(_TENANTS) for p in _values(host, k)}
    return "its aggregate is kept for other projects" if allowed and project not in allowed else ""


def lacks(host: CloudHost, specs: Mapping[str, str]) -> str:
    """The first extra spec of a flavor that the host's aggregates do not meet; empty: they meet all."""
    for key, wanted in sorted(_asked(specs).items()):
        if not any(_matches(v, wanted) for v in _values(host, key)):
            return f"its aggregates do not have {key}={wanted}"
    return ""


def other_images(host: CloudHost, source: CloudHost | None) -> str:
    """The first property of images that a host asks for and the server's own host does not, or not so narrowly; empty: none."""
    for key in sorted(k for k in host.aggregate_metadata if k.startswith(_IMAGES)):
        proven = _values(source, key) if source else set()
        if not proven or not proven <= _values(host, key):
            return f"its aggregate takes images with {key}={host.aggregate_metadata[key]} only, and nobody can tell that of this one"
    return ""


def barriers(hosts: Sequence[CloudHost], servers: Sequence[CloudServer]) -> tuple[tuple[str, ...], dict[str, Flags]]:
    """By server its kind, and by kind [n] the hosts that its aggregates' metadata closes for it. Most clouds have one kind, of no name."""
    tenants = any(k.startswith(_TENANTS) for h in hosts for k in h.aggregate_metadata)
    images = any(k.startswith(_IMAGES) for h in hosts for k in h.aggregate_metadata)
    by_name = {h.name: h for h in hosts}
    alike, which = _alike(hosts)
    kinds: list[str] = []
    barred: dict[str, Flags] = {}
    for server in servers:
        source = by_name.get(server.host) if images else None
        told = (server.project if tenants else "", *sorted(_asked(server.flavor.extra_specs).items()), _images_of(source))
        kind = repr(told) if any(told) or images else ""
        if kind and kind not in barred:
            why = [kept_for_others(h, server.project) or lacks(h, server.flavor.extra_specs) or other_images(h, source) for h in alike]
            barred[kind] = np.array([bool(w) for w in why], dtype=bool)[which]
        kinds.append(kind)
    return tuple(kinds), barred


def _alike(hosts: Sequence[CloudHost]) -> tuple[list[CloudHost], Ints]:
    """One host of each metadata that there is, and [n] which of them stands for each host."""
    places: dict[tuple[tuple[str, str], ...], int] = {}
    which = [places.setdefault(tuple(sorted(h.aggregate_metadata.items())), len(places)) for h in hosts]
    first = [which.index(i) for i in range(len(places))]
    return [hosts[i] for i in first], np.array(which, np.int64)


def _images_of(source: CloudHost | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in source.aggregate_metadata.items() if k.startswith(_IMAGES))) if source else ()


def _asked(specs: Mapping[str, str]) -> dict[str, str]:
    """Scoped keys, and those without any scope, by name."""
    split = [(*key.partition(":")[::2], wanted) for key, wanted in specs.items()]
    return {(name or scope): wanted for scope, name, wanted in split if not name or scope == _SCOPE}


def _values(host: CloudHost, key: str) -> set[str]:
    return _split(host.aggregate_metadata.get(key, ""))


@lru_cache(maxsize=4096)
def _split(text: str) -> set[str]:
    return {v.strip() for v in text.split(",")} - {""}


def _matches(value: str, wanted: str) -> bool:
    """Nova's operators for words; one for numbers that we do not know counts as not met."""
    words = wanted.split()
    if not words or words[0] not in ("<or>", "<in>", "s==", "s!="):
        return value == wanted
    if words[0] == "<or>":
        return value in [w.strip() for w in wanted.split("<or>")]
    rest = wanted.partition(words[0])[2].strip()
    return {"<in>": rest in value, "s==": value == rest, "s!=": value != rest}[words[0]]
