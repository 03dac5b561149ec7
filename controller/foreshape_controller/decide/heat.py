"""A pool as a Heat template (HOT), for those who let Heat keep their servers; and what such a template may hold. Pure.

Heat keeps a number of servers; it knows nothing of claims, of small sizes or of sizes that follow a forecast: render it anew for another
count. Its servers carry no tag of a shadow VM, so that the controller never takes them for its own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from foreshape_controller.model.pool import POOL_KEY, Pool

VERSION = "2018-08-31"
Tree = Mapping[str, Any]

PROPERTIES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "OS::Heat::ResourceGroup": {"count": (int, dict), "resource_def": (dict,), "index_var": (str,)},
    "OS::Nova::Server": {
        "name": (str, dict),
        "image": (str, dict),
        "flavor": (str, dict),
        "networks": (list,),
        "availability_zone": (str, dict),
        "metadata": (dict,),
    },
}
"""What we write of Heat's own schema: resource types, their properties and the types of these."""
REQUIRED: Mapping[str, frozenset[str]] = {"OS::Heat::ResourceGroup": frozenset({"resource_def"}), "OS::Nova::Server": frozenset({"flavor"})}
NETWORK_KEYS = frozenset({"network", "allocate_network"})
SECTIONS = frozenset({"heat_template_version", "description", "parameters", "resources", "outputs"})


def template(pool: Pool, count: int) -> dict[str, Any]:
    """The template as a tree; YAML and JSON of it are both HOT."""
    networks: list[dict[str, str]] = [{"network": n} for n in pool.networks] or [{"allocate_network": "none"}]
    server: dict[str, Any] = {
        "name": f"{pool.name}-%index%",
        "image": {"get_param": "image"},
        "flavor": {"get_param": "flavor"},
        "networks": networks,
        "metadata": {POOL_KEY: pool.id},
    }
    if pool.az:
        server["availability_zone"] = pool.az
    group = {"count": {"get_param": "count"}, "resource_def": {"type": "OS::Nova::Server", "properties": server}}
    return {
        "heat_template_version": VERSION,
        "description": f"Pool {pool.name} of Foreshape",
        "parameters": {
            "count": {"type": "number", "default": count, "constraints": [{"range": {"min": 0, "max": pool.most}}]},
            "image": {"type": "string", "default": pool.image, "constraints": [{"custom_constraint": "glance.image"}]},
            "flavor": {"type": "string", "default": pool.flavor, "constraints": [{"custom_constraint": "nova.flavor"}]},
        },
        "resources": {"servers": {"type": "OS::Heat::ResourceGroup", "properties": group}},
        "outputs": {"servers": {"description": "Ids of the servers", "value": {"get_attr": ["servers", "refs"]}}},
    }


def problems(tree: Tree) -> tuple[str, ...]:
    """What makes a tree no template of ours: sections, resource types, properties, their types, references to what is not there."""
    return tuple(_problems(tree))


def _problems(tree: Tree) -> Iterator[str]:
    yield from (f"there is no section {name!r}" for name in tree.keys() - SECTIONS)
    if not tree.get("resources"):
        yield "resources: there is none"
    for name, resource in (tree.get("resources") or {}).items():
        yield from _resource(f"resources.{name}", resource)
    names = {"get_param": set(tree.get("parameters") or {}), "get_attr": set(tree.get("resources") or {})}
    for how, what in _references(tree):
        if what not in names[how]:
            yield f"{how}: there is no {what!r}"


def _resource(where: str, resource: Tree) -> Iterator[str]:
    kind, properties = str(resource.get("type")), resource.get("properties") or {}
    if kind not in PROPERTIES:
        yield f"{where}: there is no type {kind!r}"
        return
    yield from (f"{where}: {name} is required" for name in REQUIRED[kind] - properties.keys())
    for name, value in properties.items():
        if not isinstance(value, PROPERTIES[kind].get(name, ())):
            yield f"{where}.{name}: {kind} has no such property, or not of this type"
    for network in properties.get("networks", ()):
        yield from (f"{where}.networks: there is no {key!r}" for key in network.keys() - NETWORK_KEYS)
    if "resource_def" in properties:
        yield from _resource(f"{where}.resource_def", properties["resource_def"])


def _references(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("get_param", "get_attr"):
                yield key, value[0] if isinstance(value, list) else value
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)
