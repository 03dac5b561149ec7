"""The cloud read once, as one frozen view. What cannot be read is named and left out; nothing that was read is lost for it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from foreshape_controller.cloud.nova import Aggregate, ComputeService, Node, Nova
from foreshape_controller.cloud.placement import Placement, Provider
from foreshape_controller.errors import CloudError, Gone, Temporary
from foreshape_controller.model.cloud import (
    MEMORY,
    VCPU,
    Allocation,
    CloudHost,
    CloudMigration,
    CloudServer,
    CloudView,
    Resources,
    ServerGroup,
)

OVERLAP_S = 300.0
"""An incremental reading asks for changes since so long before the last one: clocks differ, and a request takes its time."""
STALE_S = 86400.0
"""A migration that Nova wrote nothing about for so long does not move any more, whatever its record says."""
LEFT_S, AT_REST = 300.0, frozenset({"ACTIVE", "PAUSED", "SHUTOFF", "ERROR"})
"""Nor does one that it wrote nothing about for so long, of a server that it does nothing with: a nova-compute died and left the record
(seen with Nova 34: ``preparing`` for good). A server that waits for its turn has a task."""
ENOUGH = 3
"""Providers in a row that could not be read: then the rest is not asked for either."""
TWICE = "two nova-compute services have its name"
TOLD = 20
"""Most sentences of one part; the rest is counted."""

T = TypeVar("T")


def read_cloud(
    nova: Nova, placement: Placement, now: Callable[[], float], *, before: CloudView | None = None, with_allocations: bool = False
) -> CloudView:
    """A view of now. Never raises for what the cloud does or does not say: look at ``problems`` and ``missing``.

    before: an earlier view. Then only servers changed since are asked for, and inventories only of providers that were written to. Read in
    full now and then all the same: what Nova purged in between is never told as a change. with_allocations: also who holds what.
    """
    at = now()
    reading = _Reading()
    hosts, allocations = _hosts(reading, nova, placement, before, with_allocations=with_allocations)
    groups = reading.dictionary("groups", nova.groups, lambda g: g.id)
    servers = _servers(reading, nova, before)
    return CloudView(
        at=at,
        hosts=hosts,
        servers=_grouped(servers, groups),
        groups=groups,
        migrations=_moving(reading, nova, at, servers),
        allocations=allocations if with_allocations else None,
        problems=reading.sentences(),
        missing=frozenset(reading.missing),
    )


class _Reading:
    """What went wrong so far."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self._problems: list[tuple[str, str]] = []

    def tell(self, part: str, sentence: str, *, incomplete: bool = True) -> None:
        self._problems.append((part, sentence))
        if incomplete:
            self.missing.add(part)

    def all(self, part: str, rows: Callable[[Callable[[str], None]], Iterable[T]]) -> list[T]:
        """As many as came before something went wrong."""
        found: list[T] = []
        try:
            found.extend(rows(lambda sentence: self.tell(part, sentence)))
        except CloudError as e:
            self.tell(part, str(e))
        except Exception as e:  # noqa: BLE001 - whatever an answer makes the code stumble over, the other parts are read
            self.tell(part, f"its answer cannot be read: {type(e).__name__}: {e}")
        return found

    def dictionary(self, part: str, rows: Callable[[Callable[[str], None]], Iterable[T]], key: Callable[[T], str]) -> dict[str, T]:
        """Likewise, by key; what comes twice, as between two pages, counts once."""
        found: dict[str, T] = {}

        def gather(tell: Callable[[str], None]) -> Iterable[T]:
            for row in rows(tell):
                found[key(row)] = row
            return ()

        self.all(part, gather)
        return found

    def sentences(self) -> tuple[str, ...]:
        count = Counter(part for part, _ in self._problems)
        told: Counter[str] = Counter()
        lines = []
        for part, sentence in self._problems:
            told[part] += 1
            if told[part] <= TOLD:
                lines.append(f"{part}: {sentence}")
        lines += [f"{part}: {n - TOLD} more like these" for part, n in count.items() if n > TOLD]
        return tuple(lines)


# -- servers, groups, migrations


def _servers(reading: _Reading, nova: Nova, before: CloudView | None) -> dict[str, CloudServer]:
    """All, or the earlier ones with what changed since. An earlier reading that missed some is no ground to build on."""
    usable = before if before and before.complete("servers") else None
    since = usable.at - OVERLAP_S + min(0.0, nova.ahead_s) if usable else None  # by Nova's clock, should it be behind ours
    changed = reading.dictionary("servers", lambda tell: nova.servers(since=since, tell=tell), lambda s: s.id)
    every = {**usable.servers, **changed} if usable else changed
    for server in changed.values():
        if server.status == "UNKNOWN":
            reading.tell("servers", f"server {server.id} is in a cell that Nova cannot reach: its host is not known")
    return {k: s for k, s in every.items() if s.status not in ("DELETED", "SOFT_DELETED") and s.vm_state != "deleted"}


def _grouped(servers: Mapping[str, CloudServer], groups: Mapping[str, ServerGroup]) -> Mapping[str, CloudServer]:
    """With the ids of their groups: lists of servers do not tell them."""
    of: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        for member in group.members:
            of[member] = (*of.get(member, ()), group.id)
    return {k: msgspec.structs.replace(s, groups=of[k]) if k in of else s for k, s in servers.items()}


def _moving(reading: _Reading, nova: Nova, at: float, servers: Mapping[str, CloudServer]) -> tuple[CloudMigration, ...]:
    """Those whose end was not told; asked for without a status, so that one that nobody knows is not left out."""
    every = reading.all("migrations", lambda tell: nova.migrations(since=at - STALE_S, tell=tell))
    by = at - LEFT_S + min(0.0, nova.ahead_s)
    return tuple(m for m in every if m.moving and not (0.0 < m.updated < by and _rests(servers.get(m.server))))


def _rests(server: CloudServer | None) -> bool:
    return server is not None and server.status in AT_REST and not server.task_state


# -- hosts


def _hosts(
    reading: _Reading, nova: Nova, placement: Placement, before: CloudView | None, *, with_allocations: bool
) -> tuple[Mapping[str, CloudHost], Mapping[str, Allocation]]:
    services = reading.all("hosts", nova.services)
    nodes = _by_host(reading, reading.all("hosts", nova.nodes))
    aggregates = reading.all("aggregates", nova.aggregates)
    hosts = {s.host: _host(s, nodes.get(s.host), aggregates) for s in services}
    hosts |= {
        name: msgspec.structs.replace(hosts[name], provider="", enabled=False, disabled_why=TWICE) for name in _twice(reading, services)
    }
    providers = {p.uuid: p for p in reading.all("inventories", lambda _: placement.providers().values())}
    rooms = _Rooms(reading, placement, providers, before, with_allocations=with_allocations)
    return {name: rooms.fill(host) for name, host in hosts.items()}, rooms.allocations


def _twice(reading: _Reading, services: Sequence[ComputeService]) -> list[str]:
    """Names that two services have: nobody can tell which is meant, so that nothing goes there; the other hosts are what they are."""
    twice = sorted(name for name, n in Counter(s.host for s in services).items() if n > 1)
    for name in twice:
        advice = "delete the stale one (openstack compute service delete)"
        reading.tell(
            "hosts", f"two nova-compute services call themselves {name}: nothing is moved or reserved there; {advice}", incomplete=False
        )
    return twice


def _by_host(reading: _Reading, nodes: Iterable[Node]) -> dict[str, Node]:
    """The node of each host; a host with several (Ironic's) has none that a server could be moved to."""
    found: dict[str, Node] = {}
    several: set[str] = set()
    for node in nodes:
        if node.host in found and found[node.host] != node:
            several.add(node.host)
        found[node.host] = node
    for host in sorted(several):
        reading.tell("hosts", f"{host} has several hypervisors: it takes part in nothing", incomplete=False)
    return {h: n for h, n in found.items() if h not in several}


def _host(service: ComputeService, node: Node | None, aggregates: Iterable[Aggregate]) -> CloudHost:
    mine = [a for a in aggregates if service.host in a.hosts]
    metadata: dict[str, str] = {}
    for aggregate in mine:
        for key, value in aggregate.metadata.items():
            metadata[key] = f"{metadata[key]},{value}" if key in metadata and value not in metadata[key].split(",") else value
    return CloudHost(
        name=service.host,
        hypervisor=node.name if node else "",
        provider=node.provider if node else "",
        az=service.zone,
        aggregates=tuple(a.name for a in mine),
        aggregate_metadata=metadata,
        enabled=service.enabled,
        disabled_why=service.disabled_why,
        up=service.up and not service.forced_down,
        service=service.id,
        forced_down=service.forced_down,
    )


def _held(placement: Placement) -> Mapping[str, tuple[Resources, frozenset[str]]]:
    """Usages and traits of all hosts that are not full, in one or two requests: a thousand hosts asked one by one take longer than
    two readings are apart. Where that fails, each is asked.
    """
    try:
        return {**placement.held(MEMORY), **placement.held(VCPU)}
    except CloudError:
        return {}


class _Rooms:
    """What Placement says of each host, until it stops answering."""

    def __init__(
        self,
        reading: _Reading,
        placement: Placement,
        providers: Mapping[str, Provider],
        before: CloudView | None,
        *,
        with_allocations: bool,
    ) -> None:
        self.allocations: dict[str, Allocation] = {}
        self._reading, self._placement, self._providers = reading, placement, providers
        self._known = {h.provider: h for h in before.hosts.values()} if before and before.complete("inventories", "traits") else {}
        self._with_allocations = with_allocations
        self._held = _held(placement)
        self._failed = 0
        self._parts = ("inventories", "usages", "traits", *(("allocations",) if with_allocations else ()))

    def fill(self, host: CloudHost) -> CloudHost:
        """With its room, or without a provider when that cannot be proved."""
        provider = self._providers.get(host.provider)
        if provider is None:
            if host.provider and self._providers:
                self._reading.tell("hosts", f"{host.name}: Placement has no provider {host.provider} for it", incomplete=False)
            return msgspec.structs.replace(host, provider="")
        if self._failed >= ENOUGH:
            return msgspec.structs.replace(host, provider="")
        try:
            filled = self._filled(host, provider)
        except CloudError as e:
            self._count(host, e)
            return msgspec.structs.replace(host, provider="")
        self._failed = 0
        return filled

    def _count(self, host: CloudHost, error: CloudError) -> None:
        """A host that is gone says nothing about the next one; a service that does not answer does."""
        vanished = isinstance(error, Gone)
        self._failed += isinstance(error, Temporary)
        for part in self._parts if not vanished else ():
            self._reading.missing.add(part)
        self._reading.tell("inventories", f"{host.name}: {error}", incomplete=not vanished)
        if self._failed == ENOUGH:
            self._reading.tell("inventories", f"{ENOUGH} hosts in a row could not be read: the rest is not asked for")

    def _filled(self, host: CloudHost, provider: Provider) -> CloudHost:
        same, at_once = self._known.get(provider.uuid), self._held.get(provider.uuid)
        if same and same.generation == provider.generation:
            inventories, traits = same.inventories, same.traits
        else:
            inventories = self._placement.inventories(provider.uuid)
            traits = at_once[1] if at_once else self._placement.traits(provider.uuid)[0]
        usages = at_once[0] if at_once else self._placement.usages(provider.uuid)
        if self._with_allocations:
            self._note_holders(provider.uuid)
        return msgspec.structs.replace(host, generation=provider.generation, inventories=inventories, usages=usages, traits=traits)

    def _note_holders(self, provider: str) -> None:
        """Who holds something there; one may hold of several. Types are not told here: ``Placement.allocation`` knows them."""
        for consumer, resources in self._placement.holders(provider).items():
            had = self.allocations.get(consumer)
            held = {**(had.held if had else {}), provider: resources}
            self.allocations[consumer] = Allocation(consumer=consumer, held=held)
