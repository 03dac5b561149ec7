"""A forecast's fan as lines of text: bands by quantile, time from left to right. Pure."""

from collections.abc import Sequence

HEIGHT = 9
BANDS = ((0.05, 0.95, "░"), (0.2, 0.8, "▒"), (0.4, 0.6, "▓"))
"""Wider first; the inner band is written over it."""
MEDIAN = "━"


def quantile(levels: Sequence[float], values: Sequence[float], q: float) -> float:
    """The value at the level nearest to q: the API says which levels it has."""
    nearest = min(range(len(levels)), key=lambda i: abs(levels[i] - q))
    return values[nearest]


def fan(levels: Sequence[float], steps: Sequence[Sequence[float]], has: float | None = None) -> list[str]:
    """The chart's rows, largest amount on top; ``has`` draws the present allocation as a dotted line."""
    top = max([quantile(levels, s, 0.95) for s in steps] + ([has] if has else []) + [1e-9])
    grid = [[" "] * len(steps) for _ in range(HEIGHT)]
    if has is not None:
        grid[_row(has, top)] = ["·"] * len(steps)
    for column, values in enumerate(steps):
        _paint(grid, column, levels, values, top)
    return [f"{_label(top * (HEIGHT - i) / HEIGHT):>9} │{''.join(line)}" for i, line in enumerate(grid)]


BAR_LEGEND = "█ used   ▓ allocated   ░ sold   │ what the host has   (used / allocated / sold / host)"
WIDTH = 50


def bar(used: float, allocated: float, sold: float, has: float) -> str:
    """One line; its whole width is the largest of the four."""
    top = max(used, allocated, sold, has, 1e-9)
    upto = [round(WIDTH * amount / top) for amount in (used, allocated, sold)]
    cells = ["█" if i < upto[0] else "▓" if i < upto[1] else "░" if i < upto[2] else " " for i in range(WIDTH + 1)]
    cells[round(WIDTH * has / top)] = "│"
    return "".join(cells)


def _paint(grid: list[list[str]], column: int, levels: Sequence[float], values: Sequence[float], top: float) -> None:
    for low, high, ink in BANDS:
        for row in range(_row(quantile(levels, values, high), top), _row(quantile(levels, values, low), top) + 1):
            grid[row][column] = ink
    grid[_row(quantile(levels, values, 0.5), top)][column] = MEDIAN


def _row(amount: float, top: float) -> int:
    """Row of an amount, counted from the top."""
    return min(HEIGHT - 1, max(0, HEIGHT - 1 - int(amount / top * HEIGHT * (1 - 1e-9))))


def _label(amount: float) -> str:
    return f"{amount:.0f}" if amount >= 100 else f"{amount:.2f}"
