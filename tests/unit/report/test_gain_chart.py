"""The picture of a gain: where its marks stand, and what is written at them."""

from __future__ import annotations

import pytest
from vertex_tuning.report.gain_chart import GAIN_MARGIN, GAIN_WIDTH, gain_picture
from vertex_tuning.report.rule_text import gain_counts, signed_number
from vertex_tuning.results import Gain

VALUE = "sample.exact_share"


def gain(observed: float, lower: float, upper: float, p_value: float | None = 0.5) -> Gain:
    return Gain(observed, lower, upper, confidence=0.95, examples=1200, better=30, worse=12, p_value=p_value)


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (gain(0.015, -0.004, 0.034), -0.02),
        (gain(-0.3, -0.5, -0.1), -0.02),
        (gain(0.4, 0.2, 0.6), 0.05),
        (gain(0.0, -0.0001, 0.0001), -0.02),
        (gain(1.0, 1.0, 1.0), 0.0),
        (gain(0.0, 0.0, 0.0), 0.0),
        (gain(-1.0, -1.0, -0.9), -1.0),
    ],
)
def test_marks_stand_in_their_order_inside_the_picture(found: Gain, limit: float) -> None:
    picture = gain_picture(VALUE, found, limit)
    assert picture
    marks = [picture.lower.at, picture.observed.at, picture.upper.at]
    assert marks == sorted(marks)
    assert (picture.limit is None) == (limit == 0)
    for at in (*marks, picture.zero, picture.limit or picture.zero, *(tick.at for tick in picture.ticks)):
        assert GAIN_MARGIN <= at <= GAIN_WIDTH - GAIN_MARGIN
    # Whether the bound reaches the limit can be seen.
    assert (picture.lower.at >= (picture.limit or picture.zero)) == (found.lower >= limit)


def test_numbers_are_percentage_points_for_shares_only() -> None:
    picture = gain_picture(VALUE, gain(0.015, -0.004, 0.034), -0.02)
    assert picture
    assert [mark.label for mark in (picture.lower, picture.observed, picture.upper)] == ["-0.4", "+1.5", "+3.4"]
    assert {"-2", "0", "+2"} <= {tick.label for tick in picture.ticks}
    assert [signed_number("sample.rouge_l_sum", number) for number in (0.0154, -0.02, 1e-17)] == [
        "+0.0154",
        "-0.02",
        "0",
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_drawn(number: float) -> None:
    assert gain_picture(VALUE, gain(0.0, number, 0.1), -0.02) is None


def test_the_counts_are_sentences() -> None:
    assert gain_counts(gain(0.015, 0, 0)) == (
        "Of 1,200 examples, only the new model is right in 30, only the model in use in 12. "
        "Exact McNemar test: p = 0.5."
    )
    assert gain_counts(gain(0.015, 0, 0, p_value=None)) == (
        "Of 1,200 examples, the new model scores higher in 30, lower in 12."
    )
