"""Training of one job, as a generator that does a little at a time, so that many jobs can share one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from include.gcp_emulator.dataset import Dataset, Row
from include.gcp_emulator.engine import Adam, Batch, Floats, Gradient, Model
from include.gcp_emulator.tokens import Vocabulary

Metrics = dict[str, float]

BASE_RATE = 0.01
_WARM_UP = 0.05
_EVALUATIONS_PER_EPOCH = 2
_EVALUATED_TOGETHER = 64


@dataclass(frozen=True)
class TrainRequest:
    """What to train on and how.

    :param job: resource name of the tuning job, the key of all its events
    :param training: JSONL file
    :param validation: JSONL file; without it there are no evaluations
    :param adapter_rank: 1, 2, 4, 8, 16 or 32; sets the width of the model
    :param beta: of preference tuning: how much straying from the starting model costs
    :param base_weights: a model to go on from
    :param output_dir: where checkpoints are written
    :param step_seconds: least wall time per step, 0 = as fast as it goes
    """

    job: str
    training: Path
    validation: Path | None
    method: Literal["supervised", "preference"]
    epochs: int
    learning_rate_multiplier: float
    adapter_rank: int
    beta: float
    base_weights: Path | None
    output_dir: Path
    last_checkpoint_only: bool
    step_seconds: float
    seed: int


@dataclass(frozen=True)
class Step:
    """A training step was done; metrics are those of its batch before the step."""

    job: str
    step: int
    total_steps: int
    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class Evaluation:
    """The validation dataset was gone through after a step."""

    job: str
    step: int
    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class Checkpoint:
    """A model was saved; ids count from "1"."""

    job: str
    checkpoint_id: str
    epoch: int
    step: int
    weights: Path


@dataclass(frozen=True)
class Done:
    """The job has been trained to its end."""

    job: str


@dataclass(frozen=True)
class Failed:
    """The job cannot go on."""

    job: str
    message: str


Event = Step | Evaluation | Checkpoint | Done | Failed


class TrainingError(Exception):
    """Why training cannot go on, in words for the job's owner."""


class Objective(Protocol):
    """What a step makes smaller, and how it is reported."""

    def gradient(self, rows: Sequence[Row]) -> tuple[Metrics, Gradient]:
        """A step's metrics and the gradient of its loss."""

    def measure(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Sums over some validation rows, to be added up for :meth:`evaluation`."""

    def evaluation(self, sums: NDArray[np.float64]) -> Metrics:
        """Metrics of a whole validation pass."""


def _joined(rows: Sequence[Row]) -> Batch:
    return Batch.of([example for row in rows for example in row])


class Supervised:
    """Write the rows' answers: mean cross-entropy per token."""

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
    """Prefer one answer to another: the DPO loss (Rafailov et al., https://arxiv.org/abs/2305.18290, equation 7).

    :param beta: how much straying from the model as it is now costs
    """

    def __init__(self, model: Model, beta: float) -> None:
        self._model, self._reference, self._beta = model, model.copy(), beta

    def _margin(self, batch: Batch) -> Floats:
        """By how much more than the reference the model prefers the right answer, times beta."""
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


def batch_size(rows: int) -> int:
    """Rows per step: about fifty steps an epoch, of at least 4 and at most 64 rows."""
    return min(max(rows // 50, 4), 64)


def checkpoint_epochs(epochs: int) -> list[int]:
    """Epochs after which a checkpoint is kept: each of up to ten, ten evenly spread of more, always the last
    (https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/checkpoints)."""
    count = min(epochs, 10)
    return [round(number * epochs / count) for number in range(1, count + 1)]


def rate(step: int, total: int) -> float:
    """Learning rate of a step, for a multiplier of 1: a short warm-up, then down to nothing in a straight line."""
    return BASE_RATE * min(1.0, step / (_WARM_UP * total)) * (1 - (step - 1) / total)


def train(request: TrainRequest) -> Iterator[Event | None]:
    """Train a job; yields its events but for Failed, and None whenever others may have a turn.

    :raises DatasetError: when a row cannot be trained on
    :raises TrainingError: when the loss is no longer a number
    :raises OSError: when a file cannot be read or written
    """
    preference = request.method == "preference"
    training = Dataset(request.training, preference)
    yield from training.scan()
    validation = Dataset(request.validation, preference) if request.validation else None
    if validation is not None:
        yield from validation.scan()
    rng = np.random.default_rng(request.seed)
    model = _starting_model(request, training, rng)
    run = _Run(request, model, training, validation, rng)
    yield from run.events()
    yield Done(request.job)


def _starting_model(request: TrainRequest, training: Dataset, rng: np.random.Generator) -> Model:
    base = Model.load(request.base_weights) if request.base_weights else None
    vocabulary = Vocabulary.learn(training.counts, base.vocabulary if base else None)
    start = base or Model.empty()
    return start.grown(vocabulary, request.adapter_rank, rng)


class _Run:
    """The loop over epochs and steps."""

    def __init__(
        self,
        request: TrainRequest,
        model: Model,
        training: Dataset,
        validation: Dataset | None,
        rng: np.random.Generator,
    ) -> None:
        self._request, self._model, self._rng = request, model, rng
        self._training, self._validation = training, validation
        preference = request.method == "preference"
        self._objective: Objective = Preferred(model, request.beta) if preference else Supervised(model)
        self._adam = Adam(model)
        self._steps_per_epoch = -(-len(training) // batch_size(len(training)))
        self._total = self._steps_per_epoch * request.epochs

    def events(self) -> Iterator[Event | None]:
        step = 0
        every = -(-self._steps_per_epoch // _EVALUATIONS_PER_EPOCH)
        for epoch in range(1, self._request.epochs + 1):
            order = self._rng.permutation(len(self._training))
            for place, numbers in enumerate(np.array_split(order, self._steps_per_epoch), start=1):
                step += 1
                yield Step(self._request.job, step, self._total, epoch, self._step(step, numbers.tolist()))
                if self._validation is not None and (place % every == 0 or place == self._steps_per_epoch):
                    yield from self._evaluate(self._validation, step, epoch)
            yield from self._keep(step, epoch)

    def _step(self, step: int, numbers: Sequence[int]) -> Metrics:
        metrics, gradient = self._objective.gradient([self._training.row(n, self._model) for n in numbers])
        if not np.isfinite(list(metrics.values())).all():
            raise TrainingError(f"The loss at step {step} is not a number; lower the learning rate multiplier.")
        self._adam.update(gradient, rate(step, self._total) * self._request.learning_rate_multiplier)
        return metrics

    def _evaluate(self, validation: Dataset, step: int, epoch: int) -> Iterator[Event | None]:
        sums = np.zeros(1)
        for start in range(0, len(validation), _EVALUATED_TOGETHER):
            numbers = range(start, min(start + _EVALUATED_TOGETHER, len(validation)))
            sums = sums + self._objective.measure([validation.row(n, self._model) for n in numbers])
            yield None
        yield Evaluation(self._request.job, step, epoch, self._objective.evaluation(sums))

    def _keep(self, step: int, epoch: int) -> Iterator[Event]:
        kept = checkpoint_epochs(self._request.epochs)
        if self._request.last_checkpoint_only:
            kept = kept[-1:]
        if epoch in kept:
            checkpoint_id = str(kept.index(epoch) + 1)
            path = self._request.output_dir / f"checkpoint-{checkpoint_id}.npz"
            self._model.save(path)
            yield Checkpoint(self._request.job, checkpoint_id, epoch, step, path)
