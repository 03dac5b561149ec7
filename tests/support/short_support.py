"""A host that has too little for two servers, as the plan sees it; and forecasts of chosen quantiles."""

from dataclasses import replace

import numpy as np

from decide_support import NOW, history, host, sample, server, size_of
from foreshape_controller.decide.known import Known, Limits
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.server import ClusterView

FAN = np.linspace(1.0, 3.0, len(LEVELS))


def forecast(resource="cpu", series=("host:hv1",), level=2.0, later=None):
    """All quantiles from level − 1 to level + 1; ``later``: [48] levels of the half-hours."""
    n = len(series)
    levels = np.broadcast_to(np.asarray(level, float), n)
    near = np.stack([FAN + x - 2.0 for x in levels]).astype(np.float32)
    half = np.repeat(near[:, None], 48, axis=1) if later is None else (FAN - 2.0 + np.asarray(later)[:, None])[None].repeat(n, 0)
    return Forecast(
        resource=resource,
        series=tuple(series),
        origin=int(NOW),
        steps=np.repeat(near[:, None], 6, axis=1),
        half_hours=half.astype(np.float32),
        peak30m=near,
        peak24h=near,
        source=("baseline",) * n,
        reason=("its own past",) * n,
        age_s=np.full(n, 1e6),
    )


TIERS = load_tiers(
    "tiers: {high: {throttle_order: 3, migrate_order: 3, weight: 4}, low: {throttle_order: 1, migrate_order: 1, weight: 1}}\n"
)


def crowded(**changes):
    """Two servers of 4 cores on a host that may hand out 6: the high one has 1 and wants 4, the low one has and uses 4."""
    high = server("high", tier="high", allocation=size_of(1.0, 4096), last=sample("high", cpu=1.0))
    low = server("low", tier="low", last=sample("low", cpu=4.0))
    servers, names = (high, low), ("high", "low")
    fans = {
        r: replace(forecast(r, names, 4.0), peak30m=np.full((2, 13), 4.0 if r == "cpu" else 3900.0, np.float32)) for r in ("cpu", "memory")
    }
    past = {r: history([[4.0] * 300] * 2, resource=r, names=names) for r in ("cpu", "memory")}
    words = {"forecasts": fans, "histories": past, "tiers": TIERS, "limits": Limits(cpu_ratio=6 / 16)} | changes
    return ClusterView(at=NOW, hosts=(host(),), servers=servers), Known(**words)
