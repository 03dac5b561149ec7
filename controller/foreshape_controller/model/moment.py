"""Instants as people say them."""

import re
from datetime import UTC, datetime

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)\s+ago")
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
LAST = 253402300799.0
"""End of the year 9999: what clocks and people can write."""


def read_moment(text: str, now: float) -> float:
    """Epoch seconds, ISO 8601 (UTC where no zone is said), or ``2h ago``. Raises ValueError with a sentence."""
    said = text.strip()
    found = _AGO.fullmatch(said)
    try:
        at = now - float(found[1]) * _UNITS[found[2]] if found else _written(said)
    except (ValueError, OverflowError):
        at = float("nan")
    if not 0 <= at <= LAST:  # NaN fails every comparison
        raise ValueError(f"{text[:80]!r} is no time: write 2026-11-21T14:30 (UTC), '2h ago', or seconds since the epoch")
    return at


def _written(said: str) -> float:
    try:
        return float(said)
    except ValueError:
        at = datetime.fromisoformat(said)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
