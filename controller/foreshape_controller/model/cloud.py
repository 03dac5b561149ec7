"""What a cloud says about itself, read once and frozen: hosts, servers, groups, migrations and what Placement holds (domain.md §§6-8).

Placement is the truth about room, Nova about servers. Resource amounts have Placement's classes and units as keys
(``VCPU``: virtual CPUs, ``MEMORY_MB``: MiB, ``DISK_GB``: GiB); instants are epoch seconds.
"""

from collections.abc import Mapping

import msgspec

VCPU, MEMORY, DISK = "VCPU", "MEMORY_MB", "DISK_GB"
CLASSES = (VCPU, MEMORY, DISK)
"""Resource classes that every compute host has."""

RESERVATION, UNKNOWN = "FORESHAPE_RESERVATION", "unknown"
"""Consumer types: what the names of ours begin with (``reservation_type``), and what Placement says of those without one, as all of
Nova's are: it writes at 1.36, types came at 1.38."""


def reservation_type(controller: str) -> str:
    """Consumer type of one controller's reservations: two of them in one project do not take each other's for leftovers of their own."""
    return f"{RESERVATION}_{controller.upper()}"


LOCKED_OUT = "COMPUTE_STATUS_DISABLED"
"""Trait of a provider that the scheduler leaves out: Nova's for a disabled service, and our lock during a hand-over."""

MOVING = frozenset({"accepted", "queued", "preparing", "running", "post-migrating"})
"""Migration statuses in which something may still happen. What has a status we do not know is counted as moving too."""

ENDED = frozenset({"completed", "done", "confirmed", "reverted", "cancelled", "failed", "error", "finished"})
"""Migration statuses after which nothing happens by itself."""

NOT_MOVED = frozenset({"cancelled", "failed", "error"})
"""Ended, and the server is where it was: which of the three an abort leaves behind depends on Nova's version."""

Resources = Mapping[str, int]


class Inventory(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One resource class of one provider, as Placement has it."""

    total: int
    reserved: int = 0
    """Kept by the host for itself; nova-compute rewrites it from its own configuration."""
    ratio: float = 1.0
    """``allocation_ratio``."""
    min_unit: int = 1
    max_unit: int = 2**31 - 1
    """Most that one consumer may hold here: Nova writes the physical total, whatever the ratio."""
    step: int = 1
    """``step_size``: amounts are multiples of it."""

    @property
    def capacity(self) -> int:
        """What may be allocated in all: Placement's own formula."""
        return int((self.total - self.reserved) * self.ratio)

    def fits(self, amount: int) -> bool:
        """Whether one consumer may hold so much, apart from what others hold."""
        return self.min_unit <= amount <= self.max_unit and amount % self.step == 0


class CloudFlavor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a server was sold as; Nova repeats it in every server, also when the flavor itself is gone."""

    name: str = ""
    vcpus: int = 0
    ram: int = 0
    """MiB."""
    disk: int = 0
    """GiB, root disk."""
    ephemeral: int = 0
    """GiB."""
    swap: int = 0
    """MiB."""
    extra_specs: Mapping[str, str] = {}


class CloudServer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One server of Nova's."""

    id: str
    name: str = ""
    project: str = ""
    user: str = ""
    host: str = ""
    """Empty while it has none: it is being scheduled, or shelved."""
    flavor: CloudFlavor = CloudFlavor()
    image: str = ""
    """Empty when it boots from a volume."""
    az: str = ""
    asked_az: str = ""
    """Zone that its owner asked for at boot: it must not leave it. Empty: none asked for, or Nova does not say (before 2.96)."""
    status: str = ""
    vm_state: str = ""
    task_state: str = ""
    """Empty when nothing is being done to it."""
    power_state: int = 0
    groups: tuple[str, ...] = ()
    """Ids of its server groups; Nova lets it have one."""
    created: float = 0.0
    locked: bool = False
    """Its owner or an operator locked it: users may not act on it, and we do not either."""
    metadata: Mapping[str, str] = {}


class CloudHost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One compute host: its service in Nova and its resource provider in Placement."""

    name: str
    """Nova's ``host``: what a live migration names as its target."""
    hypervisor: str = ""
    """Nova's ``hypervisor_hostname``, libvirt's name of the machine: often the same word, often the whole domain name."""
    provider: str = ""
    """UUID of its resource provider; empty when Placement has none for it: it has no room that anybody could prove."""
    generation: int | None = None
    """Of its provider, when it was read; writes of traits and inventories need the current one."""
    az: str = ""
    aggregates: tuple[str, ...] = ()
    """Names of its host aggregates in Nova."""
    aggregate_metadata: Mapping[str, str] = {}
    """Of all its aggregates together; several values of one key with commas between them."""
    enabled: bool = True
    disabled_why: str = ""
    up: bool = True
    service: str = ""
    """UUID of its nova-compute service."""
    forced_down: bool = False
    inventories: Mapping[str, Inventory] = {}
    usages: Resources = {}
    """What all consumers together hold here, ours included."""
    traits: frozenset[str] = frozenset()

    @property
    def schedulable(self) -> bool:
        """Whether Nova's scheduler would put something here, room apart."""
        return self.enabled and self.up and bool(self.provider) and LOCKED_OUT not in self.traits

    def free(self, resource: str) -> int:
        """What may still be allocated; 0 where there is no inventory of it, below 0 where more is held than there is."""
        inventory = self.inventories.get(resource)
        return inventory.capacity - self.usages.get(resource, 0) if inventory else 0


class ServerGroup(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Servers that should be together or apart."""

    id: str
    name: str = ""
    project: str = ""
    policy: str = ""
    """``affinity``, ``anti-affinity``, ``soft-affinity``, ``soft-anti-affinity``."""
    members: tuple[str, ...] = ()
    """Ids of servers; Nova leaves deleted ones out."""
    most_per_host: int = 1
    """``max_server_per_host``, of anti-affinity."""


class CloudMigration(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One migration record of Nova's."""

    uuid: str
    id: int = 0
    """Number that Nova's abort and force-complete want."""
    server: str
    source: str = ""
    target: str = ""
    """Empty while the scheduler chooses."""
    status: str = ""
    kind: str = ""
    """``live-migration``, ``migration``, ``resize``, ``evacuation``."""
    memory_total: int | None = None
    """Bytes, as are the next five; None until Nova's monitor wrote them, and in answers that do not have them."""
    memory_processed: int | None = None
    memory_remaining: int | None = None
    disk_total: int | None = None
    disk_processed: int | None = None
    disk_remaining: int | None = None
    started: float = 0.0
    updated: float = 0.0

    @property
    def moving(self) -> bool:
        """Whether it may still change anything; a status that nobody knows counts as yes."""
        return self.status not in ENDED


class Allocation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one consumer holds."""

    consumer: str
    """UUID: of a server, of a migration (the source's share while it lasts), or ours."""
    type: str = UNKNOWN
    project: str = ""
    user: str = ""
    held: Mapping[str, Resources] = {}
    """By provider uuid. Empty: nothing (any more)."""
    generation: int | None = None
    """Of the consumer; None when it does not exist, which is also what its first writing must say."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One way to satisfy a request: an answer to ``GET /allocation_candidates``."""

    held: Mapping[str, Resources]
    """By provider uuid."""


class CloudService(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One service of the cloud, as it speaks of itself."""

    name: str
    least: str = ""
    most: str = ""
    """Microversions; both empty: it has none, or does not say."""
    ahead_s: float | None = None
    """How far its clock is ahead of ours, to about half a second; None: not known."""
    took_s: float | None = None
    """How long its last answer took."""
    trouble: str = ""
    """Why nothing is known of it."""


class Right(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that the controller's role may or may not do."""

    what: str
    """The request."""
    policy: str
    needed_for: str
    """``advice``: always; else what it is needed for."""
    state: str
    """``granted``, ``refused``, or ``unknown``: it cannot be tried without doing it, or nobody answered."""
    why: str = ""


class CloudView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything read of a cloud at one moment. What could not be read is absent, and named in ``problems``."""

    at: float
    """When reading began."""
    hosts: Mapping[str, CloudHost] = {}
    """By name."""
    servers: Mapping[str, CloudServer] = {}
    """By id."""
    groups: Mapping[str, ServerGroup] = {}
    """By id."""
    migrations: tuple[CloudMigration, ...] = ()
    """Those that are moving, newest first."""
    allocations: Mapping[str, Allocation] | None = None
    """By consumer; None when they were not asked for."""
    problems: tuple[str, ...] = ()
    """Sentences about what could not be read or makes no sense; empty: all was read."""
    missing: frozenset[str] = frozenset()
    """Parts that could not be read in full: ``hosts``, ``servers``, ``groups``, ``migrations``, ``inventories``, ``usages``,
    ``traits``, ``aggregates``, ``allocations``. What needs one of them must not act: absence there proves nothing."""

    def complete(self, *parts: str) -> bool:
        """Whether these parts were read in full."""
        return self.missing.isdisjoint(parts)
