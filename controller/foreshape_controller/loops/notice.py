"""What the loop notices beside the forecasts: anomalies, which widen them while they last, and the class of each server's work.

Hung into the making of forecasts (``loops.scene``): ``adjust`` detects and widens, ``observe`` keeps what was found and, every
six hours, classifies. Detection looks at the history as it was measured, events of the calendar included: an announced rise is
no reason to trust the sensors less, but it is unusual, and the event's own entry says why.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from foreshape_controller.forecast import anomaly
from foreshape_controller.forecast.workload import classify
from foreshape_controller.loops.scene import Scene
from foreshape_controller.model.anomaly import Findings
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED, Floats, History
from foreshape_controller.model.kinds import kind_of
from foreshape_controller.model.workload import Workload

CLASSIFY_EVERY_S = 6 * 3600.0
OVERHEAD = "overhead:"
"""What a host uses beside its servers: a remainder of two measurements, not a sensor."""
CLASS_BINS = 14 * BINS_PER_DAY


class _Anomalies(Protocol):
    def save(self, findings: Findings, now: float) -> None: ...


class _Profiles(Protocol):
    def infer(self, found: Mapping[str, Workload], now: float) -> None: ...


class _Histories(Protocol):
    def read(self, resource: str, names: Sequence[str], until: float, count: int) -> History: ...

    def read_share(self, names: Sequence[str], until: float, count: int) -> Floats: ...


class Notice:
    """Holds nothing that is not in the store, but what was found in this round and when each server was last classified."""

    def __init__(
        self, anomalies: _Anomalies, profiles: _Profiles, histories: _Histories, alarms_per_month: float = anomaly.ALARMS_PER_MONTH
    ) -> None:
        self._anomalies, self._profiles, self._histories = anomalies, profiles, histories
        self._alarms_per_month = alarms_per_month
        self._found: dict[str, list[Findings]] = {}
        self._classed: dict[str, float] = {}

    def adjust(self, forecast: Forecast, scene: Scene) -> Forecast:
        """Margins widened where something is odd. Counts of servers are not judged: they are decisions, not loads."""
        if forecast.resource not in WATCHED:
            return forecast
        rows = [i for i, s in enumerate(scene.history.series) if not s.startswith(OVERHEAD)]
        findings = anomaly.detect(scene.history.pick(rows), alarms_per_month=self._alarms_per_month)
        self._found.setdefault(forecast.resource, []).append(findings)
        return anomaly.widen(forecast, findings)

    def observe(self, forecast: Forecast, scene: Scene) -> None:
        """Keep what was found since the last call; classify servers that are due."""
        for findings in self._found.pop(forecast.resource, ()):
            self._anomalies.save(findings, scene.now)
        if forecast.resource == "cpu":
            self._classify([s for s in forecast.series if kind_of(s) is None], scene.now)

    def _classify(self, servers: Sequence[str], now: float) -> None:
        due = [s for s in servers if not 0 <= now - self._classed.get(s, -np.inf) < CLASSIFY_EVERY_S]
        if not due:
            return
        cpu = self._histories.read("cpu", tuple(due), now, CLASS_BINS)
        share = self._histories.read_share(tuple(due), now, CLASS_BINS)
        self._profiles.infer(dict(zip(due, classify(cpu, _overall(share)), strict=True)), now)
        self._classed |= dict.fromkeys(due, now)


def _overall(share: Floats) -> Floats:
    """[n] mean of the bins in which the disk moved anything; NaN where it never did."""
    known = np.isfinite(share)
    count = known.sum(axis=1)
    mean: Floats = np.where(count > 0, np.where(known, share, 0).sum(axis=1) / np.maximum(count, 1), np.nan).astype(np.float32)
    return mean
