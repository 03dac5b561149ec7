"""Which levers a domain has now, over which range, or why not. Pure: from its card and its state."""

import msgspec

from foreshape_agent.domain_xml import Card
from foreshape_wire.quantity import MAX_MIB, Cores, Memory, Size
from foreshape_wire.reading import RESIZERS, THROTTLES, Capability, DomainState, LeverName

LEAST_CORES = 0.05
LEAST_MIB = 64.0
"""Below these a Linux guest stops being one: its watchdogs fire, its kernel runs out of memory."""


HOT_ADD = "Nova defines no room to grow: its operator can give the flavor a ceiling (docs/hot-add.md)"
CHANNEL = "with image property hw_qemu_guest_agent=yes Nova adds one at the next hard reboot"
STATISTICS = "Nova's [libvirt] mem_stats_period_seconds adds one, where it is above 0, at the next hard reboot"
"""What somebody would have to change, where Nova made the domain."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What bears on the levers beside the XML."""

    state: DomainState
    boot_vcpus: int
    """vCPUs it was started with: these can never be unplugged."""
    quota_trouble: str = ""
    agent_trouble: str = ""


def capabilities(card: Card, moment: Moment) -> tuple[Capability, ...]:
    """All five levers. Memory ranges are the domain's total, so that they compare with targets."""
    if moment.state is not DomainState.RUNNING:
        return tuple(Capability(lever=lever, reason=f"domain is {moment.state.value}") for lever in RESIZERS)
    return (_quota(card, moment), _guest(card, moment), _hotplug(card, moment), _balloon(card), _virtio(card))


def throttles(card: Card, moment: Moment) -> tuple[Capability, ...]:
    """What can hold its disks and its network back. Ranges are the whole domain's: each device gets an equal part, of 1 at least."""
    if moment.state is not DomainState.RUNNING:
        return tuple(Capability(lever=lever, reason=f"domain is {moment.state.value}") for lever in THROTTLES)
    return tuple(_throttle(lever, card) for lever in THROTTLES)


def _throttle(lever: LeverName, card: Card) -> Capability:
    why = card.net_obstacle if lever is LeverName.NET_BANDWIDTH else card.disk_obstacle
    devices = sum(limit.resource == lever.resource for limit in card.limits)
    return _lever(lever, why, float(devices), MAX_MIB, 1.0)


def entitlement(card: Card, config: Card | None, boot_vcpus: int) -> Size:
    """What it was sold: metadata, else its stored configuration, else what this instance was started with.

    None of these moves when a domain is resized live, so it is the same after any resize and any restart of the agent.
    """
    if card.sold is not None:
        return card.sold
    if config is not None:
        return Size(cpu=Cores(float(config.vcpus)), memory=Memory(config.balloon_target))
    return Size(cpu=Cores(float(boot_vcpus)), memory=Memory(card.base))


def ceiling(card: Card, entitled: Size) -> Size:
    """What can be reached live, and never less than what was sold."""
    most = card.base + (card.virtio.size if card.virtio else 0.0)
    return Size(cpu=max(entitled.cpu, Cores(float(card.max_vcpus))), memory=max(entitled.memory, Memory(most)))


def _quota(card: Card, moment: Moment) -> Capability:
    why = card.cpu_obstacle or moment.quota_trouble
    # cgroup v1 refuses a domain cap below a child's: where the flavor caps each vCPU, that share is the least.
    lowest = max(LEAST_CORES, card.child_quota)
    return _lever(LeverName.CPU_QUOTA, why, lowest, float(card.max_vcpus), 0.01)


def _guest(card: Card, moment: Moment) -> Capability:
    missing = {"": _advised("it has no guest agent channel", CHANNEL, card), "connected": ""}.get(
        card.agent, "its guest agent is not connected"
    )
    return _lever(LeverName.CPU_GUEST, card.cpu_obstacle or missing or moment.agent_trouble, 1.0, float(card.vcpus), 1.0)


def _hotplug(card: Card, moment: Moment) -> Capability:
    why = card.cpu_obstacle
    if not why and card.placement:
        why = "it is placed on NUMA nodes: a plugged vCPU would have no place"
    if not why and card.max_vcpus <= moment.boot_vcpus:
        why = _advised(f"no vCPU can be plugged: it was started with all {card.max_vcpus}", HOT_ADD, card)
    # Unplugging under TCG leaks the vCPU inside QEMU and hangs every later migration: there, never down.
    lowest = card.vcpus if card.emulated else moment.boot_vcpus
    return _lever(LeverName.CPU_HOTPLUG, why, float(lowest), float(card.max_vcpus), 1.0)


def _balloon(card: Card) -> Capability:
    why = card.memory_obstacle or ("" if card.balloon else _advised("it has no balloon device", STATISTICS, card))
    return _lever(LeverName.MEM_BALLOON, why, min(LEAST_MIB, card.base), card.base, 1.0)


def _virtio(card: Card) -> Capability:
    why = card.memory_obstacle
    if not why and card.placement:
        why = "it is placed on NUMA nodes"
    if not why and card.virtio is None:
        none = _advised("it has no virtio-mem device", HOT_ADD, card)
        why = "it has several virtio-mem devices" if card.virtio_devices > 1 else none
    size, block = (card.virtio.size, card.virtio.block) if card.virtio else (0.0, 0.0)
    return _lever(LeverName.MEM_VIRTIO, why, card.base, card.base + size, block)


def _advised(why: str, advice: str, card: Card) -> str:
    return f"{why}; {advice}" if card.nova else why


def _lever(lever: LeverName, why: str, lowest: float, highest: float, granule: float) -> Capability:
    if why:
        return Capability(lever=lever, reason=why)
    return Capability(lever=lever, lowest=lowest, highest=highest, granule=granule)
