"""The net as a predictor: chunk by chunk, young series with their own net."""

from pathlib import Path
from typing import Self

import numpy as np
import torch

from foreshape_controller.forecast import features
from foreshape_controller.forecast.features import HALF_HOUR, Features, Windows
from foreshape_controller.forecast.net import weights
from foreshape_controller.forecast.net.model import Batch, QuantileNet
from foreshape_controller.forecast.net.sampler import YOUNG_BELOW
from foreshape_controller.forecast.net.train import FILES
from foreshape_controller.model.forecast import HALF_HOURS, HEADS, LEVELS, Forecast
from foreshape_controller.model.history import WATCHED, Floats, History

CHUNK = 512
"""Series read at once: what is made of them stays below 100 MiB, and near the processor."""

Fans = tuple[Floats, Floats, Floats, Floats]


class Net:
    """Predictor: a row it cannot speak for is NaN, and its source is empty (all rows of what it was not taught, as counts of servers)."""

    name = "net"

    def __init__(self, grown: QuantileNet, young: QuantileNet) -> None:
        self.grown, self.young = grown, young

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From the files that training wrote; ModelError if they cannot be used."""
        return cls(weights.load(folder / FILES["grown"]), weights.load(folder / FILES["young"]))

    def predict(self, history: History, origin: int) -> Forecast:
        """From the last week before ``origin``, or as much of it as is there."""
        count = len(history.series)
        fans = _empty(count)
        ages = np.zeros(count, np.intp)
        speaks = np.zeros(count, bool)
        for first in range(0, count if history.resource in WATCHED else 0, CHUNK):
            rows = slice(first, min(first + CHUNK, count))
            windows = features.cut(history, origin, rows)
            ages[rows], speaks[rows] = windows.age, windows.speaks
            for fan, said in zip(fans, self._said(windows), strict=True):
                fan[rows] = said
        sources = np.where(speaks, np.where(ages < YOUNG_BELOW, "net-young", "net"), "")
        return Forecast(
            resource=history.resource,
            series=history.series,
            origin=origin,
            steps=fans[0],
            half_hours=fans[1],
            peak30m=fans[2],
            peak24h=fans[3],
            source=tuple(sources.tolist()),
            reason=tuple(map(_reason, ages.tolist(), speaks.tolist())),
            age_s=np.maximum(0.0, origin - np.nan_to_num(history.first_seen, nan=float(origin))),
            step_s=history.step_s,
        )

    def _said(self, windows: Windows) -> Fans:
        """Fans of one chunk."""
        fans = _empty(len(windows))
        young = windows.age < YOUNG_BELOW
        for net, rows in ((self.grown, windows.speaks & ~young), (self.young, windows.speaks & young)):
            if rows.any():
                told = features.compute(windows.some(rows))
                for fan, said in zip(fans, _ask(net, told), strict=True):
                    fan[rows] = said
        return fans


def _ask(net: QuantileNet, told: Features) -> Fans:
    """One net's fans, in natural units, ordered, not negative."""
    with torch.inference_mode():
        heads = net(Batch.of(told, torch.device("cpu")))
    return tuple(_natural(getattr(heads, name).numpy(), told) for name in HEADS)  # type: ignore[return-value]


def _natural(fan: Floats, told: Features) -> Floats:
    shape = (-1,) + (1,) * (fan.ndim - 1)
    natural: Floats = np.sort(np.maximum(fan * told.spread.reshape(shape) + told.middle.reshape(shape), 0), axis=-1)
    return natural


def _empty(count: int) -> Fans:
    q = len(LEVELS)
    shapes = ((count, HALF_HOUR, q), (count, HALF_HOURS, q), (count, q), (count, q))
    return tuple(np.full(shape, np.nan, np.float32) for shape in shapes)  # type: ignore[return-value]


def _reason(age: int, speaks: bool) -> str:
    if not speaks:
        return "too little data of the last two days, or nothing that a net was taught"
    return f"learned from the fleet; {age} bins of own history" if age < YOUNG_BELOW else "learned from the fleet and own history"
