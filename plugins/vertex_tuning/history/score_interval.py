"""Confidence interval of the score of one model. Pure."""

from __future__ import annotations

import math
from typing import Final

from vertex_tuning.history.run_record import ModelScore

QUANTILE: Final = 1.959963984540054
"""Of the normal distribution, for a two-sided interval with 95 % confidence."""


def score_with_interval(value: float, examples: int) -> ModelScore:
    """A mean over a sample with its 95 % confidence interval.

    It is the score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927), 209-212. Graded scores from 0 to 1 vary at most as much
    as right and wrong answers with the same mean: their true interval is not wider.

    :param value: mean of scores from 0 to 1
    :param examples: number of scores; the interval is missing without any
    """
    if not examples or not 0 <= value <= 1:
        return ModelScore(value)
    shrink = 1 + QUANTILE**2 / examples
    centre = (value + QUANTILE**2 / (2 * examples)) / shrink
    half = QUANTILE * math.sqrt(value * (1 - value) / examples + (QUANTILE / (2 * examples)) ** 2) / shrink
    return ModelScore(value, max(centre - half, 0.0), min(centre + half, 1.0), examples)
