"""Nova's and Placement's JSON in our terms. A row that makes no sense is named and left out."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from foreshape_controller.model.cloud import Allocation, CloudFlavor, CloudMigration, CloudServer, Inventory, Resources, ServerGroup

Row = Mapping[str, Any]
T = TypeVar("T")


def each(rows: object, what: str, parse: Callable[[Row], T], tell: Callable[[str], None]) -> Iterable[T]:
    """Every row that makes sense; ``tell`` hears about the others."""
    if not isinstance(rows, list):
        tell(f"no list of {what}s in the answer")
        return
    for row in rows:
        try:
            yield parse(row)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            name = row.get("id") or row.get("uuid") if isinstance(row, dict) else row
            tell(f"{what} {name} makes no sense and is left out: {type(e).__name__} {e}")


def instant(text: object) -> float:
    """Epoch seconds of Nova's times, which are UTC whether they say so or not; 0 for none."""
    if not text:
        return 0.0
    moment = datetime.fromisoformat(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def server(row: Row) -> CloudServer:
    """Of ``GET /servers/detail``. In an unreachable cell Nova knows little more than the id, and says status UNKNOWN."""
    image = row.get("image")
    return CloudServer(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        project=str(row.get("tenant_id") or ""),
        user=str(row.get("user_id") or ""),
        host=str(row.get("OS-EXT-SRV-ATTR:host") or ""),
        flavor=flavor(row.get("flavor") or {}),
        image=str(image.get("id", "")) if isinstance(image, dict) else "",
        az=str(row.get("OS-EXT-AZ:availability_zone") or ""),
        asked_az=str(row.get("pinned_availability_zone") or ""),
        status=str(row.get("status") or ""),
        vm_state=str(row.get("OS-EXT-STS:vm_state") or ""),
        task_state=str(row.get("OS-EXT-STS:task_state") or ""),
        power_state=int(row.get("OS-EXT-STS:power_state") or 0),
        groups=tuple(row.get("server_groups") or ()),
        created=instant(row.get("created")),
        locked=bool(row.get("locked")),
        metadata={str(k): str(v) for k, v in (row.get("metadata") or {}).items()},
    )


def flavor(row: Row) -> CloudFlavor:
    """As a server's answer embeds it (``original_name``)."""
    return CloudFlavor(
        name=str(row.get("original_name") or ""),
        vcpus=int(row.get("vcpus") or 0),
        ram=int(row.get("ram") or 0),
        disk=int(row.get("disk") or 0),
        ephemeral=int(row.get("ephemeral") or row.get("OS-FLV-EXT-DATA:ephemeral") or 0),
        swap=int(row.get("swap") or 0),
        extra_specs={str(k): str(v) for k, v in (row.get("extra_specs") or {}).items()},
    )


def group(row: Row) -> ServerGroup:
    """Of ``GET /os-server-groups``, from 2.64 on."""
    return ServerGroup(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        project=str(row.get("project_id") or ""),
        policy=str(row["policy"]),
        members=tuple(str(m) for m in row.get("members") or ()),
        most_per_host=int((row.get("rules") or {}).get("max_server_per_host", 1)),
    )


def migration(row: Row) -> CloudMigration:
    """Of ``GET /os-migrations`` (``instance_uuid``) or of a server's own (``server_uuid``, with progress)."""
    return CloudMigration(
        uuid=str(row["uuid"]),
        id=int(row["id"]),
        server=str(row.get("server_uuid") or row["instance_uuid"]),
        source=str(row.get("source_compute") or ""),
        target=str(row.get("dest_compute") or ""),
        status=str(row["status"]),
        kind=str(row.get("migration_type") or "live-migration"),
        memory_total=_count(row, "memory_total_bytes"),
        memory_processed=_count(row, "memory_processed_bytes"),
        memory_remaining=_count(row, "memory_remaining_bytes"),
        disk_total=_count(row, "disk_total_bytes"),
        disk_processed=_count(row, "disk_processed_bytes"),
        disk_remaining=_count(row, "disk_remaining_bytes"),
        started=instant(row.get("created_at")),
        updated=instant(row.get("updated_at")),
    )


def _count(row: Row, key: str) -> int | None:
    value = row.get(key)
    return None if value is None else int(value)


def inventories(body: Row) -> Mapping[str, Inventory]:
    """Of ``GET /resource_providers/{uuid}/inventories``."""
    return {
        name: Inventory(
            total=int(row["total"]),
            reserved=int(row.get("reserved", 0)),
            ratio=float(row.get("allocation_ratio", 1.0)),
            min_unit=int(row.get("min_unit", 1)),
            max_unit=int(row.get("max_unit", row["total"])),
            step=int(row.get("step_size", 1)),
        )
        for name, row in body["inventories"].items()
    }


def summary(row: Row) -> tuple[Resources, frozenset[str]]:
    """Usages and traits of a provider, of ``provider_summaries``."""
    return {str(k): int(v["used"]) for k, v in row["resources"].items()}, frozenset(row["traits"])


def held(body: Row) -> Mapping[str, Resources]:
    """By provider (or by consumer, seen from a provider), of Placement's ``allocations``."""
    return {str(who): {str(k): int(v) for k, v in share["resources"].items()} for who, share in body["allocations"].items()}


def allocation(consumer: str, body: Row) -> Allocation:
    """Of ``GET /allocations/{consumer}``; of a consumer that does not exist Placement says only that it holds nothing."""
    return Allocation(
        consumer=consumer,
        type=str(body.get("consumer_type") or "unknown"),
        project=str(body.get("project_id") or ""),
        user=str(body.get("user_id") or ""),
        held=held(body),
        generation=body.get("consumer_generation"),
    )


def is_id(text: str) -> bool:
    """Whether it is a UUID as services write them."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
