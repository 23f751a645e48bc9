"""Confidence bounds of a paired difference: figures from the literature, and how often they hold."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from vertex_tuning.evaluation.significance import (
    examples_needed,
    least_examples,
    score_gain,
    share_gain,
    tango_bounds,
)
from vertex_tuning.results import Gain


def results(better: int, worse: int, both: int, none: int = 0) -> tuple[list[bool], list[bool]]:
    new = [True] * better + [False] * worse + [True] * both + [False] * none
    old = [False] * better + [True] * worse + [True] * both + [False] * none
    return new, old


def score_statistic(better: int, worse: int, examples: int, gain: float) -> float:
    """Tango's statistic, with the likelihood under the hypothesis maximised numerically instead of in closed form."""

    def loss(only_old: float) -> float:
        logs = ((better, only_old + gain), (worse, only_old), (examples - better - worse, 1 - 2 * only_old - gain))
        return -sum(count * math.log(share) for count, share in logs if count)

    least = max(0.0, -gain)
    found = minimize_scalar(
        loss, bounds=(least + 1e-12, (1 - gain) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    return float((better - worse - examples * gain) / math.sqrt(examples * (2 * found.x + gain * (1 - gain))))


@pytest.mark.parametrize(
    ("better", "worse", "examples"), [(1, 2, 44), (20, 40, 160), (7, 3, 50), (12, 9, 500), (1, 1, 20)]
)
def test_bounds_are_where_the_score_test_just_rejects(better: int, worse: int, examples: int) -> None:
    lower, upper = tango_bounds(better, worse, examples, 0.95)
    assert score_statistic(better, worse, examples, lower) == pytest.approx(1.6449, abs=1e-3)
    assert score_statistic(better, worse, examples, upper) == pytest.approx(-1.6449, abs=1e-3)


def test_without_a_disagreement_the_bound_depends_on_the_sample_alone() -> None:
    """The root of Tango's equation has a closed form there: z² / (n + z²)."""
    z = 1.6448536269514722
    for examples in (20, 133, 500):
        gain = share_gain(*results(0, 0, examples), 0.95)
        assert gain.lower == pytest.approx(-(z**2) / (examples + z**2))
        assert gain.upper == pytest.approx(-gain.lower)
        assert (gain.observed, gain.p_value) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 300))
def test_bounds_surround_the_gain_and_mirror_each_other(better: int, worse: int, agreeing: int) -> None:
    examples = better + worse + agreeing
    lower, upper = tango_bounds(better, worse, examples, 0.95)
    assert -1 <= lower <= (better - worse) / examples <= upper <= 1
    assert tango_bounds(worse, better, examples, 0.95) == pytest.approx((-upper, -lower))


def test_the_p_value_is_the_exact_mcnemar_test() -> None:
    assert share_gain(*results(2, 10, 88), 0.95).p_value == pytest.approx(
        2 * sum(math.comb(12, k) for k in range(3)) / 2**12
    )


@pytest.mark.parametrize(("agreement", "true_gain"), [(0.95, -0.02), (0.90, -0.02), (0.98, -0.02)])
def test_a_model_at_the_limit_passes_in_one_case_in_twenty(agreement: float, true_gain: float) -> None:
    drawn, disagreement = random.Random(1), 1 - agreement
    weights = [(disagreement + true_gain) / 2, (disagreement - true_gain) / 2, agreement]
    passed = 0
    for _ in range(1000):
        outcomes = drawn.choices("bwa", weights, k=500)
        passed += tango_bounds(outcomes.count("b"), outcomes.count("w"), 500, 0.95)[0] >= -0.02
    assert passed <= 65


def test_graded_scores_have_bounds_as_well_and_the_same_each_time() -> None:
    drawn = random.Random(2)
    old = [drawn.random() for _ in range(200)]
    new = [min(score + drawn.uniform(-0.05, 0.15), 1.0) for score in old]
    gain = score_gain(new, old, 0.95)
    assert gain == score_gain(new, old, 0.95)
    assert 0 < gain.lower < gain.observed < gain.upper
    assert gain.p_value is None


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_scores_that_all_differ_alike_are_not_taken_for_certain(difference: float) -> None:
    gain = score_gain([0.5 + difference] * 20, [0.5] * 20, 0.95)
    assert gain.lower < gain.observed - 0.1


def test_a_share_of_one_and_none_is_compared_too() -> None:
    gain = share_gain([True] * 30, [False] * 30, 0.95)
    assert gain.observed == 1.0
    assert 0.8 < gain.lower <= 1.0
    assert gain.upper == 1.0


@pytest.mark.parametrize("compare", [share_gain, score_gain])
def test_results_that_do_not_belong_together_are_refused(compare: object) -> None:
    for new, old in (([True], [True, False]), ([], [])):
        with pytest.raises(ValueError, match=r"zip|at least one"):
            compare(new, old, 0.95)  # type: ignore[operator]


def decide(better: float, worse: float, examples: int, min_gain: float) -> bool:
    lower, upper = tango_bounds(better, worse, examples, 0.95)
    return lower >= min_gain or upper < min_gain


@pytest.mark.parametrize("shown", [(1, 1, 48), (0, 0, 30), (4, 2, 94), (1, 6, 93)])
def test_the_number_of_examples_that_would_decide_decides_and_one_less_does_not(shown: tuple[int, int, int]) -> None:
    better, worse, both = shown
    gain = share_gain(*results(better, worse, both), 0.95)
    needed = examples_needed(gain, -0.02)
    assert needed is not None
    assert needed > gain.examples
    scale = needed / gain.examples
    assert decide(better * scale, worse * scale, needed, -0.02)
    scale = (needed - 1) / gain.examples
    assert not decide(better * scale, worse * scale, needed - 1, -0.02)


@pytest.mark.parametrize("change", [-0.4, 0.4])
def test_graded_scores_need_a_larger_sample_than_one_that_cannot_tell(change: float) -> None:
    """Many slightly better scores and a few much worse ones: their number says nothing about the gain."""
    old = [0.5] * 500
    new = [score - change / 20 for score in old[:300]] + [score + change for score in old[300:355]] + old[355:]
    gain = score_gain(new, old, 0.95)
    limit = gain.observed - 0.002
    needed = examples_needed(gain, limit)
    assert needed is not None
    assert needed > 500
    times = math.ceil(needed / 500)
    assert score_gain(new * times, old * times, 0.95).lower >= limit - 3e-4
    assert examples_needed(gain, gain.observed) is None
    assert examples_needed(gain, gain.observed - 1e-9) is None


def test_a_gain_on_the_limit_is_never_decided() -> None:
    assert examples_needed(Gain(-0.02, -0.1, 0.06, 0.95, 100, 3, 5), -0.02) is None


@pytest.mark.parametrize(("min_gain", "least"), [(-0.02, 133), (-0.05, 52), (0.0, 3), (0.02, 3), (0.5, 9)])
def test_the_smallest_sample_that_can_show_a_gain(min_gain: float, least: int) -> None:
    assert least_examples(min_gain, 0.95) == least
    for examples, can in ((least - 1, False), (least, True)):
        better = 0 if min_gain < 0 else examples
        assert (tango_bounds(better, 0, examples, 0.95)[0] >= min_gain) is can
