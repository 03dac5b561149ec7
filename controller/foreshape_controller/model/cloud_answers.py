"""What operators are told about the cloud: ``GET /v1/cloud`` and ``/v1/cloud/rights``."""

from collections.abc import Mapping

import msgspec

from foreshape_controller.model.cloud_word import Difference, Misplaced


class ServiceAnswer(msgspec.Struct, kw_only=True):
    """One service."""

    name: str
    least: str
    most: str
    """Microversions; empty: it has none."""
    asked_at: str
    """The one that we name; empty: none."""
    release: str
    """OpenStack's release that speaks these versions, where only one does or two do."""
    answer_ms: float | None
    clock_ahead_s: float | None
    """Against the controller's clock, to about half a second."""
    trouble: str


class MisplacedAnswer(msgspec.Struct, kw_only=True):
    """A guest that runs on another host than the one where Nova has its server."""

    server: str
    name: str
    nova: str
    """Where Nova has it."""
    runs: str
    """Where an agent sees it run."""
    since: float
    reservation: str
    """What holds the room that it uses; empty: nothing does."""
    said: str
    """Of its room."""
    remedy: str
    """What an operator must do, and not do."""

    @classmethod
    def of(cls, m: Misplaced) -> "MisplacedAnswer":
        return cls(
            server=m.server,
            name=m.name,
            nova=m.nova,
            runs=m.runs,
            since=m.since,
            reservation=m.reservation,
            said=m.said,
            remedy=m.remedy,
        )


class CloudAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/cloud``: what is known of the configured cloud, how far that can be acted on, and what does not fit together."""

    name: str
    region: str
    services: tuple[ServiceAnswer, ...]
    user: str
    project: str
    """Whose the controller's reservations are."""
    roles: tuple[str, ...]
    read_at: float | None
    """None: not yet."""
    age_s: float | None
    missing: tuple[str, ...]
    """Parts that could not be read in full."""
    problems: tuple[str, ...]
    why_not: str
    """Why nothing is reserved or migrated now; empty: it may be, where the mode says act."""
    why_not_sizes: str
    """Why nobody is shrunk now, nor grown beyond what was sold; empty: they are."""
    hosts: int
    hosts_up: int
    hosts_enabled: int
    hosts_with_agent: int
    silent_hosts: tuple[str, ...]
    """Of Nova's, without an agent."""
    strange_hosts: Mapping[str, str]
    """Agents whose host Nova does not have, and what to do about each."""
    servers: int
    reported: int
    """Of these, by an agent."""
    unreported: tuple[str, ...]
    """Running ones that the agent of their host does not report: ids."""
    unwatched: int
    """On hosts without an agent."""
    strangers: tuple[str, ...]
    """Guests that agents report and Nova does not have: ids."""
    elsewhere: tuple[MisplacedAnswer, ...]
    """Guests that run where Nova does not have them: an operator has to act."""
    held: Mapping[str, int]
    """Reported servers that are left alone because of what Nova says, by reason code."""
    differing: Mapping[str, int]
    """How often an agent and Nova say something different, by what; Nova's word holds."""
    differences: tuple[Difference, ...]
    """Some of them."""
    migrations: int
    """Under way, ours and others'."""
    groups: int
    consumers: Mapping[str, int]
    """Of our project in Placement, by type."""
