"""Layout of the scores of several runs, with their confidence intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.report.charts import Tick, ticks
from vertex_tuning.report.names import is_share, value_text

SPARK_WIDTH, SPARK_HEIGHT = 220.0, 44.0
SPARK_MARGIN: Final = 5.0
SCORES_WIDTH, SCORES_HEIGHT = 720.0, 220.0
SCORES_LEFT, SCORES_RIGHT, SCORES_TOP, SCORES_BOTTOM = 84.0, 656.0, 12.0, 184.0
DATES: Final = 4
"""Most dates on the axis of time."""


class ScoreDot(msgspec.Struct, frozen=True):
    """The score of a run, in the units of the picture.

    :param lower, upper: ends of the confidence interval; None without one
    :param label: run and score in words
    """

    x: float
    y: float
    lower: float | None
    upper: float | None
    is_promoted: bool
    label: str


class ScorePicture(msgspec.Struct, frozen=True):
    """Layout of the scores. All positions are in the units of the SVG picture.

    :param path: line through the scores
    :param x_ticks, y_ticks: empty for a sparkline
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    dots: list[ScoreDot]
    path: str
    x_ticks: list[Tick] = []
    y_ticks: list[Tick] = []


def comparable(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs whose scores belong into one chart, oldest first: those with the same value as the newest score.

    :param records: newest first
    """
    scored = [record for record in records if record.score is not None]
    return [record for record in reversed(scored) if record.value == scored[0].value]


def sparkline(records: Sequence[RunRecord]) -> ScorePicture | None:
    """The scores of a few runs, evenly spaced; None without any.

    :param records: runs of `comparable`
    """
    if not records:
        return None
    low, high = _range(records)
    step = (SPARK_WIDTH - 2 * SPARK_MARGIN) / max(len(records) - 1, 1)
    places = [SPARK_MARGIN + n * step for n in range(len(records))]
    frame = _Frame(SPARK_MARGIN, SPARK_WIDTH - SPARK_MARGIN, SPARK_MARGIN, SPARK_HEIGHT - SPARK_MARGIN, low, high)
    return frame.picture(SPARK_WIDTH, SPARK_HEIGHT, records, places)


def score_picture(records: Sequence[RunRecord]) -> ScorePicture | None:
    """The scores over time, with axes; None without any.

    :param records: runs of `comparable`
    """
    if not records:
        return None
    axis = ticks(*_range(records))
    times = [record.ended_at.timestamp() for record in records]
    first, span = times[0], (times[-1] - times[0]) or 1.0
    places = [SCORES_LEFT + 8 + (at - first) / span * (SCORES_RIGHT - SCORES_LEFT - 16) for at in times]
    frame = _Frame(SCORES_LEFT, SCORES_RIGHT, SCORES_TOP, SCORES_BOTTOM, axis[0], axis[-1])
    drawn = frame.picture(SCORES_WIDTH, SCORES_HEIGHT, records, places)
    return msgspec.structs.replace(
        drawn,
        x_ticks=_dates(records, places),
        y_ticks=[Tick(frame.y(value), value_text(records[0].value, value)) for value in axis],
    )


def score_text(record: RunRecord) -> str:
    """The score of a run with its interval: `87 % (82.1 % to 91 %)`."""
    score = record.score
    if score is None:
        return ""
    value = _short(record.value, score.value)
    if score.lower is None or score.upper is None:
        return value
    return f"{value} ({_short(record.value, score.lower)} to {_short(record.value, score.upper)})"


def _short(name: str, value: float) -> str:
    return f"{value * 100:.3g} %" if is_share(name) else f"{value:.3g}"


class _Frame(msgspec.Struct, frozen=True):
    """The plot's edges, and the values at its bottom and its top."""

    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def picture(
        self, width: float, height: float, records: Sequence[RunRecord], places: Sequence[float]
    ) -> ScorePicture:
        dots = [self._dot(record, place) for record, place in zip(records, places, strict=True)]
        path = "M" + "L".join(f"{dot.x} {dot.y}" for dot in dots)
        return ScorePicture(width, height, self.left, self.right, self.top, self.bottom, dots, path)

    def _dot(self, record: RunRecord, x: float) -> ScoreDot:
        score = record.score
        assert score is not None  # noqa: S101 - `comparable` leaves out the others
        lower, upper = (None if value is None else self.y(value) for value in (score.lower, score.upper))
        label = f"{record.ended_at:%Y-%m-%d}: {score_text(record)}, {record.title.lower()}"
        return ScoreDot(round(x, 1), self.y(score.value), lower, upper, record.is_promoted, label)


def _range(records: Sequence[RunRecord]) -> tuple[float, float]:
    """The lowest and the highest number that the picture shows."""
    scores = [record.score for record in records if record.score]
    numbers = [number for score in scores for number in (score.value, score.lower, score.upper) if number is not None]
    low, high = min(numbers), max(numbers)
    return (low, high) if high > low else (low - 0.05, high + 0.05)


def _dates(records: Sequence[RunRecord], places: Sequence[float]) -> list[Tick]:
    """A few dates, with room between them."""
    room = (SCORES_RIGHT - SCORES_LEFT) / DATES
    form = "%H:%M UTC" if records[0].ended_at.date() == records[-1].ended_at.date() else "%Y-%m-%d"
    chosen: list[Tick] = []
    for record, place in zip(records, places, strict=True):
        if not chosen or place - chosen[-1].at >= room:
            chosen.append(Tick(round(place, 1), record.ended_at.strftime(form)))
    return chosen
