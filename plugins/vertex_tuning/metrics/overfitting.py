"""Whether a model was trained for too long: the validation loss rises while the training loss falls. Pure.

The rule. Let *best* be the lowest validation loss, and the *tolerance* the largest of

- 5 % of the best, the generalisation loss of Prechelt's criterion GL5 for stopping (L. Prechelt,
  "Early Stopping - But When?", in: Neural Networks: Tricks of the Trade, LNCS 1524, 1998);
- 0.01 nats, a token's probability 1 % lower: a loss near nothing rises by 5 % without anybody noticing;
- three standard deviations of the noise from one validation to the next, so that the lucky one among many is not taken
  for a turn. Noise is what is left of each value after the mean of its neighbours (T. Gasser, L. Sroka and
  C. Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression", Biometrika 73, 1986), by its
  median so that no single leap counts, in the second half of the validations, or from the best on where that is
  earlier: the steep fall at the beginning is no noise. With fewer than five values there is no estimate.

A model is over-fitted when the last two validations at least, and the last tenth of them, lie above the best by more
than the tolerance (one alone may be an accident; a curve that came back has been forgiven), and the training loss was
lower on average after the best than in as many steps before it. When that rose as well, training diverges, which is
another fault with another cure. Over-fitting starts at the first validation of those that stay above.
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
"""Of the median of `|a - 2b + c|`: 1.4826 makes a median deviation a standard one, the weights make it sqrt(6) times
as large as that of a single value."""


class Overfitting(msgspec.Struct, frozen=True):
    """What the losses say.

    :param found: whether the model is over-fitted
    :param step: where it starts, as far as it is
    :param epoch: likewise, when the job says how long its epochs are
    :param best_step: step of the lowest validation loss
    :param tolerance: what the validation loss may lie above its best
    :param training_before: mean training loss in the steps up to the best, as many as there are after it
    :param training_after: and after it; both None when the best is the last
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
    """Apply the rule; None without validation or training losses that are finite numbers.

    :param series: as `metrics.tidy` makes them
    """
    by_name = {one.name: one for one in series}
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
    """Standard deviation of a value from one validation to the next, its trend taken out."""
    if len(points) < LEAST_FOR_NOISE:
        return 0.0
    values = [point.value for point in points]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return _TO_DEVIATION * median(bends)


def _risen(validation: Sequence[Point], limit: float) -> list[Point]:
    """The validations above the limit that none below it follows, the last one first."""
    return list(takewhile(lambda point: point.value > limit, reversed(validation)))


def _around(training: Series, step: int) -> tuple[float | None, float | None]:
    """Mean training loss in the steps before and after a step, as many of each where there are."""
    last = training.points[-1].step
    return training.mean(step, after=step - (last - step)), training.mean(last, after=step)
