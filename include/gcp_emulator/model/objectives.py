"""The losses of supervised tuning and of preference tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .dataset import Row
from .engine import Batch, Floats, Gradient, Model

Metrics = dict[str, float]


class Objective(Protocol):
    """The loss of a step, and the metrics to report.

    :param base_rate: learning rate for a multiplier of 1
    """

    base_rate: ClassVar[float]

    def gradient(self, rows: Sequence[Row]) -> tuple[Metrics, Gradient]:
        """A step's metrics and the gradient of its loss."""

    def measure(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Sums over some validation rows; :meth:`evaluation` takes their total."""

    def evaluation(self, sums: NDArray[np.float64]) -> Metrics:
        """Metrics of a whole validation pass."""


def _joined(rows: Sequence[Row]) -> Batch:
    return Batch.of([example for row in rows for example in row])


class Supervised:
    """Supervised tuning: mean cross-entropy per token of the answers."""

    base_rate: ClassVar[float] = 0.01

    def __init__(self, model: Model) -> None:
        self._model = model

    def gradient(self, rows: Sequence[Row]) -> tuple[Metrics, Gradient]:
        batch = _joined(rows)
        count = len(batch.target)
        logs, hits, gradient = self._model.gradient(batch, np.full(count, 1 / count, np.float32))
        return self._metrics("train", -logs.sum(), hits.sum(), count), gradient

    def measure(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        logs, hits = self._model.score(_joined(rows))
        return np.array([-logs.sum(), hits.sum(), len(hits)], np.float64)

    def evaluation(self, sums: NDArray[np.float64]) -> Metrics:
        return self._metrics("eval", *sums)

    @staticmethod
    def _metrics(kind: str, loss: float, right: float, count: float) -> Metrics:
        return {
            f"/{kind}_total_loss": float(loss / count),
            f"/{kind}_fraction_of_correct_next_step_preds": float(right / count),
            f"/{kind}_num_predictions": float(count),
        }


class Preferred:
    """Preference tuning: the DPO loss (Rafailov et al., https://arxiv.org/abs/2305.18290, equation 7).

    :param beta: weight of the distance from the starting model
    """

    base_rate: ClassVar[float] = 0.001

    def __init__(self, model: Model, beta: float) -> None:
        self._model, self._reference, self._beta = model, model.copy(), beta

    def _margin(self, batch: Batch) -> Floats:
        """How much more than the reference the model prefers the right answer, times beta."""
        logs = self._model.score(batch)[0] - self._reference.score(batch)[0]
        answers = np.bincount(batch.owner, weights=logs)
        return (self._beta * (answers[0::2] - answers[1::2])).astype(np.float32)

    def gradient(self, rows: Sequence[Row]) -> tuple[Metrics, Gradient]:
        batch = _joined(rows)
        margin = self._margin(batch)
        pull = self._beta * np.exp(-np.logaddexp(0, margin)) / len(rows)
        weights = np.stack([pull, -pull], axis=1).ravel()[batch.owner].astype(np.float32)
        loss = float(np.logaddexp(0, -margin).mean())
        return {"/preference_optimization_train_loss": loss}, self._model.gradient(batch, weights)[2]

    def measure(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        return np.array([np.logaddexp(0, -self._margin(_joined(rows))).sum(), len(rows)], np.float64)

    def evaluation(self, sums: NDArray[np.float64]) -> Metrics:
        return {"/eval_total_loss": float(sums[0] / sums[1])}
