"""`evaluation.metrics`, as people write it."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.costs.recommendations import TUNING_TASKS
from vertex_tuning.evaluation.sample_metrics import (
    DEFAULT_METRICS,
    MAX_CRITERIA,
    METRIC_NAMES,
    METRIC_VALUES,
    PAIRWISE,
    default_metrics,
    metric_mistakes,
    needs_judge,
    parse_metrics,
)
from vertex_tuning.evaluation.value_names import impossible_limit, needs_sample, unknown_value
from vertex_tuning.exceptions import ConfigurationError

ALL: list[Any] = [
    "exact_match", "token_f1", "rouge_l_sum", "bleu", "general_quality", "text_quality",
    {"pairwise": "text_quality"}, {"rubric": "Names every date."}, {"rubric": "  Is polite. "},
]  # fmt: skip


def test_each_metric_has_a_value_for_gates_and_rule() -> None:
    parsed = parse_metrics(ALL)
    assert [metric.value for metric in parsed] == [
        "sample.exact_match", "sample.token_f1", "sample.rouge_l_sum", "sample.bleu", "judge.general_quality",
        "judge.text_quality", "judge.win_rate", "judge.rubric", "judge.rubric_2",
    ]  # fmt: skip
    assert {metric.value for metric in parsed} < set(METRIC_VALUES)
    assert [metric.criteria for metric in parsed[-2:]] == ["Names every date.", "Is polite."]


def test_what_needs_a_reference_and_what_a_judge() -> None:
    parsed = parse_metrics(ALL)
    assert [metric.name for metric in parsed if metric.needs_reference] == [
        "exact_match", "token_f1", "rouge_l_sum", "bleu",
    ]  # fmt: skip
    assert [metric.is_judged for metric in parsed] == [False] * 4 + [True] * 5
    assert needs_judge(parsed)
    assert not needs_judge(parsed[:4])


@pytest.mark.parametrize("name", METRIC_VALUES)
def test_values_are_known_shares_of_the_sample(name: str) -> None:
    assert unknown_value("gates[0].value", name) == ""
    assert needs_sample(name)
    assert "from 0 to 1" in impossible_limit("gates[0].max", name, 2)


@pytest.mark.parametrize("task", [*TUNING_TASKS, "translation", "", None])
def test_each_task_has_metrics_that_fit(task: str | None) -> None:
    assert parse_metrics(default_metrics(task))


def test_defaults_are_for_the_tasks_that_a_tuning_can_have() -> None:
    assert set(DEFAULT_METRICS) == set(TUNING_TASKS)
    assert default_metrics("summarization") == ["rouge_l_sum", {"pairwise": "summarization_quality"}]


@pytest.mark.parametrize(
    ("metrics", "mistake"),
    [
        (None, "found None, expected a list such as [exact_match, {pairwise: text_quality}]."),
        ([], "found [], expected a list"),
        ("bleu", "found 'bleu', expected a list"),
        ({"bleu": 1}, "found {'bleu': 1}, expected a list"),
        (["blue"], "metrics[0]: found 'blue', did you mean `bleu`?"),
        (["exact match"], "metrics[0]: found 'exact match', did you mean `exact_match`?"),
        (["bleu", "zzz"], f"metrics[1]: found 'zzz', expected one of {', '.join(METRIC_NAMES)}."),
        (["fluency"], "metrics[0]: found 'fluency', expected {pairwise: fluency}: it compares two answers."),
        ([None], "metrics[0]: found None, expected a name, {pairwise: NAME} or {rubric: CRITERIA}."),
        ([7], "metrics[0]: found 7, expected a name"),
        ([["bleu"]], "metrics[0]: found ['bleu'], expected a name"),
        ([{}], "metrics[0]: found {}, expected a name"),
        ([{"pairwise": "fluency", "rubric": "x"}], "expected a name, {pairwise: NAME} or {rubric: CRITERIA}."),
        ([{"pair": "fluency"}], "metrics[0]: found the field 'pair', did you mean `pairwise`?"),
        ([{1: "fluency"}], "metrics[0]: found the field 1, expected one of pairwise, rubric."),
        ([{"pairwise": None}], "metrics[0].pairwise: found None, expected a name such as text_quality."),
        ([{"pairwise": "textquality"}], "metrics[0].pairwise: found 'textquality', did you mean `text_quality`?"),
        ([{"pairwise": "zzz"}], f"metrics[0].pairwise: found 'zzz', expected one of {', '.join(PAIRWISE)}."),
        ([{"rubric": " "}], "metrics[0].rubric: found ' ', expected criteria for the judge, as a text."),
        ([{"rubric": ["polite"]}], "metrics[0].rubric: found ['polite'], expected criteria"),
        ([{"rubric": "Has {dates}."}], "metrics[0].rubric: found a brace, expected text without braces"),
        ([{"rubric": "a\0b"}], "metrics[0].rubric: found the control character \\x00, expected plain text."),
        ([{"rubric": "x" * (MAX_CRITERIA + 1)}], "metrics[0].rubric: found 4,001 characters, expected at most 4,000."),
        (["bleu", "bleu"], "found 'bleu' 2 times, expected each metric once."),
        ([{"pairwise": "fluency"}, {"pairwise": "safety"}], "found 2 pairwise metrics, expected one"),
        ([{"rubric": str(number)} for number in range(6)], "found 6 rubrics, expected at most 5."),
        (["bleu"] * 11, "found 11 of them, expected at most 10."),
    ],
)
def test_a_mistake_names_field_found_and_expected(metrics: Any, mistake: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_metrics(metrics)
    assert mistake in str(refused.value)
    assert str(refused.value).startswith("evaluation.metrics")


def test_all_mistakes_at_once() -> None:
    assert len(list(metric_mistakes(["blue", {"rubric": ""}, 3]))) == 3


def test_a_template_is_checked_in_the_run() -> None:
    metrics = ["{{ params.metric }}", {"pairwise": "{{ params.quality }}"}]
    assert list(metric_mistakes(metrics)) == []
    with pytest.raises(ConfigurationError, match=r"metrics\[0\]"):
        parse_metrics(metrics)
