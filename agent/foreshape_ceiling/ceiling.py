"""A domain as Nova defines it, given room to grow live: more vCPUs than it starts with, and a virtio-mem device that starts empty.

What it starts with stays what its flavor says. Pure: XML in, XML out; the standard library only, because it runs inside nova-compute.
Tried with libvirt 9.0 and QEMU 7.2.
"""

import xml.etree.ElementTree as ET  # the text is Nova's own
from collections.abc import Mapping
from typing import NamedTuple

VCPUS, MEMORY = "foreshape:max_vcpus", "foreshape:max_memory_mb"
"""Extra specs of a flavor: what its guests may reach. Nova's filters and its API know nothing of this namespace, and leave it alone."""
BLOCK_MIB = 2
KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "kib": 1, "k": 1, "mib": 1024, "m": 1024, "gib": 1024**2, "g": 1024**2}


class Ceiling(NamedTuple):
    """The most that a guest may reach; 0: what it starts with."""

    vcpus: int = 0
    memory_mib: int = 0

    @classmethod
    def of(cls, extra_specs: Mapping[str, str]) -> "Ceiling":
        """Raises ValueError for words that are no amounts."""
        return cls(_whole(extra_specs, VCPUS), _whole(extra_specs, MEMORY))


class Unfit(Exception):
    """The domain cannot have a ceiling; the text says why."""


def with_ceiling(xml: str, ceiling: Ceiling) -> str:
    """The same domain, able to grow. Raises Unfit where that would not be true, or would break what its owner asked for."""
    domain = ET.fromstring(xml)  # noqa: S314
    vcpus, base = _vcpus(domain), round(_kib(domain, "memory") / 1024)
    most = max(ceiling.vcpus, vcpus)
    room = (ceiling.memory_mib - base) // BLOCK_MIB * BLOCK_MIB if ceiling.memory_mib > base else 0
    if most == vcpus and not room:
        return xml
    _check(domain)
    if most > vcpus:
        _more_vcpus(domain, vcpus, most)
    if room:
        _more_memory(domain, most, base, room)
    return ET.tostring(domain, encoding="unicode")


def _whole(specs: Mapping[str, str], key: str) -> int:
    text = specs.get(key, "0")
    if not text.isdigit():
        raise ValueError(f"{key} is {text!r}: a whole number is wanted")
    return int(text)


def _vcpus(domain: ET.Element) -> int:
    return int((domain.findtext("vcpu") or "0").strip())


def _kib(domain: ET.Element, path: str) -> float:
    found = domain.find(path)
    if found is None or not found.text:
        raise Unfit(f"its definition has no <{path}>")
    return int(found.text) * KIB[found.get("unit", "KiB").lower()]


_OBSTACLES = {
    "cputune/vcpupin": "its vCPUs are pinned to host CPUs",
    "cputune/vcpusched": "its vCPUs run under a real-time scheduler",
    "numatune": "it is placed on NUMA nodes",
    "cpu/numa": "it has a NUMA layout of its own",
    "memoryBacking/hugepages": "its memory is huge pages",
    "memoryBacking/locked": "its memory is locked",
    "launchSecurity": "its memory is encrypted",
    "devices/hostdev": "a passed-through device pins its memory",
    "devices/interface[@type='hostdev']": "a passed-through network device pins its memory",
}


def _check(domain: ET.Element) -> None:
    for path, why in _OBSTACLES.items():
        if domain.find(path) is not None:
            raise Unfit(why)


def _more_vcpus(domain: ET.Element, vcpus: int, most: int) -> None:
    """``<vcpu current='2'>4``; the topology has to have as many places, or libvirt refuses the domain."""
    element = domain.find("vcpu")
    assert element is not None
    element.text = str(most)
    element.set("current", str(vcpus))
    topology = domain.find("cpu/topology")
    if topology is None:
        return
    per_socket = 1
    for level in ("dies", "clusters", "cores", "threads"):
        per_socket *= int(topology.get(level, "1"))
    if most % per_socket:
        raise Unfit(f"{most} vCPUs cannot be spread over sockets of {per_socket}")
    topology.set("sockets", str(most // per_socket))


def _more_memory(domain: ET.Element, most_vcpus: int, base: int, room: int) -> None:
    """Memory can be plugged only where there is a maximum, and a NUMA cell to plug it into: one, with everything in it."""
    maximum = ET.Element("maxMemory", {"slots": "1", "unit": "MiB"})
    maximum.text = str(base + room)
    domain.insert(list(domain).index(_found(domain, "memory")), maximum)
    cpu = domain.find("cpu")
    cpu = ET.SubElement(domain, "cpu") if cpu is None else cpu
    cell = {"id": "0", "cpus": f"0-{most_vcpus - 1}", "memory": str(base), "unit": "MiB"}
    ET.SubElement(ET.SubElement(cpu, "numa"), "cell", cell)
    target = ET.SubElement(ET.SubElement(_found(domain, "devices"), "memory", {"model": "virtio-mem"}), "target")
    for name, mib in (("size", room), ("block", BLOCK_MIB), ("requested", 0)):
        ET.SubElement(target, name, {"unit": "MiB"}).text = str(mib)
    node = ET.Element("node")
    node.text = "0"
    target.insert(1, node)


def _found(domain: ET.Element, path: str) -> ET.Element:
    element = domain.find(path)
    if element is None:
        raise Unfit(f"its definition has no <{path}>")
    return element
