"""Disks and network interfaces of a domain: what each may do at most now, and why some cannot be held back. Pure.

Verified against libvirt 9.0: what its calls set stands in the live XML, in their own words.
"""

import xml.etree.ElementTree as ET  # the text is libvirt's own, from a root-only socket
from collections.abc import Iterable, Mapping

from foreshape_wire.reading import DeviceLimit

KIB = 1024
NET_UNIT = 1000
"""libvirt's unit of a network rate is 1000 bytes per second: it hands the number to tc as ``kbps``."""

PAST_QEMU = ("vhostuser", "vhostvdpa", "nvme")
"""Disks whose requests QEMU never sees."""
ON_THE_HOST = ("bridge", "network", "ethernet", "direct")
"""Interfaces with a device on the host, whose traffic the kernel can hold back."""

DISK_UNITS: Mapping[str, tuple[str, int]] = {"disk_iops": ("iops", 1), "disk_kib_s": ("bytes", KIB)}
"""Word in libvirt's names, and libvirt's units in one of ours."""


def limits(domain: ET.Element) -> tuple[DeviceLimit, ...]:
    """One limit for each disk and resource, and for each interface."""
    found = [_disk(d, resource) for d in _disks(domain) for resource in DISK_UNITS]
    return (*found, *(_interface(i) for i in domain.findall("devices/interface") if _interface_name(i)))


def disk_obstacle(domain: ET.Element) -> str:
    """Why its disks cannot be held back, all of them: one that is free would be the way around. Empty: they can."""
    disks = _disks(domain)
    if not disks:
        return "it has no disk"
    for d in disks:
        if d.get("type") in PAST_QEMU:
            return f"its disk {_target(d)} ({d.get('type')}) goes past QEMU"
        if d.find("iotune/group_name") is not None:
            return f"its disk {_target(d)} shares a throttle group that somebody else made"
    passed = [d for d in domain.findall("devices/disk") if d.get("device") == "lun"]
    return f"its disk {_target(passed[0])} is a device passed through" if passed else ""


def net_obstacle(domain: ET.Element) -> str:
    """Why its network cannot be held back; empty: it can."""
    interfaces = domain.findall("devices/interface")
    if not interfaces:
        return "it has no network interface"
    for i in interfaces:
        if i.get("type") not in ON_THE_HOST:
            return f"its interface {_interface_name(i) or '?'} ({i.get('type')}) has no device on the host that could be held back"
    return ""


def disk_words(limit: DeviceLimit) -> dict[str, int]:
    """Libvirt's parameters for a disk: every one of the family is named, so that nothing of before stays. 0 lifts."""
    word, unit = DISK_UNITS[limit.resource]
    parts = {"total": limit.total, "read": limit.inward, "write": limit.outward}
    words = {f"{part}_{word}_sec": _whole(amount * unit) for part, amount in parts.items()}
    return words | {f"{part}_{word}_sec_max": 0 for part in parts} | dict(limit.bursts)


def net_words(limit: DeviceLimit) -> dict[str, int]:
    """Libvirt's parameters for an interface, in units of 1000 bytes per second."""
    parts = {"inbound": limit.inward, "outbound": limit.outward}
    words = {f"{part}.average": _whole(amount * KIB / NET_UNIT) for part, amount in parts.items()}
    return words | {f"{part}.{what}": 0 for part in parts for what in ("peak", "burst")} | dict(limit.bursts)


def _whole(amount: float) -> int:
    """In whole units; a small limit must not become 0, which is none."""
    return max(1, round(amount)) if amount else 0


def disk_limit(device: str, resource: str, words: Mapping[str, int]) -> DeviceLimit:
    """From libvirt's words; the other resource's are passed over."""
    word, unit = DISK_UNITS[resource]
    total, inward, outward = (words.get(f"{part}_{word}_sec", 0) / unit for part in ("total", "read", "write"))
    plain = {f"{part}_{word}_sec" for part in ("total", "read", "write")}
    bursts = tuple(sorted((n, value) for n, value in words.items() if word in n and n not in plain and not _nothing(n, value)))
    return DeviceLimit(device=device, resource=resource, total=total, inward=inward, outward=outward, bursts=bursts)


def _nothing(name: str, value: int) -> bool:
    """QEMU says a burst lasts 1 s where there is none."""
    return value == 0 or (name.endswith("_max_length") and value == 1)


def net_limit(device: str, words: Mapping[str, int]) -> DeviceLimit:
    """From libvirt's words."""
    inward, outward = (words.get(f"{part}.average", 0) * NET_UNIT / KIB for part in ("inbound", "outbound"))
    bursts = tuple(sorted((name, value) for name, value in words.items() if not name.endswith(".average") and value))
    return DeviceLimit(device=device, resource="net_kib_s", inward=inward, outward=outward, bursts=bursts)


# -- the XML --------------------------------------------------------------------------------------------------


def _disks(domain: ET.Element) -> list[ET.Element]:
    """Not CD drives and floppies: what is in them may be nothing, and libvirt refuses that."""
    return [d for d in domain.findall("devices/disk") if d.get("device", "disk") == "disk" and _target(d)]


def _target(disk: ET.Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _disk(disk: ET.Element, resource: str) -> DeviceLimit:
    tune = disk.find("iotune")
    return disk_limit(_target(disk), resource, {} if tune is None else _numbers((e.tag, e.text) for e in tune))


def _interface_name(interface: ET.Element) -> str:
    """What libvirt finds it by: its device on the host, else its address."""
    target, mac = interface.find("target"), interface.find("mac")
    named = "" if target is None else target.get("dev", "")
    return named or ("" if mac is None else mac.get("address", ""))


def _interface(interface: ET.Element) -> DeviceLimit:
    found: list[tuple[str, str | None]] = []
    for part in ("inbound", "outbound"):
        element = interface.find(f"bandwidth/{part}")
        found += [] if element is None else [(f"{part}.{name}", value) for name, value in element.attrib.items()]
    return net_limit(_interface_name(interface), _numbers(found))


def _numbers(words: Iterable[tuple[str, str | None]]) -> dict[str, int]:
    """Words that are no numbers (a group's name) are none of ours."""
    return {name: int(text) for name, text in words if text and text.isdigit()}
