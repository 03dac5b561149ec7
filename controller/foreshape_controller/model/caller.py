"""Who asks the API, whatever proved it."""

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Of one request. Made by ``api.identity`` only."""

    user: str
    """Keystone's id of the user; ``operator`` for the local admin token."""
    name: str = ""
    project: str = ""
    """Id of the project that the token is for; empty: for none (the local admin token, a system-scoped one)."""
    project_name: str = ""
    roles: frozenset[str] = frozenset()
    system: bool = False
    """The token is for the whole system."""
    local: bool = False
    """The controller's own admin token."""
    everywhere: bool = False
    """May read every project's things; the policy says so. Otherwise ``project`` is all there is for him."""
    expires: float = 0.0
    """When the token ends, epoch seconds; 0: never."""

    def sees(self, project: str) -> bool:
        """Whether a thing of this project exists for him."""
        return self.everywhere or (bool(project) and project == self.project)

    @property
    def only(self) -> str | None:
        """The project that lists are limited to; None: all."""
        return None if self.everywhere else self.project


OPERATOR = Caller(user="operator", name="operator", local=True, everywhere=True)
"""Who has the local admin token."""
