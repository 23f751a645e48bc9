"""The confidence interval of a score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from vertex_tuning.history.score_interval import score_with_interval


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_of_a_share_is_wilsons(answers: tuple[int, int]) -> None:
    right, total = answers
    score = score_with_interval(right / total, total)
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert (score.lower, score.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert score.examples == total


@pytest.mark.parametrize(("value", "examples"), [(0.5, 0), (1.5, 10), (-0.1, 10)])
def test_a_value_that_is_no_mean_of_a_sample_has_no_interval(value: float, examples: int) -> None:
    score = score_with_interval(value, examples)
    assert (score.value, score.lower, score.upper, score.examples) == (value, None, None, None)
