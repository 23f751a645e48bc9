"""Find over-fitting: the validation loss rises while the training loss falls. Pure.

Let *best* be the lowest validation loss. The *tolerance* is the largest of three values:

- 5 % of the best. This is the generalisation loss of Prechelt's stopping criterion GL5. (L. Prechelt, "Early
  Stopping - But When?", in: Neural Networks: Tricks of the Trade, LNCS 1524, 1998.)
- 0.01 nats: the probability of a token is 1 % lower. A loss near 0 can rise by 5 % without any visible effect.
- Three standard deviations of the noise between validations. Among many noisy values the lowest is partly luck.

Noise is the difference between a value and the mean of its neighbours. (T. Gasser, L. Sroka and C. Jennen-Steinmetz,
"Residual variance and residual pattern in nonlinear regression", Biometrika 73, 1986.) Its median ignores a single
jump. The first half of the validations is left out, but never the best or a value after it: the steep fall at the
beginning is not noise. Fewer than five values give no estimate.

A model is over-fitted if both conditions hold:

- The last validations exceed the best by more than the tolerance: at least two, and at least a tenth of all. A single
  high value may be chance. A rise from which the curve came back does not count.
- The mean training loss after the best is lower than in as many steps before it. If it rose too, training diverges,
  which is a different fault.

Over-fitting starts at the first of these last validations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import takewhile
from statistics import median
from typing import Final

import msgspec

from vertex_tuning.metrics.series import LOSSES, VALIDATION_LOSS, Point, Series

RELATIVE_TOLERANCE: Final = 0.05
ABSOLUTE_TOLERANCE: Final = 0.01
NOISE_TOLERANCE: Final = 3.0
LEAST_RISEN: Final = 2
LEAST_SHARE_RISEN: Final = 0.1
LEAST_FOR_NOISE: Final = 5

_TO_DEVIATION: Final = 1.4826 / math.sqrt(6)
"""Factor from the median of `|a - 2b + c|` to the standard deviation of a value.

1.4826 turns a median deviation into a standard deviation. The weights 1, -2 and 1 multiply the deviation by sqrt(6).
"""


class Overfitting(msgspec.Struct, frozen=True):
    """Result of the over-fitting rule. Losses are in nats.

    :param found: whether the model is over-fitted
    :param step: training step at which over-fitting starts; None if the model is not over-fitted
    :param best: lowest validation loss
    :param best_step: training step of the lowest validation loss
    :param last: last validation loss
    :param tolerance: amount by which the validation loss may exceed the best
    :param training_before: mean training loss of the steps up to the best, over as many steps as follow it; None
        without such steps
    :param training_after: mean training loss after the best; None if no step follows it
    :param epoch: epoch (from 1) in which over-fitting starts; None if the job does not give its number of epochs
    """

    found: bool
    step: int | None
    best: float
    best_step: int
    last: float
    tolerance: float
    training_before: float | None = None
    training_after: float | None = None
    epoch: int | None = None

    def __str__(self) -> str:
        rise = f"validation loss {self.best:.4g} at step {self.best_step}, {self.last:.4g} at the end"
        where = f"epoch {self.epoch} (step {self.step})" if self.epoch else f"step {self.step}"
        return f"over-fitted from {where} on: {rise}" if self.found else f"not over-fitted: {rise}"


def find_overfitting(series: Iterable[Series]) -> Overfitting | None:
    """Apply the rule of this module; None without finite validation losses or without training losses.

    :param series: series of the job, as `series.tidy` returns them
    """
    by_name = {metric.name: metric for metric in series}
    training = next((by_name[name] for name in LOSSES if name in by_name), None)
    validation = _finite(by_name.get(VALIDATION_LOSS))
    if not validation or training is None or not training.points:
        return None
    best = min(validation, key=lambda point: point.value)
    tolerance = _tolerance(best.value, validation[min(validation.index(best), len(validation) // 2) :])
    risen = _risen(validation, best.value + tolerance)
    before, after = _around(training, best.step)
    falls = before is not None and after is not None and after < before
    found = falls and len(risen) >= max(LEAST_RISEN, LEAST_SHARE_RISEN * len(validation))
    return Overfitting(
        found=found,
        step=risen[-1].step if found else None,
        best=best.value,
        best_step=best.step,
        last=validation[-1].value,
        tolerance=tolerance,
        training_before=before,
        training_after=after,
    )


def _finite(series: Series | None) -> list[Point]:
    return [point for point in series.points if math.isfinite(point.value)] if series else []


def _tolerance(best: float, settled: Sequence[Point]) -> float:
    return max(RELATIVE_TOLERANCE * abs(best), ABSOLUTE_TOLERANCE, NOISE_TOLERANCE * _noise(settled))


def _noise(points: Sequence[Point]) -> float:
    """Standard deviation of the validation losses around their trend; 0 for fewer than `LEAST_FOR_NOISE` points."""
    if len(points) < LEAST_FOR_NOISE:
        return 0.0
    values = [point.value for point in points]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return _TO_DEVIATION * median(bends)


def _risen(validation: Sequence[Point], limit: float) -> list[Point]:
    """The validations at the end that all exceed the limit, last first."""
    return list(takewhile(lambda point: point.value > limit, reversed(validation)))


def _around(training: Series, step: int) -> tuple[float | None, float | None]:
    """Mean training loss after a step, and in the same number of steps up to it."""
    last = training.points[-1].step
    return training.mean(step, after=step - (last - step)), training.mean(last, after=step)
