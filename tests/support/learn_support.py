"""Words for tests of learning: deployments with a past, forecasts with a known future, models without torch, a scripted apprentice."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import insert

from foreshape_controller.config import LearnSettings, Settings
from foreshape_controller.forecast import folder
from foreshape_controller.forecast.calibrate import Calibration
from foreshape_controller.forecast.chain import Champion
from foreshape_controller.model.forecast import HEADS, LEVELS, Forecast
from foreshape_controller.model.history import BINS_PER_DAY, History
from foreshape_controller.model.learned import Corrections, Gate, Manifest, Verdict
from foreshape_controller.store import Store
from foreshape_controller.store import chunks as packed
from foreshape_controller.store.schema import chunks, series
from store_support import DAY, T0, card, report, sample, settings

STEP = 300
SPREAD = np.linspace(0.5, 1.5, len(LEVELS)).astype(np.float32)
"""A fan's levels by its median."""


def deployment(store: Store, servers: int, days: int, until: float = T0, *, seed: int = 7) -> tuple[str, ...]:
    """Servers of hv1 with ``days`` of past up to ``until``: a day's rhythm, an hour's rhythm and noise; every bin fully covered."""
    names = tuple(f"vm-{i}" for i in range(servers))
    store.history.append(report(1, until, [sample(n) for n in names], cards=[card(n, cores=4.0, mib=8192.0) for n in names]), until)
    first = int((until - days * DAY) // DAY)
    with store.db.write() as conn:
        conn.execute(series.update().values(first_seen=first * DAY))
        rows = conn.execute(series.select()).all()
        data = [row for i, r in enumerate(rows) if r.name in names for row in _days(r.id, first, days, np.random.default_rng(seed + i))]
        conn.execute(insert(chunks), data)
        conn.exec_driver_sql("UPDATE servers SET first_seen = ?", (first * DAY,))
    return names


def _days(number: int, first: int, days: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Packed days of one series: cores, MiB, KiB/s."""
    t = np.arange(days * BINS_PER_DAY)
    phase, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 2.0)
    saw = (t + rng.integers(12)) % 12 < 3  # a job every hour, for a quarter of it
    day = 1 + 0.5 * np.sin(2 * np.pi * t / BINS_PER_DAY + phase)
    cpu = np.clip(level * day * (1 + 0.8 * saw) * rng.lognormal(0, 0.05, len(t)), 0.01, 3.9)
    memory = np.clip(2000 * level * (1 + 0.2 * day) * rng.lognormal(0, 0.02, len(t)), 64, 8000)
    flow = np.clip(500 * level * day * (1 + 3 * saw) * rng.lognormal(0, 0.2, len(t)), 0, None)
    return [
        row
        for d in range(days)
        for row in _day(number, first + d, *(x[d * BINS_PER_DAY : (d + 1) * BINS_PER_DAY] for x in (cpu, memory, flow)))
    ]


def _day(number: int, day: int, cpu: np.ndarray, memory: np.ndarray, flow: np.ndarray) -> list[dict[str, object]]:
    full = np.full(BINS_PER_DAY, float(STEP))
    told = {
        "cpu": {"cpu_s": full, "cpu_sum": cpu * full, "cpu_used_sum": cpu * full, "cpu_max": cpu * 1.1},
        "memory": {"memory_s": full, "memory_sum": memory * full, "memory_max": memory * 1.01},
        "io": {"io_s": full, "disk_kib": flow * full, "net_kib": flow / 2 * full, "disk_max": flow * 1.5, "net_max": flow},
    }
    return [
        {"series": number, "part": part, "day": day, "data": packed.pack(part, {**packed.empty(part), **columns})}
        for part, columns in told.items()
    ]


def learning(folder: Path, **options: object) -> Settings:
    """A controller that keeps everything in one folder and learns there."""
    base = settings(folder)
    return replace(base, learn=LearnSettings(**{"models_dir": str(folder / "models"), **options}))  # type: ignore[arg-type]


def flat(names: Sequence[str], origin: int, *, median: float = 1.0, resource: str = "cpu", source: str = "baseline") -> Forecast:
    """The same fan everywhere: half to one and a half of the median."""
    n, fan = len(names), (median * SPREAD).astype(np.float32)
    shapes = {"steps": (n, 6, 13), "half_hours": (n, 48, 13), "peak30m": (n, 13), "peak24h": (n, 13)}
    heads = {h: np.broadcast_to(fan, shapes[h]).copy() for h in HEADS}
    return Forecast(
        resource=resource, series=tuple(names), origin=origin, source=(source,) * n, reason=("",) * n, age_s=np.full(n, 7 * DAY), **heads
    )


class Scripted:
    """A predictor that always says the same fan."""

    name = "scripted"

    def __init__(self, median: float = 1.0, source: str = "net") -> None:
        self.median, self.source = median, source

    def predict(self, history: History, origin: int) -> Forecast:
        found = flat(history.series, origin, median=self.median, resource=history.resource, source=self.source)
        return replace(found, step_s=history.step_s)


WON = Gate(
    tuple(
        Verdict(
            resource=r,
            stratum=s,
            head=h,
            weight=1.0,
            reason="won by 10 % (in 100 % of resamples)",
            ratio=0.9,
            windows=500,
            series=50,
            days=7,
        )
        for r in ("cpu", "memory", "disk", "net")
        for s in ("idle", "mid", "busy", "young", "flow", "group")
        for h in HEADS
    )
)
"""A gate that lets the net speak everywhere."""


def a_model(models_dir: Path, name: str, *, median: float = 1.0, made_at: float = T0, gate: Gate = WON) -> Path:
    """A model folder with papers that are in order; its "net" is ``Scripted(median)``, read by ``load_scripted``."""
    work = models_dir / f".{name}.work"
    work.mkdir(parents=True)
    (work / "net.npz").write_bytes(json.dumps({"median": median}).encode())
    manifest = Manifest(
        format=1,
        id=name,
        made_at=made_at,
        code_version="test",
        step_s=STEP,
        first=int(T0 - 10 * DAY),
        until=int(T0),
        taught_until=int(T0 - 3 * DAY),
        series={"cpu": 20},
        seed=0,
        encoder="mlp",
        cpu_seconds=1.0,
    )
    folder.save(work, models_dir / name, manifest, gate, Calibration(Corrections()))
    return models_dir / name


def load_scripted(path: Path) -> Champion:
    """As ``chain.load_champion``, without torch."""
    manifest = folder.verify(path)
    net = Scripted(**json.loads((path / "net.npz").read_bytes()))
    return Champion(manifest.id, net, folder.read_gate(path), folder.read_calibration(path))


def apprentice_command(folder: Path, *lines: Mapping[str, object], then: str = "") -> tuple[str, ...]:
    """A training process that says these lines (``{model}`` is filled in) and then does ``then``: its job is in ``job``."""
    script = folder / f"apprentice-{len(list(folder.glob('apprentice-*')))}.py"
    said = "".join(f"tell({dict(line)!r})\n" for line in lines)
    script.write_text(
        "import json, os, sys, time, pathlib\n"
        "job = json.loads(sys.stdin.buffer.readline())\n"
        "def tell(d):\n"
        "    d = {k: v.format(**job) if isinstance(v, str) else v for k, v in d.items()}\n"
        "    print(json.dumps(d), flush=True)\n"
        f"{said}{then}\n"
    )
    return (sys.executable, str(script))


def told(**fields: object) -> dict[str, object]:
    """A line as the real process would write it."""
    from foreshape_controller.loops.worker import Told  # noqa: PLC0415

    return msgspec.to_builtins(Told(**fields))  # type: ignore[arg-type,no-any-return]
