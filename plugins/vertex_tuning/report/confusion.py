"""Which labels a model confuses, and how well it knows each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from vertex_tuning.results import EvaluatedRow

MAX_LABELS: Final = 30
"""Most labels of a confusion matrix: more do not fit on a page."""

ROWS_PER_LABEL: Final = 2
"""Fewest rows for each label, on average: references that do not repeat are no labels."""

NO_LABEL: Final = ""
"""Stands for each answer that is no label; a label is never empty."""

CellCounts = Mapping[tuple[str, str], int]
"""Number of rows by the expected label and the label of the answer."""


class LabelScores(msgspec.Struct, frozen=True):
    """How well a model knows a label, from 0 to 1.

    :param precision: share of the answers with this label that are right; None if no answer has it
    :param recall: share of the rows with this label that the model gets right
    :param f1: harmonic mean of precision and recall; 0 if no answer with this label is right
    """

    precision: float | None
    recall: float
    f1: float


class LabelTable(msgspec.Struct, frozen=True):
    """The answers to a sample by their labels.

    :param labels: expected labels, the most frequent first
    :param support: number of rows of each label
    :param matrix: answers of the new model: a row for each expected label, with the number of answers of each label,
        and last the number of other answers
    :param scores: by model (`champion`, `challenger`, `baseline`), its scores for each label
    """

    labels: list[str]
    support: list[int]
    matrix: list[list[int]]
    scores: dict[str, list[LabelScores]]


def label_table(rows: Sequence[EvaluatedRow]) -> LabelTable | None:
    """Count the answers by label; None if the references are no labels, or too many.

    :param rows: the sample with the answers of each model
    """
    support = Counter(row.reference.strip() for row in rows)
    labels = sorted(support, key=lambda label: (-support[label], label))
    if NO_LABEL in support or not 2 <= len(labels) <= MAX_LABELS or len(rows) < ROWS_PER_LABEL * len(labels):
        return None
    models = [model for model in ("champion", "challenger", "baseline") if all(model in row.answers for row in rows)]
    if "challenger" not in models:
        return None
    counts = {model: Counter(_cell(row, model, support) for row in rows) for model in models}
    return LabelTable(
        labels=labels,
        support=[support[label] for label in labels],
        matrix=[[counts["challenger"][expected, found] for found in (*labels, NO_LABEL)] for expected in labels],
        scores={model: [_scores(label, counts[model], support[label]) for label in labels] for model in models},
    )


def _cell(row: EvaluatedRow, model: str, labels: Mapping[str, int]) -> tuple[str, str]:
    """The expected label and the label of the answer. An answer that was cut off has no label."""
    expected, answer = row.reference.strip(), row.answers[model].strip()
    if not row.problems.get(model):
        return expected, expected
    return expected, answer if answer in labels and answer != expected else NO_LABEL


def _scores(label: str, counts: CellCounts, support: int) -> LabelScores:
    right = counts[label, label]
    answered = sum(count for (_, found), count in counts.items() if found == label)
    return LabelScores(
        precision=right / answered if answered else None,
        recall=right / support,
        f1=2 * right / (answered + support),
    )
