"""After each reading of the cloud: its word on every server is joined to what agents report, and kept before anybody decides by it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from foreshape_controller.decide.join import Joined, join
from foreshape_controller.errors import CloudError
from foreshape_controller.log import get_logger
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.model.brakes import Brakes
from foreshape_controller.model.cloud import CloudView
from foreshape_controller.model.cloud_word import CloudWord, Reported
from foreshape_controller.model.server import ClusterView

_log = get_logger("cloud")

NAMES_EVERY_S = 300.0
"""Keystone is asked for names of projects no more often than this, while some are not known."""
NEEDED = ("servers",)
"""What has to be read in full before anything is taken from a server: whether Nova is at work on it."""

Names = Callable[[], Mapping[str, str]]
"""Names of projects by id. Raises CloudError."""


class _Words(Protocol):
    def all(self) -> dict[str, CloudWord]: ...

    def save(self, changed: Sequence[CloudWord]) -> None: ...

    def forget(self, servers: Sequence[str]) -> None: ...


class _Inventory(Protocol):
    def reported(self, now: float) -> tuple[Reported, ...]: ...

    def heard(self, now: float) -> tuple[str, ...]: ...


class JoinStore(Protocol):
    """The part of the store that joining needs."""

    @property
    def cloud_servers(self) -> _Words: ...

    @property
    def inventory(self) -> _Inventory: ...


class Joining:
    """``take`` each reading; ``joined`` for people; ``braked`` for the plan. Safe from any thread."""

    def __init__(self, store: JoinStore, names: Names) -> None:
        self._store, self._names = store, names
        self._words: dict[str, CloudWord] | None = None
        self._projects: Mapping[str, str] = {}
        self._asked_at = float("-inf")
        self._told: tuple[str, ...] = ()
        self.joined = Joined()
        """The newest; empty before the first reading."""
        self.names_trouble = ""
        """Why names of projects are not known; empty: they are."""

    def take(self, view: CloudView, now: float) -> Joined:
        """Join, and keep what changed. Raises Unavailable: then nothing was kept, and the next reading tells it again."""
        before = self._store.cloud_servers.all() if self._words is None else self._words
        self._ask_names(view, now)
        inventory = self._store.inventory
        joined = join(view, inventory.reported(now), inventory.heard(now), self._projects, before)
        self._keep(joined.words, before)
        self.joined = joined
        self._tell(joined)
        return joined

    def refresh(self) -> None:
        """Begin the next time with what the store has: old words were deleted there."""
        self._words = None

    def _keep(self, words: Mapping[str, CloudWord], before: Mapping[str, CloudWord]) -> None:
        self._store.cloud_servers.save([w for server, w in words.items() if before.get(server) != w])
        left = [server for server in before if server not in words]
        self._store.cloud_servers.forget(left)
        self._words = dict(words)

    def _ask_names(self, view: CloudView, now: float) -> None:
        """All names at once, when a project is new; the others go on without."""
        unknown = {s.project for s in view.servers.values()} - self._projects.keys()
        if not unknown or now - self._asked_at < NAMES_EVERY_S:
            return
        self._asked_at = now
        try:
            self._projects, self.names_trouble = self._names(), ""
        except CloudError as e:
            self.names_trouble = f"names of projects: {e}"

    def _tell(self, joined: Joined) -> None:
        """A change of what does not fit together is logged once."""
        told = (*(f"{host}: {why}" for host, why in sorted(joined.strange_hosts.items())), *(f"guest {s}" for s in joined.strangers))
        if told != self._told:
            self._told = told
            log = _log.warning if told else _log.info
            log("agents and Nova do not agree" if told else "agents and Nova agree", unknown_to_nova=told[:20], more=max(0, len(told) - 20))


def braked(brakes: Callable[[ClusterView, float], Brakes], watch: CloudWatch) -> Callable[[ClusterView, float], Brakes]:
    """The plan's brakes; while nobody knows what Nova does, nobody is shrunk, and nobody grows beyond what was sold."""

    def with_cloud(view: ClusterView, now: float) -> Brakes:
        found, why = brakes(view, now), watch.why_not(now, NEEDED)
        if not why:
            return found
        stopped: dict[str, str] = {s.id: why for s in view.servers}
        return replace(
            found, stopped=stopped | dict(found.stopped), notes=(*found.notes, f"{why}: nothing is taken from anybody meanwhile")
        )

    return with_cloud
