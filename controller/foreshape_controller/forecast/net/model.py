"""The net: mixes the fans of simple methods and corrects them, for every head at once.

Every quantile is Σ weight·fan + correction·width of that mixture, weights by softmax. At the start all corrections are 0 and
the net is an average of simple methods; it can only learn to be better, and where it has nothing to say it stays near them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foreshape_controller.forecast.features import HALF_HOUR, Features
from foreshape_controller.forecast.net.encoders import encoder
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS

STEP_FANS, DAY_FANS, PEAK_FANS = 8, 8, 4
"""Fans that are mixed: three experts of the next half-hour, four spans' quantiles and USUAL; these five, the last value, yesterday
and last week; three of past peaks and USUAL."""

USUAL = (-1.0, -0.9, -0.8, -0.6, -0.4, -0.2, 0.0, 0.3, 0.7, 1.2, 2.0, 3.0, 6.0)
"""A fan in units of the spread, for series too young to have one: what a few bins' own quantiles and errors lack is room."""

LOW, HIGH = LEVELS.index(0.1), LEVELS.index(0.9)

NARROWEST = 0.05
"""A correction is measured by the mixture's own width, but at least this share of the series' spread."""


@dataclass(frozen=True)
class Shape:
    """What must be known to build a net again."""

    encoder: str
    table: int
    """Columns of the table of features."""
    width: int = 384
    blocks: int = 2
    dropout: float = 0.2
    forget: float = 0.1
    """Share of the inputs that training hides each time: what is known of a series is told in many ways, none may be leant on."""


class Batch(NamedTuple):
    """Features as tensors (shapes as there)."""

    sequence: Tensor
    table: Tensor
    levels: Tensor
    steps: Tensor
    courses: Tensor
    daily: Tensor
    peak30m: Tensor
    peak24h: Tensor

    @classmethod
    def of(cls, features: Features, device: torch.device) -> "Batch":
        return cls(*(torch.from_numpy(getattr(features, name)).to(device) for name in cls._fields))


class Heads(NamedTuple):
    """Quantiles in the windows' own units: [n, 6, 13], [n, 48, 13], [n, 13], [n, 13]; they may cross."""

    steps: Tensor
    half_hours: Tensor
    peak30m: Tensor
    peak24h: Tensor


class Block(nn.Module):
    """A residual layer."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.drop(self.down(torch.relu(self.up(self.norm(x)))))
        return y


class QuantileNet(nn.Module):
    """Global: one net for all series and resources."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.forget = nn.Dropout(shape.forget)
        self.table = nn.Linear(shape.table, shape.width)
        self.encoder = encoder(shape.encoder, shape.width)
        self.blocks = nn.Sequential(*(Block(shape.width, shape.dropout) for _ in range(shape.blocks)))
        self.norm, self.drop = nn.LayerNorm(shape.width), nn.Dropout(shape.dropout)
        q = len(LEVELS)
        self.steps = _head(shape.width, HALF_HOUR * (q + STEP_FANS))
        self.half_hours = _head(shape.width, HALF_HOURS * (q + DAY_FANS))
        self.peaks = _head(shape.width, 2 * (q + PEAK_FANS))
        self.usual: Tensor
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)

    def forward(self, batch: Batch) -> Heads:
        read = self.table(self.forget(batch.table)) + self.encoder(self.forget(batch.sequence))
        hidden = torch.relu(self.norm(self.blocks(self.drop(torch.relu(read)))))
        n, q = len(hidden), len(LEVELS)
        steps = self.steps(hidden).view(n, HALF_HOUR, q + STEP_FANS)
        day = self.half_hours(hidden).view(n, HALF_HOURS, q + DAY_FANS)
        peaks = self.peaks(hidden).view(n, 2, q + PEAK_FANS)
        usual = self.usual.expand(n, 1, q)
        levels = torch.cat([batch.levels, usual], dim=1)
        fans = torch.cat([batch.steps, levels[:, None].expand(-1, HALF_HOUR, -1, -1)], dim=2)
        tops = torch.stack([torch.cat([peak, usual], dim=1) for peak in (batch.peak30m, batch.peak24h)], dim=1)
        mixed = _mixed(peaks[..., q:], tops), peaks[..., :q]
        both = _corrected(*mixed)
        return Heads(
            _corrected(_mixed(steps[..., q:], fans), steps[..., :q]),
            _corrected(_day(day[..., q:], levels, batch), day[..., :q]),
            both[:, 0],
            both[:, 1],
        )


def _head(width: int, outputs: int) -> nn.Linear:
    """A last layer that starts silent."""
    head = nn.Linear(width, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _mixed(logits: Tensor, fans: Tensor) -> Tensor:
    """[n, k, j] and [n, k, j, q] → [n, k, q]."""
    return (torch.softmax(logits, dim=-1).unsqueeze(-1) * fans).sum(dim=2)


def _day(logits: Tensor, levels: Tensor, batch: Batch) -> Tensor:
    """[n, 48, q]: quantiles of the past and of the next half-hour, and yesterday's and last week's course with a day's usual change."""
    weight = torch.softmax(logits, dim=-1)
    fans = torch.cat([levels, batch.steps[:, -1, :1], batch.daily[:, None]], dim=1)
    shares = torch.cat([weight[..., :6], weight[..., 6:].sum(dim=-1, keepdim=True)], dim=-1)
    course = (weight[..., 6:] * batch.courses).sum(dim=-1, keepdim=True)
    return torch.bmm(shares, fans) + course


def _corrected(fan: Tensor, correction: Tensor) -> Tensor:
    width = (fan[..., HIGH] - fan[..., LOW]).detach().clamp_min(0) + NARROWEST
    return fan + correction * width.unsqueeze(-1)
