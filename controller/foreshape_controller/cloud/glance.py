"""Glance: which image a name means now."""

from dataclasses import dataclass

from foreshape_controller.cloud.call import Json, Service
from foreshape_controller.cloud.parse import is_id
from foreshape_controller.errors import Gone, Permanent


@dataclass(frozen=True)
class Image:
    """One that servers can be booted from."""

    id: str
    name: str


class Glance:
    """The image service. Everything raises CloudError."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def image(self, wanted: str) -> Image:
        """By id, or the newest active one of a name. Raises Gone: deleted, deactivated, or there is none of that name."""
        rows = [self._service.ask("GET", f"/images/{wanted}")] if is_id(wanted) else self._named(wanted)
        active = [r for r in rows if isinstance(r, dict) and r.get("status") == "active" and r.get("id")]
        if not active:
            raise Gone(f"Glance has no active image {wanted!r} that this project may use")
        return Image(str(active[0]["id"]), str(active[0].get("name") or ""))

    def _named(self, name: str) -> list[Json]:
        body = self._service.ask("GET", "/images", params={"name": name, "status": "active", "sort": "created_at:desc", "limit": "1"})
        rows = body.get("images") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise Permanent("Glance's answer has no list of images: is something else at its endpoint?")
        return rows
