"""Placement: who holds what where. Its microversion is named with every request: without one it behaves as in 2016.

Placement proves room, and refuses what does not fit; writes name the generation they were decided on.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from foreshape_controller.cloud import parse
from foreshape_controller.cloud.call import Json, Service
from foreshape_controller.errors import Conflict, Gone, Permanent
from foreshape_controller.model.cloud import Allocation, Candidate, CloudService, Inventory, Resources

VERSION = "1.39"
"""Of Zed and everything since; consumer types need 1.38."""
TRIES = 5
"""Rounds of read and write when the generation of a provider moves under us: nova-compute writes there at any time."""


@dataclass(frozen=True)
class Provider:
    """A resource provider, without what it has."""

    uuid: str
    name: str
    generation: int
    parent: str = ""


class Placement:
    """The placement service. Everything raises CloudError."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def _ask(self, method: str, path: str, *, body: Json = None, params: Mapping[str, str] | None = None) -> Json:
        return self._service.ask(method, path, microversion=VERSION, body=body, params=params)

    def about(self) -> CloudService:
        """What it says of itself now."""
        return self._service.about()

    def status(self, method: str, path: str, body: Json = None) -> int:
        """The status of one answer, whatever it is: to find out what is allowed. Raises CloudError where there is no answer."""
        return self._service.status(method, path, microversion=VERSION, body=body)

    # -- providers

    def providers(self) -> Mapping[str, Provider]:
        """All of them, by uuid: one request. The generation is another one whenever inventories, traits or new allocations were written;
        not when allocations were deleted.
        """
        found = _read(lambda: [_provider(row) for row in self._ask("GET", "/resource_providers")["resource_providers"]])
        return {p.uuid: p for p in found}

    def inventories(self, provider: str) -> Mapping[str, Inventory]:
        """By resource class. Raises Gone."""
        body = self._ask("GET", f"/resource_providers/{provider}/inventories")
        return _read(lambda: parse.inventories(body))

    def usages(self, provider: str) -> Resources:
        """What all consumers hold there. Raises Gone."""
        body = self._ask("GET", f"/resource_providers/{provider}/usages")
        return _read(lambda: {str(k): int(v) for k, v in body["usages"].items()})

    def held(self, resource: str) -> Mapping[str, tuple[Resources, frozenset[str]]]:
        """Usages and traits of every provider that has one unit of a resource free, by uuid: one request for all of them.

        They are the summaries that come with candidates; who is full is not among them.
        """
        body = self._ask("GET", "/allocation_candidates", params={"resources": f"{resource}:1"})
        return _read(lambda: {str(of): parse.summary(row) for of, row in body["provider_summaries"].items()})

    def holders(self, provider: str) -> Mapping[str, Resources]:
        """What each consumer holds there, by consumer; their types are not told. Raises Gone."""
        body = self._ask("GET", f"/resource_providers/{provider}/allocations")
        return _read(lambda: parse.held(body))

    def change_ratio(self, provider: str, resource: str, choose: Callable[[Inventory, int], float | None]) -> float:
        """Write the ``allocation_ratio`` that is chosen for an inventory and what is held of it (None: leave it); what is there afterwards.

        What was chosen for is what is there at the moment of writing: every new allocation moves the provider's generation, and a write
        that names an old one is refused. Raises Conflict in a storm, Gone.
        """
        for _ in range(TRIES):
            body = self._ask("GET", f"/resource_providers/{provider}/inventories")
            held = self._ask("GET", f"/resource_providers/{provider}/usages")
            generation, inventory, used = _read(lambda b=body, h=held: _for_a_ratio(b, h, resource))  # type: ignore[misc]
            if generation is None:
                continue
            ratio = choose(inventory, used)
            if ratio is None:
                return float(inventory.ratio)
            row = {**body["inventories"][resource], "allocation_ratio": ratio, "resource_provider_generation": generation}
            try:
                self._ask("PUT", f"/resource_providers/{provider}/inventories/{resource}", body=row)
            except Conflict:
                continue
            return ratio
        raise _storm(provider)

    # -- traits

    def traits(self, provider: str) -> tuple[frozenset[str], int]:
        """With the generation that a writing must name. Raises Gone."""
        body = self._ask("GET", f"/resource_providers/{provider}/traits")
        return _read(lambda: (frozenset(body["traits"]), int(body["resource_provider_generation"])))

    def add_trait(self, provider: str, trait: str) -> bool:
        """Whether it was not there before. ``CUSTOM_`` ones are made known first. Raises Conflict in a storm, Gone."""
        if trait.startswith("CUSTOM_"):
            self._ask("PUT", f"/traits/{trait}")
        return self._change_traits(provider, lambda had: had | {trait})

    def remove_trait(self, provider: str, trait: str) -> bool:
        """Whether it was there. Raises Conflict in a storm, Gone."""
        return self._change_traits(provider, lambda had: had - {trait})

    def _change_traits(self, provider: str, change: Callable[[frozenset[str]], frozenset[str]]) -> bool:
        for _ in range(TRIES):
            had, generation = self.traits(provider)
            wanted = change(had)
            if wanted == had:
                return False
            body = {"traits": sorted(wanted), "resource_provider_generation": generation}
            try:
                self._ask("PUT", f"/resource_providers/{provider}/traits", body=body)
            except Conflict:
                continue
            return True
        raise _storm(provider)

    # -- allocations

    def allocation(self, consumer: str) -> Allocation:
        """What a consumer holds; one that does not exist holds nothing and has no generation."""
        body = self._ask("GET", f"/allocations/{consumer}")
        return _read(lambda: parse.allocation(consumer, body))

    def put_allocation(
        self,
        consumer: str,
        held: Mapping[str, Resources],
        *,
        generation: int | None,
        type: str,  # noqa: A002 - Placement's word
        project: str,
        user: str,
    ) -> None:
        """Replace what a consumer holds, in one step. ``generation``: None for a new consumer, else that of the last reading.

        Raises NoRoom, also when one consumer would hold more than ``max_unit``; Conflict when the generation is stale, also because a
        first try did take effect: read it again; Gone when the provider is.
        """
        allocation = Allocation(consumer=consumer, type=type, project=project, user=user, held=held, generation=generation)
        self._ask("PUT", f"/allocations/{consumer}", body=_written(allocation))

    def post_allocations(self, allocations: Iterable[Allocation]) -> None:
        """Replace what several consumers hold, all or nothing. One that shall hold nothing more has an empty ``held``. Raises as above."""
        self._ask("POST", "/allocations", body={a.consumer: _written(a) for a in allocations})

    def delete_allocation(self, consumer: str) -> bool:
        """Whether it held anything. Whatever its generation: ``put_allocation`` of nothing is the deletion that a stale one refuses."""
        try:
            self._ask("DELETE", f"/allocations/{consumer}")
        except Gone:
            return False
        return True

    def held_by_type(self, project: str) -> Mapping[str, int]:
        """Number of consumers of a project by their type: one request, to see whether an audit has anything to look for."""
        body = self._ask("GET", "/usages", params={"project_id": project})
        return _read(lambda: {str(kind): int(sums["consumer_count"]) for kind, sums in body["usages"].items()})

    def candidates(
        self,
        resources: Resources,
        *,
        required: Collection[str] = (),
        forbidden: Collection[str] = (),
        provider: str = "",
        limit: int = 0,
    ) -> tuple[Candidate, ...]:
        """Where so much would fit now, by Placement's own judgement; empty: nowhere. ``provider``: only in its tree."""
        traits = ",".join([*sorted(required), *(f"!{t}" for t in sorted(forbidden))])
        asked = {
            "resources": ",".join(f"{k}:{v}" for k, v in sorted(resources.items())),
            "required": traits,
            "in_tree": provider,
            "limit": str(limit) if limit else "",
        }
        body = self._ask("GET", "/allocation_candidates", params={k: v for k, v in asked.items() if v})
        return _read(lambda: tuple(Candidate(held=parse.held(row)) for row in body["allocation_requests"]))


def _storm(provider: str) -> Conflict:
    return Conflict(f"provider {provider} was written to {TRIES} times between our reading and writing: try again later", delay=1.0)


def _for_a_ratio(body: Json, held: Json, resource: str) -> tuple[int | None, Inventory, int]:
    """Generation (None: another one in each answer), inventory, what is held of it. Raises Gone where there is no such inventory."""
    if resource not in body["inventories"]:
        raise Gone(f"the provider has no inventory of {resource} any more")
    generation = int(body["resource_provider_generation"])
    same = generation == int(held["resource_provider_generation"])
    return generation if same else None, parse.inventories(body)[resource], int(held["usages"].get(resource, 0))


def _written(allocation: Allocation) -> Json:
    return {
        "allocations": {provider: {"resources": dict(resources)} for provider, resources in allocation.held.items()},
        "project_id": allocation.project,
        "user_id": allocation.user,
        "consumer_generation": allocation.generation,
        "consumer_type": allocation.type,
    }


def _provider(row: parse.Row) -> Provider:
    return Provider(str(row["uuid"]), str(row["name"]), int(row["generation"]), str(row.get("parent_provider_uuid") or ""))


def _read(parsed: "Callable[[], parse.T]") -> "parse.T":
    """What was parsed, or Permanent: an answer of another shape comes from something else."""
    try:
        return parsed()
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise Permanent(
            f"Placement's answer has another shape than {VERSION} says ({type(e).__name__} {e}): what is at its endpoint?"
        ) from e
