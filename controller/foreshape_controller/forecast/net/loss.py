"""What training minimises: the pinball loss of every quantile of every head, on known bins only."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foreshape_controller.forecast.features import HALF_HOUR, Features
from foreshape_controller.forecast.net.model import Heads
from foreshape_controller.forecast.quantiles import window_max
from foreshape_controller.model.forecast import HALF_HOURS, HEADS, LEVELS
from foreshape_controller.model.history import Floats

BINS_EACH = 2
"""Bins of each half-hour that are asked about in one step of training."""

Future = tuple[Floats, Floats, npt.NDArray[np.bool_]]

HEAD_WEIGHT = (2.0, 1.0, 1.0, 0.5)
"""Of HEADS."""

TAIL_WEIGHT = 2.0
"""The 1 % and 99 % quantiles of the peaks count for more: sizes are read there, and their gradients are rare."""

KNOWN_OF_WINDOW = 0.9
"""Share of a window's bins that must be known before its peak is."""


class Targets(NamedTuple):
    """The future of n windows in their own units; NaN where unknown. least: only a lower bound (the demand ran into its cap)."""

    steps: Tensor
    """[n, 6, 1]"""
    half_hours: Tensor
    """[n, 48, BINS_EACH]: some bins of each."""
    peak30m: Tensor
    """[n, 1]"""
    peak24h: Tensor
    least: tuple[Tensor, ...]
    days_differ: Tensor
    """[n]: 1 + how far past days' largest peak is above their median."""


def targets(future: Future, features: Features, rng: np.random.Generator, device: torch.device) -> Targets:
    """From means and maxima [n, 288] and which of them are only bounds."""
    middle, spread = features.middle[:, None], features.spread[:, None]
    mean, peak = ((values - middle) / spread for values in future[:2])
    pick = np.arange(HALF_HOURS)[:, None] * HALF_HOUR + rng.integers(0, HALF_HOUR, (len(mean), HALF_HOURS, BINS_EACH))
    flat = pick.reshape(len(mean), -1)
    bounds = future[2]
    values = (
        mean[:, :HALF_HOUR, None],
        np.take_along_axis(mean, flat, 1).reshape(pick.shape),
        top(peak[:, :HALF_HOUR]),
        top(peak),
    )
    least = (
        bounds[:, :HALF_HOUR, None],
        np.take_along_axis(bounds, flat, 1).reshape(pick.shape),
        bounds[:, :HALF_HOUR].any(axis=1, keepdims=True),
        bounds.any(axis=1, keepdims=True),
    )
    days = features.peak24h[:, 0]
    differ = 1 + days[:, -1] - days[:, LEVELS.index(0.5)]
    tensors = [torch.from_numpy(np.ascontiguousarray(v, np.float32)).to(device) for v in values]
    return Targets(
        tensors[0],
        tensors[1],
        tensors[2],
        tensors[3],
        tuple(torch.from_numpy(b).to(device) for b in least),
        torch.from_numpy(differ).to(device),
    )


def top(peak: Floats) -> Floats:
    """[n, 1]: the largest of each row; NaN where too little of it is known."""
    largest = window_max(peak, peak.shape[1])
    return np.where(np.isfinite(peak).mean(axis=1, keepdims=True) > KNOWN_OF_WINDOW, largest, np.nan).astype(np.float32)


def losses(heads: Heads, wanted: Targets) -> Tensor:
    """[n, 4]: mean pinball loss of each window and head; 0 where nothing of it is known.

    The day's peak is measured by the spread of past days' peaks: in units of two quiet days one spike would outweigh all else.
    """
    parts = []
    for name, least in zip(HEADS, wanted.least, strict=True):
        fan, value = getattr(heads, name), getattr(wanted, name)
        weight = _tails(fan.device) if name.startswith("peak") else torch.ones(len(LEVELS), device=fan.device)
        unit = wanted.days_differ if name == "peak24h" else 1.0
        parts.append(_pinball(fan, value, least, weight).flatten(1).sum(dim=1) / _count(value) / unit)
    return torch.stack(parts, dim=1)


def total(parts: Tensor, weight: Tensor) -> Tensor:
    """One number: heads and windows weighted."""
    per_head: Tensor = (parts * weight[:, None]).mean(dim=0)
    return (per_head * torch.tensor(HEAD_WEIGHT, device=parts.device)).sum()


def _count(value: Tensor) -> Tensor:
    return torch.isfinite(value).flatten(1).sum(dim=1).clamp_min(1)


def _pinball(fan: Tensor, value: Tensor, least: Tensor, weight: Tensor) -> Tensor:
    """[n, ..., bins]: fan [n, ..., 13] against value [n, ..., bins]. A value that is only a bound blames nobody above it."""
    levels = torch.tensor(LEVELS, device=fan.device)
    known = torch.isfinite(value)
    error = torch.nan_to_num(value).unsqueeze(-1) - fan.unsqueeze(-2)
    under = torch.relu(error) * levels
    over = torch.relu(-error) * (1 - levels) * (~least).unsqueeze(-1)
    pinball: Tensor = ((under + over) * weight).mean(dim=-1) * known
    return pinball


def _tails(device: torch.device) -> Tensor:
    weight = torch.ones(len(LEVELS), device=device)
    weight[0] = weight[-1] = TAIL_WEIGHT
    return weight
