"""Series of a tuning job's metrics and what each comes to. Pure.

Names are the service's: `/train_…` at each training step, `/eval_…` at each validation pass, with a validation set.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

LOSSES: Final = ("/train_total_loss", "/preference_optimization_train_loss")
"""What training makes smaller: of supervised tuning, and of preference tuning."""
VALIDATION_LOSS: Final = "/eval_total_loss"
VALIDATION_ACCURACY: Final = "/eval_fraction_of_correct_next_step_preds"
LOWER_IS_BETTER: Final = frozenset({*LOSSES, VALIDATION_LOSS})
COUNTS: Final = ("num_predictions",)
CURVE_POINTS: Final = 20


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a series.

    :param step: training step, from 1
    :param value: may be no finite number, as when training diverges
    :param time: when it was written, RFC 3339
    """

    step: int
    value: float
    time: str


class Series(msgspec.Struct, frozen=True):
    """One metric over the steps, each step once and in order, as `tidy` makes it."""

    name: str
    points: list[Point]

    def at(self, step: int, after: int = 0) -> float | None:
        """The value at a step, or the one last before it but after another; None when there is none."""
        place = bisect_right(self.points, step, key=lambda point: point.step)
        if not place or self.points[place - 1].step <= after:
            return None
        return finite(self.points[place - 1].value)

    def mean(self, step: int, after: int = 0) -> float | None:
        """Mean of the values up to a step but after another; None when there is none or one is no finite number."""
        start, end = (bisect_right(self.points, edge, key=lambda point: point.step) for edge in (after, step))
        values = [point.value for point in self.points[start:end]]
        return finite(sum(values) / len(values)) if values else None


class SeriesColumns(msgspec.Struct, frozen=True):
    """A series as columns, small and ready to be drawn; a value that is no finite number is None."""

    step: list[int]
    value: list[float | None]
    time: list[str] = []


class SeriesSummary(msgspec.Struct, frozen=True):
    """What a series comes to. A value that is no finite number is None, and never the best.

    :param best_step: first step with the best value
    :param points: how many there are
    :param curve: `[step, value]` at up to `CURVE_POINTS` steps, evenly spread, the last one included
    :param not_finite: how many points have no finite value; they are not in the curve
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
    """Each name once, its points by step. A step that was written twice (an interrupted job began again) has its later
    value; of two written at the same moment, the one read last."""
    points: dict[str, dict[int, Point]] = {}
    for one in series:
        kept = points.setdefault(one.name, {})
        for point in one.points:
            if point.step not in kept or _moment(point) >= _moment(kept[point.step]):
                kept[point.step] = point
    return [Series(name, [kept[step] for step in sorted(kept)]) for name, kept in sorted(points.items())]


def summarise(series: Iterable[Series]) -> dict[str, SeriesSummary]:
    """What each series comes to, by its name; series without points are left out."""
    return {one.name: _summarise(one) for one in series if one.points}


def columns(series: Series) -> SeriesColumns:
    """A series as a file holds it."""
    points = series.points
    return SeriesColumns(
        step=[point.step for point in points],
        value=[finite(point.value) for point in points],
        time=[point.time for point in points],
    )


def headline(summary: dict[str, SeriesSummary]) -> dict[str, float]:
    """The last value of each metric that says how good the model is, for an event or a title."""
    return {
        name: values.last for name, values in summary.items() if values.last is not None and not name.endswith(COUNTS)
    }


def finite(value: float) -> float | None:
    """A value as JSON can have it."""
    return value if math.isfinite(value) else None


def short_number(value: float | None) -> str:
    """A value for a person."""
    return "none" if value is None else f"{value:.4g}"


def _moment(point: Point) -> str:
    """Sorts by time: UTC, with as many digits of a second as there were, and `Z` would come after all of them."""
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
