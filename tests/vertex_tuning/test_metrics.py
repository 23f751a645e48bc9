from __future__ import annotations

from vertex_tuning.metrics import Point, Series, headline, summarise


def series(name: str, *values: float) -> Series:
    return Series(name, [Point(step, value, "2026-01-01T00:00:00Z") for step, value in enumerate(values, 1)])


def test_best_is_the_lowest_loss_and_the_highest_accuracy() -> None:
    accuracy = "/eval_fraction_of_correct_next_step_preds"
    summary = summarise([series("/train_total_loss", 3.0, 1.0, 2.0), series(accuracy, 0.2, 0.9, 0.8)])
    loss = summary["/train_total_loss"]
    assert (loss.first, loss.last, loss.best, loss.best_step, loss.points) == (3.0, 2.0, 1.0, 2, 3)
    assert loss.curve == [[1, 3.0], [2, 1.0], [3, 2.0]]
    assert str(loss) == "first 3, last 2, best 1 at step 2, 3 points"
    assert (summary[accuracy].best, summary[accuracy].best_step) == (0.9, 2)


def test_a_long_curve_is_thinned_evenly_and_keeps_both_ends() -> None:
    curve = summarise([series("/train_total_loss", *range(1000))])["/train_total_loss"].curve
    assert len(curve) == 20
    assert (curve[0], curve[-1]) == ([1, 0.0], [1000, 999.0])


def test_headline_is_the_last_value_of_losses_and_accuracies() -> None:
    summary = summarise([series("/train_total_loss", 3.0, 2.0), series("/train_num_predictions", 64, 32), series("/x")])
    assert headline(summary) == {"/train_total_loss": 2.0}
