"""The evidence in a report: which answers it shows, in which order, and how much of them."""

from __future__ import annotations

from typing import Any

import msgspec
from vertex_tuning.report import evidence
from vertex_tuning.report.build import build
from vertex_tuning.report.content import Comparison
from vertex_tuning.report.page import shade, to_html, to_json
from vertex_tuning.report.parts import MAX_ANSWERS
from vertex_tuning.results import ComparisonResult, EvaluatedRow, EvaluationResult, ModelRef, PromotionRule
from vertex_tuning.scores import PairChoice, WinRate

from tests.support import report_samples as samples


def parse(evaluation: dict[str, Any]) -> EvaluationResult:
    return msgspec.convert(evaluation, EvaluationResult)


def compared(evaluation: dict[str, Any]) -> Comparison:
    found = evidence.comparison(parse(evaluation))
    assert found
    return found


def test_answers_that_differ_come_first_and_first_of_all_what_only_the_new_model_gets_wrong() -> None:
    row = samples.sampled_row
    rows = [
        row(0, "a", champion="a", challenger=" a "),
        row(1, "a", champion="b", challenger="a"),
        row(2, "a", champion="b", challenger="c"),
        row(3, "a", champion="a", challenger="b"),
        row(4, "a", champion="b", challenger="b"),
    ]
    rows[0]["problems"] = {}
    found = compared(samples.compared_evaluation(rows, baseline=""))
    assert [(int(pair.name, 16), pair.differs) for pair in found.answers] == [
        (3, True),
        (2, True),
        (1, True),
        (4, False),
        (0, False),
    ]
    assert (found.answered, found.differing) == (5, 3)
    assert {pair.reference for pair in found.answers} == {"a"}


def test_graded_answers_are_in_the_order_of_their_loss() -> None:
    rows = [samples.sampled_row(number, "text", champion="old", challenger="new") for number in range(3)]
    for row, score in zip(rows, (0.4, 0.1, 0.7), strict=True):
        row["scores"]["sample.rouge_l_sum"] = {"champion": 0.5, "challenger": score}
    evaluation = samples.compared_evaluation(rows)
    evaluation["comparison"]["rule"] = {"value": "sample.rouge_l_sum"}
    assert [int(pair.name, 16) for pair in compared(evaluation).answers] == [1, 0, 2]
    page = to_html(build(samples.undecided(evaluation)))
    assert page.count("score 0.5<") == 3
    assert page.count("score 0.1<") == 1
    assert "First those that the new model gets worse." in page


def test_of_many_answers_some_are_shown_and_the_page_names_the_file_with_all() -> None:
    rows = [samples.sampled_row(n, f"right {n}", champion=f"right {n}", challenger="wrong") for n in range(120)]
    given = samples.undecided(samples.compared_evaluation(rows))
    report = build(given)
    assert report.comparison
    assert report.sample
    assert len(report.comparison.answers) == len(report.sample.answers) == MAX_ANSWERS
    assert (report.comparison.differing, report.sample.total) == (120, 120)
    page = to_html(report)
    for words in ("50 of 120 answers that differ are shown.", "50 of 120 answers are shown."):
        assert f"{words[:-1]}. All are in <bdi" in page, words
    assert page.count(f"{samples.FOLDER}/runs/0011223344556677/evaluation.json</bdi>") == 2


def test_wrong_answers_of_the_sample_are_kept() -> None:
    answers = evidence.sample_answers(parse(samples.compared_evaluation(samples.sampled_rows(400))))
    assert answers
    assert (answers.passed, answers.total) == (340, 400)
    assert all(answer.problem for answer in answers.answers)


def test_without_the_rows_the_counts_are_shown() -> None:
    given = samples.undecided(samples.compared_evaluation(rows=None) | {"rows": []})
    report = build(given)
    assert report.sample
    assert (report.sample.total, report.sample.answers, report.labels) == (200, [], None)
    assert "170 of 200 (85%) answers are as expected." in to_html(report)


def test_a_first_model_is_compared_with_the_base_model() -> None:
    report = build(samples.first())
    assert report.comparison
    assert (report.comparison.champion, report.comparison.rule) == ("", "")
    assert (report.comparison.gain, report.comparison.differing) == (None, 200)
    assert {pair.champion for pair in report.comparison.answers} == {None}
    page = to_html(report)
    assert "none: this is the first model" in page
    assert "Where new model and base model differ" in page
    assert "Model in use</th>" not in page


def test_a_first_model_alone_is_compared_with_nothing() -> None:
    assert evidence.comparison(parse(samples.first_evaluation() | {"baseline": ""})) is None


def test_the_settings_are_shown_as_they_were_sent() -> None:
    sent = {
        "temperature": 0.0,
        "stop_sequences": ["<b>", "\u202e"],
        "response_json_schema": {"type": "object"},
        "thinking_config": {"thinking_budget": None, "thinking_level": "MINIMAL"},
    }
    found = compared(samples.compared_evaluation(settings=sent)).settings
    assert [(fact.name, fact.value) for fact in found] == [
        ("Temperature", 0.0),
        ("Stop sequences", '["<b>","\\u202e"]'),
        ("Response json schema", '{"type":"object"}'),
        ("Thinking level", "MINIMAL"),
    ]


def test_an_undecided_run_says_how_many_examples_would_decide() -> None:
    report = build(samples.compared())
    assert (report.verdict.outcome, report.verdict.title) == ("undecided", "Undecided")
    assert [step.state for step in report.steps if step.name == "Evaluation"] == ["undecided"]
    page = to_html(report)
    for words in (
        "The sample cannot show whether the new model is good enough. The model in use stays.",
        "About 8,340 would",
        "<dd>about 8,340</dd>",
        "<dd>-5 (-8.36 to -1.86)</dd>",
    ):
        assert words in page, words


def test_hostile_labels_and_answers_are_text_and_bounded() -> None:
    report = build(samples.hostile_rows())
    assert report.labels
    assert len(report.labels.labels) == 30
    assert max(map(len, report.labels.labels)) == 500
    page = to_html(report)
    assert "\u202e" not in page
    assert "<script" not in page
    assert "<img" not in page
    assert len(page) < 500_000
    assert len(to_json(report)) < 500_000


def test_a_cell_of_the_matrix_is_darker_the_more_examples_it_has() -> None:
    assert [shade(count, 100) for count in (0, 1, 25, 26, 75, 100)] == [0, 1, 1, 2, 3, 4]


def test_a_judges_choices_and_reasons_are_shown() -> None:
    rate = WinRate(observed=0.75, lower=0.6, upper=0.88, confidence=0.95, wins=2, losses=0, ties=2)
    choice = PairChoice("new", ("Names <b>the</b> day.",))
    row = EvaluatedRow("1", "?", "a", {"champion": "b", "challenger": "a"}, choice=choice)
    shown = evidence.comparison(
        EvaluationResult(
            verdict="better",
            champion=ModelRef("old"),
            comparison=ComparisonResult(PromotionRule("judge.win_rate"), win_rate=rate),
            rows=[row],
        )
    )
    assert shown
    assert shown.judge == (
        "The judge's choices: 2 for the new model, 0 for the other, 2 ties. Win rate 75 % (lower bound 60 %, "
        "upper bound 88 %, each with 95 % confidence); a tie counts half."
    )
    assert shown.answers[0].judged == "Prefers the new model. Names <b>the</b> day."
