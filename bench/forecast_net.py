"""What the net costs: windows per CPU-second with features, training, memory; each beside a rival or a limit of the same run.

python bench/forecast_net.py [--servers 500] [--days 60] [--cpu-minutes 5] [--encoder mlp] [--series 30000] [--model FOLDER]

The fleet is generated (daily and hourly habits, noise, 10 % gaps): good for costs, it says nothing of accuracy.
With --model nothing is trained. One thread.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from foreshape_controller.forecast import features
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.net import Net, TrainSettings, train
from foreshape_controller.model.history import BINS_PER_DAY, History

SPEED_GOAL, TRAINING_GOAL, MEMORY_GOAL = 8000, 5.0, 1.5
START = 1_699_999_800
MEASURED = 4096
"""Windows in a measurement of speed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--cpu-minutes", type=float, default=5.0)
    parser.add_argument("--encoder", default="mlp")
    parser.add_argument("--series", type=int, default=30_000)
    parser.add_argument("--model", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if asked.model is None:
            asked.model = Path(folder)
            training(asked)
        net = Net.load(asked.model)
    speed(net)
    memory(net, asked.series)


def fleet(servers: int, bins: int, resource_: str = "cpu", seed: int = 1) -> History:
    """Servers with habits of a day and of an hour; cores, MiB or KiB/s does not matter here."""
    rng = np.random.default_rng(seed)
    when = np.arange(bins)[None, :] / BINS_PER_DAY
    level, swing = rng.lognormal(-2, 1.2, (servers, 1)), rng.uniform(0, 1, (servers, 1))
    mean = level * (1 + swing * np.sin(2 * np.pi * (when + rng.random((servers, 1)))))
    mean = (mean * rng.lognormal(0, 0.4, (servers, bins))).astype(np.float32)
    mean[:, ::12] *= rng.uniform(1, 4, (servers, 1)).astype(np.float32)
    mean[rng.random(mean.shape, np.float32) < 0.1] = np.nan
    sold = np.full(servers, np.nan if resource_ in ("disk", "net") else 4.0, np.float32)
    none = np.zeros_like(mean)
    names = tuple(f"vm{i}" for i in range(servers))
    return History(resource_, names, START, mean, mean, none, none, sold, np.full(servers, float(START)))


def training(asked: argparse.Namespace) -> None:
    """All four resources, into ``asked.model``."""
    bins = asked.days * BINS_PER_DAY
    histories = {r: fleet(asked.servers, bins, r, seed) for seed, r in enumerate(("cpu", "memory", "disk", "net"))}
    settings = TrainSettings(cpu_minutes=asked.cpu_minutes, encoder=asked.encoder)
    before = time.process_time()
    report = train(histories, asked.model, settings, lambda _: None)
    minutes = (time.process_time() - before) / 60
    print(f"training, {asked.servers} servers x {asked.days} days x 4 resources, {asked.encoder}: {minutes:.2f} CPU-minutes all told,")
    print(f"  {report.steps} steps, {report.windows:,} windows, {report.windows / report.cpu_s:,.0f} windows per CPU-s", end="; ")
    print(f"goal <= {TRAINING_GOAL}: {verdict(minutes <= TRAINING_GOAL)}; peak {peak_gib():.2f} GiB")


def speed(net: Net) -> None:
    """Windows per CPU-second, 1 thread: features and net, its parts, the baseline, a bare sort and the bare products."""
    past = fleet(MEASURED, features.WEEK)
    windows = features.cut(past, past.until, slice(0, 1024))
    parameters = sum(p.numel() for p in net.grown.parameters())
    ours = per_second(lambda: net.predict(past, past.until))
    parts = {
        "features alone": per_second(lambda: features.compute(windows), 1024),
        "the baseline": per_second(lambda: Baseline().predict(past, past.until)),
        "limit: one sort of each two days": per_second(lambda: np.sort(past.mean[:, -features.NEAR :], axis=1)),
        "limit: one bare product as large as the net's": per_second(product(parameters), 1024),
    }
    print(f"{ours:,.0f} windows per CPU-s with features ({parameters:,} parameters); goal {SPEED_GOAL:,}: {verdict(ours >= SPEED_GOAL)}")
    for name, rate in parts.items():
        print(f"  {name}: {rate:,.0f} per CPU-s, ours is {ours / rate:.3f} of it")


def product(parameters: int) -> Callable[[], torch.Tensor]:
    """A matrix product with as many multiplications a row as the net has parameters."""
    side = int(parameters**0.5)
    one, two = torch.randn(1024, side), torch.randn(side, side)
    return lambda: one @ two


def per_second(what: Callable[[], object], count: int = MEASURED, rounds: int = 4) -> float:
    """Of the fastest round, in CPU time."""
    took = []
    for _ in range(rounds):
        start = time.process_time()
        what()
        took.append(time.process_time() - start)
    return count / max(min(took), 1e-9)


def memory(net: Net, series: int) -> None:
    """Peak of one resource's forecast, beside what its two days of history and its forecast take by themselves."""
    past = fleet(series, 2 * BINS_PER_DAY)
    before = peak_gib()
    start = time.process_time()
    said = net.predict(past, past.until)
    took = time.process_time() - start
    own = (past.mean.nbytes + past.censored.nbytes + said.steps.nbytes + said.half_hours.nbytes) / 2**30
    print(f"{series:,} series of 48 h: {took:.1f} CPU-s, peak {peak_gib():.2f} GiB", end=" ")
    print(f"(before it {before:.2f}; history and forecast alone {own:.2f}); goal <= {MEMORY_GOAL}: {verdict(peak_gib() <= MEMORY_GOAL)}")


def peak_gib() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def verdict(met: bool) -> str:
    """In a word."""
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
