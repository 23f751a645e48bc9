"""Charts of the metrics: curves with fewer points, laid out as SVG paths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from vertex_tuning.report.names import DASH, metric_rank, series_kind, series_metric

BUCKETS_DRAWN: Final = 400
"""Buckets of a curve, with two points each: a page shows a curve 600 to 800 pixels wide."""

Curve = Sequence[tuple[int, float]]


class Line(msgspec.Struct, frozen=True):
    """A curve of a chart.

    :param name: the service's name of the series
    :param kind: `training` or `validation`
    :param values: value at each step of the chart; None if the curve has no point there
    :param count: number of points of the complete series
    """

    name: str
    kind: str
    values: list[float | None]
    count: int

    @property
    def points(self) -> int:
        return sum(value is not None for value in self.values)


class Mark(msgspec.Struct, frozen=True):
    """A checkpoint in a chart.

    :param step: training step at which the checkpoint was saved
    :param label: text in the chart
    :param best: whether the checkpoint has the lowest validation loss
    """

    step: int
    label: str
    best: bool


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Curves of a metric over common training steps.

    :param title: label of the metric
    :param unit: `share` for values from 0 to 1, otherwise empty
    :param steps: training steps of all curves, ascending
    :param lines: the curves
    :param marks: checkpoints to mark
    :param overfitting_step: training step at which over-fitting starts; None without over-fitting
    """

    title: str
    unit: str
    steps: list[int]
    lines: list[Line]
    marks: list[Mark]
    overfitting_step: int | None


def charts_of(curves: Mapping[str, Curve], marks: list[Mark], overfitting_step: int | None) -> list[Chart]:
    """A chart for each metric, with its training and its validation curve.

    :param curves: `(step, value)` points by the name of the series
    :param marks: checkpoints to mark in each chart
    :param overfitting_step: training step at which over-fitting starts; None without over-fitting
    """
    by_metric: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        finite = [(step, value) for step, value in curve if math.isfinite(value)]
        if finite and not name.endswith("num_predictions"):
            by_metric.setdefault(series_metric(name), {})[name] = finite
    return [_chart(metric, by_metric[metric], marks, overfitting_step) for metric in sorted(by_metric, key=metric_rank)]


def thin(curve: Curve, buckets: int = BUCKETS_DRAWN) -> list[tuple[int, float]]:
    """Reduce the points of a curve: keep both ends, and the lowest and highest point of each bucket.

    Spikes stay visible.

    :param curve: `(step, value)` points, ascending
    :param buckets: number of equal parts of the curve
    """
    if len(curve) <= 2 * buckets:
        return list(curve)
    edges = [round(n * len(curve) / buckets) for n in range(buckets + 1)]
    kept = {0, len(curve) - 1}
    for start, end in pairwise(edges):
        kept.add(min(range(start, end), key=lambda index: curve[index][1]))
        kept.add(max(range(start, end), key=lambda index: curve[index][1]))
    return [curve[index] for index in sorted(kept)]


def _chart(metric: str, curves: Mapping[str, Curve], marks: list[Mark], overfitting_step: int | None) -> Chart:
    thinned = {name: dict(thin(curve)) for name, curve in sorted(curves.items(), key=lambda item: series_kind(item[0]))}
    steps = sorted(set().union(*thinned.values()))
    lines = [
        Line(name, series_kind(name), [values.get(step) for step in steps], len(curves[name]))
        for name, values in thinned.items()
    ]
    unit = "share" if "fraction" in next(iter(curves)) else ""
    return Chart(title=metric, unit=unit, steps=steps, lines=lines, marks=marks, overfitting_step=overfitting_step)


# Layout of a chart as SVG


class Tick(msgspec.Struct, frozen=True):
    """A labelled position on an axis, in the units of the picture."""

    at: float
    label: str


class Reading(msgspec.Struct, frozen=True):
    """The values of all lines at a step, for the table and for the tooltip.

    :param step: training step
    :param x: left edge of the strip of the picture that shows the tooltip
    :param width: width of the strip
    :param values: for each line its value at this step, or its last value before
    """

    step: int
    x: float
    width: float
    values: list[str]


class Picture(msgspec.Struct, frozen=True):
    """Layout of a chart. All positions are in the units of the SVG picture.

    :param width: width of the picture
    :param height: height of the picture
    :param left: left edge of the plot
    :param right: right edge of the plot
    :param top: top edge of the plot
    :param bottom: bottom edge of the plot
    :param x_ticks: ticks of the axis of training steps
    :param y_ticks: ticks of the axis of values
    :param paths: kind and SVG path of each line
    :param dots: kind of line, x and y of the points of lines with at most `FEW` points
    :param ends: name, x, y and kind of the last point of each line
    :param marks: x, label and `best` of each checkpoint
    :param overfitting: x at which over-fitting starts; None without over-fitting
    :param readings: values at up to `MAX_READINGS` steps
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
    ends: list[tuple[str, float, float, str]]
    marks: list[tuple[float, str, bool]]
    overfitting: float | None
    readings: list[Reading]


WIDTH, HEIGHT = 720.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, WIDTH - 14.0, 26.0, HEIGHT - 30.0
FEW: Final = 40
MAX_READINGS: Final = 60
"""Most steps of a chart whose values the table and the tooltip show."""


def picture(chart: Chart) -> Picture:
    """Compute the layout of a chart."""
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
        [(line.name, *points[-1], line.kind) for line, points in placed if points],
        [(x(mark.step), mark.label, mark.best) for mark in chart.marks if first <= mark.step <= last],
        None if chart.overfitting_step is None else x(min(max(chart.overfitting_step, first), last)),
        _readings(chart),
    )  # fmt: skip


def _readings(chart: Chart) -> list[Reading]:
    """Values at evenly spaced steps, with the first and the last step."""
    count = min(len(chart.steps), MAX_READINGS)
    width = (RIGHT - LEFT) / count
    picked = [round(n * (len(chart.steps) - 1) / max(count - 1, 1)) for n in range(count)]
    return [
        Reading(
            chart.steps[index],
            round(LEFT + n * width, 1),
            round(width, 1),
            [_last_value(line.values[: index + 1], chart.unit) for line in chart.lines],
        )
        for n, index in enumerate(picked)
    ]


def _last_value(values: Sequence[float | None], unit: str) -> str:
    known = (value for value in reversed(values) if value is not None)
    value = next(known, None)
    return DASH if value is None else tick_label(value, unit)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range. The first is at most `low`, the last is at least `high`.

    :param low: start of the range
    :param high: end of the range
    :param count: approximate number of intervals
    """
    span = high - low or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(start, max(end, start + 1) + 1)]


def tick_label(value: float, unit: str) -> str:
    """A value of a chart as text. The unit `share` is shown in percent."""
    return f"{value * 100:.4g} %" if unit == "share" else f"{value:.4g}"


def _points(chart: Chart, line: Line) -> Iterator[tuple[int, float]]:
    for step, value in zip(chart.steps, line.values, strict=True):
        if value is not None:
            yield step, value


def bars(counts: list[float], width: float = 240, height: float = 56) -> list[tuple[float, float, float, float]]:
    """The bars of a histogram as (x, y, width, height). Bars of small counts stay visible.

    :param counts: number of values of each bar
    :param width: width of the histogram, in units of its picture
    :param height: height of the histogram, in units of its picture
    """
    step, most = width / len(counts), max([*counts, 1])
    heights = [max(2.0, count / most * height) if count > 0 else 0.0 for count in counts]
    return [
        (round(n * step + 0.5, 1), round(height - bar, 1), round(step - 1, 1), round(bar, 1))
        for n, bar in enumerate(heights)
    ]
