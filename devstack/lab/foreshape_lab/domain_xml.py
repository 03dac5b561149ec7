"""Kinds of guests as libvirt XML: with hot-add ceilings, as Nova makes them, and with this or that missing."""

import uuid
from dataclasses import dataclass, replace
from typing import Self
from xml.sax.saxutils import quoteattr

from foreshape_lab.image import Image

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
FORESHAPE = "https://foreshape.dev/xmlns/1"
PROJECT = "5f4dcc3b5aa765d61d8327deb882cf99"
LOAD_PORT = "foreshape.load"
AGENT_PORT = "org.qemu.guest_agent.0"


@dataclass(frozen=True)
class GuestSpec:
    """One guest. Amounts in vCPUs and MiB; at least 96 MiB, or its kernel does not boot."""

    name: str
    vcpus: int = 1
    memory: int = 128
    most_vcpus: int = 0
    """Hot-add ceiling; 0 means none above ``vcpus``."""
    plug: int = 0
    """Size of the virtio-mem device: what can be plugged beside ``memory``."""
    sold: tuple[float, int] | None = None
    """Entitlement (cores, MiB) written into the metadata of a guest that Nova did not make."""
    nova: bool = False
    project: str = PROJECT
    """Of a guest as Nova makes them."""
    agent: bool = True
    balloon: bool = True
    stats_period_s: int = 1
    """0: the balloon never asks the guest, as with a domain that nobody prepared."""
    nic: bool = False
    disk: int = 0
    """MiB of an empty disk, vda; 0: none."""
    cpu: str = "0"
    mem: str = "0"
    """Load patterns from boot on; the words of loadd.c."""
    lean: bool = False
    """For many at once: older machine, no ports, small translation cache."""

    @property
    def uuid(self) -> str:
        """The same for the same name, so that a guest can be found again."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.lab.foreshape.dev"))

    @property
    def entitlement(self) -> tuple[float, int]:
        """What was sold, in cores and MiB."""
        return self.sold or (float(self.vcpus), self.memory)

    def but(self, **changes: object) -> Self:
        return replace(self, **changes)  # type: ignore[arg-type]  # checked by replace itself


def hot_add(name: str, **changes: object) -> GuestSpec:
    """Sold 1 core and 192 MiB, and can reach 2 vCPUs and 320 MiB live."""
    return GuestSpec(name, vcpus=1, most_vcpus=2, memory=192, plug=128, sold=(1.0, 192)).but(**changes)


def nova_like(name: str, **changes: object) -> GuestSpec:
    """As Nova makes them: its metadata, a flavor of 2 vCPUs and 256 MiB, nothing to add live."""
    return GuestSpec(name, vcpus=2, memory=256, nova=True, nic=True).but(**changes)


def domain_xml(spec: GuestSpec, image: Image) -> str:
    """The definition. Paths below /var are the lab host's own."""
    name = quoteattr(spec.name)[1:-1]
    ceiling = f"<maxMemory slots='1' unit='MiB'>{spec.memory + spec.plug}</maxMemory>" if spec.plug else ""
    most = max(spec.most_vcpus, spec.vcpus)
    current = f" current='{spec.vcpus}'" if most > spec.vcpus else ""
    return f"""
<domain type='qemu'>
  <name>{name}</name><uuid>{spec.uuid}</uuid>
  <metadata>{metadata(spec)}</metadata>
  {ceiling}<memory unit='MiB'>{spec.memory}</memory>
  <vcpu placement='static'{current}>{most}</vcpu>
  <os>
    <type arch='x86_64' machine='{"pc" if spec.lean else "q35"}'>hvm</type>
    <kernel>{image.kernel}</kernel><initrd>{image.initrd}</initrd>
    <cmdline>console=ttyS0 quiet no_timer_check swiotlb=noforce panic=-1 load.cpu={spec.cpu} load.mem={spec.mem}</cmdline>
  </os>
  <features><acpi/><tcg><tb-cache unit='MiB'>{32 if spec.lean else 64}</tb-cache></tcg></features>
  <cpu mode='maximum'>{numa(spec, most)}</cpu>
  <on_reboot>destroy</on_reboot>
  <devices>{"".join(devices(spec))}</devices>
</domain>"""


def metadata(spec: GuestSpec) -> str:
    parts = ""
    if spec.nova:
        parts += f"""
    <nova:instance xmlns:nova='{NOVA}'>
      <nova:package version='27.1.0'/>
      <nova:name>{spec.name}</nova:name>
      <nova:creationTime>2026-01-01 00:00:00</nova:creationTime>
      <nova:flavor name='lab.small'><nova:memory>{spec.memory}</nova:memory><nova:disk>0</nova:disk><nova:swap>0</nova:swap>
        <nova:ephemeral>0</nova:ephemeral><nova:vcpus>{spec.vcpus}</nova:vcpus></nova:flavor>
      <nova:owner><nova:user uuid='11111111111111111111111111111111'>lab</nova:user>
        <nova:project uuid={quoteattr(spec.project)}>lab</nova:project></nova:owner>
      <nova:root type='image' uuid='22222222-2222-4222-8222-222222222222'/>
    </nova:instance>"""
    if spec.sold:
        cores, mib = spec.sold
        parts += f"<foreshape:entitlement xmlns:foreshape='{FORESHAPE}' cpu='{cores:g}' memory_mib='{mib}'/>"
    return parts


def numa(spec: GuestSpec, most: int) -> str:
    """Memory can be plugged into a NUMA cell only; Nova's guests have none."""
    if not spec.plug:
        return ""
    return f"<numa><cell id='0' cpus='0-{most - 1}' memory='{spec.memory}' unit='MiB'/></numa>"


def devices(spec: GuestSpec) -> list[str]:
    parts = [
        f"<serial type='file'><source path='/var/log/libvirt/{spec.name}.console' append='on'/></serial>",
        "<controller type='usb' model='none'/>",
    ]
    if not spec.lean:
        source = f"<source mode='bind' path='/var/lib/libvirt/{spec.name}.load'/>"
        parts.append(f"<channel type='unix'>{source}<target type='virtio' name='{LOAD_PORT}'/></channel>")
    if spec.agent and not spec.lean:
        parts.append(f"<channel type='unix'><target type='virtio' name='{AGENT_PORT}'/></channel>")
    if spec.disk:
        source = f"<driver name='qemu' type='raw'/><source file='/var/lib/libvirt/{spec.name}.disk'/>"
        parts.append(f"<disk type='file' device='disk'>{source}<target dev='vda' bus='virtio'/></disk>")
    if spec.nic:
        tail = spec.uuid.replace("-", "")[:6]
        mac = f"52:54:00:{tail[:2]}:{tail[2:4]}:{tail[4:]}"
        parts.append(f"<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/><model type='virtio'/></interface>")
    if spec.plug:
        target = f"<size unit='MiB'>{spec.plug}</size><node>0</node><block unit='MiB'>2</block><requested unit='MiB'>0</requested>"
        parts.append(f"<memory model='virtio-mem'><target>{target}</target></memory>")
    return [*parts, balloon(spec)]


def balloon(spec: GuestSpec) -> str:
    if not spec.balloon:
        return "<memballoon model='none'/>"
    period = f"<stats period='{spec.stats_period_s}'/>" if spec.stats_period_s else ""
    return f"<memballoon model='virtio'>{period}</memballoon>"
