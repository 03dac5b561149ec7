"""Charts as inline SVG: no script, no font, no address outside the page. Coordinates are in pixels of the view box."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from xml.sax.saxutils import escape, quoteattr

import numpy as np

WIDTH, HEIGHT = 760, 220

LEAST_TOP = 1e-12
"""What is smaller everywhere is drawn as nothing."""

LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 26
MOST_POINTS = 420
"""More points than pixels show nothing more."""

COLOURS = ("#0b6fa4", "#d9822b", "#8a8f98", "#4a9b5e", "#a05195", "#c0392b")


@dataclass(frozen=True)
class Series:
    """One line of a chart: y over x, in the order of x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    fill: bool = False
    dots: bool = False
    """Points without a line between."""


@dataclass(frozen=True)
class Axes:
    """What the axes say."""

    unit: str
    ticks: Sequence[tuple[float, str]]
    """Of x."""
    share: bool = False
    """y is a share, written in per cent."""
    log_x: bool = False


def thinned(values: np.ndarray, x: np.ndarray) -> tuple[list[float], list[float]]:
    """At most ``MOST_POINTS`` points, each the largest of its stretch; a stretch without data is left out."""
    width = max(1, ceil(len(values) / MOST_POINTS))
    count = ceil(len(values) / width)
    padded = np.full(count * width, np.nan)
    padded[: len(values)] = values
    blocks = padded.reshape(count, width)
    known = np.isfinite(blocks).any(axis=1)
    top = np.max(np.where(np.isfinite(blocks), blocks, -np.inf), axis=1)
    return x[::width][:count][known].tolist(), top[known].tolist()


def chart(title: str, series: Sequence[Series], axes: Axes) -> str:
    """Lines (or dots) over one x axis; y begins at 0."""
    scale = _Scale.of(series, axes)
    parts = [*_grid(scale, axes), *(part for k, s in enumerate(series) for part in _drawn(s, COLOURS[k % len(COLOURS)], scale))]
    legend = " ".join(
        f'<tspan fill="{COLOURS[k % len(COLOURS)]}">■</tspan><tspan> {escape(s.name)}   </tspan>' for k, s in enumerate(series)
    )
    return _figure(title, HEIGHT + 18, f'{"".join(parts)}<text x="{LEFT}" y="{HEIGHT + 13}">{legend}</text>')


def _figure(title: str, tall: float, drawn: str) -> str:
    view = f'<svg viewBox="0 0 {WIDTH} {tall}" role="img" aria-label={quoteattr(title)}>{drawn}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{view}</figure>"


def bars(title: str, named: Sequence[tuple[str, float]], unit: str) -> str:
    """Horizontal bars, one a name."""
    most = max((abs(v) for _, v in named), default=0.0) or 1.0
    rows = []
    for k, (name, value) in enumerate(named):
        y, width = 8 + 24 * k, max(1.0, abs(value) / most * (WIDTH - 330))
        rows.append(
            f'<text x="168" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="176" y="{y}" width="{width:.1f}" height="17" fill="{COLOURS[0 if k == 0 else 2]}"/>'
            f'<text x="{182 + width:.1f}" y="{y + 13}">{value:,.2f} {escape(unit)}</text>'
        )
    return _figure(title, 16 + 24 * len(named), "".join(rows))


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    top: float
    log: bool

    @classmethod
    def of(cls, series: Iterable[Series], axes: Axes) -> "_Scale":
        every = list(series)
        xs = [v for s in every for v in s.x] or [0.0, 1.0]
        top = max((v for s in every for v in s.y if isfinite(v)), default=1.0)
        low, high = min(xs), max(xs)
        return cls(low, high if high > low else low + 1.0, _round(top if top > LEAST_TOP else 1.0), axes.log_x)

    def x(self, value: float) -> float:
        low, high, at = (log10(max(v, 1e-9)) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return LEFT + (at - low) / max(high - low, 1e-12) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def _round(value: float) -> float:
    """The next number above that a person would write at an axis."""
    step = 10.0 ** floor(log10(value))
    return next(m * step for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if m * step >= value * (1 - 1e-9))


def _grid(scale: _Scale, axes: Axes) -> list[str]:
    parts = []
    for k in range(5):
        value = scale.top * k / 4
        y = scale.y(value)
        said = f"{value:.1%}" if axes.share and scale.top < 0.2 else f"{value:.0%}" if axes.share else f"{value:,.4g}"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
    parts.append(f'<text x="{LEFT + 4}" y="{TOP + 8}" class="u">{escape(axes.unit)}</text>')
    parts += [f'<text x="{scale.x(at):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(said)}</text>' for at, said in axes.ticks]
    return parts


def _drawn(series: Series, colour: str, scale: _Scale) -> list[str]:
    points = [(scale.x(x), scale.y(y)) for x, y in zip(series.x, series.y, strict=True) if isfinite(y)]
    if series.dots:
        return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(series.name)}</title></circle>' for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"><title>{escape(series.name)}</title></polyline>']
    if series.fill and points:
        base = f"{scale.y(0):.1f}"
        area = f"{points[0][0]:.1f},{base} {path} {points[-1][0]:.1f},{base}"
        drawn.insert(0, f'<polygon points="{area}" fill="{colour}" opacity="0.15"/>')
    return drawn
