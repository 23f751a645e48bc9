"""The scores of a sample that are compared."""

from __future__ import annotations

from vertex_tuning.evaluation.evaluated_rows import scores_of, with_scores
from vertex_tuning.results import EvaluatedRow
from vertex_tuning.scores import AnsweredRow, PairChoice, Preference, Score, ScoredRow

BLEU = "sample.bleu"


def row(number: int, **scores: float) -> EvaluatedRow:
    """A row with a score of each model."""
    return EvaluatedRow(id=str(number), prompt="?", reference="yes", answers={}, scores={BLEU: scores})


def test_two_models_have_scores_of_the_same_rows() -> None:
    rows = [row(number, champion=0.5, challenger=number / 10) for number in range(1, 10)] + [row(10, champion=0.1)]
    assert scores_of(rows, "champion") == {BLEU: [0.5] * 9}
    assert scores_of(rows, "challenger") == {BLEU: [number / 10 for number in range(1, 10)]}


def test_a_value_that_too_many_rows_lack_is_unknown() -> None:
    rows = [row(number, champion=0.5, challenger=0.6) for number in range(8)] + [row(8), row(9)]
    assert scores_of(rows, "champion") == scores_of(rows, "challenger") == {}


def test_a_base_model_whose_answers_cannot_be_scored_prevents_no_comparison() -> None:
    rows = [row(number, champion=0.5, challenger=0.6) for number in range(5)]
    rows += [row(number, champion=0.5, challenger=0.6, baseline=0.1) for number in range(5, 10)]
    assert scores_of(rows, "champion") == {BLEU: [0.5] * 10}
    assert scores_of(rows, "challenger") == {BLEU: [0.6] * 10}
    assert scores_of(rows, "baseline") == {}


def test_scores_of_no_rows() -> None:
    assert scores_of([], "challenger") == {}


def test_choices_and_scores_of_a_judge_become_scores_of_both_models() -> None:
    """A preferred answer scores 1, the other 0, and both 0.5 in a tie. A row with an error is left out."""
    preferred: list[Preference | None] = [*["new"] * 8, "old", "tie", None]  # type: ignore[list-item]
    rows = [row(number) for number in range(len(preferred))]
    scored = [
        ScoredRow(
            AnsweredRow(str(number), "?", "yes", {}),
            {BLEU: {"challenger": Score(1.0), "champion": Score(0.5) if choice else Score(error="Later.")}},
            PairChoice(choice, error="" if choice else "Later."),
        )
        for number, choice in enumerate(preferred)
    ]
    found = with_scores(rows, scored, "challenger", "champion")
    assert scores_of(found, "challenger") == {BLEU: [1.0] * 10, "judge.win_rate": [1.0] * 8 + [0.0, 0.5]}
    assert scores_of(found, "champion") == {BLEU: [0.5] * 10, "judge.win_rate": [0.0] * 8 + [1.0, 0.5]}
    assert found[-1].errors == {BLEU: {"champion": "Later."}}
