"""Fine bins made coarse without a lie: means are weighed by what was measured, maxima stay maxima. Pure."""

import numpy as np

from foreshape_controller.model.history import Floats, History

STEPS = (1, 2, 3, 6, 12, 24, 48, 72, 144, 288)
"""Bins in one step: divisors of a day."""


def fitting(bins: int, most: int) -> int:
    """The fewest bins a step by which no more than ``most`` steps are left; a day's where none does."""
    return next((s for s in STEPS if -(-bins // s) <= most), STEPS[-1])


def weighed(values: Floats, weights: Floats, step: int) -> Floats:
    """[T / step] means; NaN where nothing is known. T is a multiple of ``step``."""
    v, w = values.reshape(-1, step), weights.reshape(-1, step)
    known = np.isfinite(v) & (w > 0)
    total = np.where(known, w, 0).sum(axis=1)
    shares = np.where(known, w, 0) / np.where(total > 0, total, 1)[:, None]
    mean: Floats = np.where(total > 0, (np.where(known, v, 0) * shares).sum(axis=1), np.nan)
    return mean


def largest(values: Floats, step: int) -> Floats:
    """[T / step]; NaN where nothing is known."""
    v = values.reshape(-1, step)
    known = np.isfinite(v)
    found: Floats = np.where(known.any(axis=1), np.where(known, v, -np.inf).max(axis=1), np.nan)
    return found


class Coarse:
    """One series of a history in steps of so many bins."""

    def __init__(self, history: History, step: int) -> None:
        cover = history.coverage[0]
        self.mean = weighed(history.mean[0], cover, step)
        self.max = largest(history.max[0], step)
        self.coverage: Floats = np.clip(np.where(np.isfinite(cover), cover, 0).reshape(-1, step).mean(axis=1), 0, 1)
        self.censored = weighed(history.censored[0], cover, step)
        self.allocated = np.full_like(self.mean, np.nan) if history.allocated is None else weighed(history.allocated[0], cover, step)
