"""The rule for better, and what it says about two models."""

from __future__ import annotations

import math

import pytest
from vertex_tuning.evaluation.comparison import JudgedModel, comparison_table, judge_models
from vertex_tuning.evaluation.gates import parse_gates
from vertex_tuning.results import PromotionRule, SmokeAnswer


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
        (PromotionRule("x"), 0.8, 0.75, "X: 0.75, model in use 0.8. The new model must be no worse."),
        (
            PromotionRule("x", higher_is_better=False),
            0.7,
            0.8,
            "X: 0.8, model in use 0.7. The new model must be no worse.",
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
        (PromotionRule("x"), 0.8, 0.79999999, "X: 0.79999999, model in use 0.8. The new model must be no worse."),
    ],
)
def test_why_not(rule: PromotionRule, champion: float | None, challenger: float | None, reason: str) -> None:
    assert reasons(rule, champion, challenger) == [reason]


def test_shares_are_told_in_percent() -> None:
    sides = [JudgedModel({"sample.exact_share": value}) for value in (0.96, 0.61)]
    rule = PromotionRule("sample.exact_share", min_gain=0.02)
    label = "Exact answers on the sample"
    assert judge_models(PromotionRule("sample.exact_share"), [], "fail", sides[1], sides[0]).reasons == [
        f"{label}: 61 %, model in use 96 %. The new model must be no worse."
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
        "X: 0.5, model in use 0.9. The new model must be no worse.",
    ]
    assert {name: (both.champion, both.challenger) for name, both in judged.values.items()} == {
        "x": (0.9, 0.5),
        "loss": (0.05, 0.2),
        "y": (None, None),
    }
    assert comparison_table(judged.values).splitlines()[2].split() == ["x", "-", "0.9", "0.5"]
    alone = judge_models(PromotionRule("x"), gates[1:2], "fail", challenger, None)
    assert (alone.verdict, alone.reasons) == ("first", [])


def sampled(right: str) -> list[SmokeAnswer]:
    """Answers to a sample: `1` for a right one."""
    return [
        SmokeAnswer(f"sample {number}", "?", "text", "" if mark == "1" else "wrong", 0.1, 5, "STOP")
        for number, mark in enumerate(right)
    ]


def model(right: str) -> JudgedModel:
    return JudgedModel.of({}, [], sampled(right), {"sample.exact_share": [float(mark) for mark in right]})


EXACT = PromotionRule("sample.exact_share")


def test_the_base_model_gives_values_for_gates() -> None:
    gates = parse_gates([{"value": "sample.gain_over_base", "min": 0.5}, {"value": "baseline.exact_share", "max": 0.1}])
    judged = judge_models(EXACT, gates, "fail", model("1110"), None, model("0110"))
    assert (judged.verdict, judged.reasons) == (
        "refused",
        [
            "Gain over the base model: 25 %, expected at least 50 %.",
            "Exact answers of the base model: 50 %, expected at most 10 %.",
        ],
    )
    shares = judged.values["sample.exact_share"]
    assert (shares.baseline, shares.champion, shares.challenger) == (0.5, None, 0.75)


def test_a_refusal_by_a_gate_goes_before_an_undecided_comparison() -> None:
    gates = parse_gates([{"value": "sample.exact_share", "min": 0.9}])
    judged = judge_models(EXACT, gates, "fail", model("1100"), model("1110"))
    assert judged.verdict == "refused"
    assert len(judged.reasons) == 1
    assert judge_models(EXACT, [], "fail", model("1100"), model("1110")).verdict == "undecided"
