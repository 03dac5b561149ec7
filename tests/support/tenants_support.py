"""Tenants of a cloud without a cloud: tokens whose words say who has them.

``build(settings, clock, tokens=FakeTokens())``; then ``headers("p1", "member")`` is a member of project p1.
"""

from dataclasses import dataclass, field

from foreshape_controller.errors import Forbidden, Unauthenticated, Unavailable
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.login import Login


def headers(project: str, *roles: str) -> dict[str, str]:
    """A request of somebody in a project; ``system`` in place of a project is the whole system."""
    return {"X-Auth-Token": f"{project}:{','.join(roles)}"}


READER, MEMBER, ADMIN = headers("p1", "reader"), headers("p1", "member", "reader"), headers("p0", "admin", "member", "reader")
OTHER = headers("p2", "member", "reader")
SYSTEM_READER = headers("system", "reader")


@dataclass
class FakeTokens:
    """Keystone's part. ``revoked``: tokens that are worth nothing any more; ``down``: it does not answer."""

    revoked: set[str] = field(default_factory=set)
    down: bool = False
    asked: int = 0
    expires: float = 0.0
    accepted: set[str] = field(default_factory=set)
    second_factor: bool = False
    """Passwords alone do not do."""

    def familiar(self, token: str) -> bool:
        return token in self.accepted

    def known(self, token: str) -> Caller | None:
        return None

    def ask(self, token: str) -> Caller:
        self.asked += 1
        if self.down:
            raise Unavailable("Keystone does not answer")
        project, colon, roles = token.partition(":")
        if token in self.revoked or not colon:
            raise Unauthenticated("Keystone does not know this token")
        self.accepted.add(token)
        system = project == "system"
        return Caller(
            user=f"user-of-{project}",
            name=f"someone of {project}",
            project="" if system else project,
            project_name="" if system else f"name of {project}",
            roles=frozenset(filter(None, roles.split(","))),
            system=system,
            expires=self.expires,
        )

    def login(self, who: Login) -> tuple[str, Caller]:
        """The password of everybody is ``right``; a user's name are his roles, as ``member,reader``."""
        self.asked += 1
        if self.down:
            raise Unavailable("Keystone does not answer")
        if who.password != "right":
            raise Unauthenticated("Keystone refuses this user")
        if self.second_factor:
            raise Forbidden("Keystone asks for a second factor: use a token")
        token = f"{'system' if who.system else who.project}:{who.user}"
        return token, self.ask(token)
