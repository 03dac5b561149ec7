"""Everything that works with a configured OpenStack: what the API asks and the scheduler runs. ``assemble.py`` puts it together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from foreshape_controller.config import Settings
from foreshape_controller.loops.census import EVERY_S, Census
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.loops.elsewhere import EVERY_S as ELSEWHERE_S
from foreshape_controller.loops.elsewhere import Elsewhere
from foreshape_controller.loops.joining import Joining
from foreshape_controller.loops.migrations import Migrations
from foreshape_controller.loops.pool import PoolWork
from foreshape_controller.loops.reserve import Reservations
from foreshape_controller.loops.reserve_foreseen import Foreseen
from foreshape_controller.loops.reserve_request import Requests
from foreshape_controller.loops.reshape import EVERY_S as SHAPES_S
from foreshape_controller.loops.sell import Selling
from foreshape_controller.model.cloud import Right

Job: TypeAlias = tuple[str, float, Callable[[float], object]]
"""Name, seconds between two runs, what is run with the time of day."""


@dataclass(frozen=True)
class CloudWork:
    """One part for each thing that is done with the cloud."""

    settings: Settings
    watch: CloudWatch
    joining: Joining
    census: Census
    rights: Callable[[], tuple[Right, ...]]
    """Looks which of its rights the controller has; sends requests that change nothing."""
    reservations: Reservations
    requests: Requests
    """Reservations that people ask for."""
    foreseen: Foreseen
    """Reservations that forecasts ask for."""
    migrations: Migrations
    elsewhere: Elsewhere
    selling: Selling
    pools: PoolWork

    def jobs(self) -> Iterator[Job]:
        """What the scheduler has to run."""
        yield "cloud", self.settings.cloud.interval_s, self.watch.run_once
        yield "census", EVERY_S, self.census.run_once
        yield "reservations", self.settings.reservations.interval_s, self.reservations.run_once
        if self.settings.reservations.plan_needs:
            yield "foreseen", self.settings.reservations.interval_s, self.foreseen.run_once
        yield "migrations", self.settings.migrations.interval_s, self.migrations.coordinator.run_once
        yield "elsewhere", ELSEWHERE_S, self.elsewhere.run_once
        yield "shapes", SHAPES_S, self.migrations.shapes.run_once
        yield "pools", self.settings.pools.interval_s, self.pools.run_once
        yield "sell", self.settings.sell.interval_s, self.selling.run_once
