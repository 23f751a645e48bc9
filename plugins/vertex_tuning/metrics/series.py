"""Series of the metrics of a tuning job, and a summary of each. Pure.

The service names the series: `/train_…` has a value per training step, `/eval_…` per validation pass.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

LOSSES: Final = ("/train_total_loss", "/preference_optimization_train_loss")
"""Training loss of supervised tuning, and of preference tuning."""
VALIDATION_LOSS: Final = "/eval_total_loss"
VALIDATION_ACCURACY: Final = "/eval_fraction_of_correct_next_step_preds"
LOWER_IS_BETTER: Final = frozenset({*LOSSES, VALIDATION_LOSS})
COUNTS: Final = ("num_predictions",)
CURVE_POINTS: Final = 20


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a series.

    :param step: training step, usually from 1
    :param value: value of the metric; NaN or infinite when training diverges
    :param time: time at which the service wrote the value, RFC 3339
    """

    step: int
    value: float
    time: str


class Series(msgspec.Struct, frozen=True):
    """A metric over the training steps.

    :param name: the service's name of the metric, e.g. `/train_total_loss`
    :param points: values in the order of steps, each step once, as `tidy` returns them
    """

    name: str
    points: list[Point]

    def at(self, step: int, after: int = 0) -> float | None:
        """The last value in a range of steps; None without points, or if the last value is not finite.

        :param step: last step of the range
        :param after: step before the first of the range
        """
        index = bisect_right(self.points, step, key=lambda point: point.step)
        if not index or self.points[index - 1].step <= after:
            return None
        return finite(self.points[index - 1].value)

    def mean(self, step: int, after: int = 0) -> float | None:
        """Mean of the values in a range of steps; None without points, or if a value is not finite.

        :param step: last step of the range
        :param after: step before the first of the range
        """
        start, end = (bisect_right(self.points, edge, key=lambda point: point.step) for edge in (after, step))
        values = [point.value for point in self.points[start:end]]
        return finite(sum(values) / len(values)) if values else None


class SeriesColumns(msgspec.Struct, frozen=True):
    """A series as columns, small and ready to be drawn; NaN and infinity become None."""

    step: list[int]
    value: list[float | None]
    time: list[str] = []


class SeriesSummary(msgspec.Struct, frozen=True):
    """Summary of a series. Values that are not finite become None and are never the best.

    :param first: first value
    :param last: last value
    :param best: lowest value of a loss, highest value of any other metric; None without finite values
    :param best_step: first step with the best value; None without finite values
    :param points: number of points
    :param curve: `[step, value]` at up to `CURVE_POINTS` finite points, evenly spread, with the last point
    :param not_finite: number of points whose value is not finite
    """

    first: float | None
    last: float | None
    best: float | None
    best_step: int | None
    points: int
    curve: list[list[float]]
    not_finite: int = 0

    def __str__(self) -> str:
        first, last, best = (short_number(value) for value in (self.first, self.last, self.best))
        return f"first {first}, last {last}, best {best} at step {self.best_step}, {self.points} points"


def tidy(series: Iterable[Series]) -> list[Series]:
    """Merge series of the same name and sort their points by step.

    An interrupted job that started again writes a step twice: the later value counts. If both have the same time, the
    value that was read last counts.

    :param series: series as read, with repeated names and steps in any order
    """
    points: dict[str, dict[int, Point]] = {}
    for metric in series:
        kept = points.setdefault(metric.name, {})
        for point in metric.points:
            if point.step not in kept or _moment(point) >= _moment(kept[point.step]):
                kept[point.step] = point
    return [Series(name, [kept[step] for step in sorted(kept)]) for name, kept in sorted(points.items())]


def summarise(series: Iterable[Series]) -> dict[str, SeriesSummary]:
    """Summary of each series by its name. Series without points are left out."""
    return {metric.name: _summarise(metric) for metric in series if metric.points}


def columns(series: Series) -> SeriesColumns:
    """A series as three parallel lists, for a file: steps, values (None if not finite) and times."""
    points = series.points
    return SeriesColumns(
        step=[point.step for point in points],
        value=[finite(point.value) for point in points],
        time=[point.time for point in points],
    )


def headline(summary: dict[str, SeriesSummary]) -> dict[str, float]:
    """The last value of each metric by its name, without counts of predictions."""
    return {
        name: values.last for name, values in summary.items() if values.last is not None and not name.endswith(COUNTS)
    }


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def short_number(value: float | None) -> str:
    """The value as text with four significant digits."""
    return "none" if value is None else f"{value:.4g}"


def _moment(point: Point) -> str:
    """Sort key of the time, which is UTC with 0 to 9 digits after the second. `Z` would sort after every digit."""
    return point.time.removesuffix("Z")


def _summarise(series: Series) -> SeriesSummary:
    known = [point for point in series.points if math.isfinite(point.value)]
    pick = min if series.name in LOWER_IS_BETTER else max
    best = pick(known, key=lambda point: point.value, default=None)
    return SeriesSummary(
        first=finite(series.points[0].value),
        last=finite(series.points[-1].value),
        best=best.value if best else None,
        best_step=best.step if best else None,
        points=len(series.points),
        curve=_curve(known),
        not_finite=len(series.points) - len(known),
    )


def _curve(points: Sequence[Point]) -> list[list[float]]:
    last = len(points) - 1
    picked = sorted({round(last * n / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)}) if points else []
    return [[points[index].step, points[index].value] for index in picked]
