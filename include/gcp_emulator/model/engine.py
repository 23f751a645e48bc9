"""The small language model: one hidden layer over hashed prompt features and the tokens written so far.

A conditional log-linear model with a hidden layer. The embeddings of the prompt's features (tokens.py), of the two
previous output tokens and of the position are summed. Then come tanh and a softmax over the next output token. It is
small enough to learn labels or short answers in seconds on one core. It is real: losses, accuracies and
log-probabilities are measured.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tokens import BUCKETS, END, Ids, Vocabulary, count_tokens

__all__ = ["Adam", "Batch", "Example", "Model", "count_tokens"]

Floats = NDArray[np.float32]
Gradient = dict[str, tuple[Ids | None, Floats]]

UNITS_PER_RANK = 16
MAX_ANSWER = 256
_POSITIONS = 64
_SLICE = 2048
_BETA1, _BETA2, _EPSILON = 0.9, 0.99, 1e-8


class Example(NamedTuple):
    """A prompt's features with their weights, and the ids of the answer, the end included."""

    features: Ids
    weights: Floats
    answer: Ids


@dataclass(frozen=True)
class Batch:
    """A batch of examples. Arrays over tokens have one entry per token of all answers.

    :param features: distinct features of all prompts
    :param bag: weight of each feature in each prompt, prompts x features
    :param owner: number of the prompt that each token belongs to
    """

    features: Ids
    bag: Floats
    owner: Ids
    target: Ids
    previous: Ids
    before: Ids
    position: Ids

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Batch:
        buckets = np.concatenate([e.features for e in examples])
        place = np.zeros(BUCKETS, np.int32)
        place[buckets] = 1
        features = np.flatnonzero(place).astype(np.int32)
        place[features] = np.arange(len(features))
        bag = np.zeros((len(examples), len(features)), np.float32)
        prompt = np.repeat(np.arange(len(examples)), [len(e.features) for e in examples])
        # Two groups of one prompt may share a bucket: the later weight counts, as in any hash collision.
        bag[prompt, place[buckets]] = np.concatenate([e.weights for e in examples])
        lengths = [len(e.answer) for e in examples]
        places = np.concatenate([np.arange(length) for length in lengths])
        return cls(
            features=features,
            bag=bag,
            owner=np.repeat(np.arange(len(examples), dtype=np.int32), lengths),
            target=np.concatenate([e.answer for e in examples]),
            previous=np.concatenate([_shift(e.answer, 1) for e in examples]),
            before=np.concatenate([_shift(e.answer, 2) for e in examples]),
            position=np.minimum(places, _POSITIONS - 1).astype(np.int32),
        )


def _shift(answer: Ids, by: int) -> Ids:
    """The token `by` places earlier; END before the beginning."""
    return np.concatenate([np.full(by, END, np.int32), answer])[: len(answer)]


class Model:
    """The parameters of a model, and its computations.

    :param vocabulary: the output tokens
    :param parameters: arrays by name: tables `prompt`, `previous`, `before`, `position` (rows x width), `hidden_bias`
        (width), `output` (width x tokens), `output_bias` (tokens)
    """

    def __init__(self, vocabulary: Vocabulary, parameters: dict[str, Floats]) -> None:
        self.vocabulary = vocabulary
        self.parameters = parameters

    @property
    def width(self) -> int:
        return len(self.parameters["hidden_bias"])

    @classmethod
    def empty(cls) -> Model:
        """A model without words and training."""
        return cls(Vocabulary([]), _empty(width=0, tokens=0))

    def grown(self, vocabulary: Vocabulary, adapter_rank: int, rng: np.random.Generator) -> Model:
        """A copy with more words (the old ones first) and at least the width of the adapter's rank.

        The prompt table starts at zero, so that features that training never saw have no effect.
        """
        width = max(self.width, UNITS_PER_RANK * adapter_rank)
        parameters = _empty(width, len(vocabulary))
        for name in ("previous", "before", "position", "output"):
            parameters[name] += 0.1 * rng.standard_normal(parameters[name].shape, np.float32)
        # The new units must not change the results of the old ones.
        parameters["output"][self.width :, : len(self.parameters["output_bias"])] = 0
        for name, old in self.parameters.items():
            parameters[name][tuple(slice(size) for size in old.shape)] = old
        return Model(vocabulary, parameters)

    def save(self, path: Path) -> None:
        """Write the model as .npz, atomically. Of the prompt table only trained rows are written."""
        rows = np.flatnonzero(self.parameters["prompt"].any(axis=1))
        arrays: dict[str, NDArray[Any]] = self.parameters | {"prompt": self.parameters["prompt"][rows]}
        words = np.frombuffer(json.dumps(self.vocabulary.words).encode(), np.uint8)
        unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez(file, allow_pickle=False, words=words, prompt_rows=rows, **arrays)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read what :meth:`save` wrote.

        :raises OSError: the file cannot be read
        :raises ValueError: the file is not a model
        """
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        words, rows = json.loads(arrays.pop("words").tobytes()), arrays.pop("prompt_rows")
        prompt = np.zeros((BUCKETS, arrays["prompt"].shape[1]), np.float32)
        prompt[rows] = arrays["prompt"]
        return cls(Vocabulary(words), arrays | {"prompt": prompt})

    def copy(self) -> Model:
        return Model(self.vocabulary, {name: array.copy() for name, array in self.parameters.items()})

    def answer(self, text: str) -> Ids:
        """The ids of an answer and the end; the first :data:`MAX_ANSWER` of a long answer."""
        return np.array([*self.vocabulary.encode(text)[: MAX_ANSWER - 1], END], np.int32)

    def hidden(self, batch: Batch, prompts: Floats, part: slice) -> Floats:
        p = self.parameters
        total = prompts[batch.owner[part]] + p["previous"][batch.previous[part]]
        total += p["before"][batch.before[part]] + p["position"][batch.position[part]] + p["hidden_bias"]
        hidden: Floats = np.tanh(total)
        return hidden

    def log_probs(self, hidden: Floats) -> Floats:
        """Log-probability of every token after each hidden state."""
        scores = hidden @ self.parameters["output"] + self.parameters["output_bias"]
        scores -= scores.max(axis=-1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        return scores

    def read(self, features: Ids, weights: Floats) -> Floats:
        """The prompt's part of the hidden layer, for :meth:`next_log_probs`."""
        state: Floats = weights @ self.parameters["prompt"][features] + self.parameters["hidden_bias"]
        return state

    def next_log_probs(self, state: Floats, previous: int, before: int, position: int) -> Floats:
        """Log-probability of every token after the last two; END stands for a missing token."""
        p = self.parameters
        place = p["position"][min(position, _POSITIONS - 1)]
        hidden: Floats = np.tanh(state + p["previous"][previous] + p["before"][before] + place)
        return self.log_probs(hidden)

    def score(self, batch: Batch) -> tuple[Floats, NDArray[np.bool_]]:
        """The log-probability of each token of the answers, and whether it is the likeliest token."""
        prompts = batch.bag @ self.parameters["prompt"][batch.features]
        picked = [
            _pick(self.log_probs(self.hidden(batch, prompts, part)), batch.target[part])
            for part in _slices(len(batch.target))
        ]
        return np.concatenate([logs for logs, _ in picked]), np.concatenate([hits for _, hits in picked])

    def gradient(self, batch: Batch, weights: Floats) -> tuple[Floats, NDArray[np.bool_], Gradient]:
        """The results of :meth:`score`, and the gradient of the loss `-sum(weights * log-probability)`."""
        p = self.parameters
        prompts = batch.bag @ p["prompt"][batch.features]
        output, bias = np.zeros_like(p["output"]), np.zeros_like(p["output_bias"])
        into = np.empty((len(batch.target), self.width), np.float32)
        picked = []
        for part in _slices(len(batch.target)):
            hidden = self.hidden(batch, prompts, part)
            logs = self.log_probs(hidden)
            picked.append(_pick(logs, batch.target[part]))
            error = np.exp(logs)
            error[np.arange(len(error)), batch.target[part]] -= 1
            error *= weights[part, None]
            output += hidden.T @ error
            bias += error.sum(axis=0)
            into[part] = (error @ p["output"].T) * (1 - hidden * hidden)
        gradient: Gradient = {"output": (None, output), "output_bias": (None, bias)}
        gradient["hidden_bias"] = (None, into.sum(axis=0))
        gradient["prompt"] = (batch.features, batch.bag.T @ _sum_by(batch.owner, into)[1])
        for name in ("previous", "before", "position"):
            gradient[name] = _sum_by(getattr(batch, name), into)
        return np.concatenate([logs for logs, _ in picked]), np.concatenate([hits for _, hits in picked]), gradient


def _slices(count: int) -> list[slice]:
    """Slices of the tokens, so that memory is bounded."""
    return [slice(start, min(start + _SLICE, count)) for start in range(0, count, _SLICE)]


def _pick(log_probs: Floats, target: Ids) -> tuple[Floats, NDArray[np.bool_]]:
    return log_probs[np.arange(len(target)), target], log_probs.argmax(axis=1) == target


def _sum_by(index: Ids, values: Floats) -> tuple[Ids, Floats]:
    """Distinct numbers of `index`, and the sum of the rows of `values` at each."""
    order = np.argsort(index, kind="stable")
    distinct, starts = np.unique(index[order], return_index=True)
    return distinct, np.add.reduceat(values[order], starts, axis=0)


def _empty(width: int, tokens: int) -> dict[str, Floats]:
    shapes = {
        "prompt": (BUCKETS, width),
        "previous": (tokens, width),
        "before": (tokens, width),
        "position": (_POSITIONS, width),
        "hidden_bias": (width,),
        "output": (width, tokens),
        "output_bias": (tokens,),
    }
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


class Adam:
    """Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980). Of a table only rows with a gradient are updated."""

    def __init__(self, model: Model) -> None:
        self._parameters = model.parameters
        self._mean = {name: np.zeros_like(array) for name, array in model.parameters.items()}
        self._square = {name: np.zeros_like(array) for name, array in model.parameters.items()}
        self._step = 0

    def update(self, gradient: Gradient, rate: float) -> None:
        """One step of size about `rate` against the gradient."""
        self._step += 1
        rate *= (1 - _BETA2**self._step) ** 0.5 / (1 - _BETA1**self._step)
        for name, (rows, slope) in gradient.items():
            at = slice(None) if rows is None else rows
            mean, square, parameter = self._mean[name][at], self._square[name][at], self._parameters[name][at]
            mean += (1 - _BETA1) * (slope - mean)
            square += (1 - _BETA2) * (slope * slope - square)
            change = np.sqrt(square)
            change += _EPSILON
            np.divide(mean, change, out=change)
            change *= rate
            parameter -= change
            if rows is not None:
                self._mean[name][rows], self._square[name][rows] = mean, square
                self._parameters[name][rows] = parameter
