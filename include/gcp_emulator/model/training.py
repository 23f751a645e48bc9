"""Training of one job, as a generator of small steps, so that many jobs can share one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .dataset import Dataset
from .engine import Adam, Model
from .objectives import Metrics, Objective, Preferred, Supervised
from .tokens import Vocabulary

_WARM_UP = 0.05
_TAUGHT_EPOCHS = 3
_EVALUATED_TOGETHER = 64


@dataclass(frozen=True)
class TrainRequest:
    """The data and settings of a training.

    :param job: resource name of the tuning job, the key of all its events
    :param training: JSONL file
    :param validation: JSONL file; without it there are no evaluations
    :param adapter_rank: 1, 2, 4, 8, 16 or 32; sets the width of the model
    :param beta: for preference tuning: weight of the distance from the starting model
    :param base_weights: file of the model to continue from
    :param output_dir: folder for checkpoints
    :param step_seconds: smallest wall time per step; 0 for full speed
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
    """A training step has ended; the metrics are those of its batch before the step."""

    job: str
    step: int
    total_steps: int
    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class Evaluation:
    """The validation dataset was evaluated after a step."""

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
    """Training cannot go on; the message is for the job's owner."""


def batch_size(rows: int) -> int:
    """Rows per step: about fifty steps an epoch, of at least 4 and at most 64 rows."""
    return min(max(rows // 50, 4), 64)


def checkpoint_epochs(epochs: int) -> list[int]:
    """Epochs after which a checkpoint is kept: all of up to ten epochs, or ten evenly spread, with the last.

    Source: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/checkpoints.
    """
    count = min(epochs, 10)
    return [round(number * epochs / count) for number in range(1, count + 1)]


def schedule(step: int, total: int) -> float:
    """Share of the learning rate at a step: a short warm-up, then down to nothing in a straight line."""
    return min(1.0, step / (_WARM_UP * total)) * (1 - (step - 1) / total)


def train(request: TrainRequest) -> Iterator[Event | None]:
    """Train a job. Yields its events except Failed, and None when another job may have a turn.

    :raises DatasetError: a row cannot be trained on
    :raises TrainingError: the loss is no longer a number
    :raises OSError: a file cannot be read or written
    """
    preference = request.method == "preference"
    with ExitStack() as files:
        training = files.enter_context(closing(Dataset(request.training, preference)))
        yield from training.scan()
        validation = None
        if request.validation is not None:
            validation = files.enter_context(closing(Dataset(request.validation, preference)))
            yield from validation.scan()
        rng = np.random.default_rng(request.seed)
        model = _starting_model(request, training, rng)
        if preference and request.base_weights is None:
            yield from _teach(model, training, rng)
        yield from _Run(request, model, training, validation, rng).events()
    yield Done(request.job)


def _starting_model(request: TrainRequest, training: Dataset, rng: np.random.Generator) -> Model:
    base = Model.load(request.base_weights) if request.base_weights else None
    vocabulary = Vocabulary.learn(training.counts, base.vocabulary if base else None)
    return (base or Model.empty()).grown(vocabulary, request.adapter_rank, rng)


def _teach(model: Model, training: Dataset, rng: np.random.Generator) -> Iterator[None]:
    """Teach a new model to write both answers before it learns which to prefer. A real base model can already write."""
    objective, adam = Supervised(model), Adam(model)
    steps = [numbers for _ in range(_TAUGHT_EPOCHS) for numbers in _batches(training, rng)]
    for step, numbers in enumerate(steps, start=1):
        _, gradient = objective.gradient([training.row(n, model) for n in numbers])
        adam.update(gradient, objective.base_rate * schedule(step, len(steps)))
        yield None


def _batches(training: Dataset, rng: np.random.Generator) -> list[list[int]]:
    """The numbers of all rows in random order, step by step."""
    order = rng.permutation(len(training))
    count = -(-len(order) // batch_size(len(order)))
    return [numbers.tolist() for numbers in np.array_split(order, count)]


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
        self._total = request.epochs * -(-len(training) // batch_size(len(training)))

    def events(self) -> Iterator[Event | None]:
        step = 0
        for epoch in range(1, self._request.epochs + 1):
            batches = _batches(self._training, self._rng)
            evaluated = {-(-len(batches) // 2), len(batches)}
            for place, numbers in enumerate(batches, start=1):
                step += 1
                yield Step(self._request.job, step, self._total, epoch, self._step(step, numbers))
                if self._validation is not None and place in evaluated:
                    yield from self._evaluate(self._validation, step, epoch)
            yield from self._keep(step, epoch)

    def _step(self, step: int, numbers: Sequence[int]) -> Metrics:
        metrics, gradient = self._objective.gradient([self._training.row(n, self._model) for n in numbers])
        if not np.isfinite(list(metrics.values())).all():
            raise TrainingError(f"The loss at step {step} is not a number; lower the learning rate multiplier.")
        rate = self._objective.base_rate * self._request.learning_rate_multiplier
        self._adam.update(gradient, rate * schedule(step, self._total))
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
