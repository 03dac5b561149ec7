"""Numbers as options take them: what is no number, or none that makes sense, is refused where it is written (exit code 2)."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

DIGITS = 15
"""Nobody means more."""


def whole(least: int = 0, most: int = 1_000_000_000) -> Callable[[str], int]:
    """A whole number in this range, both ends included."""

    def read(text: str) -> int:
        digits = text.strip().removeprefix("-")
        value = int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= DIGITS else None
        if value is None or not least <= value <= most:
            raise ArgumentTypeError(f"{text[:80]!r}: write a whole number from {least} to {most}")
        return value

    return read


def number(least: float = 0.0, most: float = 1e12, *, above: bool = False) -> Callable[[str], float]:
    """A number in this range, both ends included; ``above``: more than the least."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):  # NaN fails every comparison
            raise ArgumentTypeError(f"{text[:80]!r}: write a number {'above' if above else 'from'} {least:g}, {most:g} at most")
        return value

    return read


def exact(least: float = 0.0, most: float = 1e12, *, above: bool = False) -> Callable[[str], str]:
    """The same, and the text stays as it is: money is reckoned in decimals."""
    check = number(least, most, above=above)

    def read(text: str) -> str:
        check(text)
        return text.strip().replace("_", "")

    return read
