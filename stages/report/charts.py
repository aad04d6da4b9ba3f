"""Line charts as SVG text: no script, no font, the page's own colours, readable in print and by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 300
"""Units of the SVG, which the page scales: two charts stand beside each other on a laptop's screen."""
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
"""Margins in the same units: tick labels and the axis' name to the left and below."""
MOST_MARKERS, MOST_TICKS = 40, 11
"""Points of a line that still get a marker, and labels that fit on the x axis; chosen by eye."""


@dataclass(frozen=True)
class Series:
    """A line: points (x, y), optionally a band (low, high) for each, and x values to mark."""

    name: str
    style: int  # which of the page's line styles, from 0
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    marked: Sequence[float] = ()


def line_chart(
    title: str, series: Sequence[Series], x_label: str, y_label: str, y_range: tuple[float, float] | None = None
) -> str:
    """One chart. `y_range` is the axis' least and highest value, by default what the points need."""
    points = [p for s in series for p in s.points]
    if not points:
        return f'<p class="unavailable">{escape(title)}: unavailable, no values.</p>'
    xs = [x for x, _ in points]
    x_low, x_high = min(xs), max(xs)
    low, high = y_range or (0.0, max(y for _, y in points) * 1.05 or 1.0)

    def px(x: float) -> float:
        return LEFT + (x - x_low) / ((x_high - x_low) or 1) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (high - min(max(y, low), high)) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_spoken(title, series))}">',
    ]
    for step in range(6):
        value = low + (high - low) * step / 5
        y = py(value)
        parts.append(f'<line class="gridline" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    for x in _ticks(sorted(set(xs))):
        parts.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text transform="translate(12 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    for line in series:
        xy = [(px(x), py(y)) for x, y in line.points]
        if line.band:
            upper = [f"{px(x):.1f},{py(h):.1f}" for (x, _), (_, h) in zip(line.points, line.band, strict=True)]
            lower = [f"{px(x):.1f},{py(w):.1f}" for (x, _), (w, _) in zip(line.points, line.band, strict=True)]
            parts.append(f'<polygon class="band style{line.style}" points="{" ".join(upper + lower[::-1])}"/>')
        parts.append(
            f'<polyline class="line style{line.style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in xy)}"/>'
        )
        if len(xy) <= MOST_MARKERS:
            for (x, y), (vx, vy) in zip(xy, line.points, strict=True):
                tip = f"<title>{escape(line.name)}, {escape(x_label)} {vx:g}: {vy:.3f}</title>"
                parts.append(f'<g class="point style{line.style}">{tip}{marker(line.style, x, y, 3.2)}</g>')
        values = dict(line.points)
        for x in line.marked:
            if x in values:
                parts.append(f'<g class="chosen style{line.style}">{marker(line.style, px(x), py(values[x]), 7)}</g>')
    parts.append("</svg>")
    return "".join(parts)


def marker(style: int, x: float, y: float, size: float) -> str:
    """A disc, a square or a triangle: lines differ by more than their colour."""
    if style % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if style % 3 == 1:
        return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
    corners = f"{x:.1f},{y - size:.1f} {x - size:.1f},{y + size:.1f} {x + size:.1f},{y + size:.1f}"
    return f'<polygon points="{corners}"/>'


def _ticks(values: list[float]) -> list[float]:
    step = max(1, -(-len(values) // MOST_TICKS))
    return values[::step]


def _spoken(title: str, series: Sequence[Series]) -> str:
    parts = []
    for line in series:
        if line.points:
            best = max(line.points, key=lambda p: p[1])
            first, last = line.points[0], line.points[-1]
            parts.append(
                f"{line.name} from {first[1]:.2f} at {first[0]:g} to {last[1]:.2f} at {last[0]:g}, "
                f"highest {best[1]:.2f} at {best[0]:g}"
            )
    return f"{title}. " + "; ".join(parts) + "."
