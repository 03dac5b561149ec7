"""What may be hung into the making of forecasts: preparers change what they are made from, adjusters change them before they
are saved, observers look at them after.

All are handed to ``Foresight`` when it is made (``main.build``: the tuples of ``Hooks``), in the order in which they are to
speak. One that needs the store is made with it. They are called once for each batch of series of one
resource, servers and groups apart (``model.kinds.kind_of`` tells them from each other); one that raises is logged and
passed over, the forecast goes on as it was.
"""

from dataclasses import dataclass
from typing import Protocol

from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.model.history import History
from foreshape_controller.model.server import ClusterView


@dataclass(frozen=True, eq=False)
class Scene:
    """What a batch of forecasts was made from. Nothing of it may be changed in place."""

    view: ClusterView
    now: float
    history: History
    """Same series in the same order as the forecast, same resource; bins up to ``now``, the last one still filling."""
    groups: Groups
    """Of every server in the view, and its members the other way round."""


class Preparer(Protocol):
    """A change of what a forecast is made from: known effects of past events taken off, bins of anomalies masked."""

    def __call__(self, scene: Scene) -> History:
        """The history to forecast from: same series, same order, same bins. The scene's own stays as it was measured."""


class Adjuster(Protocol):
    """A change of a forecast before it is saved: an event that is known to come, a margin that an anomaly asks for."""

    def __call__(self, forecast: Forecast, scene: Scene) -> Forecast:
        """The same series in the same order; quantiles that do not cross, nothing negative, no NaN."""


class Observer(Protocol):
    """Somebody who wants to know: the archive of forecasts, the findings of anomaly detection."""

    def __call__(self, forecast: Forecast, scene: Scene) -> None:
        """After the forecast was adjusted and saved."""


@dataclass(frozen=True)
class Hooks:
    """Everything that is hung in."""

    preparers: tuple[Preparer, ...] = ()
    adjusters: tuple[Adjuster, ...] = ()
    observers: tuple[Observer, ...] = ()
