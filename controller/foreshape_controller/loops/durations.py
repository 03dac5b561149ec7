"""Sentences that differ by how long ago something was: told once, not with each tick."""

import re

_AGO = re.compile(r"\d+(?:\.\d+)?(?= ?(?:s|seconds?|min|minutes?|h|hours?|days?)\b)")


def same_but_for_time(one: str, other: str) -> bool:
    """Whether two sentences say the same, durations aside."""
    return one == other or _AGO.sub("#", one) == _AGO.sub("#", other)
