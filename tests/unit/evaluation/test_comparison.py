"""The rule for better, and what it says about two models."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.comparison import JudgedModel, comparison_table, judge_models, parse_rule
from vertex_tuning.evaluation.gates import parse_gates
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.results import PromotionRule, SmokeAnswer

CASES = parse_cases([{"name": "lost", "prompt": "Lost?"}, {"name": "late", "prompt": "Late?"}])


def answers(**problems: str) -> list[SmokeAnswer]:
    """By name of the case what is wrong with its answer."""
    return [SmokeAnswer(name, f"{name}?", "text", problem, 0.1, 5, "STOP") for name, problem in problems.items()]


def reasons(rule: PromotionRule, champion: float | None, challenger: float | None) -> list[str]:
    sides = [JudgedModel({} if value is None else {"x": value}) for value in (champion, challenger)]
    return judge_models(rule, [], "fail", sides[1], sides[0]).reasons


@pytest.mark.parametrize(
    ("rule", "champion", "challenger", "is_better"),
    [
        (PromotionRule("x"), 0.8, 0.9, True),
        (PromotionRule("x"), 0.8, 0.8, True),  # as good, and learnt from newer data
        (PromotionRule("x"), 0.8, 0.7, False),
        (PromotionRule("x", higher_is_better=False), 0.8, 0.7, True),
        (PromotionRule("x", higher_is_better=False), 0.7, 0.8, False),
        (PromotionRule("x", min_gain=0.1), 0.8, 0.9, True),  # whose difference is a little less than 0.1
        (PromotionRule("x", min_gain=0.1), 0.8, 0.89, False),
        (PromotionRule("x", higher_is_better=False, min_gain=0.1), 0.8, 0.7, True),
        (PromotionRule("x", higher_is_better=False, min_gain=0.1), 0.8, 0.75, False),
        (PromotionRule("x"), math.nan, 0.9, False),
        (PromotionRule("x"), 0.1, math.nan, False),
        (PromotionRule("x"), None, 0.9, False),
        (PromotionRule("x"), 0.1, None, False),
        (PromotionRule("x"), None, None, False),
    ],
)
def test_better(rule: PromotionRule, champion: float | None, challenger: float | None, is_better: bool) -> None:
    assert (reasons(rule, champion, challenger) == []) is is_better


@pytest.mark.parametrize(
    ("rule", "champion", "challenger", "reason"),
    [
        (PromotionRule("x"), 0.8, 0.75, "X: 0.75, model in use 0.8. The new model must not be worse."),
        (
            PromotionRule("x", higher_is_better=False),
            0.7,
            0.8,
            "X: 0.8, model in use 0.7. The new model must not be worse.",
        ),
        (
            PromotionRule("x", min_gain=0.1),
            0.8,
            0.85,
            "X: 0.85, model in use 0.8. The new model must be at least 0.1 higher.",
        ),
        (
            PromotionRule("x", higher_is_better=False, min_gain=0.1),
            0.8,
            0.75,
            "X: 0.75, model in use 0.8. The new model must be at least 0.1 lower.",
        ),
        (PromotionRule("x"), 0.8, None, "X: unknown for the new model, so the models cannot be compared."),
        (PromotionRule("x"), None, 0.8, "X: unknown for the model in use, so the models cannot be compared."),
        (PromotionRule("x"), None, None, "X: unknown for both models, so the models cannot be compared."),
        (PromotionRule("x"), 0.8, 0.79999999, "X: 0.79999999, model in use 0.8. The new model must not be worse."),
    ],
)
def test_why_not(rule: PromotionRule, champion: float | None, challenger: float | None, reason: str) -> None:
    assert reasons(rule, champion, challenger) == [reason]


def test_shares_are_told_in_percent() -> None:
    sides = [JudgedModel({"sample.exact_share": value}) for value in (0.96, 0.61)]
    rule = PromotionRule("sample.exact_share", min_gain=0.02)
    label = "Exact answers on the validation sample"
    assert judge_models(PromotionRule("sample.exact_share"), [], "fail", sides[1], sides[0]).reasons == [
        f"{label}: 61 %, model in use 96 %. The new model must not be worse."
    ]
    assert judge_models(rule, [], "fail", sides[0], sides[0]).reasons == [
        f"{label}: 96 %, model in use 96 %. The new model must be at least 2 percentage points higher."
    ]


@pytest.mark.parametrize(("new", "verdict"), [(0.9, "better"), (0.8, "equal"), (0.8 + 1e-12, "equal")])
def test_as_good_is_not_called_better(new: float, verdict: str) -> None:
    assert (
        judge_models(PromotionRule("x"), [], "fail", JudgedModel({"x": new}), JudgedModel({"x": 0.8})).verdict
        == verdict
    )


def test_only_named_cases_that_passed_before_are_regressions() -> None:
    champion = JudgedModel.of({}, answers(lost="", late="", new="wrong"), [])
    challenger = JudgedModel.of({}, answers(lost="wrong", late="wrong", new="wrong"), [])
    rule = PromotionRule("smoke.pass_share", higher_is_better=False, no_regression=["lost", "new"])
    assert judge_models(rule, [], "fail", challenger, champion).reasons == [
        "Case 'lost' fails (wrong), and passes with the model in use."
    ]


def test_what_is_asked_now_counts_before_what_was_asked_earlier() -> None:
    side = JudgedModel.of({"smoke.pass_share": 1.0, "loss": 0.2}, answers(lost="", late="wrong"), answers(a=""))
    assert side.values == {
        "smoke.pass_share": 0.5,
        "sample.exact_share": 1.0,
        "smoke.latency_p95": 0.1,
        "loss": 0.2,
    }


def test_gates_and_rule_together() -> None:
    gates = parse_gates(
        [{"value": "loss", "max": 0.1}, {"value": "loss", "max_increase": 0.05}, {"value": "y", "min": 1}]
    )
    champion, challenger = JudgedModel({"loss": 0.05, "x": 0.9}), JudgedModel({"loss": 0.2, "x": 0.5})
    judged = judge_models(PromotionRule("x"), gates, "fail", challenger, champion)
    assert judged.verdict == "refused"
    assert judged.reasons == [
        "Loss: 0.2, expected at most 0.1.",
        "Loss: 0.2, expected at most 0.05 higher than the model in use (0.05).",
        "Y: unknown, expected at least 1.",
        "X: 0.5, model in use 0.9. The new model must not be worse.",
    ]
    assert msgspec.to_builtins(judged.values) == {
        "x": {"champion": 0.9, "challenger": 0.5},
        "loss": {"champion": 0.05, "challenger": 0.2},
        "y": {"champion": None, "challenger": None},
    }
    assert comparison_table(judged.values).splitlines()[2].split() == ["x", "0.9", "0.5"]
    alone = judge_models(PromotionRule("x"), gates[1:2], "fail", challenger, None)
    assert (alone.verdict, alone.reasons, alone.values) == ("first", [], {})


def test_a_rule_as_yaml_has_it() -> None:
    rule = {"value": "sample.exact_share", "higher_is_better": True, "min_gain": 0.02, "no_regression": ["lost"]}
    assert parse_rule(rule, CASES) == PromotionRule("sample.exact_share", True, 0.02, ["lost"])
    assert parse_rule({"value": "x"}) == PromotionRule("x")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (None, "rule: found None"),
        ([], "rule: found"),
        ({}, "missing required field `value`"),
        ({"value": " "}, "the name of a value"),
        ({"value": "x", "min_gain": math.nan}, "min_gain from 0"),
        ({"value": "x", "min_gain": math.inf}, "min_gain from 0"),
        ({"value": "x", "min_gain": -0.1}, "min_gain from 0"),
        ({"value": "x", "min_gain": "much"}, "min_gain"),
        ({"value": "x", "margin": 0.1}, "unknown field `margin`"),
        ({"value": "x", "higher_is_better": "no"}, "higher_is_better"),
        ({"value": "x", "no_regression": ["Lost"]}, r"rule.no_regression: found 'Lost', expected .*lost.*late"),
        ({"value": "x", "no_regression": "lost"}, "no_regression"),
    ],
)
def test_a_wrong_rule(rule: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_rule(rule, CASES)
