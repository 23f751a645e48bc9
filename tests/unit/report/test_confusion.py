"""Labels of a sample: which are confused, and how well each is known; all numbers are counted by hand."""

from __future__ import annotations

import pytest
from vertex_tuning.report.confusion import MAX_LABELS, LabelScores, label_table
from vertex_tuning.results import EvaluatedRow


def row(reference: str, challenger: str, champion: str | None = None, *, cut_off: bool = False) -> EvaluatedRow:
    answers = {"challenger": challenger, **({} if champion is None else {"champion": champion})}
    problems = {model: "wrong" for model, text in answers.items() if text.strip() != reference.strip() or cut_off}
    return EvaluatedRow(id="", prompt="?", reference=reference, answers=answers, problems=problems)


def test_counts_and_scores_are_those_counted_by_hand() -> None:
    # cat: 4 rows, 3 are right and 1 is called dog; dog: 3 rows, 1 right, 1 cat, 1 no label; owl: 1 row, called cat.
    rows = [
        *[row("cat", "cat", "cat")] * 3,
        row("cat", "dog", "cat"),
        row("dog", "dog", "dog"),
        row("dog", "cat", "dog"),
        row("dog", "I do not know.", "cat"),
        row("owl", "cat", "owl"),
    ]
    table = label_table(rows)
    assert table
    assert table.labels == ["cat", "dog", "owl"]
    assert table.support == [4, 3, 1]
    assert table.matrix == [[3, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0]]
    # cat: answered 5 times, 3 are right; dog: answered twice, 1 is right; owl: never answered.
    assert table.scores["challenger"] == [
        LabelScores(precision=3 / 5, recall=3 / 4, f1=6 / 9),
        LabelScores(precision=1 / 2, recall=1 / 3, f1=2 / 5),
        LabelScores(precision=None, recall=0.0, f1=0.0),
    ]
    assert table.scores["champion"] == [
        LabelScores(precision=4 / 5, recall=1.0, f1=8 / 9),
        LabelScores(precision=1.0, recall=2 / 3, f1=4 / 5),
        LabelScores(precision=1.0, recall=1.0, f1=1.0),
    ]
    assert "baseline" not in table.scores


def test_space_around_an_answer_does_not_count_and_an_answer_that_was_cut_off_is_no_label() -> None:
    rows = [row(" a", "a\n"), row("a", "a", cut_off=True), row("b", "b "), row("b", "")]
    table = label_table(rows)
    assert table
    assert table.matrix == [[1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    "references",
    [
        [],
        ["yes"] * 20,
        [f"A sentence of its own, number {number}." for number in range(25)],
        [f"label {number % (MAX_LABELS + 1)}" for number in range(400)],
        ["a", "b", "a", "b", " "],
    ],
    ids=["none", "one label", "sentences", "too many", "an empty one"],
)
def test_references_that_are_no_labels_have_no_table(references: list[str]) -> None:
    assert label_table([row(reference, reference) for reference in references]) is None


def test_thirty_labels_have_a_table_and_a_sample_nobody_answered_has_none() -> None:
    rows = [row(f"label {number % MAX_LABELS}", "label 0") for number in range(60)]
    table = label_table(rows)
    assert table
    assert len(table.matrix) == MAX_LABELS
    assert {len(counts) for counts in table.matrix} == {MAX_LABELS + 1}
    assert sum(map(sum, table.matrix)) == 60
    unanswered = [EvaluatedRow(id="", prompt="?", reference=found.reference, answers={}) for found in rows]
    assert label_table(unanswered) is None
