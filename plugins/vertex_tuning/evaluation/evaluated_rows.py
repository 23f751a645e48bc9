"""The examples of the sample with the responses of all models and their scores. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from vertex_tuning.evaluation.cases import SmokeCase, judge_prompt
from vertex_tuning.evaluation.value_names import EXACT_SHARE
from vertex_tuning.results import EvaluatedRow, SmokeAnswer
from vertex_tuning.scores import WIN_RATE, AnsweredRow, Preference, ScoredRow

ID_LENGTH: Final = 12
"""Characters of a row's id."""

MAX_MISSING: Final = 0.1
"""Largest share of the examples without a score of a value: with more of them, the others are no sample any more."""

_POINTS: Final[dict[Preference, tuple[float, float]]] = {"new": (1.0, 0.0), "old": (0.0, 1.0), "tie": (0.5, 0.5)}
"""Scores of the two responses of a pair."""


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
        scores={EXACT_SHARE: {model: float(not answer.problem) for model, answer in answers.items()}},
    )


def row_id(case: SmokeCase) -> str:
    """A hash of the prompt and the expected response."""
    content = msgspec.json.encode([case.contents(), case.system_instruction, case.equals])
    return hashlib.sha256(content).hexdigest()[:ID_LENGTH]


def answered_rows(cases: Sequence[SmokeCase], rows: Sequence[EvaluatedRow]) -> list[AnsweredRow]:
    """The rows as metrics take them, with the whole prompt. Their ids are numbers: the sample may repeat an example.

    :param cases: the examples
    :param rows: the same examples with the responses
    """
    return [
        AnsweredRow(f"{number} {row.id}", judge_prompt(case), row.reference, row.answers)
        for number, (case, row) in enumerate(zip(cases, rows, strict=True), 1)
    ]


def with_scores(rows: Sequence[EvaluatedRow], scored: Sequence[ScoredRow], new: str, old: str) -> list[EvaluatedRow]:
    """The rows with scores, reasons and choices.

    :param scored: the same rows, scored
    :param new: name of the model that a judge prefers or not
    :param old: name of the model that it is compared with
    """
    return [_with_scores(row, found, new, old) for row, found in zip(rows, scored, strict=True)]


def _with_scores(row: EvaluatedRow, scored: ScoredRow, new: str, old: str) -> EvaluatedRow:
    scores, reasons, errors = dict(row.scores), dict[str, dict[str, str]](), dict[str, dict[str, str]]()
    for value, by_model in scored.scores.items():
        scores[value] = {model: score.value for model, score in by_model.items() if score.value is not None}
        reasons[value] = {model: score.reason for model, score in by_model.items() if score.reason}
        errors[value] = {model: score.error for model, score in by_model.items() if score.error}
    if scored.choice and scored.choice.preferred:
        scores[WIN_RATE] = dict(zip((new, old), _POINTS[scored.choice.preferred], strict=True))
    return msgspec.structs.replace(
        row,
        scores=scores,
        reasons={value: texts for value, texts in reasons.items() if texts},
        errors={value: texts for value, texts in errors.items() if texts},
        choice=scored.choice,
    )


def scores_of(rows: Sequence[EvaluatedRow], model: str) -> dict[str, list[float]]:
    """The scores of a model by value, in the order of the rows.

    A model whose scores of a value are missing in too many rows has no scores of this value. A row counts if it has a
    score of each of the other models, so that the lists of two models have the same rows.

    :param model: `champion`, `challenger` or `baseline`
    """
    found: dict[str, list[float]] = {}
    for value in dict.fromkeys(value for row in rows for value in row.scores):
        scored = Counter(name for row in rows for name in row.scores.get(value, ()))
        models = {name for name, number in scored.items() if _is_enough(number, len(rows))}
        complete = [row.scores[value] for row in rows if models <= row.scores.get(value, {}).keys()]
        if model in models and _is_enough(len(complete), len(rows)):
            found[value] = [scores[model] for scores in complete]
    return found


def _is_enough(scored: int, rows: int) -> bool:
    return scored >= (1 - MAX_MISSING) * rows
