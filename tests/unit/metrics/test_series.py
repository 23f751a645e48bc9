from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.metrics.series import Point, Series, columns, headline, summarise, tidy

from tests.support.series import series

LOSS = "/train_total_loss"
ACCURACY = "/eval_fraction_of_correct_next_step_preds"

any_series = st.lists(
    st.builds(Point, st.integers(0, 20), st.floats(), st.dates().map(lambda day: f"{day}T00:00:00Z"))
).map(lambda points: Series(LOSS, points))


def test_best_is_the_lowest_loss_and_the_highest_accuracy() -> None:
    summary = summarise([series(LOSS, 3.0, 1.0, 2.0), series(ACCURACY, 0.2, 0.9, 0.8)])
    loss = summary[LOSS]
    assert (loss.first, loss.last, loss.best, loss.best_step, loss.points) == (3.0, 2.0, 1.0, 2, 3)
    assert loss.curve == [[1, 3.0], [2, 1.0], [3, 2.0]]
    assert str(loss) == "first 3, last 2, best 1 at step 2, 3 points"
    assert (summary[ACCURACY].best, summary[ACCURACY].best_step) == (0.9, 2)


def test_a_long_curve_is_thinned_evenly_and_keeps_both_ends() -> None:
    curve = summarise([series(LOSS, *range(1000))])[LOSS].curve
    assert len(curve) == 20
    assert (curve[0], curve[-1]) == ([1, 0.0], [1000, 999.0])


def test_headline_is_the_last_value_of_losses_and_accuracies() -> None:
    summary = summarise(
        [series(LOSS, 3.0, 2.0), series("/train_num_predictions", 64, 32), series("/x"), series("/y", math.nan)]
    )
    assert headline(summary) == {LOSS: 2.0}


def test_a_value_that_is_no_number_is_none_and_never_the_best() -> None:
    summary = summarise([series(LOSS, -math.inf, 2.0, 1.5, math.nan), series(ACCURACY, math.nan, math.inf)])
    loss = summary[LOSS]
    assert (loss.first, loss.last, loss.best, loss.best_step, loss.not_finite) == (None, None, 1.5, 3, 2)
    assert loss.curve == [[2, 2.0], [3, 1.5]]
    assert str(loss) == "first none, last none, best 1.5 at step 3, 4 points"
    assert (summary[ACCURACY].best, summary[ACCURACY].best_step, summary[ACCURACY].curve) == (None, None, [])


def test_a_step_written_twice_has_its_later_value() -> None:
    begun = Series(LOSS, [Point(2, 9.0, "2026-01-01T00:00:05Z"), Point(1, 8.0, "2026-01-01T00:00:04.5Z")])
    again = Series(LOSS, [Point(1, 3.0, "2026-01-01T00:00:04Z"), Point(2, 2.0, "2026-01-01T00:00:05.25Z")])
    (one,) = tidy([begun, again])
    assert [(point.step, point.value) for point in one.points] == [(1, 8.0), (2, 2.0)]
    assert tidy([again, begun]) == [one]


@given(st.lists(any_series))
def test_a_tidy_series_has_each_step_once_and_in_order_and_nothing_made_up(given: list[Series]) -> None:
    points = {point.step: set() for one in given for point in one.points}  # type: ignore[var-annotated]
    for one in given:
        for point in one.points:
            points[point.step].add(id(point))
    tidied = tidy(given)
    assert [point.step for one in tidied for point in one.points] == sorted(points)
    assert all(id(point) in points[point.step] for one in tidied for point in one.points)


@given(st.lists(st.floats(), min_size=1))
def test_whatever_the_values_the_summary_and_the_file_are_json(values: list[float]) -> None:
    one = series(LOSS, *values)
    summary = summarise([one])[LOSS]
    again = msgspec.json.decode(msgspec.json.encode([summary, columns(one)]))
    assert again == [msgspec.to_builtins(summary), msgspec.to_builtins(columns(one))]
    finite = [value for value in values if math.isfinite(value)]
    assert summary.best == (min(finite) if finite else None)
    assert summary.not_finite == len(values) - len(finite)


def test_values_at_and_between_steps() -> None:
    one = series(LOSS, 4.0, 3.0, 2.0, math.nan, every=10)
    assert (one.at(5), one.at(10), one.at(29), one.at(30, after=20)) == (None, 4.0, 3.0, 2.0)
    assert (one.at(29, after=20), one.at(40)) == (None, None)
    assert (one.mean(30), one.mean(30, after=10), one.mean(9), one.mean(40)) == (3.0, 2.5, None, None)


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_mean_is_that_of_the_values_in_the_stretch(after: int) -> None:
    one = series(LOSS, *(value**2 for value in range(20)))
    picked = [point.value for point in one.points if after < point.step <= 9]
    assert one.mean(9, after=after) == pytest.approx(sum(picked) / len(picked))
