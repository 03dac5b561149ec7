"""Throughput of the baseline forecaster beside bare sorting of the same numbers, and beside a loop of numpy quantiles.

python bench/forecast.py [SERIES [BINS]]
"""

import sys
import time

import numpy as np

from foreshape_controller.forecast.baseline import WINDOW, Baseline
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.history import History


def history(series: int, bins: int) -> History:
    """Gamma noise with 10 % gaps: the shape of real VMs, without their data."""
    rng = np.random.default_rng(1)
    mean = rng.gamma(2, 0.5, (series, bins)).astype(np.float32)
    mean[rng.random(mean.shape) < 0.1] = np.nan
    names = tuple(f"vm{i}" for i in range(series))
    ones, zeros = np.ones_like(mean), np.zeros_like(mean)
    return History("cpu", names, 0, mean, mean * 1.85, ones, zeros, np.full(series, 4, np.float32), np.zeros(series))


def seconds(what, rounds: int = 3) -> float:
    """CPU seconds of the fastest of some rounds."""
    took = []
    for _ in range(rounds):
        start = time.process_time()
        what()
        took.append(time.process_time() - start)
    return min(took)


def main(series: int = 1000, bins: int = 576) -> None:
    past = history(series, bins)
    ours = seconds(lambda: Baseline().predict(past, past.until))
    sorting = seconds(lambda: np.sort(past.mean, axis=1))
    few = past.mean[:50, -WINDOW:]
    looped = seconds(lambda: [np.nanquantile(row, LEVELS) for row in few], 1) * series / 50
    print(f"{series} series of {bins} bins: {ours:.3f} CPU-s, {series / ours:,.0f} series per CPU-s")
    print(f"ratio to one bare sort of the same numbers ({sorting * 1e3:.0f} ms): {ours / sorting:.1f}")
    print(f"ratio to one nanquantile per series in a loop ({looped:.2f} s, window quantiles only): {ours / looped:.2f}")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
