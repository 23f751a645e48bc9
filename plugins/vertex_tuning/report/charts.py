"""Curves: which there are, thinned for a page, and drawn as SVG paths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from vertex_tuning.report.names import DASH, metric_rank, series_kind, series_metric

BUCKETS_DRAWN: Final = 400
"""A curve is thinned to twice as many points: a page shows it 600 to 800 pixels wide."""

Curve = Sequence[tuple[int, float]]


class Line(msgspec.Struct, frozen=True):
    """A curve of a chart, with a value (or None) for each of the chart's steps.

    :param kind: training or validation
    :param count: how many points the whole series has
    """

    name: str
    kind: str
    values: list[float | None]
    count: int

    @property
    def points(self) -> int:
        return sum(value is not None for value in self.values)


class Mark(msgspec.Struct, frozen=True):
    """A checkpoint."""

    step: int
    label: str
    best: bool


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Curves over the same steps.

    :param unit: `share` for values from 0 to 1, else empty
    :param overfitting_step: where over-fitting starts
    """

    title: str
    unit: str
    steps: list[int]
    lines: list[Line]
    marks: list[Mark]
    overfitting_step: int | None


def charts_of(curves: Mapping[str, Curve], marks: list[Mark], overfitting_step: int | None) -> list[Chart]:
    """One chart for each metric, with its training and its validation curve."""
    by_metric: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        finite = [(step, value) for step, value in curve if math.isfinite(value)]
        if finite and not name.endswith("num_predictions"):
            by_metric.setdefault(series_metric(name), {})[name] = finite
    return [_chart(metric, by_metric[metric], marks, overfitting_step) for metric in sorted(by_metric, key=metric_rank)]


def thin(curve: Curve, buckets: int = BUCKETS_DRAWN) -> list[tuple[int, float]]:
    """Of each bucket the lowest and the highest point, so that spikes stay; and both ends."""
    if len(curve) <= 2 * buckets:
        return list(curve)
    edges = [round(n * len(curve) / buckets) for n in range(buckets + 1)]
    kept = {0, len(curve) - 1}
    for start, end in pairwise(edges):
        kept.add(min(range(start, end), key=lambda at: curve[at][1]))
        kept.add(max(range(start, end), key=lambda at: curve[at][1]))
    return [curve[at] for at in sorted(kept)]


def _chart(metric: str, curves: Mapping[str, Curve], marks: list[Mark], overfitting_step: int | None) -> Chart:
    thinned = {name: dict(thin(curve)) for name, curve in sorted(curves.items(), key=lambda one: series_kind(one[0]))}
    steps = sorted(set().union(*thinned.values()))
    lines = [
        Line(name, series_kind(name), [values.get(step) for step in steps], len(curves[name]))
        for name, values in thinned.items()
    ]
    unit = "share" if "fraction" in next(iter(curves)) else ""
    return Chart(title=metric, unit=unit, steps=steps, lines=lines, marks=marks, overfitting_step=overfitting_step)


# The picture


class Tick(msgspec.Struct, frozen=True):
    at: float
    label: str


class Reading(msgspec.Struct, frozen=True):
    """The values at a step, for a table and for the mouse.

    :param x: left edge of the strip of the picture that shows them, `width` units wide
    :param values: of each line at this step or the last one before it that has a value
    """

    step: int
    x: float
    width: float
    values: list[str]


class Picture(msgspec.Struct, frozen=True):
    """Where everything is, in the picture's own units.

    :param paths: kind of line and its path
    :param dots: kind of line and place of points few enough to be seen as such
    :param overfitting: where it starts
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    paths: list[tuple[str, str]]
    dots: list[tuple[str, float, float]]
    marks: list[tuple[float, str, bool]]
    overfitting: float | None
    readings: list[Reading]


WIDTH, HEIGHT = 720.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, WIDTH - 14.0, 26.0, HEIGHT - 30.0
FEW: Final = 40
MAX_READINGS: Final = 60
"""Steps of a chart whose values can be read."""


def picture(chart: Chart) -> Picture:
    """Lay a chart out."""
    values = [value for line in chart.lines for value in line.values if value is not None]
    y_ticks = ticks(min(values), max(values))
    low, high = min(y_ticks[0], *values), max(y_ticks[-1], *values)
    first, last = chart.steps[0], max(chart.steps[-1], chart.steps[0] + 1)

    def x(step: float) -> float:
        return round(LEFT + (step - first) / (last - first) * (RIGHT - LEFT), 1)

    def y(value: float) -> float:
        return round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), 1)

    placed = [(line, [(x(step), y(value)) for step, value in _points(chart, line)]) for line in chart.lines]
    return Picture(
        WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM,
        [Tick(x(step), f"{step:,.0f}") for step in ticks(first, last, 8) if first <= step <= last],
        [Tick(y(value), tick_label(value, chart.unit)) for value in y_ticks],
        [(line.kind, "M" + "L".join(f"{px} {py}" for px, py in points)) for line, points in placed],
        [(line.kind, px, py) for line, points in placed if len(points) <= FEW for px, py in points],
        [(x(mark.step), mark.label, mark.best) for mark in chart.marks if first <= mark.step <= last],
        None if chart.overfitting_step is None else x(min(max(chart.overfitting_step, first), last)),
        _readings(chart),
    )  # fmt: skip


def _readings(chart: Chart) -> list[Reading]:
    """Values at evenly spaced steps, the first and the last among them."""
    count = min(len(chart.steps), MAX_READINGS)
    width = (RIGHT - LEFT) / count
    picked = [round(n * (len(chart.steps) - 1) / max(count - 1, 1)) for n in range(count)]
    return [
        Reading(
            chart.steps[at],
            round(LEFT + n * width, 1),
            round(width, 1),
            [_last_value(line.values[: at + 1], chart.unit) for line in chart.lines],
        )
        for n, at in enumerate(picked)
    ]


def _last_value(values: Sequence[float | None], unit: str) -> str:
    known = (value for value in reversed(values) if value is not None)
    value = next(known, None)
    return DASH if value is None else tick_label(value, unit)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers around a range: the first at or below its low end, the last at or above its high end."""
    span = high - low or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(start, max(end, start + 1) + 1)]


def tick_label(value: float, unit: str) -> str:
    return f"{value * 100:.4g} %" if unit == "share" else f"{value:.4g}"


def _points(chart: Chart, line: Line) -> Iterator[tuple[int, float]]:
    for step, value in zip(chart.steps, line.values, strict=True):
        if value is not None:
            yield step, value


def bars(counts: list[float], width: float = 240, height: float = 56) -> list[tuple[float, float, float, float]]:
    """A histogram's bars: x, y, width, height. None is so low that it cannot be seen, unless it is empty."""
    step, most = width / len(counts), max([*counts, 1])
    tall = [max(2.0, count / most * height) if count > 0 else 0.0 for count in counts]
    return [
        (round(n * step + 0.5, 1), round(height - one, 1), round(step - 1, 1), round(one, 1))
        for n, one in enumerate(tall)
    ]
