"""Hosts, outlooks and forecasts for tests of selling what is free."""

import math

import numpy as np

from foreshape_controller.decide.sell import Outlook, SellRule, Terms
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.sale import Room, Sale

NOW = 1_700_000_100.0
HOUR = 3600.0
RULE = SellRule(quantile=0.99, full=0.9, lead_s=6 * HOUR, hold_s=24 * HOUR, dead_band=0.05)
TERMS = Terms(most=4.0, step=0.25, newcomer=0.5)


def room(used: int = 40, ratio: float = 1.0, total: int = 100, reserved: int = 0) -> Room:
    return Room(total=total, reserved=reserved, used=used, ratio=ratio)


def sale(ratio: float = 1.0, *, original: float | None = None, resource: str = "cpu", **more) -> Sale:
    told = {"host": "hv1", "resource": resource, "provider": "rp-hv1", "original": ratio if original is None else original, "ratio": ratio}
    return Sale(**{**told, **more})


def expects(soon: float, later: float | None = None, *, limit: float = 90.0) -> Outlook:
    """Demand within the lead time, and within the day."""
    return Outlook(NOW, soon, max(soon, later or 0.0), NOW + HOUR if soon > limit else math.inf)


def forecast(
    levels: list[float], *, series: str = "host:hv1", resource: str = "cpu", origin: float = NOW, age_h: float = 100.0
) -> Forecast:
    """Of each half-hour, without any spread; the last one goes on to the end of the day."""
    each = np.array([*levels, *[levels[-1]] * HALF_HOURS][:HALF_HOURS])
    flat = np.repeat(each[:, None], len(LEVELS), axis=1).astype(np.float32)
    return Forecast(
        resource=resource,
        series=(series,),
        origin=int(origin),
        steps=np.repeat(flat[:1, None], 6, axis=1),
        half_hours=flat[None],
        peak30m=flat[:1],
        peak24h=flat.max(axis=0)[None],
        source=("baseline",),
        reason=("",),
        age_s=np.array([age_h * HOUR]),
    )
