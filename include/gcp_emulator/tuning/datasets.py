"""A job's dataset files: checked row by row, copied as the trainer reads them, and counted for `tuningDataStats`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from ..base_models import MAX_EXAMPLE_TOKENS
from ..errors import InvalidArgument
from ..state import Resource
from .rows import CHECKS, Row, RowError, decode

Method = Literal["supervised", "preference"]

MAX_BYTES: Final = 2**30
"""Training file; https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning"""
MAX_ROWS: Final = 10_000_000
MAX_VALIDATION_ROWS: Final = 5000
MAX_LINE: Final = 16 * 2**20
"""Bytes of one row; 131,072 tokens never need as much."""
_SAMPLES: Final = 3
_SAMPLE_TEXT: Final = 400
_SAMPLE_DROPPED: Final = 100
_BUCKETS: Final = 10


@dataclass
class Dataset:
    """The results for one file. The accepted rows are in `path`.

    :param dropped: numbers (from 1) of rows that were left out, and reasons; at most 100
    """

    path: Path
    inputs: array[int] = field(default_factory=lambda: array("q"))
    outputs: array[int] = field(default_factory=lambda: array("q"))
    messages: array[int] = field(default_factory=lambda: array("q"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    characters: int = 0
    dropped_count: int = 0
    dropped: list[tuple[int, str]] = field(default_factory=list)
    samples: list[Resource] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.inputs)

    def add(self, row: Row) -> None:
        self.inputs.append(row.input_tokens)
        self.outputs.append(row.output_tokens)
        self.messages.append(row.messages)
        self.scores.extend(row.scores)
        self.characters += row.characters
        if len(self.samples) < _SAMPLES:
            self.samples.append(row.body)

    def drop(self, number: int, why: str) -> None:
        self.dropped_count += 1
        if len(self.dropped) < _SAMPLE_DROPPED:
            self.dropped.append((number + 1, why))


def inspect(source: Path, target: Path, method: Method, *, legacy: bool = False) -> Dataset:
    """Check every row of a JSONL file and write the accepted ones to `target`.

    :param legacy: whether rows in the form of Gemini 1.0 are accepted
    :raises InvalidArgument: a row is wrong, or the file has no usable row or is too large
    """
    if source.stat().st_size > MAX_BYTES:
        raise InvalidArgument(f"The dataset file is larger than {MAX_BYTES} bytes.")
    dataset = Dataset(target)
    check = CHECKS[method]
    with target.open("wb") as out:
        for number, line in enumerate(_lines(source)):
            try:
                row = check(decode(line, legacy=legacy))
            except RowError as error:
                raise InvalidArgument(f"Row: {number}. {error}") from None
            if row.tokens > MAX_EXAMPLE_TOKENS:
                dataset.drop(number, f"The example has {row.tokens} tokens; at most {MAX_EXAMPLE_TOKENS} are allowed.")
            else:
                dataset.add(row)
                out.write(msgspec.json.encode(row.body) + b"\n")
    if not dataset.rows:
        raise InvalidArgument("The dataset has no valid examples.")
    return dataset


def _lines(source: Path) -> Iterator[bytes]:
    """Lines that are not blank. Messages count these lines only.

    :raises InvalidArgument: a line or the file is too large
    """
    count = 0
    with source.open("rb") as file:
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise InvalidArgument(f"Row: {count}. Longer than {MAX_LINE} bytes.")
            if not line.strip():
                continue
            if count >= MAX_ROWS:
                raise InvalidArgument(f"The dataset has more than {MAX_ROWS} rows.")
            yield line
            count += 1


def check_validation(training: Dataset, validation: Dataset) -> None:
    """Check the size of the validation dataset.

    :raises InvalidArgument: there are more than 5000 rows, or more than 1000 and 30 % of the training rows
    """
    rows, limit = validation.rows, 0.3 * training.rows
    if rows > MAX_VALIDATION_ROWS or (rows > 1000 and rows > limit):
        raise InvalidArgument(
            f"The validation dataset has {rows} examples; at most {MAX_VALIDATION_ROWS} are allowed, and when there "
            f"are more than 1000 at most 30% of the {training.rows} training examples."
        )


def _distribution(values: array[int] | array[float]) -> Resource:
    """Sum, extremes, mean, percentiles and ten buckets of equal width over a population."""
    numbers = np.asarray(values, dtype=np.float64)
    counts, edges = np.histogram(numbers, bins=_BUCKETS)
    p5, median, p95 = (float(value) for value in np.percentile(numbers, (5, 50, 95)))
    return {
        "sum": float(numbers.sum()),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "mean": float(numbers.mean()),
        "median": median,
        "p5": p5,
        "p95": p95,
        "buckets": [
            {"count": int(count), "left": float(left), "right": float(right)}
            for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True)
        ],
    }


def _token_distribution(values: array[int]) -> Resource:
    """The distribution in the older message of supervised tuning: sums are int64, and all tokens are billable."""
    total = str(sum(values))
    return _distribution(values) | {"sum": total, "billableSum": total}


def _preference_distribution(values: array[int] | array[float]) -> Resource:
    made = _distribution(values)
    made["buckets"] = [bucket | {"count": str(bucket["count"])} for bucket in made["buckets"]]
    return made


def data_stats(dataset: Dataset, method: Method) -> Resource:
    """`tuningDataStats` of the training file; `tuningStepCount` is added when training begins.

    Billable tokens are those of one pass over the file, as in a real job.
    """
    tokens = sum(dataset.inputs) + sum(dataset.outputs)
    common = {
        "tuningDatasetExampleCount": str(dataset.rows),
        "totalBillableTokenCount": str(tokens),
    }
    if method == "preference":
        return {"preferenceOptimizationDataStats": common | _preference_stats(dataset)}
    return {"supervisedTuningDataStats": common | _supervised_stats(dataset)}


def _supervised_stats(dataset: Dataset) -> Resource:
    stats: Resource = {
        "totalTuningCharacterCount": str(dataset.characters),
        "totalBillableCharacterCount": str(dataset.characters),
        "totalTruncatedExampleCount": str(dataset.dropped_count),
        "userInputTokenDistribution": _token_distribution(dataset.inputs),
        "userOutputTokenDistribution": _token_distribution(dataset.outputs),
        "userMessagePerExampleDistribution": _token_distribution(dataset.messages),
        "userDatasetExamples": [_cut(turn) for row in dataset.samples for turn in row["contents"]],
    }
    if dataset.dropped:
        stats["truncatedExampleIndices"] = [str(number) for number, _ in dataset.dropped]
        stats["droppedExampleReasons"] = [why for _, why in dataset.dropped]
    return stats


def _preference_stats(dataset: Dataset) -> Resource:
    scores = np.asarray(dataset.scores).reshape(-1, 2)
    stats: Resource = {
        "userInputTokenDistribution": _preference_distribution(dataset.inputs),
        "userOutputTokenDistribution": _preference_distribution(dataset.outputs),
        "scoresDistribution": _preference_distribution(dataset.scores),
        "scoreVariancePerExampleDistribution": _preference_distribution(array("d", scores.var(axis=1))),
        "userDatasetExamples": [_cut_preference(row) for row in dataset.samples],
    }
    if dataset.dropped:
        stats["droppedExampleIndices"] = [str(number) for number, _ in dataset.dropped]
        stats["droppedExampleReasons"] = [why for _, why in dataset.dropped]
    return stats


def _cut(turn: Resource) -> Resource:
    """A turn whose texts are cut near 400 characters, as the service shows samples."""
    parts = [
        {"text": text[:_SAMPLE_TEXT] + "..." if len(text) > _SAMPLE_TEXT else text}
        for text in (part["text"] for part in turn["parts"] if "text" in part)
    ]
    return {"role": turn["role"], "parts": parts}


def _cut_preference(row: Resource) -> Resource:
    completions = [{"score": item["score"], "completion": _cut(item["completion"])} for item in row["completions"]]
    return {"contents": [_cut(turn) for turn in row["contents"]], "completions": completions}
