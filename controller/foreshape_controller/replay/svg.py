"""Charts as inline SVG: no script, no font, no address outside the page. Coordinates are in pixels of the view box."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from xml.sax.saxutils import escape, quoteattr

import numpy as np

WIDTH, HEIGHT = 760, 220

LEAST_TOP = 1e-12
"""What is smaller everywhere is drawn as nothing."""

LEFT, RIGHT, TOP, BOTTOM = 62, 26, 24, 26
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


def thinned(values: np.ndarray, x: np.ndarray, by: np.ndarray | None = None) -> tuple[list[float], list[float]]:
    """At most ``MOST_POINTS`` points: of each stretch the one where ``by`` (default: the values) is largest.

    Series that are thinned by the same ``by`` show the same moments. A stretch in which ``by`` is unknown keeps its first point.
    """
    lead = values if by is None else by
    width = max(1, ceil(len(lead) / MOST_POINTS))
    count = ceil(len(lead) / width)
    padded = np.full(count * width, -np.inf)
    padded[: len(lead)] = np.where(np.isfinite(lead), lead, -np.inf)
    at = np.arange(count) * width + padded.reshape(count, width).argmax(axis=1)
    return x[at].tolist(), values[at].tolist()


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
    return f'<figure><figcaption>{escape(title)}</figcaption><div class="wide">{view}</div></figure>'


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
        said = _said(value, scale.top, share=axes.share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 11}" class="u">{escape(axes.unit)}</text>')
    parts += [f'<text x="{scale.x(at):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(said)}</text>' for at, said in axes.ticks]
    return parts


def _said(value: float, top: float, *, share: bool) -> str:
    """A number at an axis that ends at ``top``, with as many digits as its quarters need."""
    shown, most = (100 * value, 100 * top) if share else (value, top)
    digits = next((d for d in range(6) if abs(round(most / 4, d) - most / 4) <= 1e-9 * most), 6)
    return f"{shown:,.{digits}f}{'%' if share else ''}"


def _drawn(series: Series, colour: str, scale: _Scale) -> list[str]:
    """Where a value is not known the line is broken; a point between two such has a dot."""
    parts: list[str] = []
    for run in _runs(series):
        points = [(scale.x(x), scale.y(y)) for x, y in run]
        if series.dots or len(points) == 1:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{escape(series.name)}</title></circle>'
                for x, y in points
            ]
        else:
            parts += _line(points, series, colour, scale)
    return parts


def _runs(series: Series) -> Iterable[list[tuple[float, float]]]:
    """Points that belong together."""
    run: list[tuple[float, float]] = []
    for x, y in zip(series.x, series.y, strict=True):
        if isfinite(y):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _line(points: Sequence[tuple[float, float]], series: Series, colour: str, scale: _Scale) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"><title>{escape(series.name)}</title></polyline>']
    if series.fill:
        base = f"{scale.y(0):.1f}"
        area = f"{points[0][0]:.1f},{base} {path} {points[-1][0]:.1f},{base}"
        drawn.insert(0, f'<polygon points="{area}" fill="{colour}" opacity="0.15"/>')
    return drawn
