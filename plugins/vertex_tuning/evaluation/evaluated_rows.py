"""The examples of the sample with the responses of all models. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.results import EvaluatedRow, SmokeAnswer

EXACT: Final = "exact_share"
"""Name of the score of exact answers, which every sample has."""

ID_LENGTH: Final = 12
"""Characters of a row's id."""


def evaluated_rows(cases: Sequence[SmokeCase], answers: Mapping[str, Sequence[SmokeAnswer]]) -> list[EvaluatedRow]:
    """Join the examples with the responses of the models.

    :param cases: the examples
    :param answers: responses of each model, in the order of the examples
    """
    return [_row(case, {model: given[index] for model, given in answers.items()}) for index, case in enumerate(cases)]


def _row(case: SmokeCase, answers: Mapping[str, SmokeAnswer]) -> EvaluatedRow:
    return EvaluatedRow(
        id=row_id(case),
        prompt=case.question,
        reference=str(case.equals or ""),
        answers={model: answer.answer for model, answer in answers.items()},
        problems={model: answer.problem for model, answer in answers.items() if answer.problem},
        scores={EXACT: {model: float(not answer.problem) for model, answer in answers.items()}},
    )


def row_id(case: SmokeCase) -> str:
    """A hash of the prompt and the expected response."""
    content = msgspec.json.encode([case.contents(), case.system_instruction, case.equals])
    return hashlib.sha256(content).hexdigest()[:ID_LENGTH]


def scores_of(rows: Sequence[EvaluatedRow], model: str) -> dict[str, list[float]]:
    """The scores of a model, by metric, in the order of the rows; without metrics that miss a row.

    :param model: `champion`, `challenger` or `baseline`
    """
    found: dict[str, list[float]] = {}
    for metric in dict.fromkeys(metric for row in rows for metric in row.scores):
        scores = [row.scores[metric][model] for row in rows if model in row.scores.get(metric, {})]
        if len(scores) == len(rows):
            found[metric] = scores
    return found
