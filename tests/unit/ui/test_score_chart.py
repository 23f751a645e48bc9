"""The picture of the scores of several runs."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.ui.score_chart import comparable, score_picture, score_text, sparkline


def record(number: int, share: float | None = 0.8, **fields: Any) -> RunRecord:
    score = None if share is None else {"value": share, "lower": share - 0.05, "upper": share + 0.05, "examples": 100}
    given = {
        "tuning": "t", "key": f"{number:016x}", "kind": "retraining", "dag_id": "retrain_t", "run_id": str(number),
        "ended": f"2026-03-{number + 1:02}T12:00:00Z", "outcome": "promoted", "title": "Promoted",
        "value": "sample.exact_share", "score": score,
    }  # fmt: skip
    return msgspec.convert({**given, **fields}, RunRecord)


def test_runs_without_a_score_or_with_another_value_are_left_out() -> None:
    newest_first = [
        record(4, None),
        record(3),
        record(2, value="eval_total_loss.last", score={"value": 0.3}),
        record(1),
    ]
    assert [found.run_id for found in comparable(newest_first)] == ["1", "3"]
    assert comparable([record(1, None)]) == []


def test_there_is_no_picture_without_scores() -> None:
    assert sparkline([]) is None
    assert score_picture([]) is None


def test_a_higher_score_is_higher_and_a_later_run_further_right() -> None:
    for picture in (sparkline([record(1, 0.5), record(2, 0.9)]), score_picture([record(1, 0.5), record(2, 0.9)])):
        assert picture
        first, second = picture.dots
        assert second.y < first.y
        assert second.x > first.x
        assert first.lower is not None
        assert first.upper is not None
        assert first.upper < first.y < first.lower


def test_a_promotion_is_marked_and_said() -> None:
    picture = sparkline([record(1, outcome="refused", title="Refused"), record(2)])
    assert picture
    assert [dot.is_promoted for dot in picture.dots] == [False, True]
    assert picture.dots[0].label == "2026-03-02: 80 % (75 % to 85 %), refused"


def test_a_score_without_an_interval_is_a_number() -> None:
    assert score_text(record(1, score={"value": 0.4251}, value="eval_total_loss.last")) == "0.425"
    picture = score_picture([record(1, score={"value": 0.4251}, value="eval_total_loss.last")])
    assert picture
    assert picture.dots[0].lower is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_everything_is_inside_the_picture(values: list[float]) -> None:
    records = [record(number % 28, value) for number, value in enumerate(values)]
    for picture in (sparkline(records), score_picture(sorted(records, key=lambda found: found.ended))):
        assert picture
        for dot in picture.dots:
            assert 0 <= dot.x <= picture.width
            for y in (dot.y, dot.lower, dot.upper):
                assert y is not None
                assert -0.1 <= y <= picture.height + 0.1
        for tick in (*picture.x_ticks, *picture.y_ticks):
            assert 0 <= tick.at <= picture.width
