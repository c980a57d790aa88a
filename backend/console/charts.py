"""Charts as SVG, drawn here: the pages run no script, and their policy lets none in from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 12, 24  # the last label is wider than its bar
TICKS = 4
LABELS = 7  # at most, under the axis


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers by day; None where there is none. kind: the class in the page's style sheet."""

    name: str
    kind: str
    values: Sequence[float | None]


def bars(labels: Sequence[str], series: Sequence[Series], title: str) -> SafeString:
    """A stacked bar for each label."""
    totals = [sum(one.values[n] or 0 for one in series) for n in range(len(labels))]
    top, step = _scale(max(totals, default=0))
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    marks = []
    for n, label in enumerate(labels):
        below = 0.0
        for one in series:
            value = one.values[n] or 0
            if value:
                said = f"{label}, {one.name}: {_number(value)}"
                place = (f"{LEFT + n * slot + slot * 0.12:.1f}", f"{_y(below + value, top):.1f}")
                size = (f"{slot * 0.76:.1f}", f"{_y(below, top) - _y(below + value, top):.1f}")
                marks.append((one.kind, *place, *size, said))
                below += value
    drawn = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        marks,
    )
    return _frame(labels, series, title, top, step, drawn)


def lines(labels: Sequence[str], series: Sequence[Series], title: str) -> SafeString:
    """A line for each series, broken where it has no number."""
    known = [value for one in series for value in one.values if value is not None]
    top, step = _scale(max(known, default=0))
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    drawn = SafeString("")
    for one in series:
        run: list[str] = []
        runs = [run]
        dots = []
        for n, value in enumerate(one.values):
            if value is None:
                run = []
                runs.append(run)
                continue
            x, y = f"{LEFT + (n + 0.5) * slot:.1f}", f"{_y(value, top):.1f}"
            run.append(f"{x},{y}")
            dots.append((one.kind, x, y, f"{labels[n]}, {one.name}: {_number(value)}"))
        paths = format_html_join(
            "", '<polyline class="line {}" points="{}"/>', ((one.kind, " ".join(points)) for points in runs if points)
        )
        circles = format_html_join("", '<circle class="{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>', dots)
        drawn += paths + circles
    return _frame(labels, series, title, top, step, drawn)


def _frame(
    labels: Sequence[str], series: Sequence[Series], title: str, top: float, step: float, drawn: SafeString
) -> SafeString:
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    every = math.ceil(len(labels) / LABELS)
    grid = format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>',
        (
            (LEFT, WIDTH - RIGHT, f"{y:.1f}", f"{y:.1f}", LEFT - 6, f"{y + 4:.1f}", _number(number * step))
            for number in range(round(top / step) + 1)
            for y in [_y(number * step, top)]
        ),
    )
    axis = format_html_join(
        "",
        '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (f"{LEFT + (n + 0.5) * slot:.1f}", HEIGHT - 6, label)
            for n, label in enumerate(labels)
            if (len(labels) - 1 - n) % every == 0
        ),
    )
    legend = format_html_join(
        "",
        '<span class="key"><svg viewBox="0 0 10 10"><rect class="{}" width="10" height="10"/></svg>{}</span>',
        ((one.kind, one.name) for one in series),
    )
    return format_html(
        '<figure><figcaption>{}</figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
        '<p class="legend">{}</p></figure>',
        title, WIDTH, HEIGHT, title, grid, drawn, axis, legend,
    )  # fmt: skip


def _scale(largest: float) -> tuple[float, float]:
    """The end of the axis, and the step between its marks: 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return 1.0, 1.0
    rough = largest / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return step * math.ceil(largest / step * 0.999), step


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top


def _number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:g}k" if value % 100 == 0 else f"{value:,.0f}"
    return f"{value:.4g}"
