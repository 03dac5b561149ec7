"""What a cloud, and migrations under way, change in what the plan loop is told: one object between its sources and the cloud.

Without a configured cloud everything is passed on as it came, but for servers whose migration is not settled: those stay as they are
until somebody knows where they run.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.joining import braked
from foreshape_controller.loops.migrate import leased
from foreshape_controller.model.brakes import Brakes
from foreshape_controller.model.server import ClusterView

Halts: TypeAlias = Callable[[ClusterView, float], Mapping[str, tuple[str, str]]]
Brake: TypeAlias = Callable[[ClusterView, float], Brakes]


class Moves(Protocol):
    """The part of the store of migrations that is needed."""

    def open(self) -> Iterable[Any]: ...


class Clouded:
    """Wraps sources of the plan loop. Nothing is kept here."""

    def __init__(self, moves: Moves, cloud: CloudWork | None) -> None:
        self._moves, self._cloud = moves, cloud

    def halts(self, others: Halts) -> Halts:
        """Those of others, and servers that migrate."""
        return lambda view, now: {**others(view, now), **leased(self._moves.open())}

    def brakes(self, others: Brake) -> Brake:
        """Those of others; nothing is taken from anybody while nobody knows what Nova does."""
        return braked(others, self._cloud.watch) if self._cloud else others

    def needs(self, now: float) -> Any:
        """What selling needs on hosts, for the shortage report."""
        return self._cloud.selling.needs(now) if self._cloud else ()
