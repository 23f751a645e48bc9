"""Series of a tuning job's metrics and what they come to. Pure.

Names are the service's: `/train_…` at each training step, `/eval_…` at each validation pass, with a validation set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

LOWER_IS_BETTER: Final = frozenset({"/train_total_loss", "/eval_total_loss", "/preference_optimization_train_loss"})
COUNTS: Final = ("num_predictions",)
CURVE_POINTS: Final = 20


class Point(msgspec.Struct, frozen=True):
    """One value of a series.

    :param step: training step, from 1
    :param time: when it was written, RFC 3339
    """

    step: int
    value: float
    time: str


class Series(msgspec.Struct, frozen=True):
    """One metric over the steps, in order."""

    name: str
    points: list[Point]


class SeriesSummary(msgspec.Struct, frozen=True):
    """What a series comes to.

    :param best_step: step of the best value
    :param points: how many there are
    :param curve: `[step, value]` at up to `CURVE_POINTS` steps, evenly spread, the last one included
    """

    first: float
    last: float
    best: float
    best_step: int
    points: int
    curve: list[list[float]]

    def __str__(self) -> str:
        return (
            f"first {self.first:.4g}, last {self.last:.4g}, best {self.best:.4g} at step {self.best_step}, "
            f"{self.points} points"
        )


def summarise(series: Iterable[Series]) -> dict[str, SeriesSummary]:
    """What each series comes to, by its name; series without points are left out."""
    return {one.name: _summarise(one) for one in series if one.points}


def headline(summary: dict[str, SeriesSummary]) -> dict[str, float]:
    """The last value of each metric that says how good the model is, for an event or a title."""
    return {name: values.last for name, values in summary.items() if not name.endswith(COUNTS)}


def _summarise(series: Series) -> SeriesSummary:
    pick = min if series.name in LOWER_IS_BETTER else max
    best = pick(series.points, key=lambda point: point.value)
    first, last = series.points[0], series.points[-1]
    return SeriesSummary(first.value, last.value, best.value, best.step, len(series.points), _curve(series.points))


def _curve(points: list[Point]) -> list[list[float]]:
    last = len(points) - 1
    picked = sorted({round(last * n / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)})
    return [[points[index].step, points[index].value] for index in picked]
