"""The promotion rule: how it is written, and what it says about two models."""

from __future__ import annotations

import math
from typing import Any

import pytest
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.promotion_rule import RuleResult, RuleValue, compare_models, parse_rule
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.results import PromotionRule

CASES = parse_cases([{"name": "lost", "prompt": "Lost?"}, {"name": "late", "prompt": "Late?"}])
EXACT = PromotionRule("sample.exact_share")


def compared(rule: PromotionRule, *, both: int, better: int = 0, worse: int = 0, none: int = 0) -> RuleResult:
    """Compare two models by the number of examples that both, only the new, only the old or none answers rightly."""
    new = [1.0] * (both + better) + [0.0] * (worse + none)
    old = [1.0] * both + [0.0] * better + [1.0] * worse + [0.0] * none
    return compare_models(rule, *(RuleValue(sum(side) / len(side), side) for side in (new, old)))


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({"both": 450, "better": 25, "worse": 5, "none": 20}, "better"),
        ({"both": 470, "better": 10, "worse": 10, "none": 10}, "equal"),
        ({"both": 500}, "equal"),
        ({"both": 430, "better": 10, "worse": 40, "none": 20}, "refused"),
        ({"both": 450, "better": 10, "worse": 20, "none": 20}, "undecided"),
        ({"both": 20}, "undecided"),  # agreement on so few examples shows little
        ({"both": 0, "none": 500}, "undecided"),  # two useless models
    ],
)
def test_a_sample_decides_by_the_bound_of_its_gain(counts: dict[str, int], verdict: str) -> None:
    assert compared(EXACT, **counts).verdict == verdict


def test_an_undecided_comparison_says_what_would_decide() -> None:
    found = compared(EXACT, both=450, better=10, worse=20, none=20)
    assert found.reasons == [
        "Exact answers on the sample: 92 %, model in use 94 %. Gain -2 percentage points (lower bound "
        "-3.93, upper bound -0.207, each with 95 % confidence). The new model must be shown to be at most 2 percentage "
        "points lower.",
        "500 examples cannot tell, and the gain is too close to the limit for any sample.",
    ]
    few = compared(EXACT, both=90, better=3, worse=3, none=4)
    assert few.verdict == "undecided"
    assert few.needed
    assert (
        f"100 examples cannot tell. About {few.needed:,} would, if the models go on to differ as often."
    ) in few.reasons
    times = math.ceil(few.needed / 100)
    assert compared(EXACT, both=90 * times, better=3 * times, worse=3 * times, none=4 * times).verdict == "equal"


def test_a_refusal_says_by_how_much() -> None:
    found = compared(EXACT, both=430, better=10, worse=40, none=20)
    assert found.reasons[0].startswith(
        "Exact answers on the sample: 88 %, model in use 94 %. Gain -6 percentage points"
    )
    assert found.gain
    assert found.gain.p_value == pytest.approx(2.4e-5, rel=0.1)


def test_more_can_be_asked_for() -> None:
    gain = PromotionRule("sample.exact_share", min_gain=0.0)
    assert compared(gain, both=470, better=10, worse=10, none=10).verdict == "undecided"
    assert compared(gain, both=450, better=25, worse=5, none=20).verdict == "better"


def test_without_confidence_the_bare_numbers_are_compared() -> None:
    bare = PromotionRule("sample.exact_share", confidence=None)
    assert compared(bare, both=20) == RuleResult("equal")
    assert compared(bare, both=18, better=1, worse=0, none=1) == RuleResult("better")
    assert compared(bare, both=18, worse=1, none=1).verdict == "refused"
    loose = PromotionRule("sample.exact_share", confidence=None, min_gain=-0.1)
    assert compared(loose, both=18, worse=1, none=1).verdict == "equal"


def test_graded_scores_are_compared_by_a_paired_bootstrap() -> None:
    old = [0.5 + 0.4 * math.sin(number) for number in range(300)]
    rule = PromotionRule("sample.rouge_l_sum")

    def verdict(change: float) -> str:
        new = [score + change + 0.05 * math.cos(3 * number) for number, score in enumerate(old)]
        return compare_models(rule, RuleValue(0.5, new), RuleValue(0.5, old)).verdict

    assert [verdict(change) for change in (0.1, 0.0, -0.1)] == ["better", "equal", "refused"]


def test_where_less_is_better_the_sides_change() -> None:
    rule = PromotionRule("sample.error", higher_is_better=False)
    assert compare_models(rule, RuleValue(0.0, [0.0] * 300), RuleValue(1.0, [1.0] * 300)).verdict == "better"
    assert compare_models(rule, RuleValue(1.0, [1.0] * 300), RuleValue(0.0, [0.0] * 300)).verdict == "refused"
    assert compare_models(rule, RuleValue(0.0, [0.0] * 300), RuleValue(0.0, [0.0] * 300)).verdict == "equal"


def test_a_rule_as_yaml_has_it() -> None:
    rule = {"value": "sample.exact_share", "higher_is_better": True, "min_gain": 0.02, "no_regression": ["lost"]}
    assert parse_rule(rule, CASES) == PromotionRule("sample.exact_share", True, 0.95, 0.02, ["lost"])
    assert parse_rule({"value": "x"}) == PromotionRule("x")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (None, "rule: found None"),
        ([], "rule: found"),
        ({}, "missing required field `value`"),
        ({"value": " "}, "the name of a value"),
        ({"value": "x", "min_gain": math.nan}, "min_gain: found nan, expected a finite number"),
        ({"value": "x", "min_gain": math.inf}, "min_gain: found inf, expected a finite number"),
        ({"value": "x", "confidence": 0.5}, "confidence: found 0.5, expected a number over 0.5"),
        ({"value": "x", "confidence": 1}, "confidence: found 1.0, expected"),
        ({"value": "x", "confidence": 95}, "confidence: found 95.0, expected"),
        ({"value": "x", "confidence": math.nan}, "confidence: found nan, expected"),
        ({"value": "x", "confidence": "high"}, "confidence"),
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
