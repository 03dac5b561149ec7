"""The cloud's word on one server, as it is kept: where it differs from what an agent read in the domain's XML, it wins."""

import msgspec

NOT_IN_NOVA, ELSEWHERE, TASK, STATE, MOVING, LOCKED, EVACUATED = (
    "not_in_nova",
    "elsewhere",
    "nova_task",
    "nova_state",
    "nova_migration",
    "locked",
    "forced_down",
)
"""Reason codes of servers that are left alone because of what Nova says."""

WAITING = (NOT_IN_NOVA, "Nova's list of servers was not read since it was first reported: until then it may be anybody's guest")
"""Of a server on which there is no word yet."""


class CloudWord(msgspec.Struct, frozen=True, kw_only=True):
    """One server. The words are None where Nova never had it: then the agent's hold."""

    server: str
    project: str | None = None
    project_name: str | None = None
    name: str | None = None
    flavor: str | None = None
    image: str | None = None
    az: str | None = None
    """Of the host it is on."""
    aggregates: tuple[str, ...] = ()
    """Likewise."""
    held_code: str = ""
    """Why nothing may be changed on it, and in a sentence; empty: it may."""
    held: str = ""
    gone_at: float | None = None
    """When Nova was first seen without it; None: it has it, or never had."""


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's word on one server: read in its domain."""

    server: str
    host: str
    name: str = ""
    """Nova's display name, where the domain has one."""
    project: str = ""
    flavor: str = ""
    image: str = ""
    cores: float = 0.0
    """Sold, cores and MiB."""
    mib: float = 0.0


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an agent and Nova say differently of one server."""

    server: str
    name: str
    what: str
    """``project``, ``name``, ``flavor``, ``image``, ``size``, ``host``."""
    agent: str
    nova: str


class Misplaced(msgspec.Struct, frozen=True, kw_only=True):
    """A guest that runs on another host than the one where Nova has its server."""

    server: str
    name: str
    nova: str
    """Where Nova has it."""
    runs: str
    """Where an agent sees it run."""
    since: float
    reservation: str = ""
    """What holds the room that it uses; empty: nothing does."""
    said: str = ""
    """Of its room."""

    @property
    def told(self) -> str:
        return f"it runs on {self.runs}, as the agent there reports, and Nova has it on {self.nova}"

    @property
    def remedy(self) -> str:
        """What an operator must do, and not do."""
        return (
            f"do not start, reboot, migrate or evacuate it with Nova, which would start a second copy on {self.nova}, perhaps from an "
            f"older disk; look with 'virsh list --all' on both hosts, then bring it back to {self.nova} while it runs, with "
            f"'virsh migrate' on {self.runs} and the flags that its disk asks for: docs/openstack.md, "
            "'A guest runs where Nova does not have it'"
        )
