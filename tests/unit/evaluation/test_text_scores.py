from __future__ import annotations

import pytest
from vertex_tuning.evaluation.text_scores import exact_match, token_f1


@pytest.mark.parametrize(
    ("answer", "score"), [("billing", 1), (" billing\n", 1), ("Billing", 0), ("billing.", 0), ("", 0)]
)
def test_exact_match_is_for_programs_that_read_labels(answer: str, score: float) -> None:
    assert exact_match(answer, "billing") == score


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1),
        ("in 1889", "1889", 2 * 1 / 3),
        ("a b b", "b b c", 2 * 2 / 5),  # "a" is an article
        ("Paris", "London", 0),
        ("", "London", 0),
        ("the", "a", 1),  # no words on either side
        ("don't", "dont", 1),
    ],
)
def test_token_f1_as_in_squad(answer: str, reference: str, score: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(score)
    assert token_f1(reference, answer) == pytest.approx(score)
