"""Forecasts that wait for their future, many series in a row, and what came of them, added up.

Stored: amounts on a logarithmic scale of 16 bits, code = round(2500 · ln(1 + amount / 0.001)), as differences from level to level,
deflated. Reading gives each amount back to within 0.02 % (and 0.001 of a core, MiB or KiB/s counts as such); 0 stays 0, the order of
quantiles is kept, and what is larger than 2.4e8 is cut to that.

A row is deleted in the transaction that writes its scores: a forecast is scored once, whenever the controller is killed. Space is
therefore what is *waiting*: half-hour peaks 30 minutes, whole forecasts a day. ``bytes_per_day`` gives the figures.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, func, insert, select

from foreshape_controller.errors import Invalid
from foreshape_controller.model.history import Floats
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import archive, scores

UNIT = 0.001
SCALE = 2500.0
NOTHING = 65535
"""Code of NaN."""
MOST = 65534

ROWS_AT_ONCE = 20
"""Archive rows that one transaction settles: reports wait that long (a few milliseconds)."""

Sums: TypeAlias = Mapping[str, float | Sequence[float]]
"""Numbers that add up: amounts, or one amount per level."""


@dataclass(frozen=True, order=True)
class Key:
    """Whose sums they are."""

    origin: int
    resource: str
    stratum: str
    head: str
    predictor: str


@dataclass(frozen=True, eq=False)
class Waiting:
    """A part of a forecast whose future is not over, for n series. ``parts``: head → [n, ...] amounts."""

    resource: str
    origin: int
    due: int
    """Epoch seconds when all of its future is over."""
    step_s: int
    predictor: str
    series: tuple[str, ...]
    strata: tuple[str, ...]
    """Of each series, as it was when the forecast was made."""
    parts: Mapping[str, Floats]
    id: int = 0


class Archive:
    """``put`` when a forecast is made, ``due`` and ``settle`` when its future is over, ``totals`` for those who ask how it went."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put_scores = db.upsert(scores, ["origin", "resource", "stratum", "head", "predictor"])

    # --- waiting ---

    def put(self, *waiting: Waiting) -> None:
        """Keep these until they are settled."""
        rows = [
            {
                "resource": w.resource,
                "origin": w.origin,
                "due": w.due,
                "step_s": w.step_s,
                "predictor": w.predictor,
                "data": pack(w.series, w.strata, w.parts),
            }
            for w in waiting
        ]
        if rows:
            with self._db.write() as conn:
                conn.execute(insert(archive), rows)

    def due(self, now: float, limit: int = ROWS_AT_ONCE) -> tuple[Waiting, ...]:
        """The oldest of those whose future is over. A row that cannot be read (a damaged file) is dropped, as if it had no future."""
        with self._db.read() as conn:
            rows = conn.execute(select(archive).where(archive.c.due <= now).order_by(archive.c.due, archive.c.id).limit(limit)).all()
        read = {r.id: _read(r) for r in rows}
        lost = [i for i, w in read.items() if w is None]
        if lost:
            self.settle(lost, {})
        return tuple(w for w in read.values() if w is not None)

    def newest(self, resource: str) -> int | None:
        """Origin of the newest forecast that waits or was scored; None where there is none."""
        with self._db.read() as conn:
            found = [conn.execute(select(func.max(t.c.origin)).where(t.c.resource == resource)).scalar() for t in (archive, scores)]
        known = [int(o) for o in found if o is not None]
        return max(known) if known else None

    def backlog(self) -> int:
        """Rows that wait."""
        with self._db.read() as conn:
            return int(conn.execute(select(func.count()).select_from(archive)).scalar_one())

    # --- settled ---

    def settle(self, ids: Sequence[int], sums: Mapping[Key, Sums]) -> bool:
        """Add the sums and delete the rows, both or neither. False: some row was gone already, and nothing was done."""
        with self._db.write() as conn:
            return self.settle_in(conn, ids, sums)

    def settle_in(self, conn: Connection, ids: Sequence[int], sums: Mapping[Key, Sums]) -> bool:
        """The same, inside a transaction under way."""
        there = conn.execute(select(func.count()).select_from(archive).where(archive.c.id.in_(list(ids)))).scalar_one()
        if there != len(set(ids)):
            return False
        conn.execute(delete(archive).where(archive.c.id.in_(list(ids))))
        self._add(conn, sums)
        return True

    def _add(self, conn: Connection, sums: Mapping[Key, Sums]) -> None:
        for key, new in sums.items():
            match = [getattr(scores.c, name) == getattr(key, name) for name in ("origin", "resource", "stratum", "head", "predictor")]
            old = conn.execute(select(scores.c.data).where(*match)).scalar()
            total = added(json.loads(old), new) if old else new
            data = json.dumps({name: _plain(v) for name, v in total.items()}).encode()
            self._put_scores.run(conn, [(key.origin, key.resource, key.stratum, key.head, key.predictor, data)])

    def scored(self, since: float, until: float) -> list[tuple[Key, Sums]]:
        """Sums of forecasts made in [since, until), oldest first."""
        query = select(scores).where(scores.c.origin >= since, scores.c.origin < until).order_by(scores.c.origin)
        with self._db.read() as conn:
            return [(Key(r.origin, r.resource, r.stratum, r.head, r.predictor), json.loads(r.data)) for r in conn.execute(query)]

    def tidy(self, before: float) -> int:
        """Delete scores of forecasts made before then, and forecasts so old that their future cannot be read any more."""
        with self._db.write() as conn:
            gone = conn.execute(delete(scores).where(scores.c.origin < before)).rowcount
            return int(gone) + int(conn.execute(delete(archive).where(archive.c.origin < before)).rowcount)


def added(a: Sums, b: Sums) -> Sums:
    """Sum by name; a name that one side lacks counts as nothing there."""
    return {name: _plus(a.get(name), b.get(name)) for name in {**a, **b}}


def _plus(a: float | Sequence[float] | None, b: float | Sequence[float] | None) -> float | Sequence[float]:
    if a is None or b is None:
        known = a if b is None else b
        assert known is not None
        return known
    total: Any = np.add(a, b).tolist()
    return total  # type: ignore[no-any-return]


def _plain(value: float | Sequence[float]) -> Any:
    return np.asarray(value, np.float64).tolist()


# --- bytes ---


def pack(series: Sequence[str], strata: Sequence[str], parts: Mapping[str, Floats]) -> bytes:
    """Names and amounts as bytes (see module)."""
    n = len(series)
    if len(strata) != n or any(len(p) != n for p in parts.values()):
        raise Invalid(f"an archived forecast needs one stratum and one row of each part per series: {n} series")
    names = sorted(set(strata))
    index = [names.index(s) for s in strata]
    head = {"series": list(series), "names": names, "strata": index, "parts": {k: list(p.shape[1:]) for k, p in parts.items()}}
    body = b"".join(_differences(encode(p)).tobytes() for p in parts.values())
    return zlib.compress(json.dumps(head, separators=(",", ":")).encode() + b"\n" + body, 6)


def unpack(data: bytes) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Floats]]:
    """Series, strata and parts. ValueError for bytes that are not such a row."""
    text, _, body = zlib.decompress(data).partition(b"\n")
    head = json.loads(text)
    n, at, parts = len(head["series"]), 0, {}
    for name, shape in head["parts"].items():
        count = n * int(np.prod(shape))
        codes = np.frombuffer(body, "<u2", count, at).reshape(n, *shape)
        parts[name] = decode(np.cumsum(codes, axis=-1, dtype=np.uint16))
        at += 2 * count
    return tuple(head["series"]), tuple(head["names"][i] for i in head["strata"]), parts


def encode(amounts: Floats) -> npt.NDArray[np.uint16]:
    """Amounts as codes; NaN has one of its own."""
    known = np.isfinite(amounts)
    code = np.rint(SCALE * np.log1p(np.where(known, np.maximum(amounts, 0), 0).astype(np.float64) / UNIT))
    return np.where(known, np.minimum(code, MOST), NOTHING).astype("<u2")


def decode(codes: npt.NDArray[np.uint16]) -> Floats:
    """Codes as amounts."""
    amounts = UNIT * np.expm1(codes.astype(np.float64) / SCALE)
    return np.where(codes == NOTHING, np.nan, amounts).astype(np.float32)


def _differences(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """From level to level, modulo 2^16: small numbers deflate better, and ``cumsum`` undoes it."""
    return np.diff(codes, axis=-1, prepend=np.uint16(0)).astype("<u2")


def _read(row: Any) -> Waiting | None:
    try:
        series, strata, parts = unpack(row.data)
    except (ValueError, KeyError, IndexError, zlib.error):
        return None
    return Waiting(row.resource, row.origin, row.due, row.step_s, row.predictor, series, strata, parts, row.id)
