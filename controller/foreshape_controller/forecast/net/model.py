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

STEP_FANS, DAY_FANS, PEAK_FANS = 9, 8, 5
"""Fans that are mixed: four experts of the next half-hour, four spans' quantiles and USUAL; these five, the last value, yesterday
and last week; four of past peaks and USUAL."""

DAY_NARROWER = 2
"""The day's part is so much narrower, and forgets more: a fleet has hundreds of half-hours for each day, and what is rare is soon
learned by heart. It does not read bin by bin either."""

USUAL = (-1.0, -0.9, -0.8, -0.6, -0.4, -0.2, 0.0, 0.3, 0.7, 1.2, 2.0, 3.0, 6.0)
"""A fan in units of the spread, for series too young to have one: what a few bins' own quantiles and errors lack is room."""

LOW, HIGH = LEVELS.index(0.1), LEVELS.index(0.9)

MOST_LOGIT = 15.0

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


class Trunk(nn.Module):
    """Reads inputs into one vector: [n, width]."""

    def __init__(self, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, dropout) for _ in range(blocks)))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, read: Tensor) -> Tensor:
        return torch.relu(self.norm(self.blocks(self.drop(torch.relu(read)))))


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
    """Global: one net for all series and resources. Two parts with nothing in common, the next half-hour and the day (``day_…``)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        q = len(LEVELS)
        self.forget, self.day_forget = nn.Dropout(shape.forget), nn.Dropout(2 * shape.forget)
        self.table = nn.Linear(shape.table, shape.width)
        self.encoder = encoder(shape.encoder, shape.width)
        self.trunk = Trunk(shape.width, shape.blocks, shape.dropout)
        self.steps = _head(shape.width, HALF_HOUR * (q + STEP_FANS))
        self.peak30m = _head(shape.width, q + PEAK_FANS)
        narrow = shape.width // DAY_NARROWER
        self.day_table = nn.Linear(shape.table, narrow)
        self.day_trunk = Trunk(narrow, 1, min(0.5, 1.5 * shape.dropout))
        self.day_half_hours = _head(narrow, HALF_HOURS * (q + DAY_FANS))
        self.day_peak = _head(narrow, q + PEAK_FANS)
        self.usual: Tensor
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)

    def forward(self, batch: Batch) -> Heads:
        usual = self.usual.expand(len(batch.table), 1, len(LEVELS))
        levels = torch.cat([batch.levels, usual], dim=1)
        soon = self.trunk(self.table(self.forget(batch.table)) + self.encoder(self.forget(batch.sequence)))
        later = self.day_trunk(self.day_table(self.day_forget(batch.table)))
        fans = torch.cat([batch.steps, levels[:, None].expand(-1, HALF_HOUR, -1, -1)], dim=2)
        day, correction = _split(self.day_half_hours(later), HALF_HOURS, DAY_FANS)
        return Heads(
            _said(self.steps(soon), fans),
            _corrected(_day(day, levels, batch), correction),
            _said(self.peak30m(soon), torch.cat([batch.peak30m, usual], dim=1)[:, None])[:, 0],
            _said(self.day_peak(later), torch.cat([batch.peak24h, usual], dim=1)[:, None])[:, 0],
        )


def _split(said: Tensor, parts: int, fans: int) -> tuple[Tensor, Tensor]:
    """A head's weights [n, parts, fans] and corrections [n, parts, 13]."""
    shaped = said.view(len(said), parts, len(LEVELS) + fans)
    return shaped[..., :fans], shaped[..., fans:]


def _said(said: Tensor, fans: Tensor) -> Tensor:
    """[n, k, 13] from a head's words and the fans [n, k, j, 13] that it mixes."""
    weights, correction = _split(said, fans.shape[1], fans.shape[2])
    return _corrected(_mixed(weights, fans), correction)


def _head(width: int, outputs: int) -> nn.Linear:
    """A last layer that starts silent."""
    head = nn.Linear(width, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _mixed(logits: Tensor, fans: Tensor) -> Tensor:
    """[n, k, j] and [n, k, j, q] → [n, k, q]."""
    return (_shares(logits).unsqueeze(-1) * fans).sum(dim=2)


def _shares(logits: Tensor) -> Tensor:
    """Softmax over the last axis; torch's own is slow over so short an axis."""
    parts = torch.exp(logits.clamp(-MOST_LOGIT, MOST_LOGIT))
    return parts / parts.sum(dim=-1, keepdim=True)


def _day(logits: Tensor, levels: Tensor, batch: Batch) -> Tensor:
    """[n, 48, q]: quantiles of the past and of the next half-hour, and yesterday's and last week's course with a day's usual change."""
    weight = _shares(logits)
    fans = torch.cat([levels, batch.steps[:, -1, :1], batch.daily[:, None]], dim=1)
    shares = torch.cat([weight[..., :6], weight[..., 6:].sum(dim=-1, keepdim=True)], dim=-1)
    course = (weight[..., 6:] * batch.courses).sum(dim=-1, keepdim=True)
    return torch.bmm(shares, fans) + course


def _corrected(fan: Tensor, correction: Tensor) -> Tensor:
    width = (fan[..., HIGH] - fan[..., LOW]).detach().clamp_min(0) + NARROWEST
    return fan + correction * width.unsqueeze(-1)
