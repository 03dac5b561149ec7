"""Placement as measured: generations of consumers and providers, ``max_unit`` for one consumer, consumer types, atomic POST."""

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulated_problem import Problem, Routes, routed

if TYPE_CHECKING:
    from cloud_emulator import Request

Held = dict[str, dict[str, int]]
_UUID = "([0-9a-f-]{32,36})"


@dataclass
class EmulatedProvider:
    uuid: str
    name: str
    inventories: dict[str, dict[str, Any]]
    traits: set[str] = field(default_factory=set)
    generation: int = 1


@dataclass
class Consumer:
    held: Held
    project: str
    user: str
    type: str
    generation: int = 1


@dataclass
class PlacementState:
    """All of Placement. The methods without ``Request`` are what the emulated Nova uses too: the same rules hold for it."""

    providers: dict[str, EmulatedProvider] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    known_traits: set[str] = field(default_factory=set)

    def add(self, name: str, inventories: dict[str, dict[str, Any]]) -> str:
        ident = str(uuid.uuid4())
        whole = {"reserved": 0, "min_unit": 1, "step_size": 1, "allocation_ratio": 1.0}
        rows = {k: {**whole, "max_unit": v["total"], **v} for k, v in inventories.items()}
        self.providers[ident] = EmulatedProvider(ident, name, rows)
        return ident

    def used(self, provider: str, but: frozenset[str] = frozenset()) -> dict[str, int]:
        sums = dict.fromkeys(self.providers[provider].inventories, 0)
        for ident, consumer in self.consumers.items():
            for resource, amount in consumer.held.get(provider, {}).items() if ident not in but else ():
                sums[resource] += amount
        return sums

    def storm(self) -> None:
        """Somebody writes to every provider."""
        for provider in self.providers.values():
            provider.generation += 1

    def claim(self, wanted: dict[str, Consumer]) -> None:
        """Replace what these consumers hold, all or nothing; those that shall hold nothing are forgotten."""
        others = frozenset(wanted)
        asked: dict[tuple[str, str], int] = {}
        for consumer in wanted.values():
            for provider, resources in consumer.held.items():
                for resource, amount in resources.items():
                    self._check_one(provider, resource, amount)
                    asked[provider, resource] = asked.get((provider, resource), 0) + amount
        for (provider, resource), amount in asked.items():
            row = self.providers[provider].inventories[resource]
            if self.used(provider, others)[resource] + amount > int((row["total"] - row["reserved"]) * row["allocation_ratio"]):
                raise Problem(
                    409, f"Unable to allocate inventory: The requested amount would exceed the capacity of {resource} on {provider}."
                )
        for ident, consumer in wanted.items():
            self._store(ident, consumer)

    def _check_one(self, provider: str, resource: str, amount: int) -> None:
        if provider not in self.providers:
            raise Problem(400, f"Allocation for resource provider '{provider}' that does not exist.")
        row = self.providers[provider].inventories.get(resource)
        if row is None or not row["min_unit"] <= amount <= row["max_unit"] or amount % row["step_size"]:
            raise Problem(409, f"Unable to allocate inventory: amount {amount} of {resource} would violate inventory constraints.")

    def _store(self, ident: str, consumer: Consumer) -> None:
        had = self.consumers.pop(ident, None)
        for provider in {*consumer.held, *(had.held if had else ())} & set(self.providers):
            self.providers[provider].generation += 1
        if consumer.held:
            consumer.generation = had.generation + 1 if had else 1
            self.consumers[ident] = consumer

    # -- HTTP

    def serve(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        return routed(self, _ROUTES, request, version)

    def _provider(self, ident: str) -> EmulatedProvider:
        if ident not in self.providers:
            raise Problem(404, f"No resource provider with uuid {ident} found")
        return self.providers[ident]

    def _list(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        rows = [{"uuid": p.uuid, "name": p.name, "generation": p.generation, "parent_provider_uuid": None} for p in self.providers.values()]
        return 200, {"resource_providers": rows}

    def _inventories(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        provider = self._provider(ident)
        return 200, {"inventories": provider.inventories, "resource_provider_generation": provider.generation}

    def _put_inventory(self, request: "Request", version: tuple[int, int], ident: str, resource: str) -> tuple[int, Any]:
        """One class. A ratio below what is held is taken, as the real one does: it only warns in its log."""
        provider, row = self._provider(ident), dict(request.body)
        if resource not in provider.inventories:
            raise Problem(404, f"No inventory of {resource} on {ident}")
        if row.pop("resource_provider_generation") != provider.generation:
            raise Problem(409, "Resource provider's generation already changed. Please update the generation and try again.", _STALE)
        provider.inventories[resource] = {**provider.inventories[resource], **row}
        provider.generation += 1
        return 200, {**provider.inventories[resource], "resource_provider_generation": provider.generation}

    def _usages(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        generation = self._provider(ident).generation
        return 200, {"usages": self.used(ident), "resource_provider_generation": generation}

    def _holders(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        generation = self._provider(ident).generation
        rows = {c: {"resources": k.held[ident], "consumer_generation": k.generation} for c, k in self.consumers.items() if ident in k.held}
        return 200, {"allocations": rows, "resource_provider_generation": generation}

    def _traits(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        if version < (1, 6):
            raise Problem(404, "The resource could not be found.")
        provider = self._provider(ident)
        return 200, {"traits": sorted(provider.traits), "resource_provider_generation": provider.generation}

    def _put_traits(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        provider = self._provider(ident)
        unknown = [t for t in request.body["traits"] if t.startswith("CUSTOM_") and t not in self.known_traits]
        if unknown:
            raise Problem(400, f"No such trait {unknown}")
        if request.body["resource_provider_generation"] != provider.generation:
            raise Problem(409, "Resource provider's generation already changed. Please update the generation and try again.", _STALE)
        provider.traits = set(request.body["traits"])
        provider.generation += 1
        return self._traits(request, version, ident)

    def _make_trait(self, request: "Request", version: tuple[int, int], name: str) -> tuple[int, Any]:
        self.known_traits.add(name)
        return 201, None

    def _allocation(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        consumer = self.consumers.get(ident)
        if consumer is None:
            return 200, {"allocations": {}}
        rows = {p: {"resources": r, "generation": self.providers[p].generation} for p, r in consumer.held.items() if p in self.providers}
        said = {"allocations": rows, "project_id": consumer.project, "user_id": consumer.user, "consumer_generation": consumer.generation}
        return 200, {**said, "consumer_type": consumer.type} if version >= (1, 38) else said

    def _put(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        self.claim({ident: self._wanted(ident, request.body, version)})
        return 204, None

    def _post(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        if not isinstance(request.body, dict):
            raise Problem(400, "JSON does not validate: it is not of type 'object'")
        self.claim({ident: self._wanted(ident, row, version) for ident, row in request.body.items()})
        return 204, None

    def _wanted(self, ident: str, row: Any, version: tuple[int, int]) -> Consumer:
        keys = {"allocations", "project_id", "user_id"}
        keys |= {"consumer_generation"} if version >= (1, 28) else set()
        keys |= {"consumer_type"} if version >= (1, 38) else set()
        if version < (1, 12) or set(row) != keys:
            raise Problem(400, f"JSON does not validate: {sorted(set(row) ^ keys)} at this microversion")
        kind = row.get("consumer_type", "unknown")
        if version >= (1, 38) and not re.fullmatch("[A-Z0-9_]+", kind):
            raise Problem(400, f"JSON does not validate: '{kind}' does not match '^[A-Z0-9_]+$'")
        had = self.consumers.get(ident)
        if version >= (1, 28) and row["consumer_generation"] != (had.generation if had else None):
            raise Problem(409, f"consumer generation conflict - expected {had.generation if had else None}", _STALE)
        return Consumer({p: dict(r["resources"]) for p, r in row["allocations"].items()}, row["project_id"], row["user_id"], kind)

    def _delete(self, request: "Request", version: tuple[int, int], ident: str) -> tuple[int, Any]:
        """Does not move any provider's generation, as the real one."""
        if self.consumers.pop(ident, None) is None:
            raise Problem(404, f"No allocations for consumer '{ident}'")
        return 204, None

    def _totals(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        sums: dict[str, dict[str, int]] = {}
        for consumer in self.consumers.values():
            if consumer.project == request.query["project_id"]:
                row = sums.setdefault(consumer.type, {"consumer_count": 0})
                row["consumer_count"] += 1
                for resources in consumer.held.values():
                    for resource, amount in resources.items():
                        row[resource] = row.get(resource, 0) + amount
        return 200, {"usages": sums}

    def _candidates(self, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
        asked = {k: int(v) for k, v in (pair.split(":") for pair in request.query["resources"].split(","))}
        words = [w for w in request.query.get("required", "").split(",") if w]
        must, never = {w for w in words if w[0] != "!"}, {w[1:] for w in words if w[0] == "!"}
        rows = [
            {"allocations": {p.uuid: {"resources": asked}}, "mappings": {"": [p.uuid]}}
            for p in self.providers.values()
            if request.query.get("in_tree", p.uuid) == p.uuid and must <= p.traits and not never & p.traits and self.fits(p.uuid, asked)
        ]
        return 200, {
            "allocation_requests": rows[: int(request.query.get("limit", len(rows)))],
            "provider_summaries": {u: self._summary(u) for row in rows for u in row["allocations"]},
        }

    def _summary(self, ident: str) -> dict[str, Any]:
        """Of one provider, with all of its classes (1.27)."""
        used, provider = self.used(ident), self.providers[ident]
        resources = {name: {"capacity": 0, "used": amount} for name, amount in used.items()}
        return {"resources": resources, "traits": sorted(provider.traits), "parent_provider_uuid": None, "root_provider_uuid": ident}

    def fits(self, provider: str, asked: dict[str, int]) -> bool:
        rows, used = self.providers[provider].inventories, self.used(provider)
        return all(
            k in rows
            and v <= rows[k]["max_unit"]
            and used[k] + v <= int((rows[k]["total"] - rows[k]["reserved"]) * rows[k]["allocation_ratio"])
            for k, v in asked.items()
        )


_STALE = "placement.concurrent_update"
_ROUTES: Routes = [
    ("GET", "/resource_providers", PlacementState._list),
    ("GET", f"/resource_providers/{_UUID}/inventories", PlacementState._inventories),
    ("PUT", f"/resource_providers/{_UUID}/inventories/([A-Z0-9_]+)", PlacementState._put_inventory),
    ("GET", f"/resource_providers/{_UUID}/usages", PlacementState._usages),
    ("GET", f"/resource_providers/{_UUID}/allocations", PlacementState._holders),
    ("GET", f"/resource_providers/{_UUID}/traits", PlacementState._traits),
    ("PUT", f"/resource_providers/{_UUID}/traits", PlacementState._put_traits),
    ("PUT", "/traits/([A-Z0-9_]+)", PlacementState._make_trait),
    ("GET", f"/allocations/{_UUID}", PlacementState._allocation),
    ("PUT", f"/allocations/{_UUID}", PlacementState._put),
    ("DELETE", f"/allocations/{_UUID}", PlacementState._delete),
    ("POST", "/allocations", PlacementState._post),
    ("GET", "/usages", PlacementState._totals),
    ("GET", "/allocation_candidates", PlacementState._candidates),
]
