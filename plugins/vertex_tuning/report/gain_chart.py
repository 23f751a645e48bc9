"""Layout of the picture of a gain with its confidence bounds."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from vertex_tuning.report.charts import Tick, ticks
from vertex_tuning.report.names import is_share
from vertex_tuning.report.rule_text import signed_number
from vertex_tuning.results import Gain

GAIN_WIDTH: Final = 720.0
GAIN_MARGIN: Final = 90.0
"""Room at each side for the numbers of the bounds."""
INTERVALS: Final = 6
"""Approximate number of intervals of the axis."""


class GainPicture(msgspec.Struct, frozen=True):
    """Positions in a picture of a gain, in the units of the SVG picture, from its left edge.

    :param width: width of the picture
    :param zero: where the models are equal
    :param limit: the gain that the lower bound must reach; None if it is 0
    :param lower: lower bound of the gain, with its number
    :param observed: the gain that was observed, with its number
    :param upper: upper bound of the gain, with its number
    :param ticks: labelled positions on the axis
    """

    width: float
    zero: float
    limit: float | None
    lower: Tick
    observed: Tick
    upper: Tick
    ticks: list[Tick]


def gain_picture(value: str, gain: Gain, limit: float) -> GainPicture | None:
    """Compute the layout of the picture of a gain; None if a number is not finite.

    :param value: name of the compared value; shares are shown in percentage points
    :param gain: the gain and its bounds
    :param limit: the gain that the lower bound must reach
    """
    scale = 100 if is_share(value) else 1
    shown = [number * scale for number in (gain.lower, gain.observed, gain.upper, limit, 0.0)]
    if not all(map(math.isfinite, shown)):
        return None
    axis = ticks(min(shown), max(shown), INTERVALS)

    def x(number: float) -> float:
        share = (number - axis[0]) / (axis[-1] - axis[0])
        return round(GAIN_MARGIN + share * (GAIN_WIDTH - 2 * GAIN_MARGIN), 1)

    lower, observed, upper = (
        Tick(x(number * scale), signed_number(value, number)) for number in (gain.lower, gain.observed, gain.upper)
    )
    return GainPicture(
        width=GAIN_WIDTH,
        zero=x(0.0),
        limit=x(limit * scale) if limit else None,
        lower=lower,
        observed=observed,
        upper=upper,
        ticks=[Tick(x(number), f"{number:+.4g}" if number else "0") for number in axis],
    )
