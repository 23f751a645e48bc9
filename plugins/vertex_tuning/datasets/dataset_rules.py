"""Rules for a dataset as a whole, applied after all rows are checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from vertex_tuning.datasets.duplicates import Pair
from vertex_tuning.datasets.findings import Finding, describe
from vertex_tuning.datasets.limits import (
    FREE_VALIDATION_ROWS,
    MAX_DATASET_BYTES,
    MAX_MULTIMODAL_ROWS,
    MAX_ROWS,
    MAX_VALIDATION_BYTES_SHARE,
    MAX_VALIDATION_ROWS,
    MAX_VALIDATION_SHARE,
)
from vertex_tuning.datasets.validator import Totals
from vertex_tuning.results import Statistics

_MIN_LABELLED: Final = 20
"""Fewest rows with short answers in a classification dataset. This and the figures below are this project's own."""
_LABELLED_SHARE: Final = 0.9
_ROWS_PER_LABEL: Final = 5
_ONE_SIDED: Final = 0.9
_NAMED: Final = 5
_OUTLIER: Final = 4
"""Factor of an outlier: so many times longer than 95 % of the rows, or shorter than 95 % of them."""

_PAIRS: Final = {
    "duplicate": ("the same example as {}", "each example once"),
    "contradiction": ("another answer than {} to the same prompt", "one answer to a prompt"),
    "leak": ("the same example as {}, which is in another set", "examples that no other set has"),
}


def size_limits(name: str, rows: int, size: int, multimodal: int) -> Iterator[Finding]:
    """Check the limits of any dataset.

    :param name: name of the dataset, as the user knows it
    :param rows: number of accepted rows
    :param size: size in bytes
    :param multimodal: number of rows with files
    """
    if not rows:
        yield _error("no_rows", name, "no usable rows", "at least one")
    if size > MAX_DATASET_BYTES:
        yield _error("bytes", name, f"{size} bytes", f"at most {MAX_DATASET_BYTES}")
    if rows > MAX_ROWS:
        yield _error("rows", name, f"{rows} rows", f"at most {MAX_ROWS}")
    elif multimodal and rows > MAX_MULTIMODAL_ROWS:
        yield _error("rows", name, f"{rows} rows, {multimodal} of them with files", f"at most {MAX_MULTIMODAL_ROWS}")


def dropped_limit(name: str, dropped: int, rows: int, max_share: float) -> Iterator[Finding]:
    """Check the limit of dropped rows.

    :param name: name of the dataset, as the user knows it
    :param dropped: number of dropped rows
    :param rows: number of all rows, with the dropped rows
    :param max_share: largest allowed share of dropped rows, from 0 to 1
    """
    if dropped > max_share * rows:
        share = dropped / rows
        yield _error("dropped", name, f"{dropped} of {rows} rows ({share:.1%}) unusable", f"at most {max_share:.1%}")


def most_validation_rows(training_rows: int) -> int:
    """The largest number of validation rows that the service accepts for a number of training rows."""
    return min(MAX_VALIDATION_ROWS, max(FREE_VALIDATION_ROWS, int(MAX_VALIDATION_SHARE * training_rows)))


def validation_limits(name: str, rows: int, size: int, training_rows: int, training_size: int) -> Iterator[Finding]:
    """Check the size of the validation set.

    :param name: name of the validation set, as the user knows it
    :param rows: number of validation rows
    :param size: size of the validation set in bytes
    :param training_rows: number of training rows
    :param training_size: size of the training set in bytes
    """
    if rows > MAX_VALIDATION_ROWS:
        yield _error("validation_rows", name, f"{rows} rows", f"at most {MAX_VALIDATION_ROWS} for validation")
    elif rows > FREE_VALIDATION_ROWS and rows > MAX_VALIDATION_SHARE * training_rows:
        expected = f"at most {MAX_VALIDATION_SHARE:.0%} of the {training_rows} training rows, or {FREE_VALIDATION_ROWS}"
        yield _error("validation_rows", name, f"{rows} rows", expected)
    if size > MAX_VALIDATION_BYTES_SHARE * training_size:
        expected = f"at most {MAX_VALIDATION_BYTES_SHARE:.0%} of the {training_size} bytes for training"
        yield _warning("validation_bytes", name, f"{size} bytes", f"{expected}: some models accept no more")


def pair_finding(pair: Pair, names: Sequence[str]) -> Finding:
    """The warning about a duplicate, a leak or a contradiction.

    :param pair: the example and the earlier example
    :param names: names of the files, by their number
    """
    found, expected = _PAIRS[pair.kind]
    file = f" of {names[pair.first.file]}" if pair.first.file != pair.place.file else ""
    found = found.format(f"line {pair.first.line}{file}")
    return _warning(pair.kind, names[pair.place.file], found, expected, pair.place.line)


def leakage(name: str, rows: int, leaks: int, max_share: float) -> Iterator[Finding]:
    """Check how many test rows are also in the training or the validation data.

    :param name: name of the test set, as the user knows it
    :param rows: number of its rows
    :param leaks: number of rows that another set has, too
    :param max_share: largest allowed share of such rows
    """
    if leaks > max_share * rows:
        found = f"{leaks} of {rows} rows ({leaks / rows:.1%}) that are also training or validation data"
        yield _error(
            "leakage", name, found, f"at most {max_share:.1%} (max_leakage), so that the test proves something"
        )


def uncompared(name: str, rows: int) -> Iterator[Finding]:
    """Warn about rows that were not compared. The memory for rows with the same prompt is limited.

    :param name: name of the dataset, as the user knows it
    :param rows: number of rows that were not compared
    """
    if rows:
        found = f"{rows} rows that were not compared with the others, because a prompt occurs too often"
        yield _warning("not_compared", name, found, "prompts that differ")


def outliers(totals: Totals, statistics: Statistics, names: Sequence[str]) -> Iterator[Finding]:
    """Warn about rows that are far longer or shorter than nearly all others.

    :param totals: totals of the rows
    :param statistics: statistics of the same rows
    :param names: names of the files, by their number
    """
    inputs, outputs = statistics.user_input_token_distribution, statistics.user_output_token_distribution
    if inputs is None or outputs is None:
        return
    high, low = inputs.p95 + outputs.p95, inputs.p5 + outputs.p5
    for size, file, line in totals.longest:
        if -size > _OUTLIER * high:
            expected = f"a length similar to the others (95 % have at most about {high:.0f})"
            yield _warning("long_outlier", names[file], f"about {-size} tokens", expected, line)
    for tokens, file, line in totals.shortest:
        if tokens * _OUTLIER < low:
            expected = f"a length similar to the others (95 % have at least about {low:.0f})"
            yield _warning("short_outlier", names[file], f"about {tokens} tokens", expected, line)


def labels_of(totals: Totals) -> dict[str, int]:
    """Number of occurrences of each answer if the answers are labels of a classifier; otherwise empty.

    Answers are labels if they are short and repeat often.
    """
    labels = {label: count for label, count in (totals.labels or {}).items() if label}
    labelled = sum(labels.values())
    are_labels = labelled >= max(_MIN_LABELLED, _LABELLED_SHARE * totals.rows, _ROWS_PER_LABEL * len(labels))
    return labels if are_labels else {}


def label_findings(name: str, labels: dict[str, int]) -> Iterator[Finding]:
    """Warn about labels from which a classifier learns little.

    :param name: name of the dataset, as the user knows it
    :param labels: number of occurrences of each label; empty if the answers are not labels
    """
    if not labels:
        return
    total, (most, count) = sum(labels.values()), max(labels.items(), key=lambda item: item[1])
    if count > _ONE_SIDED * total:
        found = f"the answer {describe(most)} in {count} of {total} rows"
        yield _warning("one_sided_labels", name, found, "answers that differ")
    if rare := [label for label, times in labels.items() if times < _ROWS_PER_LABEL]:
        found = f"{len(rare)} answers in fewer than {_ROWS_PER_LABEL} rows: {_listed(rare)}"
        yield _warning("rare_labels", name, found, "more examples of each")
    if alike := _alike(labels):
        yield _warning(
            "similar_labels", name, f"answers that differ only in case or spaces: {_listed(alike)}", "one spelling"
        )


def _alike(labels: dict[str, int]) -> list[str]:
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault("".join(label.split()).casefold(), []).append(label)
    return [label for similar in spellings.values() if len(similar) > 1 for label in similar]


def label_differences(name: str, training: dict[str, int], validation: dict[str, int]) -> Iterator[Finding]:
    """Warn about labels that only the training set or only the validation set has.

    :param name: name of the validation set, as the user knows it
    :param training: number of occurrences of each label in the training set
    :param validation: number of occurrences of each label in the validation set
    """
    if not training or not validation:
        return
    if unknown := sorted(validation.keys() - training.keys()):
        found = f"{len(unknown)} answers that the training set does not have: {_listed(unknown)}"
        yield _warning("unknown_labels", name, found, "answers that are in the training set")
    if absent := sorted(training.keys() - validation.keys()):
        found = f"no example of {len(absent)} answers of the training set: {_listed(absent)}"
        yield _warning("empty_labels", name, found, "an example of each")


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(map(describe, labels[:_NAMED])) + more


def _error(kind: str, file: str, found: str, expected: str) -> Finding:
    return Finding(kind, "error", file, found=found, expected=expected)


def _warning(kind: str, file: str, found: str, expected: str, line: int = 0) -> Finding:
    return Finding(kind, "warning", file, line, found=found, expected=expected)
