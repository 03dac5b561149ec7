"""A whole cycle of forecasts: servers, hosts, projects and zones of four resources, reconciled. CPU and memory of one process.

python bench/foresight.py [SERVERS [HOSTS [PROJECTS]]]

Histories are made up in memory (gamma noise, 10 % gaps, 7 days), so that the store's share is left out; the peer is the predictor
alone on as many series, in the same run.
"""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import WATCHED, History
from foreshape_controller.model.server import ClusterView, Host, Server
from foreshape_wire.ids import HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory, Size
from foreshape_wire.reading import DomainState

BINS, STEP, NOW = 2016, 300, 1_700_000_100
GOAL_MIB = 1536


def _pool() -> np.ndarray:
    rng = np.random.default_rng(1)
    pool = rng.gamma(2, 0.5, (997, BINS)).astype(np.float32)
    pool[rng.random(pool.shape) < 0.1] = np.nan
    return pool


@dataclass
class Made:
    """A store that makes histories up and counts what it is given to keep."""

    step_s: int = STEP
    saved: int = 0
    pool: np.ndarray = field(default_factory=_pool)

    @property
    def history(self) -> "Made":
        return self

    forecasts = groups = history

    def departed(self, _now: float, _since: float) -> tuple[Member, ...]:
        return ()

    def read(self, of: str, names: Sequence[str], until: float, count: int) -> History:
        rows = np.array([hash((of, name)) % len(self.pool) for name in names], np.intp)
        mean = self.pool[rows, -count:] * np.array([20 if n.startswith("host:") else 1 for n in names], np.float32)[:, None]
        ones, zeros = np.ones_like(mean), np.zeros_like(mean)
        sold = np.full(len(names), 4, np.float32)
        start = int(until) - count * STEP
        return History(of, tuple(names), start, mean, mean * 1.85, ones, zeros, sold, np.full(len(names), float(start)), STEP, None, mean)

    def save(self, forecast: Forecast) -> None:
        self.saved += len(forecast.series)


def view(servers: int, hosts: int, projects: int) -> ClusterView:
    size = Size(Cores(4.0), Memory(4096.0))
    words = {"flavor": "m1", "image": "", "tier": "standard", "mode": Mode.ADVISE, "entitlement": size, "ceiling": size, "allocation": size}
    more = {"capabilities": (), "state": DomainState.RUNNING, "first_seen": 0.0, "last_seen": float(NOW)}
    there = [
        Server(id=ServerId(f"vm{i}"), host=HostName(f"hv{i % hosts}"), name=f"vm{i}", project=f"p{i % projects}", **words, **more)
        for i in range(servers)
    ]
    much = {"memory_total": Memory(1e6), "memory_available": Memory(5e5), "last_seen": float(NOW), "safe_mode": "", "mode": Mode.ADVISE}
    return ClusterView(at=NOW, hosts=tuple(Host(name=HostName(f"hv{h}"), cpus=128, **much) for h in range(hosts)), servers=tuple(there))


def main(servers: int = 7500, hosts: int = 375, projects: int = 700) -> int:
    store, cloud = Made(), view(servers, hosts, projects)
    foresight = Foresight(store, Baseline, ForesightSettings(history_bins=BINS))
    start = time.process_time()
    foresight.run_once(NOW, cloud)
    cycle, series = time.process_time() - start, servers * len(WATCHED)
    sample = store.read("cpu", [s.id for s in cloud.servers[:500]], NOW, BINS)
    start = time.process_time()
    Baseline().predict(sample, NOW)
    alone = (time.process_time() - start) / len(sample.series) * series
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{series} series of {servers} servers, {hosts} hosts, {projects} projects: {cycle:.1f} CPU-s, {store.saved} forecasts saved")
    print(f"ratio to the predictor alone on as many series ({alone:.1f} CPU-s): {cycle / alone:.2f}")
    print(f"memory of the process: {peak_mib:.0f} MiB at most, goal {GOAL_MIB}: {'kept' if peak_mib <= GOAL_MIB else 'MISSED'}")
    return 0 if peak_mib <= GOAL_MIB else 1


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:])))
