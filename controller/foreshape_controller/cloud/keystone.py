"""Keystone: who we are, and what projects are called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foreshape_controller.cloud.call import Service


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

    def me(self) -> Me:
        """From the token; nothing is asked while one is valid."""
        return self._me()

    def projects(self) -> Mapping[str, str]:
        """Id -> name, of those that the role may see."""
        rows = (self._service.ask("GET", "/projects") or {}).get("projects", ())
        return {str(row["id"]): str(row.get("name", "")) for row in rows if isinstance(row, dict) and "id" in row}
