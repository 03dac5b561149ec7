"""The newest forecast of each series: what operators see as a fan, and what a restarted controller begins with."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, func, select

from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, PRIORS, Forecast
from foreshape_controller.model.history import Floats
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import forecasts

STEPS = 6
_Q = len(LEVELS)
_SHAPES = ((STEPS, _Q), (HALF_HOURS, _Q), (_Q,), (_Q,))
_ENDS = np.cumsum([int(np.prod(s)) for s in _SHAPES])


class Peaks(NamedTuple):
    """The newest peaks of n series: [n, 13] each."""

    rows: Mapping[str, int]
    peak30m: Floats
    peak24h: Floats
    spoken: npt.NDArray[np.bool_]
    """[n]: by what is known of the series itself, not by what its likes or its size say."""


class Fans(NamedTuple):
    """The newest half-hours of n series."""

    rows: Mapping[str, int]
    origin: "np.typing.NDArray[np.float64]"
    """[n] epoch seconds."""
    half_hours: "np.typing.NDArray[np.float64]"
    """[n, 48, 13]; the first is never below the peak of the next 30 minutes."""


class Forecasts:
    """One row per series and resource, replaced by each newer forecast."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(forecasts, ["series", "resource"])

    def save(self, forecast: Forecast) -> None:
        """Keep a forecast of many series."""
        f = forecast
        parts = (f.steps, f.half_hours, f.peak30m, f.peak24h)
        n = len(f.series)
        flat = np.concatenate([np.asarray(p, dtype="<f4").reshape(n, -1) for p in parts], axis=1) if n else np.zeros((0, 0))
        rows = [
            (name, f.resource, f.origin, f.step_s, f.source[i], f.reason[i], float(f.age_s[i]), flat[i].tobytes())
            for i, name in enumerate(f.series)
        ]
        with self._db.write() as conn:
            self._put.run(conn, rows)

    def tidy(self, before: float) -> int:
        """Forget series that nobody has forecast since: servers that left, groups that lost their last member. Returns how many."""
        with self._db.write() as conn:
            return int(conn.execute(delete(forecasts).where(forecasts.c.origin < before)).rowcount)

    def peaks(self, resource: str) -> Peaks:
        """The peaks of every series of a resource: what 30,000 servers are looked through by, without their whole forecasts."""
        head = 4 * int(_ENDS[1])
        tail = func.substr(forecasts.c.data, head + 1, 8 * _Q)
        query = select(forecasts.c.series, tail, forecasts.c.source).where(forecasts.c.resource == resource)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        flat = np.frombuffer(b"".join(data for _, data, _ in rows), "<f4").reshape(-1, 2, _Q)
        spoken = np.array([source not in PRIORS for _, _, source in rows], bool)
        return Peaks({series: i for i, (series, _, _) in enumerate(rows)}, flat[:, 0], flat[:, 1], spoken)

    def fans(self, resource: str, kind: str) -> Fans:
        """Of all groups of one kind (``host``)."""
        mine = forecasts.c.series.startswith(f"{kind}:", autoescape=True)
        query = select(forecasts.c.series, forecasts.c.origin, forecasts.c.data).where(forecasts.c.resource == resource, mine)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        flat = np.frombuffer(b"".join(r.data for r in rows), "<f4").reshape(-1, int(_ENDS[-1])).astype(np.float64)
        half_hours = flat[:, int(_ENDS[0]) : int(_ENDS[1])].reshape(-1, *_SHAPES[1])
        peak = flat[:, int(_ENDS[1]) : int(_ENDS[2])]
        half_hours[:, 0] = np.maximum(half_hours[:, 0], peak)
        return Fans({r.series: i for i, r in enumerate(rows)}, np.array([r.origin for r in rows], np.float64), half_hours)

    def latest(self, resource: str, series: str) -> Forecast | None:
        """The newest forecast of one series: a Forecast of one row."""
        query = select(forecasts).where(forecasts.c.series == series, forecasts.c.resource == resource)
        with self._db.read() as conn:
            row = conn.execute(query).one_or_none()
        return None if row is None else _forecast(row)

    def kind(self, resource: str, kind: str, since: float) -> Forecast | None:
        """The forecasts of all groups of one kind (``zone`` …) made since then, as one; None: there is none."""
        query = select(forecasts).where(
            forecasts.c.series.startswith(f"{kind}:", autoescape=True), forecasts.c.resource == resource, forecasts.c.origin >= since
        )
        with self._db.read() as conn:
            found = [_forecast(row) for row in conn.execute(query)]
        return Forecast.joined(found) if found else None


def _forecast(row: Any) -> Forecast:
    """A row of the table as a forecast of one row."""
    flat = np.split(np.frombuffer(row.data, "<f4"), _ENDS[:-1])
    steps, half_hours, peak30m, peak24h = (part.reshape(1, *shape) for part, shape in zip(flat, _SHAPES, strict=True))
    return Forecast(
        resource=row.resource,
        series=(row.series,),
        origin=row.origin,
        steps=steps,
        half_hours=half_hours,
        peak30m=peak30m,
        peak24h=peak24h,
        source=(row.source,),
        reason=(row.reason,),
        age_s=np.array([row.age_s]),
        step_s=row.step_s,
    )
