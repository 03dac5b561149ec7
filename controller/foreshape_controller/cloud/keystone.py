"""Keystone: who we are, and what projects are called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foreshape_controller.cloud.call import Json, Service
from foreshape_controller.model.cloud import CloudService


@dataclass(frozen=True)
class Me:
    """Whose token we work with; our reservations belong to this project and user."""

    user: str
    project: str
    """Empty when the token is not for a project: reservations cannot be made with it."""
    roles: frozenset[str] = frozenset()


class Keystone:
    """The identity service. Everything raises CloudError."""

    def __init__(self, service: Service, me: Callable[[], Me]) -> None:
        self._service = service
        self._me = me

    def about(self) -> CloudService:
        """What it says of itself now."""
        return self._service.about()

    def status(self, method: str, path: str, body: Json = None) -> int:
        """The status of one answer, whatever it is: to find out what is allowed. Raises CloudError where there is no answer."""
        return self._service.status(method, path, microversion="", body=body)

    def me(self) -> Me:
        """From the token; nothing is asked while one is valid."""
        return self._me()

    def projects(self) -> Mapping[str, str]:
        """Id -> name, of those that the role may see."""
        rows = (self._service.ask("GET", "/projects") or {}).get("projects", ())
        return {str(row["id"]): str(row.get("name", "")) for row in rows if isinstance(row, dict) and "id" in row}
