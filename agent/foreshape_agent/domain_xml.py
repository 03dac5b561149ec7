"""A domain's live XML, read for what resizing needs: who it is, what it was sold, which devices it has. Pure.

Verified against libvirt 9.0 and the XML that Nova writes (metadata namespaces 1.0 and 1.1).
"""

import xml.etree.ElementTree as ET  # the text is libvirt's own, from a root-only socket

import msgspec

from foreshape_agent import device_xml
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DeviceLimit, Identity

FORESHAPE = "{https://foreshape.dev/xmlns/1}"
NOVA = tuple(f"{{http://openstack.org/xmlns/libvirt/nova/{version}}}" for version in ("1.1", "1.0"))
AGENT_CHANNEL = "org.qemu.guest_agent.0"
KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "kib": 1, "k": 1, "mib": 1024, "m": 1024, "gib": 1024**2, "g": 1024**2, "tib": 1024**3}


class NotADomain(ValueError):
    """The text is not a domain's XML."""


class VirtioMem(msgspec.Struct, frozen=True):
    """A virtio-mem device; sizes in MiB."""

    size: float
    block: float
    requested: float
    current: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What the XML of one domain says. Sizes in MiB, quotas as a share of one core."""

    identity: Identity
    emulated: bool
    """TCG, not KVM: vCPUs cannot be unplugged safely."""
    vcpus: int
    max_vcpus: int
    base: float
    """Memory it was started with: all but virtio-mem."""
    balloon_target: float
    """currentMemory: what the balloon is to leave."""
    balloon: bool
    autodeflate: bool
    """The guest may empty its balloon before it kills a process; its kernel then counts the balloon's pages as its own."""
    stats_period: int | None
    virtio: VirtioMem | None
    virtio_devices: int
    agent: str
    """``connected``, ``disconnected``, or empty where there is no channel."""
    quota: float | None
    """Cap of the whole domain in cores; None: none."""
    vcpu_quota: float | None
    """Cap of each vCPU, set from the flavor, in cores."""
    child_quota: float
    """The largest share any thread group below the domain may use: cgroup v1 refuses a domain cap below it."""
    cpu_obstacle: str
    memory_obstacle: str
    placement: bool
    """NUMA placement by the operator: hot-added vCPUs and memory would break it."""
    sold: Size | None
    """Entitlement by metadata: ours first, then Nova's flavor."""
    limits: tuple[DeviceLimit, ...] = ()
    disk_obstacle: str = ""
    net_obstacle: str = ""
    nova: bool = False
    """Nova made it."""


def parse(text: str) -> Card:
    """Read a domain's XML. Raises NotADomain."""
    try:
        domain = ET.fromstring(text)  # noqa: S314  libvirt's own output
        return _card(domain)
    except (ET.ParseError, ValueError, AttributeError) as e:
        raise NotADomain(f"libvirt's XML cannot be read: {e}") from e


def request_virtio(text: str, kib: int) -> str:
    """The live virtio-mem element (its address included: libvirt finds the device by it) asking for this size."""
    device = ET.fromstring(text).find("devices/memory[@model='virtio-mem']")  # noqa: S314  libvirt's own output
    requested = None if device is None else device.find("target/requested")
    if device is None or requested is None:
        raise NotADomain("no virtio-mem device")
    requested.text, requested.attrib["unit"] = str(kib), "KiB"
    return ET.tostring(device, encoding="unicode")


def _card(domain: ET.Element) -> Card:
    maximum = int(_text(domain, "vcpu"))
    devices = [_virtio(d) for d in domain.findall("devices/memory[@model='virtio-mem']")]
    base = _mib(domain, "memory") - sum(d.size for d in devices)
    tune = domain.find("cputune")
    children = [q for name in ("vcpu", "emulator", "iothread") if (q := _quota(tune, name)) is not None]
    stats = domain.find("devices/memballoon/stats")
    return Card(
        identity=_identity(domain),
        emulated=domain.get("type") == "qemu",
        vcpus=int(domain.find("vcpu").get("current", maximum)),  # type: ignore[union-attr]  # read above
        max_vcpus=maximum,
        base=base,
        balloon_target=min(base, _mib(domain, "currentMemory") or base),
        balloon=domain.find("devices/memballoon") is not None and domain.find("devices/memballoon[@model='none']") is None,
        autodeflate=domain.find("devices/memballoon[@autodeflate='on']") is not None,
        stats_period=int(stats.get("period", 0)) if stats is not None else None,
        virtio=devices[0] if len(devices) == 1 else None,
        virtio_devices=len(devices),
        agent=_agent(domain),
        quota=_quota(tune, "global"),
        vcpu_quota=_quota(tune, "vcpu"),
        child_quota=max(children, default=0.0),
        cpu_obstacle=_cpu_obstacle(domain, tune),
        memory_obstacle=_memory_obstacle(domain),
        placement=domain.find("numatune") is not None,
        sold=_sold(domain),
        limits=device_xml.limits(domain),
        disk_obstacle=device_xml.disk_obstacle(domain),
        net_obstacle=device_xml.net_obstacle(domain),
        nova=_nova(domain) is not None,
    )


# -- who it is, what it was sold ----------------------------------------------------------------------------


def _identity(domain: ET.Element) -> Identity:
    nova = _nova(domain)
    server, name = ServerId(_text(domain, "uuid")), _text(domain, "name")
    if nova is None:
        return Identity(server=server, name=name)
    ns, instance = nova
    flavor, root = instance.find(f"{ns}flavor"), instance.find(f"{ns}root[@type='image']")
    project = instance.find(f"{ns}owner/{ns}project")
    return Identity(
        server=server,
        name=name,
        project="" if project is None else project.get("uuid", ""),
        flavor="" if flavor is None else flavor.get("name", ""),
        image="" if root is None else root.get("uuid", ""),
        display_name=(instance.findtext(f"{ns}name") or "").strip(),
    )


def _nova(domain: ET.Element) -> tuple[str, ET.Element] | None:
    for ns in NOVA:
        instance = domain.find(f"metadata/{ns}instance")
        if instance is not None:
            return ns, instance
    return None


def _sold(domain: ET.Element) -> Size | None:
    ours = domain.find(f"metadata/{FORESHAPE}entitlement")
    if ours is not None:
        size = _size(ours.get("cpu"), ours.get("memory_mib"))
        if size is not None:
            return size
    nova = _nova(domain)
    if nova is None:
        return None
    ns, instance = nova
    return _size(instance.findtext(f"{ns}flavor/{ns}vcpus"), instance.findtext(f"{ns}flavor/{ns}memory"))


def _size(cores: str | None, mib: str | None) -> Size | None:
    """Words that are not amounts say nothing: another source decides."""
    try:
        size = Size(cpu=Cores(float(cores or "")), memory=Memory(float(mib or "")))
    except ValueError:
        return None
    return size if size.cpu.cores > 0 and size.memory.mib > 0 else None


# -- devices and limits -------------------------------------------------------------------------------------


def _virtio(device: ET.Element) -> VirtioMem:
    return VirtioMem(*(_mib(device, f"target/{what}") for what in ("size", "block", "requested", "current")))


def _agent(domain: ET.Element) -> str:
    target = domain.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']")
    return "" if target is None else target.get("state", "disconnected")


def _quota(tune: ET.Element | None, name: str) -> float | None:
    quota = None if tune is None else tune.findtext(f"{name}_quota")
    if tune is None or quota is None or int(quota) <= 0:  # -1 and 0 both mean no cap
        return None
    return int(quota) / int(tune.findtext(f"{name}_period") or 100_000)


def _cpu_obstacle(domain: ET.Element, tune: ET.Element | None) -> str:
    pins = [] if tune is None else tune.findall("vcpupin")
    if any((pin.get("cpuset") or "").isdigit() for pin in pins):
        return "its vCPUs are pinned, each to a host CPU of its own: taking CPU from it frees none for others"
    if domain.find("cputune/vcpusched") is not None:
        return "its vCPUs run under a real-time scheduler"
    return ""


def _memory_obstacle(domain: ET.Element) -> str:
    obstacles = {
        "memoryBacking/hugepages": "its memory is huge pages",
        "memoryBacking/locked": "its memory is locked",
        "launchSecurity": "its memory is encrypted and pinned",
        "devices/hostdev[@type='pci']": "a passed-through device pins its memory",
        "devices/interface[@type='hostdev']": "a passed-through network device pins its memory",
    }
    return next((why for path, why in obstacles.items() if domain.find(path) is not None), "")


def _mib(element: ET.Element, path: str) -> float:
    found = element.find(path)
    if found is None or not found.text:
        return 0.0
    return int(found.text) * KIB[found.get("unit", "KiB").lower()] / 1024


def _text(element: ET.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"no <{path}>")
    return text
